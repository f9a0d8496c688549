//! Payloads in S3, or in what speaks its language: each piece is one object, `PREFIX/PAYLOAD/INDEX`.
//!
//! Credentials, region and endpoint come from the environment, in the names of the AWS tools:
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, or the machine's role.
//! HTTP and cryptography are those of the rest of as2hook: hyper and OpenSSL.

mod crypto;
mod http;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig, aws::AmazonS3Builder,
    path::Path,
};
use uuid::Uuid;

use crate::{payload::pieces_failed, pieces::Pieces, store::StoreError};

/// Payloads in a bucket. Clones share their connections.
#[derive(Clone, Debug)]
pub struct S3Pieces {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

/// Bytes of a piece. Three of a payload are in memory at once while it is written.
const SIZE: usize = 1024 * 1024;

/// No piece was ever larger: what somebody else put in its place may be.
const LARGEST: u64 = 16 * 1024 * 1024;

/// How long a request is repeated that failed in a way that may pass.
const PATIENCE: Duration = Duration::from_secs(8);

// === impl S3Pieces ===

impl S3Pieces {
    /// The place that `s3://bucket/prefix` names. Nothing is sent yet. Call within a tokio runtime.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the URL or what the environment says cannot be used.
    pub fn open(url: &str) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Database(format!("{url}: {reason}"));
        let rest = url.strip_prefix("s3://").unwrap_or(url);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let retry = RetryConfig { max_retries: 3, retry_timeout: PATIENCE, ..Default::default() };
        // A local server has no certificate; what the environment names is meant.
        let local = std::env::var("AWS_ENDPOINT").is_ok_and(|at| at.starts_with("http://"));
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_allow_http(local)
            .with_crypto_provider(Arc::new(crypto::OpenSsl))
            .with_http_connector(http::Connector)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let prefix = Path::parse(prefix).map_err(|error| wrong(error.to_string()))?;
        Ok(Self::over(Arc::new(store), prefix))
    }

    /// In any object store, below `prefix`.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix }
    }

    fn folder(&self, payload: Uuid) -> Path {
        self.prefix.clone().join(payload.to_string())
    }

    fn piece(&self, payload: Uuid, index: u32) -> Path {
        self.folder(payload).join(index.to_string())
    }

    /// The payload that an object is a piece of.
    fn payload_of(&self, object: &Path) -> Option<Uuid> {
        let mut parts = object.prefix_match(&self.prefix)?;
        parts.next().and_then(|name| Uuid::parse_str(name.as_ref()).ok())
    }
}

#[async_trait]
impl Pieces for S3Pieces {
    fn size(&self) -> usize {
        SIZE
    }

    async fn put(&self, payload: Uuid, index: u32, bytes: Bytes) -> Result<(), StoreError> {
        let put = self.store.put(&self.piece(payload, index), PutPayload::from(bytes)).await;
        put.map(drop).map_err(|error| failed(payload, &error))
    }

    async fn get(&self, payload: Uuid, index: u32) -> Result<Option<Bytes>, StoreError> {
        let found = match self.store.get(&self.piece(payload, index)).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| failed(payload, &error))?,
        };
        if found.meta.size > LARGEST {
            return Err(pieces_failed(payload, format!("piece {index} is larger than any")));
        }
        found.bytes().await.map(Some).map_err(|error| failed(payload, &error))
    }

    async fn remove(&self, payload: Uuid) -> Result<(), StoreError> {
        let folder = self.folder(payload);
        let mut objects = self.store.list(Some(&folder));
        while let Some(object) =
            objects.try_next().await.map_err(|error| failed(payload, &error))?
        {
            match self.store.delete(&object.location).await {
                Ok(()) | Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(failed(payload, &error)),
            }
        }
        Ok(())
    }

    /// By the time in the payloads' names: they are made when their first piece is.
    async fn older(
        &self,
        before: i64,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        let mut objects = match after {
            // Behind all of its pieces, whose names are digits.
            Some(after) => {
                let offset = self.folder(after).join("x");
                self.store.list_with_offset(Some(&self.prefix), &offset)
            }
            None => self.store.list(Some(&self.prefix)),
        };
        let mut found: Vec<Uuid> = Vec::new();
        while let Some(object) = objects.try_next().await.map_err(|e| cannot_list(&e))? {
            let Some(id) = self.payload_of(&object.location) else { continue };
            let Some(made) = made_at(id) else { continue };
            if found.contains(&id) || after == Some(id) {
                continue;
            }
            // S3 lists in the order of names, and those begin with the time.
            if made >= before || found.len() == limit {
                break;
            }
            found.push(id);
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The time in a name (UUID version 7), in milliseconds since 1970.
fn made_at(id: Uuid) -> Option<i64> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let ms = seconds.checked_mul(1_000)?.checked_add(u64::from(nanos / 1_000_000))?;
    i64::try_from(ms).ok()
}

fn failed(payload: Uuid, error: &Error) -> StoreError {
    pieces_failed(payload, error.to_string())
}

fn cannot_list(error: &Error) -> StoreError {
    StoreError::Database(format!("payloads cannot be listed: {error}"))
}
