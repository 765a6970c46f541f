//! The conformance suite on three ZooKeeper servers, started for it.

mod administrator;

fn main() -> std::process::ExitCode {
    administrator::conformance("zookeeper of three", 3)
}
