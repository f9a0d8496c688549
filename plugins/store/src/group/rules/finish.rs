//! The outcomes of claimed deliveries.

use super::{
    super::{ClaimHolding, statements::log_attempt},
    GroupRules,
};
use crate::{
    model::{Attempt, AttemptRecord, DeliveryState},
    moves,
};

impl GroupRules {
    /// Stores the outcomes of claimed deliveries. Returns those that are skipped, since that attempt
    /// is logged already, and are still claimed.
    pub(super) fn finish(&mut self, records: &[(AttemptRecord, ClaimHolding)]) -> Vec<i64> {
        let mut held = Vec::new();
        for (record, holding) in records {
            let AttemptRecord { delivery, attempt, outcome } = record;
            let at = (*delivery, *holding);
            let Some(claim) = self.loaded.claims.get(&at) else { continue };
            if attempt.as_ref().is_some_and(|attempt| attempt.number <= claim.attempts) {
                held.push(*delivery);
                continue;
            }
            let Some(claim) = self.loaded.claims.remove(&at) else { continue };
            let (state, due) = outcome.leads_to();
            if let Some(attempt) = attempt {
                self.statements.push(log_attempt(*delivery, claim.webhook, attempt, state, due));
                if attempt.number > Attempt::KEPT {
                    let sql = "DELETE FROM attempt WHERE delivery = $1 AND number <= $2";
                    let last = i64::from(attempt.number - Attempt::KEPT);
                    self.push(sql, [(*delivery).into(), last.into()]);
                }
            }
            let sql = "UPDATE delivery SET state = $2, due = coalesce($3, due), owner = NULL,
                    attempts = coalesce($4, attempts),
                    tries = tries + CASE WHEN asked THEN 0 ELSE $5 END,
                    extra = extra + CASE WHEN asked THEN $5 ELSE 0 END, asked = (asked AND $5 = 0)
                WHERE id = $1";
            let number = attempt.as_ref().map(|attempt| i64::from(attempt.number));
            self.push(
                sql,
                [
                    (*delivery).into(),
                    state.as_str().into(),
                    due.into(),
                    number.into(),
                    i64::from(attempt.is_some()).into(),
                ],
            );
            self.moves.moved(DeliveryState::Pending, state, 1);
            self.orders.extend(claim.order_key.map(|order| (claim.webhook, order)));
            if moves::is_done(state) {
                self.done.insert(claim.event);
            }
            if claim.is_raw && state == DeliveryState::Delivered {
                self.payloads.insert(claim.event);
            }
        }
        held
    }
}
