//! The shared store does what every store does.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by it")]

mod behaviour;
#[path = "postgres/faults.rs"]
mod faults;
#[path = "postgres/groups.rs"]
mod groups;
#[path = "postgres/leases.rs"]
mod leases;
#[path = "postgres/moving.rs"]
mod moving;
#[path = "postgres/pieces.rs"]
mod pieces;
#[path = "postgres/sharing.rs"]
mod sharing;
#[path = "postgres/tls.rs"]
mod tls;

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use as2hook_store::{PostgresOptions, PostgresStore, Store};
use as2hook_testing::Postgres;
use async_trait::async_trait;
use behaviour::Factory;

/// Longer than anything takes, on a busy machine too.
const SOON: Duration = Duration::from_secs(120);

/// A store as one gateway has it, with a lease that no test outlives: it ends when a test ends it, and
/// no heartbeat comes between.
async fn connect(postgres: &Postgres) -> Arc<PostgresStore> {
    let lease = Duration::from_secs(3_600);
    connect_with(postgres, PostgresOptions { lease, ..PostgresOptions::default() }).await
}

async fn connect_with(postgres: &Postgres, options: PostgresOptions) -> Arc<PostgresStore> {
    let store = PostgresStore::connect(&postgres.url(), options).await.unwrap();
    // It has taken its place, and its heart has begun to beat.
    until(async || (store.round_trips() >= 2).then_some(())).await;
    Arc::new(store)
}

/// Asks until it is so, not for ever.
async fn until<F, T>(mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("it came about")
}

/// Ends an owner for all others, as if its lease had ended. What it has under way comes before.
fn end_lease(postgres: &Postgres, number: &str) {
    postgres.sql(&format!(
        "SELECT pg_advisory_xact_lock(1634882403, {number});
        UPDATE as2hook.owner SET lease_until = '-infinity' WHERE id = {number}"
    ));
}

/// The number of the owner that came last.
fn last_owner(postgres: &Postgres) -> String {
    postgres.sql("SELECT max(id) FROM as2hook.owner")
}

struct Shared {
    postgres: OnceLock<Postgres>,
    /// The number of each owner.
    owners: Mutex<Vec<(Arc<dyn Store>, String)>>,
}

fn fresh() -> Shared {
    Shared { postgres: OnceLock::new(), owners: Mutex::default() }
}

#[async_trait]
impl Factory for Shared {
    async fn owner(&self) -> Arc<dyn Store> {
        let postgres = self.postgres.get_or_init(Postgres::shared);
        let store = connect(postgres).await;
        let number = last_owner(postgres);
        self.owners.lock().unwrap().push((Arc::clone(&store) as Arc<dyn Store>, number));
        store
    }

    async fn kill(&self, owner: Arc<dyn Store>) {
        let owners = self.owners.lock().unwrap();
        let (_, number) = owners.iter().find(|(store, _)| Arc::ptr_eq(store, &owner)).unwrap();
        // To the others it is gone when its lease has ended; the rest of it stays until the test ends.
        end_lease(self.postgres.get().unwrap(), number);
    }
}

behaviour::suite!(fresh);
