//! Checks the invariants on a live store: what `apg audit` runs, and the coordinator when it is told to.
//!
//! Every journal is folded event by event with the rules of the engine, and the tables are compared with
//! it. Nothing is changed.

mod rounds;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Serialize;
use shared::{
    component::{Catalogue, FailureClass},
    execution::{
        Carry, Event, Execution, Joined, PersonKind, Phase, Status, TaskKey, Turn,
        moving::{self, Move, Moved, Obstacle},
    },
    ids::{ComponentId, ExecutionId},
    port::store::{DynStore, ExecutionRow, Finding, JOURNAL_PAGE, StoreError, Stored},
    workflow::{self, Part, Workflow},
};

use crate::desk::Desk;
pub use rounds::Audit;
pub(crate) use rounds::run as run_rounds;

/// How far the audit is.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Progress {
    pub executions: u64,
    pub turns: u64,
    pub findings: u64,
}

/// What the audit found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub checked: Progress,
    /// Executions by status.
    pub completed: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub open: u64,
    pub findings: Vec<Finding>,
}

/// Read in pages of this many executions.
const PAGE: u32 = 200;
/// How often an execution that seems wrong is looked at again. What goes on meanwhile changes between two looks.
const LOOKS: u32 = 5;

/// Checks every execution of the store, which may be in use. The next executions are read while some are checked.
pub async fn run(
    store: DynStore,
    catalogue: Catalogue,
    on_progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Report, StoreError> {
    let mut auditor = Auditor::new(Arc::clone(&store), catalogue);
    let mut report = Report { findings: auditor.tables().await?, ..Report::default() };
    #[expect(
        clippy::disallowed_methods,
        reason = "awaited below; after an error of another it ends with its page"
    )]
    let read = |after| tokio::spawn(read(Arc::clone(&store), after, PAGE));
    let mut next = Some(read(None));
    while let Some(reading) = next {
        let page = reading.await.map_err(|error| StoreError::Unavailable(Box::new(error)))??;
        next = page.until.map(|until| read(Some(until)));
        auditor.check_page(page, &mut report).await?;
        report.checked.findings = report.findings.len() as u64;
        on_progress(report.checked);
    }
    Ok(report)
}

/// Executions in id order as the store has them.
struct Page {
    /// With the first turns of each, or what keeps them from being read.
    executions: Vec<(ExecutionRow, Result<Option<Stored>, String>)>,
    /// Journals among them that have no row.
    headless: Vec<ExecutionId>,
    /// The last one; `None` when none follows.
    until: Option<ExecutionId>,
}

/// Reads the executions that follow `after`, `most` at most.
async fn read(store: DynStore, after: Option<ExecutionId>, most: u32) -> Result<Page, StoreError> {
    let rows = store.audit_page(after, most).await?;
    // Behind the last one may be journals without a row.
    let until = rows.last().map(|row| row.id).filter(|_| rows.len() >= most as usize);
    let headless = store.audit_headless(after, until).await?;
    let ids: Vec<ExecutionId> = rows.iter().map(|row| row.id).collect();
    let first = match store.load(&ids, 0, JOURNAL_PAGE).await {
        Ok(first) => first.into_iter().map(Ok).collect(),
        Err(StoreError::Corrupt(_)) => {
            let mut first = Vec::with_capacity(ids.len());
            for id in &ids {
                first.push(match store.load(&[*id], 0, JOURNAL_PAGE).await {
                    Ok(stored) => Ok(stored.into_iter().next().flatten()),
                    Err(StoreError::Corrupt(error)) => Err(error.to_string()),
                    Err(error) => return Err(error),
                });
            }
            first
        }
        Err(error) => return Err(error),
    };
    Ok(Page { executions: rows.into_iter().zip(first).collect(), headless, until })
}

/// Checks a store part by part.
pub(crate) struct Auditor {
    store: DynStore,
    catalogue: Catalogue,
    workflows: HashMap<String, Option<Arc<Workflow>>>,
    /// Executions in a page.
    page: u32,
}

impl Auditor {
    pub(crate) fn new(store: DynStore, catalogue: Catalogue) -> Self {
        Self { store, catalogue, workflows: HashMap::new(), page: PAGE }
    }

    /// Compares the small tables with each other.
    pub(crate) async fn tables(&self) -> Result<Vec<Finding>, StoreError> {
        self.store.audit_tables().await
    }

    /// Checks the executions that follow `after`. Answers where to go on; `None` at the end.
    pub(crate) async fn page(
        &mut self,
        after: Option<ExecutionId>,
        report: &mut Report,
    ) -> Result<Option<ExecutionId>, StoreError> {
        let page = read(Arc::clone(&self.store), after, self.page).await?;
        let until = page.until;
        self.check_page(page, report).await?;
        Ok(until)
    }

    async fn check_page(&mut self, page: Page, report: &mut Report) -> Result<(), StoreError> {
        for id in page.headless {
            report.findings.push(finding("I2", id, "it has a journal and no row".to_owned()));
        }
        for (row, first) in page.executions {
            report.checked.executions += 1;
            match row.status {
                Status::Completed => report.completed += 1,
                Status::Failed => report.failed += 1,
                Status::Cancelled => report.cancelled += 1,
                _ => report.open += 1,
            }
            match first {
                Ok(first) => self.execution(&row, first, report).await?,
                Err(message) => report.findings.push(finding("I2", row.id, message)),
            }
        }
        Ok(())
    }

    /// Checks one execution. What seems wrong is looked at again until nothing has changed between row and journal:
    /// turns are kept meanwhile, and executions removed.
    async fn execution(
        &mut self,
        row: &ExecutionRow,
        first: Option<Stored>,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let mut findings = Vec::new();
        report.checked.turns += self.look(row, first, &mut findings).await?;
        let mut seen = row.clone();
        for _ in 0..LOOKS {
            if findings.is_empty() {
                return Ok(());
            }
            let Some(now) = self.store.execution_get(row.tenant, row.id).await? else { return Ok(()) };
            let mut again = Vec::new();
            let first = self.store.load(&[row.id], 0, JOURNAL_PAGE).await?.into_iter().next().flatten();
            self.look(&now, first, &mut again).await?;
            let is_settled = now == seen && again == findings;
            (seen, findings) = (now, again);
            if is_settled {
                break;
            }
        }
        report.findings.extend(findings);
        Ok(())
    }

    /// Checks an execution as it seems now, and answers how many turns it has.
    async fn look(
        &mut self,
        row: &ExecutionRow,
        page: Option<Stored>,
        findings: &mut Vec<Finding>,
    ) -> Result<u64, StoreError> {
        let Some(page) = page else {
            findings.push(finding("I0", row.id, "it has a row and no journal".to_owned()));
            return Ok(0);
        };
        if Desk::hash_of(&page.turns).is_none() {
            findings.push(finding("I0", row.id, "its journal does not begin with `accepted`".to_owned()));
            return Ok(0);
        }
        self.check(row, page, findings).await
    }

    /// Compiles the snapshots that these turns begin with or move to. Answers the first that cannot be.
    async fn learn(&mut self, turns: &[Turn]) -> Result<Option<String>, StoreError> {
        for hash in Desk::hash_of(turns).into_iter().chain(Desk::moves_of(turns)) {
            if !self.workflows.contains_key(hash) {
                let compiled = match self.store.snapshot(hash).await? {
                    Some(text) => workflow::compile_snapshot(&text, &self.catalogue).ok(),
                    None => None,
                };
                self.workflows.insert(hash.to_owned(), compiled);
            }
            if matches!(self.workflows.get(hash), Some(None)) {
                return Ok(Some(hash.to_owned()));
            }
        }
        Ok(None)
    }

    /// Checks one journal, of which the first page was read, against the rules and against its row. Answers how many
    /// turns it has.
    async fn check(
        &mut self,
        row: &ExecutionRow,
        first: Stored,
        findings: &mut Vec<Finding>,
    ) -> Result<u64, StoreError> {
        let not_compiled = |hash| finding("I13", row.id, format!("its snapshot {hash} cannot be compiled"));
        if let Some(hash) = self.learn(&first.turns).await? {
            findings.push(not_compiled(hash));
            return Ok(0);
        }
        if let Some(claims) = first.turns.first().and_then(Claims::of) {
            carried(&self.store, claims, findings).await?;
        }
        let find = |hash: &str| self.workflows.get(hash).cloned().flatten();
        let mut state = journal(row.id, &find, &first.turns, findings);
        let mut turns = first.turns.len() as u64;
        let mut after = first.goes_on(JOURNAL_PAGE);
        drop(first);
        while let Some(seq) = after {
            let Some(so_far) = state.take() else { break };
            let page = self.store.load(&[row.id], seq, JOURNAL_PAGE).await?.into_iter().flatten().next();
            let Some(page) = page else {
                state = Some(so_far);
                break;
            };
            if let Some(hash) = self.learn(&page.turns).await? {
                findings.push(not_compiled(hash));
                return Ok(turns);
            }
            turns += page.turns.len() as u64;
            after = page.goes_on(JOURNAL_PAGE);
            let find = |hash: &str| self.workflows.get(hash).cloned().flatten();
            state = go_on(so_far, &page.turns, findings, &find, &mut ());
        }
        if let Some(state) = state {
            if state.status != row.status {
                let message = format!(
                    "its journal says {}, its row says {}",
                    state.status.as_str(),
                    row.status.as_str()
                );
                findings.push(finding("I13", row.id, message));
            }
            if state.accepted.version != row.version {
                let (journal, row_says) = (state.accepted.version, row.version);
                let message = format!("its journal says version {journal}, its row says {row_says}");
                findings.push(finding("I13", row.id, message));
            }
        }
        Ok(turns)
    }
}

/// Gives the snapshot with a hash.
pub type Find<'a> = &'a dyn Fn(&str) -> Option<Arc<Workflow>>;

fn finding(invariant: &str, execution: ExecutionId, message: String) -> Finding {
    Finding { invariant: invariant.to_owned(), execution: Some(execution), message }
}

/// Compares what an execution has kept of another with the journal of that other, unless that was forgotten since.
async fn carried(
    store: &DynStore,
    mut claims: Claims,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let mut after = Some(0);
    let mut is_there = false;
    while let Some(seq) = after {
        let page = store.load(&[claims.of], seq, JOURNAL_PAGE).await?.into_iter().flatten().next();
        after = page.as_ref().and_then(|page| page.goes_on(JOURNAL_PAGE));
        if let Some(page) = page {
            is_there = true;
            claims.see(&page.turns);
        }
    }
    if is_there {
        claims.end(findings);
    }
    Ok(())
}

/// What an execution says that it has kept of the one it does again, and what that one's journal bears out of it.
#[derive(Debug)]
pub(crate) struct Claims {
    by: ExecutionId,
    pub(crate) of: ExecutionId,
    open: BTreeMap<TaskKey, Carry>,
    /// Claims that an end which was journaled would bear out, by what had that end: moves may rename it later.
    ends: BTreeMap<ComponentId, BTreeSet<TaskKey>>,
    /// What components were called before moves, and what then.
    names: BTreeMap<ComponentId, ComponentId>,
    kept: BTreeSet<TaskKey>,
    undone: BTreeSet<TaskKey>,
    has_ended: bool,
}

impl Claims {
    /// `None` for what does no other execution again.
    pub(crate) fn of(first: &Turn) -> Option<Self> {
        let Some(Event::Accepted(accepted)) = first.events.first() else { return None };
        let carried = first.events.iter().filter_map(|event| match event {
            Event::Carried { task, result, .. } => Some((task.clone(), (**result).clone())),
            _ => None,
        });
        let open: BTreeMap<TaskKey, Carry> = carried.collect();
        Some(Self {
            by: first.execution,
            of: accepted.retry_of?,
            kept: open.keys().cloned().collect(),
            open,
            ends: BTreeMap::new(),
            names: BTreeMap::new(),
            undone: BTreeSet::new(),
            has_ended: false,
        })
    }

    /// The next turns of the one that is done again.
    pub(crate) fn see(&mut self, turns: &[Turn]) {
        for turn in turns {
            for event in &turn.events {
                self.event(event);
                self.has_ended |= matches!(event, Event::Finished { .. });
            }
        }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::ScopeOpened { part: Part::Compensation, owner: Some(task), .. }
            | Event::Compensated { task, .. } => {
                // It completed before, so that its claim was borne out.
                self.undone.insert(task.clone());
            }
            Event::Moved(moved) => {
                for (old, new) in &moved.mapping {
                    self.names.values_mut().filter(|called| *called == old).for_each(|it| *it = new.clone());
                    self.names.insert(old.clone(), new.clone());
                }
            }
            _ => {
                let Some(task) = event.task().filter(|task| task.iteration.is_none()) else { return };
                let mut borne = self.open.iter().filter(|(_, claim)| bears_out(event, claim)).peekable();
                if borne.peek().is_some() {
                    let borne = borne.map(|(claimed, _)| claimed.clone());
                    self.ends.entry(task.component.clone()).or_default().extend(borne);
                }
            }
        }
    }

    /// What a component that the journal names is called at its end.
    fn called(&self, id: &ComponentId) -> ComponentId {
        self.names.get(id).unwrap_or(id).clone()
    }

    /// What is left is wrong.
    pub(crate) fn end(self, findings: &mut Vec<Finding>) {
        let mut wrong = |message: String| findings.push(finding("I30", self.by, message));
        if !self.has_ended {
            wrong(format!("it does {} again, which has not ended", self.of));
        }
        let borne: BTreeSet<&TaskKey> = self
            .ends
            .iter()
            .flat_map(|(id, claims)| {
                let called = self.called(id);
                claims.iter().filter(move |claim| claim.component == called)
            })
            .collect();
        for task in self.open.keys().filter(|task| !borne.contains(task)) {
            wrong(format!("it has kept {task}, which did not end so in {}", self.of));
        }
        let undone = self.undone.iter().map(|task| TaskKey {
            component: self.called(&task.component),
            iteration: task.iteration.clone(),
        });
        let undone: BTreeSet<TaskKey> = undone.collect();
        for task in self.kept.intersection(&undone) {
            wrong(format!("it has kept {task}, which was undone in {}", self.of));
        }
    }
}

/// Whether an event tells of the end that a claim is about.
fn bears_out(event: &Event, claim: &Carry) -> bool {
    match (event, claim) {
        (
            Event::TaskCompleted { attempt, output, ports, .. },
            Carry::Completed { output: given, ports: fired, attempts },
        ) => given == output && fired == ports && attempts == attempt,
        (
            Event::Decided { output, ports, .. } | Event::TaskCached { output, ports, .. },
            Carry::Completed { output: given, ports: fired, .. },
        ) => given == output && fired == ports,
        (
            Event::TaskFailed { failure, retry_at: None, .. } | Event::DecisionFailed { failure, .. },
            Carry::Failed { failure: why, .. },
        ) => why == failure,
        (Event::Skipped { reason, .. }, Carry::Skipped { reason: why }) => why == reason,
        (Event::Carried { result, .. } | Event::Pinned { result, .. }, claim) => **result == *claim,
        _ => false,
    }
}

/// What must hold of the turn that a journal begins with.
fn first_turn(first: &Turn, findings: &mut Vec<Finding>) {
    let Some((Event::Accepted(accepted), rest)) = first.events.split_first() else { return };
    for event in rest {
        let belongs = match event {
            Event::Carried { from, .. } => accepted.retry_of == Some(*from),
            Event::Pinned { from, .. } => {
                accepted.trial.as_ref().is_some_and(|trial| from.is_none() || *from == trial.data_from)
            }
            Event::CompensationNoted { .. } => accepted.retry_of.is_some(),
            _ => false,
        };
        if !belongs {
            findings.push(finding(
                "I30",
                first.execution,
                format!("turn 1 has what it does not begin with: {event:?}"),
            ));
        }
    }
}

/// Sees what the fold of a journal goes through.
pub(crate) trait Watch {
    /// The state before an event.
    fn before(&mut self, state: &Execution, turn: &Turn, event: &Event);
    /// The state after a turn.
    fn after(&mut self, state: &Execution, turn: &Turn);
}

impl Watch for () {
    fn before(&mut self, _: &Execution, _: &Turn, _: &Event) {}
    fn after(&mut self, _: &Execution, _: &Turn) {}
}

/// Folds a journal event by event and says which rule a step breaks. `None` when it does not fold.
pub fn journal(
    id: ExecutionId,
    find: Find<'_>,
    turns: &[Turn],
    findings: &mut Vec<Finding>,
) -> Option<Execution> {
    journal_watched(id, find, turns, findings, &mut ())
}

pub(crate) fn journal_watched(
    id: ExecutionId,
    find: Find<'_>,
    turns: &[Turn],
    findings: &mut Vec<Finding>,
    watch: &mut impl Watch,
) -> Option<Execution> {
    let (first, rest) = turns.split_first()?;
    first_turn(first, findings);
    match Execution::replay_with(std::slice::from_ref(first), find) {
        Ok(state) => go_on(state, rest, findings, find, watch),
        Err(error) => {
            findings.push(finding("I2", id, error.to_string()));
            None
        }
    }
}

/// As [`journal_watched`], with the turns that follow a state.
fn go_on(
    mut state: Execution,
    turns: &[Turn],
    findings: &mut Vec<Finding>,
    find: Find<'_>,
    watch: &mut impl Watch,
) -> Option<Execution> {
    let id = state.id;
    for turn in turns {
        if let Some(workflow) = turn.moved().and_then(|moved| find(&moved.hash)) {
            state.learn(workflow);
        }
        if turn.seq != state.seq + 1 {
            findings.push(finding("I2", id, format!("turn {} follows turn {}", turn.seq, state.seq)));
            return None;
        }
        for event in &turn.events {
            if state.status.is_terminal() {
                let rule = if matches!(event, Event::Finished { .. }) { "I2" } else { "I6" };
                findings.push(finding(
                    rule,
                    id,
                    format!("turn {} adds to an execution that had ended", turn.seq),
                ));
                return None;
            }
            step(&state, turn, event, findings);
            watch.before(&state, turn, event);
            if let Err(error) = state.apply(event, turn.at, turn.cause) {
                findings.push(finding("I13", id, error.to_string()));
                return None;
            }
        }
        state.close_turn(turn.at);
        watch.after(&state, turn);
    }
    Some(state)
}

/// Whether an event says that nobody knows what the holder of an attempt did: anyone may report that.
fn is_unknown(event: &Event) -> bool {
    matches!(event, Event::TaskFailed { failure, .. } if failure.class == FailureClass::OutcomeUnknown)
}

/// What should have kept an execution from being moved.
fn in_the_way(state: &Execution, to: &Arc<Workflow>, moved: &Moved) -> Vec<Obstacle> {
    let asked = Move {
        by: moved.by.clone(),
        reason: String::new(),
        version: moved.version,
        hash: moved.hash.clone(),
        mapping: moved.mapping.clone(),
        parameters: moved.parameters.clone(),
    };
    moving::plan(state, to, &asked).err().unwrap_or_default()
}

/// What must hold before an event.
fn step(state: &Execution, turn: &Turn, event: &Event, findings: &mut Vec<Finding>) {
    let mut wrong = |rule: &str, message: String| {
        findings.push(finding(rule, state.id, format!("turn {}: {message}", turn.seq)));
    };
    // An attempt that may have taken effect is asked about whenever that is known.
    let begins = match event {
        Event::Started
        | Event::TaskLimited { .. }
        | Event::TaskDispatched { .. }
        | Event::TaskCached { .. }
        | Event::TaskOffered { .. }
        | Event::Opened { .. }
        | Event::ScopeOpened { .. }
        | Event::Delayed { .. }
        | Event::ChildOrdered { .. }
        | Event::Awaiting { .. }
        | Event::PermitAsked { .. } => true,
        Event::Asked { ask, .. } => ask.kind != PersonKind::Outcome,
        _ => false,
    };
    if begins && state.is_paused() {
        wrong("I29", "something began while it was paused".to_owned());
    }
    if matches!(event, Event::Paused { .. } | Event::Resumed { .. }) && state.paused_by.contains(&turn.cause)
    {
        wrong("I29", "the same request paused or resumed it twice".to_owned());
    }
    if matches!(event, Event::Moved(_) | Event::MoveRefused { .. }) && state.moved_by.contains(&turn.cause) {
        wrong("I32", "the same request moved it, or was refused, twice".to_owned());
    }
    match event {
        Event::Moved(moved) => {
            if moved.from != state.accepted.version {
                let was = state.accepted.version;
                wrong("I32", format!("it was moved from version {}, and was of version {was}", moved.from));
            }
            for obstacle in
                state.learned(&moved.hash).map(|to| in_the_way(state, to, moved)).unwrap_or_default()
            {
                wrong("I32", format!("it was moved to version {}: {}", moved.version, obstacle.message));
            }
        }
        Event::TaskDispatched { task, attempt, dispatch, slot, .. } => {
            let Ok(place) = state.place_of(task) else { return };
            let component = state.at(place);
            if component.phase == Phase::Limited && slot.is_none() {
                wrong("I15", format!("{task} was dispatched out of the line, and took no place"));
            }
            let policy = &state.component(place).retry;
            match component.phase {
                Phase::Waiting if state.join(place) != Joined::Ready => {
                    wrong("I9", format!("{task} was dispatched before its join was met"));
                }
                phase if phase.is_settled() => {
                    wrong("I3", format!("{task} was dispatched after it had settled"));
                }
                Phase::Dispatched if *attempt != component.attempt || *dispatch != component.dispatch + 1 => {
                    wrong(
                        "I7",
                        format!(
                            "{task}: attempt {attempt} began while attempt {} was under way",
                            component.attempt
                        ),
                    );
                }
                _ => {}
            }
            if attempt.saturating_sub(component.lost) > policy.max_attempts {
                wrong(
                    "I7",
                    format!("{task}: attempt {attempt} goes beyond {} attempts", policy.max_attempts),
                );
            }
            if component.fence.as_ref().is_some_and(|fence| fence.granted) && *attempt == component.attempt {
                wrong("I5", format!("{task}: attempt {attempt} was sent again after its grant"));
            }
        }
        Event::TaskCompleted { task, attempt, .. } | Event::TaskFailed { task, attempt, .. } => {
            let Ok(place) = state.place_of(task) else { return };
            let component = state.at(place);
            if component.phase.is_settled() {
                wrong("I3", format!("{task} settled twice"));
            } else if component.attempt != *attempt {
                wrong(
                    "I4",
                    format!(
                        "{task}: a result of attempt {attempt} counted during attempt {}",
                        component.attempt
                    ),
                );
            }
            let reporter = match event {
                Event::TaskCompleted { worker, .. } => Some(*worker),
                Event::TaskFailed { worker, .. } => *worker,
                _ => None,
            };
            if let (Some(fence), Some(reporter)) = (&component.fence, reporter)
                && fence.worker != reporter
                && !is_unknown(event)
            {
                wrong("I4", format!("{task}: {reporter} settled an attempt that {} held", fence.worker));
            }
        }
        Event::TaskCached { task, .. } => {
            let Ok(place) = state.place_of(task) else { return };
            let component = state.at(place);
            if component.phase == Phase::Waiting && state.join(place) != Joined::Ready {
                wrong("I9", format!("{task} was answered from the cache before its join was met"));
            }
            if component.phase.is_settled() {
                wrong("I3", format!("{task} settled twice"));
            }
            if component.attempt > 0 || state.component(place).cache.is_none() {
                wrong("I34", format!("{task} was answered from the cache, and had been sent or has none"));
            }
            if state.accepted.retry_of.is_some() {
                wrong("I34", format!("{task} was answered from the cache, and was to run"));
            }
        }
        Event::TaskGranted { task, attempt, .. } => {
            let Ok(place) = state.place_of(task) else { return };
            let component = state.at(place);
            if component.fence.is_some()
                || component.attempt != *attempt
                || component.phase != Phase::Dispatched
            {
                wrong(
                    "I5",
                    format!("{task}: attempt {attempt} was granted twice, or when it was not under way"),
                );
            }
        }
        Event::Decided { task, .. } | Event::DecisionFailed { task, .. } | Event::Skipped { task, .. } => {
            let Ok(place) = state.place_of(task) else { return };
            if state.at(place).phase.is_settled() {
                wrong("I3", format!("{task} settled twice"));
            }
        }
        Event::Carried { task, .. } | Event::Pinned { task, .. } => {
            wrong("I30", format!("{task} was carried into what had begun"));
        }
        Event::RoundClosed { task, round, .. } => {
            let Ok(place) = state.place_of(task) else { return };
            let Some(container) = state.container(place) else { return };
            if container.rounds.records.contains_key(round) || *round < container.rounds.stored {
                wrong("I3", format!("round {round} of {task} ended twice"));
            }
        }
        Event::ScopeOpened { part: Part::Compensation, owner: Some(task), .. }
            if state.undo.last().is_none_or(|undo| undo.task != *task) =>
        {
            wrong("I9", format!("{task} was compensated out of order"));
        }
        Event::Failing { task, .. } if state.failing.is_some() => {
            wrong("I9", format!("{task} was reported as what fails it, and that was known"));
        }
        Event::Finished { status: Status::Completed, .. } if state.failing.is_some() => {
            wrong("I9", "it completed though nothing handled a failure".to_owned());
        }
        Event::Finished { status, failure, .. } if state.status == Status::Running => {
            let killed = failure
                .as_ref()
                .and_then(|failure| failure.details.as_ref())
                .is_some_and(|details| details.get("reason").is_some_and(|reason| reason == "killed"));
            if !state.root().is_settled() {
                wrong("I2", "it ended before every component had settled".to_owned());
            }
            let outcome = state.outcome.as_ref().map_or(*status, |outcome| outcome.status);
            let undone = !(state.must_undo() || outcome == Status::Failed && !state.undo.is_empty());
            if !killed && !undone {
                wrong("I9", "it ended before everything was compensated".to_owned());
            }
            if !killed && state.workflow.finally.is_some() && !state.finally_begun {
                wrong("I9", "it ended without its `finally`".to_owned());
            }
        }
        _ => {}
    }
}
