//! Why an attempt got no response: sentences for the delivery log.

use std::{error::Error as _, fmt, io, time::Duration};

use super::{
    body::BodyError, connector::ConnectError, interim::InterimResponses, tls::TlsFilesError,
};

/// Why an attempt got no complete response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// The connection failed.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The endpoint's CA, certificate or key cannot be used.
    #[error(transparent)]
    TlsFiles(#[from] TlsFilesError),
    /// The deadline passed.
    #[error("timed out after {:.1} s while {step}", .after.as_secs_f64())]
    TimedOut {
        /// The time since the attempt began.
        after: Duration,
        /// What the attempt was waiting for.
        step: Step,
    },
    /// A connection kept from an earlier delivery was closed before any response.
    #[error("the endpoint closed the kept connection")]
    Stale,
    /// The connection ended before a response.
    #[error("the endpoint closed the connection without a response")]
    NoResponse,
    /// The response is not HTTP, or its head is too large.
    #[error("the endpoint's response is not HTTP: {0}")]
    NotHttp(String),
    /// More interim responses came than the limits allow.
    #[error(
        "the endpoint sent more than {} interim responses (1xx), or more than {} KiB of them, before its \
         response",
        InterimResponses::MOST,
        InterimResponses::BYTES_MAX / 1024
    )]
    InterimResponses,
    /// The connection broke while the request was sent or the response awaited.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The response ended before its declared length.
    #[error("the endpoint responded with {status}, but only half of the response came")]
    HalfResponse {
        /// Its status.
        status: u16,
    },
    /// The payload cannot be read: a local fault, not the endpoint's.
    #[error(transparent)]
    Payload(#[from] BodyError),
}

/// What an attempt was doing when its deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Name lookup, connect, TLS.
    Connect,
    /// Sending the request.
    Send,
    /// Waiting for the response's head.
    Response,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Send => "sending the request",
            Self::Response => "waiting for the response",
        })
    }
}

impl DeliveryError {
    /// The status of the response, if one came.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::HalfResponse { status } => Some(*status),
            _ => None,
        }
    }
}

/// Translates an error of hyper. `reused` says whether the connection had served a request before.
pub(super) fn of_request(error: &hyper_util::client::legacy::Error, reused: bool) -> DeliveryError {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            return connect.clone().into();
        }
        if let Some(payload) = cause.downcast_ref::<BodyError>() {
            return DeliveryError::Payload(io::Error::other(payload.0.to_string()).into());
        }
        next = cause.source();
    }
    let Some(http) = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>()) else {
        return DeliveryError::Broken(deepest(error));
    };
    if http.is_parse() || http.is_parse_status() || http.is_parse_too_large() {
        return DeliveryError::NotHttp(deepest(http));
    }
    // A connection that worked before and ends without a response was most likely closed while
    // idle. The endpoint may still have seen the request; it can recognize a repetition by its
    // webhook-id.
    match (reused, http.is_incomplete_message() || http.is_canceled() || http.is_closed()) {
        (true, _) => DeliveryError::Stale,
        (false, true) => DeliveryError::NoResponse,
        (false, false) => DeliveryError::Broken(deepest(http)),
    }
}

/// Returns the innermost cause: the outer errors only say where it happened.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
