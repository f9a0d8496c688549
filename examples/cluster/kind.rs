//! The kinds of trouble.

use crate::site::Store;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Kill,
    Pause,
    Reload,
    ReloadWhenGone,
    Replace,
    ReplaceWhenGone,
    StoreAway,
    Hang,
}

// === impl Kind ===

impl Kind {
    /// All of them, and how often each comes among the others.
    pub(crate) const ALL: [(Self, usize); 8] = [
        (Self::Kill, 5),
        (Self::Pause, 2),
        (Self::Reload, 1),
        (Self::ReloadWhenGone, 2),
        (Self::Replace, 1),
        (Self::ReplaceWhenGone, 3),
        (Self::StoreAway, 1),
        (Self::Hang, 1),
    ];

    pub(crate) fn any(rng: &mut fastrand::Rng) -> Self {
        let all: usize = Self::ALL.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.usize(..all);
        for (kind, weight) in Self::ALL {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return kind,
            }
        }
        Self::Kill
    }

    pub(crate) fn name(self, store: Store) -> &'static str {
        match (self, store) {
            (Self::Kill, _) => "`kill -9`",
            (Self::Pause, _) => "SIGSTOP, SIGCONT",
            (Self::Reload, _) => "reloads with other URLs",
            (Self::ReloadWhenGone, _) => "reloads when an endpoint responded with 410",
            (Self::Replace, Store::Postgres) => "roll-outs",
            (Self::Replace, Store::Sqlite) => "hand-overs",
            (Self::ReplaceWhenGone, Store::Postgres) => "roll-outs with a 410 in between",
            (Self::ReplaceWhenGone, Store::Sqlite) => "hand-overs with a 410 in between",
            (Self::StoreAway, Store::Postgres) => "restarts of the database",
            (Self::StoreAway, Store::Sqlite) => "locks of the store by another process",
            (Self::Hang, _) => "hangs of the payload volume",
        }
    }
}
