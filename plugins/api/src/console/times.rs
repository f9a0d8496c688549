//! Times: in UTC from the server; the script shows them in the viewer's zone.

use as2hook_store::clock;
use jiff::{Timestamp, civil, tz::TimeZone};
use maud::{Markup, html};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// A time, in milliseconds since 1970: of today as 02:14:06, of this week as Wed 23:41:55, else as 12 Nov 09:02.
pub(crate) fn time(ms: i64) -> Markup {
    time_at(ms, clock::now())
}

/// A time that is not always there.
pub(crate) fn time_if(ms: Option<i64>) -> Markup {
    match ms {
        Some(ms) => time(ms),
        None => html! { "–" },
    }
}

/// The hour and minute of a time.
pub(crate) fn time_of_day(ms: i64) -> Markup {
    let Some(at) = utc(ms) else { return html! { "–" } };
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) data-form="clock" { (at.strftime("%H:%M")) } }
}

/// How long ago a time is, or until it comes, such as "19 min" and "3 days".
pub(crate) fn span(ms: i64) -> String {
    let seconds = ms.unsigned_abs() / 1000;
    let some = |n: u64, one: &str, many: &str| format!("{n} {}", if n == 1 { one } else { many });
    match seconds {
        0..120 => some(seconds, "s", "s"),
        120..7200 => some(seconds / 60, "min", "min"),
        7200..172_800 => some(seconds / 3600, "hour", "hours"),
        _ => some(seconds / 86_400, "day", "days"),
    }
}

/// The same, with parts of a second where it is shorter than ten: "12 ms", "2.3 s".
pub(crate) fn short_span(ms: i64) -> String {
    match ms.unsigned_abs() {
        ms @ 0..1000 => format!("{ms} ms"),
        ms @ 1000..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => span(ms),
    }
}

fn time_at(ms: i64, now: i64) -> Markup {
    let (Some(at), Some(today)) = (utc(ms), utc(now)) else { return html! { "–" } };
    let form = if at.date() == today.date() {
        "%H:%M:%S"
    } else if now - ms < 6 * DAY_MS && ms <= now {
        "%a %H:%M:%S"
    } else if at.year() == today.year() {
        "%-d %b %H:%M"
    } else {
        "%-d %b %Y"
    };
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (at.strftime(form)) } }
}

fn utc(ms: i64) -> Option<civil::DateTime> {
    Some(Timestamp::from_millisecond(ms).ok()?.to_zoned(TimeZone::UTC).datetime())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn time_is_as_exact_as_its_age_needs() {
        let now = ms("2026-11-19T02:14:30Z");
        for (at, text) in [
            ("2026-11-19T02:14:06Z", ">02:14:06<"),
            ("2026-11-18T23:41:55Z", ">Wed 23:41:55<"),
            ("2026-11-03T09:02:00Z", ">3 Nov 09:02<"),
            ("2025-11-12T09:02:00Z", ">12 Nov 2025<"),
            ("2026-11-22T09:02:00Z", ">22 Nov 09:02<"),
        ] {
            let markup = time_at(ms(at), now).0;
            assert!(markup.contains(text) && markup.contains(at), "{markup}");
        }
        assert_eq!(time_at(i64::MAX, now).0, "–");
    }

    #[test]
    fn span_is_said_in_its_largest_unit() {
        for (seconds, text) in
            [(45, "45 s"), (180, "3 min"), (7_200, "2 hours"), (260_000, "3 days")]
        {
            assert_eq!(span(-seconds * 1000), text);
        }
        assert_eq!(
            [short_span(225), short_span(2_340), short_span(45_000)],
            ["225 ms", "2.3 s", "45 s"]
        );
    }
}
