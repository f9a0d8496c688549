//! Waiting for a request's head, so that what is slow, too large or malformed is answered in words
//! before Pingora sees a byte of it.

use std::future::poll_fn;
use std::task::Poll;

use pingora::server::ShutdownWatch;
use tokio::time::{Instant, sleep_until};

use super::{answer::Rejection, connection::Connection, head, seats::Seat};
use crate::{
    config::Limits,
    memory::{Memory, Share},
};

/// What came.
pub(super) enum Heard {
    /// A head that is let in.
    Head,
    /// The partner went away, or nothing came in time, or the place is needed.
    Nothing,
    /// What is not passed on.
    Refused(Rejection),
}

/// Bytes of a head that every connection has room for; what is beyond is counted.
const FREE: usize = 4096;

/// Waits for the next head on a connection.
pub(super) async fn hear(
    connection: &mut Connection,
    limits: &Limits,
    memory: &Memory,
    seat: &Seat,
    shutdown: &ShutdownWatch,
) -> Heard {
    let mut shutdown = shutdown.clone();
    let mut scan = head::Scan::default();
    let mut until = Instant::now() + limits.pace.idle;
    let (mut begun, mut waiting) = (false, None);
    let mut share: Option<Share> = None;
    let too_large = Rejection::HeadTooLarge { limit: limits.decode.header };
    loop {
        let ahead = connection.ahead();
        match scan.more(ahead) {
            Err(flaw) => return Heard::Refused(flaw.into()),
            Ok(Some(range)) if range.len() > limits.decode.header => {
                return Heard::Refused(too_large);
            }
            Ok(Some(range)) => {
                return match head::judge(&ahead[range.clone()]) {
                    Err(flaw) => Heard::Refused(flaw.into()),
                    Ok(chunked) => {
                        connection.expect(range, chunked);
                        Heard::Head
                    }
                };
            }
            Ok(None) if ahead.len() > limits.decode.header => return Heard::Refused(too_large),
            Ok(None) => {}
        }
        if !begun && !ahead.is_empty() {
            begun = true;
            until = Instant::now() + limits.pace.head;
        }
        if ahead.len() > FREE && share.is_none() {
            share = memory.take(limits.decode.header as u64, limits.memory);
            if share.is_none() {
                return Heard::Refused(Rejection::Memory);
            }
        }
        // Most heads are there at once: nobody has to stand in line for those.
        let mut read = poll_fn(|cx| match connection.poll_ahead(cx) {
            Poll::Ready(read) => Poll::Ready(Some(read)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        if read.is_none() {
            let waiting = waiting.get_or_insert_with(|| seat.wait());
            tokio::select! {
                biased;
                more = poll_fn(|cx| connection.poll_ahead(cx)) => read = Some(more),
                () = sleep_until(until) => {
                    return if begun { Heard::Refused(Rejection::Slow) } else { Heard::Nothing };
                }
                // Without a word: that would take time, and this is a flood.
                () = waiting.asked() => return Heard::Nothing,
                () = stopped(&mut shutdown), if !begun => return Heard::Nothing,
            }
        }
        if !matches!(read, Some(Ok(1..))) {
            return Heard::Nothing;
        }
    }
}

/// Until the listeners are closed.
async fn stopped(shutdown: &mut ShutdownWatch) {
    // A sender that is gone has stopped, too.
    let _ = shutdown.wait_for(|stopping| *stopping).await;
}
