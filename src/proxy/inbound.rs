//! The inbound listener: partners' requests go to the AS2 server.

use std::net::{IpAddr, SocketAddr};

use as2hook_event::{Direction, SendError};
use async_trait::async_trait;
use http::header;
use pingora::{
    Error, Result, http::RequestHeader, protocols::Digest, proxy::Session,
    upstreams::peer::HttpPeer,
};

use super::{Side, forwarded, lookups::Lookups, receivers::RouteIndex};
use crate::{
    front::rejection::{Rejection, stage_of},
    snapshot::Snapshot,
};
use as2hook_config::Forwarded;

/// From partners to the receiver of the config.
pub(super) struct Inbound;

#[async_trait]
impl Side for Inbound {
    type Way = RouteIndex;

    const DIRECTION: Direction = Direction::Inbound;

    fn partner(session: &Session, snapshot: &Snapshot) -> Option<IpAddr> {
        let direct = session.client_addr().and_then(|address| address.as_inet()).map(|a| a.ip());
        let trusted = &snapshot.config.receiver.trusted_proxies;
        forwarded::partner(direct, &session.req_header().headers, trusted)
    }

    fn way(request: &RequestHeader, snapshot: &Snapshot) -> Result<RouteIndex, Rejection> {
        Ok(snapshot.receivers.route(request.uri.path()))
    }

    async fn addresses(
        route: &RouteIndex,
        snapshot: &Snapshot,
        _: &Lookups,
    ) -> Result<Vec<Vec<SocketAddr>>, Rejection> {
        Ok(snapshot.receivers.addresses(*route))
    }

    fn peer(
        route: &RouteIndex,
        snapshot: &Snapshot,
        place: usize,
        address: SocketAddr,
    ) -> HttpPeer {
        snapshot.receivers.peer(*route, place, address)
    }

    fn look_up_again(route: &RouteIndex, snapshot: &Snapshot, place: usize) {
        snapshot.receivers.look_up_again(*route, place);
    }

    fn connected(_: &RouteIndex, _: Option<&Digest>) -> Result<()> {
        Ok(())
    }

    fn rewrite(
        route: &RouteIndex,
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
            && let Some(authority) = snapshot.receivers.authority(*route)
        {
            request.insert_header(header::HOST, authority)?;
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
            // Not recorded, and the partner sends it again.
            None
            | Some(
                Rejection::NotStored
                | Rejection::Busy
                | Rejection::Memory
                | Rejection::Slow
                | Rejection::GaveWay
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
