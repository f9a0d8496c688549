//! Receives changes by other gateways over a connection of its own. After a reconnect, listeners
//! are notified that changes may have been missed.

use std::{future::poll_fn, time::Duration};

use tokio::{sync::broadcast, time::MissedTickBehavior};
use tokio_postgres::{AsyncMessage, Client};

use super::{address::DatabaseAddress, error::DatabaseFailure, schema::quoted};
use crate::{gateways::GatewayChange, store::StoreError};

/// The pause between two connection attempts.
const PAUSE: Duration = Duration::from_secs(1);
/// The interval of checks of the connection: a server that hangs sends nothing.
const ASK: Duration = Duration::from_secs(10);

/// Listens until the receivers are gone.
pub(super) async fn listen(
    address: DatabaseAddress,
    schema: String,
    wait: Duration,
    changes: broadcast::Sender<GatewayChange>,
) {
    let address = address.named("(listens)");
    loop {
        if let Err(error) = receive(&address, &schema, wait, &changes).await {
            let error = StoreError::from(error);
            tracing::debug!(%error, "The store's changes are not received; connecting again.");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens until the connection breaks.
async fn receive(
    address: &DatabaseAddress,
    schema: &str,
    wait: Duration,
    changes: &broadcast::Sender<GatewayChange>,
) -> Result<(), DatabaseFailure> {
    let (client, mut connection) = address.connect().await?;
    let (channel, sender) = (schema.to_owned(), changes.clone());
    let driver = async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(notification) = message?
                && notification.channel() == channel
            {
                // Without receivers, sending fails, which is fine.
                let _ = sender.send(change(notification.payload()));
            }
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    let keep = async {
        ask(&client, &format!("LISTEN {}", quoted(schema)), wait).await?;
        // Earlier changes were not received.
        let _ = changes.send(GatewayChange::All);
        let mut ticks = tokio::time::interval(ASK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            ask(&client, "", wait).await?;
        }
    };
    tokio::select! {
        ended = driver => Ok(ended?),
        ended = keep => ended,
    }
}

async fn ask(client: &Client, sql: &str, wait: Duration) -> Result<(), DatabaseFailure> {
    let asked = tokio::time::timeout(wait, client.batch_execute(sql)).await;
    Ok(asked.map_err(|_| DatabaseFailure::slow(wait))??)
}

/// Decodes a notification: see `notify_gateways` in the schema.
fn change(notification: &str) -> GatewayChange {
    match notification.split_once(':') {
        Some(("due", webhook)) => GatewayChange::Due(webhook.to_owned()),
        Some(("state", webhook)) => GatewayChange::WebhookState(webhook.to_owned()),
        Some(("partner", _)) => GatewayChange::PartnerWebhooks,
        // Too long for a notification, or from a newer version.
        _ => GatewayChange::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_notification_checks_everything() {
        assert_eq!(change("due:erp:x"), GatewayChange::Due("erp:x".to_owned()));
        assert_eq!(change("state:"), GatewayChange::WebhookState(String::new()));
        assert_eq!(change("partner:"), GatewayChange::PartnerWebhooks);
        assert_eq!(change("all:"), GatewayChange::All);
        assert_eq!(change("something new"), GatewayChange::All);
    }
}
