//! What a piece of work costs, as CPU time of this thread: other processes and the pace of the machine
//! do not count.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The least of three runs.
pub fn cost(mut run: impl FnMut()) -> Duration {
    let mut once = || {
        let before = now();
        run();
        now() - before
    };
    (0..3).map(|_| once()).min().unwrap()
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
