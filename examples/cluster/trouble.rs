//! What happens in the middle: a gateway dies and comes back, the database is restarted.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use as2hook_testing::{Running, gateway::StartError, postgres::Postgres};

use crate::traffic::Traffic;

/// How long a killed gateway stays away.
const AWAY: Duration = Duration::from_secs(2);

/// When what is to happen, by the number of messages sent.
pub(crate) struct Trouble {
    planned: VecDeque<(usize, Kind)>,
    away: Vec<(usize, Instant)>,
    /// Gateways killed so far.
    pub(crate) kills: usize,
    /// Restarts of the database so far.
    pub(crate) restarts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Kill,
    Restart,
}

impl Trouble {
    /// At random moments of the first nine tenths.
    pub(crate) fn plan(messages: usize, kills: usize, restarts: usize) -> Self {
        let moment = |kind| (fastrand::usize(..(messages * 9 / 10).max(1)), kind);
        let kills = (0..kills).map(|_| moment(Kind::Kill));
        let restarts = (0..restarts).map(|_| moment(Kind::Restart));
        let mut planned: Vec<_> = kills.chain(restarts).collect();
        planned.sort_unstable();
        Self { planned: planned.into(), away: Vec::new(), kills: 0, restarts: 0 }
    }

    /// Does what is due by now, and brings back the gateways that were away long enough.
    pub(crate) fn make(
        &mut self,
        traffic: &Traffic,
        gateways: &mut [Running],
        database: &mut Postgres,
    ) -> Result<(), StartError> {
        while self.planned.front().is_some_and(|(moment, _)| *moment <= traffic.sent()) {
            match self.planned.pop_front() {
                Some((_, Kind::Kill)) => self.kill(gateways),
                Some((_, Kind::Restart)) => {
                    // Every second time without a chance to say goodbye.
                    if !self.restarts.is_multiple_of(2) {
                        database.kill();
                    }
                    database.restart();
                    self.restarts += 1;
                }
                None => {}
            }
        }
        self.bring_back(gateways, AWAY)
    }

    /// Brings all gateways back.
    pub(crate) fn repair(&mut self, gateways: &mut [Running]) -> Result<(), StartError> {
        self.bring_back(gateways, Duration::ZERO)
    }

    fn kill(&mut self, gateways: &mut [Running]) {
        let number = fastrand::usize(..gateways.len());
        gateways[number].kill9();
        self.kills += 1;
        if !self.away.iter().any(|(away, _)| *away == number) {
            self.away.push((number, Instant::now()));
        }
    }

    fn bring_back(&mut self, gateways: &mut [Running], after: Duration) -> Result<(), StartError> {
        let (back, away) = self.away.drain(..).partition(|(_, since)| since.elapsed() >= after);
        self.away = away;
        back.into_iter().try_for_each(|(number, _): (usize, Instant)| gateways[number].start())
    }
}
