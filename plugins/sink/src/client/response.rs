//! The response of an endpoint: status, `Retry-After`, and the start of its body for the log.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, header::RETRY_AFTER};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

use super::error::DeliveryError;
use as2hook_event::clock::now;

/// The response of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointResponse {
    /// The HTTP status, of any class.
    pub status: u16,
    /// The wait that it asks for (`Retry-After`, in seconds or as a date; at most 24 h).
    pub retry_after: Option<Duration>,
    /// The first [`EndpointResponse::BODY_MAX`] bytes of its body.
    pub body_start: Bytes,
    /// The time from the beginning of the attempt to the end of the response.
    pub duration: Duration,
}

// === impl EndpointResponse ===

impl EndpointResponse {
    /// The most of a response's body that is read for the log.
    pub const BODY_MAX: usize = 4096;
    /// The longest wait that an endpoint can ask for.
    pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

    /// Whether the endpoint accepted the delivery: any 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Reads the start of the body. A longer body, or one that does not end in time, is left unread,
/// because the status decides. The connection is kept only when the body ended.
pub(super) async fn read(
    response: Response<Incoming>,
    begun: Instant,
    deadline: Instant,
) -> Result<EndpointResponse, DeliveryError> {
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers(), system_time());
    let mut body = response.into_body();
    let mut start = BytesMut::new();
    while start.len() < EndpointResponse::BODY_MAX {
        let frame = match timeout_at(deadline, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(DeliveryError::HalfResponse { status }),
            Ok(None) | Err(_) => break,
        };
        if let Ok(data) = frame.into_data() {
            let room = EndpointResponse::BODY_MAX - start.len();
            start.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(EndpointResponse {
        status,
        retry_after,
        body_start: start.freeze(),
        duration: begun.elapsed(),
    })
}

/// The current time by the store's clock, which a temporary change of the system clock does not
/// affect.
fn system_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(now()).unwrap_or(0))
}

/// Reads seconds or a date (RFC 9110 section 10.2.3). Any other value is ignored.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) {
        // A number that does not fit is longer than the limit anyway.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let date = httpdate::parse_http_date(value).ok()?;
        date.duration_since(now).unwrap_or_default()
    };
    Some(wait.min(EndpointResponse::RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(value: &str) -> Option<Duration> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_in_seconds_is_read() {
        assert_eq!(wait("0"), Some(Duration::ZERO));
        assert_eq!(wait(" 120 "), Some(Duration::from_secs(120)));
        assert_eq!(wait("86400"), Some(EndpointResponse::RETRY_AFTER_MAX));
        assert_eq!(wait("86401"), Some(EndpointResponse::RETRY_AFTER_MAX));
        assert_eq!(wait("99999999999999999999999999"), Some(EndpointResponse::RETRY_AFTER_MAX));
    }

    #[test]
    fn retry_after_as_a_date_is_read() {
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Sunday, 06-Nov-94 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(wait("Sat, 06 Nov 2094 08:49:37 GMT"), Some(EndpointResponse::RETRY_AFTER_MAX));
    }

    #[test]
    fn invalid_retry_after_is_ignored() {
        for value in ["", "soon", "-5", "1.5", "+3"] {
            assert_eq!(wait(value), None, "{value}");
        }
    }
}
