//! How an exchange ends: the partner gets a response of our own where it is owed one, the tap, the log
//! and the metrics learn what it came to.

use as2hook_event::{
    Direction,
    bounds::{AS2_NAME, MESSAGE_ID},
};
use pingora::{
    Error,
    proxy::{FailToProxy, Session},
};

use super::{Proxy, ProxyContext, Side, admission::expects_continue};
use crate::{
    front::{
        connection::Connection, in_flight::Permit, listener::listener_name, rejection::Rejection,
    },
    tap::Exchange,
};

impl<S: Side> Proxy<S> {
    /// Responds to an error, unless another response has begun or the partner is gone.
    pub(super) async fn respond_to_error(
        &self,
        session: &mut Session,
        error: &Error,
        passage: &mut ProxyContext<S::Way>,
    ) -> FailToProxy {
        let rejection = Rejection::of(error, S::DIRECTION);
        let unanswered =
            session.response_written().is_none_or(|head| head.status.is_informational());
        if let Some(rejection) = &rejection {
            self.live.observer().refused(listener_name(S::DIRECTION), rejection.reason());
        }
        if let Some(rejection) = &rejection
            && unanswered
        {
            if let Err(error) = rejection.send(session).await {
                tracing::debug!(%error, "A response of our own could not be sent.");
            } else if *rejection != Rejection::GaveWay
                && !expects_continue(&session.req_header().headers)
            {
                // A close with unread bytes would take the response away from the partner.
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
        passage: &mut ProxyContext<S::Way>,
    ) {
        if let Some(connection) = Connection::of(session) {
            connection.release();
        }
        let id = passage.exchange.as_ref().and_then(Exchange::id);
        let rejection = passage.rejection.as_ref();
        let failure = error.and_then(|error| S::failure(error, rejection, passage.status));
        let is_recorded =
            passage.exchange.as_ref().is_some_and(|one| one.is_recorded(failure.is_some()));
        // A recorded exchange always has its line. Others can come at any rate, so their lines are throttled.
        let suppressed = match error {
            Some(_) if !is_recorded => self.log.due(rejection.map_or("aborted", Rejection::reason)),
            _ => Some(0),
        };
        if let Some(suppressed) = suppressed {
            report::<S>(session, error, passage, id, suppressed);
        }
        let status = session.response_written().map(|head| head.status.as_u16());
        self.live.observer().exchange(listener_name(S::DIRECTION), status, error.is_some());
        if let Some(mut exchange) = passage.exchange.take() {
            if let Some(share) = passage.permit.as_ref().and_then(Permit::take_share) {
                exchange.hold(share);
            }
            match failure {
                Some(failure) => exchange.fail(failure),
                None => exchange.end(),
            }
        }
    }
}

/// Bytes of a request's path in a log line.
const PATH: usize = 256;

/// Bytes of an error in a log line.
const ERROR: usize = 1024;

fn cut(bytes: &[u8], most: usize) -> String {
    match bytes.split_at_checked(most) {
        Some((begin, rest)) if !rest.is_empty() => format!("{}…", String::from_utf8_lossy(begin)),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn report<S: Side>(
    session: &Session,
    error: Option<&Error>,
    passage: &ProxyContext<S::Way>,
    id: Option<uuid::Uuid>,
    suppressed: u64,
) {
    let request = session.req_header();
    let as2 = |name: &str, most| Some(cut(request.headers.get(name)?.as_bytes(), most));
    let side = match S::DIRECTION {
        Direction::Inbound => "Inbound",
        Direction::Outbound => "Outbound",
    };
    macro_rules! tell {
        ($level:ident) => {
            tracing::$level!(
                exchange = id.map(|id| id.to_string()),
                peer = passage.peer.map(|peer| peer.to_string()),
                method = cut(request.method.as_str().as_bytes(), AS2_NAME),
                path = cut(request.uri.path().as_bytes(), PATH),
                as2_from = as2("as2-from", AS2_NAME),
                as2_to = as2("as2-to", AS2_NAME),
                message_id = as2("message-id", MESSAGE_ID),
                bytes = passage.received,
                status = session.response_written().map(|head| head.status.as_u16()),
                ms = u64::try_from(passage.began.elapsed().as_millis()).unwrap_or(u64::MAX),
                error = error.map(|error| cut(error.to_string().as_bytes(), ERROR)),
                suppressed = (suppressed > 0).then_some(suppressed),
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
