//! Places under keys: who may hold one, who waits in line, and what a turn may take.
//!
//! The arithmetic is the same for every store: [`Places`] says of one turn after the other whether it may have what
//! it asks for. Stores keep the rows.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::{execution::TaskKey, ids::ExecutionId, time::Timestamp, workflow::Priority};

/// The key that every running execution holds, so that `max_concurrent_executions` is a set of rows.
pub const EXECUTIONS_KEY: &str = "executions";

/// A slot key as its author wrote it; keys have prefixes that keep them apart.
pub fn written_key(key: &str) -> &str {
    if key == EXECUTIONS_KEY {
        return "all executions";
    }
    match key.splitn(3, '/').nth(2) {
        // Of `fair` there is no single key.
        None => "all keys of the workflow",
        Some(text) => text.strip_suffix('/').unwrap_or(text),
    }
}

/// Owners of one key that are named at once.
pub const MOST_OWNERS: u32 = 1_000;

/// A slot that a turn takes, or waits in line for: a row with an owner, never a counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotClaim {
    pub key: String,
    /// How many may hold the key at once.
    pub limit: u32,
    /// The task that is to hold it; absent when the execution as a whole is.
    pub task: Option<TaskKey>,
    /// Who is more urgent comes first in the line.
    pub priority: Priority,
    /// With which others it takes turns: the line goes round the groups of its key. Absent where it does not.
    pub group: Option<String>,
    /// Whether a refusal must name those in its way.
    pub displaces: bool,
}

/// One that holds a slot, or waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotOwner {
    pub execution: ExecutionId,
    /// Absent when the execution as a whole does.
    pub task: Option<TaskKey>,
    pub since: Timestamp,
}

/// Who holds a key, the oldest first, and who waits in its line, the next first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotOwners {
    pub holders: Vec<SlotOwner>,
    pub waiting: Vec<SlotOwner>,
}

/// Why a claim was refused: what stands about its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FullSlot {
    /// Places that the execution may take now.
    pub free: u32,
    /// Who holds it or waits for it, when the claim asks for them; at most [`MOST_OWNERS`] of each.
    pub owners: SlotOwners,
}

/// The places under one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPlaces {
    pub holders: u32,
    /// Who waits, the next first. It may be cut off behind as many as places could be free.
    pub line: Vec<(ExecutionId, Option<TaskKey>)>,
}

/// The places that the turns of a commit ask for.
#[derive(Debug, Clone, Default)]
pub struct Places {
    pub keys: HashMap<String, KeyPlaces>,
    /// Which of them the executions that ask hold already.
    pub held: HashSet<(String, ExecutionId, Option<TaskKey>)>,
}

impl Places {
    /// Whether a turn of `execution` may have what it asks for; then it has it. Otherwise the keys that it
    /// cannot have, with how many places of each it could take.
    pub fn ask(
        &mut self,
        execution: ExecutionId,
        give: &[Option<TaskKey>],
        take: &[SlotClaim],
        wait: &[SlotClaim],
    ) -> Result<(), HashMap<String, u32>> {
        let claimed = take.iter().chain(wait).map(|claim| claim.key.clone());
        let left = self.held.iter().filter(|(_, of, task)| *of == execution && give.contains(task));
        let touched: BTreeSet<String> = claimed.chain(left.map(|(key, ..)| key.clone())).collect();
        let mut after: Vec<(String, KeyPlaces)> = touched
            .into_iter()
            .map(|key| {
                let places = self.keys.get(&key).cloned().unwrap_or_default();
                (key, places)
            })
            .collect();
        let mut refused = HashMap::new();
        for (key, places) in &mut after {
            let key = key.as_str();
            for task in give {
                if self.held.contains(&(key.to_owned(), execution, task.clone())) {
                    places.holders = places.holders.saturating_sub(1);
                }
                places.leave(execution, task.as_ref());
            }
            let new = |claim: &&SlotClaim| {
                claim.key == key
                    && (give.contains(&claim.task)
                        || !self.held.contains(&(key.to_owned(), execution, claim.task.clone())))
            };
            let taken: Vec<&SlotClaim> = take.iter().filter(new).collect();
            let limit = take.iter().chain(wait).find(|claim| claim.key == key).map_or(0, |claim| claim.limit);
            let free = places.open_to(execution, limit);
            if taken.len() as u32 > free {
                refused.insert(key.to_owned(), free);
                continue;
            }
            places.holders += taken.len() as u32;
            for claim in &taken {
                places.leave(execution, claim.task.as_ref());
            }
            let waits: Vec<&SlotClaim> = wait.iter().filter(|claim| claim.key == key).collect();
            if !waits.is_empty() && places.open_to(execution, limit) > 0 {
                refused.insert(key.to_owned(), free);
                continue;
            }
            for claim in waits {
                let waiting = (execution, claim.task.clone());
                if !places.line.contains(&waiting) {
                    places.line.push(waiting);
                }
            }
        }
        if !refused.is_empty() {
            return Err(refused);
        }
        for task in give {
            for places in self.keys.values_mut() {
                places.leave(execution, task.as_ref());
            }
            self.held.retain(|(_, of, held)| !(*of == execution && held == task));
        }
        self.keys.extend(after);
        self.held.extend(take.iter().map(|claim| (claim.key.clone(), execution, claim.task.clone())));
        Ok(())
    }
}

impl KeyPlaces {
    fn leave(&mut self, execution: ExecutionId, task: Option<&TaskKey>) {
        self.line.retain(|(of, waiting)| !(*of == execution && waiting.as_ref() == task));
    }

    /// How many places an execution may take: those that are free and nobody comes before it for.
    fn open_to(&self, execution: ExecutionId, limit: u32) -> u32 {
        let free = limit.saturating_sub(self.holders) as usize;
        let own = self.line.iter().take(free).filter(|(of, _)| *of == execution).count();
        (own + free.saturating_sub(self.line.len())) as u32
    }
}

/// Where one that begins to wait comes in its line; the lower, the sooner, and among equals who came first.
///
/// By priority. Where groups take turns it is the number of a round (start-time fair queueing, Goyal, Vin and Cheng
/// 1996): `served` is the last round that was given a place, and `last` the last one of its own group.
pub fn rank(claim: &SlotClaim, served: i64, last: i64) -> i64 {
    match (&claim.group, claim.priority) {
        (Some(_), _) => served.max(last) + 1,
        (None, Priority::High) => 0,
        (None, Priority::Normal) => 1,
        (None, Priority::Low) => 2,
    }
}

/// The rows of slots and lines, for stores that keep them in memory.
#[derive(Debug, Clone, Default)]
pub struct SlotRows {
    slots: BTreeMap<Owner, Row>,
    waits: BTreeMap<Owner, Row>,
}

type Owner = (String, ExecutionId, Option<TaskKey>);

#[derive(Debug, Clone)]
struct Row {
    since: Timestamp,
    limit: u32,
    group: Option<String>,
    rank: i64,
}

impl SlotRows {
    /// What a turn gives back, takes and waits for; nothing, when it may not.
    pub fn commit(
        &mut self,
        (execution, at): (ExecutionId, Timestamp),
        give: &[Option<TaskKey>],
        take: &[SlotClaim],
        wait: &[SlotClaim],
    ) -> Result<(), HashMap<String, FullSlot>> {
        let mut places = Places::default();
        for claim in take.iter().chain(wait) {
            places.keys.entry(claim.key.clone()).or_insert_with(|| KeyPlaces {
                holders: self.holders(&claim.key),
                line: self.line(&claim.key).into_iter().map(|(_, of, task)| (of, task)).collect(),
            });
        }
        places.held = self.slots.keys().filter(|(_, of, _)| *of == execution).cloned().collect();
        if let Err(refused) = places.ask(execution, give, take, wait) {
            let named = |key: &str| take.iter().chain(wait).any(|claim| claim.key == key && claim.displaces);
            let full = refused.into_iter().map(|(key, free)| {
                let owners = if named(&key) { self.owners(&key, MOST_OWNERS) } else { SlotOwners::default() };
                (key, FullSlot { free, owners })
            });
            return Err(full.collect());
        }
        for task in give {
            let stays = |(_, of, held): &Owner| !(*of == execution && held == task);
            self.slots.retain(|owner, _| stays(owner));
            self.waits.retain(|owner, _| stays(owner));
        }
        for claim in take {
            let owner = (claim.key.clone(), execution, claim.task.clone());
            let rank = self.waits.remove(&owner).map_or_else(|| self.served(&claim.key), |row| row.rank);
            let row = Row { since: at, limit: claim.limit, group: claim.group.clone(), rank };
            self.slots.entry(owner).or_insert(row);
        }
        for claim in wait {
            let rank = rank(claim, self.served(&claim.key), self.last(&claim.key, claim.group.as_ref()));
            let row = Row { since: at, limit: claim.limit, group: claim.group.clone(), rank };
            self.waits.entry((claim.key.clone(), execution, claim.task.clone())).or_insert(row);
        }
        Ok(())
    }

    /// Everything of an execution goes.
    pub fn release(&mut self, execution: ExecutionId) {
        self.slots.retain(|(_, of, _), _| *of != execution);
        self.waits.retain(|(_, of, _), _| *of != execution);
    }

    /// Executions in line for which there is a place, in their order, each once.
    pub fn next_in_line(&self, key: &str) -> Vec<ExecutionId> {
        let mut next = Vec::new();
        let holders = self.holders(key);
        for (index, owner) in self.line(key).into_iter().enumerate() {
            let free = self.waits[&owner].limit.saturating_sub(holders) as usize;
            if index < free && !next.contains(&owner.1) {
                next.push(owner.1);
            }
        }
        next
    }

    /// As [`Self::next_in_line`], over all keys.
    pub fn lines_at_rest(&self) -> Vec<ExecutionId> {
        let keys: BTreeSet<&String> = self.waits.keys().map(|(key, ..)| key).collect();
        keys.into_iter().flat_map(|key| self.next_in_line(key)).collect()
    }

    pub fn owners(&self, key: &str, limit: u32) -> SlotOwners {
        let owner = |(_, execution, task): &Owner, row: &Row| SlotOwner {
            execution: *execution,
            task: task.clone(),
            since: row.since,
        };
        let held = self.slots.iter().filter(|((of, ..), _)| of == key);
        let mut holders: Vec<SlotOwner> = held.map(|(of, row)| owner(of, row)).collect();
        holders.sort_by_key(|holder| (holder.since, holder.execution, holder.task.clone()));
        holders.truncate(limit as usize);
        let line = self.line(key).into_iter().take(limit as usize);
        SlotOwners { holders, waiting: line.map(|of| owner(&of, &self.waits[&of])).collect() }
    }

    /// Every slot that is held: its key, by whom, and how many may.
    pub fn held(&self) -> impl Iterator<Item = (&str, ExecutionId, Option<&TaskKey>, u32)> {
        self.slots.iter().map(|((key, of, task), row)| (key.as_str(), *of, task.as_ref(), row.limit))
    }

    /// Everybody in line, and for what.
    pub fn waiting(&self) -> impl Iterator<Item = (&str, ExecutionId, Option<&TaskKey>)> {
        self.waits.keys().map(|(key, of, task)| (key.as_str(), *of, task.as_ref()))
    }

    /// The key that an execution as a whole waits for.
    pub fn blocked_by(&self, execution: ExecutionId) -> Option<&str> {
        self.waiting().find(|(_, of, task)| *of == execution && task.is_none()).map(|(key, ..)| key)
    }

    fn holders(&self, key: &str) -> u32 {
        self.slots.keys().filter(|(of, ..)| of == key).count() as u32
    }

    fn line(&self, key: &str) -> Vec<Owner> {
        let mut line: Vec<(&Owner, &Row)> = self.waits.iter().filter(|((of, ..), _)| of == key).collect();
        line.sort_by_key(|(owner, row)| (row.rank, row.since, (*owner).clone()));
        line.into_iter().map(|(owner, _)| owner.clone()).collect()
    }

    fn served(&self, key: &str) -> i64 {
        self.slots.iter().filter(|((of, ..), _)| of == key).map(|(_, row)| row.rank).max().unwrap_or(0)
    }

    fn last(&self, key: &str, group: Option<&String>) -> i64 {
        let rows = self.slots.iter().chain(&self.waits);
        let of_it = rows.filter(|((of, ..), row)| of == key && row.group.as_ref() == group);
        of_it.map(|(_, row)| row.rank).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(key: &str, limit: u32, task: Option<&str>) -> SlotClaim {
        SlotClaim {
            key: key.to_owned(),
            limit,
            task: task.map(|id| TaskKey::of(id.into())),
            priority: Priority::Normal,
            group: None,
            displaces: false,
        }
    }

    fn task(id: &str) -> TaskKey {
        TaskKey::of(id.into())
    }

    #[test]
    fn as_many_as_the_limit_take_a_place_and_the_others_wait() {
        let (a, b) = (ExecutionId::generate(), ExecutionId::generate());
        let mut places = Places::default();
        assert_eq!(places.ask(a, &[], &[claim("k", 1, None)], &[]), Ok(()));
        assert_eq!(
            places.ask(b, &[], &[claim("k", 1, None)], &[]),
            Err(HashMap::from([("k".to_owned(), 0)]))
        );
        assert_eq!(places.ask(b, &[], &[], &[claim("k", 1, None)]), Ok(()));
        assert_eq!(places.ask(a, &[], &[claim("k", 1, None)], &[]), Ok(()), "it has it already");
        assert_eq!(places.keys["k"], KeyPlaces { holders: 1, line: vec![(b, None)] });
    }

    #[test]
    fn who_waits_in_line_comes_before_who_comes_now() {
        let (a, b) = (ExecutionId::generate(), ExecutionId::generate());
        let mut places = Places::default();
        places.keys.insert("k".to_owned(), KeyPlaces { holders: 0, line: vec![(a, None)] });
        let refused = places.ask(b, &[], &[claim("k", 1, None)], &[]);
        assert_eq!(refused, Err(HashMap::from([("k".to_owned(), 0)])));
        assert_eq!(places.ask(b, &[], &[claim("k", 2, None)], &[]), Ok(()), "there is room for both");
        assert_eq!(places.ask(a, &[], &[claim("k", 2, None)], &[]), Ok(()));
        assert_eq!(places.keys["k"], KeyPlaces { holders: 2, line: Vec::new() });
    }

    #[test]
    fn who_need_not_wait_may_not() {
        let a = ExecutionId::generate();
        let mut places = Places::default();
        let refused = places.ask(a, &[], &[], &[claim("k", 2, Some("x"))]);
        assert_eq!(refused, Err(HashMap::from([("k".to_owned(), 2)])));
        let (x, y, z) = (claim("k", 2, Some("x")), claim("k", 2, Some("y")), claim("k", 2, Some("z")));
        assert_eq!(places.ask(a, &[], &[x, y], &[z]), Ok(()));
    }

    #[test]
    fn what_a_turn_gives_back_it_may_take_again_and_a_refusal_changes_nothing() {
        let (a, b) = (ExecutionId::generate(), ExecutionId::generate());
        let mut places = Places::default();
        places.ask(a, &[], &[claim("k", 1, Some("x"))], &[]).expect("it is free");
        let before = places.clone();
        let refused =
            places.ask(b, &[Some(task("y"))], &[claim("k", 1, Some("y"))], &[claim("other", 1, None)]);
        assert_eq!(refused, Err(HashMap::from([("k".to_owned(), 0), ("other".to_owned(), 1)])));
        assert_eq!((&places.keys, &places.held), (&before.keys, &before.held));
        assert_eq!(places.ask(a, &[Some(task("x"))], &[claim("k", 1, Some("y"))], &[]), Ok(()));
        assert_eq!(places.keys["k"].holders, 1);
        places.ask(b, &[], &[], &[claim("k", 1, Some("y"))]).expect("it is full");
        assert_eq!(
            places.ask(a, &[Some(task("y"))], &[claim("k", 1, Some("z"))], &[]),
            Err(HashMap::from([("k".to_owned(), 0)])),
            "somebody waits for it"
        );
        assert_eq!(places.ask(b, &[Some(task("y"))], &[], &[]), Ok(()), "it leaves the line");
        assert_eq!(places.keys["k"], KeyPlaces { holders: 1, line: Vec::new() });
    }

    #[test]
    fn groups_take_turns_and_priorities_go_first() {
        let at = |n| Timestamp::from_micros(n);
        let mut rows = SlotRows::default();
        let of = |group: &str| SlotClaim { group: Some(group.to_owned()), ..claim("k", 1, None) };
        let ids: Vec<ExecutionId> = (0..7).map(|_| ExecutionId::generate()).collect();
        rows.commit((ids[0], at(0)), &[], &[of("a")], &[]).expect("it is free");
        for (n, group) in ["a", "a", "a", "b", "b", "c"].into_iter().enumerate() {
            rows.commit((ids[n + 1], at(n as i64 + 1)), &[], &[], &[of(group)]).expect("it is full");
        }
        let order: Vec<ExecutionId> =
            rows.owners("k", 10).waiting.into_iter().map(|owner| owner.execution).collect();
        assert_eq!(order, [ids[1], ids[4], ids[6], ids[2], ids[5], ids[3]]);
        assert_eq!(rows.next_in_line("k"), []);
        rows.release(ids[0]);
        assert_eq!(rows.next_in_line("k"), [ids[1]]);
        assert_eq!(rows.lines_at_rest(), [ids[1]]);

        let urgent = SlotClaim { priority: Priority::High, ..claim("q", 1, None) };
        rows.commit((ids[0], at(0)), &[], &[claim("q", 1, None)], &[]).expect("it is free");
        rows.commit((ids[1], at(1)), &[], &[], &[claim("q", 1, None)]).expect("it is full");
        rows.commit((ids[2], at(2)), &[], &[], &[urgent]).expect("it is full");
        let line = rows.owners("q", 10).waiting;
        assert_eq!([line[0].execution, line[1].execution], [ids[2], ids[1]]);
    }
}
