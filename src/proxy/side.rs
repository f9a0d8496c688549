//! What the two listeners do not have in common.

use std::net::{IpAddr, SocketAddr};

use as2hook_event::{Direction, SendError};
use async_trait::async_trait;
use pingora::{
    Error, Result, http::RequestHeader, protocols::Digest, proxy::Session,
    upstreams::peer::HttpPeer,
};

use super::lookups::Lookups;
use crate::{front::rejection::Rejection, snapshot::Snapshot};

/// One of the two: where its requests go, and what it rewrites of them.
#[async_trait]
pub(super) trait Side: Send + Sync + 'static {
    /// Where one exchange goes, decided at its head.
    type Way: Send + Sync + 'static;

    /// Which way exchanges go.
    const DIRECTION: Direction;

    /// The partner's address, as far as the request tells.
    fn partner(session: &Session, snapshot: &Snapshot) -> Option<IpAddr>;

    /// Where this request goes.
    fn way(request: &RequestHeader, snapshot: &Snapshot) -> Result<Self::Way, Rejection>;

    /// The addresses of each place that this request may go to, in the order of the config.
    async fn addresses(
        way: &Self::Way,
        snapshot: &Snapshot,
        lookups: &Lookups,
    ) -> Result<Vec<Vec<SocketAddr>>, Rejection>;

    /// A connection to one of these places, at this address of it.
    fn peer(way: &Self::Way, snapshot: &Snapshot, place: usize, address: SocketAddr) -> HttpPeer;

    /// No address of this place took a connection: its name may lead elsewhere by now.
    fn look_up_again(way: &Self::Way, snapshot: &Snapshot, place: usize);

    /// Judges a connection before a byte is sent on it.
    fn connected(way: &Self::Way, digest: Option<&Digest>) -> Result<()>;

    /// Makes the request that goes on out of the one that came.
    fn rewrite(
        way: &Self::Way,
        snapshot: &Snapshot,
        session: &Session,
        request: &mut RequestHeader,
    ) -> Result<()>;

    /// What an error makes of the exchange. `None`: nothing to report.
    fn failure(
        error: &Error,
        rejection: Option<&Rejection>,
        status: Option<u16>,
    ) -> Option<SendError>;
}
