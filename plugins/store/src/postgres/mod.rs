//! The store that several gateways share: one PostgreSQL database, version 13 or later.
//!
//! All tables are in a schema, `as2hook` by default, which is created at the first start. Calls in
//! a message's path (open, settle, claim, finish) are sent in groups, with two round trips and one
//! commit each. The others are transactions of their own.
//!
//! Locks are always taken in one order: the owner's, then those of orders and records by their
//! number (`order.rs`), then events, then deliveries. When two
//! transactions deadlock all the same, PostgreSQL rolls one back, and it is repeated.

mod address;
mod archive;
mod backend;
mod claims;
mod database;
mod error;
mod lease;
mod listen;
mod options;
mod pieces;
mod schema;
mod transaction;
mod writer;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, broadcast},
    task::JoinSet,
};

pub use self::options::PostgresOptions;
use self::{
    address::DatabaseAddress,
    claims::Claims,
    database::{ConnectionUse, Database},
    lease::ProcessLease,
    schema::SchemaGate,
    writer::{GroupWriter, SenderContext},
};
use crate::{gateways::GatewayChange, store::StoreError};

/// How many changes a slow listener may lag behind before it is notified that it missed some.
const CHANGES: usize = 1_024;
/// Connections for calls outside of groups: heartbeats and others of one statement.
const BESIDES: usize = 2;
/// Connections for changes of several round trips: a replay has two at once.
const CHANGING: usize = 2;

/// The store in a PostgreSQL database.
pub struct PostgresStore {
    writer: GroupWriter,
    writing: Database,
    /// Connections for changes of several round trips, so that groups and heartbeats do not wait for them.
    changing: Database,
    reading: Database,
    /// Connections for large payloads, so that other calls do not wait for them.
    moving: Database,
    payload_root: Option<PathBuf>,
    owner: Arc<ProcessLease>,
    /// The generation of the configuration that this process reported last; 0 before the first
    /// report.
    generation: AtomicI64,
    claims: Claims,
    changes: broadcast::Sender<GatewayChange>,
    commits: Arc<AtomicU64>,
    trips: Arc<AtomicU64>,
    wait: Duration,
    /// The tasks that send groups: they end with the queue.
    senders: Mutex<JoinSet<()>>,
    /// The heartbeat and the listener: they end with the store.
    attendants: std::sync::Mutex<JoinSet<()>>,
}

// === impl PostgresStore ===

impl PostgresStore {
    /// Connects, and creates or migrates the tables if necessary. The current runtime must last as
    /// long as the store.
    ///
    /// `url` is `postgres://user:password@host:port/database`, with several hosts where there are
    /// standbys (`host1,host2` and `?target_session_attrs=read-write`), and
    /// `sslmode=disable|prefer| require|verify-ca|verify-full` with `sslrootcert`, `sslcert` and
    /// `sslkey`.
    ///
    /// # Errors
    /// [`StoreError::Address`] for an invalid URL, [`StoreError::Unreachable`],
    /// [`StoreError::Refused`], [`StoreError::TooNew`], and errors of the database.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        match Self::open(url, options, schema::DEADLINE).await? {
            (store, None) => Ok(store),
            (_, Some(error)) => Err(error),
        }
    }

    /// Like [`Self::connect`], but also returns a store, with the reason, when its database cannot
    /// be used now. Until it can, every call fails.
    ///
    /// # Errors
    /// Like [`Self::connect`], when a later try cannot succeed, or the address, the user or its
    /// rights must be corrected.
    pub async fn connect_or_wait(
        url: &str,
        options: PostgresOptions,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let limit = options.wait;
        Self::open(url, options, limit).await
    }

    async fn open(
        url: &str,
        options: PostgresOptions,
        limit: Duration,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let address = DatabaseAddress::parse(url, options.connect.min(options.wait))?;
        let gate = SchemaGate::default();
        let prepared = schema::migrate(&address, &options.schema);
        let prepared = tokio::time::timeout(limit, prepared).await;
        let mut away = match prepared.unwrap_or(Err(StoreError::Slow(limit))) {
            Ok(()) => None,
            Err(error) if error.may_pass() && !matches!(error, StoreError::Refused(_)) => {
                gate.shut(&error);
                Some(error)
            }
            Err(error) => return Err(error),
        };
        let trips = Arc::new(AtomicU64::new(0));
        let database = |purpose: ConnectionUse, size| {
            let session = purpose.session(&options.schema, options.wait);
            let (trips, gate) = (Arc::clone(&trips), gate.clone());
            Database::new(&address, size, session, options.wait, trips, gate)
        };
        let writers = options.writers.max(1);
        let writing = database(ConnectionUse::Write, writers + BESIDES)?;
        let changing = database(ConnectionUse::Write, CHANGING)?;
        let reading = database(ConnectionUse::Read, options.readers)?;
        let moving = database(ConnectionUse::Read, options.readers)?;
        let owner = Arc::new(ProcessLease::new(writing.clone(), options.lease));
        let mut attendants = JoinSet::new();
        if away.is_none() {
            gate.open();
            away = owner.replace(owner.id()).await.map_err(StoreError::from).err();
        } else {
            attendants.spawn(gate.keep_trying(address.clone(), options.schema.clone()));
        }
        let claims = Claims::default();
        let commits = Arc::new(AtomicU64::new(0));
        let means = SenderContext {
            writing: writing.clone(),
            owner: Arc::clone(&owner),
            claims: claims.clone(),
            commits: Arc::clone(&commits),
            group: options.group.max(1),
            wait: options.wait,
        };
        let (writer, senders) = GroupWriter::start(options.queue, writers, &means);
        let changes = broadcast::channel(CHANGES).0;
        attendants.spawn(Arc::clone(&owner).beat(claims.clone()));
        attendants.spawn(listen::listen(address, options.schema, options.wait, changes.clone()));
        let store = Self {
            writer,
            writing,
            changing,
            reading,
            moving,
            payload_root: options.payload_root,
            owner,
            generation: AtomicI64::new(0),
            claims,
            changes,
            commits,
            trips,
            wait: options.wait,
            senders: Mutex::new(senders),
            attendants: std::sync::Mutex::new(attendants),
        };
        Ok((store, away))
    }

    /// Returns the number of groups committed by this process. It is less than the number of calls,
    /// which share commits.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Returns the number of round trips to the database, without those for setting up connections.
    pub fn round_trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }
}

/// Returns the first column of the only row.
fn first<T>(rows: &[tokio_postgres::Row]) -> Result<T, StoreError>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    let row = rows.first().ok_or_else(|| StoreError::Database("it returned no row".to_owned()))?;
    Ok(row.try_get(0)?)
}
