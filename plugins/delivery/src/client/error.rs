//! Why there is no answer: sentences for the delivery log.

use std::{error::Error as _, fmt, io, time::Duration};

use super::{connector::ConnectError, tls::TlsFilesError};

/// Why an attempt got no whole answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The endpoint's CA, certificate or key cannot be used.
    #[error(transparent)]
    TlsFiles(#[from] TlsFilesError),
    /// The time was up.
    #[error("timed out after {:.1} s while {step}", .after.as_secs_f64())]
    TimedOut {
        /// How long it was tried.
        after: Duration,
        /// What it waited for.
        step: Step,
    },
    /// The connection was kept from an earlier delivery, and was closed before anything came back.
    #[error("the endpoint closed the kept connection")]
    Stale,
    /// The connection ended before an answer.
    #[error("the endpoint closed the connection without an answer")]
    NoAnswer,
    /// What came back is not HTTP, or too large a head.
    #[error("the endpoint's answer is not HTTP: {0}")]
    NotHttp(String),
    /// The connection broke while the request was sent or the answer awaited.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The answer ended before its declared length.
    #[error("the endpoint answered {status}, but only half of the answer came")]
    HalfAnswer {
        /// Its status.
        status: u16,
    },
    /// The payload cannot be read: our own fault, not the endpoint's.
    #[error("the payload cannot be read: {0}")]
    Payload(io::Error),
}

/// What an attempt was doing when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Name lookup, connect, TLS.
    Connect,
    /// The request goes out.
    Send,
    /// The request is out; the answer's head is awaited.
    Answer,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Send => "sending the request",
            Self::Answer => "waiting for the answer",
        })
    }
}

impl DeliveryError {
    /// The answer's status, where one came.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::HalfAnswer { status } => Some(*status),
            _ => None,
        }
    }
}

/// What a failed request means; `reused` says whether its connection had served another before.
pub(super) fn of_request(error: &hyper_util::client::legacy::Error, reused: bool) -> DeliveryError {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(connect) = cause.downcast_ref::<ConnectError>() {
            return connect.clone().into();
        }
        if let Some(payload) = cause.downcast_ref::<super::body::PayloadFailed>() {
            return DeliveryError::Payload(payload.to_io());
        }
        next = cause.source();
    }
    let Some(http) = error.source().and_then(|cause| cause.downcast_ref::<hyper::Error>()) else {
        return DeliveryError::Broken(deepest(error));
    };
    if http.is_parse() || http.is_parse_status() || http.is_parse_too_large() {
        return DeliveryError::NotHttp(deepest(http));
    }
    // A connection that was fine before and gives nothing now was most likely closed while idle. The
    // request may have been seen all the same: webhook-id lets the receiver tell.
    match (reused, http.is_incomplete_message() || http.is_canceled() || http.is_closed()) {
        (true, _) => DeliveryError::Stale,
        (false, true) => DeliveryError::NoAnswer,
        (false, false) => DeliveryError::Broken(deepest(http)),
    }
}

/// The innermost cause: the outer ones only say where it happened.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
