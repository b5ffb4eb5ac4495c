//! The workflows that are explored.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde_json::{Value, json};
use shared::{
    component::{Catalogue, Descriptor, Effect, Family, Field, OwnPorts, Runs, control},
    ids::ComponentId,
    workflow::{self, Workflow},
};

/// How a task of a shape behaves, read from its config: the workers are scripted by it. How many attempts fail,
/// with which class, and what is given.
pub(super) const FAIL_FIRST: &str = "fail_first";
pub(super) const CLASS: &str = "class";
pub(super) const GIVES: &str = "gives";
/// Names of shapes that are meant to fail begin with this.
pub(super) const FAILS: &str = "fails_";

fn ports(_: &Value) -> OwnPorts {
    OwnPorts::none()
}

fn decision_ports(_: &Value) -> OwnPorts {
    OwnPorts::one_of(&["true", "false"])
}

fn caught(_: &Value) -> OwnPorts {
    OwnPorts { names: vec!["caught".to_owned()], exclusive: false }
}

fn approval_ports(_: &Value) -> OwnPorts {
    OwnPorts::one_of(&["approved", "rejected", "expired"])
}

fn rate_ports(_: &Value) -> OwnPorts {
    OwnPorts::one_of(&["admitted", "refused"])
}

fn human_ports(_: &Value) -> OwnPorts {
    OwnPorts::one_of(&["submitted", "expired"])
}

fn received(_: &Value) -> OwnPorts {
    OwnPorts { names: vec!["received".to_owned()], exclusive: false }
}

fn field(_: &Value, _: &[&str]) -> Field {
    Field::Template
}

fn while_field(_: &Value, path: &[&str]) -> Field {
    if path == ["condition"] { Field::Deferred } else { Field::Template }
}

fn wait_field(_: &Value, path: &[&str]) -> Field {
    if path == ["filter"] { Field::Deferred } else { Field::Template }
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

/// What the engine decides, and one task.
pub(crate) fn catalogue() -> Catalogue {
    let mut decision = descriptor("decision", Runs::Coordinator, schema_of!(control::Decision));
    decision.ports = decision_ports;
    decision.field = decision_field;
    let control = |kind, schema| descriptor(kind, Runs::Coordinator, schema);
    Catalogue::new(&[
        control("group", schema_of!(control::Group)),
        control("loop", schema_of!(control::Loop)),
        control("for_loop", schema_of!(control::ForLoop)),
        control("race", schema_of!(control::Race)),
        control("sub_workflow", schema_of!(control::SubWorkflow)),
        Descriptor { field: while_field, ..control("while_loop", schema_of!(control::WhileLoop)) },
        Descriptor { ports: caught, ..control("try_catch", schema_of!(control::TryCatch)) },
        Descriptor { ports: approval_ports, ..control("approval", schema_of!(control::Approval)) },
        Descriptor { ports: human_ports, ..control("human_task", schema_of!(control::HumanTask)) },
        Descriptor {
            ports: received,
            field: wait_field,
            ..control("wait_for_event", schema_of!(control::WaitForEvent))
        },
        descriptor("start", Runs::Coordinator, schema_of!(control::Start)),
        descriptor("end", Runs::Coordinator, schema_of!(control::End)),
        descriptor("noop", Runs::Coordinator, schema_of!(control::Noop)),
        descriptor("join", Runs::Coordinator, schema_of!(control::Join)),
        descriptor("delay", Runs::Coordinator, schema_of!(control::Delay)),
        Descriptor { ports: rate_ports, ..control("rate_limit", schema_of!(control::RateLimit)) },
        descriptor("fail", Runs::Coordinator, schema_of!(control::Fail)),
        descriptor("log", Runs::Coordinator, schema_of!(control::Log)),
        descriptor("set_variables", Runs::Coordinator, schema_of!(control::SetVariables)),
        descriptor("parallel", Runs::Coordinator, schema_of!(control::Parallel)),
        decision,
        Descriptor {
            effect: |_| Effect::Pure,
            ..descriptor("pure", Runs::Worker, || json!({ "type": "object", "additionalProperties": true }))
        },
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
    total_timeout: 10h
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
    // Groups: one with a handled failure inside, one that stops and leaves its sibling alone.
    r"
workflow: v1
name: groups
components:
  g:
    type: group
    components:
      a: { type: work, config: { fail_first: 9, class: user } }
      b: { type: work, needs: [a.error] }
  s:
    type: group
    config: { on_unhandled_failure: stop }
    components:
      c: { type: work, config: { fail_first: 9, class: user } }
      d: { type: work }
      e: { type: delay, config: { for: 20s } }
  side: { type: work }
  more: { type: work, needs: [side] }
  mend: { type: work, needs: [s.error] }
  after: { type: work, needs: [g, mend, more] }
",
    // A loop whose first failed round ends it.
    r"
workflow: v1
name: fails_each
components:
  l:
    type: loop
    config: { items: [1, 2, 3, 4], max_parallel: 2 }
    components:
      a: { type: work, config: { fail_first: '${{ 9 if item == 2 else 0 }}', class: user } }
      b: { type: work, needs: [a] }
  after: { type: work, needs: [l] }
",
    // A loop that collects, and one that bears one failure.
    r"
workflow: v1
name: collects
components:
  l:
    type: loop
    config: { items: [1, 2, 3], max_parallel: 2, on_item_error: collect }
    components:
      a: { type: work, config: { fail_first: '${{ 9 if item != 2 else 0 }}', class: user } }
  m:
    type: loop
    needs: [l]
    config: { items: [1, 2, 3], max_parallel: 3, tolerate: 1 }
    components:
      b: { type: work, config: { fail_first: '${{ 9 if item == 1 else 0 }}', class: user } }
  after: { type: work, needs: [m], config: { seen: '${{ components.m.output | length }}' } }
",
    // A loop that bears less than what fails.
    r"
workflow: v1
name: fails_beyond
components:
  l:
    type: loop
    config: { items: [1, 2, 3, 4], max_parallel: 3, tolerate: 1 }
    components:
      a: { type: work, config: { fail_first: '${{ 9 if item > 2 else 0 }}', class: user } }
",
    // A race with a losing loop and a losing wait.
    r"
workflow: v1
name: raced
components:
  r:
    type: race
    components:
      fast: { type: work }
      slow:
        type: for_loop
        config: { to: 3, max_parallel: 2 }
        components:
          a: { type: work }
      late: { type: delay, config: { for: 40s } }
      asked: { type: approval, config: { assignees: [ann] } }
      event: { type: wait_for_event, config: { event: none, key: k } }
  won: { type: work, needs: [r.fast] }
  lost: { type: work, needs: [r.slow] }
",
    // Loops in loops.
    r"
workflow: v1
name: nested
components:
  o:
    type: loop
    config: { items: [1, 2], max_parallel: 2 }
    components:
      i:
        type: for_loop
        config: { to: 2, max_parallel: 2 }
        components:
          x: { type: work, config: { n: '${{ item }}' } }
      last: { type: work, needs: [i], config: { n: '${{ components.i.output | length }}' } }
",
    // Rounds with a pause between them.
    r"
workflow: v1
name: paused
components:
  w:
    type: while_loop
    config: { condition: 'iteration < 3', pause: 10s, keep_last: 2 }
    components:
      a: { type: work, config: { gives: '${{ iteration }}' } }
  after: { type: work, needs: [w], config: { rounds: '${{ components.w.output.iterations }}' } }
",
    // A body that fails while its sibling runs, is caught and followed by `finally`.
    r"
workflow: v1
name: caught
components:
  t:
    type: try_catch
    components:
      a: { type: work, config: { fail_first: 9, class: user } }
      b: { type: work }
    catch:
      c: { type: work, config: { why: '${{ error.class }}' } }
    finally:
      f: { type: work }
  told: { type: work, needs: [t.caught] }
",
    // Three steps that can be undone, one of them in the rounds of a loop; then a failure.
    r"
workflow: v1
name: fails_saga
on_failure:
  tell: { type: work }
finally:
  last: { type: work }
components:
  a: { type: work, compensate: { type: work, config: { undo: '${{ this.output }}' } } }
  l:
    type: loop
    needs: [a]
    config: { items: [x, y], max_parallel: 2 }
    components:
      hold: { type: work, compensate: { type: work, config: { undo: '${{ item }}' } } }
  c:
    type: work
    needs: [l]
    compensate:
      type: work
      config: { fail_first: 1 }
      retry: { max_attempts: 2, backoff: fixed, initial: 2s, on: [unavailable] }
  ship: { type: work, needs: [c], config: { fail_first: 9, class: user } }
",
    // The same, and all is well; cancelled, it is undone.
    r"
workflow: v1
name: saga
compensate_on_cancel: true
finally:
  last: { type: work }
components:
  a: { type: work, compensate: { type: work } }
  g:
    type: group
    needs: [a]
    components:
      b: { type: work, compensate: { type: work } }
  c: { type: work, needs: [g] }
  d: { type: work, needs: [c] }
",
    // A time limit in the middle, then the cleaning up.
    r"
workflow: v1
name: fails_late
timeout: 30s
on_failure:
  h: { type: work }
finally:
  f: { type: work }
components:
  a: { type: work, compensate: { type: work } }
  d: { type: delay, needs: [a], config: { for: 10m } }
",
    // All must approve, in time, and are reminded.
    r"
workflow: v1
name: approved
components:
  r:
    type: approval
    config: { assignees: [ann, bob], quorum: all, expires: 60s, remind_every: 15s }
  done: { type: work, needs: [r.approved] }
  no: { type: work, needs: [r.rejected] }
  late: { type: work, needs: [r.expired] }
",
    // One answer is enough, two race; then somebody hands something in.
    r"
workflow: v1
name: asked
components:
  r: { type: approval, config: { assignees: [ann, bob], expires: 5m, on_expiry: approve } }
  h:
    type: human_task
    needs: [r.approved]
    config: { assignees: [ann], form: { type: object }, escalate: [{ after: 20s, to: [bob] }] }
  after: { type: work, needs: [h.submitted] }
",
    // A person says whether it took effect.
    r"
workflow: v1
name: dark
finally:
  f: { type: work }
components:
  pay: { type: work, delivery: at_most_once, compensate: { type: work } }
  after: { type: work, needs: [pay] }
",
    // An event that is early or late, and one that comes in time or not.
    r"
workflow: v1
name: awaits
parameters: { key: { type: string, default: k } }
components:
  w: { type: wait_for_event, config: { event: paid, key: '${{ parameters.key }}', within: 3h, early: 1h } }
  a: { type: work, needs: [w.received] }
  s: { type: wait_for_event, config: { event: go, key: k, within: 15s } }
  b: { type: work, needs: [s.received] }
  late: { type: work, needs: [s.timeout] }
",
    // Two signals for two waits that begin later.
    r"
workflow: v1
name: signalled
components:
  a: { type: work }
  l:
    type: for_loop
    needs: [a]
    config: { to: 2, max_parallel: 2 }
    components:
      w: { type: wait_for_event, config: { event: go, key: k, within: 3h } }
      b: { type: work, needs: [w] }
",
    // Calls another, and goes on with what it gave.
    r"
workflow: v1
name: calls
components:
  s: { type: sub_workflow, config: { workflow: child, version: 1 } }
  after: { type: work, needs: [s], config: { n: '${{ components.s.output }}' } }
  h: { type: work, needs: [s.error] }
",
    r"
workflow: v1
name: child
output: { n: '${{ components.b.output }}' }
components:
  a: { type: work }
  pause: { type: delay, needs: [a], config: { for: 12s } }
  b: { type: work, needs: [pause], config: { gives: [1, 2, 3] } }
",
    // Starts others that end with it, or go on.
    r"
workflow: v1
name: detached
components:
  s: { type: sub_workflow, config: { workflow: child, version: 1, wait: false, on_parent_close: kill } }
  t: { type: sub_workflow, config: { workflow: child, version: 1, wait: false } }
  after: { type: work, needs: [s, t] }
",
    // One call a round, and one of them fails.
    r"
workflow: v1
name: calls_each
components:
  l:
    type: loop
    config: { items: [calls, fails_beyond], max_parallel: 2, on_item_error: collect }
    components:
      s: { type: sub_workflow, config: { workflow: '${{ item }}', version: 1 } }
  after: { type: work, needs: [l] }
",
    // A call that loses a race, and one that takes too long.
    r"
workflow: v1
name: calls_in_vain
components:
  r:
    type: race
    components:
      s: { type: sub_workflow, config: { workflow: asked, version: 1 } }
      d: { type: delay, config: { for: 3s } }
  t: { type: sub_workflow, timeout: 6s, config: { workflow: child, version: 1, on_parent_close: kill } }
  after: { type: work, needs: [r, t.timeout], join: any }
",
    // More rounds than a turn holds where turns are short.
    r"
workflow: v1
name: many
components:
  l:
    type: for_loop
    config: { to: 9, max_parallel: 4 }
    components:
      v: { type: set_variables, config: { values: { n: '${{ item }}' } } }
  w:
    type: while_loop
    needs: [l]
    config: { condition: 'iteration < 6' }
    components:
      n: { type: noop, config: { value: '${{ iteration }}' } }
  after: { type: work, needs: [w], config: { seen: '${{ components.l.output | length }}' } }
",
    // Values that lie in the payload store: the items of a loop, what its rounds give, and what it gives.
    r"
workflow: v1
name: heavy
output: { all: '${{ components.l.output }}' }
components:
  list: { type: work, config: { gives: [one, two, three] } }
  l:
    type: loop
    needs: [list]
    config: { items: '${{ components.list.output }}', max_parallel: 2 }
    components:
      a: { type: work, config: { gives: '${{ item }}' } }
      v: { type: set_variables, needs: [a], config: { values: { it: '${{ item }}', got: '${{ components.a.output }}' } } }
  side: { type: work, needs: [list], config: { fail_first: 1 }, retry: { max_attempts: 2, backoff: fixed, initial: 1s, on: [unavailable] } }
  when:
    type: work
    needs: [l, side]
    when: 'components.list.output | length == 3'
    config: { all: '${{ components.l.output }}', n: '${{ components.l.output | length }}' }
",
    // Pure components in a row, one of which fails at first, with a reader of a failure that never comes.
    r"
workflow: v1
name: row
parameters: { of: { type: integer, default: 7 } }
components:
  first: { type: work }
  a: { type: pure, needs: [first], config: { gives: '${{ parameters.of }}' } }
  b: { type: pure, needs: [a], config: { gives: '${{ components.a.output + components.first.output }}' } }
  c:
    type: pure
    needs: [b]
    config: { fail_first: 1, gives: '${{ components.b.output }}' }
    retry: { max_attempts: 2, backoff: fixed, initial: 3s, on: [unavailable] }
  d: { type: pure, needs: [c], config: { gives: '${{ [components.a.output, components.c.attempts] }}' } }
  e: { type: pure, needs: [d] }
  wrong: { type: work, needs: [b.error] }
  last: { type: work, needs: [e], config: { seen: '${{ components.d.output }}' } }
",
    // Rows in the rounds of a loop, undone when what follows fails.
    r"
workflow: v1
name: fails_rows
components:
  l:
    type: loop
    config: { items: [1, 2, 3], max_parallel: 2 }
    components:
      a: { type: pure, config: { gives: '${{ item }}' } }
      b:
        type: pure
        needs: [a]
        config: { gives: '${{ components.a.output * 2 }}' }
        compensate: { type: work, config: { gives: '${{ this }}' } }
      c: { type: pure, needs: [b] }
  broken: { type: work, needs: [l], config: { fail_first: 9, class: user } }
finally:
  x: { type: pure }
  y: { type: pure, needs: [x] }
",
    // So many a period, in the rounds of a loop and over executions; in a race and a time limit that end the wait.
    r"
workflow: v1
name: slow
components:
  l:
    type: loop
    config: { items: [1, 2, 3], max_parallel: 3 }
    components:
      calm: { type: rate_limit, timeout: 9h, config: { key: crm, limit: 2, per: 20s, burst: 1 } }
      a: { type: work, needs: [calm.admitted] }
  r:
    type: race
    components:
      fast: { type: work }
      calm_too: { type: rate_limit, config: { key: crm, limit: 2, per: 20s } }
  brief: { type: rate_limit, needs: [l, r], config: { key: crm, limit: 4, per: 20s, max_wait: 1s } }
  once: { type: rate_limit, needs: [brief.success, brief.error], join: any, config: { key: crm, limit: 2, per: 20s, mode: refuse } }
  yes: { type: work, needs: [once.admitted] }
  no: { type: work, needs: [once.refused] }
",
    // Results that are used again: in later rounds and by other executions, before they expire and not after; under
    // keys that change while the task runs; beside a place that is waited for.
    r"
workflow: v1
name: cached
parameters: { key: { type: string, default: k } }
components:
  l:
    type: loop
    config: { items: [1, 2, 1, 1, 2], max_parallel: 2 }
    components:
      a:
        type: work
        config: { gives: '${{ item * 10 }}' }
        cache: { key: '${{ item }}', ttl: 1h }
      pause: { type: delay, needs: [a], config: { for: 3s } }
      b:
        type: work
        needs: [pause]
        config: { gives: '${{ [item, ''a rather long output of it''] }}' }
        cache: { ttl: 2s }
      c:
        type: work
        needs: [b]
        config: { fail_first: 1, gives: '${{ components.b.output }}' }
        retry: { max_attempts: 2, backoff: fixed, initial: 3s, on: [unavailable] }
        cache: { key: '${{ components.b.output | length if item == 1 else none }}' }
  r:
    type: for_loop
    config: { from: 1, to: 4, max_parallel: 1 }
    components:
      x: { type: work }
      y: { type: work }
      either:
        type: work
        needs: [x, y]
        join: any
        config: { gives: '${{ components.y.status }}' }
        cache: { key: '${{ components.y.status }}' }
  once:
    type: work
    config: { gives: '${{ parameters.key }}' }
    concurrency: { key: '${{ parameters.key }}', limit: 1 }
    cache: { key: '${{ parameters.key }}', ttl: 30s }
  last: { type: work, needs: [l, r, once], config: { seen: '${{ components.l.output }}' }, cache: {} }
",
    // Two places for the tasks of all rounds and executions, kept over lost workers and given back in a backoff.
    r"
workflow: v1
name: limited
components:
  l:
    type: loop
    config: { items: [1, 2, 3, 4], max_parallel: 4 }
    components:
      a:
        type: work
        config: { fail_first: '${{ 1 if item == 2 else 0 }}' }
        retry: { max_attempts: 2, backoff: fixed, initial: 3s, on: [unavailable] }
        concurrency: { key: erp, limit: 2 }
  b: { type: work, needs: [l], concurrency: { key: erp, limit: 2 } }
",
    // Tasks that lose their turn in a race, a time limit or a stop while they wait in line.
    r"
workflow: v1
name: crowded
components:
  r:
    type: race
    components:
      fast: { type: work }
      slow: { type: work, concurrency: { key: narrow, limit: 1 } }
      late: { type: work, concurrency: { key: narrow, limit: 1 } }
  w: { type: work, needs: [r], queue_timeout: 20s, concurrency: { key: narrow, limit: 1 } }
  after: { type: work, needs: [w, w.timeout], join: any }
",
    // The keys take turns for one place.
    r"
workflow: v1
name: turns
parameters: { key: { type: string, default: k } }
concurrency: { key: '${{ parameters.key }}', limit: 1, on_conflict: fair }
components:
  a: { type: work }
  b: { type: work, needs: [a], concurrency: { key: '${{ parameters.key }}', limit: 1, on_conflict: fair } }
",
    // Only one of a kind runs; what comes meanwhile does not.
    r"
workflow: v1
name: fails_dropped
parameters: { key: { type: string, default: k } }
concurrency: { key: '${{ parameters.key }}', on_conflict: drop_new }
components:
  l:
    type: loop
    config: { items: [1, 2], max_parallel: 2 }
    components:
      a: { type: work, concurrency: { key: one, on_conflict: drop_new } }
  b: { type: work, needs: [l] }
",
    // The newest counts.
    r"
workflow: v1
name: fails_replaced
concurrency: { key: one, on_conflict: cancel_running }
finally:
  f: { type: work }
components:
  a: { type: work }
  pause: { type: delay, needs: [a], config: { for: 2h } }
  b: { type: work, needs: [pause] }
",
    // The newest task counts, also over those that wait.
    r"
workflow: v1
name: fails_displaced
components:
  a: { type: work, concurrency: { key: seat, on_conflict: cancel_running } }
  b: { type: work, needs: [a, a.error], join: any, concurrency: { key: other, limit: 1 } }
",
];

/// Second versions of some shapes, with what is called otherwise there.
const SECOND: &[(&str, &[(&str, &str)])] = &[
    // Something renamed, and something new behind it.
    (
        r"
workflow: v1
name: chain
components:
  a: { type: work }
  b2: { type: work, needs: [a] }
  n: { type: work, needs: [b2] }
  c: { type: work, needs: [n] }
",
        &[("b", "b2")],
    ),
    // One branch less, and another one.
    (
        r"
workflow: v1
name: diamond
components:
  a: { type: work }
  b: { type: work, needs: [a] }
  g: { type: work, needs: [a], config: { gives: [1, 2] } }
  d: { type: noop, needs: [a] }
  e: { type: join, needs: [b, g, d] }
  f: { type: work, needs: [e] }
",
        &[],
    ),
    // Other time limits and attempts.
    (
        r"
workflow: v1
name: retries
components:
  a:
    type: work
    config: { fail_first: 2 }
    retry: { max_attempts: 4, backoff: fixed, initial: 3s, on: [unavailable] }
  last: { type: work, needs: [a], total_timeout: 9h }
",
        &[("b", "last")],
    ),
    // What handles a failure is called otherwise, and is followed by more.
    (
        r"
workflow: v1
name: handled
components:
  a:
    type: work
    config: { fail_first: 9 }
    retry: { max_attempts: 2, backoff: fixed, initial: 1s, on: [unavailable] }
  mend: { type: work, needs: [a.error] }
  never: { type: work, needs: [a] }
  told: { type: work, needs: [mend] }
",
        &[("handler", "mend")],
    ),
    // What runs at most once is called otherwise.
    (
        r"
workflow: v1
name: once
components:
  first: { type: noop }
  paid: { type: work, needs: [first], delivery: at_most_once }
  told: { type: work, needs: [paid, paid.error], join: any }
",
        &[("pay", "paid")],
    ),
    // Another key, and a shorter wait.
    (
        r"
workflow: v1
name: paced
concurrency: { key: two, limit: 1 }
components:
  a: { type: work }
  pause: { type: delay, needs: [a], config: { for: 3s } }
  b: { type: work, needs: [pause] }
  side: { type: work, needs: [a] }
",
        &[],
    ),
    // More to do at once.
    (
        r"
workflow: v1
name: fan
components:
  go: { type: work }
  p1: { type: work, needs: [go] }
  p2: { type: work, needs: [go] }
  p3: { type: work, needs: [go] }
  p5: { type: work, needs: [go] }
  p6: { type: work }
  all: { type: work, needs: [p1, p2, p3, p5, p6] }
",
        &[],
    ),
    // More beside containers, which stay as they are.
    (
        r"
workflow: v1
name: groups
components:
  g:
    type: group
    components:
      a: { type: work, config: { fail_first: 9, class: user } }
      b: { type: work, needs: [a.error] }
  s:
    type: group
    config: { on_unhandled_failure: stop }
    components:
      c: { type: work, config: { fail_first: 9, class: user } }
      d: { type: work }
      e: { type: delay, config: { for: 20s } }
  side: { type: work }
  extra: { type: work }
  mend: { type: work, needs: [s.error] }
  after: { type: work, needs: [g, mend, side, extra] }
",
        &[],
    ),
    // The body of a loop is another.
    (
        r"
workflow: v1
name: nested
components:
  o:
    type: loop
    config: { items: [1, 2], max_parallel: 2 }
    components:
      x: { type: work, config: { n: '${{ item }}' } }
  last_of_all: { type: work, needs: [o] }
",
        &[],
    ),
    // What can be undone is called otherwise.
    (
        r"
workflow: v1
name: saga
compensate_on_cancel: true
finally:
  last: { type: work }
components:
  first: { type: work, compensate: { type: work } }
  g:
    type: group
    needs: [first]
    components:
      b: { type: work, compensate: { type: work } }
  more: { type: work, needs: [g], compensate: { type: work } }
  d: { type: work, needs: [more] }
",
        &[("a", "first")],
    ),
    // A wait is called otherwise, and a parameter is new.
    (
        r"
workflow: v1
name: awaits
parameters: { key: { type: string, default: k }, more: { type: integer, default: 1 } }
components:
  w2: { type: wait_for_event, config: { event: paid, key: '${{ parameters.key }}', within: 3h, early: 1h } }
  a: { type: work, needs: [w2.received], config: { n: '${{ parameters.more }}' } }
  s: { type: wait_for_event, config: { event: go, key: k, within: 15s } }
  b: { type: work, needs: [s.received] }
  late: { type: work, needs: [s.timeout] }
",
        &[("w", "w2")],
    ),
    // A call is called otherwise.
    (
        r"
workflow: v1
name: calls
components:
  sub: { type: sub_workflow, timeout: 9h, config: { workflow: child, version: 1 } }
  after: { type: work, needs: [sub], config: { n: '${{ components.sub.output }}' } }
  h: { type: work, needs: [sub.error] }
",
        &[("s", "sub")],
    ),
    // People are asked under another id.
    (
        r"
workflow: v1
name: asked
components:
  review: { type: approval, config: { assignees: [ann, bob], expires: 5m, on_expiry: approve } }
  h:
    type: human_task
    needs: [review.approved]
    config: { assignees: [ann], form: { type: object }, escalate: [{ after: 20s, to: [bob] }] }
  n: { type: noop, needs: [review] }
  after: { type: work, needs: [h.submitted, n] }
",
        &[("r", "review")],
    ),
    // A row is another from its second component on, and what travelled with the first does not count.
    (
        r"
workflow: v1
name: row
parameters: { of: { type: integer, default: 7 } }
components:
  first: { type: work }
  a: { type: pure, needs: [first], config: { gives: '${{ parameters.of }}' } }
  b2: { type: pure, needs: [a], config: { gives: '${{ components.a.output * 2 }}' } }
  n: { type: pure, needs: [b2] }
  c:
    type: pure
    needs: [n]
    config: { fail_first: 1, gives: '${{ components.b2.output }}' }
    retry: { max_attempts: 2, backoff: fixed, initial: 3s, on: [unavailable] }
  d: { type: pure, needs: [c], config: { gives: '${{ [components.a.output, components.c.attempts] }}' } }
  wrong: { type: work, needs: [b2.error] }
  last: { type: work, needs: [d], config: { seen: '${{ components.d.output }}' } }
",
        &[("b", "b2")],
    ),
    // Permits are waited for under another id.
    (
        r"
workflow: v1
name: slow
components:
  l:
    type: loop
    config: { items: [1, 2, 3], max_parallel: 3 }
    components:
      calm: { type: rate_limit, timeout: 9h, config: { key: crm, limit: 2, per: 20s, burst: 1 } }
      a: { type: work, needs: [calm.admitted] }
  r:
    type: race
    components:
      fast: { type: work }
      calm_too: { type: rate_limit, config: { key: crm, limit: 2, per: 20s } }
  short: { type: rate_limit, needs: [l, r], config: { key: crm, limit: 4, per: 20s, max_wait: 1s } }
  single: { type: rate_limit, needs: [short.success, short.error], join: any, config: { key: crm, limit: 2, per: 20s, mode: refuse } }
  now: { type: rate_limit, config: { key: crm, limit: 2, per: 20s } }
  yes: { type: work, needs: [single.admitted] }
  no: { type: work, needs: [single.refused] }
",
        &[("brief", "short"), ("once", "single")],
    ),
    // What is used again is another.
    (
        r"
workflow: v1
name: cached
parameters: { key: { type: string, default: k } }
components:
  l:
    type: loop
    config: { items: [1, 2, 1, 1, 2], max_parallel: 2 }
    components:
      a:
        type: work
        config: { gives: '${{ item * 10 }}' }
        cache: { key: '${{ item }}', ttl: 1h }
      pause: { type: delay, needs: [a], config: { for: 3s } }
      b:
        type: work
        needs: [pause]
        config: { gives: '${{ [item, ''a rather long output of it''] }}' }
        cache: { ttl: 2s }
      c:
        type: work
        needs: [b]
        config: { fail_first: 1, gives: '${{ components.b.output }}' }
        retry: { max_attempts: 2, backoff: fixed, initial: 3s, on: [unavailable] }
        cache: { key: '${{ components.b.output | length if item == 1 else none }}' }
  single:
    type: work
    config: { gives: '${{ parameters.key }}-2' }
    concurrency: { key: '${{ parameters.key }}', limit: 1 }
    cache: { key: '${{ parameters.key }}', ttl: 30s }
  last: { type: work, needs: [l, single], config: { seen: '${{ components.single.output }}' }, cache: {} }
",
        &[("once", "single")],
    ),
    // Other places.
    (
        r"
workflow: v1
name: limited
components:
  l:
    type: loop
    config: { items: [1, 2, 3, 4], max_parallel: 4 }
    components:
      a:
        type: work
        config: { fail_first: '${{ 1 if item == 2 else 0 }}' }
        retry: { max_attempts: 2, backoff: fixed, initial: 3s, on: [unavailable] }
        concurrency: { key: erp, limit: 2 }
  b2: { type: work, needs: [l], concurrency: { key: crm, limit: 1 } }
",
        &[("b", "b2")],
    ),
    // The keys do not take turns any more.
    (
        r"
workflow: v1
name: turns
parameters: { key: { type: string, default: k } }
concurrency: { key: '${{ parameters.key }}', limit: 1 }
components:
  a: { type: work }
  b: { type: work, needs: [a] }
",
        &[],
    ),
];

/// The last so many shapes are about places.
pub(super) const LIMITED: usize = 6;

fn compile(text: &str) -> Arc<Workflow> {
    match workflow::read(text, &catalogue()) {
        Ok(read) => read.workflow,
        Err(problems) => panic!("{problems}"),
    }
}

/// Every shape, compiled once.
pub(super) fn shapes() -> &'static [Arc<Workflow>] {
    static COMPILED: OnceLock<Vec<Arc<Workflow>>> = OnceLock::new();
    COMPILED.get_or_init(|| SHAPES.iter().map(|text| compile(text)).collect())
}

/// What components are called in another version.
pub(super) type Names = BTreeMap<ComponentId, ComponentId>;

/// The second versions.
fn second() -> &'static [(Arc<Workflow>, Names)] {
    static COMPILED: OnceLock<Vec<(Arc<Workflow>, Names)>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let id = |text: &str| ComponentId::new(text);
        let names = |names: &[(&str, &str)]| names.iter().map(|(old, new)| (id(old), id(new))).collect();
        SECOND.iter().map(|(text, map)| (compile(text), names(map))).collect()
    })
}

/// Every version of every shape.
pub(super) fn versions() -> impl Iterator<Item = &'static Arc<Workflow>> {
    shapes().iter().chain(second().iter().map(|(workflow, _)| workflow))
}

/// The version with this hash.
pub(super) fn find(hash: &str) -> Option<Arc<Workflow>> {
    versions().find(|workflow| workflow.hash == hash).cloned()
}

/// The other version of a shape, its number, and what components are called there.
pub(super) fn other(workflow: &Workflow) -> Option<(Arc<Workflow>, u32, Names)> {
    let (later, names) = second().iter().find(|(later, _)| later.name == workflow.name)?;
    if later.hash == workflow.hash {
        let first = shapes().iter().find(|shape| shape.name == workflow.name)?;
        let back = names.iter().map(|(old, new)| (new.clone(), old.clone()));
        return Some((Arc::clone(first), 1, back.collect()));
    }
    Some((Arc::clone(later), 2, names.clone()))
}
