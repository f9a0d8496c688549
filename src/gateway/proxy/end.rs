//! How an exchange ends: the partner gets an answer of our own where it is owed one, the tap is told
//! what it came to, and so are the log and the metrics.

use as2hook_webhooks::Direction;
use pingora::{
    Error,
    proxy::{FailToProxy, Session},
};

use super::{
    super::{admission::expects_continue, answer::Rejection, connection::Connection},
    Passage, Proxy, Side, listener,
};
use crate::tap::Exchange;

impl<S: Side> Proxy<S> {
    /// Answers an error, unless another answer has begun or the partner is gone.
    pub(super) async fn answer_error(
        &self,
        session: &mut Session,
        error: &Error,
        passage: &mut Passage<S::Way>,
    ) -> FailToProxy {
        let rejection = Rejection::of(error, S::DIRECTION);
        let unanswered =
            session.response_written().is_none_or(|head| head.status.is_informational());
        if let Some(rejection) = &rejection {
            self.live.observer().refused(listener(S::DIRECTION), rejection.reason());
        }
        if let Some(rejection) = &rejection
            && unanswered
        {
            if let Err(error) = rejection.send(session).await {
                tracing::debug!(%error, "An answer of our own could not be sent.");
            } else if !expects_continue(&session.req_header().headers) {
                // A close with unread bytes would take the answer away from the partner.
                let _ = session.as_downstream_mut().drain_request_body().await;
            }
        }
        let error_code = rejection.as_ref().map_or(0, Rejection::status);
        passage.rejection = rejection;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    /// The exchange is over, by an error or without.
    pub(super) fn conclude(
        &self,
        session: &Session,
        error: Option<&Error>,
        passage: &mut Passage<S::Way>,
    ) {
        if let Some(connection) = Connection::of(session) {
            connection.release();
        }
        let id = passage.exchange.as_ref().and_then(Exchange::id);
        report::<S>(session, error, passage, id);
        let status = session.response_written().map(|head| head.status.as_u16());
        self.live.observer().exchange(listener(S::DIRECTION), status, error.is_some());
        if let Some(mut exchange) = passage.exchange.take() {
            let rejection = passage.rejection.as_ref();
            if let Some(share) = passage.share.take() {
                exchange.hold(share);
            }
            match error.and_then(|error| S::failure(error, rejection, passage.status)) {
                Some(failure) => exchange.fail(failure),
                None => exchange.end(),
            }
        }
    }
}

fn report<S: Side>(
    session: &Session,
    error: Option<&Error>,
    passage: &Passage<S::Way>,
    id: Option<uuid::Uuid>,
) {
    let request = session.req_header();
    let as2 = |name: &str| {
        request.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
    };
    let side = match S::DIRECTION {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
    };
    macro_rules! tell {
        ($level:ident) => {
            tracing::$level!(
                exchange = id.map(|id| id.to_string()),
                peer = passage.peer.map(|peer| peer.to_string()),
                method = request.method.as_str(),
                path = request.uri.path(),
                as2_from = as2("as2-from"),
                as2_to = as2("as2-to"),
                message_id = as2("message-id"),
                bytes = passage.received,
                status = session.response_written().map(|head| head.status.as_u16()),
                ms = u64::try_from(passage.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                error = error.map(ToString::to_string),
                "{side} exchange.",
            )
        };
    }
    if passage.exchange.is_some() || error.is_some() {
        tell!(info);
    } else {
        tell!(debug);
    }
}
