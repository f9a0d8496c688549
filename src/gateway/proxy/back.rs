//! What the other side answers, on its way back.

use bytes::Bytes;
use http::{Version, header};
use pingora::{http::ResponseHeader, proxy::Session};

use super::{
    super::{
        admission::judge_answer,
        answer::{Far, Rejection},
        connection::Connection,
    },
    Passage, Proxy, Side, headers,
};
use crate::tap::AnswerHead;

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
    /// The next piece of the answer's body.
    pub(super) fn pass_back(&mut self, body: Option<&Bytes>) {
        if let (Some(bytes), Some(exchange)) = (body, &mut self.exchange) {
            exchange.answer(bytes);
        }
    }
}
