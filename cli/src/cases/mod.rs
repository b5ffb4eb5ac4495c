//! Cases of test files: run, and compared with what they expect.
//!
//! Files are found and shown elsewhere.

mod compare;
mod junit;
mod pure;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use coordinator::simulate::{Mock, Mocks, Reply, Runner, Says, Simulated, Simulation};
use serde_json::{Map, Value};
use shared::{
    component::{Failure, FailureClass},
    execution::AnswerVerdict,
    time::parse_duration,
    workflow::{
        Workflow,
        cases::{self, Case, MockError, Mocked, RunFor, TestFile},
    },
};

pub(crate) use compare::{Difference, actual, differences};
pub(crate) use junit::{Outcome, junit};
pub(crate) use pure::Pure;

/// A workflow with those that it calls.
pub(crate) struct Subject {
    pub(crate) workflow: Arc<Workflow>,
    pub(crate) called: Vec<Arc<Workflow>>,
}

impl Subject {
    /// A workflow that is called, by its name; a pinned version is the file's.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Workflow>> {
        self.called.iter().chain([&self.workflow]).find(|workflow| workflow.name == name).cloned()
    }
}

/// The failure a mock describes. Its class was checked with the file.
fn failure(error: &MockError) -> Failure {
    let class = error.class.parse().unwrap_or(FailureClass::Internal);
    let message = if error.message.is_empty() { "the mock says so" } else { &error.message };
    Failure { details: error.details.clone(), ..Failure::new(class, message) }
}

fn reply(mock: &cases::Mock) -> Reply {
    let person = |verdict, data: &Value| Says::Answered {
        verdict,
        data: Some(data.clone()).filter(|data| !data.is_null()),
        comment: mock.comment.clone(),
        by: mock.by.clone().unwrap_or_else(|| "tester".to_owned()),
        for_assignee: mock.for_assignee.clone(),
    };
    let says = if let Some(output) = &mock.output {
        Says::Completed { output: output.clone(), ports: mock.ports.clone() }
    } else if let Some(error) = &mock.error {
        Says::Failed(failure(error))
    } else if let Some(data) = &mock.approve {
        person(AnswerVerdict::Approve, data)
    } else if let Some(data) = &mock.reject {
        person(AnswerVerdict::Reject, data)
    } else if let Some(data) = &mock.submit {
        person(AnswerVerdict::Submit, data)
    } else if let Some(body) = &mock.event {
        Says::Event(body.clone())
    } else if let Some(inner) = &mock.mocks {
        Says::Simulated(mocks(inner))
    } else {
        Says::Expires
    };
    // It was read once when the file was checked.
    let after = mock.after.as_deref().and_then(|text| parse_duration(text).ok()).unwrap_or(Duration::ZERO);
    Reply { says, after }
}

fn mocks(written: &BTreeMap<String, Mocked>) -> Mocks {
    let mock = |mocked: &Mocked| match mocked {
        Mocked::Always(mock) => Mock::Always(reply(mock)),
        Mocked::Each(list) => Mock::Each(list.iter().map(reply).collect()),
    };
    Mocks(written.iter().map(|(key, mocked)| (key.clone(), mock(mocked))).collect())
}

/// Simulates a case of a file that was checked against its workflow.
pub(crate) fn simulate(subject: &Subject, file: &TestFile, case: &Case, pure: &Pure) -> Simulated {
    let mocks = mocks(&case.mocks);
    let parameters: Map<String, Value> =
        subject.workflow.check_parameters(&case.parameters).unwrap_or_default();
    let run = |component: &_, task: &_| pure.run(component, task);
    let run: Runner<'_> = &run;
    let find = |name: &str| subject.find(name);
    let mut simulation = Simulation::new(Arc::clone(&subject.workflow), parameters, &mocks);
    simulation.run_pure = (file.run == Some(RunFor::Pure)).then_some(run);
    simulation.find = Some(&find);
    if let Some(execution) = &case.execution {
        simulation.id = execution.id.as_deref().and_then(|id| id.parse().ok()).unwrap_or(simulation.id);
        simulation.at =
            execution.started_at.as_deref().and_then(|at| at.parse().ok()).unwrap_or(simulation.at);
    }
    simulation.run()
}
