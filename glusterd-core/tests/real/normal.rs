//! Texts of two runs made comparable: what differs from run to run gets a name instead.

use std::collections::HashMap;

/// Normalises the texts of one run; identities are numbered by first appearance over all of them.
#[derive(Default)]
pub struct Normaliser {
    uuids: HashMap<String, String>,
}

impl Normaliser {
    /// UUIDs, process ids, ports, times and sizes of the machine; runs of blanks become one.
    pub fn apply(&mut self, text: &str) -> String {
        let mut lines = Vec::new();
        for line in text.lines() {
            let line = self.replace_uuids(line);
            lines.push(volatile(&line));
        }
        lines.join("\n")
    }

    fn replace_uuids(&mut self, line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(at) =
            (0..rest.len()).find(|at| rest.is_char_boundary(*at) && is_uuid(&rest[*at..]))
        {
            let (before, from) = rest.split_at(at);
            let (uuid, after) = from.split_at(36);
            let next = self.uuids.len() + 1;
            let name = match uuid.bytes().all(|b| b == b'0' || b == b'-') {
                true => uuid.to_owned(),
                false => self
                    .uuids
                    .entry(uuid.to_owned())
                    .or_insert_with(|| format!("{{uuid-{next}}}"))
                    .clone(),
            };
            out.push_str(before);
            out.push_str(&name);
            rest = after;
        }
        out + rest
    }
}

/// 8-4-4-4-12 lower-case hexadecimal digits.
fn is_uuid(text: &str) -> bool {
    let bytes = text.as_bytes();
    let fits = |(index, byte): (usize, &u8)| match index {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(byte),
    };
    bytes.len() >= 36 && bytes[..36].iter().enumerate().all(fits)
}

/// Elements of `--xml` whose content is the machine's, not the command's.
const XML: &[&str] = &[
    "port",
    "tcp",
    "pid",
    "sizeTotal",
    "sizeFree",
    "inodesTotal",
    "inodesFree",
    "blockSize",
    "device",
    "bytesRead",
    "bytesWrite",
];
/// Keys of files and of `status detail` likewise.
const KEYS: &[&str] = &[
    "listen-port",
    "brick-fsid",
    "info",
    "Disk Space Free",
    "Total Disk Space",
    "Inode Count",
    "Free Inodes",
    "Device",
];

fn volatile(line: &str) -> String {
    let trimmed = line.trim();
    for element in XML {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        if let Some(inner) = trimmed.strip_prefix(&open).and_then(|rest| rest.strip_suffix(&close))
        {
            let shown = if matches!(inner, "0" | "-1" | "N/A") { inner } else { "{}" };
            return format!("{open}{shown}{close}");
        }
    }
    for key in KEYS {
        for sign in ["=", ":"] {
            if let Some((before, value)) = trimmed.split_once(sign)
                && before.trim() == *key
                && !matches!(value.trim(), "0" | "N/A")
            {
                return format!("{key}{sign}{{}}");
            }
        }
    }
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let number = |word: &String| word.parse::<u32>().is_ok_and(|number| number > 0);
    // `Brick node1:/srv/b/1  49152  0  Y  1234`: port and pid of a line of `volume status`.
    if let Some(online) = words.iter().rposition(|word| word == "Y" || word == "N")
        && online + 2 == words.len()
    {
        for at in [online.wrapping_sub(2), online + 1] {
            if words.get(at).is_some_and(number) {
                words[at] = "{}".to_owned();
            }
        }
    }
    let time = |word: &str| {
        word.split(':').count() == 3 && word.split(':').all(|part| part.parse::<u32>().is_ok())
    };
    for word in &mut words {
        if time(word) {
            *word = "{time}".to_owned();
        }
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        assert_eq!(Normaliser::default().apply(text), want);
    }

    #[test]
    fn what_changes_gets_a_name() {
        check("Volume ID: eaa995d6-1421-4f9c-a5c9-5641697cf3c5", "Volume ID: {uuid-1}");
        check("00000000-0000-0000-0000-000000000000", "00000000-0000-0000-0000-000000000000");
        check("Brick node1:/srv/b/1    49152  0   Y   123 ", "Brick node1:/srv/b/1 {} 0 Y {}");
        check("Brick node1:/srv/b/1  N/A  N/A  N  N/A", "Brick node1:/srv/b/1 N/A N/A N N/A");
        check("  <port>49153</port>", "<port>{}</port>");
        check("<pid>-1</pid>", "<pid>-1</pid>");
        check("listen-port=49152", "listen-port={}");
        check("version=3", "version=3");
    }

    #[test]
    fn one_identity_keeps_its_name() {
        let mut names = Normaliser::default();
        let (a, b) =
            ("eaa995d6-1421-4f9c-a5c9-5641697cf3c5", "78610efc-a063-4d99-b602-ada52b8f546f");
        assert_eq!(names.apply(&format!("{a} {b} {a}")), "{uuid-1} {uuid-2} {uuid-1}");
        assert_eq!(names.apply(b), "{uuid-2}");
    }
}
