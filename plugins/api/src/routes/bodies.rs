//! Bodies of requests and responses. Responses are made of these types. Requests are read field by
//! field, and these types describe their fields.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    admin::{DeliveryView, EventView, WebhookView},
    control::Mistake,
    partner::{LogEntry, PartnerWebhookView},
};

/// Something was wrong.
#[derive(Serialize, ToSchema)]
pub(super) struct Problem {
    /// Always `error`.
    #[schema(example = "error")]
    pub(super) status: &'static str,
    /// What, for a person.
    #[schema(example = "Campo requerido: socio_id")]
    pub(super) msg: String,
}

/// Which partner.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
pub(super) struct PartnerRequest {
    /// The partner's number; `socio_id` is an older name of it.
    #[schema(minimum = 1, example = 123)]
    partner_id: u64,
}

/// A partner's webhook; what is not sent stays as it is.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
pub(super) struct ConfigureRequest {
    /// The partner's number; `socio_id` is an older name of it.
    #[schema(minimum = 1, example = 123)]
    partner_id: u64,
    /// http or https, without user and password, on the public internet or in `api.allow_networks`.
    /// Needed the first time.
    #[schema(required = false, max_length = 2048, example = "https://myapp.com/webhook/as2")]
    webhook_url: String,
    /// Signs deliveries; empty takes it away.
    #[schema(required = false, max_length = 1024, example = "my_secret")]
    webhook_secret: String,
    /// `webhook_activo` is an older name of it. The first time: true.
    #[schema(required = false, example = true)]
    webhook_enabled: bool,
    /// `webhook_eventos` is an older name of it. Empty: `message.received`.
    #[schema(required = false, example = json!(["message.received", "mdn.received"]))]
    webhook_events: Vec<EventName>,
}

/// An event that a partner's webhook can subscribe to.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description; names are read by PartnerEvent")]
pub(super) enum EventName {
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

/// Which part of a partner's log.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
pub(super) struct LogsRequest {
    /// The partner's number; `socio_id` is an older name of it.
    #[schema(minimum = 1, example = 123)]
    partner_id: u64,
    /// Rows at most.
    #[schema(required = false, minimum = 1, maximum = 500, default = 50)]
    limit: u64,
    /// Rows skipped.
    #[schema(required = false, minimum = 0, default = 0)]
    offset: i64,
}

/// Which deliveries are made again; one field at least.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "for the description; each field is read by itself")]
pub(super) struct ReplayRequest {
    /// The event's kind.
    #[schema(required = false)]
    event: String,
    /// AS2 id of the remote side.
    #[schema(required = false)]
    partner: String,
    /// AS2 id of our side.
    #[schema(required = false)]
    station: String,
    /// The webhook's name.
    #[schema(required = false)]
    webhook: String,
    /// Where the delivery stands.
    #[schema(required = false, example = "dead")]
    status: String,
    /// The AS2 Message-ID.
    #[schema(required = false)]
    message_id: String,
    /// When the event happened at the earliest, RFC 3339.
    #[schema(required = false)]
    from: String,
    /// When the event happened, before this, RFC 3339.
    #[schema(required = false)]
    until: String,
    /// Another webhook that receives the events instead.
    #[schema(required = false)]
    to: String,
}

/// The webhook is configured.
#[derive(Serialize, ToSchema)]
pub(super) struct Configured {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    #[schema(example = "Webhook configured")]
    pub(super) msg: &'static str,
}

/// A partner's webhook.
#[derive(Serialize, ToSchema)]
pub(super) struct Shown {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    pub(super) data: PartnerWebhookView,
}

/// The endpoint took the test.
#[derive(Serialize, ToSchema)]
pub(super) struct TestPassed {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    #[schema(example = 200)]
    pub(super) http_code: Option<u16>,
    #[schema(example = "mensaje.recibido")]
    pub(super) requested_event_name: &'static str,
    #[schema(example = "mensaje.recibido")]
    pub(super) event_name: &'static str,
    #[schema(example = "message.received")]
    pub(super) event: &'static str,
}

/// The endpoint did not take the test.
#[derive(Serialize, ToSchema)]
pub(super) struct TestFailed {
    #[schema(example = "error")]
    pub(super) status: &'static str,
    pub(super) http_code: Option<u16>,
    pub(super) msg: String,
}

/// A partner's log.
#[derive(Serialize, ToSchema)]
pub(super) struct Logged {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    /// How many rows there are in all.
    pub(super) total: u64,
    /// Newest first.
    pub(super) data: Vec<LogEntry>,
}

/// The files are in force.
#[derive(Serialize, ToSchema)]
pub(super) struct ReloadDone {
    #[schema(example = "ok")]
    pub(super) status: &'static str,
    pub(super) generation: u64,
    pub(super) added: Vec<String>,
    pub(super) changed: Vec<String>,
    pub(super) removed: Vec<String>,
}

/// What was in force stays.
#[derive(Serialize, ToSchema)]
pub(super) struct ReloadRefused {
    #[schema(example = "error")]
    pub(super) status: &'static str,
    pub(super) errors: Vec<Mistake>,
}

/// The webhooks of the token's site.
#[derive(Serialize, ToSchema)]
pub(super) struct WebhookList {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    pub(super) data: Vec<WebhookView>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub(super) struct EventList {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    pub(super) data: Vec<EventView>,
    /// `cursor` of the next page.
    pub(super) next_cursor: Option<i64>,
}

/// A page of deliveries.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryList {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    pub(super) data: Vec<DeliveryView>,
    /// `cursor` of the next page.
    pub(super) next_cursor: Option<i64>,
}

/// The webhook is in service.
#[derive(Serialize, ToSchema)]
pub(super) struct Resumed {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    /// Held deliveries that go on.
    pub(super) resumed: u64,
}

/// Deliveries are due again.
#[derive(Serialize, ToSchema)]
pub(super) struct Replayed {
    #[schema(example = "success")]
    pub(super) status: &'static str,
    /// How many.
    pub(super) replayed: u64,
}
