//! Numbers as users write them: C's integers, sizes, times, percentages.
//!
//! What C's strto* accept is accepted: leading blanks, a sign, `0x` and `0` prefixes. `None` is
//! "not such a number"; ranges are judged in `value`. Where stock overflows silently the answer
//! here is `None`.
//!
//! Facts: gf_string2* in libglusterfs/src/common-utils.c (v10.3).

/// A whole text as a C integer of any base, within i64. A negative zero is none, as in stock.
pub fn integer(text: &str) -> Option<i64> {
    whole(long(text, 0)?).filter(|n| *n != 0 || !negative(text))
}

/// The same, cut to 32 bits as stock's `int` is.
pub fn int32(text: &str) -> Option<i32> {
    integer(text).map(|n| n as i32)
}

/// No minus sign; cut to 32 bits as stock's `unsigned int` is.
pub fn unsigned32(text: &str) -> Option<u32> {
    unsigned(text).map(|n| n as u32)
}

/// No minus sign, within u64.
pub fn unsigned(text: &str) -> Option<u64> {
    if negative(text) {
        return None;
    }
    let digits = text.trim_start_matches(blank);
    let (digits, base) = prefixed(digits.strip_prefix('+').unwrap_or(digits), 0);
    u64::from_str_radix(digits, base).ok().filter(|_| digits.bytes().all(|b| b != b'+'))
}

/// The decimal number in front of whatever follows, cut to 32 bits; 0 if there is none.
pub fn leading(text: &str) -> i32 {
    long(text, 10).map_or(0, |(value, _)| value as i32)
}

/// Bytes; units B, KB … PB in any case, fractions only with a dot in the text.
pub fn size(text: &str) -> Option<u64> {
    if negative(text) {
        return None;
    }
    if text.contains('.') {
        let (value, tail) = float(text)?;
        let bytes = value * unit(tail)? as f64;
        return (bytes <= i64::MAX as f64).then_some(bytes as u64);
    }
    let (value, tail) = long(text, 10)?;
    u64::try_from(value.checked_mul(unit(tail)?)?).ok()
}

/// Seconds; units s, sec, m, min, h, hr, d, days, w, wk, in lower case.
pub fn seconds(text: &str) -> Option<i64> {
    if negative(text) {
        return None;
    }
    let (value, tail) = long(text, 0)?;
    let unit = match tail {
        "" | "s" | "sec" => 1,
        "m" | "min" => 60,
        "h" | "hr" => 3600,
        "d" | "days" => 86_400,
        "w" | "wk" => 604_800,
        _ => return None,
    };
    value.checked_mul(unit)
}

pub fn percent(text: &str) -> Option<f64> {
    if negative(text) {
        return None;
    }
    let (value, tail) = float(text)?;
    matches!(tail, "" | "%").then_some(value)
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PercentOrSize {
    Percent(f64),
    Size(f64),
}

/// A share with `%`, otherwise bytes with units.
pub fn percent_or_size(text: &str) -> Option<PercentOrSize> {
    if negative(text) {
        return None;
    }
    let (value, tail) = float(text)?;
    if tail == "%" {
        return Some(PercentOrSize::Percent(value));
    }
    let bytes = if tail.is_empty() { value } else { value * large_unit(tail)? as f64 };
    (bytes <= u64::MAX as f64).then_some(PercentOrSize::Size(bytes))
}

fn unit(tail: &str) -> Option<i64> {
    if tail.is_empty() || tail.eq_ignore_ascii_case("B") { Some(1) } else { large_unit(tail) }
}

fn large_unit(tail: &str) -> Option<i64> {
    let units = ["KB", "MB", "GB", "TB", "PB"];
    let power = units.iter().position(|unit| tail.eq_ignore_ascii_case(unit))?;
    Some(1 << (10 * (power + 1)))
}

fn blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

fn negative(text: &str) -> bool {
    text.trim_start_matches(blank).starts_with('-')
}

fn whole((value, tail): (i64, &str)) -> Option<i64> {
    tail.is_empty().then_some(value)
}

/// Drops the prefix of `base` 0 and says which base it meant.
fn prefixed(digits: &str, base: u32) -> (&str, u32) {
    if base != 0 {
        return (digits, base);
    }
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    match hex {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (hex, 16),
        _ if digits.starts_with('0') => (digits, 8),
        _ => (digits, 10),
    }
}

/// C's strtoll: the number in front and what follows it.
fn long(text: &str, base: u32) -> Option<(i64, &str)> {
    let text = text.trim_start_matches(blank);
    let (minus, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (digits, base) = prefixed(text, base);
    let end = digits.find(|c: char| !c.is_digit(base)).unwrap_or(digits.len());
    let magnitude = i128::from_str_radix(&digits[..end], base).ok()?;
    let value = if minus { -magnitude } else { magnitude };
    Some((i64::try_from(value).ok()?, &digits[end..]))
}

/// C's strtod without hexadecimal fractions: the number in front and what follows it. Infinity
/// only when spelled out; a value too large is none.
fn float(text: &str) -> Option<(f64, &str)> {
    let text = text.trim_start_matches(blank);
    let signed = text.starts_with(['+', '-']) as usize;
    let lower = text[signed..].to_ascii_lowercase();
    if let Some(word) = ["infinity", "inf", "nan"].into_iter().find(|w| lower.starts_with(w)) {
        let end = signed + word.len();
        return Some((text[..end].parse().ok()?, &text[end..]));
    }
    if lower.starts_with("0x") {
        let (value, tail) = long(text, 16).or_else(|| long(text, 0))?;
        return Some((value as f64, tail));
    }
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(signed);
    let mut end = signed + whole;
    let mut any = whole;
    if bytes.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        any += fraction;
        end += 1 + fraction;
    }
    if any == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = matches!(bytes.get(end + 1), Some(b'+' | b'-')) as usize;
        let exponent = digits(end + 1 + sign);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let value: f64 = text[..end].parse().ok()?;
    value.is_finite().then_some((value, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers() {
        let check = |text: &str, want: Option<i64>| assert_eq!(integer(text), want, "{text:?}");
        check("42", Some(42));
        check(" +42", Some(42));
        check("-7", Some(-7));
        check("0x10", Some(16));
        check("01000", Some(512));
        check("08", None);
        check("0", Some(0));
        check("0x", None);
        check("", None);
        check("1 ", None);
        check("9223372036854775808", None);
        assert_eq!(unsigned("18446744073709551615"), Some(u64::MAX));
        assert_eq!(unsigned("-1"), None);
        assert_eq!(unsigned("++1"), None);
        assert_eq!(int32("4294967297"), Some(1));
    }

    #[test]
    fn sizes() {
        let check = |text: &str, want: Option<u64>| assert_eq!(size(text), want, "{text:?}");
        check("1KB", Some(1024));
        check("1kb", Some(1024));
        check("1.5GB", Some(1_610_612_736));
        check("512B", Some(512));
        check("12", Some(12));
        check("010", Some(10));
        check("1K", None);
        check("-1", None);
        check("big", None);
        check("9000PB", None);
    }

    #[test]
    fn times_and_shares() {
        let check = |text: &str, want: Option<i64>| assert_eq!(seconds(text), want, "{text:?}");
        check("1min", Some(60));
        check("2wk", Some(1_209_600));
        check("1.5", None);
        check("-1", None);
        check("x", None);
        assert_eq!(percent("70%"), Some(70.0));
        assert_eq!(percent("1e2"), Some(100.0));
        assert_eq!(percent("%"), None);
        assert_eq!(percent_or_size("10%"), Some(PercentOrSize::Percent(10.0)));
        assert_eq!(percent_or_size("1.5KB"), Some(PercentOrSize::Size(1536.0)));
        assert_eq!(percent_or_size("1B"), None);
    }
}
