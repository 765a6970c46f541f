//! TLS as GlusterFS's own programs speak it when management is encrypted: its files, its rules.
//!
//! Both ends show a certificate. Trusted is one that stands in `glusterfs.ca` itself, as upstream's
//! own set-up has it, or one that an authority in there has signed; names are not compared. TLS 1.2
//! and 1.3, no tickets, no resumption. Nothing here knows what is said over it.
//!
//! Facts: rpc/rpc-transport/socket/src/socket.c:49-60, 4180-4420; tests/ssl.rc (v10.3).

mod der;
mod trust;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::NoServerSessionStorage;
use rustls::{ClientConfig, ServerConfig};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use trust::Trust;

/// Whether management is encrypted is whether this file is there, whatever the working directory.
pub const SWITCH: &str = "/var/lib/glusterd/secure-access";
/// Where stock's programs look for their certificates: OpenSSL's own folder, on Debian not `/etc/ssl`.
pub const FOLDER: &str = "/usr/lib/ssl";
/// Certificates above the one that is shown, unless the switch's file says otherwise.
const DEPTH: usize = 1;
/// Longer is none of ours.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// Why there can be no encryption.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{}: {why}", path.display())]
    Unusable { path: PathBuf, why: String },
}

/// Both ends of encrypted connections; clones share what was read.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Whether management is to be encrypted.
pub fn is_switched_on() -> bool {
    Path::new(SWITCH).exists()
}

impl Tls {
    /// Reads stock's files, and the depth of chains from the switch's.
    ///
    /// # Errors
    /// A file that cannot be read, or holds nothing that can be used.
    pub fn of_stock() -> Result<Tls, TlsError> {
        let depth = std::fs::read_to_string(SWITCH).ok().and_then(|text| depth_in(&text));
        Tls::load(Path::new(FOLDER), depth.unwrap_or(DEPTH))
    }

    /// Reads `glusterfs.pem`, `glusterfs.key` and `glusterfs.ca` in a folder.
    ///
    /// # Errors
    /// As [`Tls::of_stock`].
    pub fn load(folder: &Path, depth: usize) -> Result<Tls, TlsError> {
        let (pem, key, ca) = (
            folder.join("glusterfs.pem"),
            folder.join("glusterfs.key"),
            folder.join("glusterfs.ca"),
        );
        let chain = certificates(&pem)?;
        let trusted = certificates(&ca)?;
        let secret = PrivateKeyDer::from_pem_slice(&read(&key)?)
            .map_err(|error| unusable(&key, text(&error)))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let trust = Trust::new(trusted, depth, &provider).map_err(|why| unusable(&ca, why))?;
        let trust = Arc::new(trust);
        let wrong = |error: rustls::Error| unusable(&pem, error.to_string());
        let server = server_config(&provider, trust.clone(), chain.clone(), secret.clone_key());
        let client = client_config(&provider, trust, chain, secret);
        Ok(Tls {
            acceptor: Arc::new(server.map_err(wrong)?).into(),
            connector: Arc::new(client.map_err(wrong)?).into(),
        })
    }

    /// The listening end.
    ///
    /// # Errors
    /// Those of the stream; `InvalidData` for a peer that is not trusted or speaks no TLS.
    pub async fn accept<S>(&self, stream: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.acceptor.accept(stream).await
    }

    /// The dialing end.
    ///
    /// # Errors
    /// As [`Tls::accept`].
    pub async fn connect<S>(&self, stream: S) -> io::Result<client::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // Names are not compared and not sent.
        let name = ServerName::try_from("glusterd").expect("a legal name");
        self.connector.connect(name, stream).await
    }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    trust: Arc<Trust>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(trust)
        .with_single_cert(chain, key)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    trust: Arc<Trust>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(trust)
        .with_client_auth_cert(chain, key)?;
    config.enable_sni = false;
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// `option transport.socket.ssl-cert-depth N`.
fn depth_in(text: &str) -> Option<usize> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    words
        .filter_map(|words| match words.as_slice() {
            ["option", "transport.socket.ssl-cert-depth", depth] => depth.parse().ok(),
            _ => None,
        })
        .next_back()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if found.is_empty() => {
            Err(unusable(path, "there is no certificate in it".into()))
        }
        Ok(found) => Ok(found),
        Err(error) => Err(unusable(path, text(&error))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(file, FILE_BYTES_MAX), &mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn text(error: &pem::Error) -> String {
    error.to_string()
}

fn unusable(path: &Path, why: String) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), why }
}

#[cfg(test)]
mod tests;
