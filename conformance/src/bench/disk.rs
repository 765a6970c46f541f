//! How often the disk below a folder can be told to keep what was written.

use rustix::fs::fdatasync;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const ROUNDS: usize = 300;

/// One line: syncs a second and their median, within a file's length and beyond it.
pub(super) fn rate(dir: &Path) -> io::Result<String> {
    let file = tempfile::tempfile_in(dir)?;
    let growing = times(&file)?;
    // All of it is allocated and written by now.
    let within = times(&file)?;
    Ok(format!(
        "the disk below {}: {} while a file grows, {} within its length (4 KiB and fdatasync)",
        dir.display(),
        told(growing),
        told(within)
    ))
}

fn times(file: &std::fs::File) -> io::Result<Vec<Duration>> {
    (0..ROUNDS)
        .map(|n| {
            let begun = Instant::now();
            file.write_all_at(&[0x5a; BLOCK], (n * BLOCK) as u64)?;
            fdatasync(file)?;
            Ok(begun.elapsed())
        })
        .collect()
}

fn told(mut times: Vec<Duration>) -> String {
    let total: Duration = times.iter().sum();
    times.sort();
    let median = times[times.len() / 2].as_secs_f64() * 1e3;
    format!("{:.0} syncs/s, median {median:.2} ms", times.len() as f64 / total.as_secs_f64())
}
