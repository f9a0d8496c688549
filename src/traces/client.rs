//! The HTTP client towards the collector: ours, so that there is one TLS stack and one runtime.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use openssl::ssl::{SslConnector, SslMethod};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::time::{sleep, timeout};

use super::{TracesError, settings::Settings};

/// The largest response that is read, in bytes.
const RESPONSE_MAX: usize = 64 * 1024;

/// Before the first request is made again; each next one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(500);

pub(super) struct CollectorClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

// === impl CollectorClient ===

impl fmt::Debug for CollectorClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollectorClient")
    }
}

impl CollectorClient {
    pub(super) fn new(settings: &Settings) -> Result<Self, TracesError> {
        let mut tls = SslConnector::builder(SslMethod::tls_client())?;
        if let Some(file) = &settings.certificate {
            tls.set_ca_file(file)?;
        }
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let connector = HttpsConnector::with_connector(connector, tls)?;
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, timeout: settings.timeout })
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = self.client.request(request).await?.into_parts();
        let body = Limited::new(body, RESPONSE_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

#[async_trait]
impl HttpClient for CollectorClient {
    /// Made again until the time is over where another request may succeed. The exporter's own way to do that blocks
    /// its thread.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut last = None;
        let sent = timeout(self.timeout, async {
            let mut wait = FIRST_RETRY;
            loop {
                let sent = self.send(request.clone().map(Full::new)).await;
                if !may_succeed_later(&sent) {
                    return sent;
                }
                last = Some(sent);
                sleep(wait).await;
                wait *= 2;
            }
        })
        .await;
        match sent {
            Ok(sent) => sent,
            Err(_) => last.unwrap_or_else(|| Err("no response in time".into())),
        }
    }
}

fn may_succeed_later(sent: &Result<Response<Bytes>, HttpError>) -> bool {
    sent.as_ref().map_or(true, |response| {
        // OTLP, "Failures": these alone.
        matches!(
            response.status(),
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        )
    })
}
