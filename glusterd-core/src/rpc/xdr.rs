//! XDR: numbers, texts and blobs as big-endian words.
//!
//! Decoding allocates only what has arrived: every length is compared with what is left of the
//! message before anything is copied. Encoding cannot fail. A new body is an `xdr_struct!`; a new
//! kind of field is an `impl Xdr`. No RPC and no GlusterFS meaning in here.
//!
//! Facts: RFC 4506. `string<>` and `opaque<>` look alike on the wire; here the first is a `String`
//! (UTF-8 or refused) and the second a `Vec<u8>`. Pad bytes are not looked at, as in libtirpc.

/// Why bytes are not the message they should be. Nothing of a bad message is handed out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XdrError {
    #[error("{needed} bytes needed, {left} left")]
    Short { needed: usize, left: usize },
    #[error("length {len} is over the limit of {limit}")]
    TooLong { len: usize, limit: usize },
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("{what} cannot be {found}")]
    Unknown { what: &'static str, found: u32 },
}

/// A value with a place in a message.
pub trait Xdr: Sized {
    fn encode(&self, out: &mut Writer);

    /// Takes the value off the front of `from`, which is left anywhere on error.
    fn decode(from: &mut Reader<'_>) -> Result<Self, XdrError>;

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        self.encode(&mut out);
        out.into_bytes()
    }

    /// The value that `bytes` start with. What follows it is ignored, as stock does.
    fn from_bytes(bytes: &[u8]) -> Result<Self, XdrError> {
        Self::decode(&mut Reader::new(bytes))
    }
}

/// A cursor over a received message.
#[derive(Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// How many bytes have been taken.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    pub fn take(&mut self, len: usize) -> Result<&'a [u8], XdrError> {
        let left = self.left();
        if len > left {
            return Err(XdrError::Short { needed: len, left });
        }
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        Ok(taken)
    }

    pub fn u32(&mut self) -> Result<u32, XdrError> {
        let word = self.take(4)?;
        Ok(u32::from_be_bytes(word.try_into().expect("took four bytes")))
    }

    pub fn u64(&mut self) -> Result<u64, XdrError> {
        let word = self.take(8)?;
        Ok(u64::from_be_bytes(word.try_into().expect("took eight bytes")))
    }

    /// A counted blob of at most `limit` bytes, without its padding.
    pub fn opaque(&mut self, limit: usize) -> Result<&'a [u8], XdrError> {
        let len = self.u32()? as usize;
        if len > limit {
            return Err(XdrError::TooLong { len, limit });
        }
        let body = self.take(len)?;
        self.take(padding(len))?;
        Ok(body)
    }
}

/// A message being written.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    /// A counted blob and its padding.
    pub fn opaque(&mut self, body: &[u8]) {
        self.u32(u32::try_from(body.len()).expect("a message is shorter than 4 GiB"));
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len() + padding(body.len()), 0);
    }
}

/// How many zero bytes follow a blob of `len` bytes.
fn padding(len: usize) -> usize {
    len.wrapping_neg() % 4
}

impl Xdr for u32 {
    fn encode(&self, out: &mut Writer) {
        out.u32(*self);
    }

    fn decode(from: &mut Reader<'_>) -> Result<u32, XdrError> {
        from.u32()
    }
}

impl Xdr for i32 {
    fn encode(&self, out: &mut Writer) {
        out.u32(self.cast_unsigned());
    }

    fn decode(from: &mut Reader<'_>) -> Result<i32, XdrError> {
        from.u32().map(u32::cast_signed)
    }
}

impl Xdr for u64 {
    fn encode(&self, out: &mut Writer) {
        out.u64(*self);
    }

    fn decode(from: &mut Reader<'_>) -> Result<u64, XdrError> {
        from.u64()
    }
}

impl Xdr for Vec<u8> {
    fn encode(&self, out: &mut Writer) {
        out.opaque(self);
    }

    fn decode(from: &mut Reader<'_>) -> Result<Vec<u8>, XdrError> {
        from.opaque(usize::MAX).map(<[u8]>::to_vec)
    }
}

impl Xdr for String {
    fn encode(&self, out: &mut Writer) {
        out.opaque(self.as_bytes());
    }

    fn decode(from: &mut Reader<'_>) -> Result<String, XdrError> {
        let body = from.opaque(usize::MAX)?;
        std::str::from_utf8(body).map(str::to_owned).map_err(|_| XdrError::NotUtf8)
    }
}

/// A body without content.
impl Xdr for () {
    fn encode(&self, _out: &mut Writer) {}

    fn decode(_from: &mut Reader<'_>) -> Result<(), XdrError> {
        Ok(())
    }
}

/// Declares a message body once: field order is wire order, encoder and decoder come from it.
macro_rules! xdr_struct {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident { $( $(#[$field_meta:meta])* $field:ident : $kind:ty ),* $(,)? }
    )*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $kind ),* }

        impl $crate::rpc::xdr::Xdr for $name {
            fn encode(&self, out: &mut $crate::rpc::xdr::Writer) {
                $( $crate::rpc::xdr::Xdr::encode(&self.$field, out); )*
            }

            fn decode(
                from: &mut $crate::rpc::xdr::Reader<'_>,
            ) -> Result<$name, $crate::rpc::xdr::XdrError> {
                Ok($name { $( $field: $crate::rpc::xdr::Xdr::decode(from)? ),* })
            }
        }
    )*};
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Debug;

    /// The value comes back, and no shorter message passes for it.
    pub(crate) fn check<T: Xdr + PartialEq + Debug>(value: &T) {
        let bytes = value.to_bytes();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
        for cut in 0..bytes.len() {
            assert!(T::from_bytes(&bytes[..cut]).is_err(), "cut at {cut} of {}", bytes.len());
        }
    }

    xdr_struct! {
        /// One field of each kind.
        pub struct Sample { a: i32, b: u32, c: u64, text: String, blob: Vec<u8> }
    }

    proptest! {
        #[test]
        fn structs_come_back(
            a: i32, b: u32, c: u64, text in ".{0,40}", blob in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            check(&Sample { a, b, c, text, blob });
        }

        #[test]
        fn garbage_is_an_error_or_a_value(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sample::from_bytes(&bytes);
        }
    }

    #[test]
    fn a_huge_length_is_an_error() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4];
        let short = XdrError::Short { needed: 0xffff_ffff, left: 4 };
        assert_eq!(Vec::<u8>::from_bytes(&bytes), Err(short.clone()));
        assert_eq!(String::from_bytes(&bytes), Err(short));
    }

    #[test]
    fn a_limit_comes_before_the_bytes() {
        let mut from = Reader::new(&[0, 0, 0, 9, 1]);
        assert_eq!(from.opaque(8), Err(XdrError::TooLong { len: 9, limit: 8 }));
    }

    #[test]
    fn text_must_be_utf8() {
        assert_eq!(String::from_bytes(&[0, 0, 0, 1, 0xff, 0, 0, 0]), Err(XdrError::NotUtf8));
    }
}
