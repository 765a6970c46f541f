//! Certificates for tests of TLS, made by Debian's `openssl` in a folder of the test's own.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A certificate authority and what it signs; files are named after their owners.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
    name: String,
}

/// PEM files.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

const KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Authority {
    /// # Errors
    /// What `openssl` says.
    pub fn new(dir: &Path, name: &str) -> io::Result<Authority> {
        let authority = Authority { dir: dir.to_owned(), name: name.to_owned() };
        let (ca, key) = (authority.ca(), authority.file(name, "key"));
        let subject = format!("/CN={name}");
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-days", "30", "-subj", &subject]).args(KEY);
        run(command.arg("-keyout").arg(key).arg("-out").arg(ca))?;
        Ok(authority)
    }

    /// The authority's own certificate.
    pub fn ca(&self) -> PathBuf {
        self.file(&self.name, "pem")
    }

    /// A certificate for `address` (an IP address), valid for so many days from now; a negative
    /// number makes one that has expired.
    ///
    /// # Errors
    /// What `openssl` says.
    pub fn issue(&self, name: &str, address: &str, days: i32) -> io::Result<Identity> {
        let [certificate, key, request, extra] =
            ["pem", "key", "csr", "ext"].map(|kind| self.file(name, kind));
        std::fs::write(&extra, format!("subjectAltName=IP:{address}\n"))?;
        let mut command = Command::new("openssl");
        command.args(["req", "-subj", &format!("/CN={name}")]).args(KEY);
        run(command.arg("-keyout").arg(&key).arg("-out").arg(&request))?;
        let mut command = Command::new("openssl");
        command.args(["x509", "-req", "-CAcreateserial", "-days", &days.to_string()]);
        command.arg("-CA").arg(self.ca()).arg("-CAkey").arg(self.file(&self.name, "key"));
        command.arg("-in").arg(request).arg("-extfile").arg(extra).arg("-out").arg(&certificate);
        run(&mut command)?;
        Ok(Identity { certificate, key })
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.dir.join(format!("{name}.{kind}"))
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output().map_err(|error| {
        io::Error::new(error.kind(), format!("openssl: {error}; Debian's openssl is needed"))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
}
