//! The other side's response, on its way back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora::{Error, ErrorType, Result as Passed, http::ResponseHeader, proxy::Session};

use super::{
    ProxyContext, ResponseFlow,
    request::{not_stored, recorded},
};
use crate::{
    front::{connection::Connection, rejection::Rejection},
    tap::ResponseHead,
};
use as2hook_config::Pace;

/// More of a response than an MDN has is read for a partner alone, so only while it is there.
const UNREAD: u64 = 1024 * 1024;

/// Interim responses before one response: one each five seconds while a server works for five minutes.
const INTERIM: usize = 64;

impl ProxyContext {
    /// A response's head, an interim one's too, as the other side gave it.
    pub(super) async fn take_response(
        &mut self,
        session: &Session,
        response: &mut ResponseHeader,
    ) -> Result<(), Rejection> {
        self.responded = true;
        judge_response(response).ok_or(Rejection::BadResponse(self.direction))?;
        if response.status.is_informational() {
            return self.interim(session, response);
        }
        let status = response.status.as_u16();
        self.is_complete(session)?;
        if let Some(exchange) = &mut self.exchange {
            let fields = response.case_header_iter();
            let fields = fields.map(|(name, value)| (name.as_slice(), value.as_bytes()));
            let head = ResponseHead { status, headers: recorded(fields) };
            exchange.response_head(head).await.map_err(not_stored)?;
        }
        self.flow = Some(ResponseFlow { began: Instant::now(), bytes: 0 });
        if let Some(connection) = Connection::of(session) {
            connection.response_by(None);
            connection.keep_dates(dates(response));
        }
        Ok(())
    }

    /// An interim response. They are few and small, and give the other side no more time.
    fn interim(&mut self, session: &Session, response: &ResponseHeader) -> Result<(), Rejection> {
        let fields = response.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
        let (count, bytes) = &mut self.interim;
        *count += 1;
        *bytes = bytes.saturating_add(fields.sum::<usize>());
        if *count > INTERIM || *bytes > self.snapshot.config.limits.header {
            return Err(Rejection::BadResponse(self.direction));
        }
        if let Some(connection) = Connection::of(session) {
            connection.response_by(self.response_by());
        }
        Ok(())
    }

    /// The next piece of the response's body. Pingora limits the wait for each alone, so a response without
    /// an end would hold its exchange for ever.
    pub(super) fn pass_back(&mut self, session: &Session, body: Option<&Bytes>) -> Passed<()> {
        let Some(bytes) = body else { return Ok(()) };
        if let Some(exchange) = &mut self.exchange {
            exchange.response(bytes);
        }
        let Some(flow) = &mut self.flow else { return Ok(()) };
        flow.bytes = flow.bytes.saturating_add(bytes.len() as u64);
        let is_gone = || Connection::of(session).is_some_and(Connection::is_gone);
        if flow.bytes > UNREAD && is_gone() {
            return Err(too_long("the response goes on, and the partner is gone"));
        }
        if flow.is_too_slow(&self.snapshot.config.limits.pace()) {
            return Err(too_long(
                "the response takes too long; limits.body_time and body_rate say how long it may take",
            ));
        }
        Ok(())
    }
}

// === impl ResponseFlow ===

impl ResponseFlow {
    fn is_too_slow(&self, pace: &Pace) -> bool {
        let earned = Duration::from_millis(self.bytes.saturating_mul(1000) / pace.rate);
        self.began.elapsed() > pace.body.saturating_add(earned)
    }
}

fn too_long(text: &'static str) -> Box<Error> {
    Error::explain(ErrorType::ReadTimedout, text).into_up()
}

/// Leaves a response one framing. What Pingora 0.9.1 reads of it is right so far; what it would pass on has
/// to read alike. `None`: it does not.
fn judge_response(response: &mut ResponseHeader) -> Option<()> {
    // No upgrade was asked for: behind it would be a tunnel that the tap cannot see into.
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return None;
    }
    let mut codings = response.headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"chunked");
    if !codings.next().is_none_or(is_plain) || codings.next().is_some() {
        return None;
    }
    let lengths = response.headers.get_all(header::CONTENT_LENGTH);
    // A list of equal numbers is one number for Pingora, and goes on as a list, which others may read in
    // another way.
    if !lengths.iter().all(|length| length.as_bytes().iter().all(u8::is_ascii_digit)) {
        return None;
    }
    // RFC 9110 section 8.6: of equal ones, one; Pingora has refused others.
    let mut lengths = lengths.iter();
    if let (Some(length), true) = (lengths.next().cloned(), lengths.next().is_some()) {
        response.insert_header(header::CONTENT_LENGTH, length).ok()?;
    }
    Some(())
}

/// The response's own `Date` fields.
fn dates(response: &ResponseHeader) -> Vec<(Vec<u8>, Vec<u8>)> {
    if !response.headers.contains_key(header::DATE) {
        return Vec::new();
    }
    let fields = response.case_header_iter();
    let dates = fields.filter(|(name, _)| name.as_slice().eq_ignore_ascii_case(b"date"));
    dates.map(|(name, value)| (name.as_slice().to_vec(), value.as_bytes().to_vec())).collect()
}
