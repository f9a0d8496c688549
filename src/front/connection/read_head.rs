//! Waits for a request's head, so that what is slow, too large or malformed gets a response in words
//! before Pingora sees a byte of it.

use std::{
    future::{pending, poll_fn, ready},
    ops::Range,
    task::{Context, Poll},
};

use bytes::{Buf as _, BytesMut};
use tokio::time::Instant;

use super::{
    super::{
        chunks::Chunks,
        connection_limiter::ConnectionPermit,
        head::{self, Accepted, HeadError},
        in_flight::{GaveWay, GiveWay, InFlight, Permit},
        rejection::Rejection,
        rewrite,
        shutdown::CloseSignal,
    },
    Connection,
};
use as2hook_config::Limits;

/// Bytes of a head that every connection has room for; what is beyond is counted.
const FREE: usize = 4096;

/// How much is read at once: a small message comes with its head, in one call of the system.
const PIECE: usize = 16 * 1024;

/// What became of waiting for more of a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum More {
    Came,
    /// The partner's end, or an error.
    Over,
    /// The time for it is over.
    Late,
}

impl Connection {
    /// Waits for the next request's head. `false`: the partner went away, or nothing came in time, or the
    /// place is needed.
    ///
    /// # Errors
    /// What is not passed on.
    pub(crate) async fn read_head(
        &mut self,
        limits: &Limits,
        in_flight: &InFlight,
        permit: &ConnectionPermit,
        close: &mut CloseSignal,
    ) -> Result<bool, Rejection> {
        let mut scan = head::Scan::default();
        // A connection that rests costs no buffer.
        self.ahead = BytesMut::from(&self.ahead[..]);
        self.exchange.get_mut().limit.set(limits.pace().idle);
        let (mut begun, mut waiting) = (false, None);
        // Of a large head: its memory, and how it gives that up.
        let mut counted: Option<Permit> = None;
        let mut gives_way = None;
        loop {
            let found = scan.more(&self.ahead)?;
            let size = found.as_ref().map_or(self.ahead.len(), Range::len);
            if size > limits.header {
                return Err(Rejection::HeadTooLarge { limit: limits.header });
            }
            if let Some(range) = found {
                self.accept(range, scan.is_folded())?;
                close.used();
                return Ok(true);
            }
            // Empty lines before a head are no beginning: old clients end their body with one.
            if !begun && scan.has_begun(&self.ahead) {
                begun = true;
                close.used();
                self.exchange.get_mut().limit.set(limits.pace().head);
            }
            if size > FREE && counted.is_none() {
                let permit = counted.insert(in_flight.beside(permit.address()));
                if !permit.take_memory(limits.header as u64, limits.memory) {
                    return Err(Rejection::Memory);
                }
                gives_way = permit.gives_way();
                if let Some(gives_way) = &gives_way {
                    gives_way.due(Instant::now() + limits.pace().head);
                }
            }
            // Most heads are there at once: those do not wait in line.
            let mut more = tokio::select! {
                biased;
                more = self.more() => Some(more),
                () = ready(()) => None,
            };
            if more.is_none() {
                let waiting = waiting.get_or_insert_with(|| permit.wait());
                more = tokio::select! {
                    biased;
                    more = self.more() => Some(more),
                    // Without a word: that would take time, and this is a flood.
                    () = waiting.asked() => None,
                    () = asked(gives_way.as_mut()) => return Err(GaveWay.into()),
                    () = close.closed(), if !begun => None,
                };
            }
            match more {
                Some(More::Came) => {}
                Some(More::Late) if begun => return Err(Rejection::Slow),
                Some(More::Late | More::Over) | None => return Ok(false),
            }
        }
    }

    async fn more(&mut self) -> More {
        poll_fn(|cx| self.poll_more(cx)).await
    }

    /// Reads more of a head.
    pub(super) fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<More> {
        match self.poll_ahead::<PIECE>(cx) {
            Poll::Ready(Ok(1..)) => Poll::Ready(More::Came),
            Poll::Ready(_) => Poll::Ready(More::Over),
            Poll::Pending => self.exchange.get_mut().limit.poll(cx).map(|()| More::Late),
        }
    }

    /// Lets a whole head in, rewritten where Pingora would refuse what others pass.
    fn accept(&mut self, range: Range<usize>, is_folded: bool) -> Result<(), HeadError> {
        let head = &self.ahead[range.clone()];
        let unfolded = is_folded.then(|| rewrite::unfold(head));
        let head = unfolded.as_deref().unwrap_or(head);
        let Accepted { is_chunked, host } = head::judge(head)?;
        let rewritten = host.map(|host| rewrite::replace_host(head, host)).or(unfolded);
        match rewritten {
            Some(head) => {
                self.ahead = BytesMut::from(&[&head, &self.ahead[range.end..]].concat()[..]);
                self.expect(0..head.len(), is_chunked);
            }
            None => self.expect(range, is_chunked),
        }
        Ok(())
    }

    /// Where in what was read ahead the next request's head is; what stands before it is forgotten. Its body
    /// is read along when it is `chunked`.
    pub(super) fn expect(&mut self, head: Range<usize>, chunked: bool) {
        self.ahead.advance(head.start.min(self.ahead.len()));
        self.of_head = head.len();
        self.chunks = chunked.then(Chunks::new);
        self.exchange.get_mut().limit.at = None;
    }
}

/// Until what is waited for has to give way.
async fn asked(gives_way: Option<&mut GiveWay>) {
    match gives_way.map(GiveWay::asked) {
        Some(asked) => {
            // Its sender sends before it goes.
            let _ = asked.await;
        }
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncWriteExt as _, DuplexStream},
        time::timeout,
    };

    use super::*;
    use crate::{
        front::{GracefulShutdown, connection_limiter::ConnectionLimiter},
        handles::TrafficHandles,
        memory::Memory,
    };

    struct Scene {
        ending: GracefulShutdown,
        close: CloseSignal,
        connection: Connection,
        partner: DuplexStream,
        limits: Limits,
        permit: ConnectionPermit,
    }

    fn scene() -> Scene {
        let (ours, partner) = tokio::io::duplex(1024);
        let (connection, ending) = (Connection::new(Box::new(ours)), GracefulShutdown::default());
        let (close, permit) =
            (ending.close(), ConnectionLimiter::default().enter(1, None, 1, || false).unwrap());
        Scene { ending, close, connection, partner, limits: Limits::default(), permit }
    }

    impl Scene {
        async fn read_head(&mut self) -> Result<bool, Rejection> {
            let in_flight = InFlight::new(Memory::default(), TrafficHandles::default());
            self.connection.read_head(&self.limits, &in_flight, &self.permit, &mut self.close).await
        }

        /// A head that came whole, and its exchange is over.
        async fn read_and_forget(&mut self) {
            assert!(matches!(self.read_head().await, Ok(true)));
            let head = self.connection.ahead.len();
            self.connection.expect(head..head, false);
        }

        /// What comes of it within this time.
        async fn within(&mut self, time: Duration) -> Option<Result<bool, Rejection>> {
            timeout(time, self.read_head()).await.ok()
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
        assert!(matches!(scene.read_head().await, Err(Rejection::Slow)));
        assert_eq!(began.elapsed(), scene.limits.pace().head);
    }

    #[tokio::test(start_paused = true)]
    async fn silent_connection_is_closed_without_a_response() {
        let mut scene = scene();
        let began = Instant::now();
        assert!(matches!(scene.read_head().await, Ok(false)));
        assert_eq!(began.elapsed(), scene.limits.pace().idle);
    }

    #[tokio::test(start_paused = true)]
    async fn each_wait_has_its_whole_time() {
        let mut scene = scene();
        scene.partner.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        assert!(scene.within(scene.limits.pace().head / 2).await.is_none());
        scene.partner.write_all(b"\r\n").await.unwrap();
        scene.read_and_forget().await;
        let began = Instant::now();
        assert!(matches!(scene.read_head().await, Ok(false)));
        assert_eq!(began.elapsed(), scene.limits.pace().idle);
    }

    #[tokio::test(start_paused = true)]
    async fn an_empty_line_is_no_beginning() {
        let mut scene = scene();
        scene.partner.write_all(b"\r\n").await.unwrap();
        let began = Instant::now();
        assert!(matches!(scene.read_head().await, Ok(false)));
        assert_eq!(began.elapsed(), scene.limits.pace().idle);
    }

    #[tokio::test(start_paused = true)]
    async fn head_error_is_reported_before_the_head_ends() {
        let mut scene = scene();
        scene.partner.write_all(b"GET /\n").await.unwrap();
        let read = scene.within(HOUR).await;
        assert!(matches!(read, Some(Err(Rejection::Head(HeadError::LineEnd)))));
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connection_is_closed_when_it_is_asked_and_not_before() {
        let mut scene = scene();
        scene.partner.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        scene.read_and_forget().await;
        scene.ending.last_responses();
        let soon = Duration::from_secs(10);
        assert!(scene.within(soon).await.is_none(), "draining keeps it");
        scene.ending.close_idle();
        assert!(matches!(scene.within(Duration::from_millis(60)).await, Some(Ok(false))));
    }

    /// Its head had come in one piece, and it still passed for one that has sent no request.
    #[tokio::test(start_paused = true)]
    async fn connection_that_sent_a_request_is_not_fresh_any_more() {
        let mut scene = scene();
        scene.partner.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        scene.read_and_forget().await;
        scene.ending.close_idle();
        assert!(matches!(scene.within(Duration::from_millis(60)).await, Some(Ok(false))));
    }

    #[tokio::test(start_paused = true)]
    async fn head_that_begins_within_the_grace_is_read() {
        let mut scene = scene();
        scene.ending.close_idle();
        assert!(scene.within(Duration::from_millis(20)).await.is_none());
        scene.partner.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        // A head that has begun is read to its end.
        assert!(scene.within(scene.limits.pace().head / 2).await.is_none());
        scene.partner.write_all(b"\r\n").await.unwrap();
        assert!(matches!(scene.within(HOUR).await, Some(Ok(true))));
    }

    #[tokio::test(start_paused = true)]
    async fn new_connection_has_a_second_for_its_first_request() {
        let mut scene = scene();
        scene.ending.close_idle();
        let began = Instant::now();
        assert!(matches!(scene.read_head().await, Ok(false)));
        assert_eq!(began.elapsed().as_secs(), 1);
    }

    /// CPU of this thread, in nanoseconds.
    #[cfg(target_os = "linux")]
    fn cpu() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        stat.split(' ').next().unwrap().parse().unwrap()
    }

    /// What it costs to read a head of so many bytes that come one by one, as often as needed to weigh it.
    #[cfg(target_os = "linux")]
    async fn cost(line: &[u8], size: usize) -> u64 {
        let mut scene = scene();
        scene.limits.header = 1 << 20;
        let (ours, mut partner) = tokio::io::duplex(1);
        scene.connection = Connection::new(Box::new(ours));
        let bytes = line.repeat(size / line.len());
        let feed = async {
            partner.write_all(b"\r\n").await.unwrap();
            if line != b"\r\n" {
                partner.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
            }
            partner.write_all(&bytes).await.unwrap();
            partner.write_all(b"\n").await.unwrap();
        };
        let before = cpu();
        let (read, ()) = tokio::join!(scene.read_head(), feed);
        assert!(read.is_err());
        cpu() - before
    }

    /// Empty lines before a head were looked through from the first one for each byte.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn head_in_single_bytes_costs_as_much_as_it_is_long() {
        let long = format!("X-Long: {}\r\n", "y".repeat(1000));
        for line in [b"\r\n", b"A: b\r\n".as_slice(), b"x", long.as_bytes()] {
            // Warm, and without what happened to the machine in between.
            let least = async |size| {
                let mut least = u64::MAX;
                for _ in 0..2 {
                    least = least.min(cost(line, size).await);
                }
                least
            };
            let (short, long) = (least(8 << 10).await, least(32 << 10).await);
            // Four times as long; 16 times as dear, when it is quadratic.
            assert!(long < short * 8, "{short} ns, then {long} ns");
        }
    }
}
