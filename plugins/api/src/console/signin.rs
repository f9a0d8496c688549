//! Signing in with a token of the API, signing out, and the choice of colours.

use std::{net::SocketAddr, time::Instant};

use axum::{
    Router,
    extract::{ConnectInfo, Form, Query, State},
    http::{
        HeaderMap, StatusCode,
        header::{RETRY_AFTER, SET_COOKIE},
    },
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use maud::{Markup, html};
use openssl::sha::sha256;
use serde::Deserialize;

use super::{
    layout::door,
    session::{ActionForm, Session, Theme, theme_of},
    url,
};
use crate::{caller::Caller, error::ApiError, gateway::ApiState};

/// Where to go once signed in.
#[derive(Deserialize)]
struct NextPage {
    #[serde(default)]
    next: String,
}

/// What the page asks for.
#[derive(Deserialize)]
struct Credentials {
    #[serde(default)]
    token: String,
    #[serde(default)]
    next: String,
}

pub(super) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/console/signin", get(page).post(sign_in))
        .route("/console/signout", post(sign_out))
        .route("/console/theme", post(choose_theme))
}

async fn page(
    State(api): State<ApiState>,
    headers: HeaderMap,
    Query(NextPage { next }): Query<NextPage>,
) -> Markup {
    form(&api, &headers, &next, None)
}

async fn sign_in(
    State(api): State<ApiState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(credentials): Form<Credentials>,
) -> Result<Response, ApiError> {
    let Credentials { token, next } = credentials;
    let digest = sha256(token.trim().as_bytes());
    if let Some(caller) = Caller::with_digest(api.gateway.config(), &digest) {
        let cookie = Session::begin(api.gateway.key(), &caller, &headers)?;
        let to = if url::is_own_path(&next) { &next } else { "/console/" };
        tracing::info!(token = caller.token_name(), site = caller.site(), %peer, "Console sign-in.");
        return Ok(([(SET_COOKIE, cookie)], Redirect::to(to)).into_response());
    }
    match api.throttle.bad_token(peer.ip(), Instant::now()) {
        Ok(delay) => {
            tokio::time::sleep(delay).await;
            let why = html! {
                b { "This token is not known here." }
                " Check that it was copied whole. After ten wrong tokens, each further try takes longer."
            };
            let page = form(&api, &headers, &next, Some(&why));
            Ok((StatusCode::UNAUTHORIZED, page).into_response())
        }
        Err(seconds) => {
            let why = html! {
                b { "Too many wrong tokens came from your address." }
                " Try again in " (seconds) " s."
            };
            let page = form(&api, &headers, &next, Some(&why));
            Ok((StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, seconds.to_string())], page)
                .into_response())
        }
    }
}

async fn sign_out(form: ActionForm) -> Response {
    ([(SET_COOKIE, form.session.end())], Redirect::to("/console/signin")).into_response()
}

async fn choose_theme(form: ActionForm) -> Response {
    let cookie = form.session.choose(Theme::named(form.field("theme")));
    ([(SET_COOKIE, cookie)], Redirect::to(form.back("/console/"))).into_response()
}

fn form(api: &ApiState, headers: &HeaderMap, next: &str, why: Option<&Markup>) -> Markup {
    let (invalid, described) = (why.map(|_| "true"), why.map(|_| "err"));
    let has_tokens = !api.gateway.config().api.tokens.is_empty();
    let content = html! {
        section.panel {
            header { h1 { "Sign in to the console" } }
            div.body {
                form.stack method="post" action="/console/signin" {
                    @if let Some(why) = why { div #err.note.bad role="alert" { p { (why) } } }
                    @if !has_tokens {
                        div.note.wait { p { b { "No token is configured yet." } " The steps below make the first one." } }
                    }
                    @if url::is_own_path(next) { input type="hidden" name="next" value=(next); }
                    input name="username" value="as2hook" autocomplete="username" hidden;
                    div {
                        label for="token" { "API token" }
                        input #token name="token" type="password" autocomplete="current-password" required autofocus
                            aria-invalid=[invalid] aria-describedby=[described];
                    }
                    button.btn.primary { "Sign in" }
                }
                p.sub {
                    "The console shows and allows what the token does: " b { "read" } " to look, "
                    b { "admin" } " to test, retry, cancel, enable and reload."
                }
                details open[!has_tokens] {
                    summary { "How to make a token" }
                    p.sub {
                        "On the gateway’s machine. Put the digest into " code { "api.tokens" }
                        " of as2hook.yaml; it counts at once."
                    }
                    pre.copy tabindex="0" {
                        "token=$(openssl rand -hex 32)\necho \"$token\"\nprintf %s \"$token\" | as2hook hash-token"
                    }
                }
            }
        }
        p.sub {
            "as2hook " (env!("CARGO_PKG_VERSION"))
            ". Your session ends when you sign out, after 12 hours, or when the token is removed."
        }
    };
    door("Sign in", theme_of(headers), &content)
}
