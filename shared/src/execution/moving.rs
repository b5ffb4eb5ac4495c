//! Moving an open execution to another version of its workflow: whether it can, what becomes of each component, and
//! what would work when it cannot.
//!
//! Pure: the API asks before it accepts a move, and the engine again when it decides it. What has happened is never
//! decided anew, and nothing that has begun may have to wait for something that has not ended.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Event, Execution, Phase, Place, ROOT};
use crate::{
    ids::{ComponentId, MessageId},
    workflow::{Component, Join, Workflow, nearest},
};

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Move {
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The number of the version that it is to go on as, and the hash of its snapshot.
    pub version: u32,
    pub hash: String,
    /// Components that have another id there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mapping: BTreeMap<ComponentId, ComponentId>,
    /// Parameters that it has not yet.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
}

/// A move that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    pub by: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The version that it was of.
    pub from: u32,
    pub version: u32,
    /// The hash of the snapshot that runs now.
    pub hash: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub mapping: BTreeMap<ComponentId, ComponentId>,
    /// All that it has now.
    pub parameters: Map<String, Value>,
}

/// Why it cannot be moved like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// A word for programs.
    pub code: &'static str,
    /// The component or parameter it is about.
    pub about: Option<String>,
    /// What is in the way and what would work: one or two sentences without a full stop at the end.
    pub message: String,
}

impl Obstacle {
    fn new(code: &'static str, about: Option<&str>, message: String) -> Self {
        Self { code, about: about.map(str::to_owned), message }
    }

    /// The snapshot cannot be compiled here.
    pub fn not_compiled(version: u32) -> Self {
        let message = format!(
            "version {version} has a component that this coordinator does not know; move it when every process is of \
             the release that has it"
        );
        Self::new("not_compiled", None, message)
    }
}

/// What becomes of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has ended, and stays as it ended.
    Kept(Phase),
    /// It is under way, and goes on.
    GoesOn(Phase),
    /// It has not begun, and will be as the new version says.
    Waits,
    /// It is new, and will run when its turn comes.
    New,
    /// It is new and lies before something that has begun: it does not run.
    PassedOver,
}

/// A component of the new version's own scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub component: ComponentId,
    /// What it was called before.
    pub was: Option<ComponentId>,
    pub fate: Fate,
}

/// A move that can be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Every component of the new version's own scope, in the order written.
    pub steps: Vec<Step>,
    /// Components of the old version's own scope that the new one has not, and how each stood.
    pub gone: Vec<(ComponentId, Phase)>,
    /// All parameters, as the new version has them.
    pub parameters: Map<String, Value>,
}

impl Plan {
    pub fn passed_over(&self) -> impl Iterator<Item = &ComponentId> {
        self.steps.iter().filter(|step| step.fate == Fate::PassedOver).map(|step| &step.component)
    }
}

/// Where the components and scopes of a version are in another one, by index.
pub(super) struct Pairs {
    pub(super) components: Vec<Option<usize>>,
    pub(super) scopes: Vec<Option<usize>>,
}

/// A component is the one of its id, or of that which it is renamed to, in the same scope of the same container.
pub(super) fn pairs(from: &Workflow, to: &Workflow, mapping: &BTreeMap<ComponentId, ComponentId>) -> Pairs {
    let mut components = vec![None; from.components.len()];
    let mut scopes = vec![None; from.scopes.len()];
    scopes[0] = Some(0);
    for (old, new) in [(from.on_failure, to.on_failure), (from.finally, to.finally)] {
        if let Some(old) = old {
            scopes[old] = new;
        }
    }
    // Containers come before what stands inside them.
    for (index, component) in from.components.iter().enumerate() {
        let Some(scope) = scopes[component.scope] else { continue };
        let id = mapping.get(&component.id).unwrap_or(&component.id);
        let found = to.index_of(id.as_str()).filter(|found| to.components[*found].scope == scope);
        let Some(found) = components[index].or(found) else { continue };
        components[index] = Some(found);
        let (old, new) = (component.scopes, to.components[found].scopes);
        for (old, new) in [(old.body, new.body), (old.catch, new.catch), (old.finally, new.finally)] {
            if let Some(old) = old {
                scopes[old] = new;
            }
        }
        if let (Some(old), Some(new)) = (component.compensate, to.components[found].compensate) {
            components[old] = Some(new);
            scopes[from.components[old].scope] = Some(to.components[new].scope);
        }
    }
    Pairs { components, scopes }
}

/// Whether something of a component may have happened: it, or the outermost container that it stands in, has begun.
pub(super) fn has_begun(execution: &Execution, index: usize) -> bool {
    let workflow = &execution.workflow;
    let outer = workflow.enclosing(index).last().unwrap_or(index);
    workflow.components[outer].scope == 0
        && !matches!(execution.at(at_root(outer)).phase, Phase::Waiting | Phase::Skipped)
}

fn at_root(index: usize) -> Place {
    Place { scope: ROOT, component: index as u32 }
}

/// How a component stands, as the end of a sentence.
fn stands(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "has not begun",
        Phase::Ready | Phase::Offered => "is about to run",
        Phase::Limited => "waits in line for a place",
        Phase::Dispatched | Phase::Open | Phase::Calling => "is running",
        Phase::Retrying(_) => "waits for its next attempt",
        Phase::Delayed(_) => "waits for its instant",
        Phase::Asked => "asks people",
        Phase::Asking => "waits for a permit",
        Phase::Awaiting => "waits for an event",
        Phase::Completed => "has completed",
        Phase::Failed => "has failed",
        Phase::Skipped => "was skipped",
        Phase::Cancelled => "was cancelled",
    }
}

/// Says what a move would do.
///
/// # Errors
/// Everything that is in its way.
pub fn plan(
    execution: &Execution,
    target: &std::sync::Arc<Workflow>,
    asked: &Move,
) -> Result<Plan, Vec<Obstacle>> {
    if let Some(obstacle) = ends(execution, asked.version) {
        return Err(vec![obstacle]);
    }
    let obstacles = wrong_mapping(execution, target, asked);
    if !obstacles.is_empty() {
        return Err(obstacles);
    }
    let mut check = Check {
        execution,
        target,
        version: asked.version,
        pairs: pairs(&execution.workflow, target, &asked.mapping),
        found: Vec::new(),
    };
    let parameters = check.parameters(&asked.parameters);
    check.what_was();
    check.names();
    check.undoing();
    if !check.found.is_empty() {
        return Err(check.found);
    }
    let moved = Moved {
        by: String::new(),
        reason: String::new(),
        from: execution.accepted.version,
        version: asked.version,
        hash: target.hash.clone(),
        mapping: asked.mapping.clone(),
        parameters,
    };
    let mut after = execution.clone();
    after.learn(std::sync::Arc::clone(target));
    let nobody = MessageId::from_uuid(uuid::Uuid::nil());
    if let Err(error) = after.apply(&Event::Moved(Box::new(moved.clone())), execution.last_at, nobody) {
        let message = format!("it does not fit version {}: {error}", asked.version);
        return Err(vec![Obstacle::new("elsewhere", None, message)]);
    }
    let passed = check.passed_over(&after);
    check.what_would_be(&after, &passed);
    if !check.found.is_empty() {
        return Err(check.found);
    }
    Ok(check.done(&passed, moved.parameters))
}

/// What has ended, or only cleans up, or is of that version already.
fn ends(execution: &Execution, version: u32) -> Option<Obstacle> {
    let at_root = execution.root();
    if execution.status.is_terminal() {
        let message = format!("it is {}; only what is open is moved", execution.status.as_str());
        return Some(Obstacle::new("ended", None, message));
    }
    if execution.cancel.is_some() || execution.outcome.is_some() || at_root.stopping.is_some() {
        let message =
            "it is being ended, and only cleans up; retry it in the other version when it has ended";
        return Some(Obstacle::new("ending", None, message.to_owned()));
    }
    if execution.accepted.trial.is_some() {
        let message = "it tries a part of a document, and is of no version; try it again as you want it";
        return Some(Obstacle::new("trial", None, message.to_owned()));
    }
    (execution.accepted.version == version)
        .then(|| Obstacle::new("same_version", None, format!("it is of version {version} already")))
}

/// Names that lead from nothing, to nothing, or two to one.
fn wrong_mapping(execution: &Execution, target: &Workflow, asked: &Move) -> Vec<Obstacle> {
    let from = &execution.workflow;
    let (old, new) = (execution.accepted.version, asked.version);
    let mut found = Vec::new();
    let mut taken: BTreeMap<&ComponentId, &ComponentId> = BTreeMap::new();
    let near = |wrong: &str, of: &Workflow| {
        let near = nearest(wrong, of.components.iter().map(|component| component.id.as_str()));
        near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
    };
    for (id, to) in &asked.mapping {
        let mut say = |code, message| found.push(Obstacle::new(code, Some(id.as_str()), message));
        let Some(index) = from.index_of(id.as_str()) else {
            say(
                "unknown_component",
                format!("version {old} has no component `{id}`{}", near(id.as_str(), from)),
            );
            continue;
        };
        if target.index_of(to.as_str()).is_none() {
            let near = near(to.as_str(), target);
            say(
                "unknown_component",
                format!("`{id}` is to become `{to}`, which version {new} has not{near}"),
            );
            continue;
        }
        if let Some(other) = taken.insert(to, id) {
            say(
                "two_onto_one",
                format!("`{other}` and `{id}` would both become `{to}`; map one of them elsewhere"),
            );
        } else if id != to && from.index_of(to.as_str()).is_some() && !asked.mapping.contains_key(to) {
            say(
                "two_onto_one",
                format!(
                    "`{id}` and `{to}` would both become `{to}`; say in the mapping what becomes of `{to}` too"
                ),
            );
        }
        if id != to && has_begun(execution, index) && target.index_of(id.as_str()).is_some() {
            say(
                "name_in_use",
                format!(
                    "`{id}` has begun and is to become `{to}`, and version {new} has another `{id}`: what still comes \
                     for the one would be taken for the other; give that one an id of its own"
                ),
            );
        }
    }
    found
}

struct Check<'a> {
    execution: &'a Execution,
    target: &'a Workflow,
    version: u32,
    pairs: Pairs,
    found: Vec<Obstacle>,
}

impl Check<'_> {
    fn say(&mut self, code: &'static str, about: &ComponentId, message: String) {
        self.found.push(Obstacle::new(code, Some(about.as_str()), message));
    }

    /// The components of the old version's own scope, with how each stands.
    fn own(&self) -> Vec<(usize, Phase)> {
        let own = &self.execution.workflow.scopes[0].components;
        own.iter().map(|index| (*index, self.execution.at(at_root(*index)).phase)).collect()
    }

    /// The parameters as the new version has them: what it has no more is left out.
    fn parameters(&mut self, given: &Map<String, Value>) -> Map<String, Value> {
        let (target, version) = (self.target, self.version);
        let has = &self.execution.accepted.parameters;
        let known = |name: &str| target.parameters.iter().any(|parameter| parameter.name == name);
        let mut all: Map<String, Value> = has
            .iter()
            .filter(|(name, _)| known(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, value) in given {
            if all.get(name).is_some_and(|before| before != value) {
                let message = format!(
                    "the parameter `{name}` has a value that may have been read, and a move does not change it; leave \
                     it out, or cancel this execution and retry it with the other value"
                );
                self.found.push(Obstacle::new("parameter_given", Some(name), message));
            } else {
                all.insert(name.clone(), value.clone());
            }
        }
        match target.check_parameters(&all) {
            Ok(parameters) => parameters,
            Err(problems) => {
                for problem in problems {
                    let name = problem.path.first().map(String::as_str);
                    let message = if problem.code == "missing_parameter" {
                        format!(
                            "version {version} requires the parameter `{}`, which this execution has not; give it \
                             with the move",
                            name.unwrap_or_default()
                        )
                    } else {
                        let hint = problem.suggestion.map(|hint| format!("; {hint}")).unwrap_or_default();
                        format!("{}, as version {version} wants it{hint}", problem.message)
                    };
                    self.found.push(Obstacle::new("parameter", name, message));
                }
                Map::new()
            }
        }
    }

    /// What has begun must be there, be of the same type, and be able to go on.
    fn what_was(&mut self) {
        let (from, target, version) = (&self.execution.workflow, self.target, self.version);
        for (index, phase) in self.own() {
            let component = &from.components[index];
            let id = &component.id;
            if matches!(phase, Phase::Waiting | Phase::Skipped) {
                continue;
            }
            let Some(new) = self.pairs.components[index] else {
                if !phase.is_settled() {
                    let near = nearest(id.as_str(), self.unpaired());
                    let near = near.map(|near| format!(" (`{near}`?)")).unwrap_or_default();
                    let message = if target.index_of(id.as_str()).is_some() {
                        format!(
                            "`{id}` {}, and stands in another place in version {version}; move it when `{id}` has ended",
                            stands(phase)
                        )
                    } else {
                        format!(
                            "`{id}` {}, and version {version} has no such component; say in the mapping what it has \
                             become{near}, or move it when `{id}` has ended",
                            stands(phase)
                        )
                    };
                    self.say("gone", id, message);
                } else if Self::is_unhandled(self.execution, index) {
                    let message = format!(
                        "`{id}` has failed and nothing handles that, and version {version} has no such component; retry \
                         the execution in that version when it has ended"
                    );
                    self.say("failed", id, message);
                }
                continue;
            };
            let after = &target.components[new];
            if after.kind != component.kind {
                let message = format!(
                    "`{id}` {} as `{}`, and is `{}` in version {version}; give the new one an id of its own",
                    stands(phase),
                    component.kind,
                    after.kind
                );
                self.say("type_changed", id, message);
                continue;
            }
            if phase == Phase::Open
                && let Some(what) = difference((from, index), (target, new), false)
            {
                let message = format!(
                    "`{id}` is open, and {what} is another in version {version}; move it when `{id}` has ended, or \
                     leave what is inside as it was"
                );
                self.say("body_changed", id, message);
            }
            if phase == Phase::Limited && after.concurrency != component.concurrency {
                let message = format!(
                    "`{id}` waits in line for a place, and its `concurrency` is another in version {version}; move it \
                     when `{id}` has its place"
                );
                self.say("waits_in_line", id, message);
            }
            self.attempts(index, phase, after);
        }
    }

    /// Ids of the new version's own scope that nothing maps to.
    fn unpaired(&self) -> impl Iterator<Item = &str> {
        let is_free = |index: &&usize| !self.pairs.components.contains(&Some(**index));
        let own = self.target.scopes[0].components.iter().filter(is_free);
        own.map(|index| self.target.components[*index].id.as_str())
    }

    /// The attempt that is under way or comes next must be one that the new version allows.
    fn attempts(&mut self, index: usize, phase: Phase, after: &Component) {
        let state = self.execution.at(at_root(index));
        let next = match phase {
            Phase::Dispatched | Phase::Offered => state.attempt,
            Phase::Ready | Phase::Limited if state.returned => state.attempt,
            Phase::Ready | Phase::Limited | Phase::Retrying(_) => state.attempt + 1,
            _ => return,
        };
        let (next, most) = (next.saturating_sub(state.lost), after.retry.max_attempts);
        if next > most {
            let id = &self.execution.workflow.components[index].id;
            let message = format!(
                "`{id}` is at attempt {next}, and version {} allows {most}; move it when `{id}` has ended, or allow as \
                 many",
                self.version
            );
            self.say("attempts", &id.clone(), message);
        }
    }

    /// No component has an id under which another one ran.
    fn names(&mut self) {
        let (from, target, version) = (&self.execution.workflow, self.target, self.version);
        let mut before: Vec<Option<usize>> = vec![None; target.components.len()];
        for (old, new) in self.pairs.components.iter().enumerate() {
            if let Some(new) = new {
                before[*new] = Some(old);
            }
        }
        for (index, component) in target.components.iter().enumerate() {
            let id = &component.id;
            let was = before[index].map(|old| &from.components[old].id);
            let ran_here = from.index_of(id.as_str()).filter(|old| has_begun(self.execution, *old));
            let is_taken = match self.execution.names.get(id) {
                // The name of one that is gone, or of another one.
                Some(called) => called.is_none() || called.as_ref() != was,
                None => ran_here.is_some_and(|old| before[index] != Some(old)),
            };
            // What is under way and has no place any more is told of already.
            let is_told = self.found.iter().any(|obstacle| obstacle.about.as_deref() == Some(id.as_str()));
            if is_taken && !is_told {
                let message = format!(
                    "`{id}` of version {version} is another than the `{id}` that has run in this execution; give it \
                     an id of its own"
                );
                self.say("name_in_use", id, message);
            }
        }
    }

    /// What can be undone can be undone by the same type.
    fn undoing(&mut self) {
        let (from, target) = (&self.execution.workflow, self.target);
        let owners: BTreeSet<&ComponentId> =
            self.execution.undo.iter().map(|undo| &undo.task.component).collect();
        let kind = |of: &Workflow, index: usize| {
            of.components[index].compensate.map(|undoing| of.components[undoing].kind.clone())
        };
        let missing: Vec<ComponentId> = owners
            .into_iter()
            .filter(|id| {
                let old = from.index_of(id.as_str());
                let new = old.and_then(|old| self.pairs.components[old]);
                match (old, new) {
                    (Some(old), Some(new)) => {
                        kind(from, old) != kind(target, new) || from.loops_of(old) != target.loops_of(new)
                    }
                    _ => true,
                }
            })
            .cloned()
            .collect();
        for id in missing {
            let message = format!(
                "`{id}` has completed and can be undone, and version {} cannot undo it so; keep its `compensate`",
                self.version
            );
            self.say("undo", &id, message);
        }
    }

    fn is_unhandled(state: &Execution, index: usize) -> bool {
        state.at(at_root(index)).phase == Phase::Failed && state.is_unhandled(at_root(index))
    }

    /// New components that lie before something that has begun.
    fn passed_over(&self, after: &Execution) -> BTreeSet<usize> {
        let target = self.target;
        let is_new = |index: usize| !self.pairs.components.contains(&Some(index));
        let begun = |index: usize| after.at(at_root(index)).phase != Phase::Waiting;
        let mut waiting: Vec<usize> =
            target.scopes[0].components.iter().copied().filter(|index| begun(*index)).collect();
        let mut passed = BTreeSet::new();
        while let Some(reader) = waiting.pop() {
            for need in &target.components[reader].needs {
                if is_new(need.from) && passed.insert(need.from) {
                    waiting.push(need.from);
                }
            }
        }
        passed
    }

    /// Nothing that has begun waits, nothing that was skipped runs, and no failure is handled otherwise than it was.
    fn what_would_be(&mut self, after: &Execution, passed: &BTreeSet<usize>) {
        let (target, version) = (self.target, self.version);
        let begun = |index: usize| after.at(at_root(index)).phase != Phase::Waiting;
        for index in passed {
            let id = &target.components[*index].id;
            let later = target.components[*index].outgoing.iter().map(|(reader, _)| *reader);
            let later = later.into_iter().find(|reader| !begun(*reader) && !passed.contains(reader));
            if let Some(later) = later {
                let message = format!(
                    "`{id}` is new in version {version} and lies before what has begun, so that it will not run, and \
                     `{}` needs it; move executions that have not come so far, or let `{}` not need it",
                    target.components[later].id, target.components[later].id
                );
                self.say("needed_later", id, message);
            }
        }
        for (old, phase) in self.own() {
            let Some(new) = self.pairs.components[old] else { continue };
            let component = &target.components[new];
            let id = component.id.clone();
            let open = |from: usize| !after.at(at_root(from)).phase.is_settled() && !passed.contains(&from);
            let waits_for = component.needs.iter().map(|need| need.from).find(|from| open(*from));
            let fired = after.at(at_root(new)).fired > 0;
            let dead =
                after.at(at_root(new)).dead > 0 || component.needs.iter().any(|it| passed.contains(&it.from));
            match (phase, waits_for) {
                (Phase::Waiting, _) => {}
                (Phase::Skipped, Some(other))
                    if !(component.join == Join::All && dead || component.join == Join::Any && fired) =>
                {
                    let message = format!(
                        "`{id}` was skipped, and would wait for `{}` in version {version}, which has not ended; what \
                         was skipped stays so: give it another id there, or let it not need `{}`",
                        target.components[other].id, target.components[other].id
                    );
                    self.say("would_wait", &id, message);
                }
                (Phase::Skipped, _) => {
                    let joins = |state: &Execution, index| state.join(at_root(index));
                    let was = joins(self.execution, old);
                    // Its connections skipped it, and would not any more.
                    let runs = match component.join {
                        Join::All => !dead,
                        Join::Any => fired,
                        Join::AllDone => true,
                    };
                    if runs && was == super::Joined::Skipped {
                        let message = format!(
                            "`{id}` was skipped, and would run in version {version}; what was skipped stays so: give \
                             it another id there"
                        );
                        self.say("would_run", &id, message);
                    }
                }
                (_, Some(other)) if !(component.join == Join::Any && fired) => {
                    let message = format!(
                        "`{id}` {}, and would wait for `{}` in version {version}, which has not ended; move executions \
                         that have not come so far, or let `{id}` not need it",
                        stands(phase),
                        target.components[other].id
                    );
                    self.say("would_wait", &id, message);
                }
                _ => {}
            }
            let (was, is) = (Self::is_unhandled(self.execution, old), Self::is_unhandled(after, new));
            if was != is {
                let (before, now) = if was {
                    ("nothing handles that", "something would")
                } else {
                    ("that is handled", "nothing would handle it")
                };
                let message = format!(
                    "`{id}` has failed and {before}, and in version {version} {now}; leave what reads its failure as \
                     it was, or retry the execution in that version when it has ended"
                );
                self.say("failed", &id, message);
            }
        }
    }

    fn done(self, passed: &BTreeSet<usize>, parameters: Map<String, Value>) -> Plan {
        let mut before: BTreeMap<usize, (usize, Phase)> = BTreeMap::new();
        let mut gone = Vec::new();
        for (old, phase) in self.own() {
            match self.pairs.components[old] {
                Some(new) => {
                    before.insert(new, (old, phase));
                }
                None => gone.push((self.execution.workflow.components[old].id.clone(), phase)),
            }
        }
        let steps = self.target.scopes[0].components.iter().map(|index| {
            let component = self.target.components[*index].id.clone();
            let known = before.get(index);
            let fate = match known {
                Some((_, Phase::Waiting)) => Fate::Waits,
                Some((_, phase)) if phase.is_settled() => Fate::Kept(*phase),
                Some((_, phase)) => Fate::GoesOn(*phase),
                None if passed.contains(index) => Fate::PassedOver,
                None => Fate::New,
            };
            let was = known.map(|(old, _)| &self.execution.workflow.components[*old].id);
            Step { was: was.filter(|was| **was != component).cloned(), component, fate }
        });
        Plan { steps: steps.collect(), gone, parameters }
    }
}

/// What is different of two containers inside, as the subject of a sentence; nothing when they do the same.
fn difference(
    (from, old): (&Workflow, usize),
    (to, new): (&Workflow, usize),
    is_inside: bool,
) -> Option<String> {
    let (a, b) = (&from.components[old], &to.components[new]);
    let name = |field: &str| Some(format!("`{field}` of `{}`", a.id));
    if a.kind != b.kind {
        return name("type");
    }
    if a.config != b.config {
        return name("config");
    }
    if is_inside {
        let needs = |of: &Workflow, component: &Component| -> BTreeSet<(String, String)> {
            let port = |need: &crate::workflow::Need| match &need.port {
                crate::workflow::Output::Own(own) => of.components[need.from].ports[*own].clone(),
                other => format!("{other:?}"),
            };
            let each = component.needs.iter();
            each.map(|need| (of.components[need.from].id.to_string(), port(need))).collect()
        };
        let same: [(&str, bool); 12] = [
            ("needs", needs(from, a) == needs(to, b)),
            ("join", a.join == b.join),
            ("when", a.when == b.when),
            ("retry", a.retry == b.retry),
            ("timeout", a.timeout == b.timeout),
            ("total_timeout", a.total_timeout == b.total_timeout),
            ("queue_timeout", a.queue_timeout == b.queue_timeout),
            ("delivery", a.delivery == b.delivery),
            ("worker", a.placement == b.placement),
            ("concurrency", a.concurrency == b.concurrency),
            ("cache", a.cache == b.cache),
            ("compensate", a.compensate.is_some() == b.compensate.is_some()),
        ];
        if let Some((field, _)) = same.iter().find(|(_, same)| !same) {
            return name(field);
        }
        if let (Some(old), Some(new)) = (a.compensate, b.compensate)
            && difference((from, old), (to, new), true).is_some()
        {
            return name("compensate");
        }
    }
    let parts = [
        ("components", a.scopes.body, b.scopes.body),
        ("catch", a.scopes.catch, b.scopes.catch),
        ("finally", a.scopes.finally, b.scopes.finally),
    ];
    for (part, old, new) in parts {
        let (Some(old), Some(new)) = (old, new) else {
            if old.is_some() || new.is_some() {
                return name(part);
            }
            continue;
        };
        let (old, new) = (&from.scopes[old], &to.scopes[new]);
        if old.on_unhandled_failure != new.on_unhandled_failure
            || old.components.len() != new.components.len()
        {
            return name(part);
        }
        for index in &old.components {
            let id = from.components[*index].id.as_str();
            let other = to.index_of(id).filter(|other| new.components.contains(other));
            let Some(other) = other else { return Some(format!("what became of `{id}` inside it")) };
            if let Some(what) = difference((from, *index), (to, other), true) {
                return Some(what);
            }
        }
    }
    None
}
