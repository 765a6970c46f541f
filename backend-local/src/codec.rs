//! Bytes of our own: the envelope every record on disk has, and serde forms of foreign types.
//!
//! Envelope: one version byte, the xxh64 of the body (little-endian, 8 bytes), the body in
//! postcard. A record that does not match its sum is an error, never a guess. No type of the
//! consensus crate is ever written: its layout may change with any release.

use serde::{Serialize, de::DeserializeOwned};
use std::io;
use xxhash_rust::xxh64::xxh64;

/// The only version so far; a later one is told apart by this byte.
pub const VERSION: u8 = 1;
const HEAD_BYTES: usize = 9;

/// The record as stored.
pub fn seal<T: Serialize>(body: &T) -> io::Result<Vec<u8>> {
    let head = vec![0; HEAD_BYTES];
    let mut out = postcard::to_extend(body, head).map_err(|e| io::Error::other(e.to_string()))?;
    let sum = xxh64(&out[HEAD_BYTES..], 0);
    out[0] = VERSION;
    out[1..HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
    Ok(out)
}

/// The inverse of [`seal`]; `what` names the record in the error.
///
/// # Errors
/// `InvalidData` for an unknown version, a wrong sum, a body that is not exactly one `T`.
pub fn unseal<T: DeserializeOwned>(record: &[u8], what: &str) -> io::Result<T> {
    let Some((head, body)) = record.split_at_checked(HEAD_BYTES) else {
        return Err(corrupt(format!("{what}: cut short")));
    };
    if head[0] != VERSION {
        return Err(corrupt(format!("{what}: unknown version {}", head[0])));
    }
    if head[1..] != xxh64(body, 0).to_le_bytes() {
        return Err(corrupt(format!("{what}: checksum does not match")));
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(corrupt(format!("{what}: bytes left over"))),
        Err(error) => Err(corrupt(format!("{what}: {error}"))),
    }
}

/// An error that means damaged or foreign data.
pub fn corrupt(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// [`coord_api::Key`] as the pair (space, name), checked when read.
pub mod key {
    use coord_api::{Key, Space};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub fn serialize<S: Serializer>(key: &Key, s: S) -> Result<S::Ok, S::Error> {
        (key.space().as_str(), key.name()).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Key, D::Error> {
        let (space, name) = <(String, String)>::deserialize(d)?;
        Space::new(&space).and_then(|space| Key::new(&space, &name)).map_err(D::Error::custom)
    }
}

/// [`coord_api::Space`] as its name, checked when read.
pub mod space {
    use coord_api::Space;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(space: &Space, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(space.as_str())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Space, D::Error> {
        Space::new(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

/// [`bytes::Bytes`] as a byte string.
pub mod blob {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer, de};
    use std::fmt;

    pub fn serialize<S: Serializer>(bytes: &Bytes, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
        d.deserialize_byte_buf(Visit)
    }

    struct Visit;

    impl de::Visitor<'_> for Visit {
        type Value = Bytes;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a byte string")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }

        fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
            Ok(bytes.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_and_every_flipped_bit_is_seen() {
        let body = ("name".to_owned(), 7u64, vec![1u8, 2, 3]);
        let sealed = seal(&body).unwrap();
        assert_eq!(unseal::<(String, u64, Vec<u8>)>(&sealed, "t").unwrap(), body);
        let broken = |bytes: &[u8]| unseal::<(String, u64, Vec<u8>)>(bytes, "t").is_err();
        for cut in 0..sealed.len() {
            assert!(broken(&sealed[..cut]), "cut at {cut}");
        }
        for bit in 0..sealed.len() * 8 {
            let mut bytes = sealed.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(broken(&bytes), "bit {bit}");
        }
    }
}
