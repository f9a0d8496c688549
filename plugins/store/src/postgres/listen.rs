//! What other gateways change, heard over a connection of its own. Where it breaks it is made again, and
//! everybody is told that something was missed.

use std::{future::poll_fn, time::Duration};

use tokio::{sync::broadcast, time::MissedTickBehavior};
use tokio_postgres::{AsyncMessage, Client};

use super::{address::Address, database::quoted, error::Failure};
use crate::{gateways::Change, store::StoreError};

/// How long after a failure the next connection is tried.
const PAUSE: Duration = Duration::from_secs(1);
/// How often the connection is asked whether it still is one: a server that hangs says nothing.
const ASK: Duration = Duration::from_secs(10);

/// Listens as long as somebody may want to know.
pub(super) async fn listen(
    address: Address,
    schema: String,
    wait: Duration,
    changes: broadcast::Sender<Change>,
) {
    let address = address.named("(listens)");
    loop {
        if let Err(error) = hear(&address, &schema, wait, &changes).await {
            let error = StoreError::from(error);
            tracing::debug!(%error, "The store's changes are not heard.");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Listens until the connection breaks.
async fn hear(
    address: &Address,
    schema: &str,
    wait: Duration,
    changes: &broadcast::Sender<Change>,
) -> Result<(), Failure> {
    let (client, mut connection) = address.connect().await?;
    let (channel, heard) = (schema.to_owned(), changes.clone());
    let driver = async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(said) = message?
                && said.channel() == channel
            {
                // Nobody listening is no failure.
                let _ = heard.send(change(said.payload()));
            }
        }
        Ok::<_, tokio_postgres::Error>(())
    };
    let keep = async {
        ask(&client, &format!("LISTEN {}", quoted(schema)), wait).await?;
        // What was said before this was not heard.
        let _ = changes.send(Change::All);
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

async fn ask(client: &Client, sql: &str, wait: Duration) -> Result<(), Failure> {
    let asked = tokio::time::timeout(wait, client.batch_execute(sql)).await;
    Ok(asked.map_err(|_| Failure::slow(wait))??)
}

/// What a notification says: see `tell_gateways` in the schema.
fn change(said: &str) -> Change {
    match said.split_once(':') {
        Some(("due", webhook)) => Change::Due(webhook.to_owned()),
        Some(("state", webhook)) => Change::WebhookState(webhook.to_owned()),
        Some(("partner", _)) => Change::PartnerWebhooks,
        // Too long to be said, or said by a newer version.
        _ => Change::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_looked_at_whole() {
        assert_eq!(change("due:erp:x"), Change::Due("erp:x".to_owned()));
        assert_eq!(change("state:"), Change::WebhookState(String::new()));
        assert_eq!(change("partner:"), Change::PartnerWebhooks);
        assert_eq!(change("all:"), Change::All);
        assert_eq!(change("something new"), Change::All);
    }
}
