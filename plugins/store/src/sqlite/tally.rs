//! How many deliveries are in each state: counting millions takes too long for a status page.
//!
//! Whoever moves deliveries says so here, once for all that one call moves. Triggers would do it for
//! each row, and make SQLite keep a journal for each statement, which costs more than the move itself.
//! Only what is deleted is counted by a trigger.

use rusqlite::{Connection, params};

use crate::{
    model::DeliveryState,
    store::{Counts, StoreError},
};

pub(super) const OLDEST: &str =
    "SELECT min(occurred_at) FROM delivery WHERE state IN ('pending', 'claimed')";

/// What a call changes about the numbers, in the order of [`DeliveryState::ALL`].
#[derive(Default)]
pub(super) struct Moves([i64; DeliveryState::ALL.len()]);

// === impl Moves ===

impl Moves {
    /// So many were added, in this state.
    pub(super) fn added(&mut self, state: DeliveryState, n: usize) {
        self.0[state as usize] += i64::try_from(n).unwrap_or(i64::MAX);
    }

    /// So many that the table had in one state it has in another now.
    pub(super) fn moved(&mut self, from: DeliveryState, to: DeliveryState, n: usize) {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        self.0[from as usize] -= n;
        self.0[to as usize] += n;
    }

    /// Writes the numbers down, in the transaction of what they count.
    pub(super) fn write(self, connection: &Connection) -> Result<(), StoreError> {
        let changes = DeliveryState::ALL.into_iter().zip(self.0).filter(|(_, n)| *n != 0);
        for (state, n) in changes {
            connection
                .prepare_cached("UPDATE tally SET n = n + ?2 WHERE state = ?1")?
                .execute(params![state.as_str(), n])?;
        }
        Ok(())
    }
}

/// The figures of the status page.
pub(super) fn counts(connection: &Connection) -> Result<Counts, StoreError> {
    // All of one moment.
    let moment = connection.unchecked_transaction()?;
    let number = |sql: &str| -> Result<u64, StoreError> {
        let n: i64 = moment.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(n.unsigned_abs())
    };
    let mut tally = moment.prepare_cached("SELECT n FROM tally WHERE state = ?1")?;
    let mut counted = |state: DeliveryState| -> Result<u64, StoreError> {
        let n: i64 = tally.query_row([state.as_str()], |row| row.get(0))?;
        Ok(n.unsigned_abs())
    };
    // What is claimed counts as pending in the table. An older as2hook had a word of its own for it.
    let claimed = number("SELECT count(*) FROM delivery WHERE owner IS NOT NULL")?;
    let unfinished = counted(DeliveryState::Pending)? + counted(DeliveryState::Claimed)?;
    let mut deliveries = Vec::new();
    for state in DeliveryState::ALL {
        let n = match state {
            DeliveryState::Pending => unfinished.saturating_sub(claimed),
            DeliveryState::Claimed => claimed,
            _ => counted(state)?,
        };
        deliveries.push((state, n));
    }
    drop(tally);
    let open = number("SELECT count(*) FROM event WHERE owner IS NOT NULL")?;
    let oldest_undelivered = moment.prepare_cached(OLDEST)?.query_row([], |row| row.get(0))?;
    Ok(Counts { deliveries, open, oldest_undelivered })
}
