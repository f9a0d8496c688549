//! The webhooks of the run and the rules that make them.

use as2hook_testing::{gateway::Rule, load::Server};

/// No step is longer than the run bears, and there are enough of them that nothing dies of them.
const RETRY: &str = "[100ms, 500ms, 1s, 2s";
const STEPS: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Hook {
    /// `order: partner`.
    Ordered,
    /// Payloads.
    Raw,
    /// Responds with 410 at its old URL now and then, until the rules have the new one.
    Moving,
    /// Changes its URL without need.
    Plain,
    /// What happens to our own messages.
    Outbound,
}

/// How often each URL has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) moving: usize,
    pub(crate) plain: usize,
}

// === impl Hook ===

impl Hook {
    pub(crate) const ALL: [Self; 5] =
        [Self::Ordered, Self::Raw, Self::Moving, Self::Plain, Self::Outbound];

    /// Those that are notified of each message that partners send.
    pub(crate) const INBOUND: [Self; 4] = [Self::Ordered, Self::Raw, Self::Moving, Self::Plain];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Raw => "raw",
            Self::Moving => "moving",
            Self::Plain => "plain",
            Self::Outbound => "outbound",
        }
    }

    /// The webhook and the version of a request's target.
    pub(crate) fn of(target: &str) -> Option<(Self, usize)> {
        let mut words = target.split('/').skip(1);
        let name = words.next()?;
        let hook = Self::ALL.into_iter().find(|hook| hook.name() == name)?;
        Some((hook, words.next()?.parse().ok()?))
    }

    fn rule(self, sink: &Server, versions: Versions) -> Rule {
        let version = match self {
            Self::Moving => versions.moving,
            Self::Plain => versions.plain,
            Self::Ordered | Self::Raw | Self::Outbound => 0,
        };
        let rule = Rule::new(self.name())
            .url(sink.url(&format!("/{}/{version}", self.name())))
            .always()
            .set("concurrency", "4")
            .set("retry", &format!("{RETRY}{}]", ", 5s".repeat(STEPS)));
        let inbound = &["message.received", "message.duplicate"];
        match self {
            Self::Ordered => rule.events(inbound).payload("json").set("order", "partner"),
            Self::Raw => rule.events(inbound).payload("raw"),
            Self::Moving => rule.events(inbound).payload("headers"),
            Self::Plain => rule.events(inbound).payload("json"),
            Self::Outbound => rule
                .events(&["message.sent", "send.error", "mdn.received", "mdn.overdue"])
                .payload("json"),
        }
    }
}

/// The rules of these webhooks as they are to be now.
pub(crate) fn rules(hooks: &[Hook], sink: &Server, versions: Versions) -> Vec<Rule> {
    hooks.iter().map(|hook| hook.rule(sink, versions)).collect()
}
