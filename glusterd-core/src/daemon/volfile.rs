//! `glusterd volfile ID [--dot] [--workdir DIR]`: a volfile of the configuration on disk, for reading.
//!
//! Reads the mirror under the working directory and builds the graph that this release would make of
//! it; the daemon need not run, and nothing is written. ID is what a client or service asks for: a
//! volume's name (its mount), `shd/VOL`, `gfproxyd/VOL`, `VOL.HOST.PATH` (a brick), `gluster/quotad`.

use crate::mirror::{Mirror, parse};
use crate::volgen::{Target, graph, lookup, service_graph};
use std::ffi::OsString;
use std::path::PathBuf;

const USAGE: &str = "Usage: glusterd volfile ID [--dot] [--workdir DIR]";

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    id: String,
    dot: bool,
    workdir: PathBuf,
}

/// The text to print, if the words ask for this command at all.
///
/// # Errors
/// A text for standard error.
pub fn volfile(words: &[OsString]) -> Option<Result<String, String>> {
    let words: Vec<&str> = words.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    match words.as_slice() {
        [_, "volfile", rest @ ..] => Some(wanted(rest).and_then(|wanted| shown(&wanted))),
        _ => None,
    }
}

fn wanted(words: &[&str]) -> Result<Wanted, String> {
    let mut words = words.iter();
    let (mut id, mut dot, mut workdir) = (None, false, "/var/lib/glusterd");
    while let Some(word) = words.next() {
        match *word {
            "--dot" => dot = true,
            "--workdir" => workdir = words.next().ok_or(USAGE)?,
            word if word.starts_with('-') || word.is_empty() || id.is_some() => {
                return Err(USAGE.to_owned());
            }
            word => id = Some(word.to_owned()),
        }
    }
    Ok(Wanted { id: id.ok_or(USAGE)?, dot, workdir: workdir.into() })
}

fn shown(wanted: &Wanted) -> Result<String, String> {
    let info = wanted.workdir.join("glusterd.info");
    let text = std::fs::read_to_string(&info).map_err(|e| format!("{}: {e}", info.display()))?;
    let (me, _) = parse::glusterd_info(&text).map_err(|e| format!("{}: {e}", info.display()))?;
    let mirror = Mirror::new(&wanted.workdir, None);
    let view = mirror.load(me).view;
    let target = lookup(&view.volumes, &wanted.id, true)
        .ok_or_else(|| format!("There is no volfile {}", wanted.id))?;
    let facts = mirror.facts(&view);
    let graph = match &target {
        Target::Service(service) => service_graph(&view.volumes, *service, &facts),
        Target::Volume { volume, spec, .. } => graph(volume, *spec, &facts),
    };
    let graph = graph.map_err(|error| error.to_string())?;
    Ok(if wanted.dot { graph.dot() } else { graph.text() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::Observed;
    use crate::model::NodeId;
    use crate::store::{Freshness, View};
    use crate::supervise::sample;
    use std::sync::Arc;

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn other_commands_are_none_of_ours() {
        assert_eq!(volfile(&words("glusterd -N")), None);
        assert_eq!(volfile(&words("glusterd --volfile x")), None);
        let check = |text: &str| assert_eq!(volfile(&words(text)), Some(Err(USAGE.to_owned())));
        check("glusterd volfile");
        check("glusterd volfile a b");
        check("glusterd volfile a --nosuch");
        check("glusterd volfile a --workdir");
    }

    #[test]
    fn a_volfile_of_what_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let mut view = View::alone(NodeId(uuid::Uuid::from_u128(1)));
        view.freshness = Freshness::Current;
        let mut volume = sample::volume("v", &["/b/1", "/b/2"]);
        for (at, brick) in volume.bricks.iter_mut().enumerate() {
            brick.id = format!("v-client-{at}");
        }
        Arc::make_mut(&mut view.volumes).insert(volume.name.clone(), Arc::new(volume));
        let report = Mirror::new(dir.path(), None).apply(None, &view, |_| Observed::default());
        assert_eq!(report.damage, []);
        let ask = |text: &str| {
            volfile(&words(&format!("glusterd volfile {text} --workdir {}", dir.path().display())))
        };
        let text = ask("v").unwrap().unwrap();
        let stored = std::fs::read_to_string(dir.path().join("vols/v/trusted-v.tcp-fuse.vol"));
        assert_eq!(text, stored.unwrap());
        let dot = ask("v --dot").unwrap().unwrap();
        assert!(dot.starts_with("digraph volfile {\n"), "{dot}");
        assert_eq!(dot.matches(" [label=").count(), text.matches("end-volume").count());
        assert_eq!(dot.matches(" -> ").count(), {
            let lines = text.lines().filter_map(|line| line.trim().strip_prefix("subvolumes "));
            lines.map(|names| names.split(' ').count()).sum::<usize>()
        });
        assert_eq!(ask("nosuch"), Some(Err("There is no volfile nosuch".to_owned())));
    }
}
