//! The sink `http`: signs a notification, posts it, and judges the response.

use std::io;

use as2hook_event::Endpoint;
use async_trait::async_trait;
use futures_util::TryStreamExt as _;
use tokio::time::{Instant, timeout};

use crate::{
    BodyError, Client, Delivered, DeliveryError, EndpointResponse, Guard, Notification, Request,
    Sink, SinkError, SinkErrorKind,
};

#[async_trait]
impl Sink for Client {
    type Settings = Endpoint;

    async fn send(
        &self,
        endpoint: &Endpoint,
        notification: Notification,
        deadline: Instant,
    ) -> Result<Delivered, SinkError> {
        // What signing takes of a slow storage is not taken from the endpoint's time.
        let allowed = endpoint.time_allowed(notification.body.size());
        let signed = timeout(allowed, signed(endpoint, notification)).await;
        let request = signed.unwrap_or_else(|_| {
            Err(BodyError::from(io::Error::from(io::ErrorKind::TimedOut)).into())
        })?;
        let deadline = deadline.min(Instant::now() + allowed);
        judge(&self.deliver(endpoint, &Guard::of(endpoint), request, deadline).await?)
    }
}

/// Whether a status says that the notification itself is at fault.
pub fn is_refusal(http_code: u16) -> bool {
    matches!(http_code, 400 | 413 | 415 | 422)
}

/// Signs a notification with the secrets of its endpoint. A payload is read once for that, and again
/// when it is sent.
///
/// # Errors
/// When the payload cannot be read.
pub async fn signed(endpoint: &Endpoint, notification: Notification) -> Result<Request, SinkError> {
    let Notification { mut headers, body } = notification;
    if !endpoint.secrets.is_empty() {
        let mut signer = headers.signer(&endpoint.secrets, body.size());
        let mut pieces = body.open().await?;
        while let Some(piece) = pieces.try_next().await? {
            signer.update(&piece);
        }
        headers.sign(&signer.finish().map_err(|error| {
            let message = format!("the request cannot be signed: {error}");
            SinkError::new(SinkErrorKind::Impossible, message)
        })?);
    }
    let (headers, names) = headers.into_parts();
    Ok(Request { headers, names, body })
}

fn judge(response: &EndpointResponse) -> Result<Delivered, SinkError> {
    let status = response.status;
    if response.is_success() {
        return Ok(Delivered { http_code: Some(status) });
    }
    let kind = match status {
        410 => SinkErrorKind::Gone,
        status if is_refusal(status) => SinkErrorKind::Refused,
        _ => SinkErrorKind::Failed,
    };
    let retry_after = response.retry_after.filter(|_| matches!(status, 429 | 503));
    let error = SinkError::new(kind, in_words(response)).with_http_code(status);
    Err(match retry_after {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    })
}

/// The response as one line for the log.
fn in_words(response: &EndpointResponse) -> String {
    let status = response.status;
    let reason = http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason());
    let mut text = match reason {
        Some(reason) => format!("the endpoint responded with {status} {reason}"),
        None => format!("the endpoint responded with {status}"),
    };
    if (300..400).contains(&status) {
        text.push_str(": redirects are not followed");
    }
    let body_text = String::from_utf8_lossy(&response.body_start);
    let body_text = body_text.split(|c: char| c.is_whitespace() || c.is_control());
    let body_text = body_text.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    if !body_text.is_empty() {
        text.push_str(": ");
        text.push_str(&body_text);
    }
    text
}

impl From<DeliveryError> for SinkError {
    fn from(error: DeliveryError) -> Self {
        let error = match error {
            DeliveryError::Payload(error) => return error.into(),
            error => error,
        };
        let sink_error = Self::new(SinkErrorKind::Failed, error.to_string());
        match error.status() {
            Some(status) => sink_error.with_http_code(status),
            None => sink_error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;

    fn judged(status: u16, retry_after: Option<u64>) -> Result<Delivered, SinkError> {
        judge(&EndpointResponse {
            status,
            retry_after: retry_after.map(Duration::from_secs),
            body_start: Bytes::new(),
            duration: Duration::ZERO,
        })
    }

    #[test]
    fn any_2xx_is_success_and_nothing_else() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(judged(status, None), Ok(Delivered { http_code: Some(status) }));
        }
        for (status, kind) in [
            (301, SinkErrorKind::Failed),
            (302, SinkErrorKind::Failed),
            (304, SinkErrorKind::Failed),
            (307, SinkErrorKind::Failed),
            (400, SinkErrorKind::Refused),
            (404, SinkErrorKind::Failed),
            (410, SinkErrorKind::Gone),
            (422, SinkErrorKind::Refused),
            (429, SinkErrorKind::Failed),
            (500, SinkErrorKind::Failed),
            (503, SinkErrorKind::Failed),
            (600, SinkErrorKind::Failed),
        ] {
            let error = judged(status, None).unwrap_err();
            assert_eq!((error.kind(), error.http_code()), (kind, Some(status)));
        }
    }

    #[test]
    fn retry_after_counts_with_429_and_503_alone() {
        let wait = |status| judged(status, Some(60)).unwrap_err().retry_after();
        assert_eq!(
            (wait(429), wait(503)),
            (Some(Duration::from_secs(60)), Some(Duration::from_secs(60)))
        );
        // With other statuses it does not lengthen the schedule.
        assert_eq!((wait(500), wait(410)), (None, None));
    }

    #[test]
    fn unreadable_payload_is_no_fault_of_the_endpoint() {
        let error = BodyError::from(io::Error::from(io::ErrorKind::NotFound));
        let error = SinkError::from(DeliveryError::from(error));
        assert_eq!(error.kind(), SinkErrorKind::Local);
        assert!(error.to_string().starts_with("the payload cannot be read: "), "{error}");
        let half = SinkError::from(DeliveryError::HalfResponse { status: 200 });
        assert_eq!((half.kind(), half.http_code()), (SinkErrorKind::Failed, Some(200)));
    }

    #[test]
    fn refusal_is_logged_as_one_line_without_control_characters() {
        let text = in_words(&EndpointResponse {
            status: 500,
            retry_after: None,
            body_start: Bytes::from_static(b"<b>out\r\n\tof\x1b[31m\xff paper</b>\n"),
            duration: Duration::ZERO,
        });
        assert_eq!(
            text,
            "the endpoint responded with 500 Internal Server Error: <b>out of [31m\u{fffd} paper</b>"
        );
        assert_eq!(
            judged(302, None).unwrap_err().to_string(),
            "the endpoint responded with 302 Found: redirects are not followed"
        );
    }
}
