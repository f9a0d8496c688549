//! The store of an example: embedded in a folder, or on a PostgreSQL server from this machine's packages.

use std::{path::Path, sync::Arc, time::Duration};

use as2hook_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Store};
use as2hook_testing::Postgres;
use tempfile::TempDir;

/// A store with all that has to last as long as it.
pub(crate) struct OpenedStore {
    pub(crate) store: Arc<dyn Store>,
    #[expect(dead_code, reason = "it lasts as long as its store")]
    server: Option<Postgres>,
    #[expect(dead_code, reason = "it lasts as long as its store")]
    temporary: TempDir,
}

/// Opens one. `place`: a folder, or `postgres`; without it, a temporary folder. Calls may take as long as `wait`.
pub(crate) async fn open(place: Option<String>, wait: Duration) -> OpenedStore {
    let temporary = tempfile::tempdir().unwrap();
    let place = place.unwrap_or_else(|| temporary.path().display().to_string());
    let server = (place == "postgres").then(Postgres::start);
    let store: Arc<dyn Store> = match &server {
        Some(server) => {
            let options = PostgresOptions { wait, ..PostgresOptions::default() };
            Arc::new(PostgresStore::connect(&server.url(), options).await.unwrap())
        }
        None => {
            let options = SqliteOptions { wait, ..SqliteOptions::default() };
            let path = Path::new(&place).join("example.db");
            Arc::new(SqliteStore::open(&path, &options).unwrap())
        }
    };
    OpenedStore { store, server, temporary }
}
