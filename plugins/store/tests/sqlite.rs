//! The behaviour of every store, for the embedded store.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod behaviour;

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use as2hook_store::{SqliteOptions, SqliteStore, Store};
use async_trait::async_trait;
use behaviour::Factory;

struct Sqlite {
    folder: tempfile::TempDir,
    /// The lock file of each owner.
    owners: Mutex<Vec<(Arc<dyn Store>, PathBuf)>>,
}

fn fresh() -> Sqlite {
    Sqlite { folder: tempfile::tempdir().unwrap(), owners: Mutex::default() }
}

impl Sqlite {
    fn locks(&self) -> BTreeSet<PathBuf> {
        let folder = self.folder.path().join("store");
        let entries = fs::read_dir(folder).into_iter().flatten();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.to_string_lossy().contains(".owner-")).collect()
    }
}

#[async_trait]
impl Factory for Sqlite {
    async fn owner(&self) -> Arc<dyn Store> {
        let path = self.folder.path().join("store/as2hook.db");
        let mut owners = self.owners.lock().unwrap();
        let before = self.locks();
        let payload_root = Some(self.payload_root());
        let options = SqliteOptions { payload_root, ..SqliteOptions::default() };
        let store = Arc::new(SqliteStore::open(&path, &options).unwrap());
        let lock = self.locks().difference(&before).next().unwrap().clone();
        owners.push((Arc::clone(&store) as Arc<dyn Store>, lock));
        store
    }

    async fn kill(&self, owner: Arc<dyn Store>) {
        let owners = self.owners.lock().unwrap();
        let (_, lock) = owners.iter().find(|(store, _)| Arc::ptr_eq(store, &owner)).unwrap();
        // To the others it has terminated when its lock file exists and is not locked; its threads
        // stay until the test ends.
        fs::remove_file(lock).unwrap();
        fs::write(lock, "").unwrap();
    }

    fn payload_root(&self) -> PathBuf {
        self.folder.path().join("payloads")
    }
}

behaviour::suite!(fresh);
