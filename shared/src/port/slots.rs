//! Places under keys: who may hold one, who waits in line, and what a turn may take.
//!
//! The arithmetic is the same for every store: [`Places`] says of one turn after the other whether it may have what
//! it asks for. Stores keep the rows.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
};

use crate::{
    execution::TaskKey,
    ids::{ExecutionId, TenantId},
    time::Timestamp,
    workflow::Priority,
};

/// The key that every running execution holds, so that `max_concurrent_executions` is a set of rows.
pub const EXECUTIONS_KEY: &str = "executions";

/// Whether tenants take turns in the line of this key, by weight.
///
/// Then the group of its claims is the tenant, whose own executions go by priority and then by who came first. In
/// lines of other keys groups are equal and a rank is given once, when one begins to wait.
pub fn tenants_take_turns(key: &str) -> bool {
    key == EXECUTIONS_KEY
}

/// The group of a tenant's claims in such a line. The migrations write it too.
pub fn tenant_group(tenant: TenantId) -> String {
    tenant.as_uuid().simple().to_string()
}

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
    /// How many turns the group has where one of weight 1 has one.
    pub weight: u32,
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
        (Some(_), _) if !tenants_take_turns(&claim.key) => served.max(last) + 1,
        (_, Priority::High) => 0,
        (_, Priority::Normal) => 1,
        (_, Priority::Low) => 2,
    }
}

/// From one turn of a group of weight 1 to its next. Other weights have a whole share of it.
pub const ROUND: i64 = 1_000_000;

/// From one turn of a group to its next.
pub fn step(weight: u32) -> i64 {
    (ROUND / i64::from(weight.max(1))).max(1)
}

/// Where a group stands that takes turns with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// When its next turn is: the lowest is first, and among equals the lower group.
    pub turn: i64,
    /// From one turn of it to the next.
    pub step: i64,
    /// The last turn that it had.
    pub served: i64,
    /// Whether anybody of it waits.
    pub waits: bool,
}

/// Groups that take turns by weight: start-time fair queueing, as [`rank`], but with a turn for each group and not
/// for each that waits, so that a group may put its own in any order.
#[derive(Debug, Clone)]
pub struct Turns<G> {
    lanes: BTreeMap<G, Lane>,
}

impl<G> Default for Turns<G> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new() }
    }
}

impl<G: Ord + Clone> Turns<G> {
    pub fn get<Q: Ord + ?Sized>(&self, group: &Q) -> Option<Lane>
    where
        G: Borrow<Q>,
    {
        self.lanes.get(group).copied()
    }

    /// Puts a group where it stood.
    pub fn put(&mut self, group: G, lane: Lane) {
        self.lanes.insert(group, lane);
    }

    /// Says of each group whether anybody of it waits.
    pub fn wait(&mut self, waits: impl Fn(&G) -> bool) {
        for (group, lane) in &mut self.lanes {
            lane.waits = waits(group);
        }
    }

    /// Somebody of the group begins to wait. If it is the first of it, the group has not saved up the turns that it did
    /// not need, and has not got rid of those it had in advance.
    pub fn join(&mut self, group: G, weight: u32) {
        let begin = self.served();
        let lane =
            self.lanes.entry(group).or_insert(Lane { turn: begin, step: ROUND, served: 0, waits: false });
        if !lane.waits {
            lane.turn = lane.turn.max(begin);
        }
        (lane.step, lane.waits) = (step(weight), true);
    }

    /// Somebody of the group who waited was given a place.
    pub fn serve(&mut self, group: &G, weight: u32) {
        if let Some(lane) = self.lanes.get_mut(group) {
            lane.step = step(weight);
            lane.served = lane.turn;
            lane.turn += lane.step;
        }
    }

    /// The last turn that anybody had: here begins who did not wait.
    fn served(&self) -> i64 {
        self.lanes.values().map(|lane| lane.served).max().unwrap_or(0)
    }

    /// Forgets those who do not wait and would begin where all others begin; answers which.
    pub fn forget(&mut self) -> Vec<G> {
        let begin = self.served();
        let is_over = |lane: &Lane| !lane.waits && lane.turn <= begin;
        let over = self.lanes.iter().filter(|(_, lane)| is_over(lane)).map(|(group, _)| group.clone());
        let over: Vec<G> = over.collect();
        self.lanes.retain(|_, lane| !is_over(lane));
        over
    }

    /// When the turn comes of the one before whom `before` others of its group wait.
    pub fn turn<Q: Ord + ?Sized>(&self, group: &Q, before: usize) -> i64
    where
        G: Borrow<Q>,
    {
        self.get(group).map_or(0, |lane| lane.turn + lane.step * before as i64)
    }
}

/// The rows of slots and lines, for stores that keep them in memory.
#[derive(Debug, Clone, Default)]
pub struct SlotRows {
    slots: BTreeMap<Owner, Row>,
    waits: BTreeMap<Owner, Row>,
    /// Where the tenants stand that take turns, by key.
    turns: HashMap<String, Turns<String>>,
}

type Owner = (String, ExecutionId, Option<TaskKey>);

#[derive(Debug, Clone)]
struct Row {
    since: Timestamp,
    limit: u32,
    group: Option<String>,
    rank: i64,
}

impl Row {
    fn group(&self) -> &str {
        self.group.as_deref().unwrap_or_default()
    }
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
            let waited = self.waits.remove(&owner);
            if waited.is_some() && tenants_take_turns(&claim.key) {
                let group = claim.group.clone().unwrap_or_default();
                self.turns.entry(claim.key.clone()).or_default().serve(&group, claim.weight);
            }
            let rank = waited.map_or_else(|| self.served(&claim.key), |row| row.rank);
            let row = Row { since: at, limit: claim.limit, group: claim.group.clone(), rank };
            self.slots.entry(owner).or_insert(row);
        }
        for claim in wait {
            if tenants_take_turns(&claim.key) {
                let mut turns = self.turns.remove(&claim.key).unwrap_or_default();
                turns.wait(|group| {
                    self.waits.iter().any(|((of, ..), row)| *of == claim.key && row.group() == group)
                });
                turns.join(claim.group.clone().unwrap_or_default(), claim.weight);
                turns.forget();
                self.turns.insert(claim.key.clone(), turns);
            }
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
        let Some(turns) = self.turns.get(key) else {
            return line.into_iter().map(|(owner, _)| owner.clone()).collect();
        };
        let mut before: HashMap<&str, usize> = HashMap::new();
        let mut by_turn: Vec<(i64, &str, &Owner)> = Vec::with_capacity(line.len());
        for (owner, row) in line {
            let before = before.entry(row.group()).or_default();
            by_turn.push((turns.turn(row.group(), *before), row.group(), owner));
            *before += 1;
        }
        by_turn.sort();
        by_turn.into_iter().map(|(.., owner)| owner.clone()).collect()
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
            weight: 1,
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

    /// A line for executions in which tenants take turns.
    struct Crowd {
        rows: SlotRows,
        /// Who waits, of which tenant, and with which weight.
        waiting: HashMap<ExecutionId, SlotClaim>,
        holder: ExecutionId,
        now: i64,
    }

    impl Crowd {
        fn new() -> Self {
            let holder = ExecutionId::generate();
            let mut crowd = Self { rows: SlotRows::default(), waiting: HashMap::new(), holder, now: 0 };
            let first = Self::of("nobody", 1, Priority::Normal);
            crowd.rows.commit((holder, Timestamp::from_micros(0)), &[], &[first], &[]).expect("it is free");
            crowd
        }

        fn of(tenant: &str, weight: u32, priority: Priority) -> SlotClaim {
            SlotClaim { group: Some(tenant.to_owned()), weight, priority, ..claim(EXECUTIONS_KEY, 1, None) }
        }

        fn join(&mut self, tenant: &str, weight: u32, priority: Priority) -> ExecutionId {
            let (id, claim) = (ExecutionId::generate(), Self::of(tenant, weight, priority));
            self.now += 1;
            let at = Timestamp::from_micros(self.now);
            self.rows.commit((id, at), &[], &[], std::slice::from_ref(&claim)).expect("it is full");
            self.waiting.insert(id, claim);
            id
        }

        /// The place becomes free, and who is next takes it: who, and of which tenant.
        fn serve(&mut self) -> (ExecutionId, String) {
            self.rows.release(self.holder);
            let next = self.rows.next_in_line(EXECUTIONS_KEY)[0];
            let claim = self.waiting.remove(&next).expect("it waited");
            self.now += 1;
            let at = Timestamp::from_micros(self.now);
            self.rows.commit((next, at), &[], std::slice::from_ref(&claim), &[]).expect("it is next");
            self.holder = next;
            (next, claim.group.unwrap_or_default())
        }

        fn order(&self) -> Vec<ExecutionId> {
            let line = self.rows.owners(EXECUTIONS_KEY, 1_000).waiting;
            line.into_iter().map(|owner| owner.execution).collect()
        }
    }

    #[test]
    fn tenants_take_turns_by_weight_and_each_orders_its_own() {
        let mut crowd = Crowd::new();
        let a: Vec<ExecutionId> = (0..5).map(|_| crowd.join("a", 2, Priority::Normal)).collect();
        let b: Vec<ExecutionId> = (0..2).map(|_| crowd.join("b", 1, Priority::Normal)).collect();
        assert_eq!(crowd.order(), [a[0], b[0], a[1], a[2], b[1], a[3], a[4]]);
        // Who is urgent comes before its own, and not before those of others.
        let high = crowd.join("b", 1, Priority::High);
        let low = crowd.join("a", 2, Priority::Low);
        let expected = [a[0], high, a[1], a[2], b[0], a[3], a[4], b[1], low];
        assert_eq!(crowd.order(), expected);
        let served: Vec<ExecutionId> = expected.iter().map(|_| crowd.serve().0).collect();
        assert_eq!(served, expected, "whoever is served, the others keep their order");
    }

    #[test]
    fn a_tenant_saves_up_no_turns_and_loses_none_to_a_flood_of_urgent_ones() {
        let mut crowd = Crowd::new();
        for _ in 0..50 {
            crowd.join("a", 1, Priority::High);
        }
        for _ in 0..20 {
            assert_eq!(crowd.serve().1, "a");
        }
        for _ in 0..20 {
            crowd.join("b", 1, Priority::Low);
        }
        let served: Vec<String> = (0..20).map(|_| crowd.serve().1).collect();
        let of_b = served.iter().filter(|tenant| *tenant == "b").count();
        assert!((10..=11).contains(&of_b), "{served:?}");
        // All of b goes; when it is back, it has a turn at once, and no more than its share.
        for id in crowd.order() {
            if crowd.waiting[&id].group.as_deref() == Some("b") {
                crowd.rows.release(id);
                crowd.waiting.remove(&id);
            }
        }
        for _ in 0..5 {
            crowd.serve();
        }
        for _ in 0..5 {
            crowd.join("b", 1, Priority::Normal);
        }
        let served: Vec<String> = (0..6).map(|_| crowd.serve().1).collect();
        let of_b = served.iter().filter(|tenant| *tenant == "b").count();
        assert!((3..=4).contains(&of_b), "{served:?}");
    }

    #[test]
    fn who_need_not_be_remembered_is_forgotten() {
        let mut turns: Turns<&str> = Turns::default();
        turns.join("a", 1);
        turns.join("b", 1);
        turns.serve(&"a", 1);
        turns.wait(|group| *group == "b");
        turns.serve(&"b", 1);
        assert!(turns.forget().is_empty(), "a has had a turn in advance");
        turns.serve(&"b", 1);
        assert_eq!(turns.forget(), ["a"]);
        turns.wait(|_| false);
        assert!(turns.forget().is_empty(), "somebody must know where new ones begin");
        turns.join("c", 1);
        assert_eq!(turns.turn(&"c", 0), ROUND);
    }

    #[test]
    fn who_comes_again_at_once_keeps_its_share() {
        let mut turns: Turns<&str> = Turns::default();
        let weights = HashMap::from([("a", 1), ("b", 3)]);
        let mut given = HashMap::from([("a", 0), ("b", 0)]);
        for _ in 0..40 {
            for (group, weight) in &weights {
                turns.join(group, *weight);
            }
            let next = weights.keys().copied().min_by_key(|group| (turns.turn(group, 0), *group));
            let next = next.expect("both wait");
            turns.serve(&next, weights[next]);
            turns.wait(|group| *group != next);
            turns.forget();
            *given.entry(next).or_default() += 1;
        }
        assert!((9..=11).contains(&given["a"]), "{given:?}");
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(64))]

        /// While two tenants wait, what each was given is in proportion to its weight, but for a turn of each.
        #[test]
        fn what_tenants_are_given_is_in_proportion(
            (one, two) in (1u32..=20, 1u32..=20),
            priorities in proptest::collection::vec(0..3u8, 60),
        ) {
            let mut crowd = Crowd::new();
            let priority = |at: usize| match priorities[at % priorities.len()] {
                0 => Priority::High,
                1 => Priority::Normal,
                _ => Priority::Low,
            };
            for at in 0..3 {
                crowd.join("one", one, priority(at));
                crowd.join("two", two, priority(at + 1));
            }
            let mut served = [0.0, 0.0];
            for at in 0..60 {
                let tenant = crowd.serve().1;
                let (index, weight) = if tenant == "one" { (0, one) } else { (1, two) };
                served[index] += 1.0 / f64::from(weight);
                crowd.join(&tenant, weight, priority(at));
                let most = 1.0 / f64::from(one) + 1.0 / f64::from(two) + 0.001;
                let apart: f64 = served[0] - served[1];
                proptest::prop_assert!(apart.abs() <= most, "{served:?} after {at}");
            }
            // A third one is served within a round.
            crowd.join("three", 1, Priority::Low);
            let within = (0..=one + two + 2).any(|_| {
                let tenant = crowd.serve().1;
                let weight = if tenant == "one" { one } else { two };
                if tenant != "three" {
                    crowd.join(&tenant, weight, Priority::High);
                }
                tenant == "three"
            });
            proptest::prop_assert!(within);
        }
    }
}
