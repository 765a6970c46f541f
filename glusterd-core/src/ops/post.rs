//! Questions to other nodes and their answers, as letters in the coordinator.
//!
//! A letter is one or more sheets: keys bound to the writer's session, so that nothing of it
//! outlives writer and reader. The answer to a letter that was withdrawn is not written. Letters
//! are thrown away behind the answer, many in one change.

use super::node::LocalNode;
use super::question::{Answer, Question};
use crate::membership::Announced;
use crate::model::NodeId;
use crate::store::keys::{ANSWERS, QUESTIONS, letters_to, read_sheet, sheet};
use crate::store::{Freshness, Store};
use coord_api::{Entry, Key, Session, Space, Txn, TxnOutcome, View};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

/// Well below the value limit of every coordinator.
const SHEET_BYTES: usize = 256 << 10;
const SHEETS_MAX: usize = 64;
/// Letters to this node that are not complete; more are not looked at.
const LETTERS_MAX: usize = 1024;
/// Questions answered at a time; more are left unanswered.
const ANSWERING_MAX: usize = 256;
/// Keys to be thrown away in one change, and how long they may lie about.
const LITTER_AT_ONCE: usize = 64;
const LITTER_MAX: usize = 4096;
const LITTER_AGE: Duration = Duration::from_secs(1);
/// Looking at what is there, with its processes.
const LOOK_BOUND: Duration = Duration::from_secs(15);
/// Bringing itself in line, which may start processes.
const SETTLE_BOUND: Duration = Duration::from_secs(40);
const RETRY: Duration = Duration::from_millis(500);
/// Between two sessions of this node.
const SESSION_BOUND: Duration = Duration::from_secs(5);

/// What travels. `left_ms`: how long the writer will wait.
#[derive(Serialize, Deserialize)]
struct Letter<T> {
    from: Uuid,
    pool: Uuid,
    left_ms: u64,
    body: T,
}

pub struct Post {
    store: Arc<Store>,
    announced: Arc<Announced>,
    waiting: Mutex<HashMap<Uuid, oneshot::Sender<Answer>>>,
    /// Answers that lie with their readers.
    answered: Mutex<HashMap<Uuid, Vec<Key>>>,
    litter: mpsc::Sender<Key>,
    answering: Arc<Semaphore>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({} waiting)", self.waiting.lock().len())
    }
}

/// A question under way; however it ends, nobody waits for it then and its sheets go.
struct Sent<'a> {
    post: &'a Post,
    id: Uuid,
    keys: Vec<Key>,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        self.post.waiting.lock().remove(&self.id);
        self.post.throw_away(self.keys.drain(..));
    }
}

fn bound(question: &Question) -> Duration {
    match question {
        Question::Settle { .. } => SETTLE_BOUND,
        Question::Status { .. }
        | Question::BrickOp { .. }
        | Question::ServiceOp { .. }
        | Question::OptionFacts { .. }
        | Question::TellClients { .. }
        | Question::Locate { .. } => LOOK_BOUND,
        _ => Duration::MAX,
    }
}

impl Post {
    pub fn new(store: Arc<Store>, announced: Arc<Announced>) -> Arc<Post> {
        let (litter, rest) = mpsc::channel(LITTER_MAX);
        tokio::spawn(sweep(store.clone(), rest));
        Arc::new(Post {
            store,
            announced,
            waiting: Mutex::default(),
            answered: Mutex::default(),
            litter,
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
        })
    }

    /// Asks another node; [`Answer::Silent`] when it goes, or does not answer in time.
    pub async fn ask(&self, node: NodeId, question: &Question, until: Instant) -> Answer {
        let silent = |why: &str| Answer::Silent(format!("Node {node} {why}"));
        let now = Instant::now();
        let until = now.checked_add(bound(question)).map_or(until, |bound| until.min(bound));
        if !self.store.view().alive.contains(&node) {
            return silent("is not connected");
        }
        let Some(session) = self.session(until.min(now + SESSION_BOUND)).await else {
            return silent("cannot be asked: no session with the coordination service");
        };
        let id = Uuid::new_v4();
        let Some(sheets) = self.sheets(question, until) else {
            return silent("cannot be asked: the question is too long");
        };
        let Some(keys) = keys(&QUESTIONS, node, id, sheets.len(), &*session) else {
            return silent("cannot be asked");
        };
        let (tell, told) = oneshot::channel();
        self.waiting.lock().insert(id, tell);
        let sent = Sent { post: self, id, keys };
        if let Err(error) = send(&*session, &sent.keys, sheets, None).await {
            tracing::warn!(%node, %error, "a question was not sent");
            return silent("could not be asked");
        }
        let mut sights = self.store.subscribe();
        let mut announced = self.announced.subscribe();
        let other =
            |now: &Option<Arc<dyn Session>>| now.as_ref().map(|s| s.id()) != Some(session.id());
        tokio::select! {
            biased;
            answer = told => answer.unwrap_or_else(|_| silent("did not answer")),
            _ = sights.wait_for(|sight| !sight.view.alive.contains(&node)) => {
                silent("is not connected any more")
            }
            _ = announced.wait_for(other) => {
                silent("cannot be heard: the session with the coordination service was lost")
            }
            () = tokio::time::sleep_until(until) => silent("did not answer in time"),
        }
    }

    fn sheets<T: Serialize>(&self, body: &T, until: Instant) -> Option<Vec<Vec<u8>>> {
        let place = *self.store.place().borrow();
        let left = until.saturating_duration_since(Instant::now());
        let letter = Letter {
            from: place.node.0,
            pool: place.pool.0,
            left_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            body,
        };
        let bytes = serde_json::to_vec(&letter).expect("text, numbers and lists");
        let sheets: Vec<Vec<u8>> = bytes.chunks(SHEET_BYTES).map(<[u8]>::to_vec).collect();
        (sheets.len() <= SHEETS_MAX).then_some(sheets)
    }

    async fn session(&self, until: Instant) -> Option<Arc<dyn Session>> {
        let mut announced = self.announced.subscribe();
        let some = announced.wait_for(Option::is_some);
        tokio::time::timeout_at(until, some).await.ok()?.ok()?.clone()
    }

    fn throw_away(&self, keys: impl Iterator<Item = Key>) {
        for key in keys {
            // What does not fit goes with the session.
            let _full = self.litter.try_send(key);
        }
    }

    /// Reads what comes in for ever: questions to `local`, and answers to this node's own.
    pub async fn run(self: Arc<Self>, local: Arc<LocalNode>) {
        let mut places = self.store.place();
        let mut sights = self.store.subscribe();
        let current = |sight: &crate::store::Sight| sight.view.freshness == Freshness::Current;
        while sights.wait_for(current).await.is_ok() {
            let me = places.borrow_and_update().node;
            let coordinator = self.store.coordinator();
            let questions = letters_to(&QUESTIONS, me);
            let questions = View::open(coordinator, &questions, SESSION_BOUND).await;
            let answers = View::open(coordinator, &letters_to(&ANSWERS, me), SESSION_BOUND).await;
            match (questions, answers) {
                (Ok(questions), Ok(answers)) => {
                    tokio::select! {
                        () = self.read(&local, &questions, &answers) => {}
                        _ = places.wait_for(|place| place.node != me) => {}
                    }
                }
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(%error, "other nodes cannot ask this one");
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn read(self: &Arc<Self>, local: &Arc<LocalNode>, questions: &View, answers: &View) {
        let (mut asked, mut told) = (Inbox::default(), Inbox::default());
        let (mut questions, mut answers) = (questions.follow(), answers.follow());
        loop {
            tokio::select! {
                diff = questions.next() => {
                    let Some(diff) = diff else { return };
                    for entry in &diff.removed {
                        if let Some(id) = asked.remove(&entry.key) {
                            let answer = self.answered.lock().remove(&id);
                            self.throw_away(answer.into_iter().flatten());
                        }
                    }
                    for entry in diff.added {
                        if let Some((id, first, bytes)) = asked.add(entry) {
                            self.clone().begin(local.clone(), id, first, bytes);
                        }
                    }
                }
                diff = answers.next() => {
                    let Some(diff) = diff else { return };
                    for entry in &diff.removed {
                        told.remove(&entry.key);
                    }
                    for entry in diff.added {
                        if let Some((id, _, bytes)) = told.add(entry) {
                            self.deliver(id, &bytes);
                        }
                    }
                }
            }
        }
    }

    fn deliver(&self, id: Uuid, bytes: &[u8]) {
        let Some(tell) = self.waiting.lock().remove(&id) else { return };
        let answer = read::<Answer>(bytes).map(|letter| letter.body);
        let unread = || Answer::Silent("A node's answer cannot be read".to_owned());
        let _nobody_waits = tell.send(answer.unwrap_or_else(unread));
    }

    fn begin(self: Arc<Self>, local: Arc<LocalNode>, id: Uuid, question: Key, bytes: Vec<u8>) {
        let Ok(permit) = self.answering.clone().try_acquire_owned() else {
            return tracing::warn!("too many questions at a time; one stays unanswered");
        };
        tokio::spawn(async move {
            if let Some(letter) = read::<Question>(&bytes) {
                self.answer(&local, id, &question, letter).await;
            }
            drop(permit);
        });
    }

    async fn answer(&self, local: &LocalNode, id: Uuid, question: &Key, letter: Letter<Question>) {
        let until = Instant::now() + Duration::from_millis(letter.left_ms.min(600_000));
        let answer = match letter.pool == self.store.pool().0 && letter.body.may_travel() {
            true => local.answer_within(&letter.body, until).await,
            false => Answer::Silent("This node does not answer that to others".to_owned()),
        };
        let Some(session) = self.session(until).await else { return };
        let long = Answer::Silent("The answer is too long".to_owned());
        let sheets = self.sheets(&answer, until).or_else(|| self.sheets(&long, until));
        let sheets = sheets.expect("one line fits");
        let Some(keys) = keys(&ANSWERS, NodeId(letter.from), id, sheets.len(), &*session) else {
            return;
        };
        self.answered.lock().insert(id, keys.clone());
        match send(&*session, &keys, sheets, Some(question)).await {
            Ok(true) => {}
            Ok(false) => drop(self.answered.lock().remove(&id)),
            Err(error) => tracing::warn!(%error, "an answer was not sent"),
        }
    }
}

fn keys(space: &Space, to: NodeId, id: Uuid, of: usize, session: &dyn Session) -> Option<Vec<Key>> {
    let key = |at| Key::ephemeral(space, &sheet(to, id, at, of), session.id(), 0);
    (0..of).map(key).collect::<coord_api::Result<_>>().ok()
}

/// `false`: what it answers was withdrawn.
async fn send(
    session: &dyn Session,
    keys: &[Key],
    sheets: Vec<Vec<u8>>,
    answers: Option<&Key>,
) -> coord_api::Result<bool> {
    for (key, sheet) in keys.iter().zip(sheets) {
        let txn = Txn::new().put_ephemeral(key, sheet);
        let txn = answers.map_or(txn.clone(), |question| txn.exists(question));
        if let TxnOutcome::Conflict { .. } = session.txn(txn).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Option<Letter<T>> {
    let letter = serde_json::from_slice(bytes);
    letter.inspect_err(|error| tracing::warn!(%error, "a letter cannot be read")).ok()
}

/// Deletes what nobody will read again, a while after the first of it.
async fn sweep(store: Arc<Store>, mut litter: mpsc::Receiver<Key>) {
    let mut keys = Vec::new();
    while litter.recv_many(&mut keys, LITTER_AT_ONCE).await > 0 {
        if keys.len() < LITTER_AT_ONCE {
            tokio::time::sleep(LITTER_AGE).await;
        }
        while keys.len() < LITTER_AT_ONCE
            && let Ok(key) = litter.try_recv()
        {
            keys.push(key);
        }
        keys.sort_unstable();
        keys.dedup();
        let txn = keys.drain(..).fold(Txn::new(), |txn, key| txn.delete(&key));
        if let Err(error) = store.coordinator().txn(txn).await {
            tracing::debug!(%error, "old letters stay until their writer's session ends");
        }
    }
}

/// Sheets that have come in, by letter.
#[derive(Default)]
struct Inbox(HashMap<Uuid, Vec<Option<Entry>>>);

impl Inbox {
    /// The letter, the name of its first sheet and its text, once it is complete.
    fn add(&mut self, entry: Entry) -> Option<(Uuid, Key, Vec<u8>)> {
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

    fn remove(&mut self, key: &Key) -> Option<Uuid> {
        let (id, _, _) = read_sheet(key.stem())?;
        self.0.remove(&id).map(|_| id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord_api::{Revision, SessionId, Version};

    fn entry(id: Uuid, at: usize, of: usize, text: &str) -> Entry {
        let stem = sheet(NodeId(Uuid::max()), id, at, of);
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
