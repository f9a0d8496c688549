//! Tests, and webhooks that are put back into service.

use axum::{
    extract::{Path, State},
    response::Response,
};

use super::{
    super::{
        components::things,
        session::{ActionForm, FlashNote},
        url::segment,
    },
    PATH,
};
use crate::{
    error::ApiError, gateway::ApiState, test_delivery::test_webhook, webhooks::enable_webhook,
};

pub(super) async fn test(
    State(api): State<ApiState>,
    Path(name): Path<String>,
    form: ActionForm,
) -> Result<Response, ApiError> {
    let session = &form.session;
    let here = format!("{PATH}/{}", segment(&name));
    let back = form.back(&here);
    match test_webhook(&api, &session.caller, &name).await {
        Err(ApiError::NotFound) => Err(ApiError::NotFound),
        Ok((_, made)) => {
            let code = made.http_code.map(|code| format!(" with {code}")).unwrap_or_default();
            let note = match made.failure {
                None => FlashNote::ok(format!("{name} took the test{code}.")),
                Some(failure) => FlashNote::bad(format!("{name} did not take the test: {failure}")),
            };
            Ok(session.redirect(&api, back, &note))
        }
        refused => Ok(session.done(&api, back, &refused, |_| String::new())),
    }
}

pub(super) async fn enable(
    State(api): State<ApiState>,
    Path(name): Path<String>,
    form: ActionForm,
) -> Result<Response, ApiError> {
    let enabled = enable_webhook(&api, &form.session.caller, &name).await;
    if enabled == Err(ApiError::NotFound) {
        return Err(ApiError::NotFound);
    }
    let here = format!("{PATH}/{}", segment(&name));
    let in_words = |resumed: &u64| {
        let held = things(*resumed, "held delivery goes", "held deliveries go");
        format!("{name} is enabled. {held} out now.")
    };
    Ok(form.session.done(&api, form.back(&here), &enabled, in_words))
}
