//! A watch over whatever connection there is: resumed where the history reaches, else anew.

use super::handle::Core;
use crate::net::link::Events;
use crate::talk::{EventForm, PrefixForm, WatchForm};
use coord_api::{Error, ErrorKind, LostReason, Prefix, WatchEvent, WatchOpts};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The consumer's end.
pub struct Following {
    core: Arc<Core>,
    prefix: Prefix,
    opts: WatchOpts,
    /// Handle's newest revision when the stream was asked for (W7).
    floor: u64,
    events: Option<Events>,
    /// What has come and was not taken yet.
    queue: VecDeque<WatchEvent>,
    /// The state that the consumer has once the queue is empty, if it is whole.
    position: Option<u64>,
    /// Something has come, so a loss concerns the consumer (W1).
    told: bool,
    over: bool,
}

impl Following {
    pub fn new(core: Arc<Core>, prefix: Prefix, opts: WatchOpts) -> Following {
        Following {
            floor: core.seen(),
            core,
            prefix,
            position: opts.start_after.map(|revision| revision.0),
            opts,
            events: None,
            queue: VecDeque::new(),
            told: false,
            over: false,
        }
    }

    /// The next event; `None` after `Closed`.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        loop {
            if self.core.closed.is_cancelled() && !self.over {
                self.queue.clear();
                self.close(Error::none(ErrorKind::Closed));
            }
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            if self.over {
                return None;
            }
            let closed = self.core.closed.clone();
            tokio::select! {
                () = closed.cancelled() => {}
                () = self.advance() => {}
            }
        }
    }

    fn close(&mut self, error: Error) {
        self.queue.push_back(WatchEvent::Closed(error));
        self.events = None;
        self.over = true;
    }

    /// Takes what comes next; may be dropped at any await.
    async fn advance(&mut self) {
        let Some(events) = &mut self.events else {
            let far = Instant::now() + Duration::from_secs(3600);
            match self.core.remote().link(far).await {
                Ok(link) => self.events = Some(link.watch(self.form())),
                Err(error) if error.kind == ErrorKind::Unavailable => {}
                Err(error) => self.close(error),
            }
            return;
        };
        match events.next().await {
            Some(batch) => batch.into_iter().for_each(|form| self.take(form)),
            None => self.lose(),
        }
    }

    fn form(&self) -> WatchForm {
        let seen = if self.told { self.core.seen() } else { 0 };
        let floor = seen.max(self.floor);
        let told = self.position.filter(|_| self.told).unwrap_or(0);
        WatchForm {
            prefix: PrefixForm::from(&self.prefix),
            floor: floor.max(told),
            start_after: self.position,
            keys_only: self.opts.keys_only,
            progress_ms: self.opts.progress_every.map(|every| every.as_millis() as u64),
            buffer: self.opts.buffer.map(|buffer| u32::try_from(buffer).unwrap_or(u32::MAX)),
        }
    }

    fn take(&mut self, form: EventForm) {
        if self.over || self.events.is_none() {
            return;
        }
        let Some(event) = form.event() else { return self.lose() };
        self.told = true;
        match &event {
            WatchEvent::Snapshot { .. } => self.position = None,
            WatchEvent::Closed(_) => self.over = true,
            _ => {}
        }
        if let Some(revision) = crate::handle::revision_of(&event) {
            self.position = Some(revision.0);
            self.floor = self.floor.max(revision.0);
            self.core.saw(revision);
        }
        self.queue.push_back(event);
    }

    fn lose(&mut self) {
        self.events = None;
        if self.told {
            self.queue.push_back(WatchEvent::Lost { reason: LostReason::Disconnected });
        }
    }
}
