//! The conformance suite on three etcd servers, started for it.

mod administrator;

fn main() -> std::process::ExitCode {
    administrator::conformance("etcd of three", 3)
}
