//! Why TLS does not come about. The client crates keep the reason to themselves: one tries server
//! after server, another writes to a server that has said no and sees a closed connection only. So
//! after a failure we shake hands ourselves, once, and listen to what is said.

use crate::{Error, ErrorKind, TlsFiles};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// For one server.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why none of these `HOST:PORT` could be used: `TlsFailed` if the first server that answers at all
/// has something against us or we against it, else `other`. Takes four seconds for each server at most.
pub async fn tls_or(hosts: &[String], files: Option<&TlsFiles>, other: Error) -> Error {
    let Some(files) = files else { return other };
    match obstacle(hosts, files).await {
        Some(why) => Error::none(ErrorKind::TlsFailed).because(why),
        None => other,
    }
}

async fn obstacle(hosts: &[String], files: &TlsFiles) -> Option<String> {
    let connector = TlsConnector::from(Arc::new(config(files)?));
    for host in hosts {
        if let Ok(Some(Err(error))) = timeout(PATIENCE * 3, shake(host, &connector)).await {
            return Some(format!("{host}: {error}"));
        }
    }
    None
}

/// `None` if the server is not there.
async fn shake(host: &str, connector: &TlsConnector) -> Option<std::io::Result<()>> {
    let stream = timeout(PATIENCE, TcpStream::connect(host)).await.ok()?.ok()?;
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(name).ok()?;
    let mut secure = match connector.connect(name, stream).await {
        Ok(secure) => secure,
        Err(error) => return Some(Err(error)),
    };
    // In TLS 1.3 the server judges our certificate after we are done; it says nothing else unasked.
    match timeout(PATIENCE, secure.read_u8()).await {
        Ok(Err(error)) => Some(Err(error)),
        Ok(Ok(_)) | Err(_) => Some(Ok(())),
    }
}

fn config(files: &TlsFiles) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(&files.ca)?);
    let builder = ClientConfig::builder().with_root_certificates(roots);
    match &files.identity {
        None => Some(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).ok()?;
            builder.with_client_auth_cert(certificates(certificate)?, key).ok()
        }
    }
}

fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().ok()
}
