//! Schedules over days on which clocks are changed: two coordinators race on one store and are killed between
//! what they plan and what they keep, nobody is there for hours, and clocks jump. An oracle that knows nothing of the
//! planner says what must become of each fire; none may be missed, none doubled.

#![expect(clippy::print_stdout, reason = "a run says what it did, and with which seed a fault was found")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use async_trait::async_trait;
use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;
use shared::{
    execution::{Event, Status},
    ids::WorkflowId,
    port::{
        sources::{Folders, Listen, Listener, Seen, SeenFile, SourceError, Streams},
        store::{Commit, DynStore, ExecutionFilter, Page, Saved, StatusChange, WorkflowDraft, WorkflowRow},
        triggers::{FireOutcome, FireRow},
    },
    workflow::{
        self,
        triggers::{After, Catchup, Overlap, Timed},
    },
};

use super::{plan::Reason, *};
use crate::explorer::Dice;

/// Fires that are simulated in the test run. `SCHEDULE_FIRES` asks for another number.
const FIRES: u64 = 10_000;
/// Worlds that a fault put in on purpose may survive.
const PATIENCE: u64 = 300;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Changes of the clock, each in its zone. A world begins up to a day and a half before one.
const CHANGES: &[(Tz, &str)] = &[
    (Tz::America__New_York, "2027-03-14T07:00:00Z"),
    (Tz::America__New_York, "2026-11-01T06:00:00Z"),
    (Tz::Europe__Berlin, "2026-03-29T01:00:00Z"),
    (Tz::Europe__Berlin, "2026-10-25T01:00:00Z"),
    // Half an hour.
    (Tz::Australia__Lord_Howe, "2026-10-03T15:30:00Z"),
    (Tz::Australia__Lord_Howe, "2026-04-04T15:00:00Z"),
    // Winter time in Ramadan.
    (Tz::Africa__Casablanca, "2026-02-15T02:00:00Z"),
    (Tz::Africa__Casablanca, "2026-03-22T02:00:00Z"),
];

/// What an author writes, and the same in words of this test: a pace in seconds, or whether a minute of the clock on
/// the wall fits (minute, hour, weekday from Sunday), and whether those are fixed times.
#[derive(Clone, Copy)]
enum Rule {
    Pace(i64),
    Wall(bool, fn(u32, u32, u32) -> bool),
}

/// So many fires that long absences leave more of them than are looked at one by one.
const FAST: (&str, Rule) = ("every: 90s", Rule::Pace(90));
const RULES: &[(&str, Rule)] = &[
    ("every: 25m", Rule::Pace(1_500)),
    ("every: 1h", Rule::Pace(3_600)),
    ("cron: '*/15 * * * *'", Rule::Wall(false, |m, _, _| m.is_multiple_of(15))),
    ("cron: '*/10 1-3 * * *'", Rule::Wall(false, |m, h, _| m.is_multiple_of(10) && (1..=3).contains(&h))),
    ("cron: '20 * * * *'", Rule::Wall(false, |m, _, _| m == 20)),
    ("cron: '30 2 * * *'", Rule::Wall(true, |m, h, _| m == 30 && h == 2)),
    (
        "cron: '0,15,45 1,2,3 * * *'",
        Rule::Wall(true, |m, h, _| [0, 15, 45].contains(&m) && (1..=3).contains(&h)),
    ),
    ("cron: '5 0,12 * * *'", Rule::Wall(true, |m, h, _| m == 5 && (h == 0 || h == 12))),
    ("cron: '45 1,2 * * 0'", Rule::Wall(true, |m, h, w| m == 45 && (h == 1 || h == 2) && w == 0)),
];

/// Every fire after `from` and up to `to`, by looking at each minute.
fn enumerated(rule: Rule, zone: Tz, from: i64, to: i64) -> BTreeSet<i64> {
    let (fixed, fits) = match rule {
        Rule::Pace(seconds) => {
            let pace = seconds * SECOND;
            let first = from / pace + 1;
            return (first..=to / pace).map(|number| number * pace).collect();
        }
        Rule::Wall(fixed, fits) => (fixed, fits),
    };
    let wall = |at: i64| -> NaiveDateTime { instant(at).with_timezone(&zone).naive_local() };
    let fit =
        |local: NaiveDateTime| fits(local.minute(), local.hour(), local.weekday().num_days_from_sunday());
    let minute = TimeDelta::minutes(1);
    // From long before, so that what was left out or shown before counts.
    let mut at = (from - 48 * HOUR).div_euclid(MINUTE) * MINUTE;
    let mut latest = wall(at - MINUTE);
    let mut found = BTreeSet::new();
    while at <= to {
        let local = wall(at);
        let mut fires = !fixed && fit(local);
        // A fixed time counts when the wall shows it first, or has leapt over it.
        while fixed && latest < local {
            latest += minute;
            fires |= fit(latest);
        }
        if fires && at > from {
            found.insert(at);
        }
        at += MINUTE;
    }
    found
}

fn instant(at: i64) -> DateTime<Utc> {
    Timestamp::from_micros(at).to_datetime()
}

/// What must become of a fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Starts,
    Waits,
    Skipped,
}

/// What was there when somebody looked at a schedule.
#[derive(Debug, Clone)]
struct Before {
    last: i64,
    now: i64,
    open: Vec<ExecutionId>,
    pending: Vec<i64>,
}

/// What the documentation of `catchup` and `overlap` says of these due fires, in order; and which of those that wait
/// start.
fn fates(timed: &Timed, before: &Before, due: &[(i64, i64)]) -> (BTreeMap<i64, Fate>, Vec<i64>) {
    let is_late = |carried_out: i64| before.now - carried_out > MINUTE;
    let late: Vec<i64> = due.iter().filter(|(_, at)| is_late(*at)).map(|(fire, _)| *fire).collect();
    let wanted: Vec<i64> = due
        .iter()
        .enumerate()
        .filter(|(index, (fire, at))| {
            !is_late(*at)
                || match timed.catchup {
                    Catchup::None => false,
                    Catchup::Last => index + 1 == due.len(),
                    Catchup::All => {
                        late.iter().filter(|other| *other > fire).count() < timed.catchup_max as usize
                    }
                }
        })
        .map(|(_, (fire, _))| *fire)
        .collect();
    let one_by_one = timed.overlap != Overlap::Allow;
    let mut busy = !before.open.is_empty();
    let mut waiting: Vec<i64> = before.pending.clone();
    let mut released = Vec::new();
    if one_by_one && !busy && !waiting.is_empty() {
        released.push(waiting.remove(0));
        busy = true;
    }
    let mut fates: BTreeMap<i64, Fate> = due.iter().map(|(fire, _)| (*fire, Fate::Skipped)).collect();
    for fire in wanted {
        let queues =
            timed.overlap == Overlap::Queue || (timed.catchup == Catchup::All && late.contains(&fire));
        let is_newest = due.last().is_some_and(|(last, _)| *last == fire);
        let fate = if !one_by_one || (!busy && waiting.is_empty()) {
            busy = true;
            Fate::Starts
        } else if queues && waiting.len() < 1_000 {
            waiting.push(fire);
            Fate::Waits
        } else if !queues && timed.overlap == Overlap::CancelRunning && is_newest {
            Fate::Starts
        } else {
            Fate::Skipped
        };
        fates.insert(fire, fate);
    }
    (fates, released)
}

/// A fault put in on purpose, to see that it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A fire is forgotten.
    Forgets,
    /// What is to be skipped is started.
    Overlaps,
    /// A fire has another instant.
    Shifts,
    /// The cursor moves beyond what was looked at.
    Leaps,
    /// What others did meanwhile is not looked at.
    Unfenced,
}

/// What a run did, so that a hollow one is noticed.
#[derive(Debug, Default)]
struct Tally {
    worlds: AtomicU64,
    /// Worlds in which clocks were changed while it was looked.
    changes: AtomicU64,
    fires: AtomicU64,
    started: AtomicU64,
    waited: AtomicU64,
    skipped: AtomicU64,
    /// Fires that were skipped together with others.
    spans: AtomicU64,
    superseded: AtomicU64,
    /// Coordinators that died between what they planned and what they kept.
    kills: AtomicU64,
    absences: AtomicU64,
    forward: AtomicU64,
    back: AtomicU64,
    cancelled: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64, number: usize) {
        counter.fetch_add(number as u64, Ordering::Relaxed);
    }
}

/// The time of the store and, a little wrong, of one coordinator.
#[derive(Debug, Clone)]
struct Hand {
    time: Arc<AtomicI64>,
    skew: Arc<AtomicI64>,
}

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.time.load(Ordering::Relaxed) + self.skew.load(Ordering::Relaxed))
    }
}

/// No folder and no broker: schedules need neither.
#[derive(Debug)]
struct Nowhere;

fn nowhere<T>() -> Result<T, SourceError> {
    Err(SourceError("there is nothing here".to_owned()))
}

#[async_trait]
impl Folders for Nowhere {
    async fn look(&self, _: &str, _: &str, _: &globset::GlobMatcher) -> Result<Seen, SourceError> {
        nowhere()
    }

    async fn check(&self, _: &str, _: &SeenFile) -> Result<(), SourceError> {
        nowhere()
    }

    async fn put_away(&self, _: &str, _: &SeenFile, _: After) -> Result<(), SourceError> {
        nowhere()
    }
}

#[async_trait]
impl Streams for Nowhere {
    async fn listen(&self, _: &Listen) -> Result<Box<dyn Listener>, SourceError> {
        nowhere()
    }
}

struct Coordinator {
    schedules: Schedules,
    clock: Hand,
    /// What it has planned and not yet kept.
    looks: Vec<(Look, Before)>,
}

impl Coordinator {
    fn new(ports: &Ports, time: &Arc<AtomicI64>) -> Self {
        let clock = Hand { time: Arc::clone(time), skew: Arc::default() };
        let schedules = Schedules {
            config: Config::default(),
            ports: ports.clone(),
            clock: Arc::new(clock.clone()),
            held: BTreeMap::new(),
            snapshots: Snapshots::new(ports.clone()),
        };
        Self { schedules, clock, looks: Vec::new() }
    }
}

/// One workflow with some schedules.
struct World<'a> {
    dice: Dice,
    tally: &'a Tally,
    fault: Option<Fault>,
    time: Arc<AtomicI64>,
    began: i64,
    ports: Ports,
    workflow: Arc<Workflow>,
    row: WorkflowRow,
    /// By trigger: how it is enumerated, and its zone.
    rules: BTreeMap<TriggerId, (Rule, Tz)>,
    coordinators: Vec<Coordinator>,
    open: BTreeSet<ExecutionId>,
}

const TENANT: TenantId = TenantId::DEFAULT;

impl<'a> World<'a> {
    async fn new(seed: u64, fault: Option<Fault>, tally: &'a Tally) -> Self {
        let mut dice = Dice::new(seed);
        let (zone, change) = CHANGES[seed as usize % CHANGES.len()];
        let change = change.parse::<Timestamp>().expect("an instant").as_micros();
        let began = change - (dice.below(36 * 3_600) as i64) * SECOND - dice.below(SECOND as usize) as i64;
        let mut text =
            "workflow: v1\nname: simulated\ncomponents: { a: { type: noop } }\ntriggers:\n".to_owned();
        let mut picked = Vec::new();
        for index in 0..5 {
            let (when, rule) = if dice.chance(5) { FAST } else { RULES[dice.below(RULES.len())] };
            let catchup = ["none", "last", "all"][dice.below(3)];
            let overlap = ["skip", "queue", "cancel_running", "allow"][dice.below(4)];
            let most = [1, 5, 100, 1_000][dice.below(4)];
            let zone_line = match rule {
                Rule::Pace(_) => String::new(),
                Rule::Wall(..) => format!("timezone: {zone}, "),
            };
            let jitter = if dice.chance(20) { "jitter: 4m, " } else { "" };
            text.push_str(&format!(
                "  s{index}:\n    type: schedule_trigger\n    config: {{ {when}, {zone_line}{jitter}catchup: {catchup}, \
                 catchup_max: {most}, overlap: {overlap} }}\n"
            ));
            picked.push(rule);
        }
        let catalogue = crate::explorer::catalogue();
        let (workflow, canonical) = match workflow::read(&text, &catalogue) {
            Ok(read) => (read.workflow, read.canonical),
            Err(problems) => panic!("{problems}\n{text}"),
        };
        let time = Arc::new(AtomicI64::new(began));
        let hand = Hand { time: Arc::clone(&time), skew: Arc::default() };
        let store: DynStore = Arc::new(store::MemoryStore::new(Arc::new(hand)));
        let id = WorkflowId::generate();
        let draft = WorkflowDraft {
            id,
            tenant: TENANT,
            name: "simulated".to_owned(),
            description: String::new(),
            category: String::new(),
            tags: Vec::new(),
            document: text.clone(),
            hash: workflow.hash.clone(),
            snapshot: canonical,
            triggers: workflow.trigger_drafts(id, Timestamp::from_micros(began)),
            principal: "someone".to_owned(),
            at: Timestamp::from_micros(began),
            publishes: None,
        };
        let row = match store.workflow_create(draft).await.expect("saved") {
            Saved::Created(row) => row,
            other => panic!("{other:?}"),
        };
        let rules = picked
            .into_iter()
            .enumerate()
            .map(|(index, rule)| (TriggerId::of(id, &format!("s{index}")), (rule, zone)))
            .collect();
        let ports = Ports {
            store,
            queue: Arc::new(queue::in_process::InProcessQueue::new()),
            progress: Arc::new(progress::in_process::InProcessProgress::new()),
            catalogue,
            folders: Arc::new(Nowhere),
            streams: Arc::new(Nowhere),
            archive: None,
        };
        let coordinators = (0..2).map(|_| Coordinator::new(&ports, &time)).collect();
        let open = BTreeSet::new();
        Self { dice, tally, fault, time, began, ports, workflow, row, rules, coordinators, open }
    }

    fn now(&self) -> i64 {
        self.time.load(Ordering::Relaxed)
    }

    fn timed(&self, row: &TriggerRow) -> &Timed {
        self.workflow.trigger(&row.name).and_then(Trigger::timed).expect("a schedule")
    }

    async fn trigger(&self, id: TriggerId) -> TriggerRow {
        self.ports.store.trigger_get(TENANT, id).await.expect("read").expect("a trigger")
    }

    async fn pending(&self, id: TriggerId) -> Vec<i64> {
        let found = self.ports.store.fires_pending(id).await.expect("read");
        found.into_iter().map(Timestamp::as_micros).collect()
    }

    /// Lets a coordinator look at whatever is due by its clock.
    async fn look(&mut self, who: usize) -> Result<(), String> {
        let now = self.coordinators[who].clock.now();
        let due = self.ports.store.triggers_due(now, PAGE).await.expect("read");
        if due.is_empty() {
            return Ok(());
        }
        let id = due[self.dice.below(due.len())].id;
        let row = self.trigger(id).await;
        let before = Before {
            last: row.last_fire_at.expect("a cursor").as_micros(),
            now: now.as_micros(),
            open: self.ports.store.trigger_open(id).await.expect("read"),
            pending: self.pending(id).await,
        };
        match self.coordinators[who].schedules.look(TENANT, id).await.expect("looked") {
            Looked::Due(look) => self.coordinators[who].looks.push((*look, before)),
            Looked::Idle(next) => return Err(format!("{id} is due and idle until {next:?}")),
        }
        Ok(())
    }

    /// Lets a coordinator keep what it has planned, and compares.
    async fn carry_out(&mut self, who: usize) -> Result<(), String> {
        let looks = &mut self.coordinators[who].looks;
        if looks.is_empty() {
            return Ok(());
        }
        let at = self.dice.below(looks.len());
        let (mut look, before) = looks.swap_remove(at);
        let id = look.row.id;
        let was = self.trigger(id).await;
        let is_moved = (was.last_fire_at, was.next_fire_at) != (look.row.last_fire_at, look.row.next_fire_at);
        let pending = self.pending(id).await;
        self.break_it(&mut look, &was);
        let cancels = look.planned.acts.iter().any(|(_, act)| *act == Act::CancelAndStart);
        if cancels && self.dice.chance(10) {
            // It dies between the cancellation and the start.
            let Look { row, open, now, .. } = look;
            self.coordinators[who].schedules.cancel(&row, open, now).await.expect("asked");
            self.kill(who);
            return Ok(());
        }
        self.coordinators[who].schedules.carry_out(look).await.expect("carried out");
        let is = self.trigger(id).await;
        if is_moved {
            Tally::add(&self.tally.superseded, 1);
            if (is.last_fire_at, is.next_fire_at) != (was.last_fire_at, was.next_fire_at)
                || self.pending(id).await != pending
            {
                return Err(format!("{} was moved on the sight of something past", is.name));
            }
            return Ok(());
        }
        self.compare(&is, &before).await
    }

    /// Whether a step that was kept did what the oracle says.
    async fn compare(&mut self, is: &TriggerRow, before: &Before) -> Result<(), String> {
        let timed = self.timed(is);
        let (rule, zone) = self.rules[&is.id];
        let seed = is.id.as_uuid().as_bytes();
        let jitter = timed.schedule.longest_jitter().as_micros() as i64;
        let mut due = Vec::new();
        for fire in enumerated(rule, zone, before.last, before.now) {
            let carried_out = timed.schedule.due(seed, Timestamp::from_micros(fire)).as_micros();
            if !(fire..=fire + jitter).contains(&carried_out) {
                return Err(format!("{} is carried out at {}", instant(fire), instant(carried_out)));
            }
            if carried_out > before.now {
                break;
            }
            due.push((fire, carried_out));
        }
        let (mut fates, released) = fates(timed, before, &due);
        let last = is.last_fire_at.expect("a cursor").as_micros();
        let newest = due.last().map_or(before.last, |(fire, _)| *fire);
        // A long list is kept in parts, and the rest is due at once.
        let is_cut = last < newest;
        if last > newest || (is_cut && is.next_fire_at.is_none_or(|next| next.as_micros() > before.now)) {
            return Err(format!("{} stands at {}, not at {}", is.name, instant(last), instant(newest)));
        }
        fates.retain(|fire, _| *fire <= last);

        let mut waits: Vec<i64> =
            before.pending.iter().copied().filter(|fire| !released.contains(fire)).collect();
        waits.extend(fates.iter().filter(|(_, fate)| **fate == Fate::Waits).map(|(fire, _)| *fire));
        let pending = self.pending(is.id).await;
        if pending != waits {
            return Err(format!("{}: {pending:?} wait, not {waits:?}", is.name));
        }
        let rows = self.rows(is.id, before.last).await;
        for (fire, fate) in &fates {
            let found = rows.iter().find(|row| covers(row, *fire));
            let became = found.map(|row| match row.outcome {
                FireOutcome::Started => Fate::Starts,
                FireOutcome::Pending => Fate::Waits,
                FireOutcome::Skipped => Fate::Skipped,
            });
            if became != Some(*fate) {
                return Err(format!(
                    "{}: the fire of {} became {became:?}, not {fate:?}: {before:?}",
                    is.name,
                    instant(*fire)
                ));
            }
        }
        let now_open: BTreeSet<ExecutionId> =
            self.ports.store.trigger_open(is.id).await.expect("read").into_iter().collect();
        let starts = fates.values().filter(|fate| **fate == Fate::Starts).count() + released.len();
        let new = now_open.iter().filter(|id| !before.open.contains(id)).count();
        if new != starts {
            return Err(format!("{}: {new} executions began, not {starts}", is.name));
        }
        let is_busy = !before.open.is_empty() && starts > 0;
        if is_busy && timed.overlap == Overlap::CancelRunning {
            Tally::add(&self.tally.cancelled, before.open.len());
            // Those of now as well, whoever's clock is right.
            self.time.fetch_add(24 * HOUR, Ordering::Relaxed);
            let shards: Vec<Shard> = Shard::all().collect();
            let asked = self.ports.store.requests_waiting(&shards, Duration::ZERO, 100_000).await;
            self.time.fetch_sub(24 * HOUR, Ordering::Relaxed);
            let asked: BTreeSet<ExecutionId> =
                asked.expect("read").into_iter().map(|request| request.execution).collect();
            if let Some(open) =
                before.open.iter().find(|open| now_open.contains(open) && !asked.contains(open))
            {
                return Err(format!("{}: nobody asked {open} to end", is.name));
            }
        }
        Tally::add(&self.tally.waited, waits.len().saturating_sub(before.pending.len()));
        self.open.extend(now_open);
        Ok(())
    }

    fn break_it(&mut self, look: &mut Look, is: &TriggerRow) {
        let acts = &mut look.planned.acts;
        match self.fault {
            Some(Fault::Forgets) => {
                acts.pop();
            }
            Some(Fault::Overlaps) => {
                if let Some((_, act)) = acts.iter_mut().find(|(_, act)| *act == Act::Skip(Reason::Overlap)) {
                    *act = Act::Start;
                }
            }
            Some(Fault::Shifts) => {
                if let Some((fire, _)) = acts.last_mut() {
                    *fire = fire.after(Duration::from_hours(1));
                }
            }
            Some(Fault::Leaps) => look.planned.last = look.planned.last.after(Duration::from_mins(10)),
            Some(Fault::Unfenced) => look.row = is.clone(),
            None => {}
        }
    }

    fn kill(&mut self, who: usize) {
        Tally::add(&self.tally.kills, usize::from(!self.coordinators[who].looks.is_empty()));
        self.coordinators[who] = Coordinator::new(&self.ports, &self.time);
    }

    /// Ends some of what was started.
    async fn end_some(&mut self, percent: u32) {
        let open: Vec<ExecutionId> = self.open.iter().copied().collect();
        for execution in open {
            if !self.dice.chance(percent) {
                continue;
            }
            self.open.remove(&execution);
            let commit = Commit {
                people: Vec::new(),
                waits: Vec::new(),
                cache: Vec::new(),
                turn: Turn {
                    seq: 2,
                    cause: MessageId::generate(),
                    ..self
                        .ports
                        .store
                        .load(&[execution], 0, 10)
                        .await
                        .expect("read")
                        .remove(0)
                        .expect("a journal")
                        .turns
                        .remove(0)
                },
                tenant: TENANT,
                workflow: self.row.id,
                change: Some(StatusChange { status: Status::Completed, failure: None, output: None }),
                timers: Vec::new(),
                give: Vec::new(),
                take: Vec::new(),
                wait: Vec::new(),
                release: true,
                has_asked: false,
                finished: Vec::new(),
                request: None,
                sweep_at: None,
            };
            self.ports.store.commit(vec![commit]).await.expect("ended");
        }
    }

    /// Lets both coordinators do what is due, in any order, and sometimes die over it.
    async fn race(&mut self) -> Result<(), String> {
        for _ in 0..4 + self.dice.below(8) {
            let who = self.dice.below(2);
            if self.dice.chance(40) {
                self.carry_out(who).await?;
            } else {
                self.look(who).await?;
            }
            if self.dice.chance(3) {
                self.kill(who);
            }
        }
        Ok(())
    }

    async fn next_due(&self) -> i64 {
        let far = Timestamp::from_micros(self.now() + 24 * HOUR);
        let due = self.ports.store.triggers_due(far, 1).await.expect("read");
        due.first().and_then(|row| row.next_fire_at).map_or(self.now() + HOUR, Timestamp::as_micros)
    }

    async fn run(&mut self) -> Result<(), String> {
        let end = self.began + 60 * HOUR;
        while self.now() < end {
            let now = self.now();
            let to = match self.dice.below(100) {
                0..80 => self.next_due().await.max(now) + self.dice.below(3 * SECOND as usize) as i64,
                80..94 => now + self.dice.below(10 * MINUTE as usize) as i64,
                94..96 => {
                    // Nobody is there for a while.
                    Tally::add(&self.tally.absences, 1);
                    (0..2).for_each(|who| self.kill(who));
                    now + self.dice.below(14 * HOUR as usize) as i64
                }
                96..98 => {
                    Tally::add(&self.tally.forward, 1);
                    now + self.dice.below(3 * HOUR as usize) as i64
                }
                _ => {
                    Tally::add(&self.tally.back, 1);
                    now - self.dice.below(2 * HOUR as usize) as i64
                }
            };
            self.time.store(to, Ordering::Relaxed);
            if self.dice.chance(5) {
                let who = self.dice.below(2);
                let skew = self.dice.below(4 * MINUTE as usize) as i64 - 2 * MINUTE;
                self.coordinators[who].clock.skew.store(skew, Ordering::Relaxed);
            }
            self.end_some(25).await;
            self.race().await?;
        }
        self.settle().await?;
        self.account().await
    }

    /// Carries out whatever is left, undisturbed.
    async fn settle(&mut self) -> Result<(), String> {
        (0..2).for_each(|who| self.kill(who));
        for _ in 0..10_000 {
            self.end_some(100).await;
            self.look(0).await?;
            if self.coordinators[0].looks.is_empty() {
                let mut waits = false;
                for id in self.rules.keys() {
                    waits |= !self.pending(*id).await.is_empty();
                }
                if !waits {
                    return Ok(());
                }
                self.time.fetch_add(SECOND, Ordering::Relaxed);
            } else {
                self.carry_out(0).await?;
            }
        }
        Err("there is no end to what is due".to_owned())
    }

    /// Whether each fire is on record once, and each start has one execution.
    async fn account(&self) -> Result<(), String> {
        let mut begun: BTreeMap<(TriggerId, i64), usize> = BTreeMap::new();
        let mut page = Page { after: None, limit: 200 };
        loop {
            let found = self.ports.store.execution_list(TENANT, ExecutionFilter::default(), page).await;
            let found = found.expect("read");
            for row in &found.items {
                let turns = self
                    .ports
                    .store
                    .load(&[row.id], 0, 10)
                    .await
                    .expect("read")
                    .remove(0)
                    .expect("a journal");
                let Some(Event::Accepted(accepted)) =
                    turns.turns.first().and_then(|turn| turn.events.first())
                else {
                    return Err(format!("{} begins with something else", row.id));
                };
                let origin = accepted.trigger.as_ref().expect("a trigger");
                *begun.entry((origin.trigger, origin.fire_time.expect("a fire").as_micros())).or_default() +=
                    1;
            }
            let Some(next) = found.next else { break };
            page = Page { after: Some(next), limit: 200 };
        }
        for (id, (rule, zone)) in &self.rules {
            let row = self.trigger(*id).await;
            let last = row.last_fire_at.expect("a cursor").as_micros();
            let fires = enumerated(*rule, *zone, self.began, last);
            let rows = self.rows(*id, i64::MIN).await;
            for fire in &fires {
                let on_record: Vec<&FireRow> = rows.iter().filter(|row| covers(row, *fire)).collect();
                let [only] = on_record[..] else {
                    return Err(format!("{}: {} is on record as {on_record:?}", row.name, instant(*fire)));
                };
                let starts = begun.remove(&(*id, *fire)).unwrap_or(0);
                if starts != usize::from(only.outcome == FireOutcome::Started) {
                    return Err(format!("{}: {} began {starts} executions", row.name, instant(*fire)));
                }
                let counter = match only.outcome {
                    FireOutcome::Started => &self.tally.started,
                    FireOutcome::Pending => return Err(format!("{}: {} waits", row.name, instant(*fire))),
                    FireOutcome::Skipped => &self.tally.skipped,
                };
                Tally::add(counter, 1);
                Tally::add(&self.tally.spans, usize::from(only.until.is_some()));
            }
            if let Some(other) = rows.iter().find(|row| !fires.iter().any(|fire| covers(row, *fire))) {
                return Err(format!("{}: {other:?} is no fire of it", row.name));
            }
            Tally::add(&self.tally.fires, fires.len());
        }
        if let Some(((_, fire), _)) = begun.first_key_value() {
            return Err(format!("an execution began for {}, which is no fire", instant(*fire)));
        }
        let offset = |at: i64| {
            let zone = self.rules.values().next().map_or(Tz::UTC, |(_, zone)| *zone);
            instant(at).with_timezone(&zone).offset().fix()
        };
        Tally::add(&self.tally.worlds, 1);
        Tally::add(&self.tally.changes, usize::from(offset(self.began) != offset(self.now())));
        Ok(())
    }

    /// What is on record of fires after an instant.
    async fn rows(&self, id: TriggerId, after: i64) -> Vec<FireRow> {
        let mut rows = Vec::new();
        let mut page = Page { after: None, limit: 500 };
        loop {
            let found = self.ports.store.fire_list(TENANT, id, page).await.expect("read");
            let is_enough = found.items.last().is_none_or(|row| row.at.as_micros() <= after);
            rows.extend(found.items);
            match found.next {
                Some(next) if !is_enough => page = Page { after: Some(next), limit: 500 },
                _ => return rows,
            }
        }
    }
}

/// Whether a row is about this fire, alone or among others.
fn covers(row: &FireRow, fire: i64) -> bool {
    let at = row.at.as_micros();
    row.until.map_or(at == fire, |until| (at..=until.as_micros()).contains(&fire))
}

fn simulate(seed: u64, fault: Option<Fault>, tally: &Tally) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async { World::new(seed, fault, tally).await.run().await })
}

#[test]
fn no_fire_is_missed_and_none_is_doubled() {
    let wanted = std::env::var("SCHEDULE_FIRES").ok().and_then(|number| number.parse().ok()).unwrap_or(FIRES);
    let (tally, next) = (Tally::default(), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    while tally.fires.load(Ordering::Relaxed) < wanted {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if let Err(wrong) = simulate(seed, None, &tally) {
                            panic!("{wrong}\nreplay with SCHEDULE_SEED={seed}");
                        }
                    }
                })
            })
            .collect();
        for handle in handles {
            handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    println!("{tally:?}");
    let Tally { worlds, changes, started, waited, skipped, spans, superseded, .. } = &tally;
    let Tally { kills, absences, forward, back, cancelled, .. } = &tally;
    for (counter, what) in [
        (worlds, "worlds"),
        (changes, "changes of the clock"),
        (started, "starts"),
        (waited, "fires that waited"),
        (skipped, "fires that were skipped"),
        (spans, "fires skipped together"),
        (superseded, "lost races"),
        (kills, "kills between plan and start"),
        (absences, "absences"),
        (forward, "jumps forward"),
        (back, "jumps back"),
        (cancelled, "cancellations"),
    ] {
        assert!(counter.load(Ordering::Relaxed) > 0, "no {what}: the run proves nothing");
    }
}

#[test]
fn a_fault_put_in_on_purpose_is_found() {
    for fault in [Fault::Forgets, Fault::Overlaps, Fault::Shifts, Fault::Leaps, Fault::Unfenced] {
        let found = (0..PATIENCE).find_map(|seed| simulate(seed, Some(fault), &Tally::default()).err());
        println!("{fault:?}: {}", found.expect("found"));
    }
}

#[test]
fn one_world_again() {
    let Some(seed) = std::env::var("SCHEDULE_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    if let Err(wrong) = simulate(seed, None, &Tally::default()) {
        panic!("{wrong}");
    }
}
