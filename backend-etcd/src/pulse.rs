//! The pulse of one connection: whether the server behind it still answers.

use etcd_client::{Client, GetOptions};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// When the server last answered anything on a connection: under a flood of calls the pulse's own
/// answer may be late, which is no silence.
#[derive(Clone)]
pub(crate) struct Heard(Arc<Mutex<Instant>>);

impl Heard {
    pub fn now() -> Heard {
        Heard(Arc::new(Mutex::new(Instant::now())))
    }

    pub fn again(&self) {
        *self.0.lock() = Instant::now();
    }

    /// Completes when there was nothing for `patience`; at once if that is so already. False if
    /// something comes meanwhile.
    async fn is_silent(&self, patience: Duration) -> bool {
        let last = *self.0.lock();
        sleep_until(last + patience).await;
        *self.0.lock() == last
    }
}

/// Reads a little, again and again; any answer of the server is a sign of life. Sets `broken` and
/// ends when there is none.
pub(crate) async fn pulse(
    mut client: Client,
    key: String,
    detect: Duration,
    broken: watch::Sender<bool>,
    heard: Heard,
) {
    let patience = detect * 3 / 5;
    loop {
        sleep(detect / 4).await;
        let options = GetOptions::new().with_count_only().with_serializable();
        let answer = timeout(patience, client.get(key.clone(), Some(options))).await;
        let dead = match answer {
            Err(_) => heard.is_silent(patience).await,
            Ok(Ok(_)) => false,
            Ok(Err(etcd_client::Error::GRpcStatus(status))) => {
                std::error::Error::source(&status).is_some()
            }
            Ok(Err(_)) => true,
        };
        if dead {
            broken.send_replace(true);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_ends_the_suspicion() {
        let heard = Heard::now();
        let (patience, other) = (Duration::from_millis(200), heard.clone());
        let answering = async {
            sleep(patience / 4).await;
            other.again();
        };
        let (silent, ()) = tokio::join!(heard.is_silent(patience), answering);
        assert!(!silent);
        assert!(heard.is_silent(patience).await);
    }
}
