//! What it comes to: what the senders hold a 2xx for, against what the webhooks were notified of.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    time::Duration,
};

use crate::{
    exchange::{Cargo, Exchange},
    hooks::Hook,
    site::{MDN_DEADLINE, Site},
    witness::{Notice, Record},
};

/// By how much the clocks of two gateways differ at the most.
const SKEW: Duration = Duration::from_secs(75);

/// A processing error that says that the payload is not there: over a limit, not decoded.
const WITHOUT_PAYLOAD: [u16; 2] = [1300, 1400];

/// States of deliveries in which none may be at the end.
const UNSETTLED: [&str; 5] = ["pending", "claimed", "held", "orphaned", "dead"];

/// Something that must not be, with each case of it.
pub(crate) struct Violation {
    pub(crate) what: &'static str,
    pub(crate) cases: Vec<String>,
}

/// The closing count.
pub(crate) struct Account {
    pub(crate) figures: Vec<(&'static str, usize)>,
    pub(crate) violations: Vec<Violation>,
}

// === impl Account ===

impl Account {
    pub(crate) fn of(site: &Site, hooks: &[Hook]) -> Self {
        let (unsettled, unknown) = match unsettled(site) {
            Ok(unsettled) => (unsettled, None),
            Err(error) => (Unsettled::new(), Some(format!("the queue is not known: {error}"))),
        };
        let record = site.witness.record();
        let record = &*record;
        let violation = |what, cases| Violation { what, cases };
        let violations = vec![
            violation("lost", record.lost(hooks, &unsettled)),
            violation("under two ids", record.two_ids()),
            violation("inversions with `order: partner`", record.inversions()),
            violation("payloads that are not the message's", record.wrong_payloads.clone()),
            violation("acknowledged without their payload", record.without_payload()),
            violation("negative MDNs without a `send.error`", record.unreported()),
            violation("MDNs that found no message", record.stray_mdns()),
            violation("false `mdn.overdue`", record.false_overdue()),
            violation("left unsettled", unsettled.into_values().chain(unknown).collect()),
        ];
        Self { figures: record.figures(), violations }
    }

    /// Adds what the logs say, which are long.
    pub(crate) fn read_logs(&mut self, site: &Site) {
        self.violations.push(Violation { what: "panics", cases: panics(site) });
    }

    /// Whether it is worth waiting: what is missing may still come.
    pub(crate) fn is_complete(&self) -> bool {
        let late = ["lost", "left unsettled", "negative MDNs without a `send.error`"];
        self.violations.iter().filter(|it| late.contains(&it.what)).all(|it| it.cases.is_empty())
    }
}

// === impl Record ===

impl Record {
    fn figures(&self) -> Vec<(&'static str, usize)> {
        let again = self.notices.values().filter(|it| it.taken > 1).count();
        let unknown = self.notices.iter().filter(|(notice, it)| {
            it.codes.contains(&1500) && self.acknowledged.contains_key(&notice.exchange)
        });
        vec![
            ("partners' messages acknowledged", self.acknowledged(Cargo::Inbound)),
            ("our own messages acknowledged", self.acknowledged(Cargo::Outbound)),
            ("asynchronous MDNs acknowledged", self.acknowledged(Cargo::Mdn)),
            ("attempts refused (5xx)", self.refused),
            ("attempts cut off", self.cut),
            ("notifications delivered", self.notices.values().filter(|it| it.taken > 0).count()),
            ("of these more than once", again),
            ("of these as outcome unknown, though acknowledged", unknown.count()),
            ("deliveries with a response 410", self.gone),
        ]
    }

    /// Exchanges that were acknowledged, or whose AS2 server got them whole, that a webhook was not notified
    /// of, and will not be.
    fn lost(&self, hooks: &[Hook], unsettled: &Unsettled) -> Vec<String> {
        let acknowledged: HashSet<_> = self.acknowledged.keys().copied().collect();
        let mut lost = Vec::new();
        for exchange in acknowledged.union(&self.whole) {
            let wanted: &[Hook] = match exchange.cargo() {
                Cargo::Inbound => &Hook::INBOUND,
                Cargo::Outbound | Cargo::Mdn => &[Hook::Outbound],
            };
            for hook in wanted.iter().filter(|hook| hooks.contains(hook)) {
                let notice = Notice { hook: *hook, exchange: *exchange };
                let deliveries = self.notices.get(&notice);
                let waits = (hook.name().to_owned(), exchange.message_id());
                if deliveries.is_none_or(|it| it.taken == 0) && !unsettled.contains_key(&waits) {
                    let tried = deliveries.map_or(0, |it| it.tried);
                    let at = self.at(*exchange);
                    lost.push(format!("{exchange} at {}, {tried} attempts; 2xx {at}", hook.name()));
                }
            }
        }
        lost.sort();
        lost
    }

    fn two_ids(&self) -> Vec<String> {
        let differing = self.notices.iter().filter_map(|(notice, it)| {
            let other = it.other_id.as_ref()?;
            Some(format!("{} at {}: {} and {other}", notice.exchange, notice.hook.name(), it.id))
        });
        differing.collect()
    }

    /// First deliveries of acknowledged messages that came behind one of a later message of the partner.
    fn inversions(&self) -> Vec<String> {
        let mut last = BTreeMap::new();
        let mut inversions = Vec::new();
        for taken in &self.ordered {
            if !self.acknowledged.contains_key(&taken.exchange) {
                continue;
            }
            let lane = (taken.exchange.sender, taken.verified);
            match last.get(&lane) {
                Some((number, before)) if *number > taken.exchange.number => {
                    let at = self.at(taken.exchange);
                    inversions.push(format!(
                        "{} ({}; 2xx {at}) came behind {before}",
                        taken.exchange, taken.how
                    ));
                }
                _ => {
                    let how = format!("{} ({})", taken.exchange, taken.how);
                    last.insert(lane, (taken.exchange.number, how));
                }
            }
        }
        inversions
    }

    /// With `refuse` a message whose payload cannot be kept is refused.
    fn without_payload(&self) -> Vec<String> {
        let without = self.notices.iter().filter(|(notice, it)| {
            notice.hook == Hook::Raw
                && it.codes.iter().any(|code| WITHOUT_PAYLOAD.contains(code))
                && self.acknowledged.contains_key(&notice.exchange)
        });
        let case = |exchange: Exchange, codes: &[u16]| {
            format!("{exchange}: codes {codes:?}; 2xx {}", self.at(exchange))
        };
        without.map(|(notice, it)| case(notice.exchange, &it.codes)).collect()
    }

    /// An MDN that was cut off is sent again, and matched then.
    fn stray_mdns(&self) -> Vec<String> {
        let stray = self.stray_mdns.iter();
        let stray = stray.filter(|(exchange, _)| self.acknowledged.contains_key(exchange));
        stray.map(|(exchange, case)| format!("{case}; 2xx {}", self.at(*exchange))).collect()
    }

    fn unreported(&self) -> Vec<String> {
        let of = |message: &Exchange| Exchange { attempt: 1, ..*message };
        let unreported =
            self.negative.iter().filter(|(message, _)| !self.failed.contains(&of(message)));
        unreported
            .map(|(message, mdn)| format!("{message}: MDN {mdn}, 2xx {}", self.at(*mdn)))
            .collect()
    }

    /// Reported though the MDN was acknowledged in time by every clock.
    fn false_overdue(&self) -> Vec<String> {
        let acknowledged = |message: &Exchange| {
            let same = |it: &&Exchange| it.sender == message.sender && it.number == message.number;
            self.acknowledged.keys().find(same).and_then(|it| self.acknowledged.get(it))
        };
        let mut cases = Vec::new();
        for (message, at) in &self.overdue {
            let mdn = Exchange::first(Cargo::Mdn, message.sender % 1000, message.number);
            let (sent, received) = (acknowledged(message), acknowledged(&mdn));
            if let (Some(sent), Some(received)) = (sent, received)
                && *received < *sent + MDN_DEADLINE - SKEW
            {
                cases.push(format!(
                    "{message}: sent {sent:.1?}, MDN {received:.1?}, reported {at:.1?}"
                ));
            }
        }
        cases
    }

    fn at(&self, exchange: Exchange) -> String {
        let at = self.acknowledged.get(&exchange);
        at.map_or_else(|| "never".to_owned(), |at| format!("at {:.1} s", at.as_secs_f64()))
    }
}

/// Deliveries that are not done: webhook, `Message-ID`, and what is known of them.
type Unsettled = BTreeMap<(String, String), String>;

fn unsettled(site: &Site) -> io::Result<Unsettled> {
    let at_work = site.fleet.at_work();
    let gateway = at_work.first().and_then(|number| site.fleet.all().nth(*number));
    let gateway = gateway.ok_or_else(|| io::Error::other("no gateway runs"))?;
    let mut unsettled = Unsettled::new();
    for state in UNSETTLED {
        let mut cursor = String::new();
        loop {
            let path = format!("/admin/deliveries?status={state}&limit=500{cursor}");
            let page = gateway.call("GET", &path, "")?;
            if page.status != 200 {
                return Err(io::Error::other(page.head.line));
            }
            let page = page.json();
            for delivery in page["data"].as_array().into_iter().flatten() {
                let text =
                    |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
                let (webhook, event) = (text(&delivery["webhook"]), &delivery["event"]);
                let message = text(&event["message_id"]);
                let (attempts, error) = (&delivery["attempts"], &delivery["last_error"]);
                let (id, at) = (&delivery["id"], &event["occurred_at"]);
                let case = format!(
                    "{state}: delivery {id} of {message} to {webhook}, {at}, attempts {attempts}, {error}"
                );
                unsettled.insert((webhook, message), case);
            }
            match page["next_cursor"].as_i64() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
    }
    Ok(unsettled)
}

fn panics(site: &Site) -> Vec<String> {
    let mut panics = Vec::new();
    for (number, gateway) in site.fleet.all().enumerate() {
        let log = gateway.log();
        let lines = log.lines().filter(|line| line.contains("panicked"));
        panics.extend(lines.map(|line| format!("gateway {number}: {line}")));
    }
    panics
}
