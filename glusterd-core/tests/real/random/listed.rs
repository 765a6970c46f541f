//! What may differ: the tables of docs/differences.md, and nothing else.
//!
//! The table of recordings says which files stock leaves and we do not (`not there`); the table of
//! commands says what differs after a command. Where one of its rows explains everything that
//! differs, the two daemons are no longer in the same state and the sequence ends; rows that only
//! concern words let it go on.

use std::path::Path;

/// One row of the table of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Pattern of the command, what follows `gluster`.
    pub command: String,
    /// `done` and `refused`: on both sides; `refused by us` and `refused by stock`: there alone.
    pub ended: String,
    /// Pattern of stock's own words, after `ended` and a colon; any where there is none.
    pub said: String,
    /// Pattern of what differs: `words`, `info`, a file's path below the working directory, `left`
    /// and such a path; `nothing yet` where what differs shows later only.
    pub shown: String,
}

pub struct Listed {
    pub rows: Vec<Row>,
    /// Patterns of files that only stock has.
    stale: Vec<String>,
}

/// `*` stands for any text.
pub fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.is_char_boundary(at) && fits(after, &rest[at..]))
        }),
    }
}

impl Listed {
    pub fn read() -> Listed {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/differences.md");
        Listed::parse(&std::fs::read_to_string(path).unwrap())
    }

    fn parse(text: &str) -> Listed {
        let (mut rows, mut stale) = (Vec::new(), Vec::new());
        for line in text.lines().filter_map(|line| line.strip_prefix("| `")) {
            let cells: Vec<&str> =
                line.split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
            match cells.as_slice() {
                [_, file, "not there", _] => stale.push((*file).to_owned()),
                [command, ended, shown, _, _] => {
                    let (ended, said) = ended.split_once(": `").unwrap_or((ended, "*"));
                    assert!(ENDS.iter().any(|(name, _)| *name == ended), "{ended}");
                    rows.push(Row {
                        command: (*command).to_owned(),
                        ended: ended.to_owned(),
                        said: said.to_owned(),
                        shown: (*shown).to_owned(),
                    });
                }
                _ => {}
            }
        }
        Listed { rows, stale }
    }

    pub fn is_stale(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.stale.iter().any(|pattern| fits(pattern, name))
    }

    /// The row that explains this difference; `refused` by stock and by us, `said` by stock.
    pub fn row(
        &self,
        command: &str,
        refused: (bool, bool),
        said: &str,
        shown: &str,
    ) -> Option<usize> {
        let (ended, _) = ENDS.iter().find(|(_, sides)| *sides == refused).expect("all four");
        self.rows.iter().position(|row| {
            row.ended == *ended
                && fits(&row.command, command)
                && fits(&row.said, said)
                && fits(&row.shown, shown)
        })
    }
}

/// How a command may end, by who refused it: stock, we.
const ENDS: &[(&str, (bool, bool))] = &[
    ("done", (false, false)),
    ("refused", (true, true)),
    ("refused by us", (false, true)),
    ("refused by stock", (true, false)),
];

#[test]
fn the_list_is_read() {
    let listed = Listed::parse(
        "| command | ended | shown | what | why |\n|---|---|---|---|---|\n\
         | `volume set * a.b *` | done | `vols/*.vol` | bytes | because |\n\
         | `volume stop *` | refused by stock: `*no way*` | `*` | ours stops | because |\n\
         | `svc-quota` | `quotad.vol` | not there | gone |\n",
    );
    let has = |command, refused, shown| listed.row(command, refused, "1 no way", shown).is_some();
    assert!(has("volume set v a.b 1", (false, false), "vols/v/v.vol"));
    assert!(!has("volume set v a.b 1", (true, true), "vols/v/v.vol"));
    assert!(!has("volume set v a.b 1", (false, true), "vols/v/v.vol"));
    assert!(!has("volume set v a.c 1", (false, false), "vols/v/v.vol"));
    assert!(!has("volume set v a.b 1", (false, false), "info"));
    assert!(has("volume stop v", (true, false), "info"));
    assert!(listed.row("volume stop v", (true, false), "1 busy", "info").is_none());
    assert!(listed.is_stale("quotad/quotad.vol") && !listed.is_stale("vols/v/info"));
    let real = Listed::read();
    assert!(real.is_stale("bitd/bitd-server.vol"));
    assert!(!real.rows.is_empty(), "docs/differences.md has a table of commands");
}
