//! `glusterd.toml` and its environment overrides: text in, values out.
//!
//! Pure. Every key is in a section; a variable `GLUSTERD_SECTION__KEY` overrides it. Variables without
//! the double underscore are not ours (stock's tools export GLUSTERD_WORKDIR and others).

use std::collections::HashMap;
use std::path::PathBuf;

use config::{Config, Environment, File, FileFormat};
use serde::{Deserialize, Serialize};

const PREFIX: &str = "GLUSTERD_";

/// The keys of the file, none of them required; `packaging/glusterd.toml` explains each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct FileSettings {
    pub daemon: Daemon,
    pub network: Network,
    pub log: Log,
    pub coordinator: Coordinator,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Daemon {
    pub working_directory: Option<PathBuf>,
    pub run_directory: Option<PathBuf>,
    pub socket_file: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    pub bind_address: Option<String>,
    pub listen_port: Option<u16>,
    pub address_family: Option<String>,
    pub base_port: Option<u16>,
    pub max_port: Option<u16>,
    pub remote_commands: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    pub directory: Option<PathBuf>,
    pub file: Option<String>,
    pub level: Option<String>,
    pub logger: Option<String>,
    pub format: Option<String>,
    pub localtime: Option<bool>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Coordinator {
    pub url: Option<String>,
    pub listen: Option<String>,
    pub address: Option<String>,
    pub tls_ca_file: Option<PathBuf>,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    pub session_ttl_s: Option<u32>,
    pub connect_timeout_s: Option<u32>,
}

/// The file's values (`toml`: its name and text) with the environment's over them.
///
/// # Errors
/// A sentence that names the source and the key or line.
pub fn read(
    toml: Option<(&str, &str)>,
    environment: &[(String, String)],
) -> Result<FileSettings, String> {
    let file = toml.map(|(name, text)| (name, File::from_str(text, FileFormat::Toml)));
    // Each source alone first, so that a mistake is reported with the place it was made in.
    if let Some((name, file)) = &file {
        from(Config::builder().add_source(file.clone()))
            .map_err(|error| format!("{name}: {error}"))?;
    }
    let ours: HashMap<String, String> = environment
        .iter()
        .filter(|(key, _)| key.starts_with(PREFIX) && key.contains("__"))
        .cloned()
        .collect();
    for (key, value) in &ours {
        let one = variables(HashMap::from([(key.clone(), value.clone())]));
        from(Config::builder().add_source(one))
            .map_err(|error| format!("environment variable {key}: {error}"))?;
    }
    let builder = Config::builder();
    let builder = match file {
        Some((_, file)) => builder.add_source(file),
        None => builder,
    };
    from(builder.add_source(variables(ours))).map_err(|error| format!("configuration: {error}"))
}

fn variables(pairs: HashMap<String, String>) -> Environment {
    Environment::with_prefix("GLUSTERD")
        .prefix_separator("_")
        .separator("__")
        .try_parsing(true)
        .source(Some(pairs))
}

fn from(
    builder: config::ConfigBuilder<config::builder::DefaultState>,
) -> Result<FileSettings, String> {
    let built = builder.build().and_then(Config::try_deserialize);
    built.map_err(|error| error.to_string().trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_with(toml: &str, variables: &[(&str, &str)]) -> Result<FileSettings, String> {
        let variables: Vec<_> =
            variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        read(Some(("glusterd.toml", toml)), &variables)
    }

    fn url(toml: &str, variables: &[(&str, &str)], want: Option<&str>) {
        assert_eq!(read_with(toml, variables).unwrap().coordinator.url.as_deref(), want, "{toml}");
    }

    fn refused(toml: &str, variables: &[(&str, &str)], parts: &[&str]) {
        let error = read_with(toml, variables).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let toml = "[coordinator]\nurl = \"local:\"\n";
        url("", &[], None);
        url(toml, &[], Some("local:"));
        url(toml, &[("GLUSTERD_COORDINATOR__URL", "zk://h:2181")], Some("zk://h:2181"));
        url("", &[("GLUSTERD_COORDINATOR__URL", "zk://h:2181")], Some("zk://h:2181"));
    }

    #[test]
    fn stock_variables_are_left_alone() {
        url("", &[("GLUSTERD_WORKDIR", "/x"), ("GLUSTERD_PIDFILEDIR", "/y")], None);
    }

    #[test]
    fn values_from_the_environment_are_parsed() {
        let got = read_with(
            "",
            &[
                ("GLUSTERD_NETWORK__LISTEN_PORT", "24107"),
                ("GLUSTERD_LOG__LOCALTIME", "true"),
                ("GLUSTERD_COORDINATOR__USER", "1234"),
            ],
        );
        let got = got.unwrap();
        assert_eq!((got.network.listen_port, got.log.localtime), (Some(24107), Some(true)));
        assert_eq!(got.coordinator.user.as_deref(), Some("1234"));
    }

    #[test]
    fn mistakes_name_the_key_and_the_place() {
        refused("[coordinator]\nurll = \"x\"\n", &[], &["glusterd.toml", "urll"]);
        refused("[coordinatr]\n", &[], &["glusterd.toml", "coordinatr"]);
        refused("[network]\nlisten_port = 70000\n", &[], &["glusterd.toml", "listen_port"]);
        refused("[network\n", &[], &["glusterd.toml", "1"]);
        refused(
            "",
            &[("GLUSTERD_NETWORK__LISTEN_PORT", "many")],
            &["GLUSTERD_NETWORK__LISTEN_PORT", "listen_port"],
        );
        refused("", &[("GLUSTERD_NETWRK__X", "1")], &["GLUSTERD_NETWRK__X", "netwrk"]);
    }

    /// The sample explains every key and invents none.
    #[test]
    fn the_sample_and_the_struct_have_the_same_keys() {
        let sample = include_str!("../../../packaging/glusterd.toml");
        let bare: String = sample
            .lines()
            .map(|line| {
                line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line)
            })
            .map(|line| format!("{line}\n"))
            .collect();
        let all = read_with(&bare, &[]).unwrap();
        let value = serde_json::to_value(&all).unwrap();
        for (section, keys) in value.as_object().unwrap() {
            for (key, value) in keys.as_object().unwrap() {
                assert!(!value.is_null(), "{section}.{key} is not in the sample");
            }
        }
        assert_eq!(
            read_with(sample, &[]).unwrap(),
            FileSettings::default(),
            "as shipped, nothing is set"
        );
    }
}
