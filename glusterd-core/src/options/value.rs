//! Whether a translator accepts a value, in stock's words if not.
//!
//! Pure. A kind of value is an arm of `check_value`; names in the texts are the translator's own.
//!
//! Facts: xlator_option_validate_*, libglusterfs/src/options.c:18-600 (v10.3).

use super::address::is_address_list;
use super::number::{self, PercentOrSize};
use super::opt::{Range, Value};
use super::pattern::fits;
use crate::model::boolean;
use std::fmt::Display;

/// Stock cuts most refusals at this many bytes, those that quote long lists at the second.
const TEXT_BYTES_MAX: usize = 255;
const LIST_TEXT_BYTES_MAX: usize = 4095;

/// Judges `value` for the option `name`; `is_node` tells the names of the same graph's nodes.
///
/// # Errors
/// The text for the user.
pub fn check_value(
    kind: &Value,
    name: &str,
    value: &str,
    is_node: &dyn Fn(&str) -> bool,
) -> Result<(), String> {
    let told = format!("option {name} {value}");
    let refused = match kind {
        Value::Anything | Value::Text => None,
        Value::OneOf(words) => {
            return one_of(words, value)
                .map_err(|words| cut(format!("{told}: {words}"), LIST_TEXT_BYTES_MAX));
        }
        Value::AddressList => {
            let text = || format!("{told}: '{value}' is not a valid internet-address-list");
            return is_address_list(value).then_some(()).ok_or_else(text);
        }
        Value::Bool => complain(boolean(value).is_some(), value, "a valid boolean value", &told),
        Value::Translator => complain(is_node(value), value, "a valid volume name", &told),
        Value::PriorityList => {
            complain(is_priority_list(value), value, "a valid priority-list", &told)
        }
        Value::Path if value.contains("../") => Some(format!("invalid path given '{value}'")),
        Value::Path => complain(value.starts_with('/'), value, "an absolute path name", &told),
        Value::Int(range) => match number::integer(value) {
            None => Some(format!("invalid number format \"{value}\" in option \"{name}\"")),
            Some(n) => outside(range, n, &told),
        },
        Value::Size(range) => match number::size(value) {
            None => Some(format!("invalid number format \"{value}\" in option \"{name}\"")),
            Some(n) => outside(range, n, &told),
        },
        Value::Time(range) => match number::seconds(value) {
            None => Some(format!("invalid time format \"{value}\" in \"option {name}\"")),
            Some(n) => outside(range, n, &told),
        },
        Value::Percent => match number::percent(value) {
            None => Some(format!("invalid percent format \"{value}\" in \"option {name}\"")),
            Some(share) => not_a_share(share, &told),
        },
        Value::PercentOrSize => percent_or_size(name, value, &told),
    };
    refused.map_or(Ok(()), |text| Err(cut(text, TEXT_BYTES_MAX)))
}

fn complain(fine: bool, value: &str, what: &str, told: &str) -> Option<String> {
    (!fine).then(|| format!("{told}: '{value}' is not {what}"))
}

fn one_of(words: &[&str], value: &str) -> Result<(), String> {
    let blank = value.bytes().all(|b| b == b' ');
    if !blank && words.iter().any(|word| fits(word, value)) {
        return Ok(());
    }
    Err(format!("'{value}' is not valid (possible options are {}.)", words.join(", ")))
}

/// `n` as it was understood; 128 bits hold every i64 and u64.
fn outside(range: &Range, n: impl Into<i128> + Display + Copy, told: &str) -> Option<String> {
    let value: i128 = n.into();
    match *range {
        Range::Any => None,
        Range::AtLeast(min) => (value < min.into())
            .then(|| format!("'{n}' in '{told}' is smaller than minimum value '{min}'")),
        Range::Within(min, max) => (value < min.into() || value > max.into())
            .then(|| format!("'{n}' in '{told}' is out of range [{min} - {max}]")),
        Range::From(min) => {
            (value < min.into()).then(|| format!("'{n}' in '{told}' is out of range [{min} - inf]"))
        }
    }
}

fn not_a_share(share: f64, told: &str) -> Option<String> {
    (!(0.0..=100.0).contains(&share))
        .then(|| format!("'{share:.6}' in '{told}' is out of range [0 - 100]"))
}

fn percent_or_size(name: &str, value: &str, told: &str) -> Option<String> {
    let fractional = value.split_once('.').is_some_and(|(_, rest)| rest.bytes().any(|b| b != b'0'));
    match number::percent_or_size(value) {
        None => Some(format!("invalid number format \"{value}\" in \"option {name}\"")),
        Some(PercentOrSize::Percent(share)) => not_a_share(share, told),
        Some(PercentOrSize::Size(bytes)) => fractional.then(|| {
            format!(
                "'{bytes:.6}' in '{told}' should not be fractional value. Use valid unsigned \
                 integer value."
            )
        }),
    }
}

/// `pattern:number` with commas between; empty parts do not count.
fn is_priority_list(text: &str) -> bool {
    let mut entries = text.split(',').filter(|entry| !entry.is_empty()).peekable();
    let weighted = |entry: &str| {
        let mut parts = entry.split(':').filter(|part| !part.is_empty());
        let weight = parts.next().and(parts.next()).and_then(number::integer);
        weight.is_some_and(|n| i32::try_from(n).is_ok())
    };
    entries.peek().is_some() && entries.all(weighted)
}

/// At most `max` bytes, at a character's edge.
fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts are recordings of the stock daemon.
    #[test]
    fn refusals() {
        let check = |kind: Value, name: &str, value: &str, want: &str| {
            let got = check_value(&kind, name, value, &|node| node == "v-client-0");
            assert_eq!(got.err().unwrap_or_default(), want, "{name} {value}");
        };
        let time = Value::Time(Range::Within(0, 1013));
        check(time, "ping-timeout", "-1", r#"invalid time format "-1" in "option ping-timeout""#);
        check(
            time,
            "ping-timeout",
            "2000",
            "'2000' in 'option ping-timeout 2000' is out of range [0 - 1013]",
        );
        check(time, "ping-timeout", "16min", "");
        check(
            Value::PercentOrSize,
            "min-free-disk",
            "110%",
            "'110.000000' in 'option min-free-disk 110%' is out of range [0 - 100]",
        );
        check(
            Value::PercentOrSize,
            "min-free-disk",
            "abc",
            r#"invalid number format "abc" in "option min-free-disk""#,
        );
        check(
            Value::PercentOrSize,
            "min-free-disk",
            "1.5GB",
            "'1610612736.000000' in 'option min-free-disk 1.5GB' should not be fractional value. \
             Use valid unsigned integer value.",
        );
        check(Value::PercentOrSize, "min-free-disk", "1.0", "");
        check(
            Value::Size(Range::Within(524_288, 1_073_741_824)),
            "cache-size",
            "2GB",
            "'2147483648' in 'option cache-size 2GB' is out of range [524288 - 1073741824]",
        );
        check(
            Value::OneOf(&["none", "server"]),
            "server-quorum-type",
            "foo",
            "option server-quorum-type foo: 'foo' is not valid (possible options are none, server.)",
        );
        check(Value::Translator, "choose-local", "v-client-0", "");
        check(Value::PriorityList, "priority", "*.txt:2,*.jpg:1", "");
        check(
            Value::PriorityList,
            "priority",
            "*.txt",
            "option priority *.txt: '*.txt' is not a valid priority-list",
        );
        check(Value::Path, "p", "a", "option p a: 'a' is not an absolute path name");
        check(Value::Path, "p", "/a/../b", "invalid path given '/a/../b'");
        check(
            Value::Int(Range::AtLeast(1)),
            "n",
            "0x0",
            "'0' in 'option n 0x0' is smaller than minimum value '1'",
        );
    }

    #[test]
    fn long_texts_are_cut() {
        let value = "é".repeat(300);
        let text = check_value(&Value::Bool, "b", &value, &|_| false).unwrap_err();
        assert!(text.len() <= TEXT_BYTES_MAX && text.starts_with("option b é"), "{text}");
    }
}
