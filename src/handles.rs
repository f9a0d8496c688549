//! File handles. Most systems start a process with 1,024, which is 500 exchanges, and let it have more
//! when it asks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the hard one.
pub(crate) fn raise_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::debug!(?current, ?maximum, "Raised the limit of open files."),
        Err(error) => tracing::warn!(%error, ?current, "The limit of open files stays low."),
    }
}
