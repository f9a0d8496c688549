//! [`Sink`]: a destination of notifications.

use std::{
    any::Any, collections::BTreeMap, io, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use as2hook_event::Endpoint;
use as2hook_format::Fields;
use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::time::Instant;

use crate::{BodyError, Client, RequestBody};

/// A destination of notifications. Each call makes one attempt; calls run concurrently. Retries,
/// order, rate and health are not its business. `examples/own_sink` is a program with one.
#[async_trait]
pub trait Sink: Send + Sync + 'static {
    /// The keys of `sink:` in a rule.
    type Settings: Send + Sync + 'static;

    /// Makes one attempt, and ends by the deadline; a second after it the attempt is dropped. It may be
    /// dropped at any await, and must not block its thread. The same `webhook-id` may come twice.
    ///
    /// # Errors
    /// When the destination did not take the notification.
    async fn send(
        &self,
        settings: &Self::Settings,
        notification: Notification,
        deadline: Instant,
    ) -> Result<Delivered, SinkError>;
}

/// A rendered notification, without a signature.
#[derive(Debug)]
pub struct Notification {
    /// The headers, as `docs/webhooks.md` has them.
    pub headers: Fields,
    /// The body.
    pub body: RequestBody,
}

/// The destination took the notification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The HTTP status, where there is one.
    pub http_code: Option<u16>,
}

/// Why a destination did not take a notification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    message: String,
    kind: SinkErrorKind,
    http_code: Option<u16>,
    retry_after: Option<Duration>,
}

/// What a failed attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkErrorKind {
    /// Another attempt may succeed.
    Failed,
    /// The destination refuses this notification for its content; `order_patience` is about these.
    /// Stored as status 422 if it has none: `order_patience` finds former refusals in the delivery log
    /// by a status of [`is_refusal`](crate::is_refusal), whatever their kind was.
    Refused,
    /// The destination is gone for good: its webhook is disabled.
    Gone,
    /// The fault is on this side, and says nothing about the destination. Another attempt may
    /// succeed.
    Local,
    /// No other attempt can succeed.
    Impossible,
}

/// The sinks that rules may choose. Clones share them.
#[derive(Clone, Default)]
pub struct Sinks(BTreeMap<&'static str, Arc<dyn AnySink>>);

/// A [`Sink`] that takes its settings from an endpoint.
#[async_trait]
trait AnySink: Send + Sync {
    async fn send_to(
        &self,
        endpoint: &Endpoint,
        notification: Notification,
        deadline: Instant,
    ) -> Result<Delivered, SinkError>;
}

// === impl SinkError ===

impl SinkError {
    /// Creates an error without an HTTP status. The message is a sentence for the delivery log.
    pub fn new(kind: SinkErrorKind, message: impl Into<String>) -> Self {
        Self { message: message.into(), kind, http_code: None, retry_after: None }
    }

    /// Adds the HTTP status of the response.
    #[must_use]
    pub fn with_http_code(self, http_code: u16) -> Self {
        Self { http_code: Some(http_code), ..self }
    }

    /// Adds the wait that the destination asks for.
    #[must_use]
    pub fn with_retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Returns what it means for the delivery and its webhook.
    pub fn kind(&self) -> SinkErrorKind {
        self.kind
    }

    /// Returns the HTTP status to store: the one of the response, or 422 for a refusal without one.
    pub fn http_code(&self) -> Option<u16> {
        self.http_code.or((self.kind == SinkErrorKind::Refused).then_some(422))
    }

    /// Returns the wait that the destination asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl From<BodyError> for SinkError {
    fn from(error: BodyError) -> Self {
        Self::new(SinkErrorKind::Local, error.to_string())
    }
}

/// An error of the destination: those of a [`RequestBody`] are [`BodyError`]s.
impl From<io::Error> for SinkError {
    fn from(error: io::Error) -> Self {
        Self::new(SinkErrorKind::Failed, error.to_string())
    }
}

// === impl Sinks ===

impl Sinks {
    /// The name of the sink of rules that choose none. Its settings are the endpoint.
    pub const DEFAULT: &str = "http";

    /// Adds a sink, or replaces the one of this name.
    pub fn insert(&mut self, name: &'static str, sink: Arc<impl Sink>) {
        self.0.insert(name, sink);
    }

    /// Makes one attempt with the sink of this endpoint.
    ///
    /// # Errors
    /// See [`Sink::send`]. The attempt fails a second after its deadline, whatever the sink does,
    /// and when the sink panics.
    pub async fn send(
        &self,
        endpoint: &Endpoint,
        notification: Notification,
        deadline: Instant,
    ) -> Result<Delivered, SinkError> {
        /// A sink that keeps the deadline has the better error.
        const GRACE: Duration = Duration::from_secs(1);
        let name = endpoint.sink.as_ref().map_or(Self::DEFAULT, |choice| choice.name);
        let Some(sink) = self.0.get(name) else {
            let message = format!("the sink \"{name}\" is not registered");
            return Err(SinkError::new(SinkErrorKind::Local, message));
        };
        let sent = AssertUnwindSafe(sink.send_to(endpoint, notification, deadline)).catch_unwind();
        let failed = |what| {
            let message = format!("the sink \"{name}\" {what}");
            Err(SinkError::new(SinkErrorKind::Failed, message))
        };
        match tokio::time::timeout_at(deadline + GRACE, sent).await {
            Ok(sent) => sent.unwrap_or_else(|_| failed("panicked")),
            Err(_) => failed("did not end in time"),
        }
    }
}

impl From<Arc<Client>> for Sinks {
    /// The built-in sink alone.
    fn from(client: Arc<Client>) -> Self {
        let mut sinks = Self::default();
        sinks.insert(Self::DEFAULT, client);
        sinks
    }
}

#[async_trait]
impl<S: Sink> AnySink for S {
    async fn send_to(
        &self,
        endpoint: &Endpoint,
        notification: Notification,
        deadline: Instant,
    ) -> Result<Delivered, SinkError> {
        let settings: &(dyn Any + Send + Sync) = match &endpoint.sink {
            Some(choice) => &*choice.settings,
            None => endpoint,
        };
        match settings.downcast_ref() {
            Some(settings) => self.send(settings, notification, deadline).await,
            None => {
                let message = "the sink is registered with settings of another type";
                Err(SinkError::new(SinkErrorKind::Local, message))
            }
        }
    }
}
