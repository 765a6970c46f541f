//! Record marking: where one message on a stream ends and the next begins.
//!
//! A fragment is a big-endian u32 (top bit: last; the rest: length in bytes) and that many bytes; a
//! record is the fragments up to the one marked last. Stock senders emit one fragment per record,
//! readers accept many. No meaning of a message in here, and no I/O: the codec eats a buffer.
//!
//! Memory held for a peer is what the peer has sent, never what it announced.
//!
//! Facts: RFC 5531 section 11; rpc/rpc-transport/socket/src/socket.c:2369 (v10.3).

use bytes::{Buf, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

/// The longest record accepted when nothing else is configured.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// More fragments than any honest sender needs; bounds the work a stream of empty ones can cause.
const FRAGMENTS_MAX: u32 = 1024;

const MARK_BYTES: usize = 4;
const LAST: u32 = 0x8000_0000;

/// Why a stream cannot be read on. The connection has to go: the next boundary is unknown.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("a record of {len} bytes or more, {limit} are allowed")]
    TooLong { len: usize, limit: usize },
    #[error("a record in more than {FRAGMENTS_MAX} fragments")]
    TooManyFragments,
    #[error("the peer closed inside a record")]
    Cut,
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Splits a byte stream into records and marks records for sending.
#[derive(Debug)]
pub struct RecordCodec {
    limit: usize,
    /// Earlier fragments of the record being read.
    gathered: BytesMut,
    fragments: u32,
}

impl RecordCodec {
    /// `limit` bounds one record, in bytes, marks not counted.
    pub fn new(limit: usize) -> RecordCodec {
        RecordCodec { limit, gathered: BytesMut::new(), fragments: 0 }
    }

    /// Bytes kept inside the codec, beside the buffer it reads from.
    pub fn gathered_bytes(&self) -> usize {
        self.gathered.len()
    }

    /// Whether a record has begun and not ended.
    pub fn is_inside(&self) -> bool {
        self.fragments > 0
    }
}

impl Default for RecordCodec {
    fn default() -> RecordCodec {
        RecordCodec::new(RECORD_BYTES_MAX)
    }
}

impl Decoder for RecordCodec {
    type Item = Bytes;
    type Error = RecordError;

    fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, RecordError> {
        while let Some(mark) = buffer.first_chunk::<MARK_BYTES>() {
            let mark = u32::from_be_bytes(*mark);
            let (is_last, len) = (mark & LAST != 0, (mark & !LAST) as usize);
            let total = self.gathered.len() + len;
            if total > self.limit {
                return Err(RecordError::TooLong { len: total, limit: self.limit });
            }
            if self.fragments >= FRAGMENTS_MAX {
                return Err(RecordError::TooManyFragments);
            }
            if buffer.len() < MARK_BYTES + len {
                return Ok(None);
            }
            buffer.advance(MARK_BYTES);
            let fragment = buffer.split_to(len);
            if is_last && self.fragments == 0 {
                return Ok(Some(fragment.freeze()));
            }
            self.gathered.extend_from_slice(&fragment);
            self.fragments += 1;
            if is_last {
                self.fragments = 0;
                return Ok(Some(std::mem::take(&mut self.gathered).freeze()));
            }
        }
        Ok(None)
    }

    fn decode_eof(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, RecordError> {
        match self.decode(buffer)? {
            Some(record) => Ok(Some(record)),
            None if buffer.is_empty() && !self.is_inside() => Ok(None),
            None => Err(RecordError::Cut),
        }
    }
}

impl<T: AsRef<[u8]>> Encoder<T> for RecordCodec {
    type Error = RecordError;

    fn encode(&mut self, record: T, out: &mut BytesMut) -> Result<(), RecordError> {
        let record = record.as_ref();
        let len = record.len();
        if len > self.limit {
            return Err(RecordError::TooLong { len, limit: self.limit });
        }
        out.reserve(MARK_BYTES + len);
        out.extend_from_slice(&mark(len).to_be_bytes());
        out.extend_from_slice(record);
        Ok(())
    }
}

/// The mark before a record of `len` bytes sent in one piece.
pub fn mark(len: usize) -> u32 {
    LAST | u32::try_from(len).expect("a record is shorter than 2 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Feeds `stream` in pieces of `step` bytes; the records that come out.
    fn read(stream: &[u8], step: usize, limit: usize) -> Result<Vec<Bytes>, RecordError> {
        let mut codec = RecordCodec::new(limit);
        let mut buffer = BytesMut::new();
        let mut records = Vec::new();
        for piece in stream.chunks(step) {
            buffer.extend_from_slice(piece);
            while let Some(record) = codec.decode(&mut buffer)? {
                records.push(record);
            }
        }
        while let Some(record) = codec.decode_eof(&mut buffer)? {
            records.push(record);
        }
        Ok(records)
    }

    fn fragment(is_last: bool, body: &[u8]) -> Vec<u8> {
        let top = if is_last { LAST } else { 0 };
        let mut bytes = (top | body.len() as u32).to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    proptest! {
        #[test]
        fn records_come_back_however_cut(
            records in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6),
            step in 1usize..80, split in 1usize..20,
        ) {
            let mut whole = BytesMut::new();
            let mut codec = RecordCodec::default();
            let mut in_fragments = Vec::new();
            for record in &records {
                codec.encode(record, &mut whole).unwrap();
                for piece in record.chunks(split) {
                    in_fragments.extend(fragment(false, piece));
                }
                in_fragments.extend(fragment(true, b""));
            }
            for stream in [&whole[..], &in_fragments[..]] {
                prop_assert_eq!(&read(stream, step, 1000).unwrap(), &records);
            }
        }
    }

    #[test]
    fn a_stream_cut_inside_a_record_is_an_error() {
        let mut stream = fragment(false, b"abc");
        stream.extend(fragment(true, b"de"));
        for cut in 1..stream.len() {
            assert!(matches!(read(&stream[..cut], 3, 100), Err(RecordError::Cut)), "{cut}");
        }
        assert_eq!(read(&stream, 3, 100).unwrap(), [&b"abcde"[..]]);
    }

    #[test]
    fn the_limit_counts_all_fragments() {
        let mut stream = fragment(false, b"abc");
        stream.extend(fragment(true, b"de"));
        assert!(matches!(read(&stream, 3, 4), Err(RecordError::TooLong { len: 5, limit: 4 })));
        assert_eq!(read(&stream, 3, 5).unwrap(), [&b"abcde"[..]]);
    }

    #[test]
    fn an_announced_length_allocates_nothing() {
        let mut buffer = BytesMut::from(&(LAST | RECORD_BYTES_MAX as u32).to_be_bytes()[..]);
        let before = buffer.capacity();
        assert!(RecordCodec::default().decode(&mut buffer).unwrap().is_none());
        assert_eq!(buffer.capacity(), before);
        let mut over = BytesMut::from(&u32::MAX.to_be_bytes()[..]);
        assert!(matches!(
            RecordCodec::default().decode(&mut over),
            Err(RecordError::TooLong { .. })
        ));
    }

    #[test]
    fn empty_fragments_are_bounded() {
        let stream = fragment(false, b"").repeat(FRAGMENTS_MAX as usize + 1);
        assert!(matches!(read(&stream, 512, 100), Err(RecordError::TooManyFragments)));
    }
}
