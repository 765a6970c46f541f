//! Letters as keys in the coordinator: how one is cut into sheets, written, and put together again.

use crate::store::keys::{read_sheet, sheet};
use coord_api::{Effect, Entry, Key, Retry, Session, Space, Txn, TxnOutcome};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// Well below the value limit of every coordinator.
const SHEET_BYTES: usize = 256 << 10;
const SHEETS_MAX: usize = 64;
/// Sheets, and bytes of them, in one change.
const SHEETS_AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 512 << 10;
/// Letters that lie with a node or its pool; more are not looked at.
const LETTERS_MAX: usize = 8192;

/// Between attempts to write a sheet of which it is not known whether it is there.
const AGAIN: Duration = Duration::from_millis(200);

/// What travels. `left_ms`: how long the writer will wait.
#[derive(Serialize, Deserialize)]
pub(super) struct Letter<T> {
    pub from: Uuid,
    pub pool: Uuid,
    pub left_ms: u64,
    /// Nodes that are asked for an answer, and the letter that it will be. Whoever else gets this
    /// one acts on it without.
    pub replies: Vec<(Uuid, Uuid)>,
    pub body: T,
}

impl<T: Serialize> Letter<T> {
    /// `None`: too long.
    pub fn sheets(&self) -> Option<Vec<Vec<u8>>> {
        let bytes = serde_json::to_vec(self).expect("text, numbers and lists");
        let sheets: Vec<Vec<u8>> = bytes.chunks(SHEET_BYTES).map(<[u8]>::to_vec).collect();
        (sheets.len() <= SHEETS_MAX).then_some(sheets)
    }
}

pub(super) fn keys(
    space: &Space,
    addressee: Uuid,
    id: Uuid,
    of: usize,
    session: &dyn Session,
) -> Option<Vec<Key>> {
    let key = |at| Key::ephemeral(space, &sheet(addressee, id, at, of), session.id(), 0);
    (0..of).map(key).collect::<coord_api::Result<_>>().ok()
}

/// Sheets of any number of letters, each with its letter's number, as many in a change as fit.
/// Returns the letters that were certainly not sent; one that may have been may yet be answered.
pub(super) async fn post_all(
    session: &dyn Session,
    mut sheets: VecDeque<(usize, Key, Vec<u8>)>,
    until: Instant,
) -> BTreeSet<usize> {
    while !sheets.is_empty() {
        let (mut txn, mut bytes, mut count) = (Txn::new(), 0, 0);
        let mut letters = BTreeSet::new();
        while let Some((.., sheet)) = sheets.front()
            && (count == 0 || bytes + sheet.len() <= BYTES_AT_ONCE && count < SHEETS_AT_ONCE)
        {
            let (letter, key, sheet) = sheets.pop_front().expect("seen above");
            bytes += sheet.len();
            count += 1;
            txn = txn.put_ephemeral(&key, sheet);
            letters.insert(letter);
        }
        match write(session, txn, Insist::OnceUnsure, until).await {
            Ok(_) => {}
            Err(error) if error.effect == Effect::Unknown => {
                tracing::warn!(%error, "questions may not have been sent");
            }
            Err(error) => {
                tracing::warn!(%error, "questions were not sent");
                letters.extend(sheets.iter().map(|(letter, ..)| *letter));
                return letters;
            }
        }
    }
    BTreeSet::new()
}

/// `false`: what it answers was withdrawn.
pub(super) async fn send_answer(
    session: &dyn Session,
    keys: &[Key],
    sheets: Vec<Vec<u8>>,
    question: &Key,
    until: Instant,
) -> coord_api::Result<bool> {
    for (key, sheet) in keys.iter().zip(sheets) {
        let txn = Txn::new().put_ephemeral(key, sheet).exists(question);
        let written = write(session, txn, Insist::Always, until).await?;
        if let TxnOutcome::Conflict { .. } = written {
            return Ok(false);
        }
    }
    Ok(true)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Insist {
    Always,
    /// A first attempt that certainly failed is enough to know.
    OnceUnsure,
}

/// Tries again while the outcome is not known, until then: a sheet that is written twice is read once,
/// and one that nobody knows of would be waited for in vain.
async fn write(
    session: &dyn Session,
    txn: Txn,
    insist: Insist,
    until: Instant,
) -> coord_api::Result<TxnOutcome> {
    let mut unsure = false;
    loop {
        let mut error = match session.txn(txn.clone()).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        unsure |= error.is_unknown();
        let again = Instant::now() + AGAIN;
        let insists = unsure || insist == Insist::Always;
        if !insists || error.retry() != Retry::SameHandle || again >= until {
            error.effect = if unsure { Effect::Unknown } else { error.effect };
            return Err(error);
        }
        sleep_until(again).await;
    }
}

pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<Letter<T>> {
    let letter = serde_json::from_slice(bytes);
    letter.inspect_err(|error| tracing::warn!(%error, "a letter cannot be read")).ok()
}

/// Sheets that have come in, by letter.
#[derive(Default)]
pub(super) struct Inbox(HashMap<Uuid, Vec<Option<Entry>>>);

impl Inbox {
    /// The letter, the name of its first sheet and its text, once it is complete.
    pub fn add(&mut self, entry: Entry) -> Option<(Uuid, Key, Vec<u8>)> {
        let (id, at, of) = read_sheet(entry.key.stem())?;
        if of > SHEETS_MAX || (self.0.len() >= LETTERS_MAX && !self.0.contains_key(&id)) {
            return None;
        }
        let sheets = self.0.entry(id).or_insert_with(|| vec![None; of]);
        *sheets.get_mut(at)? = Some(entry);
        let whole: Vec<&Entry> = sheets.iter().flatten().collect();
        if whole.len() < of {
            return None;
        }
        let first = whole[0].key.clone();
        let text = whole.iter().flat_map(|sheet| sheet.value.iter().copied()).collect();
        // The names stay, to see the letter go; the text does not.
        sheets.iter_mut().flatten().for_each(|sheet| sheet.value = bytes::Bytes::new());
        Some((id, first, text))
    }

    pub fn remove(&mut self, key: &Key) -> Option<Uuid> {
        let (id, _, _) = read_sheet(key.stem())?;
        self.0.remove(&id).map(|_| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys::QUESTIONS;
    use async_trait::async_trait;
    use coord_api::{ErrorKind, Revision, SessionId, SessionState, StrictHold, Version};
    use parking_lot::Mutex;
    use std::time::Instant as Moment;
    use tokio::sync::watch;

    /// Answers one change after the other as told, and is asked for nothing else.
    #[derive(Debug)]
    struct Scripted(Mutex<VecDeque<coord_api::Result<TxnOutcome>>>);

    #[async_trait]
    impl Session for Scripted {
        fn id(&self) -> SessionId {
            SessionId(1)
        }

        fn ttl(&self) -> Duration {
            unreachable!()
        }

        fn state(&self) -> watch::Receiver<SessionState> {
            unreachable!()
        }

        async fn txn(&self, _: Txn) -> coord_api::Result<TxnOutcome> {
            self.0.lock().pop_front().expect("nothing is sent any more")
        }

        async fn confirm(&self) -> coord_api::Result<Moment> {
            unreachable!()
        }

        fn hold_strict(&self) -> StrictHold {
            unreachable!()
        }

        async fn close(&self) -> coord_api::Result<()> {
            unreachable!()
        }
    }

    const SENT: coord_api::Result<TxnOutcome> =
        Ok(TxnOutcome::Committed { revision: Revision(1), versions: vec![] });

    fn failed(kind: ErrorKind, effect: Effect) -> coord_api::Result<TxnOutcome> {
        let mut error: coord_api::Error = kind.into();
        error.effect = effect;
        Err(error)
    }

    fn soon() -> Instant {
        Instant::now() + AGAIN * 10
    }

    /// The second goes out at the third attempt; of the third nobody knows; the fourth does not.
    #[tokio::test(start_paused = true)]
    async fn a_letter_that_may_have_gone_out_is_waited_for() {
        let (unknown, none) = (Effect::Unknown, Effect::None);
        let outcomes = [
            SENT,
            failed(ErrorKind::Timeout, unknown),
            failed(ErrorKind::Unavailable, none),
            SENT,
            failed(ErrorKind::Timeout, unknown),
            failed(ErrorKind::SessionLost, none),
            failed(ErrorKind::Unavailable, none),
        ];
        let session = Scripted(Mutex::new(outcomes.into()));
        let letter = |number: usize| {
            let key = entry(Uuid::new_v4(), 0, 1, "").key;
            (number, key, vec![0; BYTES_AT_ONCE])
        };
        let unsent = post_all(&session, (0..5).map(letter).collect(), soon()).await;
        assert_eq!((unsent, session.0.lock().len()), ([3, 4].into(), 0));
    }

    /// Whoever asked waits for it.
    #[tokio::test(start_paused = true)]
    async fn an_answer_is_sent_until_it_is_there() {
        let question = entry(Uuid::new_v4(), 0, 1, "").key;
        let check = async |outcomes: Vec<_>, want: Option<bool>| {
            let session = Scripted(Mutex::new(outcomes.into()));
            let (keys, sheets) = ([question.clone()], vec![vec![0]]);
            let sent = send_answer(&session, &keys, sheets, &question, soon()).await;
            assert_eq!((sent.ok(), session.0.lock().len()), (want, 0));
        };
        let lost = || failed(ErrorKind::Timeout, Effect::Unknown);
        let away = || failed(ErrorKind::Unavailable, Effect::None);
        check(vec![lost(), away(), SENT], Some(true)).await;
        check(vec![away(), lost(), SENT], Some(true)).await;
        check(vec![lost(), Ok(TxnOutcome::Conflict { failed: None })], Some(false)).await;
        check(vec![away(), failed(ErrorKind::SessionLost, Effect::None)], None).await;
        check((0..10).map(|_| away()).collect(), None).await;
    }

    fn entry(id: Uuid, at: usize, of: usize, text: &str) -> Entry {
        let stem = sheet(Uuid::max(), id, at, of);
        Entry {
            key: Key::ephemeral(&QUESTIONS, &stem, SessionId(1), 0).unwrap(),
            value: text.to_owned().into(),
            version: Version([1; 3]),
            created: Revision(1),
            modified: Revision(1),
            owner: Some(SessionId(1)),
        }
    }

    #[test]
    fn a_letter_is_whole_when_every_sheet_is_there() {
        let (mut inbox, id) = (Inbox::default(), Uuid::new_v4());
        assert_eq!(inbox.add(entry(id, 1, 2, "b")), None);
        let (whose, first, text) = inbox.add(entry(id, 0, 2, "a")).unwrap();
        assert_eq!((whose, text.as_slice()), (id, b"ab".as_slice()));
        assert_eq!(inbox.remove(&first), Some(id));
        assert_eq!(inbox.remove(&first), None);
        assert_eq!(inbox.add(entry(id, 0, SHEETS_MAX + 1, "a")), None);
        // Two that disagree on the number of sheets.
        assert_eq!(inbox.add(entry(id, 0, 2, "a")), None);
        assert_eq!(inbox.add(entry(id, 3, 4, "a")), None);
    }
}
