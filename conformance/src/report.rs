//! What became of a run of cases, for people and for machines: a summary, JSON, JUnit XML.

use crate::Case;
use crate::run::Outcome;
use std::fmt::Write;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// One case that was run.
pub(crate) struct Done {
    pub case: &'static Case,
    pub outcome: Outcome,
    pub took: Duration,
}

/// Where else the outcomes go.
#[derive(Debug, Default)]
pub(crate) struct Files<'a> {
    pub json: Option<&'a Path>,
    pub junit: Option<&'a Path>,
}

/// Prints the summary and writes the files. 0 passed, 1 failed, 2 a file could not be written,
/// 3 nothing failed but cases were skipped.
pub(crate) fn report(done: &[Done], files: &Files<'_>) -> ExitCode {
    let (failed, skipped) = counts(done);
    println!("{} passed, {failed} failed, {skipped} skipped", done.len() - failed - skipped);
    let texts = [(files.json, json as fn(&[Done]) -> String), (files.junit, junit)];
    for (path, text) in texts {
        let Some(path) = path else { continue };
        if let Err(error) = write(path, &text(done)) {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    match (failed, skipped) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, text)
}

fn counts(done: &[Done]) -> (usize, usize) {
    let count = |is: fn(&Outcome) -> bool| done.iter().filter(|d| is(&d.outcome)).count();
    (count(|o| matches!(o, Outcome::Failed(_))), count(|o| matches!(o, Outcome::Skipped(_))))
}

fn json(done: &[Done]) -> String {
    let row = |done: &Done| {
        let (word, why) = match &done.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(why) => ("failed", Some(why)),
            Outcome::Skipped(why) => ("skipped", Some(why)),
        };
        serde_json::json!({
            "case": done.case.name,
            "statements": done.case.statements,
            "outcome": word,
            "why": why,
            "seconds": done.took.as_secs_f64(),
        })
    };
    let rows: Vec<_> = done.iter().map(row).collect();
    serde_json::to_string_pretty(&rows).expect("plain values serialize")
}

/// One suite; a group of cases is a class, as CI systems show them.
fn junit(done: &[Done]) -> String {
    let (failed, skipped) = counts(done);
    let total: f64 = done.iter().map(|done| done.took.as_secs_f64()).sum();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuite name=\"conformance\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" \
         skipped=\"{skipped}\" time=\"{total:.3}\">\n",
        done.len()
    );
    for Done { case, outcome, took } in done {
        let (group, name) = case.name.split_once("::").unwrap_or(("", case.name));
        let took = took.as_secs_f64();
        let inner = match outcome {
            Outcome::Passed => String::new(),
            Outcome::Failed(why) => {
                let first = escaped(why.lines().next().unwrap_or_default());
                format!("<failure message=\"{first}\">{}</failure>", escaped(why))
            }
            Outcome::Skipped(why) => format!("<skipped message=\"{}\"/>", escaped(why)),
        };
        let head = format!("<testcase classname=\"{group}\" name=\"{name}\" time=\"{took:.3}\"");
        // Writing into a text cannot fail.
        let _ = match inner.is_empty() {
            true => writeln!(text, "  {head}/>"),
            false => writeln!(text, "  {head}>{inner}</testcase>"),
        };
    }
    text + "</testsuite>\n"
}

/// Text as XML takes it; characters that XML cannot hold become U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            c if c.is_control() || c == '\u{fffe}' || c == '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(at: usize, outcome: Outcome) -> Done {
        let case = crate::registry().nth(at).unwrap();
        Done { case, outcome, took: Duration::from_millis(1500) }
    }

    #[test]
    fn ci_systems_can_read_it() {
        let why = "a < \"b\" & \u{1}\nmore".to_owned();
        let rows = [
            done(0, Outcome::Passed),
            done(1, Outcome::Failed(why)),
            done(2, Outcome::Skipped("no hook: clock".into())),
        ];
        let text = junit(&rows);
        assert!(
            text.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"4.500\"")
        );
        assert!(text.contains(
            "<failure message=\"a &lt; &quot;b&quot; &amp; \u{fffd}\">a &lt; &quot;b&quot; &amp; \u{fffd}\nmore</failure>"
        ));
        assert!(text.contains("<skipped message=\"no hook: clock\"/>"));
        assert_eq!(text.matches("<testcase ").count(), 3);
        assert_eq!(text.matches("</testcase>").count(), 2);
    }
}
