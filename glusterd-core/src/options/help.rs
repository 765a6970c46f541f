//! `volume set help` and `help-xml`.
//!
//! Facts: glusterd_get_volopt_content, xlators/mgmt/glusterd/src/glusterd-utils.c:13573 (v10.3);
//! the recordings in `recorded/`.

use super::opt::{Help, Opt};
use super::table::TABLE;
use std::fmt::Write;

/// The text as the CLI prints it.
pub fn help_text() -> String {
    let mut out = String::with_capacity(1 << 16);
    for (opt, default, text) in documented() {
        let default = default.unwrap_or("(null)");
        let _ =
            write!(out, "Option: {}\nDefault Value: {default}\nDescription: {text}\n\n", opt.key);
    }
    out
}

pub fn help_xml() -> String {
    let mut out = String::with_capacity(1 << 16);
    out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<options>");
    for (opt, default, text) in documented() {
        let _ = write!(
            out,
            "<option><defaultValue>{}</defaultValue><description>{}</description><name>{}</name></option>",
            escaped(default.unwrap_or("(null)")),
            escaped(text),
            escaped(opt.key)
        );
    }
    out.push_str("</options>\n");
    out
}

/// Row, default and text of everything that is printed, in map order.
fn documented() -> impl Iterator<Item = (&'static Opt, Option<&'static str>, &'static str)> {
    TABLE.iter().filter_map(|opt| match opt.help {
        Help::None => None,
        Help::Map(text) => Some((opt, opt.map_default, text)),
        Help::Translator(text) => {
            Some((opt, opt.declared.and_then(|declared| declared.default), text))
        }
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recordings of the stock daemon.
    #[test]
    fn help_is_as_recorded() {
        let check = |ours: String, theirs: &str| {
            let differs = ours.lines().zip(theirs.lines()).find(|(a, b)| a != b);
            assert_eq!(differs, None);
            assert_eq!(ours.len(), theirs.len());
        };
        check(help_text(), include_str!("recorded/help.txt"));
        check(help_xml(), include_str!("recorded/help.xml"));
    }
}
