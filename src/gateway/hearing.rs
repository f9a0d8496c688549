//! Waiting for a request's head, so that what is slow, too large or malformed is answered in words
//! before Pingora sees a byte of it.

use std::future::poll_fn;
use std::task::Poll;

use super::{
    answer::Rejection,
    connection::{Connection, More},
    ending::Close,
    head,
    seats::Seat,
};
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
    close: &mut Close,
) -> Heard {
    let mut scan = head::Scan::default();
    connection.rest();
    connection.patience(limits.pace.idle);
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
                        close.used();
                        connection.expect(range, chunked);
                        Heard::Head
                    }
                };
            }
            Ok(None) if ahead.len() > limits.decode.header => return Heard::Refused(too_large),
            Ok(None) => {}
        }
        let large = ahead.len() > FREE;
        // Empty lines before a head are no beginning: old clients end their body with one.
        if !begun && ahead.iter().any(|byte| !b"\r\n".contains(byte)) {
            begun = true;
            close.used();
            connection.patience(limits.pace.head);
        }
        if large && share.is_none() {
            share = memory.take(limits.decode.header as u64, limits.memory);
            if share.is_none() {
                return Heard::Refused(Rejection::Memory);
            }
        }
        // Most heads are there at once: nobody has to stand in line for those.
        let mut more = poll_fn(|cx| match connection.poll_more(cx) {
            Poll::Ready(more) => Poll::Ready(Some(more)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        if more.is_none() {
            let waiting = waiting.get_or_insert_with(|| seat.wait());
            tokio::select! {
                biased;
                came = poll_fn(|cx| connection.poll_more(cx)) => more = Some(came),
                // Without a word: that would take time, and this is a flood.
                () = waiting.asked() => return Heard::Nothing,
                () = poll_fn(|cx| close.poll(cx)), if !begun => return Heard::Nothing,
            }
        }
        match more {
            Some(More::Came) => {}
            Some(More::Late) if begun => return Heard::Refused(Rejection::Slow),
            Some(More::Late | More::Over) | None => return Heard::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncWriteExt as _, DuplexStream},
        time::{Instant, timeout},
    };

    use super::{
        super::{ending::Ending, head::Flaw, seats::Seats},
        *,
    };

    struct Scene {
        ending: Ending,
        close: Close,
        connection: Connection,
        partner: DuplexStream,
        limits: Limits,
        seat: Seat,
    }

    fn scene() -> Scene {
        let (ours, partner) = tokio::io::duplex(1024);
        let (connection, ending) = (Connection::new(Box::new(ours)), Ending::new());
        let (close, seat) = (ending.close(), Seats::default().enter(1, None, 1).unwrap());
        Scene { ending, close, connection, partner, limits: Limits::default(), seat }
    }

    impl Scene {
        async fn hear(&mut self) -> Heard {
            let memory = Memory::default();
            hear(&mut self.connection, &self.limits, &memory, &self.seat, &mut self.close).await
        }

        /// A head that came whole, and its exchange is over.
        async fn hear_and_forget(&mut self) {
            assert!(matches!(self.hear().await, Heard::Head));
            let head = self.connection.ahead().len();
            self.connection.expect(head..head, false);
        }

        /// What comes of it within this time.
        async fn within(&mut self, time: Duration) -> Option<Heard> {
            timeout(time, self.hear()).await.ok()
        }
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn a_head_has_its_time_however_steadily_it_trickles() {
        let mut scene = scene();
        let (_, spare) = tokio::io::duplex(1);
        let mut partner = std::mem::replace(&mut scene.partner, spare);
        tokio::spawn(async move {
            // The pause is the scenario; time is the test's own.
            while partner.write_all(b"GET").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(13)).await;
            }
        });
        let began = Instant::now();
        assert!(matches!(scene.hear().await, Heard::Refused(Rejection::Slow)));
        assert_eq!(began.elapsed(), scene.limits.pace.head);
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_told_nothing() {
        let mut scene = scene();
        let began = Instant::now();
        assert!(matches!(scene.hear().await, Heard::Nothing));
        assert_eq!(began.elapsed(), scene.limits.pace.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_whole_time() {
        let mut scene = scene();
        scene.partner.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(scene.within(scene.limits.pace.head / 2).await.is_none());
        scene.partner.write_all(b"\r\n").await.unwrap();
        scene.hear_and_forget().await;
        let began = Instant::now();
        assert!(matches!(scene.hear().await, Heard::Nothing));
        assert_eq!(began.elapsed(), scene.limits.pace.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_line_is_no_beginning() {
        let mut scene = scene();
        scene.partner.write_all(b"\r\n").await.unwrap();
        let began = Instant::now();
        assert!(matches!(scene.hear().await, Heard::Nothing));
        assert_eq!(began.elapsed(), scene.limits.pace.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flaw_is_told_before_the_head_ends() {
        let mut scene = scene();
        scene.partner.write_all(b"GET /\n").await.unwrap();
        let heard = scene.within(HOUR).await;
        assert!(matches!(heard, Some(Heard::Refused(Rejection::Head(Flaw::LineEnd)))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_when_it_is_told_and_not_before() {
        let mut scene = scene();
        scene.partner.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        scene.hear_and_forget().await;
        scene.ending.last_answers();
        let soon = Duration::from_secs(10);
        assert!(scene.within(soon).await.is_none(), "draining keeps it");
        scene.ending.close_idle();
        assert!(matches!(scene.within(Duration::from_millis(60)).await, Some(Heard::Nothing)));
    }

    /// Its head had come in one piece, and it still passed for one that has never asked.
    #[tokio::test(start_paused = true)]
    async fn who_has_asked_once_is_not_fresh_any_more() {
        let mut scene = scene();
        scene.partner.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        scene.hear_and_forget().await;
        scene.ending.close_idle();
        assert!(matches!(scene.within(Duration::from_millis(60)).await, Some(Heard::Nothing)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_within_the_grace_is_heard() {
        let mut scene = scene();
        scene.ending.close_idle();
        assert!(scene.within(Duration::from_millis(20)).await.is_none());
        scene.partner.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        // A head that has begun is read to its end.
        assert!(scene.within(scene.limits.pace.head / 2).await.is_none());
        scene.partner.write_all(b"\r\n").await.unwrap();
        assert!(matches!(scene.within(HOUR).await, Some(Heard::Head)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_only_just_connected_has_a_second() {
        let mut scene = scene();
        scene.ending.close_idle();
        let began = Instant::now();
        assert!(matches!(scene.hear().await, Heard::Nothing));
        assert_eq!(began.elapsed().as_secs(), 1);
    }
}
