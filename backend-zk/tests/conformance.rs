//! The conformance suite on one ZooKeeper server, started for it.

mod administrator;

fn main() -> std::process::ExitCode {
    administrator::conformance("zookeeper", 1)
}
