//! The parts that pages are made of: the classes of `console.css`, each as a function.

use as2hook_config::TokenScope;
use maud::{Markup, PreEscaped, html};

use super::session::Session;
use crate::caller::scope_name;

/// A state: a colour and a shape, which a word always stands beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Received, delivered, healthy, in force.
    Ok,
    /// Pending, awaited, ends soon: it resolves itself, or can wait.
    Wait,
    /// Dead, failing, refused: a person must act.
    Bad,
    /// Held, disabled: paused, nothing lost.
    Held,
    /// Duplicate, orphaned, cancelled, not reached, no match.
    Off,
}

impl Tone {
    pub(crate) const fn class(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Wait => "wait",
            Self::Bad => "bad",
            Self::Held => "held",
            Self::Off => "off",
        }
    }
}

/// A state as a word on its colour.
pub(crate) fn chip(tone: Tone, text: &str) -> Markup {
    html! { span class={ "chip " (tone.class()) } { (text) } }
}

/// A state as a word within a line.
pub(crate) fn mark(tone: Tone, text: &str) -> Markup {
    html! { span class={ "mark " (tone.class()) } { (text) } }
}

/// A panel with a heading, and a remark beside it, which may be empty.
pub(crate) fn panel(heading: &str, remark: &Markup, content: &Markup) -> Markup {
    html! {
        section.panel {
            header { h2 { (heading) } @if !remark.0.is_empty() { p { (remark) } } }
            (content)
        }
    }
}

/// Why something is as it is, and what helps.
pub(crate) fn note(tone: Tone, heading: &str, content: &Markup) -> Markup {
    html! { section class={ "note " (tone.class()) } { h3 { (heading) } (content) } }
}

/// What needs a person: the problem, what reassures, what can be done. Stands within `ul.todo`.
pub(crate) fn todo(tone: Tone, problem: &Markup, reassurance: &Markup, actions: &Markup) -> Markup {
    html! {
        li class=(tone.class()) {
            div { h3 { (problem) } p { (reassurance) } }
            div.acts { (actions) }
        }
    }
}

/// One stop of the route of a message.
pub(crate) struct RouteStop<'a> {
    pub(crate) tone: Tone,
    pub(crate) name: &'a str,
    pub(crate) text: String,
}

/// The route of a message: partner, gateway, AS2 server, webhooks. `live`: the stream's name for it.
pub(crate) fn route(heading: &str, stops: &[RouteStop<'_>], live: Option<&str>) -> Markup {
    html! {
        section.panel {
            h2.vh { (heading) }
            ol.route data-live=[live] {
                @for stop in stops {
                    li class=(stop.tone.class()) { b { (stop.name) } span { (stop.text) } }
                }
            }
        }
    }
}

/// One step of a time line, within `ol.steps`. `offset`: from the first step, such as `+ 4 ms`.
pub(crate) fn step(tone: Tone, heading: &str, offset: &Markup, content: &Markup) -> Markup {
    html! {
        li class=(tone.class()) { h3 { span { (heading) } small { (offset) } } (content) }
    }
}

/// Names and values; those without a value are left out.
pub(crate) fn facts(facts: &[(&str, Option<Markup>)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                @if let Some(value) = value { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// A figure: what it is of, its value, a remark. Stands within `dl.tiles`.
pub(crate) fn tile(tone: Option<Tone>, of: &str, value: &str, remark: &str) -> Markup {
    html! {
        div {
            dt { (of) }
            @match tone {
                Some(tone) => dd class={ "c " (tone.class()) } { (value) },
                None => dd { (value) },
            }
            dd { (remark) }
        }
    }
}

/// A button.
#[derive(Clone, Copy)]
pub(crate) struct Button<'a> {
    class: &'static str,
    text: &'a str,
}

impl<'a> Button<'a> {
    /// A button like any other.
    pub(crate) const fn plain(text: &'a str) -> Self {
        Self { class: "btn", text }
    }

    /// The most likely one; one in a block.
    pub(crate) const fn primary(text: &'a str) -> Self {
        Self { class: "btn primary", text }
    }

    /// One whose work is not undone by another.
    pub(crate) const fn danger(text: &'a str) -> Self {
        Self { class: "btn danger", text }
    }
}

/// A form of one button that acts, with these hidden fields.
pub(crate) fn action(
    session: &Session,
    path: &str,
    fields: &[(&str, &str)],
    button: Button<'_>,
) -> Markup {
    html! {
        form method="post" action=(path) {
            (csrf(session))
            @for (name, value) in fields { input type="hidden" name=(name) value=(value); }
            button class=(button.class) { (button.text) }
        }
    }
}

/// A button with its consequence below it.
pub(crate) fn act(button: &Markup, consequence: &str) -> Markup {
    html! { div.act { (button) small { (consequence) } } }
}

/// What each form that acts carries.
pub(crate) fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf()); }
}

/// What stands in place of buttons where the token has not their scope: "Retrying needs scope admin."
pub(crate) fn needs(doing: &str, scope: TokenScope) -> Markup {
    html! { p.sub { (doing) " needs scope " b { (scope_name(scope)) } "." } }
}

/// A button that asks once more before it acts. `id` is unique on the page; `action` is the [`action`] itself.
pub(crate) fn ask(
    id: &str,
    opener: &str,
    question: &str,
    consequence: &str,
    action: &Markup,
    keep: &str,
) -> Markup {
    let heading = format!("{id}-h");
    html! {
        button.btn.danger type="button" popovertarget=(id) { (opener) " …" }
        div.ask id=(id) popover role="dialog" aria-labelledby=(heading) {
            h2 id=(heading) { (question) }
            p { (consequence) }
            div.acts {
                (action)
                button.btn type="button" popovertarget=(id) popovertargetaction="hide" { (keep) }
            }
        }
    }
}

/// A choice of a form, with the one that is chosen now; an empty value is "Any".
pub(crate) fn select<'a>(
    label: &str,
    name: &str,
    chosen: &str,
    values: impl IntoIterator<Item = &'a str>,
) -> Markup {
    let choices = values.into_iter().map(|value| (value, value.to_owned()));
    select_of(label, name, chosen, choices)
}

/// The same, of values that each have words of their own.
pub(crate) fn select_of<'a>(
    label: &str,
    name: &str,
    chosen: &str,
    choices: impl IntoIterator<Item = (&'a str, String)>,
) -> Markup {
    let choices: Vec<_> = choices.into_iter().collect();
    let is_other = !chosen.is_empty() && choices.iter().all(|(value, _)| *value != chosen);
    html! {
        div {
            label for=(name) { (label) }
            select id=(name) name=(name) {
                option value="" selected[chosen.is_empty()] { "Any" }
                @for (value, words) in choices {
                    option value=(value) selected[value == chosen] { (words) }
                }
                @if is_other { option selected { (chosen) } }
            }
        }
    }
}

/// Twelve or so bars, each of what succeeded and what failed in a while. Says in words what it shows.
pub(crate) fn spark(bars: &[(u64, u64)]) -> Markup {
    let most = bars.iter().map(|(ok, failed)| ok + failed).max().unwrap_or(0).max(1);
    let (all, failed) = bars.iter().fold((0, 0), |sum, bar| (sum.0 + bar.0 + bar.1, sum.1 + bar.1));
    let mut rects = String::new();
    let width = 100.0 / f64::from(u32::try_from(bars.len().max(1)).unwrap_or(1));
    for ((ok, failed), n) in bars.iter().zip(0_u32..) {
        let height = 1.0 + 17.0 * share(ok + failed, most);
        let class = if *failed > 0 { " class=\"x\"" } else { "" };
        let (x, y) = (f64::from(n) * width, 20.0 - height);
        let wide = width * 0.72;
        rects.push_str(&format!(
            "<rect{class} x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide:.1}\" height=\"{height:.1}\"/>"
        ));
    }
    html! {
        svg.spark viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true" { (PreEscaped(rects)) }
        span.vh { (count(all)) " attempts, " (count(failed)) " failed" }
    }
}

/// Returns how much of `most` a number is, from 0 to 1.
pub(crate) fn share(n: u64, most: u64) -> f64 {
    let float = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    if most == 0 { 0.0 } else { (float(n) / float(most)).min(1.0) }
}

/// A number as people write it, such as 1,204.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Up to which number things are counted exactly.
pub(crate) const COUNTED: u64 = 10_000;

/// A number of things that are counted to 10,000 alone.
pub(crate) fn count_to_most(n: u64) -> String {
    if n > COUNTED { format!("{}+", count(COUNTED)) } else { count(n) }
}

/// A number of things, such as "1 delivery" and "28 deliveries".
pub(crate) fn things(n: u64, one: &str, many: &str) -> String {
    format!("{} {}", count_to_most(n), if n == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_counted_to_ten_thousand() {
        for (n, text) in
            [(0, "0"), (999, "999"), (1_204, "1,204"), (10_000, "10,000"), (1_234_567, "1,234,567")]
        {
            assert_eq!(count(n), text);
        }
        assert_eq!(things(1, "delivery", "deliveries"), "1 delivery");
        assert_eq!(things(10_000, "delivery", "deliveries"), "10,000 deliveries");
        assert_eq!(things(10_001, "delivery", "deliveries"), "10,000+ deliveries");
    }

    #[test]
    fn text_of_a_partner_is_escaped_in_each_component() {
        let hostile = "<script>alert(1)</script>\"'";
        for markup in [
            chip(Tone::Ok, hostile),
            panel(hostile, &html! {}, &html! {}),
            facts(&[(hostile, Some(html! { (hostile) }))]),
            route(
                hostile,
                &[RouteStop { tone: Tone::Ok, name: hostile, text: hostile.to_owned() }],
                None,
            ),
            select(hostile, hostile, hostile, [hostile]),
            tile(None, hostile, hostile, hostile),
        ] {
            assert!(!markup.0.contains("<script") && !markup.0.contains("\"'"), "{}", markup.0);
        }
    }
}
