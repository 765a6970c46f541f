//! `glusterd coordinator copy|dump|restore`: a pool moved between coordination services, or saved.
//!
//! Changes nothing in the service it reads from, and nothing at all while daemons of the pool run.

use super::force::force_new_quorum;
use crate::boot::{CoordinatorCommand, Settings};
use crate::store::Pool;
use crate::store::transfer::{Records, alive, pools};
use anyhow::{Context, bail, ensure};
use coord_api::Coordinator;
use futures_util::future::BoxFuture;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Bytes a dump may have: a hundred times what a large site needs.
const DUMP_MAX: u64 = 256 << 20;
/// A daemon that died keeps its announcement until its session ends, and its store may have to
/// find that out first.
const GRACE: Duration = Duration::from_secs(5);

/// Opens the service at a URL, without waiting for one that cannot be reached.
pub type OpenUrl =
    fn(Settings, String) -> BoxFuture<'static, coord_api::Result<Arc<dyn Coordinator>>>;

/// Does what the command says; returns what to print.
///
/// # Errors
/// What to tell the user; nothing was changed, or it says what.
pub async fn relocate(
    settings: Settings,
    command: CoordinatorCommand,
    open: OpenUrl,
) -> anyhow::Result<String> {
    let desk = Desk { settings, open };
    match command {
        CoordinatorCommand::Copy { from, to, pool, replace } => {
            ensure!(from != to, "{from} would be copied to itself");
            desk.copy(&from, &to, pool, replace).await
        }
        CoordinatorCommand::Dump { url, file, pool } => {
            desk.dump(&url, file.as_deref(), pool).await
        }
        CoordinatorCommand::Restore { file, url, replace } => {
            desk.restore(&file, &url, replace).await
        }
        CoordinatorCommand::ForceNewQuorum { yes } => force_new_quorum(&desk.settings, yes).await,
    }
}

struct Desk {
    settings: Settings,
    open: OpenUrl,
}

/// A service by the name the user gave it.
struct Service<'a> {
    url: &'a str,
    store: Arc<dyn Coordinator>,
}

impl Desk {
    async fn open<'a>(&self, url: &'a str) -> anyhow::Result<Service<'a>> {
        let store = (self.open)(self.settings.clone(), url.to_owned()).await;
        Ok(Service { url, store: store.with_context(|| url.to_owned())? })
    }

    async fn copy(
        &self,
        from: &str,
        to: &str,
        pool: Option<Uuid>,
        replace: bool,
    ) -> anyhow::Result<String> {
        let (from, to) = (self.open(from).await?, self.open(to).await?);
        let pool = from.choose(pool).await?;
        for service in [&from, &to] {
            self.nobody_runs(service, pool).await?;
        }
        let records = from.read(pool).await?;
        let changed = self.write(&to, &records, replace).await?;
        let source = from.read(pool).await?;
        ensure!(source == records, "{} changed while being copied: copy again", from.url);
        self.nobody_runs(&from, pool).await?;
        let text = format!(
            "pool {}: {} records, {changed} of them written to {}, compared: equal\n",
            pool.0,
            records.values.len(),
            to.url
        );
        from.close().await;
        to.close().await;
        Ok(text)
    }

    async fn dump(
        &self,
        url: &str,
        file: Option<&Path>,
        pool: Option<Uuid>,
    ) -> anyhow::Result<String> {
        let service = self.open(url).await?;
        let pool = service.choose(pool).await?;
        let records = service.read(pool).await?;
        service.close().await;
        let text = records.to_json();
        let Some(path) = file.filter(|path| *path != Path::new("-")) else { return Ok(text) };
        save(path, &text).with_context(|| path.display().to_string())?;
        Ok(format!("pool {}: {} records in {}\n", pool.0, records.values.len(), path.display()))
    }

    async fn restore(&self, file: &Path, url: &str, replace: bool) -> anyhow::Result<String> {
        let text = load(file).with_context(|| file.display().to_string())?;
        let records = Records::from_json(&text).with_context(|| file.display().to_string())?;
        let service = self.open(url).await?;
        self.nobody_runs(&service, records.pool).await?;
        let changed = self.write(&service, &records, replace).await?;
        service.close().await;
        let count = records.values.len();
        Ok(format!(
            "pool {}: {count} records, {changed} of them written to {url}, compared: equal\n",
            records.pool.0
        ))
    }

    /// Writes, then compares what is there with what should be.
    async fn write(
        &self,
        to: &Service<'_>,
        records: &Records,
        replace: bool,
    ) -> anyhow::Result<usize> {
        let changed =
            records.write(&*to.store, replace).await.with_context(|| to.url.to_owned())?;
        ensure!(to.read(records.pool).await? == *records, "{}: not what was written", to.url);
        self.nobody_runs(to, records.pool).await?;
        Ok(changed)
    }

    /// # Errors
    /// Daemons of the pool are announced, for longer than one that died would be.
    async fn nobody_runs(&self, service: &Service<'_>, pool: Pool) -> anyhow::Result<()> {
        let ttl = Duration::from_secs(self.settings.coordinator.session_ttl_s.into());
        let end = Instant::now() + ttl + GRACE;
        loop {
            let nodes =
                alive(&*service.store, pool).await.with_context(|| service.url.to_owned())?;
            if nodes.is_empty() {
                return Ok(());
            }
            if Instant::now() >= end {
                let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
                bail!("{}: daemons of the pool are running: {}", service.url, nodes.join(", "));
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}

impl Service<'_> {
    async fn read(&self, pool: Pool) -> anyhow::Result<Records> {
        Records::read(&*self.store, pool).await.with_context(|| self.url.to_owned())
    }

    /// The pool that was named, or the only one there is.
    async fn choose(&self, named: Option<Uuid>) -> anyhow::Result<Pool> {
        let found = pools(&*self.store).await.with_context(|| self.url.to_owned())?;
        match (named, found.len()) {
            (Some(pool), _) if found.contains(&pool) => Ok(Pool(pool)),
            (Some(pool), _) => bail!("{} has no pool {pool}", self.url),
            (None, 0) => bail!("{} has no pool", self.url),
            (None, 1) => Ok(Pool(found.into_iter().next().expect("one is there"))),
            (None, _) => {
                let found: Vec<String> = found.iter().map(Uuid::to_string).collect();
                bail!(
                    "{} has several pools, choose one with --pool: {}",
                    self.url,
                    found.join(", ")
                )
            }
        }
    }

    async fn close(&self) {
        drop(timeout(Duration::from_secs(2), self.store.close()).await);
    }
}

/// Passwords of volumes are in it, so it is for root alone; a file that was there stays whole
/// until the new one is.
fn save(path: &Path, text: &str) -> std::io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    // One left over keeps whatever mode it has, so it must not be written to.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

fn load(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(DUMP_MAX + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= DUMP_MAX, "longer than {DUMP_MAX} bytes");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coord_api::mem::{Mem, MemBackend};
    use coord_api::{Backend, Key, OpenOpts, SessionOpts, Space, SpaceKind, Txn};
    use futures_util::FutureExt;

    fn open(
        _: Settings,
        url: String,
    ) -> BoxFuture<'static, coord_api::Result<Arc<dyn Coordinator>>> {
        async move { MemBackend.open(&url, OpenOpts::default()).await }.boxed()
    }

    async fn run(line: &str) -> Result<String, String> {
        let words: Vec<std::ffi::OsString> = ["glusterd", "coordinator"]
            .into_iter()
            .chain(line.split_whitespace())
            .map(Into::into)
            .collect();
        let Ok(crate::boot::Invocation::Coordinator(command)) = crate::boot::parse(&words) else {
            panic!("{line}");
        };
        let mut settings = Settings::default();
        settings.coordinator.session_ttl_s = 2;
        relocate(settings, command, open).await.map_err(|error| format!("{error:#}"))
    }

    async fn fill(mem: &str, pool: u128, values: &[(&str, &str)]) {
        let pool = Pool(Uuid::from_u128(pool));
        let values =
            values.iter().map(|(k, v)| (format!("{}.{k}", pool.0), (*v).to_owned().into()));
        let records = Records { pool, values: values.collect() };
        records.write(&*Mem::named(mem).connect(""), true).await.unwrap();
    }

    async fn has(mem: &str, pool: u128, count: usize) {
        let store = Mem::named(mem).connect("");
        let found = Records::read(&*store, Pool(Uuid::from_u128(pool))).await.unwrap();
        assert_eq!(found.values.len(), count, "{mem}");
    }

    #[tokio::test]
    async fn a_pool_is_copied_and_nothing_else() {
        fill("copy-a", 1, &[("global", "g"), ("volume.v", "{}")]).await;
        fill("copy-b", 2, &[("global", "other")]).await;
        let done = run("copy mem://copy-a mem://copy-b").await.unwrap();
        assert!(
            done.contains("2 records, 2 of them written to mem://copy-b, compared: equal"),
            "{done}"
        );
        has("copy-b", 1, 2).await;
        has("copy-b", 2, 1).await;
        let again = run("copy mem://copy-a mem://copy-b").await.unwrap();
        assert!(again.contains("2 records, 0 of them"), "{again}");
        // The source has one pool, the target two by now.
        assert!(run("copy mem://copy-b mem://copy-a").await.unwrap_err().contains("several pools"));
        fill("copy-a", 1, &[("global", "changed")]).await;
        let refused = run("copy mem://copy-a mem://copy-b").await.unwrap_err();
        assert!(refused.contains("other records of this pool"), "{refused}");
        run("copy --replace mem://copy-a mem://copy-b").await.unwrap();
        has("copy-b", 1, 1).await;
        assert!(run("copy mem://copy-a mem://copy-a").await.is_err());
        assert!(
            run("copy mem://copy-empty mem://copy-a").await.unwrap_err().contains("has no pool")
        );
    }

    #[tokio::test]
    async fn a_backup_brings_a_pool_back() {
        let file = std::env::temp_dir().join(format!("dump-{}", Uuid::new_v4()));
        let path = file.display();
        fill("dump", 3, &[("global", "g"), ("volume.v", "\u{fc}")]).await;
        run(&format!("dump mem://dump {path}")).await.unwrap();
        assert_eq!(run("dump mem://dump").await.unwrap(), fs::read_to_string(&file).unwrap());
        fill("dump", 3, &[("volume.w", "later")]).await;
        let refused = run(&format!("restore {path} mem://dump")).await.unwrap_err();
        assert!(refused.contains("--replace"), "{refused}");
        run(&format!("restore --replace {path} mem://dump")).await.unwrap();
        has("dump", 3, 2).await;
        run(&format!("restore {path} mem://dump-new")).await.unwrap();
        has("dump-new", 3, 2).await;
        fs::write(&file, "{}").unwrap();
        assert!(
            run(&format!("restore {path} mem://dump")).await.unwrap_err().contains("not a dump")
        );
        fs::remove_file(&file).unwrap();
    }

    #[tokio::test]
    async fn nothing_moves_under_running_daemons() {
        fill("busy", 4, &[("global", "g")]).await;
        let store = Mem::named("busy").connect("");
        let alive = Space::new("alive").unwrap();
        store.ensure_space(&alive, SpaceKind::Ephemeral).await.unwrap();
        let opts = SessionOpts { ttl: Duration::from_secs(30), name: "d".into() };
        let session = store.session(opts).await.unwrap();
        let (pool, node) = (Pool(Uuid::from_u128(4)), crate::model::NodeId(Uuid::from_u128(9)));
        let key = Key::ephemeral(&alive, &pool.alive_name(node), session.id(), 0).unwrap();
        session.txn(Txn::new().put_ephemeral(&key, "{}")).await.unwrap();
        let refused = run("copy mem://busy mem://busy-new").await.unwrap_err();
        assert!(refused.contains(&node.to_string()), "{refused}");
        has("busy-new", 4, 0).await;
        run("dump mem://busy").await.unwrap();
        session.close().await.unwrap();
        run("copy mem://busy mem://busy-new").await.unwrap();
        has("busy-new", 4, 1).await;
    }
}
