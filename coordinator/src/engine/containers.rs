//! Containers: groups, races, `try_catch` and loops (rows C1 to C9).

use std::sync::Arc;

use serde_json::{Map, Value, json};
use shared::{
    component::{Failure, FailureClass, control},
    execution::{
        Event, Execution, Items, Payload, Phase, Place, Plan, Record, RoundsPlan, SkipReason, Status,
        StoredPayload, TimerKey,
    },
    expression::{EvaluationError, Expression},
    ids::PayloadId,
    workflow::Part,
};

use crate::rows::{Cut, RowsAsk};

use super::{
    Command, LARGEST_ITEM, Limits, MOST_SCOPES, Needs, Turning, control::read, kind_of, rendered,
    tasks::time_limit,
};

/// The media type of a row set.
const ROW_SET: &str = "application/x-ndjson";

impl Turning<'_> {
    const fn limits(&self) -> Limits {
        self.around.rules.limits
    }

    /// Begins a container.
    pub(super) fn open(&mut self, place: Place, plan: Plan) -> Result<(), Needs> {
        let task = self.key(place);
        self.emit(Event::Opened { task: task.clone(), plan: plan.clone() });
        self.start_limit(place);
        match plan {
            Plan::Group | Plan::Race | Plan::Try { .. } => {
                self.begin_part(Part::Body, Some(task), None);
                Ok(())
            }
            Plan::Rounds(plan) if plan.count == 0 => self.finish_rounds(place),
            Plan::Rounds(_) => self.open_rounds(place),
            Plan::While { .. } => self.next_while_round(place, false),
        }
    }

    /// Sets the timer of a component that is no task and has a time limit.
    pub(super) fn start_limit(&mut self, place: Place) {
        if let Some(limit) = time_limit(self.execution.component(place)) {
            self.set_timer(TimerKey::Total(self.key(place)), self.around.now.after(limit));
        }
    }

    /// A container completed.
    pub(super) fn container_done(
        &mut self,
        place: Place,
        output: Payload,
        ports: Vec<String>,
    ) -> Result<(), Needs> {
        let task = self.key(place);
        self.drop_task_timers(place);
        self.emit_closing(Event::Decided { task, output, ports, log: Vec::new() });
        self.settled(place)
    }

    pub(super) fn container_failed(&mut self, place: Place, failure: Failure) -> Result<(), Needs> {
        self.end_inside(place);
        self.drop_task_timers(place);
        self.decision_failed(place, failure)
    }

    /// Every component of a part of a container has settled.
    pub(super) fn part_ended(&mut self, owner: Place, part: Part, scope: u32) -> Result<(), Needs> {
        let Some(container) = self.execution.container(owner) else { return Ok(()) };
        let plan = container.plan.clone();
        match plan {
            Plan::Group => match self.scope_failure(scope) {
                Some(failure) => self.container_failed(owner, failure),
                None => {
                    let output = self.outputs_of(&[scope])?;
                    self.container_done(owner, Payload::Inline(Value::Object(output)), Vec::new())
                }
            },
            Plan::Race => self.race_ended(owner, scope),
            Plan::Try { classes } => self.try_part_ended(owner, part, scope, classes.as_deref()),
            Plan::Rounds(plan) => {
                let round = self.close_round(owner, scope)?;
                self.rounds_go_on(owner, &plan, round)
            }
            Plan::While { .. } => {
                let round = self.close_round(owner, scope)?;
                let failed = self
                    .execution
                    .container(owner)
                    .and_then(|container| container.rounds.first_failure.clone())
                    .filter(|(failed, _)| *failed == round);
                match failed {
                    Some((round, failure)) => self.container_failed(owner, in_round(round, failure)),
                    None => self.next_while_round(owner, false),
                }
            }
        }
    }

    /// The output of each completed component of these scopes, by id.
    fn outputs_of(&self, scopes: &[u32]) -> Result<Map<String, Value>, Needs> {
        let mut outputs = Map::new();
        let mut missing = Vec::new();
        for scope in scopes {
            for place in self.execution.places(*scope) {
                let state = self.execution.at(place);
                if state.phase != Phase::Completed {
                    continue;
                }
                match self.value(state.output.as_ref()) {
                    Ok(value) => {
                        outputs.insert(self.execution.component(place).id.to_string(), value);
                    }
                    Err(id) => missing.push(id),
                }
            }
        }
        if missing.is_empty() { Ok(outputs) } else { Err(Needs::Payloads(missing)) }
    }

    /// A value that may lie in the payload store.
    pub(super) fn value(&self, payload: Option<&Payload>) -> Result<Value, PayloadId> {
        match payload {
            None => Ok(Value::Null),
            Some(Payload::Inline(value)) => Ok(value.clone()),
            Some(Payload::Stored(stored)) => {
                self.payloads.get(&stored.id).map(|value| (**value).clone()).ok_or(stored.id)
            }
        }
    }

    // ---- race ----------------------------------------------------------------------------------

    /// Whether a scope is the body of a race that is still open.
    pub(super) fn is_race(&self, scope: u32) -> bool {
        let owner = self.execution.scope(scope).owner;
        !self.execution.is_cancelling()
            && owner
                .and_then(|owner| self.execution.container(owner))
                .is_some_and(|container| container.plan == Plan::Race)
    }

    /// The first child of a race completed: the others are cancelled (row C8).
    pub(super) fn won(&mut self, place: Place) -> Result<(), Needs> {
        let Some(owner) = self.execution.scope(place.scope).owner else { return Ok(()) };
        let winner = self.execution.component(place).id.to_string();
        let output = self
            .value(self.execution.at(place).output.as_ref())
            .map_err(|missing| Needs::Payloads(vec![missing]))?;
        if !planted!(B32RaceLeavesLosersRunning) {
            self.end_scope(place.scope);
        }
        let output = json!({ "winner": winner, "output": output });
        self.container_done(owner, Payload::Inline(output), vec![winner])
    }

    /// Nobody won (rows C8 and C9).
    fn race_ended(&mut self, owner: Place, scope: u32) -> Result<(), Needs> {
        let first = self.execution.scope(scope).failed.first().copied();
        match first {
            Some(index) => {
                let failure = self.failure_of(Place { scope, component: index as u32 });
                self.container_failed(owner, failure)
            }
            None => {
                let task = self.key(owner);
                self.drop_task_timers(owner);
                self.emit_closing(Event::Skipped { task, reason: SkipReason::NothingRan });
                self.settled(owner)
            }
        }
    }

    // ---- try_catch -----------------------------------------------------------------------------

    fn try_part_ended(
        &mut self,
        owner: Place,
        part: Part,
        scope: u32,
        classes: Option<&[FailureClass]>,
    ) -> Result<(), Needs> {
        let scopes = self.execution.component(owner).scopes;
        let task = self.key(owner);
        if part == Part::Body
            && scopes.catch.is_some()
            && let Some(failure) = self.scope_failure(scope)
        {
            let taken = match classes {
                None => failure.class != FailureClass::Cancelled,
                Some(classes) => classes.contains(&failure.class),
            };
            if taken {
                self.begin_part(Part::Catch, Some(task), Some(failure));
                return Ok(());
            }
        }
        if part != Part::Finally && scopes.finally.is_some() {
            self.begin_part(Part::Finally, Some(task), None);
            return Ok(());
        }
        self.try_ended(owner)
    }

    /// All parts of a `try_catch` that run have ended (rows C6 and C7).
    fn try_ended(&mut self, owner: Place) -> Result<(), Needs> {
        let scopes = self.execution.component(owner).scopes;
        let iteration = self.execution.scope(owner.scope).iteration.clone();
        let open = |part: Option<usize>| part.and_then(|part| self.execution.scope_in(part, &iteration));
        let (body, catch, finally) = (open(scopes.body), open(scopes.catch), open(scopes.finally));
        let failure = finally
            .and_then(|finally| self.scope_failure(finally))
            .or_else(|| catch.or(body).and_then(|deciding| self.scope_failure(deciding)));
        if let Some(failure) = failure {
            return self.container_failed(owner, failure);
        }
        let ran: Vec<u32> = [body, catch, finally].into_iter().flatten().collect();
        let output = self.outputs_of(&ran)?;
        let ports = if catch.is_some() { vec!["caught".to_owned()] } else { Vec::new() };
        self.container_done(owner, Payload::Inline(Value::Object(output)), ports)
    }

    // ---- loops over a known number of rounds -----------------------------------------------------

    /// Begins a `loop`: its items are counted, and laid aside when there are many.
    pub(super) fn open_loop(
        &mut self,
        place: Place,
        config: &control::Loop,
        items: &Arc<Value>,
    ) -> Result<(), Needs> {
        let fault = |class, message: String| Failure::new(class, message);
        if items.get("file").is_some() {
            return self.open_loop_over_rows(place, config, items);
        }
        let Value::Array(list) = &**items else {
            let failure =
                fault(FailureClass::InvalidInput, format!("`items` is {}, not a list", kind_of(items)));
            return self.decision_failed(place, failure);
        };
        if list.len() > config.max_items as usize {
            let message = format!("{} items, and `max_items` is {}", list.len(), config.max_items);
            return self.decision_failed(place, fault(FailureClass::LimitExceeded, message));
        }
        let batch = config.batch_size.max(1) as usize;
        let count = list.len().div_ceil(batch);
        let large = list.iter().position(|item| crate::desk::is_longer_than(item, LARGEST_ITEM));
        if let Some(index) = large {
            let message = format!("item {index} is larger than 256 KiB; pass a reference to it instead");
            return self.decision_failed(place, fault(FailureClass::LimitExceeded, message));
        }
        let tolerated = match tolerated(config, count as u32) {
            Ok(tolerated) => tolerated,
            Err(failure) => return self.decision_failed(place, failure),
        };
        let stored = count > self.limits().kept_rounds as usize
            || crate::desk::is_longer_than(items, self.limits().inline);
        let mut lists = Vec::new();
        for (number, chunk) in list.chunks(Items::CHUNK as usize * batch).enumerate() {
            let rounds = match batch {
                1 => chunk.to_vec(),
                _ => chunk.chunks(batch).map(|items| Value::Array(items.to_vec())).collect(),
            };
            let value = Value::Array(rounds);
            lists.push(if stored {
                let stored = self.lay_aside(place, &format!("items/{number}"), value);
                // What this turn can come to stays at hand; a turn is not long enough for the rest.
                if number > self.limits().turn_events / Items::CHUNK as usize + 1 {
                    self.payloads.to_mut().remove(&stored.id);
                }
                Payload::Stored(stored)
            } else {
                Payload::Inline(value)
            });
        }
        let plan = RoundsPlan {
            count: count as u32,
            max_parallel: config.max_parallel.max(1),
            tolerated,
            items: Items::Lists(lists),
        };
        self.open(place, Plan::Rounds(plan))
    }

    /// Begins a `loop` over a row set, which lies in the payload store and is never whole in memory.
    fn open_loop_over_rows(
        &mut self,
        place: Place,
        config: &control::Loop,
        items: &Value,
    ) -> Result<(), Needs> {
        let is_row_set = items.get("media_type").and_then(Value::as_str) == Some(ROW_SET);
        let file = items.get("file").and_then(Value::as_str).and_then(|file| file.parse().ok());
        let (true, Some(file)) = (is_row_set, file) else {
            let message = format!("`items` is a file that is no row set; its media type must be {ROW_SET}");
            return self.decision_failed(place, Failure::new(FailureClass::InvalidInput, message));
        };
        if let Some(rows) = items.get("rows").and_then(Value::as_u64)
            && rows > u64::from(config.max_items)
        {
            let message = format!("{rows} items, and `max_items` is {}", config.max_items);
            return self.decision_failed(place, Failure::new(FailureClass::LimitExceeded, message));
        }
        let ask = RowsAsk { file, batch: config.batch_size.max(1), most: config.max_items };
        let Some(cut) = self.payloads.get(&ask.id(self.execution.id)) else { return Err(Needs::Rows(ask)) };
        let cut: Cut = serde_json::from_value((**cut).clone()).unwrap_or_else(|error| {
            Err(Failure::new(FailureClass::Internal, format!("the row set was not cut: {error}")))
        });
        let count = |rows: u32| rows.div_ceil(ask.batch);
        match cut.and_then(|cut| Ok((tolerated(config, count(cut.rows))?, cut))) {
            Ok((tolerated, cut)) => {
                let plan = RoundsPlan {
                    count: count(cut.rows),
                    max_parallel: config.max_parallel.max(1),
                    tolerated,
                    items: Items::Lists(cut.lists.into_iter().map(Payload::Stored).collect()),
                };
                self.open(place, Plan::Rounds(plan))
            }
            Err(failure) => self.decision_failed(place, failure),
        }
    }

    /// Keeps a value in the payload store, with this turn. Its id follows from the turn, so that two
    /// coordinators that decide the same keep the same.
    fn lay_aside(&mut self, place: Place, what: &str, value: Value) -> StoredPayload {
        let bytes = value.to_string().into_bytes();
        let stored = StoredPayload { id: self.payload_id(place, what), size: bytes.len() as u64 };
        self.payloads.to_mut().insert(stored.id, Arc::new(value));
        self.made.payloads.push((stored.id, bytes));
        stored
    }

    fn payload_id(&self, place: Place, what: &str) -> PayloadId {
        let name = format!("{}/{}/{}/{what}", self.cause, self.execution.seq, self.key(place));
        PayloadId::derived(self.execution.id, &name)
    }

    /// Opens as many rounds as may run at once.
    pub(super) fn open_rounds(&mut self, place: Place) -> Result<(), Needs> {
        let task = self.key(place);
        loop {
            let Some(container) = self.execution.container(place) else { return Ok(()) };
            let Plan::Rounds(plan) = &container.plan else { return Ok(()) };
            let (next, live) = (container.rounds.next, container.rounds.live());
            let round = if planted!(B33RoundOpenedTwice) && live == 1 { next - 1 } else { next };
            if round >= plan.count || live >= plan.max_parallel {
                return Ok(());
            }
            if live > 0 && self.execution.open_count() >= MOST_SCOPES {
                return Ok(());
            }
            if self.made.events.len() >= self.limits().turn_events {
                self.go_on();
                return Ok(());
            }
            let item = match &plan.items {
                Items::Range { from, step } => Value::from(from + i64::from(round) * step),
                Items::Lists(lists) => {
                    let list = &lists[(round / Items::CHUNK) as usize];
                    let at = (round % Items::CHUNK) as usize;
                    let value = match list {
                        Payload::Inline(value) => Some(value),
                        Payload::Stored(stored) => self.payloads.get(&stored.id).map(AsRef::as_ref),
                    };
                    match (value, list) {
                        (Some(value), _) => value.get(at).cloned().unwrap_or_default(),
                        (None, Payload::Stored(stored)) => return Err(Needs::Payloads(vec![stored.id])),
                        (None, Payload::Inline(_)) => Value::Null,
                    }
                }
            };
            self.open_round(place, &task, round, Some(Payload::Inline(item)));
        }
    }

    fn open_round(
        &mut self,
        place: Place,
        task: &shared::execution::TaskKey,
        round: u32,
        item: Option<Payload>,
    ) {
        self.emit(Event::ScopeOpened {
            part: Part::Body,
            owner: Some(task.clone()),
            round: Some(round),
            item,
            error: None,
        });
        let mut iteration = task.iteration.clone();
        iteration.0.push(round);
        let body = self.execution.component(place).scopes.body;
        if let Some(open) = body.and_then(|body| self.execution.scope_in(body, &iteration)) {
            self.begin_scope(open);
        }
    }

    /// The rest is decided in a turn of its own.
    pub(super) fn go_on(&mut self) {
        if !self.goes_on {
            self.goes_on = true;
            if !planted!(B44RestOfATurnForgotten) {
                self.made.commands.push(Command::GoOn);
            }
        }
    }

    /// Opens the rounds that an earlier turn put off.
    pub(super) fn resume_rounds(&mut self) -> Result<(), Needs> {
        if self.execution.status != Status::Running || self.execution.is_cancelling() {
            return Ok(());
        }
        for place in self.execution.loops.clone() {
            if !self.is_open(place) {
                continue;
            }
            let Some(container) = self.execution.container(place) else { continue };
            match container.plan {
                Plan::Rounds(_) => self.open_rounds(place)?,
                Plan::While { .. }
                    if container.rounds.live() == 0
                        && container.rounds.paused_until.is_none_or(|until| until <= self.around.now) =>
                {
                    if container.rounds.paused_until.is_some() && !planted!(B52PauseKeepsItsTimer) {
                        let task = self.key(place);
                        self.clear_timer(TimerKey::Pause(task));
                    }
                    self.next_while_round(place, true)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Journals how a round ended. Answers its number.
    fn close_round(&mut self, owner: Place, scope: u32) -> Result<u32, Needs> {
        let failure = self.scope_failure(scope);
        let output = self.outputs_of(&[scope])?;
        let round = self.execution.scope(scope).iteration.0.last().copied().unwrap_or_default();
        let task = self.key(owner);
        self.emit_closing(Event::RoundClosed {
            task,
            round,
            status: if failure.is_some() { Status::Failed } else { Status::Completed },
            output: Payload::Inline(Value::Object(output)),
            failure,
        });
        Ok(round)
    }

    /// A round ended: the loop fails, ends, or goes on (rows C2 to C4).
    fn rounds_go_on(&mut self, place: Place, plan: &RoundsPlan, round: u32) -> Result<(), Needs> {
        let Some(container) = self.execution.container(place) else { return Ok(()) };
        let rounds = &container.rounds;
        if rounds.failed > plan.tolerated {
            // The one that was too much.
            let record = rounds.records.get(&round).and_then(|record| record.failure.clone());
            let first = rounds.first_failure.clone();
            let beyond = record.filter(|_| plan.tolerated > 0).map(|failure| (round, failure));
            let (round, failure) = beyond.or(first).unwrap_or_else(|| {
                (round, Failure::new(FailureClass::Internal, "a round failed without a reason"))
            });
            let mut failure = in_round(round, failure);
            if plan.tolerated > 0 {
                failure.message = format!(
                    "{} rounds failed, and {} are tolerated; {}",
                    plan.tolerated + 1,
                    plan.tolerated,
                    failure.message
                );
            }
            return self.container_failed(place, failure);
        }
        self.store_rounds(place, plan.count)?;
        let Some(container) = self.execution.container(place) else { return Ok(()) };
        if container.rounds.closed == plan.count || planted!(B34LoopEndsBeforeItsRounds) {
            self.finish_rounds(place)
        } else {
            self.open_rounds(place)
        }
    }

    /// Lays the results of rounds aside when they are many or large, so that a loop of any length fits in
    /// memory.
    fn store_rounds(&mut self, place: Place, count: u32) -> Result<(), Needs> {
        let Some(container) = self.execution.container(place) else { return Ok(()) };
        let limits = self.limits();
        let rounds = &container.rounds;
        let mut upto = rounds.stored;
        let mut heavy = 0;
        for (round, record) in &rounds.records {
            if *round != upto {
                break;
            }
            heavy += usize::from(matches!(record.output, Payload::Stored(_)));
            upto += 1;
            if upto - rounds.stored == Items::CHUNK || heavy == limits.heavy_rounds {
                break;
            }
        }
        let full = count > limits.kept_rounds && upto - rounds.stored >= Items::CHUNK;
        if full || heavy >= limits.heavy_rounds {
            self.store_rounds_upto(place, upto)?;
        }
        Ok(())
    }

    fn store_rounds_upto(&mut self, place: Place, upto: u32) -> Result<(), Needs> {
        let list = self.records(place, upto)?;
        let rounds = self.lay_aside(place, &format!("rounds/{upto}"), Value::Array(list));
        let task = self.key(place);
        self.emit(Event::RoundsStored { task, upto, rounds });
        Ok(())
    }

    /// The records of the rounds before `upto` that are not stored yet, as the loop's output shows them.
    fn records(&self, place: Place, upto: u32) -> Result<Vec<Value>, Needs> {
        let mut list = Vec::new();
        let mut missing = Vec::new();
        if let Some(container) = self.execution.container(place) {
            for (round, record) in container.rounds.records.range(..upto) {
                match self.record(*round, record) {
                    Ok(value) => list.push(value),
                    Err(id) => missing.push(id),
                }
            }
        }
        if missing.is_empty() { Ok(list) } else { Err(Needs::Payloads(missing)) }
    }

    fn record(&self, round: u32, record: &Record) -> Result<Value, PayloadId> {
        let output = self.value(Some(&record.output))?;
        let error = record.failure.as_ref().map(Failure::to_value);
        Ok(json!({ "index": round, "status": record.status.as_str(), "output": output, "error": error }))
    }

    /// Every round has ended: the output is the list of them, in the order of the items.
    fn finish_rounds(&mut self, place: Place) -> Result<(), Needs> {
        let Some(container) = self.execution.container(place) else { return Ok(()) };
        let Plan::Rounds(plan) = &container.plan else { return Ok(()) };
        let (count, stored) = (plan.count, container.rounds.stored);
        if stored == 0 {
            let list = self.records(place, count)?;
            return self.container_done(place, Payload::Inline(Value::Array(list)), Vec::new());
        }
        if stored < count {
            self.store_rounds_upto(place, count)?;
        }
        let Some(container) = self.execution.container(place) else { return Ok(()) };
        let parts = &container.rounds.parts;
        let ids: Vec<PayloadId> = parts.iter().map(|part| part.id).collect();
        let size = parts.iter().map(|part| part.size).sum();
        let stored = StoredPayload { id: self.payload_id(place, "output"), size };
        self.made.payloads.push((stored.id, shared::port::store::list_of_parts(&ids)));
        // Whoever looks into it in this turn needs the parts of earlier ones, and asks for them.
        let lists: Option<Vec<&Vec<Value>>> =
            ids.iter().map(|id| self.payloads.get(id).and_then(|list| list.as_array())).collect();
        if let Some(lists) = lists.filter(|_| !planted!(B58ListInPartsNotAtHand)) {
            let whole = Value::Array(lists.into_iter().flatten().cloned().collect());
            self.payloads.to_mut().insert(stored.id, Arc::new(whole));
        }
        self.container_done(place, Payload::Stored(stored), Vec::new())
    }

    // ---- while ---------------------------------------------------------------------------------

    /// Asks the condition of a `while_loop`, and opens the next round or ends it (row C5).
    pub(super) fn next_while_round(&mut self, place: Place, rested: bool) -> Result<(), Needs> {
        let Some(container) = self.execution.container(place) else { return Ok(()) };
        let Plan::While { max_rounds, pause, .. } = container.plan else { return Ok(()) };
        let round = container.rounds.next;
        if self.made.events.len() >= self.limits().turn_events {
            self.go_on();
            return Ok(());
        }
        if !rested && round > 0 && !pause.is_zero() {
            let task = self.key(place);
            let until = self.around.now.after(pause);
            self.emit(Event::RoundDelayed { task: task.clone(), until });
            self.set_timer(TimerKey::Pause(task), until);
            return Ok(());
        }
        let previous = match (&container.rounds.previous, round) {
            (_, 0) => None,
            (previous, _) => {
                Some(self.value(previous.as_ref()).map_err(|missing| Needs::Payloads(vec![missing]))?)
            }
        };
        let verdict = self.condition(place).and_then(|condition| {
            match condition.evaluate(&self.scope(place).with_round(round, previous))? {
                Value::Bool(verdict) => Ok(verdict),
                other => Err(EvaluationError::Failed(Failure::new(
                    FailureClass::InvalidExpression,
                    format!("`condition` gives {}, not true or false", kind_of(&other)),
                ))),
            }
        });
        match verdict {
            Ok(true) if round < max_rounds => {
                let task = self.key(place);
                self.open_round(place, &task, round, None);
                Ok(())
            }
            Ok(more) => {
                let output = self.while_output(place)?;
                if more {
                    let failure = Failure::new(
                        FailureClass::LimitExceeded,
                        format!("the condition still holds after {max_rounds} rounds, its `max_iterations`"),
                    )
                    .with_details(output);
                    return self.container_failed(place, failure);
                }
                self.container_done(place, Payload::Inline(output), Vec::new())
            }
            Err(EvaluationError::Needs(missing)) => Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => self.container_failed(place, failure),
        }
    }

    fn condition(&self, place: Place) -> Result<Expression, EvaluationError> {
        let config: control::WhileLoop = read(rendered(self.execution, &self.payloads, place)?.value)?;
        let source = match &config.condition {
            Value::String(source) => source.clone(),
            other => other.to_string(),
        };
        Expression::compile(&source).map_err(|error| {
            EvaluationError::Failed(Failure::new(FailureClass::InvalidExpression, error.message))
        })
    }

    fn while_output(&self, place: Place) -> Result<Value, Needs> {
        let Some(container) = self.execution.container(place) else { return Ok(Value::Null) };
        let kept = self.records(place, u32::MAX)?;
        let last = kept.last().and_then(|record| record.get("output")).cloned().unwrap_or_default();
        Ok(json!({ "iterations": container.rounds.closed, "last": last, "rounds": kept }))
    }
}

/// Whether a loop could open a round: what a turn put off.
pub(super) fn has_more(execution: &Execution, place: Place) -> bool {
    execution.container(place).is_some_and(|container| {
        let rounds = &container.rounds;
        match &container.plan {
            Plan::Rounds(plan) => rounds.next < plan.count && rounds.live() < plan.max_parallel,
            Plan::While { .. } => rounds.live() == 0 && rounds.paused_until.is_none(),
            _ => false,
        }
    })
}

/// A round's failure as its loop's.
fn in_round(round: u32, failure: Failure) -> Failure {
    let message = format!("round {round}: {}", failure.message);
    let details = json!({ "round": round, "error": failure.to_value() });
    Failure::new(failure.class, message).with_details(details)
}

/// How many failed rounds a loop bears.
fn tolerated(config: &control::Loop, count: u32) -> Result<u32, Failure> {
    match &config.tolerate {
        None => Ok(match config.on_item_error {
            control::OnItemError::Stop => 0,
            control::OnItemError::Collect => u32::MAX,
        }),
        Some(control::Tolerance::Count(most)) => Ok(*most),
        Some(control::Tolerance::Percent(text)) => {
            let share = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
            match share {
                Some(share) if (0.0..=100.0).contains(&share) => {
                    Ok((f64::from(count) * share / 100.0).floor() as u32)
                }
                _ => Err(Failure::new(
                    FailureClass::InvalidConfig,
                    format!("`tolerate`: `{text}` is no share; write a number or `5%`"),
                )),
            }
        }
    }
}
