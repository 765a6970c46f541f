//! The little of the volfile language that `/etc/glusterfs/glusterd.vol` needs: text in, options out.
//!
//! Pure. Not for the volfiles we generate, and no graph: one volume's options are all we read.
//!
//! Facts: libglusterfs/src/graph.l and graph.y (v10.3): words end at white space, a word in double
//! quotes may hold any character (backslash escapes the next), `#` starts a comment.

/// One volume section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    pub kind: String,
    /// Key and value, in the order of the file.
    pub options: Vec<(String, String)>,
}

/// Largest text we parse, in bytes; stock's file has under 1 KiB.
pub const VOLFILE_BYTES_MAX: usize = 1 << 20;

/// Every section of a volfile; the last one is the top of the graph.
///
/// # Errors
/// A sentence that names the line.
pub fn parse(text: &str) -> Result<Vec<Section>, String> {
    if text.len() > VOLFILE_BYTES_MAX {
        return Err(format!("longer than {VOLFILE_BYTES_MAX} bytes"));
    }
    let mut sections = Vec::new();
    let mut open: Option<Section> = None;
    for (index, line) in text.lines().enumerate() {
        let fail = |what: &str| Err(format!("line {}: {what}", index + 1));
        let words = match split(line) {
            Ok(words) => words,
            Err(what) => return fail(what),
        };
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match (words.as_slice(), &mut open) {
            ([], _) => {}
            (["volume", name], None) => {
                open = Some(Section { name: (*name).to_owned(), ..Section::default() })
            }
            (["volume", ..], None) => return fail("a volume has one name"),
            (["volume", ..], Some(_)) => return fail("a volume begins inside another"),
            (["type", kind], Some(section)) => section.kind = (*kind).to_owned(),
            (["option", key, value], Some(section)) => {
                section.options.push(((*key).to_owned(), (*value).to_owned()));
            }
            (["option", ..], Some(_)) => return fail("an option has a key and one value"),
            (["subvolumes", ..], Some(_)) => {}
            (["end-volume"], Some(_)) => sections.extend(open.take()),
            ([word, ..], Some(_)) => {
                return fail(&format!("'{word}' is not expected inside a volume"));
            }
            ([word, ..], None) => {
                return fail(&format!("'{word}' is not expected outside a volume"));
            }
        }
    }
    match open {
        Some(section) => Err(format!("volume {} has no end-volume", section.name)),
        None => Ok(sections),
    }
}

fn split(line: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.peek() {
            None | Some('#') => return Ok(words),
            Some('"') => {
                chars.next();
                let mut word = String::new();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => word.extend(chars.next()),
                        Some(c) => word.push(c),
                        None => return Err("a quote is not closed"),
                    }
                }
                words.push(word);
            }
            Some(_) => {
                let mut word = String::new();
                while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
                    word.push(c);
                }
                words.push(word);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Result<&[(&str, &str)], &str>) {
        let got = parse(text).map(|sections| {
            let top = sections.last().cloned().unwrap_or_default();
            top.options.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>()
        });
        let want = want.map(|options| options.iter().map(|(k, v)| format!("{k}={v}")).collect());
        assert_eq!(got, want.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn the_shipped_file_is_read() {
        check(
            "volume management\n    type mgmt/glusterd\n    option working-directory /var/lib/glusterd\n\
             #   option lock-timer 180\n    option max-port  60999\nend-volume\n",
            Ok(&[("working-directory", "/var/lib/glusterd"), ("max-port", "60999")]),
        );
        check("", Ok(&[]));
        check(
            "volume a\noption k \"a \\\"b\\\" #c\" # comment\nend-volume",
            Ok(&[("k", "a \"b\" #c")]),
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        check("volume a\noption k\nend-volume", Err("line 2: an option has a key and one value"));
        check("volume a\nvolume b", Err("line 2: a volume begins inside another"));
        check("volume a", Err("volume a has no end-volume"));
        check("option a b", Err("line 1: 'option' is not expected outside a volume"));
        check("volume a\nfoo\nend-volume", Err("line 2: 'foo' is not expected inside a volume"));
        check("volume a\noption k \"v\nend-volume", Err("line 2: a quote is not closed"));
    }

    #[test]
    fn every_cut_is_an_answer_not_a_panic() {
        let text =
            "volume m\n type mgmt/glusterd\n option a \"b c\"\n subvolumes x y\nend-volume\n";
        for cut in 0..text.len() {
            let _ = parse(&text[..cut]);
        }
    }
}
