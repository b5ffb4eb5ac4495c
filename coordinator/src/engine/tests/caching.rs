//! Results that are used again: when they are looked for, used, kept, and not.

use shared::port::cache::{CacheEntry, CacheKey, LARGEST_CACHED};

use super::*;

const COMPONENT: &str = "a: { type: work, config: { n: 1 }, cache: { key: k, ttl: 10s } }";

impl Case {
    /// Decides, and answers what it asks of the cache with what is kept in `rows`.
    fn take_with(&mut self, rows: &[CacheEntry], input: &Input<'_>) -> Decision {
        self.cached = None;
        let asked = match self.try_take(std::slice::from_ref(input)) {
            Ok(decision) => return decision,
            Err(Needs::Cached(keys)) => keys,
            Err(needs) => panic!("{needs:?}"),
        };
        let find = |key: &CacheKey| rows.iter().find(|row| row.key == *key).map(|row| row.result.clone());
        self.cached = Some(asked.into_iter().map(|key| (key.clone(), find(&key))).collect());
        let decision = self.take(input.clone());
        self.cached = None;
        decision
    }

    /// Starts, and answers what it asks of the cache from `rows`.
    fn started_with(components: &str, parameters: Value, rows: &[CacheEntry]) -> Self {
        let mut case = Self::accept_with("parameters: { c: { type: any } }", components, parameters);
        case.take_with(rows, &Input::Start);
        case
    }

    fn is_cached(&self, id: &str) -> bool {
        self.events()
            .any(|event| matches!(event, Event::TaskCached { task, .. } if task.component.as_str() == id))
    }
}

/// What the component `a` leaves in the cache when it gives `output`.
fn left(components: &str, parameters: Value, output: Value) -> Vec<CacheEntry> {
    let mut case = Case::started_with(components, parameters, &[]);
    case.complete("a", output).cache
}

#[test]
fn a_result_is_kept_and_completes_another_without_a_task() {
    let rows = left(COMPONENT, json!({}), json!({ "score": 7 }));
    assert_eq!(rows.len(), 1);
    let until = start_of_time().after(seconds(10));
    assert_eq!((rows[0].result.at, rows[0].result.expires_at), (start_of_time(), until));
    let both = format!(
        "{COMPONENT}\nb: {{ type: work, needs: [a], config: {{ s: '${{{{ components.a.output.score }}}}' }} }}"
    );
    let case = Case::started_with(&both, json!({}), &rows);
    case.shows("a completed, b running");
    let state = case.component("a");
    assert_eq!((state.attempt, state.output.clone()), (0, Some(Payload::Inline(json!({ "score": 7 })))));
    assert_eq!(case.sent.len(), 1);
    assert_eq!(case.sent[0].config, json!({ "s": 7 }));
    assert!(case.events().any(|event| matches!(
        event,
        Event::TaskCached { from, at, .. } if *from == rows[0].result.execution && *at == start_of_time()
    )));
}

#[test]
fn a_miss_runs_and_what_has_expired_is_a_miss() {
    let rows = left(COMPONENT, json!({}), json!(1));
    let mut case = Case::accept_with("", COMPONENT, json!({}));
    case.now = start_of_time().after(seconds(10));
    case.take_with(&rows, &Input::Start);
    case.shows("a running");
    let kept = case.complete("a", json!(2)).cache;
    assert_eq!(kept[0].key, rows[0].key, "it replaces what has expired");
    let mut case = Case::accept_with("", COMPONENT, json!({}));
    case.now = start_of_time().after(seconds(9));
    case.take_with(&rows, &Input::Start);
    case.shows("a completed");
    assert_eq!(case.state.status, Status::Completed);
}

#[test]
fn another_key_config_or_type_is_another_result() {
    let of =
        |key: &str, n: u32| format!("a: {{ type: work, config: {{ n: {n} }}, cache: {{ key: {key} }} }}");
    let rows = left(&of("'${{ parameters.c }}'", 1), json!({ "c": 1 }), json!(1));
    let hit =
        |components: &str, c: Value| Case::started_with(components, json!({ "c": c }), &rows).is_cached("a");
    assert!(hit(&of("'${{ parameters.c }}'", 1), json!(1)));
    assert!(!hit(&of("'${{ parameters.c }}'", 1), json!(2)));
    assert!(!hit(&of("'${{ parameters.c }}'", 1), json!("1")));
    assert!(!hit(&of("'${{ parameters.c }}'", 2), json!(1)));
    assert!(!hit(&of("1", 1), json!(1)), "written otherwise");
    let renamed = of("'${{ parameters.c }}'", 1).replacen('a', "b", 1);
    assert!(!Case::started_with(&renamed, json!({ "c": 1 }), &rows).is_cached("b"));
}

#[test]
fn null_is_no_key_and_without_one_the_config_is() {
    let of = "a: { type: work, config: { n: '${{ parameters.c }}' }, cache: { key: '${{ parameters.c }}' } }";
    let mut case = Case::accept_with("parameters: { c: { type: any } }", of, json!({ "c": null }));
    case.take(Input::Start);
    assert!(case.complete("a", json!(1)).cache.is_empty());
    let of = "a: { type: work, config: { n: '${{ parameters.c }}' }, cache: {} }";
    let rows = left(of, json!({ "c": 3 }), json!(1));
    assert!(Case::started_with(of, json!({ "c": 3 }), &rows).is_cached("a"));
    assert!(!Case::started_with(of, json!({ "c": 4 }), &rows).is_cached("a"));
}

#[test]
fn failures_are_not_kept() {
    let once = "a: { type: work, config: { n: 1 }, cache: {}, retry: { max_attempts: 2, backoff: fixed, initial: 5s, jitter: false, on: [unavailable] } }";
    let mut case = Case::started_with(once, json!({}), &[]);
    assert!(case.fail("a", "unavailable").cache.is_empty());
    case.now = case.now.after(seconds(5));
    // A further attempt asks nobody.
    case.take(Input::Timer(&TimerKey::Retry(TaskKey::of("a".into()))));
    case.shows("a running");
    assert_eq!(case.complete("a", json!(1)).cache.len(), 1);
    let mut case = Case::started_with(COMPONENT, json!({}), &[]);
    assert!(case.fail("a", "user").cache.is_empty());
}

#[test]
fn what_is_done_again_runs_and_refreshes_its_result() {
    let rows = left(COMPONENT, json!({}), json!(1));
    let Ok(workflow) = read("", COMPONENT) else { panic!("it is right") };
    let again = |accepted: &mut Accepted| {
        accepted.retry_of = Some(ExecutionId::from_uuid(uuid::Uuid::from_u128(9)));
    };
    let mut case = Case::accept(workflow, json!({}), again);
    case.take_with(&rows, &Input::Start);
    case.shows("a running");
    let kept = case.complete("a", json!(2)).cache;
    assert_eq!((&kept[0].key, &kept[0].result.output[..]), (&rows[0].key, &b"2"[..]));
}

#[test]
fn a_hit_needs_no_place_and_no_room() {
    let of = "a: { type: work, config: { n: 1 }, concurrency: { key: erp }, cache: { key: k } }";
    let rows = left(of, json!({}), json!(1));
    let mut case = Case::accept_with("", of, json!({}));
    let key = format!("task/{}/erp", case.state.accepted.workflow.as_uuid());
    let none = shared::port::slots::FullSlot { free: 0, owners: Default::default() };
    case.full.insert(key, none);
    case.room = 0;
    let start = case.take_with(&rows, &Input::Start);
    case.shows("a completed");
    assert!(start.wait.is_empty() && start.take.iter().all(|claim| claim.task.is_none()));
    // One that waits in line is answered, and leaves it.
    let mut case = Case { full: case.full.clone(), ..Case::accept_with("", of, json!({})) };
    case.take_with(&[], &Input::Start);
    case.shows("a limited");
    let called = case.take_with(&rows, &Input::Wake);
    case.shows("a completed");
    assert!(called.give.contains(&Some(TaskKey::of("a".into()))), "{:?}", called.give);
}

#[test]
fn rounds_ask_together_and_use_what_others_gave() {
    let of = "l: { type: loop, config: { items: [1, 2, 1, 3], max_parallel: 4 }, components: { a: { type: work, config: { n: '${{ item }}' }, cache: {} } } }";
    let mut case = Case::accept_with("", of, json!({}));
    let Err(Needs::Cached(keys)) = case.try_take(&[Input::Start]) else { panic!("it asks first") };
    assert_eq!(keys.len(), 3, "each key once");
    case.take_with(&[], &Input::Start);
    let rows = case.complete("a[0]", json!("one")).cache;
    let case = Case::started_with(of, json!({}), &rows);
    case.shows("a[1] running, a[3] running");
    let used = case.events().filter(|event| matches!(event, Event::TaskCached { .. })).count();
    assert_eq!(used, 2);
}

#[test]
fn what_only_a_hit_leads_to_is_asked_for_in_a_turn_of_its_own() {
    let of = "a: { type: work, config: { n: 1 }, cache: {} }\nb: { type: work, needs: [a], config: { n: 2 }, cache: {} }";
    let mut first = Case::started_with(of, json!({}), &[]);
    let mut rows = {
        let result = first.report("a", completed(json!(1), &[]));
        first.take_with(&[], &Input::Result(&result)).cache
    };
    rows.extend(first.complete("b", json!(2)).cache);
    assert_eq!(rows.len(), 2);
    let mut case = Case::accept_with("", of, json!({}));
    let start = case.take_with(&rows, &Input::Start);
    case.shows("a completed, b ready");
    assert!(start.commands.contains(&Command::GoOn));
    let cause = case.turns.last().map(|turn| turn.cause);
    let again = cause.map(|cause| commands_again(&case.state, cause, &case.payloads));
    assert_eq!(again, Some(Ok(vec![Command::GoOn])), "the wake comes again");
    case.take_with(&rows, &Input::Wake);
    assert_eq!(case.state.status, Status::Completed);
    assert!(case.sent.is_empty());
}

#[test]
fn large_outputs_and_those_that_name_files_are_not_kept_and_the_log_says_so() {
    let notes = |case: &Case| case.events().filter(|event| matches!(event, Event::Noted { .. })).count();
    let mut case = Case::started_with(COMPONENT, json!({}), &[]);
    assert!(case.complete("a", json!("x".repeat(LARGEST_CACHED))).cache.is_empty());
    assert_eq!(notes(&case), 1);
    let mut case = Case::started_with(COMPONENT, json!({}), &[]);
    let file = PayloadId::from_uuid(uuid::Uuid::from_u128(5));
    assert!(case.complete("a", json!({ "file": file.to_string() })).cache.is_empty());
    assert_eq!(notes(&case), 1);
    // One in the payload store is loaded, and kept as it is.
    let mut case = Case::started_with(COMPONENT, json!({}), &[]);
    let stored = Payload::Stored(shared::execution::StoredPayload { id: file, size: 70_000 });
    let ending = Ending::Completed { output: stored, ports: Vec::new() };
    let result = case.report("a", ending);
    assert_eq!(case.try_take(&[Input::Result(&result)]).err(), Some(Needs::Payloads(vec![file])));
    case.payloads.insert(file, Arc::new(json!(["large"])));
    assert_eq!(case.take(Input::Result(&result)).cache[0].result.output, b"[\"large\"]");
}

#[test]
fn a_key_that_holds_a_stored_output_is_none() {
    let of = "a: { type: work }\nb: { type: work, needs: [a], config: { all: '${{ components.a.output }}' }, cache: {} }";
    let mut case = Case::start(of);
    let id = PayloadId::from_uuid(uuid::Uuid::from_u128(5));
    let output = Payload::Stored(shared::execution::StoredPayload { id, size: 70_000 });
    case.end("a", Ending::Completed { output, ports: Vec::new() });
    case.shows("b running");
    assert!(case.complete("b", json!(1)).cache.is_empty());
}

#[test]
fn a_result_is_kept_under_the_key_that_its_task_was_sent_with() {
    let of = "x: { type: work }\ny: { type: work }\na: { type: work, needs: [x, y], join: any, config: { n: 1 }, cache: { key: '${{ components.y.status }}' } }";
    let mut case = Case::start(of);
    let result = case.report("x", completed(json!(1), &[]));
    case.take_with(&[], &Input::Result(&result));
    let sent = case.component("a").cache_key.clone();
    case.complete("y", json!(1));
    let kept = case.complete("a", json!(1)).cache;
    assert_eq!(Some(kept[0].key.hash.as_str()), sent.as_deref());
}

#[test]
fn it_is_no_link_of_a_chain() {
    let of = "a: { type: pure, cache: {} }\nb: { type: pure, needs: [a] }";
    let Ok(workflow) = read("", of) else { panic!("it is right") };
    assert_eq!(workflow.components[0].fuses, None);
}
