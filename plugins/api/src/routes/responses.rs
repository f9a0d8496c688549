//! Responses in the form of `docs/api.md`.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::bodies::Problem;
use crate::{
    control::Refusal,
    messages::{Language, Wrong},
};

/// `{"status":"error","msg":…}`.
pub(super) fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(Problem { status: "error", msg: message.to_owned() })).into_response()
}

/// The response to a refused request.
pub(super) fn refused(language: Language, refusal: &Refusal) -> Response {
    let status = match refusal {
        Refusal::UnknownPartner | Refusal::Unknown => StatusCode::NOT_FOUND,
        Refusal::Inactive | Refusal::NotOver => StatusCode::CONFLICT,
        Refusal::UrlMissing | Refusal::PrivateUrl | Refusal::BadSecret => StatusCode::BAD_REQUEST,
        Refusal::Wrong(wrong) => return mistaken(language, wrong),
        Refusal::Busy | Refusal::Store => StatusCode::SERVICE_UNAVAILABLE,
    };
    problem(status, &language.refusal(refusal))
}

/// The response to a mistake in the request.
pub(super) fn mistaken(language: Language, wrong: &Wrong) -> Response {
    let status = match wrong {
        Wrong::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Wrong::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::BAD_REQUEST,
    };
    problem(status, &language.wrong(wrong))
}
