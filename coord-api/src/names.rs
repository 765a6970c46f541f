//! Names: spaces, keys, prefixes, and the escaped form for stores with narrower alphabets.
//!
//! Flat: `/` has no meaning and no key is a parent of another. Every rule on names is here.

use crate::Result;
use crate::error::{Error, ErrorKind};
use crate::session::SessionId;
use std::fmt;
use std::sync::Arc;

const NAME_MAX: usize = 200;
const ESCAPED_MAX: usize = 255;

/// A declared set of keys, all persistent or all ephemeral: `[a-z][a-z0-9]{0,15}` (K1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space(Arc<str>);

/// Whether the keys of a space outlive the session that wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SpaceKind {
    Persistent,
    Ephemeral,
}

/// A key: 1-200 bytes of 0x21-0x7e, at most 255 once escaped (K2). Order: space, then name
/// bytewise (K3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    space: Space,
    name: Arc<str>,
}

/// All keys of a space whose name starts with these bytes: `ab` matches `abc` (K4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    space: Space,
    name: Arc<str>,
}

impl Space {
    /// # Errors
    /// [`ErrorKind::InvalidKey`] unless the name matches `[a-z][a-z0-9]{0,15}`.
    pub fn new(name: &str) -> Result<Space> {
        let bytes = name.as_bytes();
        let tail = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let legal = (1..=16).contains(&bytes.len())
            && bytes[0].is_ascii_lowercase()
            && bytes.iter().all(tail);
        if legal { Ok(Space(name.into())) } else { invalid("a space is [a-z][a-z0-9]{0,15}") }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Key {
    /// # Errors
    /// [`ErrorKind::InvalidKey`] quoting the rule broken (K2).
    pub fn new(space: &Space, name: &str) -> Result<Key> {
        if name.is_empty() {
            return invalid("a key has at least one byte");
        }
        legal_name(name)?;
        if escaped_len(name) > ESCAPED_MAX {
            return invalid("a key has at most 255 bytes once escaped");
        }
        Ok(Key { space: space.clone(), name: name.into() })
    }

    /// The only form of name a session may write: `STEM@SESSION-COUNTER`, both in hex (S3).
    ///
    /// The counter tells keys of one session and stem apart, also over time: a recipe that
    /// deletes and writes again takes the next one.
    ///
    /// # Errors
    /// As [`Key::new`]; the suffix takes up to 34 bytes.
    pub fn ephemeral(space: &Space, stem: &str, session: SessionId, counter: u64) -> Result<Key> {
        Key::new(space, &format!("{stem}@{:x}-{counter:x}", session.0))
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands before the session's suffix; the whole name if there is none.
    pub fn stem(&self) -> &str {
        self.suffix().map_or(&self.name, |(stem, _)| stem)
    }

    /// The session whose suffix the name carries.
    pub fn session(&self) -> Option<SessionId> {
        self.suffix().map(|(_, session)| session)
    }

    fn suffix(&self) -> Option<(&str, SessionId)> {
        let (stem, suffix) = self.name.rsplit_once('@')?;
        let (id, counter) = suffix.split_once('-')?;
        Some((stem, SessionId(hex(id)?))).filter(|_| hex(counter).is_some())
    }
}

impl Prefix {
    /// The whole space.
    pub fn all(space: &Space) -> Prefix {
        Prefix { space: space.clone(), name: "".into() }
    }

    /// # Errors
    /// [`ErrorKind::InvalidKey`] for bytes or a length no key can have.
    pub fn new(space: &Space, name: &str) -> Result<Prefix> {
        legal_name(name)?;
        Ok(Prefix { space: space.clone(), name: name.into() })
    }

    pub fn space(&self) -> &Space {
        &self.space
    }

    /// The bytes every name starts with; empty for the whole space.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The least bound of all matching keys, for range scans of ordered maps. Not a key that can
    /// be written: its name may be empty.
    pub fn start(&self) -> Key {
        Key { space: self.space.clone(), name: self.name.clone() }
    }

    pub fn matches(&self, key: &Key) -> bool {
        key.space == self.space && key.name.starts_with(&*self.name)
    }
}

/// The name in `[A-Za-z0-9._]` only, for stores whose paths cannot hold every byte.
///
/// Each byte outside `[A-Za-z0-9.]`, and a leading dot, becomes `_` and two lower-case hex
/// digits; a UUID takes 44 bytes. The order of escaped names is not the order of keys (K3).
pub fn escape(name: &str) -> String {
    let mut out = String::with_capacity(escaped_len(name));
    for (at, byte) in name.bytes().enumerate() {
        if is_plain(at, byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("_{byte:02x}"));
        }
    }
    out
}

/// The inverse of [`escape`]; `None` for what `escape` never returns.
pub fn unescape(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '_' {
            let byte = u8::from_str_radix(rest.get(1..3)?, 16).ok().filter(u8::is_ascii)?;
            out.push(char::from(byte));
            rest = &rest[3..];
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    (escape(&out) == text).then_some(out)
}

fn is_plain(at: usize, byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || (byte == b'.' && at > 0)
}

fn escaped_len(name: &str) -> usize {
    name.bytes().enumerate().map(|(at, byte)| if is_plain(at, byte) { 1 } else { 3 }).sum()
}

fn legal_name(name: &str) -> Result<()> {
    if name.len() > NAME_MAX {
        return invalid("a key has at most 200 bytes");
    }
    if !name.bytes().all(|b| (0x21..=0x7e).contains(&b)) {
        return invalid("a key is printable ASCII without space");
    }
    Ok(())
}

/// Lower-case hex without leading zeros, as [`Key::ephemeral`] writes it.
fn hex(text: &str) -> Option<u64> {
    let value = u64::from_str_radix(text, 16).ok()?;
    (format!("{value:x}") == text).then_some(value)
}

fn invalid<T>(rule: &'static str) -> Result<T> {
    Err(Error::none(ErrorKind::InvalidKey(rule)))
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.space, self.name)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}*", self.space, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Result<Key> {
        Key::new(&Space::new("config").unwrap(), name)
    }

    #[test]
    fn spaces_are_short_lower_case_words() {
        let long = "a".repeat(17);
        for bad in ["", "1a", "A", "a-b", "a/b", "ä", long.as_str()] {
            assert!(Space::new(bad).is_err(), "{bad}");
        }
        for good in ["a", "a1", &long[1..]] {
            assert!(Space::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn keys_are_bounded_plain_and_escaped() {
        let (most, over) = ("x".repeat(200), "x".repeat(201));
        let (dashes, too_many) = ("-".repeat(85), "-".repeat(86));
        for bad in ["", " ", "a b", "\u{7f}", "ü", over.as_str(), too_many.as_str()] {
            assert!(key(bad).is_err(), "{bad}");
        }
        for good in ["!", "~", "a/b", "..", "%", most.as_str(), dashes.as_str()] {
            assert!(key(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn escaping_is_reversible_and_refuses_the_rest() {
        let uuid = "6f2b5bd7-3d4c-4e7d-9d52-1d2f8b7f4a11";
        assert_eq!(escape(uuid).len(), 44);
        assert_eq!(escape("._a.b"), "_2e_5fa.b");
        for name in [uuid, ".", "..", "a_b", "%41", "/", "~!"] {
            assert_eq!(unescape(&escape(name)).as_deref(), Some(name));
        }
        for bad in ["_", "_4", "_zz", "_41", "_5F", ".a", "a-b", "_é"] {
            assert_eq!(unescape(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_session_owns_the_names_with_its_suffix() {
        let alive = Space::new("alive").unwrap();
        let mine = Key::ephemeral(&alive, "node@1", SessionId(0x1f), 10).unwrap();
        assert_eq!(mine.name(), "node@1@1f-a");
        assert_eq!((mine.stem(), mine.session()), ("node@1", Some(SessionId(0x1f))));
        for other in ["node", "node@1f", "node@01f-a", "node@1F-a", "node@-", "a@1-b-c"] {
            assert_eq!(Key::new(&alive, other).unwrap().session(), None, "{other}");
        }
    }
}
