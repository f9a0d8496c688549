//! What happens in the middle: processes are killed, stopped and replaced, the store is away, URLs change,
//! an endpoint is gone, the payload volume hangs.

use std::{
    collections::BTreeMap,
    fmt,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use as2hook_testing::{faults, gateway::StartError};

use crate::{
    kind::Kind,
    site::{Site, Store},
};

/// Between the beginnings of two troubles.
const GAP: std::ops::Range<u64> = 1_000..7_000;

/// Between two gateways of one change.
const STEP: std::ops::Range<u64> = 300..3_000;

/// How long a killed gateway, or the database, stays away.
const AWAY: std::ops::Range<u64> = 500..4_000;

/// Makes trouble as long as the run lasts.
pub(crate) struct Trouble {
    rng: fastrand::Rng,
    store: Store,
    /// Of the trouble that comes next: what one meets changes nothing about those that follow.
    seed: u64,
    longest_gap: Duration,
    longest_pause: Duration,
    hang: Duration,
    next: Instant,
    /// Each kind once, before chance decides.
    first: Vec<Kind>,
    planned: Vec<(Instant, Action)>,
    counts: BTreeMap<Kind, usize>,
    log: std::fs::File,
    began: Instant,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Resume(usize),
    Reload(usize),
    Replace(usize, Instant),
    Gone(usize),
}

// === impl Trouble ===

impl Trouble {
    /// The same seed thinks of the same troubles at the same times; what they meet differs. In a short run
    /// stops and hangs are short, and troubles are close enough that there is time for each kind.
    pub(crate) fn new(
        site: &Site,
        store: Store,
        seed: u64,
        lasting: Duration,
    ) -> std::io::Result<Self> {
        let mut rng = fastrand::Rng::with_seed(seed);
        let kinds = Kind::ALL.iter().map(|(kind, _)| *kind);
        let mut first: Vec<_> =
            kinds.filter(|kind| *kind != Kind::Hang || site.volume.is_some()).collect();
        rng.shuffle(&mut first);
        let now = Instant::now();
        Ok(Self {
            rng,
            store,
            seed,
            longest_gap: Duration::from_millis(GAP.end).min(lasting / 8),
            longest_pause: Duration::from_secs(40).min(lasting / 6),
            hang: Duration::from_secs(20).min(lasting / 6),
            next: now + Duration::from_secs(1),
            first,
            planned: Vec::new(),
            counts: BTreeMap::new(),
            log: std::fs::File::create(site.folder.path().join("trouble.log"))?,
            began: site.witness.began(),
        })
    }

    /// Does what is due by now, and thinks of something new when it is time.
    pub(crate) fn tick(&mut self, site: &mut Site) -> Result<(), StartError> {
        self.carry_out(site, Instant::now())?;
        if self.next <= Instant::now() {
            self.seed = self.seed.wrapping_add(1);
            self.rng = fastrand::Rng::with_seed(self.seed);
            let gap = self.millis(GAP).min(self.longest_gap);
            self.next = Instant::now() + gap;
            let kind = self.first.last().copied().unwrap_or_else(|| Kind::any(&mut self.rng));
            if self.begin(site, kind)? {
                self.first.pop();
                *self.counts.entry(kind).or_default() += 1;
            }
        }
        site.fleet.tick()
    }

    /// Begins nothing new, and ends what has begun. Returns whether all has ended.
    pub(crate) fn end(&mut self, site: &mut Site) -> Result<bool, StartError> {
        let far = Instant::now() + Duration::from_secs(3600);
        self.carry_out(site, far)?;
        site.fleet.tick()?;
        Ok(self.planned.is_empty())
    }

    /// False: there is nothing that it could happen to.
    fn begin(&mut self, site: &mut Site, kind: Kind) -> Result<bool, StartError> {
        let now = Instant::now();
        let at_work = site.fleet.at_work();
        let victim = self.rng.choice(at_work.iter().copied());
        let busy = self.planned.iter().any(|(_, action)| !matches!(action, Action::Resume(_)));
        match (kind, victim) {
            (Kind::Kill, Some(victim)) => {
                let away = self.millis(AWAY);
                self.note(format_args!("kill -9 of gateway {victim} for {away:?}"));
                site.fleet.kill(victim, away);
            }
            (Kind::Pause, Some(victim)) => {
                // Every third time longer than a lease, where the run is long enough.
                let longest = self.longest_pause.as_secs_f64();
                let part = if self.rng.u8(..3) == 0 { 0.8..1.0 } else { 0.05..0.5 };
                let part = part.start + self.rng.f64() * (part.end - part.start);
                let time = Duration::from_secs_f64(longest * part);
                self.note(format_args!("gateway {victim} stands still for {time:?}"));
                site.fleet.pause(victim);
                self.planned.push((now + time, Action::Resume(victim)));
            }
            (Kind::Reload | Kind::ReloadWhenGone, _) if !busy => {
                self.change_rules(site, kind == Kind::ReloadWhenGone, None);
            }
            (Kind::Replace | Kind::ReplaceWhenGone, Some(_)) if !busy => {
                let last = self.rng.bool();
                self.change_rules(site, kind == Kind::ReplaceWhenGone, Some(last));
            }
            (Kind::StoreAway, _) => self.take_store_away(site),
            (Kind::Hang, _) if site.volume.is_some() => {
                let time = self.hang;
                self.note(format_args!("the payload volume hangs for {time:?}"));
                if let Some(volume) = &site.volume {
                    drop(volume.hang_for(time));
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// New URLs for one gateway after the other, by a reload or by a new process. `last`: old processes
    /// terminate together at the end.
    fn change_rules(&mut self, site: &mut Site, gone: bool, replaced: Option<bool>) {
        let gateways = site.fleet.gateways();
        let mut order: Vec<_> = (0..gateways).collect();
        self.rng.shuffle(&mut order);
        let mut at = Instant::now();
        let mut steps = Vec::new();
        for gateway in order {
            at += self.millis(STEP);
            steps.push((at, gateway));
        }
        let end = at + self.millis(STEP);
        site.fleet.versions.plain += 1;
        if gone {
            site.fleet.versions.moving += 1;
            // Before the first gateway has the new URL, or while some have it.
            let when = Instant::now() + (at - Instant::now()).mul_f64(self.rng.f64());
            self.planned.push((when, Action::Gone(site.fleet.versions.moving)));
        }
        let versions = site.fleet.versions;
        self.note(format_args!(
            "{versions:?}, gone: {gone}, replaced, all at the end: {replaced:?}"
        ));
        for (at, gateway) in steps {
            let action = match replaced {
                None => Action::Reload(gateway),
                Some(true) => Action::Replace(gateway, end),
                Some(false) => Action::Replace(gateway, at),
            };
            self.planned.push((at, action));
        }
    }

    fn take_store_away(&mut self, site: &mut Site) {
        let (time, powerless) = (self.millis(AWAY), self.rng.bool());
        self.note(format_args!("the store is away for {time:?}, immediate: {powerless}"));
        match &mut site.database {
            Some(database) => {
                if powerless {
                    database.kill();
                } else {
                    database.stop();
                }
                thread::sleep(time);
                database.restart();
            }
            None => {
                let file = site.sqlite();
                // Waits for a process that stands still in a transaction.
                thread::spawn(move || {
                    let lock = faults::lock(&file);
                    thread::sleep(time);
                    lock.release();
                });
            }
        }
    }

    fn carry_out(&mut self, site: &mut Site, until: Instant) -> Result<(), StartError> {
        self.planned.sort_by_key(|(at, _)| *at);
        let later = self.planned.partition_point(|(at, _)| *at <= until);
        for (_, action) in self.planned.drain(..later).collect::<Vec<_>>() {
            let done = match action {
                Action::Resume(node) => {
                    site.fleet.resume(node);
                    true
                }
                Action::Gone(version) => {
                    site.witness.set_gone(version);
                    true
                }
                Action::Reload(gateway) => {
                    site.fleet.reload(gateway)?;
                    true
                }
                Action::Replace(gateway, ends_at) => match self.store {
                    Store::Postgres => site.fleet.replace(gateway, ends_at)?,
                    Store::Sqlite => site.fleet.hand_over(gateway)?,
                },
            };
            if done {
                self.note(format_args!("{action:?}"));
            } else {
                // The one before is not over.
                self.planned.push((Instant::now() + Duration::from_secs(1), action));
            }
        }
        Ok(())
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.rng.u64(range))
    }

    fn note(&mut self, what: fmt::Arguments<'_>) {
        // Only of use where it can be written.
        drop(writeln!(self.log, "{:8.2} {what}", self.began.elapsed().as_secs_f64()));
    }

    /// What was done so far, and how often.
    pub(crate) fn figures(&self) -> Vec<(&'static str, usize)> {
        let count = |kind| self.counts.get(&kind).copied().unwrap_or_default();
        Kind::ALL.iter().map(|(kind, _)| (kind.name(self.store), count(*kind))).collect()
    }
}
