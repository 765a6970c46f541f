//! Handshakes between right and wrong holders of a secret; frames cut, bent and reordered.

use super::*;

const HELLO: Hello = Hello { purpose: Purpose::Client, scope: [7; 16] };

fn secret(byte: u8) -> Secret {
    Secret::new([byte; 32])
}

type Both = (Result<(), String>, Result<Hello, String>);

async fn meet(dialer: Secret, listener: Result<Secret, Verdict>) -> Both {
    let (near, far) = tokio::io::duplex(1 << 20);
    let answering = async {
        let met = answer(far, async |_: &Hello| listener).await;
        met.map(|met| met.0).map_err(|why| why.to_string())
    };
    let dialing = async {
        let met = dial(near, HELLO, &dialer).await;
        met.map(drop).map_err(|why| why.to_string())
    };
    tokio::join!(dialing, answering)
}

#[tokio::test]
async fn both_must_know_the_secret() {
    let (dialed, answered) = meet(secret(1), Ok(secret(1))).await;
    assert_eq!((dialed, answered), (Ok(()), Ok(HELLO)));
    let (dialed, answered) = meet(secret(1), Ok(secret(2))).await;
    assert!(dialed.unwrap_err().contains("secret") && answered.is_err());
    let (dialed, _) = meet(secret(1), Err(Verdict::Stranger)).await;
    assert!(dialed.unwrap_err().contains("another cluster"));
    let (dialed, _) = meet(secret(1), Err(Verdict::Full)).await;
    assert!(dialed.unwrap_err().contains("too many"));
}

/// What one end writes in order to `to`, as bytes.
async fn written(bodies: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let way = Way::new(&secret(1), b"up", b"t");
    let mut writer = Writer { to: tokio::io::BufWriter::new(&mut out), way };
    for body in bodies {
        writer.message(body, || ()).await.unwrap();
    }
    writer.flush().await.unwrap();
    drop(writer);
    out
}

async fn read(bytes: &[u8], limit: usize) -> Vec<Result<usize, io::ErrorKind>> {
    let mut reader = Reader { from: bytes, way: Way::new(&secret(1), b"up", b"t") };
    let mut said = Vec::new();
    loop {
        match reader.message(limit, || ()).await {
            Ok(Some(message)) => said.push(Ok(message.len())),
            Ok(None) => return said,
            Err(error) => {
                said.push(Err(error.kind()));
                return said;
            }
        }
    }
}

#[tokio::test]
async fn messages_of_any_length_come_through_and_forged_ones_do_not() {
    let long = vec![5; FRAME_MAX * 2 + 1];
    let bytes = written(&[b"", b"abc", &long]).await;
    assert_eq!(read(&bytes, 1 << 20).await, [Ok(0), Ok(3), Ok(long.len())]);
    let kinds = read(&bytes, FRAME_MAX).await;
    assert_eq!(kinds, [Ok(0), Ok(3), Err(io::ErrorKind::InvalidData)], "too long");

    let bytes = written(&[b"abc", b"def"]).await;
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1;
        let last = *read(&bent, 64).await.last().unwrap();
        assert!(last.is_err(), "byte {at}: {last:?}");
        let cut = read(&bytes[..at], 64).await;
        let whole = at == 0 || at == bytes.len() / 2;
        assert_eq!(cut.iter().all(Result::is_ok), whole, "cut at {at}");
    }
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(read(&[second, first].concat(), 64).await, [Err(io::ErrorKind::InvalidData)]);
    assert_eq!(read(&[first, first].concat(), 64).await, [Ok(3), Err(io::ErrorKind::InvalidData)]);
}

#[test]
fn a_veiled_secret_comes_back_and_is_not_printed() {
    let veiled = secret(3).veiled(&secret(4), b"once");
    assert_ne!(veiled, secret(3));
    assert_eq!(veiled.veiled(&secret(4), b"once"), secret(3));
    assert_eq!(format!("{:?}", secret(3)), "Secret(..)");
}
