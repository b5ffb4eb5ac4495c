//! Doing an execution that has ended again: what of it is kept, what runs again, and why.
//!
//! Pure: whoever reads journals and keeps submissions asks here. What is kept is never decided anew; what cannot be
//! trusted is refused and not quietly repeated, as repeating an effect is the caller's choice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    Carry, Event, Execution, Payload, Phase, Place, ROOT, ReplayError, SkipReason, Status, Turn, Undo,
    moving::Moved,
};
use crate::{
    component::{FailureClass, control::OnParentClose},
    expression::{Expression, Reference, Segment},
    ids::{ComponentId, ExecutionId, PayloadId},
    workflow::{Change, Component, Difference, Part, Subject, Workflow, nearest},
};

/// What is to run again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Everything that did not complete, and what follows from it.
    Failed,
    /// These, everything that did not complete, and what follows from them.
    Components(Vec<ComponentId>),
    /// Nothing is kept.
    Whole,
}

/// An execution, read from its journal, with what its last state does not say.
#[derive(Debug, Clone)]
pub struct Ended {
    execution: Execution,
    skipped: BTreeMap<ComponentId, SkipReason>,
    /// Components of the workflow's own scope of which something began to be undone.
    undone: BTreeSet<ComponentId>,
    /// Those that started others whose executions end with this one.
    closed: BTreeSet<ComponentId>,
    /// Those of which an `at_most_once` attempt was begun, or inside which one was.
    granted: BTreeSet<ComponentId>,
}

impl Ended {
    /// Begins with the first turn; the others follow.
    pub fn begin(workflow: std::sync::Arc<Workflow>, first: &Turn) -> Result<Self, ReplayError> {
        let execution = Execution::replay(workflow, std::slice::from_ref(first))?;
        let mut ended = Self {
            execution,
            skipped: BTreeMap::new(),
            undone: BTreeSet::new(),
            closed: BTreeSet::new(),
            granted: BTreeSet::new(),
        };
        ended.note(first);
        Ok(ended)
    }

    /// Adds the next turn. One that moves it needs the snapshot at hand ([`Self::learn`]).
    pub fn see(&mut self, turn: &Turn) -> Result<(), ReplayError> {
        self.execution.append(turn)?;
        if let Some(moved) = turn.moved() {
            self.rename(moved);
        }
        self.note(turn);
        Ok(())
    }

    /// As [`Execution::learn`].
    pub fn learn(&mut self, workflow: std::sync::Arc<Workflow>) {
        self.execution.learn(workflow);
    }

    /// What is known of components goes by what they are called now.
    fn rename(&mut self, moved: &Moved) {
        let called = |id: ComponentId| moved.mapping.get(&id).cloned().unwrap_or(id);
        for set in [&mut self.undone, &mut self.closed, &mut self.granted] {
            *set = std::mem::take(set).into_iter().map(called).collect();
        }
        let skipped = std::mem::take(&mut self.skipped).into_iter();
        self.skipped = skipped.map(|(id, reason)| (called(id), reason)).collect();
    }

    pub const fn execution(&self) -> &Execution {
        &self.execution
    }

    fn note(&mut self, turn: &Turn) {
        for event in &turn.events {
            let (task, set) = match event {
                Event::Skipped { task, reason } => {
                    self.skip(task, *reason);
                    continue;
                }
                Event::Carried { task, result, .. } | Event::Pinned { task, result, .. } => {
                    if let Carry::Skipped { reason } = **result {
                        self.skip(task, reason);
                    }
                    continue;
                }
                Event::ScopeOpened { part: Part::Compensation, owner: Some(task), .. }
                | Event::Compensated { task, .. } => (task, &mut self.undone),
                Event::ChildOrdered { task, waits: false, on_parent_close, .. }
                    if *on_parent_close != OnParentClose::Leave =>
                {
                    (task, &mut self.closed)
                }
                Event::TaskGranted { task, .. } => (task, &mut self.granted),
                _ => continue,
            };
            let (workflow, task) = (&self.execution.workflow, self.execution.called_now(task));
            let outer = outermost(workflow, task.component.as_str());
            set.extend(outer.map(|outer| workflow.components[outer].id.clone()));
        }
    }

    fn skip(&mut self, task: &super::TaskKey, reason: SkipReason) {
        if task.iteration.is_none() {
            self.skipped.insert(self.execution.called_now(task).component, reason);
        }
    }

    /// Why a component that did not complete should not run again unasked: an attempt that may run at most once was
    /// begun, and nobody knows that it did nothing.
    fn may_have_acted(&self, index: usize) -> Option<&'static str> {
        let component = &self.execution.workflow.components[index];
        if !self.granted.contains(&component.id) {
            return None;
        }
        let state = self.execution.at(Place { scope: ROOT, component: index as u32 });
        let class = state.failure.as_ref().map(|failure| &failure.class);
        match state.phase {
            _ if component.is_container() => {
                Some("began a task inside it that runs at most once, and would run as a whole")
            }
            Phase::Failed if class != Some(&FailureClass::OutcomeUnknown) => None,
            Phase::Failed | Phase::Cancelled => {
                Some("runs at most once, and may have taken effect though it did not complete")
            }
            _ => None,
        }
    }

    /// How a component of the workflow's own scope ended, if that can be kept, or why it cannot.
    fn ending(&self, index: usize) -> Result<Carry, Why> {
        let execution = &self.execution;
        let component = &execution.workflow.components[index];
        let place = Place { scope: ROOT, component: index as u32 };
        let state = execution.at(place);
        if self.undone.contains(&component.id) {
            return Err(Why::Undone);
        }
        if self.closed.contains(&component.id) {
            return Err(Why::Closed);
        }
        match (state.phase, &state.output, &state.failure) {
            // It has no readers and no effect, and may have ended what is to run again.
            (Phase::Completed, ..) if &*component.kind == "end" => Err(Why::Exit),
            (Phase::Completed, Some(output), _) => Ok(Carry::Completed {
                output: output.clone(),
                ports: state.ports.clone(),
                attempts: state.attempt,
            }),
            (Phase::Failed, _, Some(failure)) => {
                let port = execution.failure_port(place);
                let is_handled = component.outgoing.iter().any(|(reader, read)| {
                    let reader = Place { scope: ROOT, component: *reader as u32 };
                    *read == port && execution.at(reader).phase == Phase::Completed
                });
                if is_handled {
                    Ok(Carry::Failed { failure: (**failure).clone(), attempts: state.attempt })
                } else {
                    Err(Why::Failed)
                }
            }
            (Phase::Skipped, ..) => match self.skipped.get(&component.id) {
                Some(reason) if *reason != SkipReason::ScopeEnded => Ok(Carry::Skipped { reason: *reason }),
                _ => Err(Why::Unfinished),
            },
            _ => Err(Why::Unfinished),
        }
    }
}

/// The component of the workflow's own scope that another is or stands inside; `None` for what cleans up.
fn outermost(workflow: &Workflow, id: &str) -> Option<usize> {
    let index = workflow.index_of(id)?;
    let outer = workflow.enclosing(index).last().unwrap_or(index);
    (workflow.components[outer].scope == 0).then_some(outer)
}

/// Why a component runs again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Nothing is kept.
    Whole,
    /// Somebody asked for it.
    Named,
    /// The version that ran has no such component.
    New,
    /// It failed, and nobody handled that to the end.
    Failed,
    /// It had not ended, or never ran.
    Unfinished,
    /// It was undone, or that was begun.
    Undone,
    /// The execution that it started ended with the one that is done again.
    Closed,
    /// It is an `end`: what it gives is put together anew.
    Exit,
    /// It is a `start` of other parameters. What only follows from it need not run again: it always fires.
    Parameters,
    /// It follows from one that runs again.
    Follows(ComponentId),
}

impl Why {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Named => "named",
            Self::New => "new",
            Self::Failed => "failed",
            Self::Unfinished => "unfinished",
            Self::Undone => "undone",
            Self::Closed => "closed",
            Self::Exit => "exit",
            Self::Parameters => "parameters",
            Self::Follows(_) => "follows",
        }
    }

    /// The same for people.
    pub fn sentence(&self, component: &Component) -> String {
        let mut text = match self {
            Self::Whole => "Nothing is kept.".to_owned(),
            Self::Named => "You asked for it.".to_owned(),
            Self::New => "It is new in this version.".to_owned(),
            Self::Failed => "It failed.".to_owned(),
            Self::Unfinished => "It had not ended, or never ran.".to_owned(),
            Self::Undone => "It was undone, or that was begun.".to_owned(),
            Self::Closed => "The execution that it started ended with this one.".to_owned(),
            Self::Exit => "What an `end` gives is put together anew.".to_owned(),
            Self::Parameters => "It gives the parameters, and they are others.".to_owned(),
            Self::Follows(from) => format!("It follows from `{from}`, which runs again."),
        };
        if component.is_loop() {
            text.push_str(" A loop runs again as a whole, its completed rounds too.");
        } else if component.is_container() {
            text.push_str(" A container runs again as a whole, also what completed inside it.");
        }
        text
    }
}

/// What becomes of a component.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    Kept(Carry),
    Again(Why),
}

/// Why a component can neither be kept nor run again unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Doubt {
    pub component: ComponentId,
    /// As the end of a sentence that begins with the component.
    pub because: String,
    /// Whether the component can be named among those that run again.
    pub can_run: bool,
}

/// Why an execution is not done again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("it is {}; only what has ended is done again", .0.as_str())]
    Open(Status),
    #[error(
        "it completed, and nothing of it failed; name the components that are to run again, or ask for `whole`"
    )]
    NothingFailed,
    #[error("the workflow has no component `{id}`{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown { id: ComponentId, near: Option<String> },
    #[error("`{id}` stands inside `{container}`, which runs again as a whole; name `{container}`")]
    Inside { id: ComponentId, container: ComponentId },
    #[error(
        "`{0}` cleans up, and runs at the end in any case; name what it cleans up after, or ask for `whole`"
    )]
    CleansUp(ComponentId),
    #[error("{}", doubts(.0))]
    Untrusted(Vec<Doubt>),
}

fn doubts(doubts: &[Doubt]) -> String {
    let list: Vec<String> =
        doubts.iter().map(|doubt| format!("`{}` {}", doubt.component, doubt.because)).collect();
    let mut text = format!("it is not done again like this: {}; ", list.join(", "));
    if doubts.iter().all(|doubt| doubt.can_run) {
        let names: Vec<String> = doubts.iter().map(|doubt| format!("`{}`", doubt.component)).collect();
        text.push_str(&format!("let {} run again too (`from`), or ask for `whole`", names.join(", ")));
    } else {
        text.push_str("ask for the version that ran (`same`), or for `whole`");
    }
    text
}

/// What of an execution is kept when it is done again.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Every component of the workflow's own scope, in the order written.
    pub components: Vec<(ComponentId, Fate)>,
    /// What is kept and can be undone, in the order in which it completed.
    pub undo: Vec<Undo>,
}

impl Plan {
    /// What stands in the first turn after `accepted`.
    pub fn events(&self, from: ExecutionId) -> Vec<Event> {
        let carried = self.components.iter().filter_map(|(id, fate)| match fate {
            Fate::Kept(result) => Some(Event::Carried {
                task: super::TaskKey::of(id.clone()),
                from,
                result: Box::new(result.clone()),
            }),
            Fate::Again(_) => None,
        });
        let noted = self.undo.iter().map(|undo| Event::CompensationNoted {
            task: undo.task.clone(),
            config: undo.config.clone(),
            references: undo.references.clone(),
            failure: undo.failure.clone(),
        });
        carried.chain(noted).collect()
    }

    /// Values in the payload store that what is kept cannot do without.
    pub fn payloads(&self) -> Vec<PayloadId> {
        let outputs = self.components.iter().filter_map(|(_, fate)| match fate {
            Fate::Kept(Carry::Completed { output: Payload::Stored(stored), .. }) => Some(stored.id),
            _ => None,
        });
        let noted = self.undo.iter().flat_map(|undo| undo.references.iter().map(|(_, id)| *id));
        let all: BTreeSet<PayloadId> = outputs.chain(noted).collect();
        all.into_iter().collect()
    }
}

/// Ids of payloads that stand in a text, such as those of files in an output.
pub fn payloads_in(text: &[u8]) -> Vec<PayloadId> {
    const PREFIX: &[u8] = b"payload_";
    const UUID: usize = 36;
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(PREFIX.len()).position(|window| window == PREFIX) {
        rest = &rest[at + PREFIX.len()..];
        let id: Option<PayloadId> =
            rest.get(..UUID).and_then(|id| std::str::from_utf8(id).ok()).and_then(|id| id.parse().ok());
        found.extend(id);
    }
    found
}

/// The longest text that [`payloads_in`] looks for: what must not be torn apart.
pub const LONGEST_MENTION: usize = 44;

/// Plans to do an execution again as `target` with `parameters`.
///
/// `differences` are those between the version that ran and `target`; none when it is the same.
pub fn plan(
    ended: &Ended,
    target: &Workflow,
    differences: &[Difference],
    wanted: &Wanted,
    parameters: &Map<String, Value>,
) -> Result<Plan, Refusal> {
    let execution = &ended.execution;
    if !execution.status.is_terminal() {
        return Err(Refusal::Open(execution.status));
    }
    if *wanted == Wanted::Failed && execution.status == Status::Completed {
        return Err(Refusal::NothingFailed);
    }
    let named = named(target, wanted)?;
    let changed = changed_parameters(&execution.accepted.parameters, parameters);
    let own = &target.scopes[0].components;
    let mut fates: BTreeMap<usize, Fate> = own
        .iter()
        .map(|index| {
            let component = &target.components[*index];
            let known = execution.workflow.index_of(component.id.as_str());
            let known = known.filter(|known| execution.workflow.components[*known].scope == 0);
            let fate = match (wanted, known) {
                (Wanted::Whole, _) => Fate::Again(Why::Whole),
                _ if named.contains(index) => Fate::Again(Why::Named),
                (_, None) => Fate::Again(Why::New),
                _ if is_start(component) && !changed.is_empty() => Fate::Again(Why::Parameters),
                (_, Some(known)) => ended.ending(known).map_or_else(Fate::Again, Fate::Kept),
            };
            (*index, fate)
        })
        .collect();
    spread(target, &mut fates);

    let mut doubts = Vec::new();
    if *wanted != Wanted::Whole {
        let kept = |index: &usize| matches!(fates.get(index), Some(Fate::Kept(_)));
        doubts.extend(gone(ended, target, wanted));
        let altered = altered(&execution.workflow, target, differences);
        for index in own {
            let component = &target.components[*index];
            let known = execution.workflow.index_of(component.id.as_str());
            if let (Some(Fate::Again(why)), Some(known)) = (fates.get(index), known)
                && !matches!(why, Why::Named | Why::Follows(_))
                && let Some(because) = ended.may_have_acted(known)
            {
                let because = because.to_owned();
                doubts.push(Doubt { component: component.id.clone(), because, can_run: true });
            }
        }
        for index in own.iter().filter(|index| kept(index)) {
            let component = &target.components[*index];
            let mut because = Vec::new();
            // What was skipped gave nothing: only what decides about that counts.
            let is_skipped = matches!(fates.get(index), Some(Fate::Kept(Carry::Skipped { .. })));
            let counts = |field: &&str| !is_skipped || DECIDES.contains(field);
            let fields = altered.get(index).into_iter().flatten().map(String::as_str);
            let fields: Vec<&str> = fields.filter(counts).collect();
            if !fields.is_empty() {
                because.push(format!("is another in this version ({})", fields.join(", ")));
            }
            let read = parameters_read(target, *index, &changed, is_skipped);
            if !read.is_empty() {
                let read: Vec<&str> = read.iter().map(String::as_str).collect();
                because.push(format!("read {}, which you change", read.join(", ")));
            }
            if !because.is_empty() {
                let because = because.join(" and ");
                doubts.push(Doubt { component: component.id.clone(), because, can_run: true });
            }
        }
    }
    if !doubts.is_empty() {
        return Err(Refusal::Untrusted(doubts));
    }

    let undo = execution
        .undo
        .iter()
        .filter(|undo| {
            let outer = outermost(target, undo.task.component.as_str());
            outer.is_some_and(|outer| matches!(fates.get(&outer), Some(Fate::Kept(_))))
        })
        .cloned()
        .collect();
    let components = own.iter().filter_map(|index| {
        let fate = fates.remove(index)?;
        Some((target.components[*index].id.clone(), fate))
    });
    Ok(Plan { components: components.collect(), undo })
}

/// The components that somebody named, which must stand in the workflow's own scope.
fn named(target: &Workflow, wanted: &Wanted) -> Result<BTreeSet<usize>, Refusal> {
    let Wanted::Components(ids) = wanted else { return Ok(BTreeSet::new()) };
    let mut named = BTreeSet::new();
    for id in ids {
        let Some(index) = target.index_of(id.as_str()) else {
            let known = target.scopes[0].components.iter().map(|index| target.components[*index].id.as_str());
            let near = nearest(id.as_str(), known).map(ToOwned::to_owned);
            return Err(Refusal::Unknown { id: id.clone(), near });
        };
        match outermost(target, id.as_str()) {
            Some(outer) if outer == index => named.insert(index),
            Some(outer) => {
                let container = target.components[outer].id.clone();
                return Err(Refusal::Inside { id: id.clone(), container });
            }
            None => return Err(Refusal::CleansUp(id.clone())),
        };
    }
    Ok(named)
}

/// Whatever follows from a component that runs again runs again.
fn spread(target: &Workflow, fates: &mut BTreeMap<usize, Fate>) {
    let mut again: Vec<usize> = fates
        .iter()
        .filter(|(_, fate)| matches!(fate, Fate::Again(why) if *why != Why::Parameters))
        .map(|(index, _)| *index)
        .collect();
    while let Some(from) = again.pop() {
        for (reader, _) in &target.components[from].outgoing {
            let Some(fate) = fates.get_mut(reader) else { continue };
            let spreads = matches!(fate, Fate::Kept(_) | Fate::Again(Why::Parameters));
            if spreads {
                *fate = Fate::Again(Why::Follows(target.components[from].id.clone()));
                again.push(*reader);
            }
        }
    }
}

fn is_start(component: &Component) -> bool {
    &*component.kind == "start" && component.needs.is_empty()
}

/// What would be kept of the version that ran and has no place in `target`.
fn gone(ended: &Ended, target: &Workflow, wanted: &Wanted) -> Vec<Doubt> {
    let ran = &ended.execution.workflow;
    let is_named = |id: &ComponentId| matches!(wanted, Wanted::Components(ids) if ids.contains(id));
    let mut fates: BTreeMap<usize, Fate> = ran.scopes[0]
        .components
        .iter()
        .map(|index| {
            let ending = ended.ending(*index).map_or_else(Fate::Again, Fate::Kept);
            let named = is_named(&ran.components[*index].id).then_some(Fate::Again(Why::Named));
            (*index, named.unwrap_or(ending))
        })
        .collect();
    spread(ran, &mut fates);
    let gone = fates.iter().filter(|(index, fate)| {
        let id = ran.components[**index].id.as_str();
        let stays = target.index_of(id).is_some_and(|index| target.components[index].scope == 0);
        !stays && matches!(fate, Fate::Kept(Carry::Completed { .. } | Carry::Failed { .. }))
    });
    gone.map(|(index, _)| Doubt {
        component: ran.components[*index].id.clone(),
        because: "does not stand among the workflow's components in this version".to_owned(),
        can_run: false,
    })
    .collect()
}

/// What says whether a component runs at all.
const DECIDES: &[&str] = &["needs", "when", "join"];

/// Fields that say how a component runs, and not what it gives.
const HOW: &[&str] = &[
    "title",
    "description",
    "retry",
    "timeout",
    "total_timeout",
    "queue_timeout",
    "delivery",
    "worker",
    "cache",
    "concurrency",
];

/// Components of the workflow's own scope that are others than they were, with what is different.
fn altered(
    ran: &Workflow,
    target: &Workflow,
    differences: &[Difference],
) -> BTreeMap<usize, BTreeSet<String>> {
    let mut altered: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for difference in differences {
        let (id, what) = match difference.subject {
            Subject::Connection => match difference.id.split_once(" -> ") {
                Some((_, reader)) => (reader, "needs".to_owned()),
                None => continue,
            },
            Subject::Component if difference.change == Change::Reordered => continue,
            Subject::Component => {
                if difference.path.first().is_some_and(|field| HOW.contains(&field.as_str())) {
                    continue;
                }
                (difference.id.as_str(), difference.path.join("."))
            }
            Subject::Workflow | Subject::Parameter | Subject::Trigger => continue,
        };
        let outer = outermost(target, id).or_else(|| {
            let outer = outermost(ran, id)?;
            target.index_of(ran.components[outer].id.as_str())
        });
        let Some(outer) = outer else { continue };
        let own = target.components[outer].id.as_str() == id;
        let what = match (own, what.as_str()) {
            (true, "") => "itself".to_owned(),
            (true, _) => what,
            (false, "") => id.to_owned(),
            (false, _) => format!("{id}: {what}"),
        };
        altered.entry(outer).or_default().insert(what);
    }
    altered
}

fn changed_parameters(before: &Map<String, Value>, after: &Map<String, Value>) -> BTreeSet<String> {
    let names = before.keys().chain(after.keys());
    names.filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// The changed parameters that a component, or what stands inside it, reads: as `parameters.x`, or from a `start`.
/// Of one that was skipped, its `when` alone counts.
fn parameters_read(
    target: &Workflow,
    index: usize,
    changed: &BTreeSet<String>,
    is_skipped: bool,
) -> BTreeSet<String> {
    let mut read = BTreeSet::new();
    if changed.is_empty() {
        return read;
    }
    let starts = |id: &str| target.index_of(id).is_some_and(|index| is_start(&target.components[index]));
    let mut look = |reference: &Reference| {
        let rest = match reference.component() {
            _ if reference.root == "parameters" => &reference.path[..],
            Some(id) if starts(id) && reference.component_field() == Some("output") => &reference.path[2..],
            _ => return,
        };
        match rest.first() {
            Some(Segment::Key(name)) => {
                if changed.contains(name) {
                    read.insert(format!("`{name}`"));
                }
            }
            _ => read.extend(changed.iter().map(|name| format!("`{name}`"))),
        }
    };
    let component = &target.components[index];
    component.when.iter().flat_map(Expression::references).for_each(&mut look);
    if is_skipped {
        return read;
    }
    for (at, component) in target.components.iter().enumerate() {
        if at != index && !target.enclosing(at).any(|outer| outer == index) {
            continue;
        }
        component.config_references(&mut look);
        if at != index {
            component.when.iter().flat_map(Expression::references).for_each(&mut look);
        }
    }
    let joins_start = &*component.kind == "join"
        && component.needs.iter().any(|need| is_start(&target.components[need.from]));
    if joins_start {
        read.extend(changed.iter().map(|name| format!("`{name}`")));
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_found_in_texts() {
        let (a, b) = (PayloadId::generate(), PayloadId::generate());
        let text = format!(r#"{{"file":"{a}","n":"payload_no","list":["payload_{a}",{{"x":"{b}"}}]}}"#);
        assert_eq!(payloads_in(text.as_bytes()), [a, a, b]);
        assert_eq!(payloads_in(b"payload_"), []);
        assert_eq!(a.to_string().len(), LONGEST_MENTION);
    }
}
