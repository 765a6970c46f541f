//! How to reach the coordination service, as the settings say it.
//!
//! Pure. What each key means to a user is in `packaging/glusterd.toml`.

use super::file_settings;
use std::path::PathBuf;

/// The URL holds no secret: one with `@` is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorSettings {
    pub url: String,
    /// `host:port` of the built-in store among several nodes.
    pub listen: Option<String>,
    /// `host:port` under which other nodes reach it.
    pub address: Option<String>,
    pub tls_ca_file: Option<PathBuf>,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub user: Option<String>,
    /// Read when connecting; its first line counts.
    pub password_file: Option<PathBuf>,
    pub session_ttl_s: u32,
    pub connect_timeout_s: u32,
}

impl Default for CoordinatorSettings {
    fn default() -> CoordinatorSettings {
        CoordinatorSettings {
            url: "local:".to_owned(),
            listen: None,
            address: None,
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            user: None,
            password_file: None,
            session_ttl_s: 10,
            connect_timeout_s: 5,
        }
    }
}

impl CoordinatorSettings {
    pub(super) fn file(&mut self, file: file_settings::Coordinator) {
        self.url = file.url.unwrap_or_else(|| std::mem::take(&mut self.url));
        self.session_ttl_s = file.session_ttl_s.unwrap_or(self.session_ttl_s);
        self.connect_timeout_s = file.connect_timeout_s.unwrap_or(self.connect_timeout_s);
        self.listen = file.listen;
        self.address = file.address;
        self.tls_ca_file = file.tls_ca_file;
        self.tls_cert_file = file.tls_cert_file;
        self.tls_key_file = file.tls_key_file;
        self.user = file.user;
        self.password_file = file.password_file;
    }

    /// # Errors
    /// A sentence for the user.
    pub(super) fn check(&self) -> Result<(), String> {
        let wrong = |what: &str| Err(what.to_owned());
        if self.url.contains('@') {
            return wrong(
                "coordinator.url: a user and a password do not belong here, use coordinator.user and coordinator.password_file",
            );
        }
        if !self.url.contains(':') {
            return Err(format!(
                "coordinator.url: '{}' is not like local:, etcd://host:2379 or zk://host:2181",
                self.url
            ));
        }
        for (key, value) in [("listen", &self.listen), ("address", &self.address)] {
            if value.as_ref().is_some_and(|text| !has_port(text)) {
                return Err(format!("coordinator.{key}: not like host:24009"));
            }
        }
        if !(2..=3600).contains(&self.session_ttl_s) {
            return wrong("coordinator.session_ttl_s: from 2 to 3600 seconds");
        }
        if !(1..=3600).contains(&self.connect_timeout_s) {
            return wrong("coordinator.connect_timeout_s: from 1 to 3600 seconds");
        }
        if self.tls_cert_file.is_some() != self.tls_key_file.is_some() {
            return wrong("coordinator.tls_cert_file and coordinator.tls_key_file go together");
        }
        if self.user.is_some() != self.password_file.is_some() {
            return wrong("coordinator.user and coordinator.password_file go together");
        }
        Ok(())
    }
}

fn has_port(text: &str) -> bool {
    let port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
    text.rsplit_once(':').is_some_and(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port() {
        let check = |listen: &str, legal: bool| {
            let listen = Some(listen.to_owned());
            let settings = CoordinatorSettings { listen, ..CoordinatorSettings::default() };
            assert_eq!(settings.check().is_ok(), legal, "{settings:?}");
        };
        check("0.0.0.0:24009", true);
        check("[::]:24009", true);
        check("host", false);
        check("host:", false);
        check(":24009", false);
        check("host:70000", false);
    }
}
