//! The consensus crate's own tests of storage, on ours.

use crate::disk::Disk;
use crate::log::Log;
use crate::machine::Machine;
use crate::raft::Types;
use crate::shared::Shared;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use std::fs::File;
use std::sync::Arc;
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<Types, Log, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, Log, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let lock = Arc::new(File::create(dir.path().join("lock")).unwrap());
        let disk = Disk::new();
        let (log, (), _thread) =
            Log::open(&dir.path().join("store.redb"), lock.clone(), disk.clone(), || Ok(()))
                .unwrap();
        let shared = Arc::new(Shared::default());
        let machine = Machine::open(dir.path(), lock, shared, disk).unwrap();
        Ok((dir, log, machine))
    }
}

#[test]
fn log_and_machine_keep_the_contract() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
}
