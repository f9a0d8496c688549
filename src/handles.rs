//! Limits the file handles of partners' traffic. Most systems start a process with 1,024, which is 500 exchanges, and let it have more
//! when it asks. Partners' traffic does not get all of them: what it leaves is for the admin listener, the
//! store and deliveries.

use std::{
    fs,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The part of the handles that is kept from traffic, within these bounds.
const KEPT_PART: usize = 8;
const KEPT: std::ops::RangeInclusive<usize> = 24..=1024;

/// Handles that a process has open when it serves, where the system does not say.
const AT_START: usize = 64;

/// The handles that traffic may have. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct TrafficHandles {
    /// Known with the first connection: by then all that serves is open.
    limit: Arc<OnceLock<usize>>,
    taken: Arc<AtomicUsize>,
}

/// Some of them; they are given back when it is dropped.
#[derive(Debug)]
pub(crate) struct HandleShare {
    handles: TrafficHandles,
    count: usize,
    /// More are taken than there are.
    pub(crate) is_over: bool,
}

/// Raises the limit to the hard one.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(current, maximum, "Raised the limit of open files."),
        Err(error) => {
            tracing::warn!(%error, current, "The limit of open files could not be raised.");
        }
    }
}

// === impl TrafficHandles ===

impl TrafficHandles {
    /// What this process leaves to traffic.
    pub(crate) fn of_process() -> Self {
        Self { limit: Arc::default(), taken: Arc::default() }
    }

    fn new(limit: usize) -> Self {
        Self { limit: Arc::new(limit.into()), taken: Arc::default() }
    }

    /// Takes so many, also beyond the limit: the caller then has others give some back.
    pub(crate) fn take(&self, count: usize) -> HandleShare {
        let before = self.taken.fetch_add(count, Ordering::Relaxed);
        let limit = *self.limit.get_or_init(left_to_traffic);
        HandleShare { handles: self.clone(), count, is_over: before + count > limit }
    }
}

impl Default for TrafficHandles {
    /// Any number.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Drop for HandleShare {
    fn drop(&mut self) {
        self.handles.taken.fetch_sub(self.count, Ordering::Relaxed);
    }
}

fn left_to_traffic() -> usize {
    let all = getrlimit(Resource::Nofile).current;
    let all = all.map_or(usize::MAX, |all| usize::try_from(all).unwrap_or(usize::MAX));
    let open = fs::read_dir("/proc/self/fd").map_or(AT_START, Iterator::count);
    all.saturating_sub(open + (all / KEPT_PART).clamp(*KEPT.start(), *KEPT.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_beyond_the_limit_are_over_until_others_are_given_back() {
        let handles = TrafficHandles::new(3);
        let (first, second) = (handles.take(1), handles.take(2));
        assert!(!first.is_over && !second.is_over);
        assert!(handles.take(1).is_over);
        drop(first);
        assert!(!handles.take(1).is_over);
    }
}
