//! The `conformance` command on every backend of the daemon and the in-memory model:
//! `cargo run -p glusterd-core --example conformance -- run etcd://127.0.0.1:2379`.

use coord_api::Backend;
use std::process::ExitCode;

fn main() -> ExitCode {
    let backends: Vec<Box<dyn Backend>> = vec![
        Box::new(coord_api::mem::MemBackend),
        Box::new(backend_local::LocalBackend),
        #[cfg(feature = "etcd")]
        Box::new(backend_etcd::Etcd),
        #[cfg(feature = "zookeeper")]
        Box::new(backend_zk::ZooKeeper),
    ];
    conformance::cli(backends)
}
