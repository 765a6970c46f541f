//! What the services cost, side by side on one machine in one run. Ratios count, not figures.

use crate::cli::{below, open};
use coord_api::{
    Backend, Coordinator, CoordinatorExt, Error, Key, OpenOpts, Prefix, ReadOpts, SessionOpts,
    Space, SpaceKind, Txn, WatchEvent, WatchOpts,
};
use futures_util::StreamExt;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUNDS: usize = 300;
const AT_ONCE: usize = 64;

/// One line of the table: what was measured and each service's figure.
type Row = (&'static str, Vec<String>);

pub(crate) fn run(backends: &Arc<[Box<dyn Backend>]>, urls: &[String]) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    let mut rows: Vec<Row> = Vec::new();
    for url in urls {
        match runtime.block_on(measure(backends, url)) {
            Ok(figures) => {
                for (i, (name, figure)) in figures.into_iter().enumerate() {
                    match rows.get_mut(i) {
                        Some(row) => row.1.push(figure),
                        None => rows.push((name, vec![figure])),
                    }
                }
            }
            Err(error) => {
                eprintln!("{url}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{:<34}{}", "", urls.iter().map(|url| format!("{url:>28}")).collect::<String>());
    for (name, figures) in rows {
        println!("{name:<34}{}", figures.iter().map(|f| format!("{f:>28}")).collect::<String>());
    }
    ExitCode::SUCCESS
}

async fn measure(
    backends: &[Box<dyn Backend>],
    url: &str,
) -> Result<Vec<(&'static str, String)>, Error> {
    let url = below(url, &format!("bench-{}", uuid::Uuid::new_v4().simple()));
    let c = open(backends, &url, OpenOpts::default()).await?;
    let space = Space::new("conf")?;
    c.ensure_space(&space, SpaceKind::Persistent).await?;
    let k = Key::new(&space, "k")?;
    let mut figures = vec![
        ("put, one after the other", puts(&*c, &k).await?),
        ("compare and set", swaps(&*c, &k).await?),
        ("puts, 64 at once", puts_at_once(&c, &space).await?),
        ("get, linearizable", gets(&*c, &k, ReadOpts::linearizable()).await?),
        ("get, session", gets(&*c, &k, ReadOpts::session()).await?),
        ("put to event", events(&*c, &space, &k).await?),
        ("list of 1,000 keys", lists(&*c, &space).await?),
    ];
    figures.push(("session: open, key, close", sessions(&*c).await?));
    c.close().await?;
    Ok(figures)
}

/// Median and the 99th of a hundred, in milliseconds.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: usize| times[(times.len() - 1) * part / 100].as_secs_f64() * 1e3;
    format!("{:.2} ms (p99 {:.2})", at(50), at(99))
}

async fn puts(c: &dyn Coordinator, k: &Key) -> Result<String, Error> {
    let mut times = Vec::new();
    for i in 0..ROUNDS {
        let begun = Instant::now();
        c.txn(Txn::new().put(k, i.to_string())).await?;
        times.push(begun.elapsed());
    }
    Ok(spread(times))
}

async fn swaps(c: &dyn Coordinator, k: &Key) -> Result<String, Error> {
    let mut times = Vec::new();
    let (mut now, _) = c.get(k, ReadOpts::default()).await?;
    for i in 0..ROUNDS {
        let begun = Instant::now();
        c.txn(Txn::new().as_read(k, now.as_ref()).put(k, i.to_string())).await?;
        times.push(begun.elapsed());
        now = c.get(k, ReadOpts::default()).await?.0;
    }
    Ok(spread(times))
}

async fn puts_at_once(c: &Arc<dyn Coordinator>, space: &Space) -> Result<String, Error> {
    let begun = Instant::now();
    let tasks = (0..AT_ONCE).map(|n| {
        let (c, k) = (c.clone(), Key::new(space, &format!("t{n}")));
        tokio::spawn(async move {
            let k = k?;
            for i in 0..20 {
                c.txn(Txn::new().put(&k, i.to_string())).await?;
            }
            Ok::<(), Error>(())
        })
    });
    for task in futures_util::future::join_all(tasks.collect::<Vec<_>>()).await {
        task.expect("no task panics")?;
    }
    Ok(format!("{:.0} /s", (AT_ONCE * 20) as f64 / begun.elapsed().as_secs_f64()))
}

async fn gets(c: &dyn Coordinator, k: &Key, opts: ReadOpts) -> Result<String, Error> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        c.get(k, opts).await?;
        times.push(begun.elapsed());
    }
    Ok(spread(times))
}

async fn events(c: &dyn Coordinator, space: &Space, k: &Key) -> Result<String, Error> {
    let mut stream = c.watch(Prefix::all(space), WatchOpts::default());
    while !matches!(stream.next().await, Some(WatchEvent::Synced { .. }) | None) {}
    let mut times = Vec::new();
    for i in 0..ROUNDS {
        let begun = Instant::now();
        let at = c.txn(Txn::new().put(k, i.to_string())).await?.committed();
        loop {
            match stream.next().await {
                Some(WatchEvent::Changes { revision, .. }) if Some(revision) >= at => break,
                Some(WatchEvent::Closed(error)) => return Err(error),
                None => return Err(coord_api::ErrorKind::Closed.into()),
                Some(_) => {}
            }
        }
        times.push(begun.elapsed());
    }
    Ok(spread(times))
}

async fn lists(c: &dyn Coordinator, space: &Space) -> Result<String, Error> {
    for from in (0..1000).step_by(100) {
        let mut txn = Txn::new();
        for i in from..from + 100 {
            txn = txn.put(&Key::new(space, &format!("l{i:04}"))?, vec![b'x'; 100]);
        }
        c.txn(txn).await?;
    }
    let mut times = Vec::new();
    for _ in 0..30 {
        let begun = Instant::now();
        c.list(&Prefix::new(space, "l")?, ReadOpts::default()).await?;
        times.push(begun.elapsed());
    }
    Ok(spread(times))
}

async fn sessions(c: &dyn Coordinator) -> Result<String, Error> {
    let space = Space::new("alive")?;
    c.ensure_space(&space, SpaceKind::Ephemeral).await?;
    let mut times = Vec::new();
    for _ in 0..30 {
        let begun = Instant::now();
        let ttl = Duration::from_secs(10);
        let session = c.session(SessionOpts { ttl, name: "bench".into() }).await?;
        let k = Key::ephemeral(&space, "n", session.id(), 0)?;
        session.txn(Txn::new().put_ephemeral(&k, "")).await?;
        session.close().await?;
        times.push(begun.elapsed());
    }
    Ok(spread(times))
}
