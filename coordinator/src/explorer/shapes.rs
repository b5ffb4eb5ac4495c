//! The workflows that are explored.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use shared::{
    component::{Catalogue, Descriptor, Effect, Family, Field, OwnPorts, Runs, control},
    workflow::{self, Workflow},
};

/// How a task of a shape behaves, read from its config: the workers are scripted by it.
pub(super) const FAIL_FIRST: &str = "fail_first";

fn ports(_: &Value) -> OwnPorts {
    OwnPorts::none()
}

fn decision_ports(_: &Value) -> OwnPorts {
    OwnPorts::one_of(&["true", "false"])
}

fn field(_: &Value, _: &[&str]) -> Field {
    Field::Template
}

fn decision_field(_: &Value, _: &[&str]) -> Field {
    Field::Expression
}

fn descriptor(kind: &'static str, runs: Runs, schema: fn() -> Value) -> Descriptor {
    Descriptor {
        kind,
        aliases: &[],
        family: Family::Basic,
        runs,
        summary: "",
        schema,
        example: || json!({}),
        ports,
        effect: |_| Effect::Reads,
        field,
        check: |_| Vec::new(),
        build: None,
    }
}

macro_rules! schema_of {
    ($type:ty) => {
        || schemars::schema_for!($type).to_value()
    };
}

/// A handful of types: what the engine decides, and one task.
pub(crate) fn catalogue() -> Catalogue {
    let mut decision = descriptor("decision", Runs::Coordinator, schema_of!(control::Decision));
    decision.ports = decision_ports;
    decision.field = decision_field;
    Catalogue::new(&[
        descriptor("start", Runs::Coordinator, schema_of!(control::Start)),
        descriptor("end", Runs::Coordinator, schema_of!(control::End)),
        descriptor("noop", Runs::Coordinator, schema_of!(control::Noop)),
        descriptor("join", Runs::Coordinator, schema_of!(control::Join)),
        descriptor("delay", Runs::Coordinator, schema_of!(control::Delay)),
        descriptor("fail", Runs::Coordinator, schema_of!(control::Fail)),
        descriptor("log", Runs::Coordinator, schema_of!(control::Log)),
        descriptor("set_variables", Runs::Coordinator, schema_of!(control::SetVariables)),
        descriptor("parallel", Runs::Coordinator, schema_of!(control::Parallel)),
        decision,
        descriptor("work", Runs::Worker, || json!({ "type": "object", "additionalProperties": true })),
    ])
}

const SHAPES: &[&str] = &[
    // A chain.
    r"
workflow: v1
name: chain
components:
  a: { type: work }
  b: { type: work, needs: [a] }
  c: { type: work, needs: [b] }
",
    // A diamond with a join, two of whose three branches do work.
    r"
workflow: v1
name: diamond
components:
  a: { type: work }
  b: { type: work, needs: [a] }
  c: { type: work, needs: [a] }
  d: { type: noop, needs: [a] }
  e: { type: join, needs: [b, c, d] }
  f: { type: work, needs: [e] }
",
    // A decision, dead ports and a join of whatever came.
    r#"
workflow: v1
name: branches
components:
  a: { type: work }
  which:
    type: decision
    needs: [a]
    config: { condition: execution.mode == "live" }
  yes: { type: work, needs: [which.true] }
  no: { type: work, needs: [which.false] }
  both:
    type: work
    needs: ["yes", "no"]
    join: any
"#,
    // Fails twice, then succeeds.
    r"
workflow: v1
name: retries
components:
  a:
    type: work
    config: { fail_first: 2 }
    retry: { max_attempts: 3, backoff: exponential, initial: 2s, cap: 10s, jitter: false, on: [unavailable] }
  b: { type: work, needs: [a] }
",
    // Always fails; the failure is handled.
    r"
workflow: v1
name: handled
components:
  a:
    type: work
    config: { fail_first: 9 }
    retry: { max_attempts: 2, backoff: fixed, initial: 1s, on: [unavailable] }
  handler: { type: work, needs: [a.error] }
  never: { type: work, needs: [a] }
",
    // At most once, then ordinary.
    r"
workflow: v1
name: once
components:
  pay: { type: work, delivery: at_most_once }
  told:
    type: work
    needs: [pay, pay.error]
    join: any
",
    // A wait, and a key that lets one through at a time.
    r"
workflow: v1
name: paced
concurrency: { key: one, limit: 1 }
components:
  a: { type: work }
  pause: { type: delay, needs: [a], config: { for: 30s } }
  b: { type: work, needs: [pause] }
",
    // A fan-out and a fan-in.
    r"
workflow: v1
name: fan
components:
  go: { type: work }
  p1: { type: work, needs: [go] }
  p2: { type: work, needs: [go] }
  p3: { type: work, needs: [go] }
  p4: { type: work, needs: [go] }
  all: { type: work, needs: [p1, p2, p3, p4] }
",
];

/// Every shape, compiled once.
pub(super) fn shapes() -> &'static [Arc<Workflow>] {
    static COMPILED: OnceLock<Vec<Arc<Workflow>>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let catalogue = catalogue();
        SHAPES
            .iter()
            .map(|text| match workflow::read(text, &catalogue) {
                Ok(read) => read.workflow,
                Err(problems) => panic!("{problems}"),
            })
            .collect()
    })
}
