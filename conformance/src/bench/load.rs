//! The rows of the table: what is done, and what is said of it.

use coord_api::{
    Coordinator, CoordinatorExt, Error, ErrorKind, Key, Prefix, ReadOpts, SessionOpts, Space, Txn,
    WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use futures_util::future::{join_all, try_join_all};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LISTED: usize = 10_000;
const SESSIONS: usize = 1000;
/// Sessions that are opened at once.
const OPENING: usize = 50;

/// A row.
#[derive(Clone, Copy, Debug)]
pub(super) enum Work {
    /// Writes, so many in flight.
    Puts(usize),
    CompareAndSet,
    /// True: linearizable.
    Gets(bool),
    /// From a write to the moment when so many watchers of one handle have it.
    Fan(usize),
    Sessions,
    List,
}

/// What some turns gave: times of single calls, and how long all took together.
#[derive(Debug, Default)]
pub(super) struct Sample {
    calls: Vec<Duration>,
    total: Duration,
}

impl Sample {
    pub fn add(&mut self, other: Sample) {
        self.calls.extend(other.calls);
        self.total += other.total;
    }

    fn rate(&self) -> f64 {
        self.calls.len() as f64 / self.total.as_secs_f64()
    }

    /// Median and the 99th of a hundred, in milliseconds.
    fn spread(&mut self) -> String {
        self.calls.sort();
        let last = self.calls.len().saturating_sub(1);
        let at = |part: usize| {
            self.calls.get(last * part / 100).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        format!("{:.2} ms (p99 {:.2})", at(50), at(99))
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Puts(n) => write!(f, "writes, {n} in flight"),
            Work::CompareAndSet => f.write_str("compare and set"),
            Work::Gets(true) => f.write_str("get, linearizable"),
            Work::Gets(false) => f.write_str("get, session"),
            Work::Fan(n) => write!(f, "write to last of {n} watchers"),
            Work::Sessions => write!(f, "{SESSIONS} sessions with a key each"),
            Work::List => write!(f, "list of {LISTED} keys"),
        }
    }
}

impl Work {
    pub const ALL: [Work; 11] = [
        Work::Puts(1),
        Work::Puts(16),
        Work::Puts(128),
        Work::CompareAndSet,
        Work::Gets(true),
        Work::Gets(false),
        Work::Fan(1),
        Work::Fan(100),
        Work::Fan(1000),
        Work::Sessions,
        Work::List,
    ];

    /// The long ones are done once.
    pub fn turns(self, usual: usize) -> usize {
        if matches!(self, Work::Sessions | Work::List) { 1 } else { usual }
    }

    pub fn cell(self, mut sample: Sample) -> String {
        match self {
            Work::Puts(_) => format!("{:.0}/s, {}", sample.rate(), sample.spread()),
            Work::Sessions => {
                format!("{:.1} s in all, {} each", sample.total.as_secs_f64(), sample.spread())
            }
            _ => sample.spread(),
        }
    }

    pub async fn run(self, c: &Arc<dyn Coordinator>, turn: usize) -> Result<Sample, Error> {
        let space = Space::new("conf")?;
        let begun = Instant::now();
        let calls = match self {
            Work::Puts(flight) => puts(c, &space, flight, 1500.min(400 * flight)).await?,
            Work::CompareAndSet => swaps(&**c, &Key::new(&space, "k")?).await?,
            Work::Gets(linearizable) => gets(&**c, &Key::new(&space, "k")?, linearizable).await?,
            Work::Fan(watchers) => fan(&**c, &Space::new("conf")?, watchers, turn).await?,
            Work::Sessions => sessions(c).await?,
            Work::List => lists(&**c, &space).await?,
        };
        Ok(Sample { calls, total: begun.elapsed() })
    }
}

async fn timed<T>(call: impl Future<Output = Result<T, Error>>) -> Result<Duration, Error> {
    let begun = Instant::now();
    call.await?;
    Ok(begun.elapsed())
}

/// Each writer has its own key and one call at a time.
async fn puts(
    c: &Arc<dyn Coordinator>,
    space: &Space,
    flight: usize,
    calls: usize,
) -> Result<Vec<Duration>, Error> {
    let writers = (0..flight).map(|n| {
        let (c, k) = (c.clone(), Key::new(space, &format!("t{n}")));
        tokio::spawn(async move {
            let (k, mut times) = (k?, Vec::new());
            for i in 0..calls.div_ceil(flight) {
                times.push(timed(c.txn(Txn::new().put(&k, format!("{i:0100}")))).await?);
            }
            Ok::<_, Error>(times)
        })
    });
    let done = join_all(writers.collect::<Vec<_>>()).await;
    let all: Result<Vec<_>, Error> = done.into_iter().map(|d| d.expect("no panic")).collect();
    Ok(all?.concat())
}

async fn swaps(c: &dyn Coordinator, k: &Key) -> Result<Vec<Duration>, Error> {
    let mut times = Vec::new();
    for i in 0..300 {
        let (now, _) = c.get(k, ReadOpts::default()).await?;
        let txn = Txn::new().as_read(k, now.as_ref()).put(k, i.to_string());
        times.push(timed(c.txn(txn)).await?);
    }
    Ok(times)
}

async fn gets(c: &dyn Coordinator, k: &Key, linearizable: bool) -> Result<Vec<Duration>, Error> {
    let opts = if linearizable { ReadOpts::linearizable() } else { ReadOpts::session() };
    let mut times = Vec::new();
    for _ in 0..500 {
        times.push(timed(c.get(k, opts)).await?);
    }
    Ok(times)
}

async fn fan(
    c: &dyn Coordinator,
    space: &Space,
    watchers: usize,
    turn: usize,
) -> Result<Vec<Duration>, Error> {
    let name = format!("fan{watchers}.{turn}");
    let (k, prefix) = (Key::new(space, &name)?, Prefix::new(space, &name)?);
    let mut streams: Vec<_> =
        (0..watchers).map(|_| c.watch(prefix.clone(), WatchOpts::default())).collect();
    for stream in &mut streams {
        until(stream, |event| matches!(event, WatchEvent::Synced { .. })).await?;
    }
    let mut times = Vec::new();
    for i in 0..30 {
        let begun = Instant::now();
        let at = c.txn(Txn::new().put(&k, i.to_string())).await?.committed();
        let seen = |event: &WatchEvent| match event {
            WatchEvent::Changes { revision, .. } => Some(*revision) >= at,
            _ => false,
        };
        try_join_all(streams.iter_mut().map(|stream| until(stream, seen))).await?;
        times.push(begun.elapsed());
    }
    Ok(times)
}

async fn until(
    stream: &mut coord_api::BoxStream<WatchEvent>,
    wanted: impl Fn(&WatchEvent) -> bool,
) -> Result<(), Error> {
    loop {
        match stream.next().await {
            Some(event) if wanted(&event) => return Ok(()),
            Some(WatchEvent::Closed(error)) => return Err(error),
            Some(_) => {}
            None => return Err(ErrorKind::Closed.into()),
        }
    }
}

/// Times from asking for a session until its key is written; all of them live at the end.
async fn sessions(c: &Arc<dyn Coordinator>) -> Result<Vec<Duration>, Error> {
    let space = Space::new("alive")?;
    let openings = (0..SESSIONS).map(|_| async {
        let begun = Instant::now();
        let opts = SessionOpts { ttl: Duration::from_secs(30), name: "bench".into() };
        let session = c.session(opts).await?;
        let k = Key::ephemeral(&space, "n", session.id(), 0)?;
        session.txn(Txn::new().put_ephemeral(&k, "")).await?;
        Ok::<_, Error>((begun.elapsed(), session))
    });
    let opened: Vec<_> =
        futures_util::stream::iter(openings).buffer_unordered(OPENING).collect().await;
    let opened: Vec<_> = opened.into_iter().collect::<Result<_, Error>>()?;
    let found = c.list(&Prefix::all(&space), ReadOpts::default()).await?.entries.len();
    assert_eq!(found, SESSIONS, "sessions that were opened and live");
    Ok(opened.into_iter().map(|(took, _)| took).collect())
}

async fn lists(c: &dyn Coordinator, space: &Space) -> Result<Vec<Duration>, Error> {
    for from in (0..LISTED).step_by(100) {
        let mut txn = Txn::new();
        for i in from..from + 100 {
            txn = txn.put(&Key::new(space, &format!("l{i:05}"))?, vec![b'x'; 100]);
        }
        c.txn(txn).await?;
    }
    let mut times = Vec::new();
    for _ in 0..10 {
        times.push(timed(c.list(&Prefix::new(space, "l")?, ReadOpts::default())).await?);
    }
    Ok(times)
}
