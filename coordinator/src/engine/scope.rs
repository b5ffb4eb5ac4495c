//! What an expression sees of an execution.

use std::collections::HashMap;

use serde_json::{Value, json};
use shared::{
    execution::{Execution, Mode, Payload},
    expression::{ComponentView, OutputView, Scope},
    ids::PayloadId,
};

/// The roots of an expression, read from an execution's state.
pub(crate) struct StateScope<'a> {
    execution: &'a Execution,
    payloads: &'a HashMap<PayloadId, Value>,
}

impl<'a> StateScope<'a> {
    pub(crate) fn new(execution: &'a Execution, payloads: &'a HashMap<PayloadId, Value>) -> Self {
        Self { execution, payloads }
    }
}

impl Scope for StateScope<'_> {
    fn root_ref(&self, name: &str) -> Option<&Value> {
        (name == "parameters").then_some(&self.execution.parameters)
    }

    fn root(&self, name: &str) -> Option<Value> {
        let execution = self.execution;
        Some(match name {
            "parameters" => execution.parameters.clone(),
            "execution" => json!({
                "id": execution.id.to_string(),
                "started_at": execution.started_at.map(|at| at.to_string()),
                "status": execution.status.as_str(),
                "mode": match execution.accepted.mode { Mode::Live => "live", Mode::Test => "test" },
            }),
            "workflow" => json!({ "name": execution.workflow.name, "version": execution.accepted.version }),
            _ => return None,
        })
    }

    fn component(&self, id: &str) -> Option<ComponentView<'_>> {
        let index = self.execution.workflow.index_of(id)?;
        let state = &self.execution.components[index];
        Some(ComponentView {
            status: state.phase.as_str(),
            output: state.output.as_ref().map(|output| match output {
                Payload::Inline(value) => OutputView::Here(value),
                Payload::Stored(stored) => {
                    self.payloads.get(&stored.id).map_or(OutputView::Stored(stored.id), OutputView::Here)
                }
            }),
            error: state.failure.as_deref(),
            attempts: state.attempt,
        })
    }
}
