//! The shared store does what every store does.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod behaviour;

use std::sync::{Arc, Mutex, OnceLock};

use as2hook_store::{PostgresOptions, PostgresStore, Store};
use as2hook_testing::Postgres;
use async_trait::async_trait;
use behaviour::Factory;

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
        let store = PostgresStore::connect(&postgres.url(), PostgresOptions::default()).await;
        let store = Arc::new(store.unwrap());
        let number = postgres.sql("SELECT max(id) FROM as2hook.owner");
        self.owners.lock().unwrap().push((Arc::clone(&store) as Arc<dyn Store>, number));
        store
    }

    async fn kill(&self, owner: Arc<dyn Store>) {
        let owners = self.owners.lock().unwrap();
        let (_, number) = owners.iter().find(|(store, _)| Arc::ptr_eq(store, &owner)).unwrap();
        // To the others it is gone when its lease has ended; the rest of it stays until the test ends.
        let end = "UPDATE as2hook.owner SET lease_until = '-infinity' WHERE id = ";
        self.postgres.get().unwrap().sql(&format!("{end}{number}"));
    }
}

behaviour::suite!(fresh);
