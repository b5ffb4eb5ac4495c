//! Timers and leases.

use std::collections::HashSet;

use async_trait::async_trait;
use shared::{
    execution::TimerKey,
    ids::Shard,
    port::store::{DueTimer, LeaseRenewal, StoreError, Timers},
    time::Timestamp,
};
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::{Batch, Cell, Engine, Kind},
    rows::TimerRecord,
    sql_store::{in_transaction, on_pool},
};

/// Only the holder's token moves a lease, and only while it has not run out.
pub(crate) static RENEW_LEASES: Batch = Batch::new(
    "\
with t (id, name, holder, now, until) as ({rows})
update wo_timers
set due_at = t.until
from t
where execution_id = t.id and key = t.name and token = t.holder and due_at > t.now
returning execution_id, key, token",
    &[Kind::Uuid, Kind::Text, Kind::Uuid, Kind::At, Kind::At],
);

pub(crate) const BATCHES: &[&Batch] = &[&RENEW_LEASES];

#[async_trait]
impl Timers for SqlStore {
    async fn timers_due(
        &self,
        shards: &[Shard],
        until: Timestamp,
        limit: u32,
    ) -> Result<Vec<DueTimer>, StoreError> {
        let shards = shards.iter().map(|shard| i32::from(shard.0));
        let records: Vec<TimerRecord> = on_pool!(self, |pool, sql| sqlx::query_as(sql::TIMERS_DUE)
            .bind(sql::numbers(shards))
            .bind(crate::dialect::At(until))
            .bind(i64::from(limit))
            .fetch_all(pool)
            .await)?;
        records.into_iter().map(TimerRecord::timer).collect()
    }

    async fn renew_leases(
        &self,
        renewals: Vec<LeaseRenewal>,
        until: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        if renewals.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.clock().await?;
        let asked: Vec<(Uuid, String, Uuid)> = renewals
            .into_iter()
            .map(|renewal| {
                let key = TimerKey::Lease(renewal.task).to_string();
                (*renewal.execution.as_uuid(), key, *renewal.token.as_uuid())
            })
            .collect();
        in_transaction!(self, |tx, sql| {
            let mut sorted = asked.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let mut moves: Vec<Cell> = Vec::new();
            for (id, key, token) in sorted {
                moves.extend([id.into(), key.into(), token.into(), now.into(), Cell::from(until)]);
            }
            let moved: HashSet<(Uuid, String, Uuid)> =
                tx.fetch(&RENEW_LEASES, moves).await?.into_iter().collect();
            Ok(asked.iter().map(|lease| moved.contains(lease)).collect())
        })
    }
}
