//! The rooms put together: a coordinator, the view, the listeners, the loops.

use crate::boot::{Lifecycle, Settings};

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What kept it from starting; the user sees it.
pub async fn run(_settings: Settings, lifecycle: Lifecycle) -> anyhow::Result<()> {
    lifecycle.ready.signal()?;
    lifecycle.stop.cancelled().await;
    Ok(())
}
