//! What an expression sees of an execution.

use serde_json::{Value, json};
use shared::{
    execution::{Execution, Inner, Mode, Payload, Plan, ScopeState},
    expression::{ComponentView, OutputView, Scope},
};

use super::Loaded;

/// The roots of an expression in one opened scope, read from an execution's state.
pub(crate) struct StateScope<'a> {
    execution: &'a Execution,
    payloads: &'a Loaded,
    scope: u32,
    /// What `this` is, for a compensation.
    this: Option<Value>,
    /// What `event` is, for the filter of a wait.
    event: Option<Value>,
    /// What `iteration` and `previous` are, for the condition of a `while_loop`.
    round: Option<(u32, Option<Value>)>,
}

impl<'a> StateScope<'a> {
    pub(crate) fn new(execution: &'a Execution, payloads: &'a Loaded, scope: u32) -> Self {
        Self { execution, payloads, scope, this: None, event: None, round: None }
    }

    pub(super) fn with_this(self, this: Value) -> Self {
        Self { this: Some(this), ..self }
    }

    pub(super) fn with_event(self, event: Value) -> Self {
        Self { event: Some(event), ..self }
    }

    pub(super) fn with_round(self, round: u32, previous: Option<Value>) -> Self {
        Self { round: Some((round, previous)), ..self }
    }

    /// The scope, then those around it.
    fn outwards(&self) -> impl Iterator<Item = &'a ScopeState> + use<'a> {
        let execution = self.execution;
        std::iter::successors(Some(execution.scope(self.scope)), move |scope| {
            scope.owner.map(|owner| execution.scope(owner.scope))
        })
    }

    fn here(&self, payload: &'a Payload) -> Option<&'a Value> {
        match payload {
            Payload::Inline(value) => Some(value),
            Payload::Stored(stored) => self.payloads.get(&stored.id).map(AsRef::as_ref),
        }
    }

    /// The nearest round of a `while_loop`: its number, and the output of the one before.
    fn while_round(&self) -> Option<(u32, Option<&'a Value>)> {
        self.outwards().find_map(|scope| {
            let Some(Inner::Container(container)) = self.execution.at(scope.owner?).inner.as_deref() else {
                return None;
            };
            let is_while = matches!(container.plan, Plan::While { .. });
            let previous = container.rounds.previous.as_ref().and_then(|previous| self.here(previous));
            is_while.then(|| Some((*scope.iteration.0.last()?, previous)))?
        })
    }
}

impl Scope for StateScope<'_> {
    fn root_ref(&self, name: &str) -> Option<&Value> {
        match name {
            "parameters" => Some(&self.execution.parameters),
            "this" => self.this.as_ref(),
            "event" => self.event.as_ref(),
            "item" => self.outwards().find_map(|scope| scope.item.as_ref()).and_then(|item| self.here(item)),
            "previous" => match &self.round {
                Some((_, previous)) => previous.as_ref(),
                None => self.while_round()?.1,
            },
            _ => None,
        }
    }

    fn root(&self, name: &str) -> Option<Value> {
        let execution = self.execution;
        Some(match name {
            "execution" => json!({
                "id": execution.id.to_string(),
                "started_at": execution.started_at.map(|at| at.to_string()),
                "status": execution.outcome.as_ref().map_or(execution.status, |it| it.status).as_str(),
                "mode": match execution.accepted.mode { Mode::Live => "live", Mode::Test => "test" },
            }),
            "workflow" => json!({ "name": execution.workflow.name, "version": execution.accepted.version }),
            "index" => Value::from(*self.outwards().find(|scope| scope.item.is_some())?.iteration.0.last()?),
            "iteration" => Value::from(match &self.round {
                Some((round, _)) => *round,
                None => self.while_round()?.0,
            }),
            "error" => self.outwards().find_map(|scope| scope.error.as_ref())?.to_value(),
            _ => return None,
        })
    }

    fn component(&self, id: &str) -> Option<ComponentView<'_>> {
        let execution = self.execution;
        let index = execution.workflow.index_of(id)?;
        let component = &execution.workflow.components[index];
        let iteration = &execution.scope(self.scope).iteration;
        // A scope that is not open has not begun, or has ended without a trace for those outside.
        let open = execution.scope_in(component.scope, iteration)?;
        let state = &execution.scope(open).components[component.position];
        Some(ComponentView {
            status: state.phase.as_str(),
            output: state.output.as_ref().map(|output| match output {
                Payload::Inline(value) => OutputView::Here(value),
                Payload::Stored(stored) => self
                    .payloads
                    .get(&stored.id)
                    .map_or(OutputView::Stored(stored.id), |value| OutputView::Here(value)),
            }),
            error: state.failure.as_deref(),
            attempts: state.attempt,
        })
    }
}
