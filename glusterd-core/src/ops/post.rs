//! Questions to other nodes and their answers, as letters in the coordinator.
//!
//! A letter is one or more sheets: keys bound to the writer's session, so that nothing of it
//! outlives writer and reader. It goes to one node, or to all of the pool, some of which are asked
//! for an answer; letters of one round are sent in one change. The answer to a letter that was
//! withdrawn is not written. Letters are thrown away behind the answers, many in one change.

use super::letter::{Inbox, Letter, keys, post_all, read, send_answer};
use super::node::LocalNode;
use super::question::{Answer, Question};
use crate::membership::Announced;
use crate::model::NodeId;
use crate::store::keys::{ANSWERS, QUESTIONS, letters_to};
use crate::store::{Freshness, Store};
use coord_api::{Key, Session, Space, Txn, View, ViewDiff};
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use uuid::Uuid;

/// Questions acted on at a time; more are left unanswered.
const ANSWERING_MAX: usize = 1024;
/// Keys to be thrown away in one change, and how long they lie about at least.
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

pub struct Post {
    store: Arc<Store>,
    announced: Arc<Announced>,
    waiting: Mutex<HashMap<Uuid, oneshot::Sender<Answer>>>,
    /// Answers that lie with their readers.
    answered: Mutex<HashMap<Uuid, Vec<Key>>>,
    litter: mpsc::Sender<(Instant, Key)>,
    answering: Arc<Semaphore>,
}

impl fmt::Debug for Post {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Post({} waiting)", self.waiting.lock().len())
    }
}

/// A letter that has been written; however it ends, nobody waits for answers then and its sheets go.
struct Sent<'a> {
    post: &'a Post,
    keys: Vec<Key>,
    replies: Vec<Reply>,
}

/// The answer that a node owes.
struct Reply {
    node: NodeId,
    id: Uuid,
    told: oneshot::Receiver<Answer>,
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        let mut waiting = self.post.waiting.lock();
        self.replies.iter().for_each(|reply| drop(waiting.remove(&reply.id)));
        drop(waiting);
        self.post.throw_away(self.keys.drain(..));
    }
}

fn silent(node: NodeId, why: &str) -> Answer {
    Answer::Silent(format!("Node {node} {why}"))
}

fn bounded(question: &Question, until: Instant) -> Instant {
    let bound = match question {
        Question::Settle { .. } => SETTLE_BOUND,
        Question::Status { .. }
        | Question::BrickOp { .. }
        | Question::ServiceOp { .. }
        | Question::OptionFacts { .. }
        | Question::TellClients { .. }
        | Question::Locate { .. } => LOOK_BOUND,
        _ => return until,
    };
    until.min(Instant::now() + bound)
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

    /// Asks other nodes, in one change; [`Answer::Silent`] for one that goes, or does not answer in
    /// time. The answers are in the order of the questions.
    pub async fn ask(&self, asks: &[(NodeId, &Question)], until: Instant) -> Vec<Answer> {
        let alive = self.store.view().alive.clone();
        let is_up = |(node, _): &&(NodeId, &Question)| alive.contains(node);
        let up = asks.iter().filter(is_up);
        let letters = up.map(|(node, question)| (node.0, *question, vec![*node])).collect();
        let mut answers = self.write(letters, until).await.into_iter();
        let answer = |ask: &(NodeId, &Question)| match is_up(&ask) {
            true => answers.next().expect("one for each that is up"),
            false => silent(ask.0, "is not connected"),
        };
        asks.iter().map(answer).collect()
    }

    /// Tells all of the pool, and waits for the answers of some.
    pub async fn tell(&self, question: &Question, of: Vec<NodeId>, until: Instant) -> Vec<Answer> {
        self.write(vec![(self.store.pool().0, question, of)], until).await
    }

    /// Addressee, text, and who is to answer.
    async fn write(
        &self,
        letters: Vec<(Uuid, &Question, Vec<NodeId>)>,
        until: Instant,
    ) -> Vec<Answer> {
        if letters.is_empty() {
            return vec![];
        }
        let asked: Vec<NodeId> = letters.iter().flat_map(|(.., of)| of.clone()).collect();
        let alike = |why| asked.iter().map(|node| silent(*node, why)).collect();
        let in_time = until.min(Instant::now() + SESSION_BOUND);
        let Some(session) = self.session(in_time).await else {
            return alike("cannot be asked: no session with the coordination service");
        };
        let (mut sheets, mut sent) = (VecDeque::new(), Vec::with_capacity(letters.len()));
        for (addressee, question, of) in letters {
            let until = bounded(question, until);
            let drawn = self.draw(addressee, question, &of, until, &*session);
            let drawn = drawn.map(|(letter, text)| {
                let number = sent.len();
                sheets.extend(letter.keys.iter().cloned().zip(text).map(|(k, s)| (number, k, s)));
                letter
            });
            sent.push((drawn, of, until));
        }
        // Not longer than the most patient of them is waited for.
        let last = sent.iter().map(|(.., until)| *until).max().unwrap_or(until);
        let unsent = post_all(&*session, sheets, last).await;
        let answers = sent.into_iter().enumerate().map(async |(number, (letter, of, until))| {
            let letter = letter.and_then(|letter| match unsent.contains(&number) {
                true => Err("could not be asked"),
                false => Ok(letter),
            });
            match letter {
                Ok(letter) => self.answers(letter, &*session, until).await,
                Err(why) => of.into_iter().map(|node| silent(node, why)).collect(),
            }
        });
        join_all(answers).await.into_iter().flatten().collect()
    }

    /// The letter's keys and the answers it will have, and the text of its sheets.
    fn draw(
        &self,
        addressee: Uuid,
        question: &Question,
        of: &[NodeId],
        until: Instant,
        session: &dyn Session,
    ) -> Result<(Sent<'_>, Vec<Vec<u8>>), &'static str> {
        let id = Uuid::new_v4();
        let waits = of.iter().map(|node| {
            let (tell, told) = oneshot::channel();
            (tell, Reply { node: *node, id: Uuid::new_v4(), told })
        });
        let (tells, replies): (Vec<_>, Vec<_>) = waits.unzip();
        let names = replies.iter().map(|reply| (reply.node.0, reply.id)).collect();
        let text = self.sheets(question, names, until);
        let text = text.ok_or("cannot be asked: the question is too long")?;
        let keys = keys(&QUESTIONS, addressee, id, text.len(), session).ok_or("cannot be asked")?;
        self.waiting.lock().extend(replies.iter().map(|reply| reply.id).zip(tells));
        Ok((Sent { post: self, keys, replies }, text))
    }

    async fn answers(
        &self,
        mut letter: Sent<'_>,
        session: &dyn Session,
        until: Instant,
    ) -> Vec<Answer> {
        let replies = letter.replies.iter_mut();
        join_all(replies.map(|reply| self.reply(reply, session, until))).await
    }

    async fn reply(&self, reply: &mut Reply, session: &dyn Session, until: Instant) -> Answer {
        let node = reply.node;
        let mut sights = self.store.subscribe();
        let mut announced = self.announced.subscribe();
        let other =
            |now: &Option<Arc<dyn Session>>| now.as_ref().map(|s| s.id()) != Some(session.id());
        tokio::select! {
            biased;
            answer = &mut reply.told => answer.unwrap_or_else(|_| silent(node, "did not answer")),
            _ = sights.wait_for(|sight| !sight.view.alive.contains(&node)) => {
                silent(node, "is not connected any more")
            }
            _ = announced.wait_for(other) => {
                silent(node, "cannot be heard: the session with the coordination service was lost")
            }
            () = tokio::time::sleep_until(until) => silent(node, "did not answer in time"),
        }
    }

    fn sheets<T: Serialize>(
        &self,
        body: &T,
        replies: Vec<(Uuid, Uuid)>,
        until: Instant,
    ) -> Option<Vec<Vec<u8>>> {
        let place = *self.store.place().borrow();
        let left = until.saturating_duration_since(Instant::now());
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        Letter { from: place.node.0, pool: place.pool.0, left_ms, replies, body }.sheets()
    }

    async fn session(&self, until: Instant) -> Option<Arc<dyn Session>> {
        let mut announced = self.announced.subscribe();
        let some = announced.wait_for(Option::is_some);
        tokio::time::timeout_at(until, some).await.ok()?.ok()?.clone()
    }

    fn throw_away(&self, keys: impl Iterator<Item = Key>) {
        for key in keys {
            // What does not fit goes with the session.
            let _full = self.litter.try_send((Instant::now(), key));
        }
    }

    /// Reads what comes in for ever: questions to `local`, and answers to this node's own.
    pub async fn run(self: Arc<Self>, local: Arc<LocalNode>) {
        let mut places = self.store.place();
        let mut sights = self.store.subscribe();
        let current = |sight: &crate::store::Sight| sight.view.freshness == Freshness::Current;
        while sights.wait_for(current).await.is_ok() {
            let here = *places.borrow_and_update();
            let (me, pool) = (here.node.0, here.pool.0);
            let open = async |space: &Space, addressee| {
                let letters = letters_to(space, addressee);
                View::open(self.store.coordinator(), &letters, SESSION_BOUND).await
            };
            let opened =
                tokio::try_join!(open(&QUESTIONS, me), open(&QUESTIONS, pool), open(&ANSWERS, me));
            match opened {
                Ok((mine, all, answers)) => {
                    tokio::select! {
                        () = self.read(&local, [&mine, &all, &answers]) => {}
                        _ = places.wait_for(|place| *place != here) => continue,
                    }
                }
                Err(error) => tracing::warn!(%error, "other nodes cannot ask this one"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn read(self: &Arc<Self>, local: &Arc<LocalNode>, boxes: [&View; 3]) {
        let (mut asked, mut told) = (Inbox::default(), Inbox::default());
        let [mut mine, mut all, mut answers] = boxes.map(View::follow);
        loop {
            let (diff, is_question) = tokio::select! {
                diff = mine.next() => (diff, true),
                diff = all.next() => (diff, true),
                diff = answers.next() => (diff, false),
            };
            let Some(diff) = diff else { return };
            match is_question {
                true => self.take_questions(local, &mut asked, diff),
                false => self.take_answers(&mut told, diff),
            }
        }
    }

    fn take_questions(self: &Arc<Self>, local: &Arc<LocalNode>, asked: &mut Inbox, diff: ViewDiff) {
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

    fn take_answers(&self, told: &mut Inbox, diff: ViewDiff) {
        for entry in &diff.removed {
            told.remove(&entry.key);
        }
        for entry in diff.added {
            if let Some((id, _, bytes)) = told.add(entry) {
                self.deliver(id, &bytes);
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
        let me = self.store.place().borrow().node.0;
        if letter.from == me {
            // To all of the pool, and this node has seen to itself.
            return;
        }
        let reply = letter.replies.iter().find(|(node, _)| *node == me).map(|(_, reply)| *reply);
        if reply.is_none() && matches!(letter.body, Question::Settle { hooks: None, .. }) {
            // It settles by itself.
            return;
        }
        let until = Instant::now() + Duration::from_millis(letter.left_ms.min(600_000));
        let answer = match letter.pool == self.store.pool().0 && letter.body.may_travel() {
            true => local.answer_within(&letter.body, until).await,
            false => Answer::Silent("This node does not answer that to others".to_owned()),
        };
        let Some(reply) = reply else { return };
        let Some(session) = self.session(until).await else { return };
        let long = Answer::Silent("The answer is too long".to_owned());
        let text = |answer| self.sheets(answer, vec![], until);
        let sheets = text(&answer).or_else(|| text(&long)).expect("one line fits");
        let Some(keys) = keys(&ANSWERS, letter.from, reply, sheets.len(), &*session) else {
            return;
        };
        self.answered.lock().insert(id, keys.clone());
        match send_answer(&*session, &keys, sheets, question, until).await {
            Ok(true) => {}
            Ok(false) => {
                // An attempt of which nothing was heard may have left some.
                let keys = self.answered.lock().remove(&id);
                self.throw_away(keys.into_iter().flatten());
            }
            Err(error) => tracing::warn!(%error, "an answer was not sent"),
        }
    }
}

/// Deletes what nobody is asked about any more, a while after: letters to all are read by nodes
/// that are not waited for.
async fn sweep(store: Arc<Store>, mut litter: mpsc::Receiver<(Instant, Key)>) {
    let mut thrown = Vec::new();
    while litter.recv_many(&mut thrown, LITTER_AT_ONCE).await > 0 {
        if let Some((last, _)) = thrown.last() {
            tokio::time::sleep_until(*last + LITTER_AGE).await;
        }
        thrown.sort_unstable_by(|(_, one), (_, other)| one.cmp(other));
        thrown.dedup_by(|(_, one), (_, other)| one == other);
        let txn = thrown.drain(..).fold(Txn::new(), |txn, (_, key)| txn.delete(&key));
        if let Err(error) = store.coordinator().txn(txn).await {
            tracing::debug!(%error, "old letters stay until their writer's session ends");
        }
    }
}
