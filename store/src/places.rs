//! Places under keys, as the turns of a transaction give them back, take them and wait for them.
//!
//! The arithmetic is that of [`Places`]; here its rows are read and written. Whoever takes or waits holds the key
//! ([`Engine::lock`]); whoever gives back does not. A coordinator that has given a place back looks for who is next.
//! So that it finds everyone, a turn that is to stand in line first waits for places that are being given back, and
//! holds the others until it stands there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use shared::{
    execution::TaskKey,
    ids::ExecutionId,
    port::slots::{
        FullSlot, KeyPlaces, Lane, MOST_OWNERS, Places, SlotClaim, SlotOwner, SlotOwners, Turns, rank,
        tenants_take_turns,
    },
    port::store::{Commit, Kept, StoreError},
};
use uuid::Uuid;

use crate::{
    dialect::{At, Batch, Cell, Engine},
    turns::{
        self, BLOCK, COUNT_SLOTS, Chain, DROP_TURNS, FORGET_STANDS, GIVE_SLOTS, HELD_SLOTS, HOLDERS, Halt,
        JOIN_LINES, KEEP_STANDS, LEAVE_LINES, LINE, ROUNDS, STANDS, Step, TAKE_SLOTS, WAITING,
    },
};

/// The task of a row; empty where there is none.
pub(crate) fn text(task: Option<&TaskKey>) -> String {
    task.map_or_else(String::new, ToString::to_string)
}

pub(crate) fn task(text: &str) -> Result<Option<TaskKey>, StoreError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| StoreError::Corrupt(Box::new(error)))
}

fn read(text: &str) -> Result<Option<TaskKey>, sqlx::Error> {
    task(text).map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

/// Executions in the order they come first.
pub(crate) fn each_once(ids: Vec<Uuid>) -> Vec<ExecutionId> {
    let mut seen = HashSet::new();
    ids.into_iter().filter(|id| seen.insert(*id)).map(ExecutionId::from_uuid).collect()
}

/// What is known of the keys of one transaction.
#[derive(Default)]
struct Known {
    places: Places,
    /// The ranks of those in line.
    ranks: HashMap<(String, Uuid, String), i32>,
    /// The last round served of a key, and the last one of a group.
    served: HashMap<String, i64>,
    last: HashMap<(String, String), i64>,
    /// Of keys whose tenants take turns, when anybody waits: where they stand, and who moved.
    turns: HashMap<String, Turns<String>>,
    moved: BTreeSet<(String, String)>,
}

/// Rows that are written at the end of a transaction, unless a later turn of it takes them back: by execution, with
/// their tasks and keys.
#[derive(Default)]
struct Pending<'a>(BTreeMap<Uuid, Vec<PendingRow<'a>>>);

type PendingRow<'a> = (String, &'a str, [Cell; 7]);

impl<'a> Pending<'a> {
    fn add(&mut self, of: Uuid, task: String, key: &'a str, row: [Cell; 7]) {
        let rows = self.0.entry(of).or_default();
        // No statement may write a row twice: what is there stays.
        if !rows.iter().any(|(held, on, _)| *held == task && *on == key) {
            rows.push((task, key, row));
        }
    }

    fn drop_whole(&mut self, of: Uuid) {
        self.0.remove(&of);
    }

    fn drop_all(&mut self, of: Uuid, task: &str) {
        if let Some(rows) = self.0.get_mut(&of) {
            rows.retain(|(held, ..)| held != task);
        }
    }

    fn drop_one(&mut self, of: Uuid, task: &str, key: &str) {
        if let Some(rows) = self.0.get_mut(&of) {
            rows.retain(|(held, on, _)| !(held == task && *on == key));
        }
    }

    fn cells(self) -> Vec<Cell> {
        self.0.into_values().flatten().flat_map(|(.., row)| row).collect()
    }
}

/// Lets each turn have what it asks for, in the order of the steps; one that cannot takes back itself and what
/// follows it.
pub(crate) async fn settle(
    engine: &mut impl Engine,
    steps: &[&Step],
    chains: &[Chain],
    answers: &mut [Option<Kept>],
) -> Result<(), Halt> {
    let open: Vec<usize> = (0..steps.len()).filter(|index| answers[*index].is_none()).collect();
    let asks = |step: &Step| !step.commit.take.is_empty() || !step.commit.wait.is_empty();
    let asking: HashSet<Uuid> =
        open.iter().filter(|index| asks(steps[**index])).map(|index| steps[*index].id()).collect();
    // What others give back in this batch makes room first.
    let (mut ending, mut given) = (BTreeSet::new(), Vec::new());
    for step in open.iter().map(|index| steps[*index]).filter(|step| !asking.contains(&step.id())) {
        given.extend(step.commit.give.iter().map(|task| (step.id(), text(task.as_ref()))));
        if step.commit.release && !asking.is_empty() {
            ending.insert(step.id());
        }
    }
    give(engine, given).await?;
    if asking.is_empty() {
        return Ok(());
    }
    engine.run(&turns::RELEASE_SLOTS, ending.into_iter().map(Cell::from).collect()).await?;

    let claims: Vec<&SlotClaim> = open
        .iter()
        .flat_map(|index| steps[*index].commit.take.iter().chain(&steps[*index].commit.wait))
        .collect();
    // A place that is being given back is free, and whoever gives one back later sees who stands in line.
    let waiting: BTreeSet<&str> =
        open.iter().flat_map(|index| &steps[*index].commit.wait).map(|claim| claim.key.as_str()).collect();
    for key in &waiting {
        engine.settle_slots(key).await?;
    }
    let mut known = Known::default();
    // Turn 1 is the acceptance: whose first turn this is holds nothing yet.
    let fresh: HashSet<Uuid> =
        open.iter().map(|index| steps[*index]).filter(|step| step.seq() == 2).map(Step::id).collect();
    let ids = asking.difference(&fresh).map(|id| Cell::from(*id)).collect();
    for (key, of, held) in engine.fetch::<(String, Uuid, String)>(&HELD_SLOTS, ids).await? {
        known.places.held.insert((key, ExecutionId::from_uuid(of), read(&held)?));
    }
    let keys: BTreeSet<&str> = claims.iter().map(|claim| claim.key.as_str()).collect();
    known.count(engine, keys.into_iter(), &claims).await?;
    known.rounds(engine, &claims).await?;
    known.stands(engine, &waiting).await?;

    let (mut given, mut taken, mut joined) = (Vec::new(), Pending::default(), Pending::default());
    let (mut dropped, mut blocked) = (Vec::new(), Vec::new());
    for chain in chains {
        let mut refused = false;
        for member in &chain.members {
            let step = steps[*member];
            if answers[*member].is_some() {
                continue;
            }
            if refused {
                answers[*member] = Some(Kept::Superseded);
                dropped.extend([Cell::from(step.id()), step.seq().into()]);
                continue;
            }
            if !asking.contains(&step.id()) {
                continue;
            }
            let commit = &step.commit;
            let of = commit.turn.execution;
            if let Err(keys) = known.places.ask(of, &commit.give, &commit.take, &commit.wait) {
                refused = true;
                dropped.extend([Cell::from(step.id()), step.seq().into()]);
                answers[*member] = Some(Kept::Refused { full: full(engine, keys, commit).await? });
                continue;
            }
            // Also what an earlier turn of this transaction took or waits for is given back.
            if commit.release {
                taken.drop_whole(step.id());
                joined.drop_whole(step.id());
            }
            for task in commit.give.iter().map(|task| text(task.as_ref())) {
                taken.drop_all(step.id(), &task);
                joined.drop_all(step.id(), &task);
                given.push((step.id(), task));
            }
            for claim in &commit.take {
                let task = text(claim.task.as_ref());
                joined.drop_one(step.id(), &task, &claim.key);
                let waited = known.ranks.remove(&(claim.key.clone(), step.id(), task.clone()));
                let served = known.served.get(&claim.key).copied().unwrap_or(0) as i32;
                if waited.is_some() {
                    given.push((step.id(), task.clone()));
                    known.serve(claim);
                }
                taken.add(step.id(), task, &claim.key, row(step, claim, waited.unwrap_or(served)));
            }
            for claim in &commit.wait {
                known.join(claim);
                let rank = known.rank(claim);
                let task = text(claim.task.as_ref());
                joined.add(step.id(), task, &claim.key, row(step, claim, rank));
                if claim.task.is_none() {
                    let tenant = *commit.tenant.as_uuid();
                    blocked.extend([Cell::from(step.id()), tenant.into(), claim.key.clone().into()]);
                }
            }
        }
    }
    give(engine, given).await?;
    engine.run(&TAKE_SLOTS, taken.cells()).await?;
    engine.run(&JOIN_LINES, joined.cells()).await?;
    known.keep_stands(engine).await?;
    engine.run(&DROP_TURNS, dropped).await?;
    engine.run(&BLOCK, blocked).await?;
    Ok(())
}

async fn give(engine: &mut impl Engine, mut given: Vec<(Uuid, String)>) -> Result<(), sqlx::Error> {
    given.sort();
    given.dedup();
    let cells: Vec<Cell> =
        given.into_iter().flat_map(|(of, task)| [Cell::from(of), Cell::from(task)]).collect();
    engine.run(&GIVE_SLOTS, cells.clone()).await?;
    engine.run(&LEAVE_LINES, cells).await?;
    Ok(())
}

fn row(step: &Step, claim: &SlotClaim, rank: i32) -> [Cell; 7] {
    [
        claim.key.clone().into(),
        step.id().into(),
        text(claim.task.as_ref()).into(),
        step.commit.turn.at.into(),
        i32::try_from(claim.limit).unwrap_or(i32::MAX).into(),
        claim.group.clone().into(),
        rank.into(),
    ]
}

impl Known {
    /// Reads how many hold these keys, and as much of their lines as there could be places for.
    async fn count(
        &mut self,
        engine: &mut impl Engine,
        keys: impl Iterator<Item = &str>,
        claims: &[&SlotClaim],
    ) -> Result<(), sqlx::Error> {
        let cells = keys.map(|key| key.to_owned().into()).collect();
        let counts: Vec<(String, i64, i64)> = engine.fetch(&COUNT_SLOTS, cells).await?;
        for (key, holders, has_line) in counts {
            let mut line = Vec::new();
            if has_line > 0 {
                let of_it = claims.iter().filter(|claim| claim.key == key);
                let limit = of_it.clone().map(|claim| i64::from(claim.limit)).max().unwrap_or(0);
                // Each turn of the batch may give some back.
                let most = (limit - holders).max(0) + of_it.count() as i64 + 1;
                let most = i32::try_from(most).unwrap_or(i32::MAX);
                let front = if tenants_take_turns(&key) {
                    let rows = engine.line_by_turns(&key, most.into()).await?;
                    rows.into_iter().map(|(of, task, _, rank)| (of, task, rank)).collect()
                } else {
                    engine.fetch::<(Uuid, String, i32)>(&LINE, vec![key.clone().into(), most.into()]).await?
                };
                for (of, task, rank) in front {
                    line.push((ExecutionId::from_uuid(of), read(&task)?));
                    self.ranks.insert((key.clone(), of, task), rank);
                }
            }
            self.places.keys.insert(key, KeyPlaces { holders: holders as u32, line });
        }
        Ok(())
    }

    async fn rounds(&mut self, engine: &mut impl Engine, claims: &[&SlotClaim]) -> Result<(), sqlx::Error> {
        let in_rounds = claims.iter().filter(|claim| !tenants_take_turns(&claim.key));
        let groups: BTreeSet<(&str, &str)> =
            in_rounds.filter_map(|claim| Some((claim.key.as_str(), claim.group.as_deref()?))).collect();
        let cells =
            groups.iter().flat_map(|(key, group)| [(*key).to_owned().into(), (*group).to_owned().into()]);
        let rounds: Vec<(String, String, i32, i32, i32)> = engine.fetch(&ROUNDS, cells.collect()).await?;
        for (key, group, served, held, waiting) in rounds {
            self.served.insert(key.clone(), served.into());
            self.last.insert((key, group), held.max(waiting).into());
        }
        Ok(())
    }

    /// Reads where tenants stand, of keys that anybody waits for.
    async fn stands(
        &mut self,
        engine: &mut impl Engine,
        waiting: &BTreeSet<&str>,
    ) -> Result<(), sqlx::Error> {
        let has_line = |key: &str| self.places.keys.get(key).is_some_and(|places| !places.line.is_empty());
        let keys = self.places.keys.keys().map(String::as_str).filter(|key| tenants_take_turns(key));
        let keys: Vec<String> =
            keys.filter(|key| waiting.contains(key) || has_line(key)).map(ToOwned::to_owned).collect();
        for key in keys {
            let mut turns = Turns::default();
            let rows: Vec<(String, i64, i64, i64, i64)> =
                engine.fetch(&STANDS, vec![key.clone().into()]).await?;
            for (group, turn, step, served, waits) in rows {
                turns.put(group, Lane { turn, step, served, waits: waits > 0 });
            }
            self.turns.insert(key, turns);
        }
        Ok(())
    }

    /// One begins to wait: so does its tenant, perhaps.
    fn join(&mut self, claim: &SlotClaim) {
        self.moves(claim, |turns, group| turns.join(group.to_owned(), claim.weight));
    }

    /// One that waited has its place: its tenant has had a turn.
    fn serve(&mut self, claim: &SlotClaim) {
        self.moves(claim, |turns, group| turns.serve(group, claim.weight));
    }

    fn moves(&mut self, claim: &SlotClaim, moved: impl FnOnce(&mut Turns<String>, &String)) {
        if let (Some(turns), Some(group)) = (self.turns.get_mut(&claim.key), &claim.group) {
            moved(turns, group);
            self.moved.insert((claim.key.clone(), group.clone()));
        }
    }

    /// Writes where tenants stand now. Who need not be remembered goes.
    async fn keep_stands(&mut self, engine: &mut impl Engine) -> Result<(), sqlx::Error> {
        let mut forgotten = Vec::new();
        for (key, turns) in &mut self.turns {
            for group in turns.forget() {
                forgotten.extend([Cell::from(key.clone()), group.into()]);
            }
        }
        let mut kept = Vec::new();
        for (key, group) in &self.moved {
            if let Some(lane) = self.turns.get(key).and_then(|turns| turns.get(group)) {
                kept.extend([
                    Cell::from(key.clone()),
                    group.clone().into(),
                    lane.turn.into(),
                    lane.step.into(),
                    lane.served.into(),
                ]);
            }
        }
        engine.run(&KEEP_STANDS, kept).await?;
        engine.run(&FORGET_STANDS, forgotten).await?;
        Ok(())
    }

    /// Where one comes that begins to wait.
    fn rank(&mut self, claim: &SlotClaim) -> i32 {
        let of = claim.group.as_ref().map(|group| (claim.key.clone(), group.clone()));
        let served = self.served.get(&claim.key).copied().unwrap_or(0);
        let last = of.as_ref().and_then(|of| self.last.get(of)).copied().unwrap_or(0);
        let rank = rank(claim, served, last);
        if let Some(of) = of {
            self.last.insert(of, rank);
        }
        i32::try_from(rank).unwrap_or(i32::MAX)
    }
}

/// What stands about keys that were refused.
async fn full(
    engine: &mut impl Engine,
    refused: HashMap<String, u32>,
    commit: &Commit,
) -> Result<HashMap<String, FullSlot>, sqlx::Error> {
    let mut full = HashMap::with_capacity(refused.len());
    for (key, free) in refused {
        let mut claims = commit.take.iter().chain(&commit.wait).filter(|claim| claim.key == key);
        let owners = if claims.any(|claim| claim.displaces) {
            SlotOwners {
                holders: owners(engine, &HOLDERS, &key).await?,
                waiting: owners(engine, &WAITING, &key).await?,
            }
        } else {
            SlotOwners::default()
        };
        full.insert(key, FullSlot { free, owners });
    }
    Ok(full)
}

async fn owners(
    engine: &mut impl Engine,
    batch: &'static Batch,
    key: &str,
) -> Result<Vec<SlotOwner>, sqlx::Error> {
    let cells = vec![key.to_owned().into(), (MOST_OWNERS as i32).into()];
    let rows: Vec<(Uuid, String, At)> = engine.fetch(batch, cells).await?;
    rows.into_iter().map(|(of, task, since)| owner(of, &task, since)).collect()
}

/// An owner as its row says.
pub(crate) fn owner(of: Uuid, task: &str, since: At) -> Result<SlotOwner, sqlx::Error> {
    Ok(SlotOwner { execution: ExecutionId::from_uuid(of), task: read(task)?, since: since.0 })
}
