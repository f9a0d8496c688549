//! The store that several gateways share: one PostgreSQL database, version 13 or later.
//!
//! All of it stands in a schema of its own, `as2hook` unless told otherwise, which is made at the first
//! start. What is on the way of a message (open, settle, claim, finish) is sent in groups, one round trip
//! and one commit each; the rest goes straight.
//!
//! Rows are changed by the functions in `schema/`, so that a group is one statement. Locks are always
//! taken in one order: the owner's, then the lanes of order keys and notes by number, then rows. Where
//! two transactions get in each other's way all the same, PostgreSQL rolls one back, and it is tried
//! again.

mod address;
mod archive;
mod calls;
mod claims;
mod database;
mod deliveries;
mod error;
mod events;
mod gate;
mod gateways;
mod group;
mod listen;
mod lists;
mod notes;
mod options;
mod owner;
mod partner_webhooks;
mod pieces;
mod queries;
mod rows;
mod schema;
mod writer;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, broadcast},
    task::JoinSet,
};

pub use self::options::PostgresOptions;
use self::{
    address::Address,
    claims::Claims,
    database::{Database, Use},
    gate::Gate,
    owner::Owner,
    writer::{Means, Writer},
};
use crate::{gateways::Change, store::StoreError};

/// Changes that a slow listener may be behind before it is told that it missed some.
const CHANGES: usize = 1_024;
/// Connections for what is not sent in groups: heartbeats, replays, pruning.
const BESIDES: usize = 2;

/// The store in a PostgreSQL database.
pub struct PostgresStore {
    writer: Writer,
    writing: Database,
    reading: Database,
    /// Connections for large payloads, so that they keep nobody waiting.
    moving: Database,
    owner: Arc<Owner>,
    claims: Claims,
    changes: broadcast::Sender<Change>,
    commits: Arc<AtomicU64>,
    trips: Arc<AtomicU64>,
    wait: Duration,
    /// Those that send groups: they end with the queue.
    senders: Mutex<JoinSet<()>>,
    /// The heartbeat and the listener: they end with the store.
    attendants: std::sync::Mutex<JoinSet<()>>,
}

// === impl PostgresStore ===

impl PostgresStore {
    /// Connects, and makes or updates the tables if need be. The runtime it is called on has to last as
    /// long as the store.
    ///
    /// `url` is `postgres://user:password@host:port/database`, with several hosts where there are
    /// standbys (`host1,host2` and `?target_session_attrs=read-write`), and `sslmode=disable|prefer|
    /// require|verify-ca|verify-full` with `sslrootcert`, `sslcert` and `sslkey`.
    ///
    /// # Errors
    /// [`StoreError::Address`] for a URL that is none, [`StoreError::Unreachable`],
    /// [`StoreError::Refused`], [`StoreError::TooNew`], and what the database says.
    pub async fn connect(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        match Self::open(url, options, schema::DEADLINE).await? {
            (store, None) => Ok(store),
            (_, Some(error)) => Err(error),
        }
    }

    /// As [`Self::connect`], and has a store too when its database cannot be used just now: with the
    /// reason. Every call fails then, until it can.
    ///
    /// # Errors
    /// As [`Self::connect`], when waiting would not help, or somebody has to mend the address, the user
    /// or its rights.
    pub async fn connect_or_wait(
        url: &str,
        options: PostgresOptions,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let patience = options.wait;
        Self::open(url, options, patience).await
    }

    async fn open(
        url: &str,
        options: PostgresOptions,
        patience: Duration,
    ) -> Result<(Self, Option<StoreError>), StoreError> {
        let address = Address::parse(url, options.connect.min(options.wait))?;
        let gate = Gate::default();
        let prepared = schema::migrate(&address, &options.schema);
        let prepared = tokio::time::timeout(patience, prepared).await;
        let mut away = match prepared.unwrap_or(Err(StoreError::Slow(patience))) {
            Ok(()) => None,
            Err(error) if error.may_pass() && !matches!(error, StoreError::Refused(_)) => {
                gate.shut(&error);
                Some(error)
            }
            Err(error) => return Err(error),
        };
        let trips = Arc::new(AtomicU64::new(0));
        let database = |purpose: Use, size| {
            let session = purpose.session(&options.schema, options.wait);
            let (trips, gate) = (Arc::clone(&trips), gate.clone());
            Database::new(&address, size, session, options.wait, trips, gate)
        };
        let writers = options.writers.max(1);
        let writing = database(Use::Write, writers + BESIDES)?;
        let reading = database(Use::Read, options.readers)?;
        let moving = database(Use::Read, options.readers)?;
        let owner = Arc::new(Owner::new(writing.clone(), options.lease));
        let mut attendants = JoinSet::new();
        if away.is_none() {
            gate.open();
            away = owner.replace(owner.id()).await.map_err(StoreError::from).err();
        } else {
            attendants.spawn(gate.keep_trying(address.clone(), options.schema.clone()));
        }
        let claims = Claims::default();
        let commits = Arc::new(AtomicU64::new(0));
        let means = Means {
            writing: writing.clone(),
            owner: Arc::clone(&owner),
            claims: claims.clone(),
            commits: Arc::clone(&commits),
            group: options.group.max(1),
            wait: options.wait,
        };
        let (writer, senders) = Writer::start(options.queue, writers, &means);
        let changes = broadcast::channel(CHANGES).0;
        attendants.spawn(Arc::clone(&owner).beat(claims.clone()));
        attendants.spawn(listen::listen(address, options.schema, options.wait, changes.clone()));
        let store = Self {
            writer,
            writing,
            reading,
            moving,
            owner,
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

    /// Groups committed by this process. Less than the calls made: they share commits.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Round trips to the database, without those that set a connection up.
    pub fn round_trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }
}

/// The first column of the one row.
fn first<T>(rows: &[tokio_postgres::Row]) -> Result<T, StoreError>
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    let row = rows.first().ok_or_else(|| StoreError::Database("it gave no answer".to_owned()))?;
    Ok(row.try_get(0)?)
}
