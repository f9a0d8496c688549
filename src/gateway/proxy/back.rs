//! What the other side answers, on its way back.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Version, header};
use pingora::{Error, ErrorType, Result as Passed, http::ResponseHeader, proxy::Session};

use super::{
    super::{
        admission::judge_answer,
        answer::{Far, Rejection},
        connection::Connection,
    },
    Passage, Proxy, Side, headers,
};
use crate::{config::Pace, tap::AnswerHead};

/// More of an answer than an MDN has is read for a partner alone, so only while it is there.
const UNHEARD: u64 = 1024 * 1024;

/// How an answer's body comes.
#[derive(Debug)]
pub(super) struct Flow {
    began: Instant,
    bytes: u64,
}

impl<S: Side> Proxy<S> {
    /// An answer's head, an interim one's too, as the other side gave it.
    pub(super) fn take_answer(
        session: &Session,
        answer: &mut ResponseHeader,
        passage: &mut Passage<S::Way>,
    ) -> Result<(), Rejection> {
        passage.answered = true;
        judge_answer(answer, Far::of(S::DIRECTION))?;
        if answer.status.is_informational() {
            return Ok(());
        }
        let status = answer.status.as_u16();
        passage.status = Some(status);
        passage.flow = Some(Flow { began: Instant::now(), bytes: 0 });
        if let Some(connection) = Connection::of(session) {
            connection.keep_dates(headers::dates(answer));
        }
        if let Some(exchange) = &mut passage.exchange {
            exchange.answer_head(AnswerHead { status, headers: headers::of_answer(answer) });
        }
        Ok(())
    }

    /// An answer's head as the partner is to get it.
    pub(super) fn give_answer(
        &self,
        session: &mut Session,
        answer: &ResponseHeader,
    ) -> Result<(), Rejection> {
        let chunked = answer.headers.contains_key(header::TRANSFER_ENCODING);
        if session.req_header().version == Version::HTTP_10 && chunked {
            return Err(Rejection::NeedsHttp11);
        }
        if self.ending.is_last_answer() {
            session.set_keepalive(None);
        }
        Ok(())
    }
}

impl<W> Passage<W> {
    /// The next piece of the answer's body. Pingora limits the wait for each alone, so an answer without
    /// an end would hold its exchange for ever.
    pub(super) fn pass_back(&mut self, session: &Session, body: Option<&Bytes>) -> Passed<()> {
        let Some(bytes) = body else { return Ok(()) };
        if let Some(exchange) = &mut self.exchange {
            exchange.answer(bytes);
        }
        let Some(flow) = &mut self.flow else { return Ok(()) };
        flow.bytes = flow.bytes.saturating_add(bytes.len() as u64);
        let unheard = || Connection::of(session).is_some_and(Connection::is_gone);
        if flow.bytes > UNHEARD && unheard() {
            return Err(too_long("the answer goes on, and the partner is gone"));
        }
        if flow.is_too_slow(&self.snapshot.config.limits.pace) {
            return Err(too_long(
                "the answer takes too long; limits.body_time and body_rate say how long it may take",
            ));
        }
        Ok(())
    }
}

// === impl Flow ===

impl Flow {
    fn is_too_slow(&self, pace: &Pace) -> bool {
        let earned = Duration::from_millis(self.bytes.saturating_mul(1000) / pace.rate);
        self.began.elapsed() > pace.body.saturating_add(earned)
    }
}

fn too_long(text: &'static str) -> Box<Error> {
    Error::explain(ErrorType::ReadTimedout, text).into_up()
}
