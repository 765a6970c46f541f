//! Daemons that serve several volumes are brought in line once for all who ask meanwhile: with many
//! volumes, once for each would take as long as their square.

use super::supervisor::{Core, Failure};
use crate::store::View;
use parking_lot::Mutex;
use std::sync::Arc;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Serving {
    /// The image of whoever asked last, and how many have asked.
    asked: Mutex<(Option<Arc<View>>, u64)>,
    /// Held while it is done: how many it has been done for, and what failed in the end.
    done: tokio::sync::Mutex<(u64, Arc<[Failure]>)>,
}

impl Serving {
    /// Does `work`, with the image of whoever asked last, unless it is done for the caller meanwhile.
    /// Returns what failed.
    async fn once_for_all(
        &self,
        view: Arc<View>,
        work: impl AsyncFnOnce(Arc<View>) -> Vec<Failure>,
    ) -> Arc<[Failure]> {
        let place = {
            let mut asked = self.asked.lock();
            *asked = (Some(view), asked.1 + 1);
            asked.1
        };
        let mut done = self.done.lock().await;
        if done.0 < place {
            let (newest, places) = self.asked.lock().clone();
            let view = newest.expect("kept until it is done");
            *done = (places, work(view).await.into());
            let mut asked = self.asked.lock();
            if asked.1 == places {
                asked.0 = None;
            }
        }
        done.1.clone()
    }
}

impl Core {
    pub(super) async fn serve(self: &Arc<Core>, view: Arc<View>) -> Arc<[Failure]> {
        let work = async |view: Arc<View>| {
            let mut failures = self.converge_shd(&view).await;
            failures.extend(self.converge_services(&view).await);
            failures
        };
        self.serving.once_for_all(view, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::sample::view;
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    /// The first asker is served at once, whoever asks meanwhile in one go with the newest image.
    #[tokio::test]
    async fn many_askers_are_served_in_two_goes() {
        let (serving, gate) = (Serving::default(), Semaphore::new(0));
        let served = Mutex::new(Vec::new());
        let work = async |view: Arc<View>| {
            served.lock().push(view.revision);
            gate.acquire().await.unwrap().forget();
            vec![Failure { volume: None, text: format!("with {}", view.revision) }]
        };
        let ask = |revision| {
            let view = Arc::new(View { revision, ..view(vec![]) });
            serving.once_for_all(view, work)
        };
        let opened = async {
            tokio::task::yield_now().await;
            gate.add_permits(2);
        };
        let (told, ()) = tokio::join!(join_all((1..=5).map(ask)), opened);
        assert_eq!(*served.lock(), [1, 5]);
        let texts: Vec<&str> = told.iter().map(|failures| &*failures[0].text).collect();
        assert_eq!(texts, ["with 1", "with 5", "with 5", "with 5", "with 5"]);

        gate.add_permits(1);
        assert_eq!(ask(6).await[0].text, "with 6");
    }
}
