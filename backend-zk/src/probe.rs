//! Version and roles of the servers, by the one four-letter word that is open by default: `srvr`.
//! For status pages; nothing depends on it, and with TLS-only ports it stays empty.

use coord_api::Member;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_millis(500);
const ANSWER_MAX: u64 = 64 << 10;

pub(crate) async fn probe(hosts: &[String]) -> (String, Vec<Member>) {
    let answers = futures_util::future::join_all(hosts.iter().map(|host| ask(host))).await;
    let version = answers.iter().flatten().find_map(|text| version(text)).unwrap_or_default();
    let member = |(host, text): (&String, &Option<String>)| Member {
        name: host.clone(),
        leader: text.as_deref().and_then(leads),
    };
    (version, hosts.iter().zip(&answers).map(member).collect())
}

async fn ask(host: &str) -> Option<String> {
    let asking = async {
        let mut stream = TcpStream::connect(host).await.ok()?;
        stream.write_all(b"srvr").await.ok()?;
        let mut text = String::new();
        stream.take(ANSWER_MAX).read_to_string(&mut text).await.ok()?;
        Some(text)
    };
    timeout(PATIENCE, asking).await.ok()?
}

/// From `Zookeeper version: 3.8.0-..., built on ...`.
fn version(text: &str) -> Option<String> {
    let rest = text.lines().find_map(|line| line.strip_prefix("Zookeeper version: "))?;
    Some(rest.split(['-', ',']).next()?.to_owned())
}

fn leads(text: &str) -> Option<bool> {
    let mode = text.lines().find_map(|line| line.strip_prefix("Mode: "))?;
    Some(matches!(mode.trim(), "leader" | "standalone"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_3_8() {
        let text =
            "Zookeeper version: 3.8.0-${mvngit.commit.id}, built on 2022-03-10\nMode: follower\n";
        assert_eq!(version(text).as_deref(), Some("3.8.0"));
        assert_eq!(leads(text), Some(false));
        assert_eq!((version("x"), leads("x")), (None, None));
    }
}
