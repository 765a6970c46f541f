//! The GlusterFS dict: keys and values without types, the body of almost every message.
//!
//! Order. Stock keeps a dict as a list, newest pair first, and writes it in that order; reading
//! prepends, so that a list read back is turned round. Here a [`Dict`] is kept in the order in which
//! its *sender inserted* the pairs:
//! - [`Dict::encode`] writes the newest pair first, as stock does;
//! - [`Dict::decode`] turns the pairs round, so that iteration is the sender's insertion order, which
//!   is also the order in which a stock program walks a dict it received;
//! - setting a key that exists keeps its place; encoding what was decoded gives the same bytes.
//!
//! (A stock daemon that echoes a dict turns its pairs round; no reader can tell, but for options in
//! `volume info`, which are not echoed.)
//!
//! Values. Text, numbers and uuids as text end with one NUL on the wire, because stock reads them as
//! C strings in place; the setters see to it, the getters do without. Raw bytes carry none. A getter
//! reads text up to its first NUL, as C does.
//!
//! A new kind of value is a setter and a getter. No key names in here.
//!
//! Facts: libglusterfs/src/dict.c:2978-3330 (v10.3).

use indexmap::IndexMap;
use std::fmt;
use uuid::Uuid;

/// Bounds what small pairs can cost: a pair in memory is larger than on the wire.
const PAIRS_MAX: usize = 1_000_000;

/// Bytes of a pair beside its key and value: two lengths and the key's NUL.
const PAIR_OVERHEAD: usize = 4 + 4 + 1;

/// Why bytes are not a dict.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DictError {
    #[error("cut short: {needed} bytes needed, {left} left")]
    Short { needed: usize, left: usize },
    #[error("{0} is no count of pairs")]
    Count(u32),
    #[error("{0} is no length")]
    Length(u32),
    #[error("a key is not UTF-8, has a NUL inside, or has none behind it")]
    Key,
}

/// Keys and values, in the order in which they were inserted.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Dict {
    pairs: IndexMap<String, Vec<u8>>,
}

impl Dict {
    pub fn new() -> Dict {
        Dict::default()
    }

    /// Text; a NUL in it would end it for the reader and ends it here.
    pub fn set_str(&mut self, key: impl Into<String>, text: impl AsRef<str>) {
        let mut value = up_to_nul(text.as_ref().as_bytes()).to_vec();
        value.push(0);
        self.set_bytes(key, value);
    }

    /// An integer as decimal text. Booleans travel as 0 and 1.
    pub fn set_int(&mut self, key: impl Into<String>, value: impl Integer) {
        self.set_str(key, value.to_string());
    }

    /// A number as C's `%f` prints it: six decimals.
    pub fn set_double(&mut self, key: impl Into<String>, value: f64) {
        self.set_str(key, format!("{value:.6}"));
    }

    /// 36 characters, lower case.
    pub fn set_uuid_text(&mut self, key: impl Into<String>, value: &Uuid) {
        self.set_str(key, value.hyphenated().to_string());
    }

    /// Raw bytes, no NUL added. A raw uuid is its 16 bytes.
    pub fn set_bytes(&mut self, key: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.pairs.insert(key.into(), value.into());
    }

    /// Sets every pair of `other`, its keys behind `prefix`.
    pub fn set_all(&mut self, prefix: &str, other: &Dict) {
        for (key, value) in &other.pairs {
            self.pairs.insert(format!("{prefix}{key}"), value.clone());
        }
    }

    /// Text up to its first NUL; `None` when absent or not UTF-8.
    pub fn str(&self, key: &str) -> Option<&str> {
        std::str::from_utf8(up_to_nul(self.bytes(key)?)).ok()
    }

    /// An integer in C's notation (decimal, `0x…`, `0…` octal) that fits `T`; else `None`.
    pub fn int<T: TryFrom<i128>>(&self, key: &str) -> Option<T> {
        T::try_from(parse_integer(self.str(key)?)?).ok()
    }

    /// A uuid, as text or as 16 raw bytes.
    pub fn uuid(&self, key: &str) -> Option<Uuid> {
        match self.bytes(key)? {
            raw if raw.len() == 16 => Uuid::from_slice(raw).ok(),
            _ => Uuid::try_parse(self.str(key)?).ok(),
        }
    }

    /// The value as it travels, with its NUL if it has one.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.pairs.get(key).map(Vec::as_slice)
    }

    pub fn contains(&self, key: &str) -> bool {
        self.pairs.contains_key(key)
    }

    /// Takes a pair out; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Vec<u8>> {
        self.pairs.shift_remove(key)
    }

    /// Pairs in the order of insertion, values as they travel.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &[u8])> {
        self.pairs.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Shape: u32 count, then per pair u32 key length, u32 value length, key, NUL, value; newest
    /// pair first. An empty dict is four zero bytes.
    pub fn encode(&self) -> Vec<u8> {
        let pair_bytes =
            |(key, value): (&String, &Vec<u8>)| PAIR_OVERHEAD + key.len() + value.len();
        let mut out = Vec::with_capacity(4 + self.pairs.iter().map(pair_bytes).sum::<usize>());
        out.extend_from_slice(&length_word(self.pairs.len()));
        for (key, value) in self.pairs.iter().rev() {
            out.extend_from_slice(&length_word(key.len()));
            out.extend_from_slice(&length_word(value.len()));
            out.extend_from_slice(key.as_bytes());
            out.push(0);
            out.extend_from_slice(value);
        }
        out
    }

    /// Bytes behind the last pair are ignored; of a key sent twice the later on the wire counts: both
    /// as in stock.
    ///
    /// # Errors
    /// No bytes at all are an error too; where "no dict" is allowed, use
    /// [`Dict::decode_or_empty`].
    pub fn decode(bytes: &[u8]) -> Result<Dict, DictError> {
        let mut from = Cursor { left: bytes };
        let count = from.u32()?;
        let room = from.left.len() / PAIR_OVERHEAD;
        if count as usize > PAIRS_MAX {
            return Err(DictError::Count(count));
        }
        if count as usize > room {
            let needed = count as usize * PAIR_OVERHEAD;
            return Err(DictError::Short { needed, left: from.left.len() });
        }
        let mut pairs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            pairs.push(from.pair()?);
        }
        // Newest first on the wire; of duplicates the last on the wire stays.
        let mut dict = Dict::new();
        for (key, value) in pairs.into_iter().rev() {
            dict.pairs.entry(key).or_insert(value);
        }
        Ok(dict)
    }

    /// As [`Dict::decode`], where a length of zero says "no dict".
    pub fn decode_or_empty(bytes: &[u8]) -> Result<Dict, DictError> {
        if bytes.is_empty() { Ok(Dict::new()) } else { Dict::decode(bytes) }
    }
}

impl fmt::Debug for Dict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &[u8]| up_to_nul(value).escape_ascii().to_string();
        f.debug_map().entries(self.iter().map(|(key, value)| (key, shown(value)))).finish()
    }
}

/// Collects text pairs; handy where a dict is a literal.
impl<K: Into<String>, V: AsRef<str>> FromIterator<(K, V)> for Dict {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Dict {
        let mut dict = Dict::new();
        for (key, text) in pairs {
            dict.set_str(key, text);
        }
        dict
    }
}

/// The integers of Rust, for [`Dict::set_int`].
pub trait Integer: fmt::Display {}

macro_rules! integers {
    ($($kind:ty),*) => { $( impl Integer for $kind {} )* };
}

integers!(i8, i16, i32, i64, isize, u8, u16, u32, u64, usize);

struct Cursor<'a> {
    left: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], DictError> {
        let Some((taken, rest)) = self.left.split_at_checked(len) else {
            return Err(DictError::Short { needed: len, left: self.left.len() });
        };
        self.left = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, DictError> {
        let word = self.take(4)?;
        Ok(u32::from_be_bytes(word.try_into().expect("took four bytes")))
    }

    /// Stock reads lengths as signed.
    fn length(&mut self) -> Result<usize, DictError> {
        let len = self.u32()?;
        if i32::try_from(len).is_err() {
            return Err(DictError::Length(len));
        }
        Ok(len as usize)
    }

    fn pair(&mut self) -> Result<(String, Vec<u8>), DictError> {
        let (key_len, value_len) = (self.length()?, self.length()?);
        let (key, nul) = (self.take(key_len)?, self.take(1)?);
        if nul != [0] || key.contains(&0) {
            return Err(DictError::Key);
        }
        let key = std::str::from_utf8(key).map_err(|_| DictError::Key)?;
        Ok((key.to_owned(), self.take(value_len)?.to_vec()))
    }
}

fn length_word(len: usize) -> [u8; 4] {
    i32::try_from(len).expect("a dict is shorter than 2 GiB").to_be_bytes()
}

fn up_to_nul(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// As strtoll with base 0, but the whole text must be the number.
fn parse_integer(text: &str) -> Option<i128> {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from(u64::from_str_radix(digits, radix).ok()?);
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_dict() -> impl Strategy<Value = Dict> {
        let value = prop::collection::vec(any::<u8>(), 0..30);
        prop::collection::vec(("[a-z.0-9]{0,12}", value), 0..12).prop_map(|pairs| {
            let mut dict = Dict::new();
            for (key, value) in pairs {
                dict.set_bytes(key, value);
            }
            dict
        })
    }

    proptest! {
        #[test]
        fn dicts_come_back_in_order(dict in any_dict()) {
            let bytes = dict.encode();
            let back = Dict::decode(&bytes).unwrap();
            prop_assert_eq!(back.iter().collect::<Vec<_>>(), dict.iter().collect::<Vec<_>>());
            prop_assert_eq!(back.encode(), bytes.clone());
            for cut in 0..bytes.len() {
                prop_assert!(Dict::decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Dict::decode(&bytes);
        }

        #[test]
        fn integers_come_back(value: i64, unsigned: u64) {
            let mut dict = Dict::new();
            dict.set_int("a", value);
            dict.set_int("b", unsigned);
            prop_assert_eq!((dict.int("a"), dict.int("b")), (Some(value), Some(unsigned)));
        }
    }

    #[test]
    fn the_newest_pair_travels_first() {
        let dict: Dict = [("a", "1"), ("bc", "")].into_iter().collect();
        assert_eq!(
            dict.encode(),
            b"\0\0\0\x02\0\0\0\x02\0\0\0\x01bc\0\0\0\0\0\x01\0\0\0\x02a\x001\0"
        );
        let keys = |dict: &Dict| dict.iter().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&Dict::decode(&dict.encode()).unwrap()), ["a", "bc"]);
    }

    #[test]
    fn setting_again_keeps_the_place_and_removing_the_order() {
        let mut dict: Dict = [("a", "1"), ("b", "2"), ("c", "3")].into_iter().collect();
        dict.set_str("a", "9");
        assert_eq!(format!("{dict:?}"), r#"{"a": "9", "b": "2", "c": "3"}"#);
        assert_eq!(dict.remove("b"), Some(b"2\0".to_vec()));
        assert_eq!(format!("{dict:?}"), r#"{"a": "9", "c": "3"}"#);
        assert!(dict.contains("c") && !dict.contains("b") && dict.len() == 2);
    }

    #[test]
    fn text_has_its_nul_and_is_read_without() {
        let mut dict = Dict::new();
        dict.set_str("text", "on");
        dict.set_double("double", 1.5);
        dict.set_bytes("bare", *b"off");
        dict.set_bytes("pointer", *b"");
        assert_eq!(dict.bytes("text"), Some(&b"on\0"[..]));
        assert_eq!(dict.bytes("double"), Some(&b"1.500000\0"[..]));
        let read = ["text", "bare", "pointer", "absent"].map(|key| dict.str(key));
        assert_eq!(read, [Some("on"), Some("off"), Some(""), None]);
    }

    #[test]
    fn uuids_are_read_as_text_and_raw() {
        let id = Uuid::from_u128(0xa548_e816_de1c_465f_a93b_0801_92af_cc59);
        let mut dict = Dict::new();
        dict.set_uuid_text("text", &id);
        dict.set_bytes("raw", *id.as_bytes());
        assert_eq!(dict.bytes("text").map(<[u8]>::len), Some(37));
        assert_eq!((dict.uuid("text"), dict.uuid("raw")), (Some(id), Some(id)));
    }

    #[test]
    fn integers_are_read_as_c_reads_them() {
        let read = |text: &str| [("n", text)].into_iter().collect::<Dict>().int::<i64>("n");
        assert_eq!(read("18"), Some(18));
        assert_eq!(read("-1"), Some(-1));
        assert_eq!(read(" +7"), Some(7));
        assert_eq!(read("0"), Some(0));
        assert_eq!(read("0x401"), Some(0x401));
        assert_eq!(read("017"), Some(15));
        for wrong in ["", "-", "0x", "089", "12a", "--1", "0x-1", "-+1", "18446744073709551615"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let large: Dict = [("n", "256")].into_iter().collect();
        assert_eq!((large.int::<u8>("n"), large.int::<u16>("n")), (None, Some(256)));
    }

    #[test]
    fn of_a_key_sent_twice_the_later_counts() {
        let mut bytes = b"\0\0\0\x02".to_vec();
        bytes.extend(b"\0\0\0\x01\0\0\0\x02a\x001\0");
        bytes.extend(b"\0\0\0\x01\0\0\0\x02a\x002\0");
        assert_eq!(Dict::decode(&bytes).unwrap().str("a"), Some("2"));
    }

    #[test]
    fn lying_numbers_are_errors() {
        let check = |bytes: &[u8]| assert!(Dict::decode(bytes).is_err(), "{bytes:?}");
        check(b"");
        check(&[0xff; 4]);
        check(&[0x7f, 0xff, 0xff, 0xff]);
        check(&[&[0, 0, 0, 1][..], &[0xff; 8], b"abcdefgh"].concat());
        check(&[&[0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1][..], b"abcdefgh"].concat());
        check(b"\0\0\0\x01\0\0\0\x01\0\0\0\x01ax1");
        check(b"\0\0\0\x01\0\0\0\x02\0\0\0\x01a\0\x001");
        check(b"\0\0\0\x01\0\0\0\x01\0\0\0\x01\xff\x001");
        assert_eq!(Dict::decode_or_empty(b""), Ok(Dict::new()));
        assert_eq!(Dict::decode(b"\0\0\0\0tail"), Ok(Dict::new()));
    }
}
