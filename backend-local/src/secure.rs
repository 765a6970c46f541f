//! The first bytes of a connection and the form of all others: who is there, and nothing forged.
//!
//! Both ends prove that they hold the pool's secret before either believes a byte:
//!
//! ```text
//! dialer    hello: magic 8, version 1, purpose 1, scope 16, nonce 32
//! listener  verdict 1; if welcome: nonce 32, proof 32
//! dialer    proof 32
//! ```
//!
//! A proof is HMAC-SHA256 under the secret of the role and of all that was said before. Then each
//! way has a key of its own, and every frame carries the HMAC of its number and content, so that
//! nothing can be changed, dropped, repeated or reordered unseen. What is said is not hidden:
//! that is what TLS under it is for.
//!
//! A message is one or more frames: a big-endian u32 (top bit: last; the rest: bytes of the body,
//! at most [`FRAME_MAX`]), the body, a tag of 16 bytes. Nothing is allocated beyond one frame
//! before its bytes have come. No message of the store is known here.

use crate::layout::Identity;
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use std::fmt;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: &[u8; 8] = b"gd-store";
const VERSION: u8 = 1;
const HELLO_BYTES: usize = 8 + 1 + 1 + 16 + 32;
const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const LAST: u32 = 1 << 31;
/// Bytes of one frame's body.
pub const FRAME_MAX: usize = 256 << 10;

/// What only the pool's nodes know.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret([u8; 32]);

impl Secret {
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// # Errors
    /// Those of reading the system's randomness.
    pub fn draw() -> io::Result<Secret> {
        Ok(Secret(Identity::random_bytes()?))
    }

    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn mac(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.0).expect("a key of any length serves");
        parts.iter().for_each(|part| mac.update(part));
        mac
    }

    /// This secret so that only holders of `key` can read it; the same call undoes it. `salt`
    /// must be used once only.
    pub fn veiled(&self, key: &Secret, salt: &[u8]) -> Secret {
        let pad: [u8; 32] = key.mac(&[b"veil", salt]).finalize().into_bytes().into();
        Secret(std::array::from_fn(|at| self.0[at] ^ pad[at]))
    }
}

/// It must not get into logs.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Consensus between masters.
    Member,
    /// Calls, sessions and watches.
    Client,
    /// Taking up an invitation; the scope is the invitation's id.
    Join,
}

/// What the dialer says first. `scope`: the cluster's id, or the invitation's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    pub purpose: Purpose,
    pub scope: [u8; 16],
}

/// A listener's first byte if it is not 0, which is a welcome. Not proven: whoever is refused learns no more than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another cluster lives here, or no such invitation is open.
    Stranger,
    /// Too many connections.
    Full,
}

/// Why no connection came about.
#[derive(Debug)]
pub enum Refused {
    Io(io::Error),
    Stranger,
    Full,
    /// The other end does not hold the secret.
    Unproven,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Io(error) => error.fmt(f),
            Refused::Stranger => f.write_str("another cluster answers there"),
            Refused::Full => f.write_str("too many connections there"),
            Refused::Unproven => f.write_str("the other end does not know the pool's secret"),
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Refused {
        Refused::Io(error)
    }
}

impl Hello {
    fn bytes(self, nonce: &[u8; NONCE_BYTES]) -> [u8; HELLO_BYTES] {
        let mut out = [0; HELLO_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8] = VERSION;
        out[9] = match self.purpose {
            Purpose::Member => 1,
            Purpose::Client => 2,
            Purpose::Join => 3,
        };
        out[10..26].copy_from_slice(&self.scope);
        out[26..].copy_from_slice(nonce);
        out
    }

    fn parse(bytes: &[u8; HELLO_BYTES]) -> Option<Hello> {
        if bytes[..8] != *MAGIC || bytes[8] != VERSION {
            return None;
        }
        let purpose = match bytes[9] {
            1 => Purpose::Member,
            2 => Purpose::Client,
            3 => Purpose::Join,
            _ => return None,
        };
        let mut scope = [0; 16];
        scope.copy_from_slice(&bytes[10..26]);
        Some(Hello { purpose, scope })
    }
}

/// One way of a proven connection.
struct Way {
    key: Secret,
    number: u64,
}

impl Way {
    fn new(secret: &Secret, role: &[u8], transcript: &[u8]) -> Way {
        let key = secret.mac(&[b"key", role, transcript]).finalize().into_bytes();
        Way { key: Secret(key.into()), number: 0 }
    }

    fn mac(&mut self, head: [u8; 4], body: &[u8]) -> Hmac<Sha256> {
        self.number += 1;
        self.key.mac(&[&self.number.to_be_bytes(), &head, body])
    }
}

/// Proves itself to a listener and makes it prove itself.
///
/// # Errors
/// [`Refused`]; the caller bounds the time.
pub async fn dial<S>(
    mut stream: S,
    hello: Hello,
    secret: &Secret,
) -> Result<(Reader<tokio::io::ReadHalf<S>>, Writer<tokio::io::WriteHalf<S>>), Refused>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let hello = hello.bytes(&Identity::random_bytes()?);
    stream.write_all(&hello).await?;
    stream.flush().await?;
    match stream.read_u8().await? {
        0 => {}
        2 => return Err(Refused::Full),
        _ => return Err(Refused::Stranger),
    }
    let mut answer = [0; NONCE_BYTES + PROOF_BYTES];
    stream.read_exact(&mut answer).await?;
    let (nonce, proof) = answer.split_at(NONCE_BYTES);
    let mut transcript = [&hello[..], nonce].concat();
    let expected = secret.mac(&[b"listener", &transcript]);
    expected.verify_slice(proof).map_err(|_| Refused::Unproven)?;
    transcript.extend_from_slice(proof);
    let mine = secret.mac(&[b"dialer", &transcript]).finalize().into_bytes();
    stream.write_all(&mine).await?;
    stream.flush().await?;
    Ok(ways(stream, secret, &transcript, b"down", b"up"))
}

/// The other end of [`dial`]; `admit` gives the secret a stranger must prove, or the refusal.
///
/// # Errors
/// [`Refused`]; the caller bounds the time.
pub async fn answer<S, F>(
    mut stream: S,
    admit: F,
) -> Result<(Hello, Reader<tokio::io::ReadHalf<S>>, Writer<tokio::io::WriteHalf<S>>), Refused>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: AsyncFnOnce(&Hello) -> Result<Secret, Verdict>,
{
    let mut said = [0; HELLO_BYTES];
    stream.read_exact(&mut said).await?;
    let hello = Hello::parse(&said).ok_or(Refused::Stranger)?;
    let secret = match admit(&hello).await {
        Ok(secret) => secret,
        Err(verdict) => {
            let full = verdict == Verdict::Full;
            stream.write_all(&[if full { 2 } else { 1 }]).await?;
            stream.flush().await?;
            return Err(if full { Refused::Full } else { Refused::Stranger });
        }
    };
    let nonce: [u8; NONCE_BYTES] = Identity::random_bytes()?;
    let mut transcript = [&said[..], &nonce].concat();
    let mine = secret.mac(&[b"listener", &transcript]).finalize().into_bytes();
    stream.write_all(&[&[0][..], &nonce, &mine].concat()).await?;
    stream.flush().await?;
    transcript.extend_from_slice(&mine);
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    let expected = secret.mac(&[b"dialer", &transcript]);
    expected.verify_slice(&proof).map_err(|_| Refused::Unproven)?;
    let (reader, writer) = ways(stream, &secret, &transcript, b"up", b"down");
    Ok((hello, reader, writer))
}

fn ways<S: AsyncRead + AsyncWrite>(
    stream: S,
    secret: &Secret,
    transcript: &[u8],
    read: &[u8],
    write: &[u8],
) -> (Reader<tokio::io::ReadHalf<S>>, Writer<tokio::io::WriteHalf<S>>) {
    let (from, to) = tokio::io::split(stream);
    let reader = Reader { from, way: Way::new(secret, read, transcript) };
    let to = tokio::io::BufWriter::with_capacity(FRAME_MAX / 4, to);
    (reader, Writer { to, way: Way::new(secret, write, transcript) })
}

/// The reading half.
pub struct Reader<R> {
    from: R,
    way: Way,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// The next message of at most `limit` bytes; `alive` is called after each frame. `None` when
    /// the other end closed between two messages.
    ///
    /// # Errors
    /// `InvalidData` for a frame that is too long or was not made by the holder of the secret.
    pub async fn message(
        &mut self,
        limit: usize,
        mut alive: impl FnMut(),
    ) -> io::Result<Option<Bytes>> {
        let mut message = BytesMut::new();
        loop {
            let mut head = [0; 4];
            let first = self.from.read(&mut head).await?;
            if first == 0 && message.is_empty() {
                return Ok(None);
            }
            self.from.read_exact(&mut head[first..]).await?;
            let word = u32::from_be_bytes(head);
            let length = (word & !LAST) as usize;
            if length > FRAME_MAX || message.len() + length > limit {
                return Err(invalid("a message that is too long"));
            }
            let start = message.len();
            message.resize(start + length, 0);
            self.from.read_exact(&mut message[start..]).await?;
            let mut tag = [0; TAG_BYTES];
            self.from.read_exact(&mut tag).await?;
            let expected = self.way.mac(head, &message[start..]);
            expected.verify_truncated_left(&tag).map_err(|_| invalid("a forged frame"))?;
            alive();
            if word & LAST != 0 {
                return Ok(Some(message.freeze()));
            }
        }
    }
}

/// The writing half; buffered, see [`Writer::flush`].
pub struct Writer<W> {
    to: tokio::io::BufWriter<W>,
    way: Way,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// `alive` is called after each frame but the last.
    ///
    /// # Errors
    /// Those of the stream.
    pub async fn message(&mut self, body: &[u8], mut alive: impl FnMut()) -> io::Result<()> {
        let mut frames = body.chunks(FRAME_MAX).peekable();
        if frames.peek().is_none() {
            return self.frame(&[], true).await;
        }
        while let Some(frame) = frames.next() {
            let last = frames.peek().is_none();
            self.frame(frame, last).await?;
            if !last {
                alive();
            }
        }
        Ok(())
    }

    async fn frame(&mut self, body: &[u8], last: bool) -> io::Result<()> {
        let word = body.len() as u32 | if last { LAST } else { 0 };
        let head = word.to_be_bytes();
        let tag = self.way.mac(head, body).finalize().into_bytes();
        self.to.write_all(&head).await?;
        self.to.write_all(body).await?;
        self.to.write_all(&tag[..TAG_BYTES]).await
    }

    pub async fn flush(&mut self) -> io::Result<()> {
        self.to.flush().await
    }
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
#[path = "secure_tests.rs"]
mod tests;
