//! A time limit that costs nothing where it is kept.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// A limit that is set, moved and cleared with every request, over one timer. A new timer for each would
/// wake the runtime's thread that waits for events, which costs more than the rest of a small request.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    pub(crate) at: Option<Instant>,
    /// Never later than `at` while that is polled; when it is earlier it is set anew as it fires.
    timer: Option<Pin<Box<Sleep>>>,
}

// === impl Deadline ===

impl Deadline {
    /// So long from now.
    pub(crate) fn set(&mut self, after: Duration) {
        self.at = Some(Instant::now() + after);
    }

    /// Ready when the time is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    async fn over_after(deadline: &mut Deadline) -> Duration {
        let began = Instant::now();
        poll_fn(|cx| deadline.poll(cx)).await;
        began.elapsed()
    }

    async fn stands(deadline: &mut Deadline, wait: Duration) -> bool {
        timeout(wait, poll_fn(|cx| deadline.poll(cx))).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_it_says() {
        let mut deadline = Deadline::default();
        deadline.set(MINUTE);
        assert_eq!(over_after(&mut deadline).await.as_secs(), 60);
    }

    #[tokio::test(start_paused = true)]
    async fn it_moves_either_way() {
        let mut deadline = Deadline::default();
        deadline.set(MINUTE);
        assert!(stands(&mut deadline, MINUTE / 2).await);
        deadline.at = deadline.at.map(|at| at + MINUTE);
        assert_eq!(over_after(&mut deadline).await.as_secs(), 90);
        deadline.set(MINUTE * 10);
        assert!(stands(&mut deadline, MINUTE).await);
        deadline.set(MINUTE / 2);
        assert_eq!(over_after(&mut deadline).await.as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn cleared_it_is_never_over() {
        let mut deadline = Deadline::default();
        deadline.set(MINUTE);
        assert!(stands(&mut deadline, MINUTE / 2).await);
        deadline.at = None;
        assert!(stands(&mut deadline, MINUTE * 60).await);
        deadline.set(MINUTE);
        assert_eq!(over_after(&mut deadline).await.as_secs(), 60);
    }
}
