//! The session: a sealed cookie that holds the digest of a token. The token is looked up again at each request, so
//! that the session ends with it, and no server keeps anything: gateways that share a secret key share sessions.

use as2hook_config::TokenScope;
use as2hook_store::{clock, secret_key::SecretKey};
use axum::{
    extract::{Form, FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, Method, Uri, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use openssl::{error::ErrorStack, memcmp, rand::rand_bytes};

use super::{components::Tone, layout, url};
use crate::{caller::Caller, error::ApiError, gateway::ApiState};

/// A signed-in browser, at one request.
#[derive(Clone)]
pub(crate) struct Session {
    /// Whose token it is; the functions of the API take it.
    pub(crate) caller: Caller,
    /// Colours, if one was chosen.
    pub(crate) theme: Option<Theme>,
    /// What the action before this page came to.
    pub(crate) note: Option<FlashNote>,
    /// The path and query of this request.
    pub(crate) path: String,
    /// Stands in each form: another site's page cannot know it.
    csrf: String,
    /// When it ends, in milliseconds since 1970.
    until: i64,
    is_secure: bool,
}

/// What an action came to, shown once on the page after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlashNote {
    pub(crate) tone: Tone,
    pub(crate) text: String,
}

/// The colours that a person chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Theme {
    Light,
    Dark,
}

/// The fields of a form that a page of this session sent.
pub(crate) struct ActionForm {
    pub(crate) session: Session,
    fields: Vec<(String, String)>,
}

/// How long a session lasts at most.
const LIFETIME_MS: i64 = 12 * 60 * 60 * 1000;

/// How long a note waits for its page, in seconds.
const NOTE_SECONDS: u32 = 60;

/// What a cookie keeps of a note at most, in characters.
const NOTE_CHARS: usize = 600;

const SESSION: &str = "as2hook_session";
const NOTE: &str = "as2hook_note";
const THEME: &str = "as2hook_theme";

// === impl Session ===

impl Session {
    /// Returns the session of a request, if it has one whose token is still in the config.
    pub(super) fn find(api: &ApiState, headers: &HeaderMap, uri: &Uri) -> Option<Self> {
        let key = api.gateway.key();
        let sealed = BASE64.decode(cookie(headers, SESSION)?).ok()?;
        let text = key.unseal_text(SESSION, &sealed).ok()?;
        let (until, rest) = text.split_once(' ')?;
        let (csrf, digest) = rest.split_once(' ')?;
        let until = until.parse().ok().filter(|until| *until > clock::now())?;
        let digest = BASE64.decode(digest).ok()?;
        let path = uri.path_and_query().map_or("/console/", |path| path.as_str()).to_owned();
        Some(Self {
            caller: Caller::with_digest(api.gateway.config(), &digest)?,
            theme: cookie(headers, THEME).and_then(Theme::named),
            note: cookie(headers, NOTE).and_then(|note| FlashNote::open(key, csrf, note)),
            path,
            csrf: csrf.to_owned(),
            until,
            is_secure: is_secure(headers),
        })
    }

    /// Returns the cookie of a new session of this caller.
    pub(super) fn begin(
        key: &SecretKey,
        caller: &Caller,
        headers: &HeaderMap,
    ) -> Result<HeaderValue, ApiError> {
        let mut csrf = [0; 16];
        let sealed = rand_bytes(&mut csrf).and_then(|()| {
            let until = clock::now() + LIFETIME_MS;
            let text =
                format!("{until} {} {}", BASE64.encode(csrf), BASE64.encode(caller.digest()));
            key.seal_text(SESSION, &text)
        });
        let sealed = sealed.map_err(|error| not_sealed(&error))?;
        Ok(set_cookie(SESSION, &BASE64.encode(sealed), None, is_secure(headers)))
    }

    /// Returns the cookie that ends the session in its browser.
    pub(super) fn end(&self) -> HeaderValue {
        set_cookie(SESSION, "", Some(0), self.is_secure)
    }

    /// Returns the cookie that keeps the chosen colours.
    pub(super) fn choose(&self, theme: Option<Theme>) -> HeaderValue {
        let year = if theme.is_some() { 365 * 24 * 60 * 60 } else { 0 };
        set_cookie(THEME, theme.map_or("", Theme::name), Some(year), self.is_secure)
    }

    /// Returns the cookie that removes a note which was shown.
    pub(super) fn note_is_read(&self) -> HeaderValue {
        set_cookie(NOTE, "", Some(0), self.is_secure)
    }

    /// Whether it still holds: a stream asks while it lasts.
    pub(super) fn is_valid(&self, api: &ApiState) -> bool {
        let caller = Caller::with_digest(api.gateway.config(), self.caller.digest());
        let is_same = |now: Caller| now.may(TokenScope::Read) && now.site() == self.caller.site();
        self.until > clock::now() && caller.is_some_and(is_same)
    }

    /// Whether its token has this scope: where it has not, a page shows [`super::components::needs`] in place of
    /// buttons.
    pub(crate) fn may(&self, scope: TokenScope) -> bool {
        self.caller.may(scope)
    }

    /// Returns what its forms carry as `csrf`.
    pub(super) fn csrf(&self) -> &str {
        &self.csrf
    }

    /// Goes to a page after an action, which shows once what came of it.
    pub(crate) fn redirect(&self, api: &ApiState, to: &str, note: &FlashNote) -> Response {
        let mut response = Redirect::to(to).into_response();
        match note.seal(api.gateway.key(), &self.csrf) {
            Ok(sealed) => {
                let cookie = set_cookie(NOTE, &sealed, Some(NOTE_SECONDS), self.is_secure);
                response.headers_mut().append(header::SET_COOKIE, cookie);
            }
            // The action is done, and stands in the list of actions.
            Err(error) => tracing::error!(%error, "A note of the console was not sealed."),
        }
        response
    }

    /// Goes to a page after an action of the API: with these words if it succeeded, or with the API's.
    pub(crate) fn done<T>(
        &self,
        api: &ApiState,
        to: &str,
        result: &Result<T, ApiError>,
        in_words: impl FnOnce(&T) -> String,
    ) -> Response {
        let note = match result {
            Ok(done) => FlashNote::ok(in_words(done)),
            Err(error) => FlashNote::bad(super::error_sentence(error)),
        };
        self.redirect(api, to, &note)
    }
}

impl FromRequestParts<ApiState> for Session {
    type Rejection = Response;

    /// Without a session: to the page that asks for a token, and back from there. A browser sends no cookie when
    /// a link of another site leads here, but does so when this page leads to itself.
    async fn from_request_parts(parts: &mut Parts, _: &ApiState) -> Result<Self, Response> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
            let from = parts.headers.get("sec-fetch-site");
            if from.is_some_and(|site| site == "cross-site") && parts.method == Method::GET {
                return layout::again(path).into_response();
            }
            let is_page = parts.method == Method::GET && path != "/console/";
            let next: &[_] = if is_page { &[("next", path)] } else { &[] };
            Redirect::to(&url::with_query("/console/signin", next)).into_response()
        })
    }
}

// === impl ActionForm ===

impl ActionForm {
    /// Returns the first field of this name; empty when there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(of, _)| of == name).map_or("", |(_, value)| value)
    }

    /// Returns every field of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// Returns all fields but those of these names.
    pub(crate) fn but(&self, names: &[&str]) -> impl Iterator<Item = (String, String)> {
        self.fields.iter().filter(|(of, _)| !names.contains(&of.as_str())).cloned()
    }

    /// Returns the page of the console to go back to, as the form's field `back` names it.
    pub(crate) fn back<'a>(&'a self, otherwise: &'a str) -> &'a str {
        let back = self.field("back");
        if url::is_own_path(back) { back } else { otherwise }
    }
}

impl FromRequest<ApiState> for ActionForm {
    type Rejection = Response;

    async fn from_request(request: Request, api: &ApiState) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let session = Session::from_request_parts(&mut parts, api).await?;
        let request = Request::from_parts(parts, body);
        let form = Form::<Vec<(String, String)>>::from_request(request, api).await;
        let Form(fields) = form.map_err(|_| ApiError::Form.into_response())?;
        let form = Self { session, fields };
        let (sent, own) = (form.field("csrf").as_bytes(), form.session.csrf.as_bytes());
        if sent.len() != own.len() || !memcmp::eq(sent, own) {
            return Err(ApiError::Form.into_response());
        }
        Ok(form)
    }
}

// === impl FlashNote ===

impl FlashNote {
    /// The action succeeded.
    pub(crate) fn ok(text: impl Into<String>) -> Self {
        Self { tone: Tone::Ok, text: text.into() }
    }

    /// It was refused or failed.
    pub(crate) fn bad(text: impl Into<String>) -> Self {
        Self { tone: Tone::Bad, text: text.into() }
    }

    /// Sealed for one session: no other may put words into a page.
    fn seal(&self, key: &SecretKey, csrf: &str) -> Result<String, ErrorStack> {
        let mark = if self.tone == Tone::Ok { '+' } else { '-' };
        let text: String = self.text.chars().take(NOTE_CHARS).collect();
        let sealed = key.seal_text(&format!("{NOTE} {csrf}"), &format!("{mark}{text}"))?;
        Ok(BASE64.encode(sealed))
    }

    fn open(key: &SecretKey, csrf: &str, sealed: &str) -> Option<Self> {
        let sealed = BASE64.decode(sealed).ok()?;
        let text = key.unseal_text(&format!("{NOTE} {csrf}"), &sealed).ok()?;
        match text.strip_prefix('+') {
            Some(text) => Some(Self::ok(text)),
            None => text.strip_prefix('-').map(Self::bad),
        }
    }
}

// === impl Theme ===

impl Theme {
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "light" => Some(Self::Light),
            "dark" => Some(Self::Dark),
            _ => None,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

pub(super) fn theme_of(headers: &HeaderMap) -> Option<Theme> {
    cookie(headers, THEME).and_then(Theme::named)
}

fn not_sealed(error: &ErrorStack) -> ApiError {
    tracing::error!(%error, "A session of the console was not sealed.");
    ApiError::Store
}

/// Whether the browser's side of the connection is TLS, as the proxy in front of the admin listener says.
fn is_secure(headers: &HeaderMap) -> bool {
    let proto = headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        fields.flat_map(|field| field.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(of, _)| of.trim() == name).map(|(_, value)| value.trim())
}

fn set_cookie(name: &str, value: &str, max_age: Option<u32>, is_secure: bool) -> HeaderValue {
    let age = max_age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    let secure = if is_secure { "; Secure" } else { "" };
    let cookie = format!("{name}={value}; Path=/console; HttpOnly; SameSite=Strict{age}{secure}");
    HeaderValue::from_str(&cookie).expect("names, base64 and numbers are legal")
}
