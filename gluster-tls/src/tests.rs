//! Certificates are made by openssl, as administrators and upstream's tests/ssl.rc make them.

use super::*;
use std::process::Command;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn openssl(&self, line: &str) {
        let done = Command::new("openssl").args(line.split(' ')).current_dir(self.path()).output();
        let done = done.expect("openssl is there");
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// Signed by itself, and its own bundle.
    fn alone(name: &str, days: i32) -> Folder {
        let folder = Folder::new();
        folder.openssl("genrsa -out glusterfs.key 2048");
        folder.openssl(&format!(
            "req -new -x509 -key glusterfs.key -subj /CN={name} -days {days} -out glusterfs.pem"
        ));
        folder.trust(&[&folder]);
        folder
    }

    /// Believes those of these folders.
    fn trust(&self, folders: &[&Folder]) {
        let certificate = |folder: &&Folder| {
            std::fs::read_to_string(folder.path().join("glusterfs.pem")).unwrap()
        };
        let bundle: String = folders.iter().map(certificate).collect();
        std::fs::write(self.path().join("glusterfs.ca"), bundle).unwrap();
    }

    /// With a key of its own and a certificate that `authority` signs.
    fn signed(name: &str, authority: &Folder, extensions: &str) -> Folder {
        let folder = Folder::new();
        folder.openssl("genrsa -out glusterfs.key 2048");
        folder.openssl(&format!("req -new -key glusterfs.key -subj /CN={name} -out request"));
        std::fs::write(folder.path().join("ext"), extensions).unwrap();
        let ca = authority.path().display();
        folder.openssl(&format!(
            "x509 -req -in request -CA {ca}/glusterfs.pem -CAkey {ca}/glusterfs.key \
             -CAcreateserial -days 2 -extfile ext -out glusterfs.pem"
        ));
        folder.trust(&[authority]);
        folder
    }

    fn load(&self) -> Tls {
        Tls::load(self.path(), 1).unwrap()
    }
}

/// What the two ends make of each other; `Ok` if words get through both ways.
async fn meet(listener: &Tls, dialer: &Tls) -> io::Result<()> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let listening = async {
        let mut stream = listener.accept(near).await?;
        let mut word = [0; 5];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.flush().await
    };
    let dialing = async {
        let mut stream = dialer.connect(far).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut word = [0; 5];
        stream.read_exact(&mut word).await?;
        assert_eq!(&word, b"hello");
        Ok(())
    };
    let (listened, dialed) = tokio::join!(listening, dialing);
    listened.and(dialed)
}

/// As upstream's tests have it: one certificate for all, which is its own authority.
#[tokio::test]
async fn one_certificate_for_all() {
    let tls = Folder::alone("Anyone", 2).load();
    meet(&tls, &tls).await.unwrap();
}

/// As the documentation has it: each its own, and a bundle of all.
#[tokio::test]
async fn a_bundle_of_all() {
    let (a, b, stranger) =
        (Folder::alone("a", 2), Folder::alone("b", 2), Folder::alone("stranger", 2));
    for folder in [&a, &b] {
        folder.trust(&[&a, &b]);
    }
    meet(&a.load(), &b.load()).await.unwrap();
    stranger.trust(&[&a, &b, &stranger]);
    meet(&a.load(), &stranger.load()).await.unwrap_err();
    meet(&stranger.load(), &b.load()).await.unwrap_err();
    // Not the listener alone has to be believed.
    a.trust(&[&a, &b, &stranger]);
    stranger.trust(&[&stranger]);
    meet(&a.load(), &stranger.load()).await.unwrap_err();
}

#[tokio::test]
async fn an_authority_and_its_certificates() {
    let (authority, other) = (Folder::alone("ca", 2), Folder::alone("ca", 2));
    let (a, b) = (
        Folder::signed("a", &authority, "basicConstraints=CA:FALSE"),
        Folder::signed("b", &authority, "extendedKeyUsage=clientAuth,serverAuth"),
    );
    meet(&a.load(), &b.load()).await.unwrap();
    // Made for one end, a certificate serves both.
    for usage in ["clientAuth", "serverAuth"] {
        let one = Folder::signed("one", &authority, &format!("extendedKeyUsage={usage}")).load();
        meet(&one, &one).await.unwrap();
    }
    let mail = Folder::signed("mail", &authority, "extendedKeyUsage=emailProtection");
    meet(&a.load(), &mail.load()).await.unwrap_err();
    let stranger = Folder::signed("a", &other, "basicConstraints=CA:FALSE");
    stranger.trust(&[&authority]);
    meet(&a.load(), &stranger.load()).await.unwrap_err();
    // One of them is no authority for others, and a chain is no longer than it may be.
    let below = Folder::signed("below", &a, "basicConstraints=CA:FALSE");
    below.trust(&[&authority]);
    meet(&a.load(), &below.load()).await.unwrap_err();
}

#[tokio::test]
async fn what_has_expired_is_believed_by_nobody() {
    let folder = Folder::alone("old", 2);
    folder.openssl("x509 -in glusterfs.pem -signkey glusterfs.key -days -1 -out old.pem");
    std::fs::rename(folder.path().join("old.pem"), folder.path().join("glusterfs.pem")).unwrap();
    folder.trust(&[&folder]);
    let tls = folder.load();
    meet(&tls, &tls).await.unwrap_err();
}

/// A dialer that speaks no TLS is told nothing and believed nothing.
#[tokio::test]
async fn plain_words_are_refused() {
    let tls = Folder::alone("a", 2).load();
    let (near, mut far) = tokio::io::duplex(1 << 16);
    far.write_all(b"\x80\x00\x00\x28plain words of another protocol").await.unwrap();
    tls.accept(near).await.unwrap_err();
}

#[test]
fn files_that_are_missing_or_odd_are_named() {
    let check = |spoil: &dyn Fn(&Path), part: &str| {
        let folder = Folder::alone("a", 2);
        spoil(folder.path());
        let error = Tls::load(folder.path(), 1).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    };
    let remove =
        |name: &'static str| move |path: &Path| std::fs::remove_file(path.join(name)).unwrap();
    let write =
        |name: &'static str| move |path: &Path| std::fs::write(path.join(name), "x").unwrap();
    for name in ["glusterfs.pem", "glusterfs.key", "glusterfs.ca"] {
        check(&remove(name), name);
        check(&write(name), name);
    }
}

#[test]
fn the_switch_may_say_how_deep() {
    let check = |text: &str, depth: Option<usize>| assert_eq!(depth_in(text), depth, "{text}");
    check("", None);
    check("option transport.socket.ssl-cert-depth 3\n", Some(3));
    check("x\n  option   transport.socket.ssl-cert-depth 2", Some(2));
    check("option transport.socket.ssl-cert-depth many", None);
}
