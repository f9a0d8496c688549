//! What a request is refused with: the status and the message, in Spanish or English. The words of
//! the contract (`docs/api.md`) are the same in both.

use as2hook_config::ApiLanguage;
use as2hook_store::StoreError;
use axum::{
    Json,
    extract::State,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

use crate::{gateway::ApiState, partner_events::event_names};

/// Why a request is refused. Displayed in English.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    #[error("Invalid token")]
    InvalidToken,
    /// After these seconds the client may try again.
    #[error("Too many bad tokens")]
    TooManyBadTokens(u64),
    #[error("Scope {0} requerido")]
    ScopeMissing(&'static str),
    #[error("Only the default site's admin may do this")]
    OtherSite,
    #[error("No such route")]
    NoRoute,
    #[error("Method not allowed")]
    Method,
    /// Of the console: without the session's token, or not readable.
    #[error("The form is not of this session")]
    Form,
    #[error("Socio no encontrado")]
    UnknownPartner,
    #[error("Webhook no activo")]
    Inactive,
    /// Or it is of another site than the token.
    #[error("Not found")]
    NotFound,
    #[error("The delivery is not over yet")]
    NotOver,
    #[error("The delivery is over; a replay makes it again")]
    Over,
    #[error("An attempt is under way; try again when it has ended")]
    UnderWay,
    #[error("The delivery is held; enable the webhook first")]
    Held,
    #[error("No rule has this webhook's name any more; replay the delivery to another webhook")]
    Orphaned,
    #[error(
        "Its bytes are not kept; the first attachment's are for raw deliveries, all with `keep: all`"
    )]
    NotKept,
    /// When they were removed, as the API shows it.
    #[error(
        "Its bytes are gone since {0}: they were kept for the time that `retention.payloads` says"
    )]
    Gone(String),
    #[error("Too many tests at once; try again later")]
    Busy,
    /// The log has the reason.
    #[error("The store does not answer; try again later")]
    Store,
    #[error("The Content-Type must be application/json")]
    NotJson,
    #[error("The body is larger than 64 KiB")]
    TooLarge,
    #[error("The body is not valid JSON")]
    Syntax,
    #[error("The body must be a JSON object")]
    NotAnObject,
    #[error("Campo requerido: socio_id")]
    PartnerMissing,
    #[error("Required field: {0}")]
    Missing(&'static str),
    #[error("{0} must be {english}", english = .1.english)]
    Type(&'static str, FieldType),
    /// The field, the minimum and the maximum.
    #[error("{0} must be from {1} to {2}")]
    Range(&'static str, u64, u64),
    #[error("{0} must have {1} characters at most")]
    TooLong(&'static str, usize),
    #[error("Unknown parameter: {0}")]
    Parameter(String),
    /// The field, and the valid values.
    #[error("{0} is not valid; it must be {1}")]
    Value(&'static str, &'static str),
    #[error("Unknown event: {0}; the events are {names}", names = event_names())]
    UnknownEvent(String),
    #[error("webhook_url must be a whole URL, such as https://example.com/webhook")]
    UrlForm,
    #[error("webhook_url must begin with http:// or https://")]
    UrlScheme,
    #[error("webhook_url may not hold a user or password")]
    UrlCredentials,
    #[error("webhook_url may not have a fragment (#…)")]
    UrlFragment,
    #[error("webhook_url may not point at a private or local network")]
    PrivateUrl,
    #[error("webhook_secret: what stands behind whsec_ must be base64")]
    BadSecret,
}

/// The required type of a field, in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldType {
    spanish: &'static str,
    english: &'static str,
}

/// Something was wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct Problem {
    /// Always `error`.
    #[schema(example = "error")]
    status: &'static str,
    /// What, for a person.
    #[schema(example = "Campo requerido: socio_id")]
    msg: String,
}

/// What every route with a token may respond.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the description")]
pub(crate) enum Denied {
    /// Invalid token
    #[response(status = 401)]
    Token(Problem),
    /// The token has not this scope
    #[response(status = 403)]
    Scope(Problem),
    /// Too many bad tokens from this address
    #[response(status = 429)]
    Throttled(Problem),
}

/// What every route with a token and a body may respond.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "for the description")]
pub(crate) enum BodyRefused {
    /// More than 64 KiB
    #[response(status = 413)]
    Size(Problem),
    /// Not JSON
    #[response(status = 415)]
    Type(Problem),
}

/// Adds the body to the response of an [`ApiError`], in the language of the config in force.
pub(crate) async fn in_words(State(state): State<ApiState>, mut response: Response) -> Response {
    let Some(error) = response.extensions_mut().remove::<ApiError>() else { return response };
    let msg = match state.gateway.config().api.language {
        ApiLanguage::Spanish => error.spanish(),
        ApiLanguage::English => error.to_string(),
    };
    let body = Json(Problem { status: "error", msg });
    let mut response = (response.status(), body).into_response();
    if let ApiError::TooManyBadTokens(seconds) = error {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

// === impl ApiError ===

impl ApiError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::TooManyBadTokens(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::ScopeMissing(_) | Self::OtherSite | Self::Form => StatusCode::FORBIDDEN,
            Self::NoRoute | Self::UnknownPartner | Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Inactive
            | Self::NotOver
            | Self::Over
            | Self::UnderWay
            | Self::Held
            | Self::Orphaned => StatusCode::CONFLICT,
            Self::NotKept | Self::Gone(_) => StatusCode::GONE,
            Self::Busy | Self::Store => StatusCode::SERVICE_UNAVAILABLE,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn spanish(&self) -> String {
        let text = match self {
            Self::NotFound => "No encontrado",
            Self::NotOver => "La entrega todavía está pendiente",
            Self::Over => "La entrega ha terminado; una repetición la hace otra vez",
            Self::UnderWay => "Hay un intento en curso; inténtelo cuando termine",
            Self::Held => "La entrega está retenida; active primero el webhook",
            Self::Orphaned => {
                "Ninguna regla tiene ya el nombre de este webhook; repita la entrega a otro"
            }
            Self::NotKept => {
                "Sus bytes no se conservan; los del primer adjunto, para entregas raw; todos, con `keep: all`"
            }
            Self::Busy => "Demasiadas pruebas a la vez; inténtelo más tarde",
            Self::Store => "El almacén no responde; inténtelo más tarde",
            Self::NotJson => "El Content-Type debe ser application/json",
            Self::TooLarge => "El cuerpo supera los 64 KiB",
            Self::Syntax => "El cuerpo no es JSON válido",
            Self::NotAnObject => "El cuerpo debe ser un objeto JSON",
            Self::Missing(field) => return format!("Campo requerido: {field}"),
            Self::Type(field, kind) => return format!("{field} debe ser {}", kind.spanish),
            Self::Range(field, least, most) => {
                return format!("{field} debe estar entre {least} y {most}");
            }
            Self::TooLong(field, most) => {
                return format!("{field} debe tener {most} caracteres como máximo");
            }
            Self::Parameter(name) => return format!("Parámetro desconocido: {name}"),
            Self::Value(field, valid) => {
                return format!("{field} no es válido; debe ser {valid}");
            }
            Self::UnknownEvent(name) => {
                return format!("Evento desconocido: {name}; los eventos son {}", event_names());
            }
            Self::UrlForm => {
                "webhook_url debe ser una URL completa, como https://ejemplo.com/webhook"
            }
            Self::UrlScheme => "webhook_url debe empezar por http:// o https://",
            Self::UrlCredentials => "webhook_url no puede llevar usuario ni contraseña",
            Self::UrlFragment => "webhook_url no puede llevar un fragmento (#…)",
            Self::PrivateUrl => "webhook_url no puede apuntar a una red privada o local",
            Self::BadSecret => "webhook_secret: lo que sigue a whsec_ debe ser base64",
            // Those of the contract, and those that do not depend on the language.
            _ => return self.to_string(),
        };
        text.to_owned()
    }
}

impl IntoResponse for ApiError {
    /// Without a body: see [`in_words`].
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for ApiError {
    /// The store's reasons are the operator's business, and are logged.
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "The store failed under the API.");
        Self::Store
    }
}

// === impl FieldType ===

impl FieldType {
    pub(crate) const INTEGER: Self = Self { spanish: "un número entero", english: "an integer" };
    pub(crate) const STRING: Self = Self { spanish: "un texto", english: "a string" };
    pub(crate) const BOOLEAN: Self = Self { spanish: "true o false", english: "true or false" };
    pub(crate) const STRINGS: Self =
        Self { spanish: "una lista de textos", english: "a list of strings" };
}
