//! The store and the place of payloads that the config names, opened.

use std::sync::Arc;

use as2hook_store::{
    PayloadDir, Payloads, Pieces, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Store,
};
use tokio::runtime::Handle;

use super::LifeError;
use crate::config::{self, Config};

/// Opens both. The payloads have no key yet.
pub(super) async fn open(config: &Config) -> Result<(Arc<dyn Store>, Payloads), LifeError> {
    match &config.store {
        config::Store::Sqlite(database) => {
            let payloads = payloads(config, None)?;
            let store = SqliteStore::open(database, &SqliteOptions::default())?;
            Ok((Arc::new(store), payloads))
        }
        config::Store::Postgres(url) => {
            let store = PostgresStore::connect(url.expose(), PostgresOptions::default()).await?;
            let store = Arc::new(store);
            let payloads = payloads(config, Some(store.clone()))?;
            Ok((store, payloads))
        }
    }
}

/// `beside`: where `payloads: store` keeps them.
fn payloads(config: &Config, beside: Option<Arc<dyn Pieces>>) -> Result<Payloads, LifeError> {
    match (&config.payloads, beside) {
        (config::Payloads::Folder(folder), _) => Ok(Payloads::in_folder(PayloadDir::open(folder)?)),
        (config::Payloads::Store, Some(pieces)) => {
            Ok(Payloads::in_pieces(pieces, Handle::current()))
        }
        #[cfg(feature = "s3")]
        (config::Payloads::S3(url), _) => {
            let pieces = as2hook_store::S3Pieces::open(url)?;
            Ok(Payloads::in_pieces(Arc::new(pieces), Handle::current()))
        }
        _ => Err(LifeError::Unsupported("this place of payloads is not built in")),
    }
}
