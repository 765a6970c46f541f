//! The address of the coordination service: what the settings say, as the one URL that backends read.
//!
//! Pure. The URL names files and no secret, so it may be logged.

use crate::boot::{CoordinatorSettings, Settings};
use coord_api::{Error, ErrorKind, Result};

/// The configured URL, with files of TLS and the password, and the user, as its parameters.
///
/// # Errors
/// `Unsupported`: a value that a parameter cannot hold, or settings that a `local:` store has no use for.
pub fn address(settings: &CoordinatorSettings) -> Result<String> {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|p| p.display().to_string());
    let parameters = [
        ("ca", path(&settings.tls_ca_file)),
        ("cert", path(&settings.tls_cert_file)),
        ("key", path(&settings.tls_key_file)),
        ("user", settings.user.clone()),
        ("password", path(&settings.password_file)),
    ];
    let mut url = settings.url.clone();
    for (name, value) in parameters {
        let Some(value) = value else { continue };
        if url.starts_with("local:") {
            return Err(bad("local: takes neither certificates nor a user"));
        }
        if value.contains(['&', '#', '?']) {
            return Err(bad("a user or path of [coordinator] has one of & # ? in it"));
        }
        let sign = if url.contains('?') { '&' } else { '?' };
        url.push_str(&format!("{sign}{name}={value}"));
    }
    Ok(url)
}

/// The port of the built-in store, where nothing else is said.
pub const STORE_PORT: u16 = 24009;

/// Where the built-in store listens once the node is in a pool with others: on the address that
/// the daemon is bound to.
pub fn store_listens(settings: &Settings) -> String {
    let any = match settings.address_family.map(|family| family.name()) {
        Some("inet6") => "::",
        _ => "0.0.0.0",
    };
    let bound = settings.bind_address.as_deref().unwrap_or(any);
    settings.coordinator.listen.clone().unwrap_or_else(|| with_port(bound))
}

/// Where others reach it; `None` if that shows only when the first of them is met.
pub fn store_address(settings: &Settings) -> Option<String> {
    let said = settings.coordinator.address.clone();
    said.or_else(|| match &settings.coordinator.listen {
        Some(listen) if !listen.starts_with("0.0.0.0:") && !listen.starts_with("[::]:") => {
            Some(listen.clone())
        }
        Some(_) => None,
        None => settings.bind_address.as_deref().map(with_port),
    })
}

fn with_port(host: &str) -> String {
    if host.contains(':') {
        format!("[{host}]:{STORE_PORT}")
    } else {
        format!("{host}:{STORE_PORT}")
    }
}

fn bad(why: &'static str) -> Error {
    Error::none(ErrorKind::Unsupported(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(set: impl FnOnce(&mut CoordinatorSettings), expected: Option<&str>) {
        let mut settings = Settings::default().coordinator;
        set(&mut settings);
        assert_eq!(address(&settings).ok().as_deref(), expected, "{settings:?}");
    }

    #[test]
    fn the_store_listens_where_the_daemon_does() {
        let check = |set: &dyn Fn(&mut Settings), listens: &str, address: Option<&str>| {
            let mut settings = Settings::default();
            set(&mut settings);
            assert_eq!(store_listens(&settings), listens);
            assert_eq!(store_address(&settings).as_deref(), address);
        };
        check(&|_| {}, "0.0.0.0:24009", None);
        let bound = |s: &mut Settings| s.bind_address = Some("127.1.1.1".into());
        check(&bound, "127.1.1.1:24009", Some("127.1.1.1:24009"));
        check(
            &|s| s.bind_address = Some("fd00::1".into()),
            "[fd00::1]:24009",
            Some("[fd00::1]:24009"),
        );
        check(&|s| s.coordinator.listen = Some("0.0.0.0:7".into()), "0.0.0.0:7", None);
        check(&|s| s.coordinator.listen = Some("h:7".into()), "h:7", Some("h:7"));
        let said = |s: &mut Settings| {
            bound(s);
            s.coordinator.address = Some("outside:8".into());
        };
        check(&said, "127.1.1.1:24009", Some("outside:8"));
    }

    #[test]
    fn settings_become_parameters() {
        check(|_| {}, Some("local:"));
        check(|s| s.url = "etcd://h:1/p".into(), Some("etcd://h:1/p"));
        check(
            |s| {
                s.url = "zk://h?ca=/a".into();
                s.user = Some("u".into());
                s.password_file = Some("/p w".into());
            },
            Some("zk://h?ca=/a&user=u&password=/p w"),
        );
        check(
            |s| {
                s.url = "etcd://h".into();
                s.tls_ca_file = Some("/ca".into());
                s.tls_cert_file = Some("/c".into());
                s.tls_key_file = Some("/k".into());
            },
            Some("etcd://h?ca=/ca&cert=/c&key=/k"),
        );
        check(|s| s.tls_ca_file = Some("/ca".into()), None);
        check(
            |s| {
                s.url = "etcd://h".into();
                s.tls_ca_file = Some("/a&b".into());
            },
            None,
        );
    }
}
