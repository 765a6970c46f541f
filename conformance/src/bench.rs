//! What the services cost, side by side on one machine in one run. Ratios count, not figures.
//!
//! The services take turns, row by row and round by round, so that whatever else the machine does
//! meets all of them. Every write is on disk before it is acknowledged; what the disk itself can do
//! is the first line.

mod disk;
mod load;

use crate::url::open_in;
use coord_api::{Backend, Coordinator, Error, OpenOpts, Space, SpaceKind};
use load::{Sample, Work};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Turns of each service in each row.
const TURNS: usize = 3;

/// One service, open, with a namespace of the run's own.
struct Service<'a> {
    url: &'a str,
    c: Arc<dyn Coordinator>,
}

pub(crate) fn run(backends: &Arc<[Box<dyn Backend>]>, urls: &[String], disk: &Path) -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be started");
    match disk::rate(disk) {
        Ok(text) => println!("{text}"),
        Err(error) => {
            eprintln!("{}: {error}", disk.display());
            return ExitCode::FAILURE;
        }
    }
    match runtime.block_on(table(backends, urls)) {
        Ok(()) => ExitCode::SUCCESS,
        Err((what, error)) => {
            eprintln!("{what}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Prints each row as soon as it is measured.
async fn table(backends: &[Box<dyn Backend>], urls: &[String]) -> Result<(), (String, Error)> {
    let mut services = Vec::new();
    for url in urls {
        let c = prepared(backends, url).await.map_err(|error| (url.clone(), error))?;
        services.push(Service { url, c });
    }
    println!("| | {} |", urls.join(" | "));
    println!("|---{}|", "|---".repeat(urls.len()));
    for work in Work::ALL {
        let mut samples: Vec<Sample> = services.iter().map(|_| Sample::default()).collect();
        for turn in 0..work.turns(TURNS) {
            for (service, sample) in services.iter().zip(&mut samples) {
                let done = work.run(&service.c, turn).await;
                sample.add(done.map_err(|error| (format!("{}: {work}", service.url), error))?);
            }
        }
        let cells: Vec<String> = samples.into_iter().map(|sample| work.cell(sample)).collect();
        println!("| {work} | {} |", cells.join(" | "));
    }
    for service in services {
        // What was measured stands, whatever the farewell says.
        drop(service.c.close().await);
    }
    Ok(())
}

async fn prepared(backends: &[Box<dyn Backend>], url: &str) -> Result<Arc<dyn Coordinator>, Error> {
    let ns = format!("bench-{}", uuid::Uuid::new_v4().simple());
    let opts = OpenOpts { request_timeout: Duration::from_secs(60), ..OpenOpts::default() };
    let c = open_in(backends, url, &ns, opts).await?;
    c.ensure_space(&Space::new("conf")?, SpaceKind::Persistent).await?;
    c.ensure_space(&Space::new("alive")?, SpaceKind::Ephemeral).await?;
    Ok(c)
}
