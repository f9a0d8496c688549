//! What the two listeners do not have in common.

use std::net::IpAddr;

use as2hook_webhooks::{Direction, SendError};
use async_trait::async_trait;
use pingora::{
    Error, Result, http::RequestHeader, protocols::Digest, proxy::Session,
    upstreams::peer::HttpPeer,
};

use super::super::answer::Rejection;
use crate::snapshot::Snapshot;

/// One of the two: where its requests go, and what it rewrites of them.
#[async_trait]
pub(in crate::gateway) trait Side: Send + Sync + 'static {
    /// Where one exchange goes, decided at its head.
    type Way: Send + Sync + 'static;

    /// Which way exchanges go.
    const DIRECTION: Direction;

    /// The partner's address, as far as the request tells.
    fn partner(session: &Session, snapshot: &Snapshot) -> Option<IpAddr>;

    /// Where this request goes.
    fn way(request: &RequestHeader, snapshot: &Snapshot) -> Result<Self::Way, Rejection>;

    /// The place to try at the `tries`th attempt, from 0.
    async fn place(
        way: &mut Self::Way,
        snapshot: &Snapshot,
        tries: usize,
    ) -> Result<Box<HttpPeer>, Rejection>;

    /// How many places there are to try.
    fn places(way: &Self::Way, snapshot: &Snapshot) -> usize;

    /// Judges a connection before a byte is sent on it.
    fn connected(way: &Self::Way, digest: Option<&Digest>) -> Result<()>;

    /// Makes the request that goes on out of the one that came.
    fn rewrite(
        way: &Self::Way,
        snapshot: &Snapshot,
        session: &Session,
        request: &mut RequestHeader,
    ) -> Result<()>;

    /// What an error makes of the exchange. `None`: nothing that anybody is told.
    fn failure(
        error: &Error,
        rejection: Option<&Rejection>,
        status: Option<u16>,
    ) -> Option<SendError>;
}

/// What metrics call the listener of this direction.
pub(in crate::gateway) fn listener(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}
