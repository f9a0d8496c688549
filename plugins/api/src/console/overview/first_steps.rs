//! What to do first, while nothing has passed yet.

use maud::{Markup, html};

use super::figures;
use crate::{
    console::{layout::head, session::Session, standing::Standing},
    gateway::ApiState,
};

/// A step, and whether it is done.
struct FirstStep {
    is_done: bool,
    heading: &'static str,
    text: Markup,
}

pub(super) fn page(api: &ApiState, session: &Session, standing: &Standing) -> Markup {
    let steps = steps(api, session, standing);
    let done = steps.iter().filter(|step| step.is_done).count();
    html! {
        (head(
            &html! { "Overview" },
            "The gateway runs. Nothing has passed yet.",
            &html! { "A few steps to the first webhook; the page ticks them off as they happen." },
        ))
        section.panel { h2.vh { "The way of a message, now" } (figures::route_list(api, &session.caller, standing)) }
        div.cols.side-right {
            section.panel {
                header { h2 { "What to do first" } p { (done) " of " (steps.len()) " done" } }
                ol.starts {
                    @for (n, step) in steps.iter().enumerate() {
                        li {
                            @if step.is_done {
                                span.n.ok aria-hidden="true" { "✓" }
                            } @else {
                                span.n.off aria-hidden="true" { (n + 1) }
                            }
                            div {
                                h3 { (step.heading) @if step.is_done { span.vh { ", done" } } }
                                (step.text)
                            }
                        }
                    }
                }
            }
            div.stack {
                section.panel {
                    header { h2 { "Exchanges, as they come" } }
                    div.body data-first-row="" {
                        p.sub { "The first message appears here within seconds of its arrival." }
                        noscript { p.sub { "Load the page again to see it." } }
                    }
                }
            }
        }
    }
}

fn steps(api: &ApiState, session: &Session, standing: &Standing) -> [FirstStep; 4] {
    let config = session.caller.config();
    let inbound = config.listen.inbound.address;
    [
        FirstStep {
            is_done: api.gateway.figures().receiver_failure.is_none(),
            heading: "The AS2 server can be reached",
            text: match api.gateway.figures().receiver_failure {
                None => html! { p { "No attempt to reach it has failed. Nothing to do." } },
                Some(failure) if session.caller.is_of_default_site() => html! {
                    p { (failure) }
                    p { "Start it, or correct " code { "receiver" } " in as2hook.yaml." }
                },
                Some(_) => {
                    html! { p { "The last attempt failed. Ask the people of the gateway." } }
                }
            },
        },
        FirstStep {
            is_done: !standing.webhooks.is_empty(),
            heading: "Add a webhook",
            text: html! {
                p {
                    "Write one rule into " code { "conf/webhooks.yaml" }
                    ". It counts as soon as you save it; " a href="/console/config" { "Configuration" }
                    " shows mistakes."
                }
                pre.copy tabindex="0" {
                    "webhooks:\n  - name: first\n    url: \"http://127.0.0.1:9000/\"\n    payload: json"
                }
                p { "No endpoint yet? This one prints what it gets:" }
                pre.copy tabindex="0" { "as2hook listen --port 9000" }
            },
        },
        FirstStep {
            is_done: !config.stations.is_empty(),
            heading: "Name your key, so that messages can be opened",
            text: html! {
                p {
                    "Without it you still get headers, but not what is inside. Write " code { "stations" }
                    " into as2hook.yaml; the file explains each line."
                }
            },
        },
        FirstStep {
            is_done: false,
            heading: "Send partners’ traffic through the gateway",
            text: html! {
                p {
                    "Let port " (inbound.port()) " take the place of your AS2 server’s. Partners change nothing. "
                    "Try it with one message of a test partner first."
                }
            },
        },
    ]
}
