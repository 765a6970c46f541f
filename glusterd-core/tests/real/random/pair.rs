//! The two daemons side by side, and what is compared after a command.

use crate::normal::Normaliser;
use crate::sandbox::{Done, Kind, Sandbox};
use std::collections::BTreeMap;
use std::path::Path;

/// How a sequence went.
pub enum Ended {
    /// After `steps` commands; fewer than there are where stock left files of a refused change.
    Same {
        steps: usize,
    },
    Differs {
        after: usize,
        how: String,
    },
}

/// Everything a daemon shows after a command.
#[derive(Clone, PartialEq, Eq)]
struct Shown {
    said: String,
    info: String,
    /// Volfiles and info files by path below the working directory.
    files: BTreeMap<String, String>,
}

struct Side {
    sandbox: Sandbox,
    names: Normaliser,
}

/// Ends everything a sequence made, but the daemon.
const CLEAN: &str = r#"
for volume in $(gluster --mode=script volume list 2>/dev/null); do
    gluster --mode=script volume stop $volume force; gluster --mode=script volume delete $volume
done
gluster --mode=script volume reset all
[ "$(gluster volume list 2>&1)" = "No volumes present in cluster" ] || exit 1
rm -rf /srv/b/*
for service in quotad bitd scrub; do rm -f /var/lib/glusterd/$service/*.vol; done
"#;

/// Volfiles and info files, each with a line of its name before it.
const FILES: &str = r#"
cd /var/lib/glusterd || exit 1
for file in $(find vols quotad bitd scrub -name '*.vol' -o -path 'vols/*/info' | sort); do
    echo "@@ $file"; cat "$file"
done
"#;

impl Side {
    fn new(kind: Kind) -> Side {
        Side { sandbox: Sandbox::started(kind), names: Normaliser::default() }
    }

    fn clean(&mut self) -> bool {
        self.names = Normaliser::default();
        self.sandbox.sh(CLEAN).exit == 0
    }

    fn step(&mut self, line: &str) -> Shown {
        let done = self.sandbox.gluster(line);
        let said = self.normal(&done);
        let info = self.sandbox.gluster("volume info");
        let info = sorted(&self.normal(&info));
        let files = self.names.apply(&self.sandbox.sh(FILES).out);
        let file = |part: &str| {
            let (name, text) = part.split_once('\n').unwrap_or((part, ""));
            let text = if name.ends_with("/info") { sorted(text) } else { text.to_owned() };
            (name.trim().to_owned(), text)
        };
        let files = files.split("@@ ").skip(1).map(file).collect();
        let said = if line.starts_with("volume info") { sorted(&said) } else { said };
        Shown { said, info, files }
    }

    fn normal(&mut self, done: &Done) -> String {
        let (out, err) = (self.names.apply(&done.out), self.names.apply(&done.err));
        format!("exit {}\n{out}\n{err}", done.exit)
    }
}

/// Options come in the order of a hash table, which depends on more than their values.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let is_option = |line: &str| {
        let key = line.split([':', '=']).next().unwrap_or_default();
        key.contains('.') && !key.contains('/') && !key.contains('<')
    };
    for run in lines.chunk_by_mut(|a, b| is_option(a) && is_option(b)) {
        run.sort_unstable();
    }
    lines.join("\n")
}

pub struct Pair {
    sides: Option<(Side, Side)>,
    /// Patterns of files that stock leaves and we do not, from docs/differences.md.
    stale: Vec<String>,
}

impl Pair {
    pub fn new() -> Pair {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
        let text = std::fs::read_to_string(path).unwrap();
        let row = |line: &str| {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim()).collect();
            let file = cells.get(2)?.trim_matches('`');
            (cells.get(3) == Some(&"not there")).then(|| file.to_owned())
        };
        Pair { sides: None, stale: text.lines().filter_map(row).collect() }
    }

    fn is_stale(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.stale.iter().any(|pattern| match pattern.split_once('*') {
            Some((before, after)) => {
                name.len() >= before.len() + after.len()
                    && name.starts_with(before)
                    && name.ends_with(after)
            }
            None => name == pattern,
        })
    }

    /// From empty daemons on both sides, up to the first difference.
    pub fn run(&mut self, lines: &[String]) -> Ended {
        let clean = self
            .sides
            .as_mut()
            .is_some_and(|(stock, ours)| both(|| stock.clean(), || ours.clean()) == (true, true));
        if !clean {
            self.sides = Some(both(|| Side::new(Kind::Stock), || Side::new(Kind::Ours)));
        }
        let (mut stock, mut ours) = self.sides.take().expect("made above");
        let mut before = None;
        for (after, line) in lines.iter().enumerate() {
            let (theirs, mine) = both(|| stock.step(line), || ours.step(line));
            let how = self.difference(&theirs, &mine);
            if let Some(how) = how {
                if left_by_a_refusal(&theirs, &mine, before.as_ref()) {
                    return Ended::Same { steps: after };
                }
                return Ended::Differs { after, how };
            }
            before = Some(mine);
        }
        self.sides = Some((stock, ours));
        Ended::Same { steps: lines.len() }
    }

    fn difference(&self, stock: &Shown, ours: &Shown) -> Option<String> {
        let mut found = Vec::new();
        found.extend(lines_differ("what it says", &stock.said, &ours.said));
        found.extend(lines_differ("volume info", &stock.info, &ours.info));
        for (path, theirs) in &stock.files {
            match ours.files.get(path) {
                Some(mine) => found.extend(lines_differ(path, theirs, mine)),
                None if self.is_stale(path) => {}
                None => found.push(format!("  {path}: only stock has it")),
            }
        }
        let more = ours.files.keys().filter(|path| !stock.files.contains_key(*path));
        found.extend(more.map(|path| format!("  {path}: only we have it")));
        (!found.is_empty()).then(|| found.join("\n"))
    }
}

/// A change that stock found wrong only when it wrote files leaves some of them; ours are untouched.
fn left_by_a_refusal(stock: &Shown, ours: &Shown, before: Option<&Shown>) -> bool {
    stock.said == ours.said
        && stock.info == ours.info
        && !stock.said.starts_with("exit 0")
        && before.is_some_and(|before| before.files == ours.files)
}

fn both<A: Send, B: Send>(
    stock: impl FnOnce() -> A + Send,
    ours: impl FnOnce() -> B + Send,
) -> (A, B) {
    std::thread::scope(|scope| {
        let stock = scope.spawn(stock);
        let ours = ours();
        (stock.join().expect("no panic"), ours)
    })
}

fn lines_differ(what: &str, stock: &str, ours: &str) -> Option<String> {
    if stock == ours {
        return None;
    }
    let (theirs, mine): (Vec<&str>, Vec<&str>) = (stock.lines().collect(), ours.lines().collect());
    let mut shown = vec![format!("  {what}:")];
    shown.extend(theirs.iter().filter(|l| !mine.contains(l)).take(6).map(|l| format!("    - {l}")));
    shown.extend(mine.iter().filter(|l| !theirs.contains(l)).take(6).map(|l| format!("    + {l}")));
    Some(shown.join("\n"))
}
