//! Sub-workflows: executions that an execution starts.

use serde_json::Value;
use shared::{
    component::{
        Failure, FailureClass,
        control::{self, OnParentClose, VersionChoice},
    },
    execution::{Child, Event, Execution, Inner, Payload, Phase, Place, TaskKey},
    expression::{EvaluationError, Rendered},
    ids::ExecutionId,
    wire::ChildEnding,
};

use super::{ChildOrder, Command, Needs, Turning, control::read};

/// How deep sub-workflows may be nested.
const MOST_DEPTH: u32 = 10;

/// What ends a sub-workflow whose caller ends first.
pub(super) fn close(child: &Child) -> Option<Command> {
    close_by(child.id, child.on_parent_close)
}

pub(super) fn close_by(child: ExecutionId, policy: OnParentClose) -> Option<Command> {
    match policy {
        OnParentClose::Leave => None,
        OnParentClose::Cancel => Some(Command::CloseChild { child, kill: false }),
        OnParentClose::Kill => Some(Command::CloseChild { child, kill: true }),
    }
}

/// The command that starts a sub-workflow.
pub(super) fn order(execution: &Execution, place: Place, child: &Child) -> Command {
    let accepted = &execution.accepted;
    let mut child = child.clone();
    if planted!(B35ChildIdIsNew) {
        child.id = ExecutionId::derived(execution.id, &execution.seq.to_string(), execution.last_at);
    }
    Command::StartChild(Box::new(ChildOrder {
        tenant: accepted.tenant,
        parent: execution.id,
        task: execution.key(place),
        depth: accepted.parent.as_ref().map_or(0, |parent| parent.depth) + 1,
        child,
        priority: accepted.priority,
        mode: accepted.mode,
        principal: accepted.principal.clone(),
    }))
}

impl Turning<'_> {
    /// Orders the execution of another workflow.
    pub(super) fn call(&mut self, place: Place, rendered: Rendered) -> Result<(), Needs> {
        let config: control::SubWorkflow = match read(rendered.value) {
            Ok(config) => config,
            Err(EvaluationError::Needs(missing)) => return Err(Needs::Payloads(missing)),
            Err(EvaluationError::Failed(failure)) => return self.decision_failed(place, failure),
        };
        let depth = self.execution.accepted.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
        if depth > MOST_DEPTH {
            let message =
                format!("sub-workflows are nested at most {MOST_DEPTH} deep: does one call itself?");
            return self.decision_failed(place, Failure::new(FailureClass::LimitExceeded, message));
        }
        let version = match &config.version {
            VersionChoice::Number(version) => Some(*version),
            // A pinned version was written down when the workflow was saved; what is left is the newest.
            VersionChoice::Word(_) => None,
        };
        let prefix = "/parameters";
        let mut references = Vec::new();
        for (pointer, id) in rendered.references {
            match pointer.strip_prefix(prefix) {
                Some(rest) => references.push((rest.to_owned(), id)),
                None => {
                    let message = format!("`{pointer}` is larger than a name may be");
                    return self.decision_failed(place, Failure::new(FailureClass::InvalidConfig, message));
                }
            }
        }
        let task = self.key(place);
        let id = ExecutionId::derived(self.execution.id, &task.to_string(), self.around.now);
        let default = if config.wait { OnParentClose::Cancel } else { OnParentClose::Leave };
        self.emit(Event::ChildOrdered {
            task,
            child: id,
            workflow: config.workflow,
            version,
            parameters: config.parameters,
            references,
            waits: config.wait,
            on_parent_close: config.on_parent_close.unwrap_or(default),
            execution_key: config.execution_key,
        });
        self.start_limit(place);
        if let Some(Inner::Child(child)) = self.execution.at(place).inner.as_deref() {
            let order = order(self.execution, place, child);
            self.made.commands.push(order);
        }
        Ok(())
    }

    /// A caller that ended asks its sub-workflows to end, and that may be lost with the queue: so they ask too.
    pub(super) fn ask_parent(&mut self) {
        if let Some(parent) = &self.execution.accepted.parent
            && parent.on_parent_close != OnParentClose::Leave
            && self.execution.cancel.is_none()
            && !planted!(B55ParentNotAsked)
        {
            self.made.commands.push(Command::AskParent {
                parent: parent.execution,
                task: parent.task.clone(),
                ordered_in: parent.ordered_in,
                kill: parent.on_parent_close == OnParentClose::Kill,
            });
        }
    }

    /// A sub-workflow ended, was accepted (when nobody waits for its end), or could not be started.
    pub(super) fn child_ended(
        &mut self,
        task: &TaskKey,
        child: ExecutionId,
        ending: &ChildEnding,
    ) -> Result<(), Needs> {
        let Ok(place) = self.execution.place_of(task) else { return Ok(()) };
        let waits = match (self.phase(place), self.execution.at(place).inner.as_deref()) {
            (Phase::Calling, Some(Inner::Child(called))) if called.id == child => called.waits,
            _ => return Ok(()),
        };
        if self.execution.is_cancelling() {
            return Ok(());
        }
        match ending {
            ChildEnding::Accepted if waits => Ok(()),
            ChildEnding::Accepted => {
                let output = serde_json::json!({ "execution": child.to_string() });
                self.container_done(place, Payload::Inline(output), Vec::new())
            }
            ChildEnding::Completed { output } => self.container_done(place, output.clone(), Vec::new()),
            ChildEnding::Failed { failure } => {
                let mut failure = failure.clone();
                let details = failure.details.take().unwrap_or(Value::Null);
                failure.details =
                    Some(serde_json::json!({ "execution": child.to_string(), "details": details }));
                self.drop_task_timers(place);
                self.decision_failed(place, failure)
            }
            ChildEnding::Refused { failure } => {
                self.drop_task_timers(place);
                self.decision_failed(place, failure.clone())
            }
            ChildEnding::Cancelled { failure } => {
                let why = failure.as_ref().map_or("cancelled", |failure| failure.message.as_str());
                let failure = Failure::new(FailureClass::User(None), format!("the sub-workflow was {why}"))
                    .with_details(serde_json::json!({ "execution": child.to_string() }));
                self.drop_task_timers(place);
                self.decision_failed(place, failure)
            }
        }
    }
}
