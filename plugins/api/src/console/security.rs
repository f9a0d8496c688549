//! What guards every response below `/console`: the `Host` of its request, the origin of a form, and headers
//! that forbid scripts and styles of others.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri,
        header::{self, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, RETRY_AFTER, SET_COOKIE},
    },
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{layout, session::Session};
use crate::{error::ApiError, gateway::ApiState};

/// Nothing but the console's own files, no inline code, no frames.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Beside the policy. A referrer within the console makes browsers send `Origin` with forms.
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
];

/// Refuses requests of other sites, finds the session of the rest, turns errors into pages, and adds the
/// headers.
pub(super) async fn guard(
    State(api): State<ApiState>,
    mut request: Request,
    next: Next,
) -> Response {
    let hosts = &api.gateway.config().api.hosts;
    let refusal = if !is_own_host(request.headers(), request.uri(), hosts) {
        Some(layout::bare_page("Refused", "This console is not reached by this name", HOST_HELP))
    } else if request.method() == Method::POST && !is_own_origin(request.headers()) {
        Some(layout::bare_page("Refused", "This form comes from another site", ORIGIN_HELP))
    } else {
        None
    };
    if let Some(page) = refusal {
        return with_headers((StatusCode::FORBIDDEN, page).into_response());
    }
    let mut session = Session::find(&api, request.headers(), request.uri());
    let is_page = request.method() == Method::GET;
    if let Some(session) = &session {
        request.extensions_mut().insert(session.clone());
    }
    let mut response = next.run(request).await;
    if let Some(session) = session.as_mut().filter(|_| !is_page) {
        // The colours' form of an error's page leads back there, and an action has no page.
        "/console/".clone_into(&mut session.path);
    }
    if let Some(error) = response.extensions_mut().remove::<ApiError>() {
        response = error_page(&api, session.as_ref(), &error).await;
    } else if is_rejection(&response) {
        let (status, error) =
            (response.status(), if is_page { ApiError::NoRoute } else { ApiError::Form });
        response = error_page(&api, session.as_ref(), &error).await;
        *response.status_mut() = status;
    }
    if let Some(session) = session.filter(|session| session.note.is_some())
        && is_html(&response)
    {
        response.headers_mut().append(SET_COOKIE, session.note_is_read());
    }
    with_headers(response)
}

const HOST_HELP: &str = "Open it by an IP address or as localhost, or add the name to api.hosts in as2hook.yaml. \
    Other names are refused, since a page of another site could make its own name point here.";

const ORIGIN_HELP: &str = "Nothing was done. Open the console itself, and press the button there.";

async fn error_page(api: &ApiState, session: Option<&Session>, error: &ApiError) -> Response {
    let page = layout::error_page(api, session, error).await;
    let mut response = (error.status(), page).into_response();
    if let ApiError::TooManyBadTokens(seconds) = error {
        response.headers_mut().insert(RETRY_AFTER, (*seconds).into());
    }
    response
}

fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn is_html(response: &Response) -> bool {
    is_of_type(response, "text/html")
}

/// Whether axum could not read a query or a form, which it says as plain text.
fn is_rejection(response: &Response) -> bool {
    response.status().is_client_error() && is_of_type(response, "text/plain")
}

fn is_of_type(response: &Response, kind: &str) -> bool {
    let value = response.headers().get(CONTENT_TYPE);
    value.is_some_and(|value| value.as_bytes().starts_with(kind.as_bytes()))
}

/// Whether a request is meant for this gateway: an attacker's page can make its own name resolve to this
/// address (DNS rebinding), but cannot make the browser name another.
fn is_own_host(headers: &HeaderMap, uri: &Uri, hosts: &[String]) -> bool {
    let mut named = headers.get_all(HOST).iter();
    let (Some(host), None) = (named.next(), named.next()) else { return false };
    let Some(host) = host.to_str().ok().and_then(without_port) else { return false };
    is_admitted(host, hosts) && uri.host().is_none_or(|host| is_admitted(host, hosts))
}

fn without_port(authority: &str) -> Option<&str> {
    let (host, port) = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => {
            (&authority[..colon], &authority[colon + 1..])
        }
        _ => (authority, ""),
    };
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(host)
}

fn is_admitted(host: &str, hosts: &[String]) -> bool {
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    literal.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|name| host.eq_ignore_ascii_case(name))
}

/// Whether a form was sent by a page of the console, as far as the browser says. Where there is a session,
/// its token in the form is checked besides.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    if text(HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site != "same-origin") {
        return false;
    }
    let Some(origin) = text(ORIGIN) else { return true };
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some() && authority == text(HOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn host_that_is_no_address_and_not_in_the_config_is_refused() {
        let hosts = ["as2.example".to_owned()];
        let is_own = |host| is_own_host(&headers(&[(HOST, host)]), &Uri::from_static("/"), &hosts);
        for own in [
            "127.0.0.1",
            "127.0.0.1:8081",
            "[::1]:8081",
            "[::1]",
            "localhost:1",
            "LOCALHOST",
            "AS2.example:8081",
        ] {
            assert!(is_own(own), "{own}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "as2.example.evil",
            "as2.example@evil",
            "127.0.0.1:80:80",
            "localhost:x",
            "a.localhost",
            "0x7f000001",
        ] {
            assert!(!is_own(other), "{other}");
        }
        assert!(!is_own_host(&HeaderMap::new(), &Uri::from_static("/"), &hosts));
        let two = headers(&[(HOST, "localhost"), (HOST, "evil.example")]);
        assert!(!is_own_host(&two, &Uri::from_static("/"), &hosts));
        let absolute = Uri::from_static("http://evil.example/console/");
        assert!(!is_own_host(&headers(&[(HOST, "localhost")]), &absolute, &hosts));
    }

    #[test]
    fn form_of_another_origin_is_refused() {
        let site = HeaderName::from_static("sec-fetch-site");
        let host = (HOST, "localhost:8081");
        assert!(is_own_origin(&headers(std::slice::from_ref(&host))));
        assert!(is_own_origin(&headers(&[host.clone(), (ORIGIN, "http://localhost:8081")])));
        assert!(is_own_origin(&headers(&[host.clone(), (site.clone(), "same-origin")])));
        for other in
            ["http://evil.example", "http://localhost:8082", "null", "http://localhost:8081.evil"]
        {
            assert!(!is_own_origin(&headers(&[host.clone(), (ORIGIN, other)])), "{other}");
        }
        for other in ["cross-site", "same-site", "none"] {
            assert!(!is_own_origin(&headers(&[host.clone(), (site.clone(), other)])), "{other}");
        }
    }

    #[test]
    fn policy_allows_no_inline_code() {
        assert!(!POLICY.contains("unsafe") && POLICY.starts_with("default-src 'none'"), "{POLICY}");
    }
}
