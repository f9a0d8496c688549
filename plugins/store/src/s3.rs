//! Payloads in S3 or a compatible store: each piece is one object, `PREFIX/PAYLOAD/INDEX`.
//!
//! Credentials, region and endpoint come from the environment, in the names of the AWS tools:
//! `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT`, or the machine's
//! role. HTTP and cryptography are those of the rest of as2hook: hyper and OpenSSL.

mod crypto;
mod http;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload, RetryConfig,
    aws::AmazonS3Builder, path::Path,
};
use uuid::Uuid;

use crate::{payload::pieces_failed, pieces::BlobStore, store::StoreError};

/// Payloads in a bucket. Clones share their connections.
#[derive(Clone, Debug)]
pub struct S3Pieces {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
}

/// The object below the prefix that contains the id of its store.
const STORE_ID: &str = "store.id";

/// The bytes of a piece. While a payload is written, three of its pieces are in memory.
const SIZE: usize = 1024 * 1024;

/// Larger than any piece that was ever written: a foreign object in its place may be larger.
const LARGEST: u64 = 16 * 1024 * 1024;

/// How long a request is retried after a temporary failure.
const RETRY_TIMEOUT: Duration = Duration::from_secs(8);

// === impl S3Pieces ===

impl S3Pieces {
    /// Opens the place of `s3://bucket/prefix`. Sends nothing yet. Call within a tokio runtime.
    /// `allow_http`: whether the endpoint may be an unencrypted `http://` one.
    ///
    /// # Errors
    /// [`StoreError::Database`] when the URL or the environment's settings cannot be used.
    pub fn open(url: &str, allow_http: bool) -> Result<Self, StoreError> {
        let wrong = |reason: String| StoreError::Database(format!("{url}: {reason}"));
        let rest = url.strip_prefix("s3://").unwrap_or(url);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let retry =
            RetryConfig { max_retries: 3, retry_timeout: RETRY_TIMEOUT, ..Default::default() };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_allow_http(allow_http)
            .with_crypto_provider(Arc::new(crypto::OpenSsl))
            .with_http_connector(http::S3Connector)
            .build()
            .map_err(|error| wrong(error.to_string()))?;
        let prefix = Path::parse(prefix).map_err(|error| wrong(error.to_string()))?;
        Ok(Self::over(Arc::new(store), prefix))
    }

    /// Uses any object store, below `prefix`.
    pub fn over(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { store, prefix }
    }

    fn folder(&self, payload: Uuid) -> Path {
        self.prefix.clone().join(payload.to_string())
    }

    fn piece(&self, payload: Uuid, index: u32) -> Path {
        self.folder(payload).join(index.to_string())
    }

    /// Reads the id of the store that the prefix belongs to. An unreadable id is of no existing
    /// store.
    async fn owner(&self, object: &Path) -> Result<Option<Uuid>, Error> {
        match self.store.get(object).await {
            Err(Error::NotFound { .. }) => Ok(None),
            Ok(found) if found.meta.size > LARGEST => Ok(Some(Uuid::nil())),
            found => {
                let bytes = found?.bytes().await?;
                let id = std::str::from_utf8(&bytes).ok().and_then(|text| text.trim().parse().ok());
                Ok(Some(id.unwrap_or_default()))
            }
        }
    }

    /// Returns the payload of an object that is a piece.
    fn payload_of(&self, object: &Path) -> Option<Uuid> {
        let mut parts = object.prefix_match(&self.prefix)?;
        parts.next().and_then(|name| Uuid::parse_str(name.as_ref()).ok())
    }
}

#[async_trait]
impl BlobStore for S3Pieces {
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

    /// By the time in the payloads' names, which are created with the first piece.
    async fn older(
        &self,
        before: i64,
        after: Option<Uuid>,
        limit: usize,
    ) -> Result<Vec<Uuid>, StoreError> {
        let mut objects = match after {
            // After all of its pieces, whose names are digits.
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
            // S3 lists names in order, and these begin with the time.
            if made >= before || found.len() == limit {
                break;
            }
            found.push(id);
        }
        found.sort_unstable();
        Ok(found)
    }

    fn is_outside(&self) -> bool {
        true
    }

    fn place(&self) -> String {
        format!("the S3 prefix \"{}\"", self.prefix)
    }

    async fn claim(&self, store: Uuid) -> Result<Uuid, StoreError> {
        let object = self.prefix.clone().join(STORE_ID);
        if let Some(owner) = self.owner(&object).await.map_err(|error| no_owner(&error))? {
            return Ok(owner);
        }
        let id = PutPayload::from(store.to_string());
        let put = match self.store.put_opts(&object, id.clone(), PutMode::Create.into()).await {
            // A server without conditional writes.
            Err(Error::NotImplemented { .. }) => self.store.put(&object, id).await,
            put => put,
        };
        match put {
            Ok(_) | Err(Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(no_owner(&error)),
        }
        let owner = self.owner(&object).await.map_err(|error| no_owner(&error))?;
        Ok(owner.unwrap_or_default())
    }
}

/// Returns the time in a name (UUID version 7), in milliseconds since 1970.
fn made_at(id: Uuid) -> Option<i64> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    let ms = seconds.checked_mul(1_000)?.checked_add(u64::from(nanos / 1_000_000))?;
    i64::try_from(ms).ok()
}

fn failed(payload: Uuid, error: &Error) -> StoreError {
    pieces_failed(payload, error.to_string())
}

fn no_owner(error: &Error) -> StoreError {
    StoreError::Database(format!("the owner of the payload place cannot be read: {error}"))
}

fn cannot_list(error: &Error) -> StoreError {
    StoreError::Database(format!("payloads cannot be listed: {error}"))
}
