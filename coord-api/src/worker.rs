//! A thread with a runtime of its own, for everything that must not depend on the caller's
//! executor: heartbeats, connections, watches (S16). And the clock that counts suspend (G4).

use std::future::Future;
use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Handle};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Dropping it ends the thread and every task on it, at their next await.
#[derive(Debug)]
pub struct Worker {
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    ended: watch::Receiver<bool>,
}

impl Worker {
    /// # Errors
    /// Those of the system when it has no thread or descriptor left.
    pub fn start(name: &str) -> io::Result<Worker> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (done, ended) = watch::channel(false);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            // An error is a dropped sender, which means the same.
            let _ = runtime.block_on(stopped);
            runtime.shutdown_timeout(Duration::from_secs(1));
            done.send_replace(true);
        })?;
        Ok(Worker { handle, stop: Some(stop), ended })
    }

    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(task)
    }

    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Ends the thread and completes when it is gone.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        // An error is a dropped sender: the thread has ended.
        let _ = self.ended.wait_for(|ended| *ended).await;
    }
}

/// How long this machine has slept since it was started. [`std::time::Instant`] stands still
/// meanwhile; whoever promises validity subtracts the growth of this.
pub fn time_asleep() -> Duration {
    let read = |clock| {
        let now = rustix::time::clock_gettime(clock);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    };
    // In this order a pause between the two readings looks like sleep, never the reverse.
    let awake = read(rustix::time::ClockId::Monotonic);
    read(rustix::time::ClockId::Boottime).saturating_sub(awake)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_run_apart_from_the_caller_and_end_with_the_worker() {
        let mut worker = Worker::start("test-worker").unwrap();
        let name = worker.spawn(async { std::thread::current().name().map(str::to_owned) });
        assert_eq!(name.await.unwrap().as_deref(), Some("test-worker"));
        let endless = worker.spawn(std::future::pending::<()>());
        worker.stop().await;
        assert!(endless.await.unwrap_err().is_cancelled());
    }

    #[test]
    fn sleep_only_grows() {
        let before = time_asleep();
        assert!(time_asleep() + Duration::from_millis(50) >= before);
    }
}
