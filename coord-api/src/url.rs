//! The address of a coordination service: `scheme://h1:p1,h2:p2/path?name=value&...`.
//!
//! One grammar for every backend, so that an administrator changes the scheme and nothing else.
//! Secrets are never in it: query parameters name files.

use crate::Result;
use crate::error::{Error, ErrorKind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

/// Most servers an address may name.
const HOSTS_MAX: usize = 64;
/// Bytes a file with credentials or certificates may have.
const FILE_MAX: u64 = 1 << 20;

/// A parsed address. `Display` gives no secrets, there are none in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceUrl {
    pub scheme: String,
    /// `host:port` each, IPv6 addresses in brackets; at least one.
    pub hosts: Vec<String>,
    /// Path segments, none empty; no segments is the root.
    pub path: Vec<String>,
    query: BTreeMap<String, String>,
}

/// What the parameters `ca`, `cert` and `key` name, read: PEM texts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    pub ca: String,
    /// Certificate and private key of the client.
    pub identity: Option<(String, String)>,
}

/// What `credentials` names, read: a file with the one line `USER:PASSWORD`; or `user` and what
/// `password` names: a file whose first line it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub user: String,
    pub password: String,
}

impl ServiceUrl {
    /// Parameters every backend knows.
    const PARAMETERS: &'static [&'static str] =
        &["ca", "cert", "key", "credentials", "user", "password"];

    /// # Errors
    /// `Unsupported`, naming what is wrong; unknown parameters are refused.
    pub fn parse(text: &str, default_port: u16) -> Result<ServiceUrl> {
        let (scheme, rest) = text.split_once("://").ok_or_else(|| bad("no :// in the address"))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
        let hosts: Vec<String> =
            hosts.split(',').map(|host| with_port(host, default_port)).collect::<Result<_>>()?;
        if hosts.len() > HOSTS_MAX {
            return Err(bad("more than 64 servers in the address"));
        }
        let path = path.split('/').filter(|segment| !segment.is_empty()).map(legal_segment);
        let path = path.collect::<Result<_>>()?;
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let query = pairs.map(parameter).collect::<Result<_>>()?;
        Ok(ServiceUrl { scheme: scheme.to_owned(), hosts, path, query })
    }

    /// The TLS files, if any is named; then `ca` is required.
    ///
    /// # Errors
    /// `TlsFailed` for files that cannot be read, `Unsupported` for a half-named identity.
    pub fn tls(&self) -> Result<Option<TlsFiles>> {
        let read = |name: &str| -> Result<Option<String>> {
            let Some(path) = self.query.get(name) else { return Ok(None) };
            read_file(path).map(Some).map_err(|e| {
                Error::none(ErrorKind::TlsFailed).because(format_args!("{name} {path}: {e}"))
            })
        };
        match (read("ca")?, read("cert")?, read("key")?) {
            (None, None, None) => Ok(None),
            (Some(ca), None, None) => Ok(Some(TlsFiles { ca, identity: None })),
            (Some(ca), Some(cert), Some(key)) => {
                Ok(Some(TlsFiles { ca, identity: Some((cert, key)) }))
            }
            (None, ..) => Err(bad("TLS needs the parameter ca")),
            _ => Err(bad("cert and key must be named together")),
        }
    }

    /// # Errors
    /// `Unauthenticated` if the file cannot be read, is not `USER:PASSWORD` or holds no password;
    /// `Unsupported` for a user without a password's file or the reverse.
    pub fn credentials(&self) -> Result<Option<Credentials>> {
        let path = match (self.query.get("user"), self.query.get("password")) {
            (None, None) => self.query.get("credentials"),
            (Some(user), Some(path)) => return password(user, path).map(Some),
            _ => return Err(bad("user and password must be named together")),
        };
        let Some(path) = path else { return Ok(None) };
        let refuse = |why: String| {
            Error::none(ErrorKind::Unauthenticated).because(format_args!("{path}: {why}"))
        };
        let text = read_file(path).map_err(|error| refuse(error.to_string()))?;
        let line = text.lines().next().unwrap_or("");
        let (user, password) =
            line.split_once(':').ok_or_else(|| refuse("not USER:PASSWORD".into()))?;
        Ok(Some(Credentials { user: user.to_owned(), password: password.to_owned() }))
    }

    /// Where the parameter's file is, for backends that hand paths on.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        self.query.get(name).map(PathBuf::from)
    }
}

fn with_port(host: &str, default_port: u16) -> Result<String> {
    let bare = host.strip_prefix('[').map_or(host, |rest| rest.split(']').next().unwrap_or(""));
    let tail = if host.starts_with('[') { host.get(bare.len() + 2..).unwrap_or("x") } else { "" };
    let (name, port) = match (host.starts_with('['), host.split_once(':')) {
        (true, _) => (format!("[{bare}]"), tail.strip_prefix(':').unwrap_or(tail)),
        (false, Some((name, port))) => (name.to_owned(), port),
        (false, None) => (host.to_owned(), ""),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if bare.is_empty() || !bare.chars().all(legal) {
        return Err(bad("a server is HOST or HOST:PORT"));
    }
    let port = if port.is_empty() { default_port } else { port.parse().unwrap_or(0) };
    if port == 0 { Err(bad("a port is 1 to 65535")) } else { Ok(format!("{name}:{port}")) }
}

fn legal_segment(segment: &str) -> Result<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    let dots = segment == "." || segment == "..";
    if segment.len() > 200 || dots || segment == "-" || !segment.chars().all(legal) {
        return Err(bad("a path segment is letters, digits, '-', '.', '_', and not '-' alone"));
    }
    Ok(segment.to_owned())
}

fn parameter(pair: &str) -> Result<(String, String)> {
    let (name, value) = pair.split_once('=').ok_or_else(|| bad("a parameter is NAME=VALUE"))?;
    if !ServiceUrl::PARAMETERS.contains(&name) {
        return Err(bad("the parameters are ca, cert, key, credentials, user and password"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn password(user: &str, path: &str) -> Result<Credentials> {
    let refuse = |why: String| {
        Error::none(ErrorKind::Unauthenticated).because(format_args!("{path}: {why}"))
    };
    let text = read_file(path).map_err(|error| refuse(error.to_string()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => {
            Ok(Credentials { user: user.to_owned(), password: line.to_owned() })
        }
        _ => Err(refuse("no password in the first line".into())),
    }
}

fn read_file(path: &str) -> io::Result<String> {
    if fs::metadata(path)?.len() > FILE_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "longer than 1 MiB"));
    }
    fs::read_to_string(path)
}

fn bad(why: &'static str) -> Error {
    Error::none(ErrorKind::Unsupported(why))
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Credentials({})", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, hosts: &[&str], path: &[&str]) {
        let url = ServiceUrl::parse(text, 2379).unwrap();
        assert_eq!(url.hosts, hosts, "{text}");
        assert_eq!(url.path, path, "{text}");
    }

    #[test]
    fn addresses() {
        check("etcd://h", &["h:2379"], &[]);
        check("etcd://h1:1,h2/", &["h1:1", "h2:2379"], &[]);
        check(
            "zk://[::1]:9,[fe80::1],127.0.0.1//a/b-c/",
            &["[::1]:9", "[fe80::1]:2379", "127.0.0.1:2379"],
            &["a", "b-c"],
        );
        check("etcd://h/p?ca=/etc/x.pem&cert=/a&key=/b", &["h:2379"], &["p"]);
    }

    #[test]
    fn what_is_refused() {
        for text in [
            "etcd:",
            "etcd://",
            "etcd:///p",
            "etcd://h:0",
            "etcd://h:99999",
            "etcd://h:x",
            "etcd://a b",
            "etcd://h,,g",
            "etcd://h/a b",
            "etcd://h/-",
            "etcd://h/..",
            "etcd://h?x=1",
            "etcd://h?ca",
            "etcd://u:p@h",
            "etcd://[::1",
            "etcd://[]",
            "etcd://[::1]x",
        ] {
            assert!(ServiceUrl::parse(text, 2379).is_err(), "{text}");
        }
    }

    #[test]
    fn files_are_named_together() {
        let tls = |query: &str| ServiceUrl::parse(&format!("etcd://h?{query}"), 1).unwrap().tls();
        assert_eq!(tls(""), Ok(None));
        assert!(tls("ca=/nonexistent").is_err());
        assert!(tls("cert=/dev/null&key=/dev/null").is_err());
        assert!(tls("ca=/dev/null&cert=/dev/null").is_err());
        assert!(tls("ca=/dev/null&cert=/dev/null&key=/dev/null").unwrap().is_some());
    }

    #[test]
    fn a_user_and_where_the_password_is() {
        let file = std::env::temp_dir().join(format!("password-{}", uuid::Uuid::new_v4()));
        fs::write(&file, "secret\nmore\n").unwrap();
        let url = |query: &str| ServiceUrl::parse(&format!("etcd://h?{query}"), 1).unwrap();
        let found = url(&format!("user=u&password={}", file.display())).credentials();
        fs::write(&file, "").unwrap();
        let empty = url(&format!("user=u&password={}", file.display())).credentials();
        fs::remove_file(&file).unwrap();
        let found = found.unwrap().unwrap();
        assert_eq!((found.user.as_str(), found.password.as_str()), ("u", "secret"));
        assert!(empty.is_err());
        assert!(url("user=u").credentials().is_err());
        assert!(url("password=/dev/null").credentials().is_err());
        assert_eq!(url("").credentials(), Ok(None));
    }
}
