//! Services by their URLs: opening them, namespaces below them, and the harness of one that is
//! there already.

use crate::Namespaced;
use crate::harness::{Fault, Harness, Hooks, Timing};
use async_trait::async_trait;
use coord_api::{Backend, Coordinator, Error, ErrorKind, OpenOpts, Result};
use std::sync::Arc;

/// A service that is there already, at a URL; namespaces of the run's own are made below it.
pub struct UrlHarness {
    name: &'static str,
    backends: Arc<[Box<dyn Backend>]>,
    url: String,
    hooks_cmd: Option<String>,
    timing: Timing,
}

/// Opens a URL by the backend that knows its scheme.
async fn open(
    backends: &[Box<dyn Backend>],
    url: &str,
    opts: OpenOpts,
) -> Result<Arc<dyn Coordinator>> {
    let scheme = url.split(':').next().unwrap_or_default();
    let backend = backends.iter().find(|backend| backend.schemes().contains(&scheme));
    let unknown = || Error::none(ErrorKind::Unsupported("no backend for this URL")).because(url);
    backend.ok_or_else(unknown)?.open(url, opts).await
}

/// A handle on a namespace of its own at a URL. A service that one process has for itself (`local:`)
/// knows none in its URL, and gets them by hidden names.
pub(crate) async fn open_in(
    backends: &[Box<dyn Backend>],
    url: &str,
    ns: &str,
    opts: OpenOpts,
) -> Result<Arc<dyn Coordinator>> {
    if is_shared(url) {
        return open(backends, &below(url, ns), opts).await;
    }
    Ok(Arc::new(Namespaced::new(open(backends, url, opts).await?, ns)))
}

/// Whether many handles can be opened at the URL.
pub(crate) fn is_shared(url: &str) -> bool {
    url.contains("://")
}

/// The URL of a namespace below another.
fn below(url: &str, ns: &str) -> String {
    let (path, query) =
        url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    // A service without hosts: the namespace is all there is.
    let end = if path.ends_with(['/', ':']) { "" } else { "/" };
    let query = query.map_or(String::new(), |query| format!("?{query}"));
    format!("{path}{end}{ns}{query}")
}

impl UrlHarness {
    pub fn new(
        name: &'static str,
        backends: impl Into<Arc<[Box<dyn Backend>]>>,
        url: &str,
    ) -> UrlHarness {
        let (backends, url) = (backends.into(), url.to_owned());
        UrlHarness { name, backends, url, hooks_cmd: None, timing: Timing::default() }
    }

    pub fn timed(self, timing: Timing) -> UrlHarness {
        UrlHarness { timing, ..self }
    }

    /// A program that does the faults: called with `hooks`, `inject FAULT...` and `heal FAULT...`.
    pub fn driven_by(self, hooks_cmd: Option<String>) -> UrlHarness {
        UrlHarness { hooks_cmd, ..self }
    }

    fn call(&self, words: &[String]) -> Result<String> {
        let unsupported = || Error::none(ErrorKind::Unsupported("faults without --hooks-cmd"));
        let program = self.hooks_cmd.as_ref().ok_or_else(unsupported)?;
        let output = std::process::Command::new(program).args(words).output();
        let output = output.map_err(|error| Error::from(ErrorKind::Internal).because(error))?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Error::from(ErrorKind::Unsupported("this fault")).because(text));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// A fault in words: `kill 0`, `expire 1f`, `clock 0 -3600000`.
fn words(verb: &str, fault: &Fault) -> Vec<String> {
    let (name, rest) = match fault {
        Fault::KillServer(at) => ("kill", at.to_string()),
        Fault::PauseServer(at) => ("pause", at.to_string()),
        Fault::PartitionServers(sets) => ("partition", format!("{sets:?}")),
        Fault::CutClient(client) => ("cut", client.to_string()),
        Fault::BlackholeClient(client) => ("blackhole", client.to_string()),
        Fault::DropReplies(client) => ("drop-replies", client.to_string()),
        Fault::DelayClient(client, by) => ("delay", format!("{client} {}", by.as_millis())),
        Fault::PinClient(client, server) => ("pin", format!("{client} {server}")),
        Fault::SessionExpiry(session) => ("expire", session.to_string()),
        Fault::Compact => ("compact", String::new()),
        Fault::ClockStep(at, ms) => ("clock", format!("{at} {ms}")),
        Fault::WipeCluster => ("wipe", String::new()),
    };
    let rest = rest.split_whitespace().map(str::to_owned);
    [verb.to_owned(), name.to_owned()].into_iter().chain(rest).collect()
}

#[async_trait]
impl Harness for UrlHarness {
    fn name(&self) -> &'static str {
        self.name
    }

    fn hooks(&self) -> Hooks {
        let text = self.call(&["hooks".to_owned()]).unwrap_or_default();
        let has = |word| text.split_whitespace().any(|found| found == word);
        Hooks {
            servers: 1,
            kill: has("kill"),
            pause: has("pause"),
            partition: has("partition"),
            proxy: has("proxy"),
            expire: has("expire"),
            compact: has("compact"),
            clock: has("clock"),
            wipe: has("wipe"),
        }
    }

    fn timing(&self) -> Timing {
        self.timing
    }

    async fn connect(&self, ns: &str, _client: usize) -> Result<Arc<dyn Coordinator>> {
        let opts = OpenOpts {
            request_timeout: self.timing.request,
            detect: self.timing.detect,
            ..OpenOpts::default()
        };
        open_in(&self.backends, &self.url, ns, opts).await
    }

    async fn inject(&self, fault: &Fault) -> Result<()> {
        self.call(&words("inject", fault)).map(drop)
    }

    async fn heal(&self, fault: &Fault) -> Result<()> {
        self.call(&words("heal", fault)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_goes_before_the_query() {
        let check = |url, expected| assert_eq!(below(url, "ns"), expected);
        check("mem://a", "mem://a/ns");
        check("mem://", "mem://ns");
        check("etcd://h:1,h:2/p/?ca=/x", "etcd://h:1,h:2/p/ns?ca=/x");
    }

    #[test]
    fn faults_are_plain_words() {
        let check = |fault, expected: &str| assert_eq!(words("heal", &fault).join(" "), expected);
        check(Fault::KillServer(2), "heal kill 2");
        check(Fault::ClockStep(0, -5), "heal clock 0 -5");
        check(Fault::Compact, "heal compact");
    }
}
