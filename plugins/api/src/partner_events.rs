//! The events that a partner's webhook can subscribe to, and their names.

use as2hook_event::EventKind;
use utoipa::ToSchema;

/// The events that a partner's webhook can subscribe to, in the order of `docs/api.md`, each with its
/// Spanish name.
const EVENTS: [(EventKind, &str); 4] = [
    (EventKind::MessageReceived, "mensaje.recibido"),
    (EventKind::MessageSent, "mensaje.enviado"),
    (EventKind::MdnReceived, "mdn.recibido"),
    (EventKind::SendError, "envio.error"),
];

/// Returns the API's `event_name` of an event.
pub(crate) fn spanish_name(event: EventKind) -> &'static str {
    let known = EVENTS.into_iter().find(|(kind, _)| *kind == event);
    known.map_or(event.as_str(), |(_, spanish)| spanish)
}

/// Returns the event of this name, in either language.
pub(crate) fn partner_event(name: &str) -> Option<EventKind> {
    let known =
        EVENTS.into_iter().find(|(kind, spanish)| name == kind.as_str() || name == *spanish);
    known.map(|(kind, _)| kind)
}

/// Returns the names of the events for a message.
pub(crate) fn event_names() -> String {
    EVENTS.map(|(kind, _)| kind.as_str()).join(", ")
}

/// An event that a partner's webhook can subscribe to.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description; see EVENTS")]
pub(crate) enum EventName {
    #[schema(rename = "message.received")]
    MessageReceived,
    #[schema(rename = "message.sent")]
    MessageSent,
    #[schema(rename = "mdn.received")]
    MdnReceived,
    #[schema(rename = "send.error")]
    SendError,
    #[schema(rename = "mensaje.recibido")]
    MensajeRecibido,
    #[schema(rename = "mensaje.enviado")]
    MensajeEnviado,
    #[schema(rename = "mdn.recibido")]
    MdnRecibido,
    #[schema(rename = "envio.error")]
    EnvioError,
}
