//! Sends requests with hyper over OpenSSL, like webhooks.

use std::{error::Error as _, time::Duration};

use async_trait::async_trait;
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as Tcp},
    rt::TokioExecutor,
};
use object_store::{
    ClientOptions, Error,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
        HttpResponse, HttpResponseBody, HttpService,
    },
};
use openssl::ssl::{SslConnector, SslMethod};
use tokio::time::timeout;

/// Creates the client.
#[derive(Debug)]
pub(super) struct S3Connector;

#[derive(Debug)]
struct Service(Client<HttpsConnector<Tcp>, HttpRequestBody>);

/// The limit for connecting.
const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// The limit from the request to the head of its response.
const RESPONSE_WITHIN: Duration = Duration::from_secs(8);

/// Kept connections are closed before a server is likely to close them.
const IDLE: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
#[error("no response within {} s", RESPONSE_WITHIN.as_secs())]
struct TooLate;

// === impl S3Connector ===

impl HttpConnector for S3Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let failed = |source| Error::Generic { store: "S3", source: Box::new(source) };
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_WITHIN));
        let tls = SslConnector::builder(SslMethod::tls_client()).map_err(failed)?;
        let https = HttpsConnector::with_connector(tcp, tls).map_err(failed)?;
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(hyper_util::rt::TokioTimer::new());
        client.pool_idle_timeout(IDLE);
        Ok(HttpClient::new(Service(client.build(https))))
    }
}

// === impl Service ===

#[async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let outcome = timeout(RESPONSE_WITHIN, self.0.request(request)).await;
        let outcome = outcome.map_err(|_| HttpError::new(HttpErrorKind::Timeout, TooLate))?;
        let response = outcome.map_err(|error| {
            let kind = if error.is_connect() {
                HttpErrorKind::Connect
            } else {
                match error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>()) {
                    Some(http) if http.is_closed() || http.is_incomplete_message() => {
                        HttpErrorKind::Request
                    }
                    _ => HttpErrorKind::Interrupted,
                }
            };
            HttpError::new(kind, error)
        })?;
        let (head, body) = response.into_parts();
        let body = http_body_util::BodyExt::map_err(body, |error| {
            HttpError::new(HttpErrorKind::Interrupted, error)
        });
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}
