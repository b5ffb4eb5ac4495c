//! Fires of the past, carried out a few at a time.

use shared::{
    ids::Shard,
    port::{
        store::StoreError,
        triggers::{Backfill, Cursor, Fire, ScheduleStep},
    },
    time::Timestamp,
    workflow::{
        Priority,
        triggers::{Timed, Why},
    },
};

use super::{Schedules, is_ours, started};

/// Fires that are looked at in one step.
const PAGE: usize = 100;

/// The next fires of a backfill, and whether they are the last ones.
pub(crate) fn next_fires(timed: &Timed, backfill: &Backfill, most: usize) -> (Vec<Timestamp>, bool) {
    let before = |at: Timestamp| Timestamp::from_micros(at.as_micros() - 1);
    let schedule = &timed.schedule;
    if backfill.newest_first {
        let until = backfill.cursor.map_or(backfill.to, before);
        let (mut fires, more) = schedule.latest(before(backfill.from), until, most);
        fires.reverse();
        (fires, !more)
    } else {
        let after = backfill.cursor.unwrap_or(before(backfill.from));
        let mut fires: Vec<Timestamp> =
            schedule.fires_after(after).take_while(|fire| *fire <= backfill.to).take(most + 1).collect();
        let is_last = fires.len() <= most;
        fires.truncate(most);
        (fires, is_last)
    }
}

impl Schedules {
    /// Carries on every backfill of ours that runs; answers whether there is one.
    pub(super) async fn backfill(&mut self, shards: &[Shard]) -> Result<bool, StoreError> {
        let running = self.ports.store.backfills_running().await?;
        let ours: Vec<Backfill> =
            running.into_iter().filter(|backfill| is_ours(shards, backfill.trigger)).collect();
        let goes_on = !ours.is_empty();
        for backfill in ours {
            self.carry_on(&backfill).await?;
        }
        Ok(goes_on)
    }

    async fn carry_on(&mut self, backfill: &Backfill) -> Result<(), StoreError> {
        let open = self.ports.store.backfill_open(backfill.id).await?;
        let room = u64::from(backfill.parallel).saturating_sub(open).min(PAGE as u64) as usize;
        if room == 0 {
            return Ok(());
        }
        let now = self.clock.now();
        let Some(row) = self.ports.store.trigger_get(backfill.tenant, backfill.trigger).await? else {
            return Ok(());
        };
        let workflow = self.snapshots.workflow(&row).await?;
        let found = workflow.as_deref().and_then(|workflow| workflow.trigger(&row.name).zip(Some(workflow)));
        let Some((trigger, workflow)) = found else { return Ok(()) };
        let Some(timed) = trigger.timed() else { return Ok(()) };
        let (fires, is_last) = next_fires(timed, backfill, room);
        let cursor = fires.last().copied().or(backfill.cursor);
        let fires: Vec<Fire> = fires
            .into_iter()
            .map(|fire| {
                let why = Why { fire_time: Some(fire), backfill: Some(backfill.id), ..Why::default() };
                let reason = format!("backfill: {}", backfill.reason);
                started(&row, trigger, workflow, fire, &reason, why, Priority::Low, now)
            })
            .collect();
        let step = ScheduleStep {
            tenant: backfill.tenant,
            trigger: backfill.trigger,
            cursor: Cursor::Backfill { id: backfill.id, seen: backfill.cursor, cursor, is_done: is_last },
            fires,
            at: now,
        };
        // Superseded or refused: looked at again in a second.
        self.commit(step).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use shared::{
        ids::{BackfillId, TenantId, TriggerId, WorkflowId},
        port::triggers::BackfillStatus,
        schedule::Schedule,
        workflow::triggers::{Catchup, Overlap},
    };

    use super::*;

    fn backfill(newest_first: bool) -> Backfill {
        let at = Timestamp::from_micros;
        Backfill {
            id: BackfillId::generate(),
            tenant: TenantId::DEFAULT,
            trigger: TriggerId::of(WorkflowId::generate(), "s"),
            from: at(10_000_000),
            to: at(50_000_000),
            newest_first,
            parallel: 1,
            reason: String::new(),
            status: BackfillStatus::Running,
            cursor: None,
            total: 5,
            started: 0,
            skipped: 0,
            created_by: String::new(),
            created_at: at(0),
            updated_at: at(0),
        }
    }

    #[test]
    fn a_backfill_goes_through_its_range_once_in_either_order_whatever_the_size_of_its_steps() {
        let schedule = Schedule::every(std::time::Duration::from_secs(10)).expect("a pace");
        let timed = Timed { schedule, catchup: Catchup::Last, catchup_max: 1, overlap: Overlap::Skip };
        let forth: Vec<i64> = vec![10, 20, 30, 40, 50];
        let back: Vec<i64> = forth.iter().rev().copied().collect();
        for newest_first in [false, true] {
            for most in 1..8 {
                let mut backfill = backfill(newest_first);
                let mut all = Vec::new();
                loop {
                    let (fires, is_last) = next_fires(&timed, &backfill, most);
                    all.extend(fires.iter().map(|fire| fire.as_micros() / 1_000_000));
                    backfill.cursor = fires.last().copied().or(backfill.cursor);
                    if is_last {
                        break;
                    }
                }
                assert_eq!(all, if newest_first { back.clone() } else { forth.clone() }, "{most} at a time");
            }
        }
    }
}
