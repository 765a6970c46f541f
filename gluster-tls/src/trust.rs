//! Whom to believe: who stands in the bundle, or was signed by an authority that does.
//!
//! The standard verifiers refuse the first: a certificate that is its own authority may not be shown
//! by an end. Signatures of the handshake are checked by the provider as always.

use crate::der;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};

#[derive(Debug)]
pub struct Trust {
    bundle: Vec<CertificateDer<'static>>,
    authorities: Vec<TrustAnchor<'static>>,
    depth: usize,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// # Errors
    /// A certificate of the bundle that is none.
    pub fn new(
        bundle: Vec<CertificateDer<'static>>,
        depth: usize,
        provider: &CryptoProvider,
    ) -> Result<Trust, String> {
        let anchor = |certificate: &CertificateDer<'static>| {
            webpki::anchor_from_trusted_cert(certificate).map(|anchor| anchor.to_owned())
        };
        let authorities: Result<Vec<_>, _> = bundle.iter().map(anchor).collect();
        let authorities = authorities.map_err(|error| error.to_string())?;
        let algorithms = provider.signature_verification_algorithms;
        Ok(Trust { bundle, authorities, depth, algorithms })
    }

    fn check(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.bundle.iter().any(|trusted| trusted == shown) {
            let (from, to) = der::validity(shown).ok_or(CertificateError::BadEncoding)?;
            return match now.as_secs() {
                now if now < from => Err(CertificateError::NotValidYet.into()),
                now if now > to => Err(CertificateError::Expired.into()),
                _ => Ok(()),
            };
        }
        let certificate = EndEntityCert::try_from(shown).map_err(refused)?;
        let path = |usage| {
            let (algorithms, authorities) = (self.algorithms.all, &self.authorities);
            certificate.verify_for_usage(algorithms, authorities, between, now, usage, None, None)
        };
        // One certificate serves both ends, whichever of them it was made for.
        let path = path(KeyUsage::server_auth()).or_else(|_| path(KeyUsage::client_auth()));
        match path.map_err(refused)?.intermediate_certificates().count() + 1 {
            certificates if certificates <= self.depth => Ok(()),
            _ => Err(CertificateError::UnknownIssuer.into()),
        }
    }
}

fn refused(error: webpki::Error) -> Error {
    let known = match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::BadDer => CertificateError::BadEncoding,
        // Its text says more than a kind of ours would.
        other => return Error::General(format!("the peer's certificate: {other}")),
    };
    known.into()
}

impl ClientCertVerifier for Trust {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
