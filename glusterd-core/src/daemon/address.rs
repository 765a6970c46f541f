//! The address of the coordination service: what the settings say, as the one URL that backends read.
//!
//! Pure. The URL names files and no secret, so it may be logged.

use crate::boot::CoordinatorSettings;
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

fn bad(why: &'static str) -> Error {
    Error::none(ErrorKind::Unsupported(why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::Settings;

    fn check(set: impl FnOnce(&mut CoordinatorSettings), expected: Option<&str>) {
        let mut settings = Settings::default().coordinator;
        set(&mut settings);
        assert_eq!(address(&settings).ok().as_deref(), expected, "{settings:?}");
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
