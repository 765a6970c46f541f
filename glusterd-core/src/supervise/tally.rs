//! What this node has counted for a task, over every process that worked on it.
//!
//! A process counts from zero, and a task may need several: the daemon or the node was away when one
//! ended. What was heard of those before is the base of the next one's numbers. A tally is kept in the
//! volume's folder before it is told to anybody: no later answer falls behind, however the daemon ends.

use super::supervisor::Core;
use crate::model::{Counts, NodeId, VolumeName};
use uuid::Uuid;

const BYTES_MAX: u64 = 4096;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tally {
    task: Uuid,
    /// Of the processes that are gone.
    before: Counts,
    /// Of the last one.
    now: Counts,
}

impl Tally {
    pub fn new(task: Uuid) -> Tally {
        Tally { task, before: Counts::default(), now: Counts::default() }
    }

    /// The last process says so. What it said on another way may come later, and be older.
    pub fn heard(self, said: Counts) -> Tally {
        let (a, b) = (self.now, said);
        let now = Counts {
            files: a.files.max(b.files),
            bytes: a.bytes.max(b.bytes),
            scanned: a.scanned.max(b.scanned),
            failures: a.failures.max(b.failures),
            skipped: a.skipped.max(b.skipped),
            seconds: a.seconds.max(b.seconds),
        };
        Tally { now, ..self }
    }

    /// Another process takes the work up.
    pub fn next_process(self) -> Tally {
        Tally { before: self.total(), now: Counts::default(), ..self }
    }

    pub fn total(self) -> Counts {
        let (a, b) = (self.before, self.now);
        Counts {
            files: a.files.saturating_add(b.files),
            bytes: a.bytes.saturating_add(b.bytes),
            scanned: a.scanned.saturating_add(b.scanned),
            failures: a.failures.saturating_add(b.failures),
            skipped: a.skipped.saturating_add(b.skipped),
            seconds: a.seconds + b.seconds,
        }
    }

    fn to_text(self) -> String {
        let line = |counts: Counts| {
            let Counts { files, bytes, scanned, failures, skipped, seconds } = counts;
            format!("{files} {bytes} {scanned} {failures} {skipped} {seconds:.6}")
        };
        format!("task={}\nbefore={}\nnow={}\n", self.task, line(self.before), line(self.now))
    }

    fn parse(text: &str) -> Option<Tally> {
        let mut lines = text.lines();
        let mut value = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix('=');
        let task = Uuid::try_parse(value("task")?).ok()?;
        Some(Tally { task, before: counts(value("before")?)?, now: counts(value("now")?)? })
    }
}

fn counts(line: &str) -> Option<Counts> {
    let words: Vec<&str> = line.split(' ').collect();
    let [files, bytes, scanned, failures, skipped, seconds] = words[..] else { return None };
    let number = |word: &str| word.parse::<u64>().ok();
    let seconds = seconds.parse::<f64>().ok().filter(|s| s.is_finite() && *s >= 0.0)?;
    Some(Counts {
        files: number(files)?,
        bytes: number(bytes)?,
        scanned: number(scanned)?,
        failures: number(failures)?,
        skipped: number(skipped)?,
        seconds,
    })
}

impl Core {
    /// Changes the tally of a volume's task and keeps it. The file is the daemon's memory: it is
    /// read once, and a damaged one counts as none. Its folder is made with the first process.
    pub(super) async fn tally(
        &self,
        me: NodeId,
        name: &VolumeName,
        task: Uuid,
        change: impl FnOnce(Tally) -> Tally + Send,
    ) -> Counts {
        let mut tallies = self.tallies.lock().await;
        let path = self.host.dirs().rebalance_counts_file(name, me);
        let known = match tallies.get(name) {
            Some(known) => Some(*known),
            None => {
                let bytes = self.host.read(&path, BYTES_MAX).await.unwrap_or_default();
                Tally::parse(&String::from_utf8_lossy(&bytes))
            }
        };
        let known = known.filter(|known| known.task == task);
        let after = change(known.unwrap_or(Tally::new(task)));
        if known.unwrap_or(Tally::new(task)) != after
            && let Err(error) = self.host.write(&path, after.to_text().as_bytes()).await
        {
            tracing::warn!(path, %error, "what a rebalance has counted is not kept");
        }
        tallies.insert(name.clone(), after);
        after.total()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TASK: Uuid = Uuid::from_u128(5);

    fn files(files: u64) -> Counts {
        Counts { files, bytes: 10 * files, scanned: files + 3, seconds: 1.5, ..Counts::default() }
    }

    #[test]
    fn a_task_counts_over_all_its_processes() {
        let first = Tally::new(TASK).heard(files(3)).heard(files(189));
        assert_eq!(first.total().files, 189);
        let second = first.next_process();
        assert_eq!(second.total(), first.total());
        let second = second.heard(files(2));
        assert_eq!((second.total().files, second.total().seconds), (191, 3.0));
        // Taken up twice before a word was heard.
        assert_eq!(second.next_process().next_process().total(), second.total());
    }

    #[test]
    fn older_words_that_come_late_take_nothing_back() {
        let tally = Tally::new(TASK).heard(files(9)).heard(files(4));
        assert_eq!(tally.total(), files(9));
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let tally = Tally::new(TASK).heard(files(9)).next_process().heard(files(1));
        let text = tally.to_text();
        assert_eq!(Tally::parse(&text), Some(tally));
        // Cut anywhere it is another number at worst in its last digits, or nothing.
        for end in 0..text.len() - 8 {
            assert_eq!(Tally::parse(&text[..end]), None, "{:?}", &text[..end]);
        }
        for damaged in ["", "task=x\n", "task=1\nbefore=\nnow=\n"] {
            assert_eq!(Tally::parse(damaged), None);
        }
    }
}
