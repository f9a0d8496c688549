//! The certificates of a listener, read from the snapshot in force at every handshake, so
//! that a reload renews them.

use std::sync::Arc;

use async_trait::async_trait;
use openssl::{
    ssl::{SslOptions, SslRef, SslSessionCacheMode, SslVerifyMode},
    x509::store::X509StoreBuilder,
};
use pingora::{
    listeners::{TlsAccept, tls::TlsSettings},
    protocols::ALPN,
};

use crate::{log::RejectionLog, snapshot::Live};
use as2hook_config::{Listen, ServerTls};

/// Which listener's.
pub(super) type Of = fn(&Listen) -> Option<&ServerTls>;

struct Certificates {
    live: Arc<Live>,
    of: Of,
    log: RejectionLog,
}

/// TLS 1.2 or later, HTTP/1.1 only: AS2 partners speak nothing else.
pub(super) fn settings(live: Arc<Live>, of: Of) -> pingora::Result<TlsSettings> {
    let mut settings = TlsSettings::with_callbacks(Box::new(Certificates {
        live,
        of,
        log: RejectionLog::default(),
    }))?;
    settings.set_alpn(ALPN::H1);
    // Who resumes a session is asked for no certificate, whatever `client_ca` says by now.
    settings.set_session_cache_mode(SslSessionCacheMode::OFF);
    settings.set_options(SslOptions::NO_TICKET);
    Ok(settings)
}

#[async_trait]
impl TlsAccept for Certificates {
    async fn certificate_callback(&self, ssl: &mut SslRef) {
        let snapshot = self.live.load();
        let Some(tls) = (self.of)(&snapshot.config.listen) else { return };
        let result = (|| {
            // First: without a certificate of ours no client gets in that was not asked for one.
            if !tls.client_ca.is_empty() {
                let mut trusted = X509StoreBuilder::new()?;
                for authority in tls.client_ca.iter() {
                    trusted.add_cert(authority.clone())?;
                }
                ssl.set_verify_cert_store(trusted.build())?;
                ssl.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
            }
            let (certificate, links) =
                tls.chain.split_first().expect("a config's chain is never empty");
            ssl.set_certificate(certificate)?;
            ssl.set_private_key(&tls.private_key)?;
            for link in links {
                ssl.add_chain_cert(link.clone())?;
            }
            Ok::<_, openssl::error::ErrorStack>(())
        })();
        if let Err(error) = result
            && let Some(suppressed) = self.log.due("certificate")
        {
            tracing::error!(%error, suppressed, "A listener's certificate cannot be used.");
        }
    }
}
