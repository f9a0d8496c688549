//! The behaviour of every store, for the shared store.

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
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use as2hook_store::{PostgresOptions, PostgresStore, Store};
use as2hook_testing::Postgres;
use async_trait::async_trait;
use behaviour::Factory;

/// Longer than any call takes, even on a busy machine.
const SOON: Duration = Duration::from_secs(120);

/// Opens a store like one gateway, with a lease longer than any test: it only ends when a test ends
/// it, and no heartbeat interferes.
async fn connect(postgres: &Postgres) -> Arc<PostgresStore> {
    let lease = Duration::from_secs(3_600);
    connect_with(postgres, PostgresOptions { lease, ..PostgresOptions::default() }).await
}

async fn connect_with(postgres: &Postgres, options: PostgresOptions) -> Arc<PostgresStore> {
    let store = PostgresStore::connect(&postgres.url(), options).await.unwrap();
    // It has registered, and its heartbeats have begun.
    until(async || (store.round_trips() >= 2).then_some(())).await;
    Arc::new(store)
}

/// Asks repeatedly until there is a result, within a bound.
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
    tokio::time::timeout(SOON, asked).await.expect("there is a result in time")
}

/// Ends an owner's lease. Waits for its transactions in progress.
fn end_lease(postgres: &Postgres, number: &str) {
    postgres.sql(&format!(
        "SELECT pg_advisory_xact_lock(1634882403, {number});
        UPDATE as2hook.owner SET lease_until = '-infinity' WHERE id = {number}"
    ));
}

/// Returns the number of the latest owner.
fn last_owner(postgres: &Postgres) -> String {
    postgres.sql("SELECT max(id) FROM as2hook.owner")
}

struct Shared {
    folder: tempfile::TempDir,
    postgres: OnceLock<Postgres>,
    /// The number of each owner.
    owners: Mutex<Vec<(Arc<dyn Store>, String)>>,
}

fn fresh() -> Shared {
    let folder = tempfile::tempdir().unwrap();
    Shared { folder, postgres: OnceLock::new(), owners: Mutex::default() }
}

#[async_trait]
impl Factory for Shared {
    async fn owner(&self) -> Arc<dyn Store> {
        let postgres = self.postgres.get_or_init(Postgres::shared);
        let (lease, payload_root) = (Duration::from_secs(3_600), Some(self.payload_root()));
        let options = PostgresOptions { lease, payload_root, ..PostgresOptions::default() };
        let store = connect_with(postgres, options).await;
        let number = last_owner(postgres);
        self.owners.lock().unwrap().push((Arc::clone(&store) as Arc<dyn Store>, number));
        store
    }

    async fn kill(&self, owner: Arc<dyn Store>) {
        let owners = self.owners.lock().unwrap();
        let (_, number) = owners.iter().find(|(store, _)| Arc::ptr_eq(store, &owner)).unwrap();
        // To the others it has terminated when its lease has ended; its connections stay until the
        // test ends.
        end_lease(self.postgres.get().unwrap(), number);
    }

    fn execute(&self, sql: &str) {
        let postgres = self.postgres.get_or_init(Postgres::shared);
        postgres.sql(&format!("SET search_path TO as2hook; {sql}"));
    }

    fn first_version(&self) -> &'static str {
        "DELETE FROM migration WHERE version > 1"
    }

    fn payload_root(&self) -> PathBuf {
        self.folder.path().join("payloads")
    }
}

behaviour::suite!(fresh);
