//! The store and the place of payloads that the config names, opened.

use std::{sync::Arc, time::Duration};

use as2hook_delivery::{OnStoreFailure, Outbox};
use as2hook_store::{
    BlobStore, PayloadDir, Payloads, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore,
    Store, StoreError, clock,
};
use jiff::Timestamp;
use tokio::{runtime::Handle, time::sleep};

use as2hook_config::{self as config, Config};

/// How often a place of payloads that failed is tried.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Why the store or the place of payloads cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// One of them fails.
    #[error("the store cannot be opened: {0}")]
    Store(#[from] StoreError),
    /// The config asks for what this program does not have.
    #[error("{0}")]
    Unsupported(&'static str),
}

/// Opens both. The payloads have no key yet. Either may be away for now, where traffic passes without
/// it; a place of payloads that belongs to another store is a reason not to start.
///
/// # Errors
/// When one of them cannot be opened.
pub async fn open(
    config: &Config,
    on_failure: OnStoreFailure,
) -> Result<(Arc<dyn Store>, Payloads), StorageError> {
    let folder = match &config.payloads {
        config::PayloadLocation::Folder(folder) => {
            let (folder, away) = PayloadDir::open_or_wait(folder)?;
            bear(away, on_failure)?;
            Some(folder)
        }
        _ => None,
    };
    let payload_root = folder.as_ref().map(|folder| folder.root().to_owned());
    let (store, beside): (Arc<dyn Store>, Option<Arc<dyn BlobStore>>) = match &config.store {
        config::StoreLocation::Sqlite(database) => {
            let options = SqliteOptions { payload_root, ..SqliteOptions::default() };
            let (store, away) = SqliteStore::open_or_wait(database, &options)?;
            bear(away, on_failure)?;
            (Arc::new(store), None)
        }
        config::StoreLocation::Postgres(url) => {
            let options = PostgresOptions { payload_root, ..PostgresOptions::default() };
            let url = url.expose();
            let (store, away) = match on_failure {
                OnStoreFailure::Pass => PostgresStore::connect_or_wait(url, options).await?,
                OnStoreFailure::Refuse => (PostgresStore::connect(url, options).await?, None),
            };
            bear(away, on_failure)?;
            let store = Arc::new(store);
            (store.clone(), Some(store))
        }
    };
    let payloads = match folder {
        Some(folder) => Payloads::in_folder(folder),
        None => in_pieces(config, beside)?,
    };
    // Before this process writes anything, whose time is that of its own clock.
    if let Ok(newest) = store.newest().await {
        clock::compare(newest);
    }
    match payloads.claim(&*store).await {
        Err(error @ StoreError::OtherStore { .. }) => return Err(error.into()),
        Err(error) => tracing::warn!(%error, "Whether the place of payloads belongs to this store \
            could not be found out; trying again later."),
        Ok(()) => {}
    }
    Ok((store, payloads))
}

/// Tolerates an error of the store that may pass, where traffic passes without it.
///
/// # Errors
/// Any other error.
pub fn tolerate(error: StoreError, on_failure: OnStoreFailure) -> Result<(), StoreError> {
    match on_failure == OnStoreFailure::Pass && error.may_pass() {
        true => Ok(()),
        false => Err(error),
    }
}

/// Notices when the place of large payloads works again. Runs until it is dropped.
pub async fn probe(payloads: Payloads) {
    loop {
        sleep(PROBE_EVERY).await;
        payloads.probe().await;
    }
}

/// Returns why events or payloads cannot be stored now, one sentence each.
pub fn failures(outbox: &Outbox, payloads: &Payloads) -> Vec<String> {
    let (store, payloads) = (outbox.health(), payloads.health());
    let mut reasons = Vec::new();
    reasons.extend(failure("The store fails", store.failing_since, store.last_error));
    let (since, error) = (payloads.failing_since, payloads.last_error);
    reasons.extend(failure("Large payloads cannot be kept", since, error));
    if store.held > 0 {
        reasons.push(format!("{} events wait in memory for the store.", store.held));
    }
    reasons
}

/// Returns the sentence about what fails since a time.
fn failure(what: &str, since: Option<i64>, error: Option<String>) -> Option<String> {
    let since = Timestamp::from_millisecond(since?).unwrap_or_default();
    Some(format!("{what} since {since}: {}.", error.unwrap_or_default()))
}

/// `beside`: where `payloads: store` keeps them.
fn in_pieces(
    config: &Config,
    beside: Option<Arc<dyn BlobStore>>,
) -> Result<Payloads, StorageError> {
    match (&config.payloads, beside) {
        (config::PayloadLocation::Store, Some(pieces)) => {
            Ok(Payloads::in_pieces(pieces, Handle::current()))
        }
        #[cfg(feature = "s3")]
        (config::PayloadLocation::S3(url), _) => {
            let pieces = as2hook_store::S3Pieces::open(url, config.payloads_allow_http)?;
            Ok(Payloads::in_pieces(Arc::new(pieces), Handle::current()))
        }
        _ => Err(StorageError::Unsupported("this place of payloads is not built in")),
    }
}

/// What is away is waited for where traffic passes, else it is a reason not to start.
fn bear(away: Option<StoreError>, on_failure: OnStoreFailure) -> Result<(), StorageError> {
    match (away, on_failure) {
        (None, _) => Ok(()),
        (Some(error), OnStoreFailure::Refuse) => Err(error.into()),
        (Some(error), OnStoreFailure::Pass) => {
            tracing::error!(%error, "Started without the store.");
            Ok(())
        }
    }
}
