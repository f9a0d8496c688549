//! The inbound listener: partners' requests go to the AS2 server.

use std::net::IpAddr;

use as2hook_webhooks::{Direction, SendError};
use async_trait::async_trait;
use http::header;
use pingora::{
    Error, Result, http::RequestHeader, protocols::Digest, proxy::Session,
    upstreams::peer::HttpPeer,
};

use super::{
    answer::{Far, Rejection, stage_of},
    forwarded,
    proxy::Side,
};
use crate::{config::Forwarded, snapshot::Snapshot};

/// From partners to the receiver of the config.
pub(super) struct Inbound;

#[async_trait]
impl Side for Inbound {
    type Way = ();

    const DIRECTION: Direction = Direction::Inbound;

    fn partner(session: &Session, snapshot: &Snapshot) -> Option<IpAddr> {
        let direct = session.client_addr().and_then(|address| address.as_inet()).map(|a| a.ip());
        let trusted = &snapshot.config.receiver.trusted_proxies;
        forwarded::partner(direct, &session.req_header().headers, trusted)
    }

    fn way(_: &RequestHeader, _: &Snapshot) -> Result<(), Rejection> {
        Ok(())
    }

    async fn place(
        _: &mut (),
        snapshot: &Snapshot,
        tries: usize,
    ) -> Result<Box<HttpPeer>, Rejection> {
        snapshot.receivers.peer(tries).ok_or(Rejection::Unreachable(Far::Receiver))
    }

    fn places(_: &(), snapshot: &Snapshot) -> usize {
        snapshot.receivers.len()
    }

    fn connected(_: &(), _: Option<&Digest>) -> Result<()> {
        Ok(())
    }

    fn rewrite(
        _: &(),
        snapshot: &Snapshot,
        session: &Session,
        request: &mut RequestHeader,
    ) -> Result<()> {
        if snapshot.config.receiver.forwarded == Forwarded::Append
            && let Some(direct) = session.client_addr().and_then(|address| address.as_inet())
        {
            forwarded::append(request, direct.ip())?;
        }
        // HTTP/1.0 needs no Host, but it goes on as HTTP/1.1, which does.
        if !request.headers.contains_key(header::HOST)
            && let Some(origin) = snapshot.config.receiver.origins.first()
        {
            request.insert_header(header::HOST, origin.authority())?;
        }
        if !snapshot.receivers.keeps_alive() {
            request.insert_header(header::CONNECTION, "close")?;
        }
        Ok(())
    }

    /// Why the receiver did not get the message, in case it was not the partner who went away.
    fn failure(
        error: &Error,
        rejection: Option<&Rejection>,
        status: Option<u16>,
    ) -> Option<SendError> {
        if status.is_some() {
            return None;
        }
        match rejection {
            // Recorded by nobody, and the partner sends it again.
            None
            | Some(
                Rejection::NotStored
                | Rejection::Busy
                | Rejection::Memory
                | Rejection::Slow
                | Rejection::Chunk(_)
                | Rejection::BadRequest,
            ) => None,
            Some(rejection) => Some(SendError {
                stage: stage_of(error),
                http_status: None,
                message: rejection.to_string(),
            }),
        }
    }
}
