//! Components that travel with a task and may be run right after it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Ending, Task, TaskResult};
use crate::{
    component::Failure,
    execution::Payload,
    expression::{ComponentView, OutputView, Scope, Template, Written},
    ids::ComponentId,
};

/// Short pure components that follow one another: each may be run right after the one before it completed, and
/// has a result of its own. A worker stops where it likes; what it leaves is ordered in the ordinary way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    pub links: Vec<Link>,
    /// What their expressions name beside the outputs of the chain.
    #[serde(default)]
    pub sees: Sees,
}

/// A component of a [`Chain`]; it stands in the same scope and round as the task, and this is its first attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Link {
    pub component: ComponentId,
    /// The component type.
    pub kind: Arc<str>,
    pub config: Written,
    /// Of the attempt.
    pub timeout: Duration,
}

/// Values that expressions may name, as they stood when the task was ordered: none of them changes any more.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sees {
    /// Whole roots, such as `parameters`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub roots: Map<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<ComponentId, Seen>,
}

/// A component that had settled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    pub status: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    pub attempts: u32,
}

impl Link {
    /// The task that a coordinator would have sent for it after `first` and `followers` completed; nothing when
    /// its config cannot be made here.
    pub fn task(
        self,
        task: &Task,
        sees: &Sees,
        first: &TaskResult,
        followers: &[TaskResult],
    ) -> Option<Task> {
        let along = Along { sees, first, followers };
        let rendered = Template::read(self.config).ok()?.render(&along).ok()?;
        Some(Task {
            component: self.component,
            kind: self.kind,
            attempt: 1,
            dispatch: 1,
            config: rendered.value,
            references: rendered.references,
            timeout: self.timeout,
            tenant: task.tenant,
            execution: task.execution,
            iteration: task.iteration.clone(),
            delivery: task.delivery,
            lease_at_once: false,
            pool: Arc::clone(&task.pool),
            tags: task.tags.clone(),
            priority: task.priority,
            reply_to: task.reply_to,
            chain: None,
            may_share: false,
        })
    }
}

/// The output of an attempt that completed, if the result holds it.
pub fn output_of(result: &TaskResult) -> Option<&Value> {
    match &result.ending {
        Ending::Completed { output: Payload::Inline(value), .. } => Some(value),
        _ => None,
    }
}

/// What the expressions of a link see: those before it in the chain, and what came along.
struct Along<'a> {
    sees: &'a Sees,
    first: &'a TaskResult,
    followers: &'a [TaskResult],
}

impl Scope for Along<'_> {
    fn root_ref(&self, name: &str) -> Option<&Value> {
        self.sees.roots.get(name)
    }

    fn root(&self, _: &str) -> Option<Value> {
        None
    }

    fn component(&self, id: &str) -> Option<ComponentView<'_>> {
        let mut chain = self.followers.iter().rev().chain([self.first]);
        if let Some(before) = chain.find(|result| result.component.as_str() == id) {
            return Some(ComponentView {
                status: "completed",
                output: output_of(before).map(OutputView::Here),
                error: None,
                attempts: before.attempt,
            });
        }
        let seen = self.sees.components.get(id)?;
        Some(ComponentView {
            status: &seen.status,
            output: seen.output.as_ref().map(OutputView::Here),
            error: seen.error.as_ref(),
            attempts: seen.attempts,
        })
    }
}
