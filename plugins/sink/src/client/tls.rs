//! TLS: trust, identity, and readable errors for failed handshakes.

use std::{pin::Pin, task::Poll};

use super::stream::MeteredTcp;
use crate::guard::literal;
use as2hook_event::Tls;
use hyper_openssl::SslStream;
use hyper_util::rt::TokioIo;
use openssl::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{self, SslConnector, SslMethod, SslVersion},
    x509::{X509, X509VerifyResult, store::X509StoreBuilder, verify::X509VerifyFlags},
};

/// Why an endpoint's `tls` cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsFilesError {
    /// No certificate in PEM.
    #[error("tls.ca holds no certificate in PEM")]
    Ca,
    /// No certificate in PEM.
    #[error("tls.client_certificate holds no certificate in PEM")]
    Certificate,
    /// Not a private key in PEM, or an encrypted one.
    #[error("tls.client_key holds no unencrypted private key in PEM")]
    Key,
    /// One was given without the other.
    #[error("tls.client_certificate and tls.client_key must both be given, or neither")]
    HalfIdentity,
    /// The key belongs to another certificate.
    #[error("tls.client_key does not belong to tls.client_certificate")]
    Mismatch,
    /// OpenSSL returned an error.
    #[error("OpenSSL could not be set up: {0}")]
    OpenSsl(String),
}

/// Builds the TLS connector of an endpoint: trusted roots and client identity.
///
/// TLS 1.2 or newer. The host of the URL is verified, names and IP addresses alike; SNI is sent for
/// names only.
///
/// # Errors
/// When the PEM cannot be used.
pub(super) fn connector(tls: &Tls) -> Result<SslConnector, TlsFilesError> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_alpn_protos(b"\x08http/1.1")?;
    if let Some(pem) = &tls.ca {
        let certificates = certificates(pem).ok_or(TlsFilesError::Ca)?;
        let mut store = X509StoreBuilder::new()?;
        // A certificate that the operator configures is trusted as it is, root or not.
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
        for certificate in certificates {
            store.add_cert(certificate)?;
        }
        builder.set_cert_store(store.build());
    }
    match (&tls.client_certificate, &tls.client_key) {
        (None, None) => {}
        (Some(certificate), Some(key)) => {
            let mut chain =
                certificates(certificate).ok_or(TlsFilesError::Certificate)?.into_iter();
            let own = chain.next().ok_or(TlsFilesError::Certificate)?;
            builder.set_certificate(&own)?;
            for issuer in chain {
                builder.add_extra_chain_cert(issuer)?;
            }
            // An empty passphrase: OpenSSL would prompt on the terminal otherwise.
            let key = PKey::private_key_from_pem_callback(key, |_| Ok(0))
                .map_err(|_| TlsFilesError::Key)?;
            builder.set_private_key(&key).map_err(|_| TlsFilesError::Mismatch)?;
            builder.check_private_key().map_err(|_| TlsFilesError::Mismatch)?;
        }
        _ => return Err(TlsFilesError::HalfIdentity),
    }
    Ok(builder.build())
}

/// Makes the TLS handshake with `host` over a connection.
///
/// # Errors
/// A sentence with the reason.
pub(super) async fn handshake(
    connector: &SslConnector,
    host: &str,
    tcp: TokioIo<MeteredTcp>,
) -> Result<SslStream<TokioIo<MeteredTcp>>, String> {
    // OpenSSL expects addresses without brackets, and names without the trailing dot.
    let name = match literal(host) {
        Some(address) => address.to_string(),
        None => host.strip_suffix('.').unwrap_or(host).to_owned(),
    };
    let ssl = connector.configure().and_then(|c| c.into_ssl(&name)).map_err(|e| first(&e))?;
    let mut stream = SslStream::new(ssl, tcp).map_err(|e| first(&e))?;
    let shaken = std::future::poll_fn(|context| -> Poll<Result<(), ssl::Error>> {
        Pin::new(&mut stream).poll_connect(context)
    });
    match shaken.await {
        Ok(()) => Ok(stream),
        Err(error) => Err(why(&error, stream.ssl().verify_result())),
    }
}

fn why(error: &ssl::Error, verified: X509VerifyResult) -> String {
    if verified != X509VerifyResult::OK {
        return format!("its certificate was not accepted: {}", verified.error_string());
    }
    match (error.ssl_error(), error.io_error()) {
        (Some(stack), _) if !stack.errors().is_empty() => first(stack),
        (_, Some(error)) => error.to_string(),
        _ => "it closed the connection during the handshake".to_owned(),
    }
}

fn first(stack: &ErrorStack) -> String {
    let reason = stack.errors().iter().find_map(|error| error.reason());
    reason.unwrap_or("unknown reason").to_owned()
}

/// Reads the certificates of a PEM bundle. `None`: there is none, or one cannot be read.
fn certificates(pem: &[u8]) -> Option<Vec<X509>> {
    X509::stack_from_pem(pem).ok().filter(|found| !found.is_empty())
}

impl From<ErrorStack> for TlsFilesError {
    fn from(stack: ErrorStack) -> Self {
        Self::OpenSsl(first(&stack))
    }
}
