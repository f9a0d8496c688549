//! The day's chart: exchanges by quarters of an hour.

use as2hook_store::clock;
use maud::{Markup, PreEscaped, html};

use crate::{
    activity::{ExchangeCounts, QUARTER_MS},
    console::{
        components::{count, panel, share},
        session::Session,
        times::{time, time_of_day},
    },
    gateway::ApiState,
};

const HEIGHT: f64 = 100.0;
/// The width of a bar with its gap.
const STEP: u32 = 10;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

pub(super) fn day(api: &ApiState, session: &Session) -> Markup {
    let activity = api.gateway.activity();
    let quarters = activity.last_day(session.caller.site());
    let mut all = ExchangeCounts::default();
    for quarter in &quarters {
        all.add(*quarter);
    }
    let now = clock::now();
    let since = activity.complete_since();
    let is_part = since > now - DAY_MS + QUARTER_MS;
    let remark = html! {
        @if is_part { "Counted since " (time(since)) } @else { "Bars of 15 minutes" }
    };
    let first = (now.div_euclid(QUARTER_MS) + 1) * QUARTER_MS - DAY_MS;
    let figure = html! {
        figure.chart {
            figcaption {
                (key("f-in", "Received", all.received))
                (key("f-out", "Sent", all.sent))
                (key("f-bad", "Failed", all.failed))
            }
            (bars(&quarters))
            div.axis aria-hidden="true" {
                @for part in 0..4 { span { (time_of_day(first + DAY_MS / 4 * part)) } }
                span { "Now" }
            }
        }
    };
    panel("Exchanges, last 24 hours", &remark, &figure)
}

fn key(class: &str, name: &str, n: u64) -> Markup {
    html! {
        span.key {
            svg viewBox="0 0 10 10" aria-hidden="true" { rect class=(class) width="10" height="10" rx="2" {} }
            (name) " " (count(n))
        }
    }
}

fn bars(quarters: &[ExchangeCounts]) -> Markup {
    let most = quarters.iter().map(|quarter| quarter.all()).max().unwrap_or(0).max(1);
    let failing = quarters.iter().filter(|quarter| quarter.failed > 0).count();
    let label = format!(
        "Exchanges for each quarter of an hour of the last day. The highest has {}; {failing} have failures.",
        count(if quarters.iter().all(|quarter| quarter.all() == 0) { 0 } else { most })
    );
    let width = STEP * u32::try_from(quarters.len()).unwrap_or(96);
    let mut shapes = String::new();
    for y in [0.5, 25.0, 50.0, 75.0] {
        shapes.push_str(&format!(
            "<line class=\"f-line\" x1=\"0\" x2=\"{width}\" y1=\"{y}\" y2=\"{y}\"/>"
        ));
    }
    for (quarter, n) in quarters.iter().zip(0_u32..) {
        let mut top = HEIGHT;
        let parts =
            [("f-in", quarter.received), ("f-out", quarter.sent), ("f-bad", quarter.failed)];
        for (class, n_of) in parts.into_iter().filter(|(_, n_of)| *n_of > 0) {
            // One failure among thousands is seen all the same.
            let height = ((HEIGHT - 4.0) * share(n_of, most)).max(2.0).min(top);
            top -= height;
            let x = n * STEP + 1;
            shapes.push_str(&format!(
                "<rect class=\"{class}\" x=\"{x}\" y=\"{top:.1}\" width=\"8\" height=\"{height:.1}\"/>"
            ));
        }
    }
    html! {
        svg viewBox={ "0 0 " (width) " 100" } preserveAspectRatio="none" role="img" aria-label=(label) {
            (PreEscaped(shapes))
        }
    }
}
