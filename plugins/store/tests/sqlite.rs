//! The behaviour of every store, for the embedded store.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod behaviour;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use as2hook_store::{SqliteOptions, SqliteStore, Store};
use async_trait::async_trait;
use behaviour::Factory;
use rusqlite::Connection;

struct Sqlite {
    folder: tempfile::TempDir,
    /// The number of each owner.
    owners: Mutex<Vec<(Arc<dyn Store>, i64)>>,
}

fn fresh() -> Sqlite {
    Sqlite { folder: tempfile::tempdir().unwrap(), owners: Mutex::default() }
}

impl Sqlite {
    fn database(&self) -> PathBuf {
        self.folder.path().join("store/as2hook.db")
    }

    fn numbers(&self) -> BTreeSet<i64> {
        if !self.database().exists() {
            return BTreeSet::new();
        }
        let connection = Connection::open(self.database()).unwrap();
        let mut all = connection.prepare("SELECT id FROM owner").unwrap();
        all.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

#[async_trait]
impl Factory for Sqlite {
    async fn owner(&self) -> Arc<dyn Store> {
        let mut owners = self.owners.lock().unwrap();
        let before = self.numbers();
        let payload_root = Some(self.payload_root());
        let options = SqliteOptions { payload_root, ..SqliteOptions::default() };
        let store = Arc::new(SqliteStore::open(&self.database(), &options).unwrap());
        let new = *self.numbers().difference(&before).next().unwrap();
        owners.push((Arc::clone(&store) as Arc<dyn Store>, new));
        store
    }

    async fn kill(&self, owner: Arc<dyn Store>) {
        let owners = self.owners.lock().unwrap();
        let (_, id) = owners.iter().find(|(store, _)| Arc::ptr_eq(store, &owner)).unwrap();
        // To the others it has terminated when its number is not locked; its threads stay until the
        // test ends.
        let connection = Connection::open(self.database()).unwrap();
        connection.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
        let unlocked = format!(
            "BEGIN IMMEDIATE; PRAGMA defer_foreign_keys = ON;
            UPDATE owner SET id = id + 1 WHERE id = {id};
            UPDATE event SET owner = owner + 1 WHERE owner = {id};
            UPDATE delivery SET owner = owner + 1 WHERE owner = {id};
            COMMIT;"
        );
        connection.execute_batch(&unlocked).unwrap();
    }

    fn execute(&self, sql: &str) {
        let connection = Connection::open(self.database()).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    fn first_version(&self) -> &'static str {
        "PRAGMA user_version = 1; DELETE FROM tally WHERE state = 'cancelled'"
    }

    fn payload_root(&self) -> PathBuf {
        self.folder.path().join("payloads")
    }
}

behaviour::suite!(fresh);
