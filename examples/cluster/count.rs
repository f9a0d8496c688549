//! What came out: every message that the AS2 server got whole has to be told, under one webhook-id.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use as2hook_testing::Endpoint;

use crate::traffic::Answers;

/// The closing count.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// Messages that the AS2 server got to their end, or that the partner holds a 2xx for.
    pub(crate) whole: usize,
    /// Of those, told.
    pub(crate) told: usize,
    /// Of those, never told.
    pub(crate) lost: usize,
    /// Told more than once.
    pub(crate) repeated: usize,
    /// Told under more than one webhook-id.
    pub(crate) differing: usize,
}

impl Count {
    /// Waits until all are told, as long as it is bearable.
    pub(crate) fn wait(
        receiver: &Endpoint,
        sink: &Endpoint,
        answers: &Answers,
        patience: Duration,
    ) -> Self {
        let deadline = Instant::now() + patience;
        loop {
            let count = Self::now(receiver, sink, answers);
            if count.lost == 0 || Instant::now() > deadline {
                return count;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn now(receiver: &Endpoint, sink: &Endpoint, answers: &Answers) -> Self {
        let got = receiver.requests();
        let mut whole: BTreeSet<_> = got
            .iter()
            .filter(|got| got.complete)
            .filter_map(|got| got.header("Message-ID"))
            .collect();
        whole.extend(answers.ok.iter().map(String::as_str));
        let deliveries = sink.requests();
        let mut told = BTreeMap::<_, (BTreeSet<_>, usize)>::new();
        for delivery in deliveries.iter().filter(|delivery| delivery.complete) {
            let Some(message) = delivery.header("Message-ID") else { continue };
            let (ids, times) = told.entry(message).or_default();
            ids.extend(delivery.header("webhook-id"));
            *times += 1;
        }
        let lost = whole.iter().filter(|message| !told.contains_key(*message)).count();
        Self {
            whole: whole.len(),
            told: whole.len() - lost,
            lost,
            repeated: told.values().filter(|(_, times)| *times > 1).count(),
            differing: told.values().filter(|(ids, _)| ids.len() != 1).count(),
        }
    }
}
