//! The frame of every page: navigation, who is signed in, colours, the note of the action before, the zone.

use as2hook_config::StoreFailurePolicy;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    assets,
    components::{count_to_most, csrf},
    error_sentence,
    session::{Session, Theme},
    standing::Standing,
};
use crate::{caller::scope_name, error::ApiError, gateway::ApiState};

/// The pages of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NavItem {
    Overview,
    Exchanges,
    Deliveries,
    Webhooks,
    Partners,
    Certificates,
    Configuration,
    /// A page that is none of them, such as one of an error.
    None,
}

/// Returns a whole page: `title` for the browser, `main` for what stands in `main`, which begins with [`head`].
pub(crate) async fn page(
    api: &ApiState,
    session: &Session,
    at: NavItem,
    title: &str,
    main: &Markup,
) -> Markup {
    let standing = Standing::read(api, &session.caller).await;
    page_with(api, session, at, title, &standing, main)
}

/// Returns a whole page like [`page`], where it is known already how things stand.
pub(crate) fn page_with(
    api: &ApiState,
    session: &Session,
    at: NavItem,
    title: &str,
    standing: &Standing,
    main: &Markup,
) -> Markup {
    let content = html! {
        a.skip href="#main" { "Skip to the content" }
        div.side {
            header.bar {
                a.brand href="/console/" { (LOGO) "as2hook" }
                span.site { "Site " (session.caller.site()) }
                button.btn type="button" popovertarget="nav" { "Menu" }
            }
            nav #nav.nav popover aria-label="Console" {
                ul {
                    @for item in NavItem::ALL {
                        li { (link(item, at, standing)) }
                    }
                }
                (who(api, session, standing))
            }
        }
        main #main {
            @if let Some(note) = &session.note {
                div class={ "note " (note.tone.class()) } role="status" { p { b { (note.text) } } }
            }
            (main)
            p.sub.zone { "Times are in " span data-zone="" { "UTC" } "." }
        }
    };
    document(title, session.theme, &content)
}

/// The head of a page: where it is, its conclusion as the heading, and a sentence below, which may be empty.
pub(crate) fn head(eyebrow: &Markup, heading: &str, below: &Markup) -> Markup {
    html! {
        div.head {
            div {
                p.eyebrow { (eyebrow) }
                h1 { (heading) }
                @if !below.0.is_empty() { p.sub { (below) } }
            }
        }
    }
}

/// Returns a page without a session: a heading and what helps.
pub(super) fn bare_page(title: &str, heading: &str, help: &str) -> Markup {
    let panel = html! { header { h1 { (heading) } } div.body { p { (help) } } };
    door(title, None, &html! { section.panel { (panel) } })
}

/// Returns a page that leads to itself once more.
pub(super) fn again(path: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content={ "0;url=" (path) };
                title { "as2hook" }
            }
            body { p { a href=(path) { "Go on to the console" } } }
        }
    }
}

/// Returns the page of an error.
pub(super) async fn error_page(
    api: &ApiState,
    session: Option<&Session>,
    error: &ApiError,
) -> Markup {
    let (heading, help) = match error {
        ApiError::NotFound | ApiError::NoRoute | ApiError::UnknownPartner => (
            "There is no such page",
            "What it showed may be older than what is kept, or belong to another site than your token.",
        ),
        ApiError::ScopeMissing(_) => {
            ("Your token may not do this", "Sign in with a token that has the scope.")
        }
        ApiError::Store => {
            ("The store does not respond", store_help(api.gateway.config().on_store_failure))
        }
        ApiError::Form => (
            "This form is no longer valid",
            "Nothing was done. Go back, load the page again, and press the button once more.",
        ),
        _ => ("This did not work", "Go back, and try it once more."),
    };
    let sentence = error_sentence(error);
    let Some(session) = session else {
        return bare_page(heading, heading, &format!("{sentence} {help}"));
    };
    let main = html! {
        (head(&html! { a href="/console/" { "Overview" } }, heading, &html! { (sentence) " " (help) }))
    };
    page(api, session, NavItem::None, heading, &main).await
}

/// Returns what becomes of traffic while the store fails, and what helps.
const fn store_help(policy: StoreFailurePolicy) -> &'static str {
    match policy {
        StoreFailurePolicy::Pass => {
            "Traffic goes on. Load the page again in a moment; the gateway's log has the reason."
        }
        StoreFailurePolicy::Refuse => {
            "Messages that cannot be stored are refused, so that they are sent again. Load the page again in a moment; \
             the gateway's log has the reason."
        }
    }
}

/// Returns a page that is a door: narrow, without navigation.
pub(super) fn door(title: &str, theme: Option<Theme>, content: &Markup) -> Markup {
    let main = html! { main #main.door { p.brand { (LOGO) "as2hook" } (content) } };
    document(title, theme, &main)
}

const LOGO: PreEscaped<&str> = PreEscaped(
    r#"<svg viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2.4" stroke-linecap="round" aria-hidden="true"><path d="M2 7h9a5 5 0 0 1 5 5v3.5a3.5 3.5 0 0 1-7 0"/><circle cx="19.5" cy="7" r="1.6" fill="currentColor" stroke="none"/></svg>"#,
);

fn document(title: &str, theme: Option<Theme>, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" class=[theme.map(Theme::name)] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · as2hook" }
                link rel="icon" href=(assets::icon());
                link rel="stylesheet" href=(assets::style());
                script defer src=(assets::script()) {}
            }
            body { (content) }
        }
    }
}

fn link(item: NavItem, at: NavItem, standing: &Standing) -> Markup {
    let current = (item == at).then_some("page");
    html! {
        a href=(item.path()) aria-current=[current] {
            (item.name())
            @if let Some((tone, n)) = standing.tally(item) {
                span class={ "tally " (tone.class()) } {
                    (count_to_most(n))
                    span.vh { @if n == 1 { " needs attention" } @else { " need attention" } }
                }
            }
        }
    }
}

fn who(api: &ApiState, session: &Session, standing: &Standing) -> Markup {
    let figures = api.gateway.figures();
    let scopes: Vec<_> = session.caller.scopes().iter().map(|scope| scope_name(*scope)).collect();
    let themes = [("light", "light"), ("dark", "dark"), ("system", "as the system")];
    let chosen = session.theme.map_or("system", Theme::name);
    html! {
        div.who {
            p {
                @if session.caller.is_of_default_site() { "Gateway " b { (figures.host) } } @else { "The gateway" }
                @if standing.is_ready { " serves." } @else { " should get no traffic." }
                br;
                "Version " (env!("CARGO_PKG_VERSION")) ", configuration\u{a0}" (figures.generation)
            }
            p { "Signed in with token " b { (session.caller.token_name()) } " (" (scopes.join(", ")) ")" }
            form method="post" action="/console/signout" { (csrf(session)) button.btn { "Sign out" } }
            form method="post" action="/console/theme" {
                (csrf(session))
                input type="hidden" name="back" value=(session.path);
                "Colours: "
                @for (n, (value, text)) in themes.into_iter().enumerate() {
                    @if n > 0 { ", " }
                    button.plain name="theme" value=(value) aria-pressed=(value == chosen) { (text) }
                }
            }
        }
    }
}

// === impl NavItem ===

impl NavItem {
    const ALL: [Self; 7] = [
        Self::Overview,
        Self::Exchanges,
        Self::Deliveries,
        Self::Webhooks,
        Self::Partners,
        Self::Certificates,
        Self::Configuration,
    ];

    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Overview | Self::None => "/console/",
            Self::Exchanges => "/console/exchanges",
            Self::Deliveries => "/console/deliveries",
            Self::Webhooks => "/console/webhooks",
            Self::Partners => "/console/partners",
            Self::Certificates => "/console/certificates",
            Self::Configuration => "/console/config",
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Overview | Self::None => "Overview",
            Self::Exchanges => "Exchanges",
            Self::Deliveries => "Deliveries",
            Self::Webhooks => "Webhooks",
            Self::Partners => "Partners",
            Self::Certificates => "Certificates",
            Self::Configuration => "Configuration",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_error_says_what_becomes_of_traffic() {
        assert!(store_help(StoreFailurePolicy::Pass).starts_with("Traffic goes on."));
        assert!(store_help(StoreFailurePolicy::Refuse).contains("are refused"));
    }
}
