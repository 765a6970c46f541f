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
    done: tokio::sync::Mutex<(u64, Vec<Failure>)>,
}

impl Core {
    pub(super) async fn serve(self: &Arc<Core>, view: Arc<View>) -> Vec<Failure> {
        let place = {
            let mut asked = self.serving.asked.lock();
            *asked = (Some(view), asked.1 + 1);
            asked.1
        };
        let mut done = self.serving.done.lock().await;
        if done.0 < place {
            let (newest, places) = self.serving.asked.lock().clone();
            let view = newest.expect("kept until it is done");
            let mut failures = self.converge_shd(&view).await;
            failures.extend(self.converge_services(&view).await);
            *done = (places, failures);
            let mut asked = self.serving.asked.lock();
            if asked.1 == places {
                asked.0 = None;
            }
        }
        done.1.clone()
    }
}
