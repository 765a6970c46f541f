//! `glusterd coordinator force-new-quorum`: the last resort of the built-in store, in words.
//!
//! Works on this node's own data while its daemon is stopped. What is done is in the store itself;
//! here it is told what would be lost, and noted who has done it.

use super::address::store_address;
use crate::boot::{self, CmdHistory, Settings};
use anyhow::{Context, bail, ensure};
use backend_local::{LocalConfig, Prospect, StoreMember, force, prospect};
use std::fmt::Write;

/// As it stands in the command history.
const COMMAND: &str = "glusterd coordinator force-new-quorum --yes";

/// Does it if `yes`, else says what would come of it. Returns what to print.
///
/// # Errors
/// What to tell the user; nothing was changed.
pub async fn force_new_quorum(settings: &Settings, yes: bool) -> anyhow::Result<String> {
    let url = &settings.coordinator.url;
    ensure!(
        url.as_str() == "local:",
        "the coordination service of this node is {url}, not the built-in store"
    );
    let config = LocalConfig {
        address: store_address(settings).unwrap_or_default(),
        ..LocalConfig::new(settings.workdir.join("coordination/local"))
    };
    let place = config.dir.display().to_string();
    if !yes {
        let found = prospect(&config).await.context(place)?;
        if found.is_sole {
            return Ok(sole());
        }
        bail!("nothing has been changed yet.\n{}", outlook(&found));
    }
    let done = force(&config).await.context(place);
    let outcome = done.as_ref().map(drop).map_err(|error| format!("{error:#}"));
    let told = outcome.as_ref().copied().map_err(String::as_str);
    let noted =
        CmdHistory::open(&settings.logdir).and_then(|history| history.record(COMMAND, told));
    if let Err(error) = noted {
        eprintln!("glusterd: this is not noted in cmd_history.log: {error}");
    }
    let done = done?;
    if done.is_sole {
        return Ok(sole());
    }
    Ok(format!(
        "This node is the only master of the store now, with {} changes. Start glusterd.\n\
         Nodes of the pool that run or return come over by themselves. Those that will not: \
         'gluster peer detach HOST force', once their bricks are replaced.\n",
        done.changes
    ))
}

fn sole() -> String {
    "This node is the only master of the store already; nothing has to be forced and nothing was \
     changed.\n"
        .to_owned()
}

fn outlook(found: &Prospect) -> String {
    let mut text = String::new();
    let written = found.written.map(|time| boot::stamp(time, false)).unwrap_or_default();
    let _ = write!(
        text,
        "With --yes this node becomes the only master of the built-in store, with the {} changes \
         that it has, last written {written}.\nMembers as it knows them:\n",
        found.changes
    );
    for member in &found.members {
        let _ = writeln!(text, "  {}", described(found, member));
    }
    text.push_str(match found.voted {
        true => {
            "Lost is what the others had agreed on and not told this node: at most the last \
             changes before it, or they, went away."
        }
        false => {
            "This node followed the master without a vote: lost is what the master had not \
             passed on to it, if it was behind or away."
        }
    });
    text.push_str(
        "\nA member that returns later gives up what it has and comes over to this one; its data \
         are kept in coordination/local/before. Use this only if the missing masters are lost for \
         good; otherwise start them.",
    );
    text
}

fn described(found: &Prospect, member: &StoreMember) -> String {
    let StoreMember { name, address, master, .. } = member;
    let part = if *master { "master" } else { "follower" };
    let state = match () {
        () if *name == found.me => "this node",
        () if found.reached.contains(address) => "answers, without a quorum",
        () if *master => "does not answer",
        () => "not asked",
    };
    format!("{address} ({name}): {part}, {state}")
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn told(url: &str, yes: bool) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings { workdir: dir.path().into(), ..Settings::default() };
        settings.logdir = dir.path().into();
        settings.coordinator.url = url.to_owned();
        let refused = force_new_quorum(&settings, yes).await.unwrap_err();
        let history = std::fs::read_to_string(dir.path().join("cmd_history.log"));
        assert_eq!(
            history.unwrap_or_default().contains("force-new-quorum"),
            yes && url == "local:"
        );
        format!("{refused:#}")
    }

    #[tokio::test]
    async fn there_must_be_something_to_force() {
        assert!(told("etcd://h:1", true).await.contains("not the built-in store"));
        assert!(told("local:", false).await.contains("no store is there"));
        assert!(told("local:", true).await.contains("no store is there"));
    }

    #[test]
    fn what_would_be_lost_is_said_first() {
        let member = |name: &str, master| StoreMember {
            name: name.into(),
            address: format!("{name}:24009"),
            master,
            leader: false,
        };
        let found = Prospect {
            former: coord_api::ClusterId([1; 16]),
            members: vec![member("a", true), member("b", true), member("c", true)],
            me: "a".into(),
            voted: true,
            changes: 7,
            written: None,
            reached: vec!["b:24009".into()],
            is_sole: false,
        };
        let text = outlook(&found);
        for part in [
            "the 7 changes that it has",
            "a:24009 (a): master, this node",
            "b:24009 (b): master, answers, without a quorum",
            "c:24009 (c): master, does not answer",
            "Lost is what the others had agreed on",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let follower = Prospect { voted: false, ..found };
        assert!(outlook(&follower).contains("had not passed on"));
    }
}
