//! The store and the place of payloads that the config names, opened.

use std::sync::Arc;

use as2hook_delivery::OnStoreFailure;
use as2hook_store::{
    PayloadDir, Payloads, Pieces, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore,
    Store, StoreError,
};
use tokio::runtime::Handle;

use super::LifeError;
use crate::config::{self, Config};

/// Opens both. The payloads have no key yet. Either may be away for now, where traffic passes without
/// it.
pub(super) async fn open(
    config: &Config,
    on_failure: OnStoreFailure,
) -> Result<(Arc<dyn Store>, Payloads), LifeError> {
    match &config.store {
        config::Store::Sqlite(database) => {
            let payloads = payloads(config, None, on_failure)?;
            let (store, away) = SqliteStore::open_or_wait(database, &SqliteOptions::default())?;
            bear(away, on_failure)?;
            Ok((Arc::new(store), payloads))
        }
        config::Store::Postgres(url) => {
            let (url, options) = (url.expose(), PostgresOptions::default());
            let (store, away) = match on_failure {
                OnStoreFailure::Pass => PostgresStore::connect_or_wait(url, options).await?,
                OnStoreFailure::Refuse => (PostgresStore::connect(url, options).await?, None),
            };
            bear(away, on_failure)?;
            let store = Arc::new(store);
            let payloads = payloads(config, Some(store.clone()), on_failure)?;
            Ok((store, payloads))
        }
    }
}

/// `beside`: where `payloads: store` keeps them.
fn payloads(
    config: &Config,
    beside: Option<Arc<dyn Pieces>>,
    on_failure: OnStoreFailure,
) -> Result<Payloads, LifeError> {
    match (&config.payloads, beside) {
        (config::Payloads::Folder(folder), _) => {
            let (folder, away) = PayloadDir::open_or_wait(folder)?;
            bear(away, on_failure)?;
            Ok(Payloads::in_folder(folder))
        }
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

/// What is away is waited for where traffic passes, else it is a reason not to start.
fn bear(away: Option<StoreError>, on_failure: OnStoreFailure) -> Result<(), LifeError> {
    match (away, on_failure) {
        (None, _) => Ok(()),
        (Some(error), OnStoreFailure::Refuse) => Err(error.into()),
        (Some(error), OnStoreFailure::Pass) => {
            tracing::error!(%error, "Started without the store.");
            Ok(())
        }
    }
}
