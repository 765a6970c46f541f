//! The conformance suite on one etcd server, started for it.

mod administrator;

fn main() -> std::process::ExitCode {
    administrator::conformance("etcd", 1)
}
