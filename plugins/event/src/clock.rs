//! The clock that decides due times, expiries and ages.
//!
//! Several gateways of one database compare times, so they use the database's clock. SQLite has
//! none: there it is the system clock. Either may be set, and then jumps. Between two readings time
//! advances by the monotonic clock, which is never set. A reading that differs by more than
//! [`TOLERANCE`] is only accepted after [`STANDS`]: until then due times do not move, and what
//! cannot be undone waits ([`doubt`]).
//!
//! A process has one store, and so one clock. Its times are milliseconds since 1970.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use parking_lot::Mutex;

/// The largest change of a clock that is accepted at once.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// How long a jump must persist before it is accepted.
pub const STANDS: Duration = Duration::from_secs(10 * 60);

/// Why the time may be wrong. Times are milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockDoubt {
    /// Not compared yet with what the store holds: see [`compare`].
    Unchecked,
    /// At the start it differed much from the newest time in the store.
    Start {
        /// The newest time in the store.
        newest: i64,
        /// The time by the clock.
        now: i64,
    },
    /// It was set while this process was running.
    Jump {
        /// Which clock: `machine` or `database`.
        clock: &'static str,
        /// The time without the jump.
        from: i64,
        /// The time by the clock.
        to: i64,
    },
}

struct Clock {
    /// `MACHINE` or `DATABASE`.
    source: &'static str,
    /// The last accepted reading, and when it was read.
    read: Option<(i64, Instant)>,
    jump: Option<Jump>,
    /// Why the time at the start may be wrong, and since when that is known.
    start: Option<(ClockDoubt, Option<Instant>)>,
}

const MACHINE: &str = "machine";
const DATABASE: &str = "database";

/// A reading that is not accepted yet.
#[derive(Clone, Copy)]
struct Jump {
    by: i64,
    since: Instant,
}

static CLOCK: Mutex<Clock> = Mutex::new(Clock::new());

/// Returns the time.
pub fn now() -> i64 {
    let mut clock = CLOCK.lock();
    if clock.source == MACHINE {
        clock.read(machine(), Instant::now());
    }
    clock.at(Instant::now())
}

/// Returns why operations that cannot be undone have to wait. `None`: the clock is accepted.
pub fn doubt() -> Option<ClockDoubt> {
    // Reads the clock too.
    now();
    CLOCK.lock().doubt(Instant::now())
}

/// Whether the clock was compared and may be wrong.
pub fn is_doubted() -> bool {
    matches!(doubt(), Some(ClockDoubt::Start { .. } | ClockDoubt::Jump { .. }))
}

/// Compares the clock with the newest time in the store, at the start.
pub fn compare(newest: Option<i64>) {
    let now = now();
    CLOCK.lock().compare(newest, now, Instant::now());
}

/// Records a reading of the database's clock. After the first one, this clock is used.
pub fn database_says(time: i64) {
    let mut clock = CLOCK.lock();
    if clock.source == MACHINE {
        (clock.source, clock.read, clock.jump) = (DATABASE, None, None);
    }
    clock.read(time, Instant::now());
}

fn machine() -> i64 {
    milliseconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// Returns this time in milliseconds, as far as it fits.
pub fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// Returns the time `wait` after `from`; the end of time where it does not fit.
pub fn after(from: i64, wait: Duration) -> i64 {
    from.saturating_add(milliseconds(wait))
}

/// Returns how long it is until `due`; zero when it is past.
pub fn until(due: i64) -> Duration {
    Duration::from_millis(u64::try_from(due.saturating_sub(now())).unwrap_or(0))
}

/// Returns a time in the form that is shown; the first or the last one where it does not fit.
pub fn timestamp(ms: i64) -> Timestamp {
    let end = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(end)
}

/// Whether two times that differ by this many milliseconds are more than [`TOLERANCE`] apart.
pub fn is_far(by: i64) -> bool {
    by.unsigned_abs() > u64::try_from(TOLERANCE.as_millis()).unwrap_or(u64::MAX)
}

// === impl Clock ===

impl Clock {
    const fn new() -> Self {
        let start = Some((ClockDoubt::Unchecked, None));
        Self { source: MACHINE, read: None, jump: None, start }
    }

    /// Returns the time at a moment that is not before the last reading.
    fn at(&self, moment: Instant) -> i64 {
        let (time, read) = self.read.unwrap_or((0, moment));
        time.saturating_add(milliseconds(moment.saturating_duration_since(read)))
    }

    /// Records a reading, and accepts it unless it jumped.
    fn read(&mut self, time: i64, moment: Instant) {
        let by = match self.read {
            Some(_) => time.saturating_sub(self.at(moment)),
            None => 0,
        };
        let stood = self.jump.filter(|jump| !is_far(by.saturating_sub(jump.by)));
        self.jump = match stood {
            _ if !is_far(by) => None,
            Some(jump) if moment.saturating_duration_since(jump.since) >= STANDS => None,
            Some(jump) => Some(jump),
            None => Some(Jump { by, since: moment }),
        };
        if self.jump.is_none() {
            self.read = Some((time, moment));
        }
    }

    fn compare(&mut self, newest: Option<i64>, now: i64, moment: Instant) {
        let newest = newest.filter(|newest| is_far(now.saturating_sub(*newest)));
        self.start = newest.map(|newest| (ClockDoubt::Start { newest, now }, Some(moment)));
    }

    fn doubt(&mut self, moment: Instant) -> Option<ClockDoubt> {
        if let Some((_, Some(since))) = self.start
            && moment.saturating_duration_since(since) >= STANDS
        {
            self.start = None;
        }
        let (clock, from) = (self.source, self.at(moment));
        let jump = self.jump.map(|jump| ClockDoubt::Jump {
            clock,
            from,
            to: from.saturating_add(jump.by),
        });
        jump.or(self.start.map(|(doubt, _)| doubt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const HOUR: i64 = 3_600_000;
    const SECOND: Duration = Duration::from_secs(1);

    /// A clock that was read at this moment, and the moment.
    fn running() -> (Clock, Instant) {
        let (mut clock, begin) = (Clock::new(), Instant::now());
        clock.read(NOW, begin);
        clock.compare(Some(NOW), NOW, begin);
        (clock, begin)
    }

    #[test]
    fn small_steps_are_followed_at_once() {
        let (mut clock, begin) = running();
        clock.read(NOW + 240_000, begin + SECOND);
        assert_eq!(clock.at(begin + SECOND), NOW + 240_000);
        clock.read(NOW + 1_000, begin + 2 * SECOND);
        assert_eq!(clock.at(begin + 2 * SECOND), NOW + 1_000);
        assert_eq!(clock.doubt(begin + 2 * SECOND), None);
    }

    #[test]
    fn time_advances_while_a_jump_is_not_accepted() {
        for hours in [-1, 1, 31 * 24] {
            let (mut clock, begin) = running();
            clock.read(NOW + 1_000 + hours * HOUR, begin + SECOND);
            assert_eq!(clock.at(begin + SECOND), NOW + 1_000);
            let jump = ClockDoubt::Jump {
                clock: "machine",
                from: NOW + 1_000,
                to: NOW + 1_000 + hours * HOUR,
            };
            assert_eq!(clock.doubt(begin + SECOND), Some(jump));
            clock.read(NOW + 2_000, begin + 2 * SECOND);
            assert_eq!(clock.doubt(begin + 2 * SECOND), None, "it came back");
            assert_eq!(clock.at(begin + 2 * SECOND), NOW + 2_000);
        }
    }

    #[test]
    fn persistent_jump_is_accepted() {
        let (mut clock, begin) = running();
        let reading = |after: Duration| NOW + milliseconds(after) - HOUR;
        clock.read(reading(SECOND), begin + SECOND);
        clock.read(reading(STANDS), begin + STANDS);
        assert!(clock.doubt(begin + STANDS).is_some());
        let later = STANDS + SECOND;
        clock.read(reading(later), begin + later);
        assert_eq!(clock.doubt(begin + later), None);
        assert_eq!(clock.at(begin + later), reading(later));
    }

    #[test]
    fn jump_to_another_time_restarts_the_wait() {
        let (mut clock, begin) = running();
        clock.read(NOW + HOUR, begin);
        let later = begin + STANDS;
        clock.read(NOW + 5 * HOUR, later);
        assert!(clock.doubt(later).is_some());
        clock.read(NOW + 5 * HOUR, later + SECOND);
        assert!(clock.doubt(later + SECOND).is_some());
    }

    #[test]
    fn start_far_from_the_newest_record_is_accepted_after_a_while() {
        let (mut clock, begin) = running();
        for newest in [NOW - HOUR, NOW + HOUR] {
            clock.compare(Some(newest), NOW, begin);
            assert_eq!(clock.doubt(begin), Some(ClockDoubt::Start { newest, now: NOW }));
            assert_eq!(clock.at(begin), NOW);
            assert_eq!(clock.doubt(begin + STANDS), None);
        }
        clock.compare(None, NOW, begin);
        assert_eq!(clock.doubt(begin), None, "an empty store");
    }

    #[test]
    fn clock_is_doubted_until_it_is_compared() {
        let mut clock = Clock::new();
        assert_eq!(clock.doubt(Instant::now()), Some(ClockDoubt::Unchecked));
    }
}
