//! Fails a run that costs too much.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Runs it. CPU time of the thread at the most: a second for each 64 KiB of input, begun ones whole. It
/// is a hundred times what the slowest input takes without a sanitizer.
pub fn weigh(input: usize, run: impl FnOnce()) {
    let before = now();
    run();
    let took = now() - before;
    let most = Duration::from_secs(1 + input as u64 / 65536);
    assert!(took <= most, "{input} bytes took {took:?} of CPU time");
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
