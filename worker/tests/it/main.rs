//! What a worker promises to the engine, one test a rule. Time is paused: waiting costs nothing.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

mod chain;
mod world;

use std::{num::NonZeroU32, sync::atomic::Ordering, time::Duration};

use serde_json::json;
use shared::{
    component::FailureClass,
    execution::Payload,
    ids::{SHARDS, Shard, Token},
    port::queue::Queue,
    wire::{AskKind, Control, Ending, InboxBody, Task},
    workflow::Delivery,
};
use tokio::time::Instant;
use worker::Config;

use world::{Seen, World, adjusted, asks, is_acked, records, renewals, results, task, task_in};

fn at_most_once(kind: &str) -> Task {
    Task { delivery: Delivery::AtMostOnce, ..task(kind, json!(7)) }
}

fn inline(ending: &Ending) -> &serde_json::Value {
    match ending {
        Ending::Completed { output: Payload::Inline(value), .. } => value,
        other => panic!("expected an output, got {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_names_its_attempt_and_carries_the_output() {
    let world = World::new();
    let task = Task { attempt: 3, dispatch: 2, ..task("echo", json!({ "a": [1, "ä"] })) };
    world.give(&task);
    let result = world.result(task.execution).await;
    assert_eq!((result.attempt, result.dispatch, result.worker), (3, 2, world.worker));
    assert_eq!(result.key(), task.key());
    assert_eq!(result.token, None);
    assert!(result.started_at <= result.finished_at);
    assert_eq!(*inline(&result.ending), json!({ "a": [1, "ä"] }));
    assert_eq!(*inline(&world.ending(&crate::task("key", json!(null))).await), {
        let last = results(&world.seen()).pop().expect("two results");
        json!(format!("{}/step", last.execution.as_uuid()))
    });
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_acknowledged_after_the_confirm_and_not_before() {
    let world = World::new();
    world.hold_confirms();
    let task = task("echo", json!(1));
    world.give(&task);
    world.begun(1).await;
    // Two records pass while the broker says nothing.
    world.until(|seen| (records(seen).len() >= 3).then_some(())).await;
    assert!(!is_acked(&world.seen(), task.execution));
    world.confirm(1);
    world.acked(task.execution).await;
    let seen = world.seen();
    let published = seen.iter().position(|seen| !results(std::slice::from_ref(seen)).is_empty());
    let acked = seen.iter().position(|seen| matches!(seen, Seen::Acked(_)));
    assert!(published < acked, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_redelivered_task_is_reported_as_lost_and_does_not_run() {
    let world = World::new();
    let task = at_most_once("echo");
    world.give_again(&task);
    let result = world.result(task.execution).await;
    assert!(matches!(result.ending, Ending::Lost { .. }), "{:?}", result.ending);
    assert_eq!(result.token, None);
    world.acked(task.execution).await;
    assert_eq!(world.has_begun(), 0);
    assert_eq!(asks(&world.seen()).len(), 0);
    assert_eq!(world.stats.redelivered.load(Ordering::Relaxed), 1);
    assert_eq!(world.stats.lost.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_does_not_fit_fails_with_a_sentence() {
    let world = World::with(Config { tags: vec!["eu".to_owned()], ..Config::default() });
    let elsewhere = Task { pool: "gpu".into(), ..task("echo", json!(1)) };
    let tagged = Task { tags: vec!["eu".to_owned(), "gpu".to_owned()], ..task("echo", json!(1)) };
    for (task, says) in [
        (task("teleport", json!(1)), "no worker of pool default offers teleport"),
        (task("external", json!(1)), "no worker of pool default offers external"),
        (elsewhere, "a task for the pool gpu came to a worker of pool default"),
        (tagged, "this worker of pool default does not have the tags the task asks for: gpu"),
    ] {
        let failure = world.failure(&task).await;
        assert_eq!((failure.class, failure.message.as_str()), (FailureClass::InvalidConfig, says));
    }
    let fits = Task { tags: vec!["eu".to_owned()], ..task("echo", json!(1)) };
    assert_eq!(*inline(&world.ending(&fits).await), json!(1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_internal_failure_that_tells_nothing() {
    let world = World::new();
    let failure = world.failure(&task("panics", json!("hunter2"))).await;
    assert_eq!(failure.class, FailureClass::Internal);
    assert!(failure.message.contains("trace"), "{failure}");
    assert!(!failure.message.contains("hunter2"), "{failure}");
    // The worker goes on.
    assert_eq!(*inline(&world.ending(&task("echo", json!(2))).await), json!(2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_passed_on_without_what_a_store_cannot_keep() {
    let world = World::new();
    let failure = world.failure(&task("fails", json!(1))).await;
    assert_eq!((failure.class, failure.message.as_str()), (FailureClass::NotFound, "no such\u{fffd} thing"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_over_its_time_ends_within_a_second_even_if_it_does_not_let_go() {
    let world = World::new();
    for kind in ["polite", "stubborn"] {
        let begun = Instant::now();
        let failure = world.failure(&Task { timeout: Duration::from_secs(5), ..task(kind, json!(1)) }).await;
        assert_eq!(failure.class, FailureClass::Timeout);
        assert!(failure.message.contains("5s"), "{failure}");
        assert!(begun.elapsed() <= Duration::from_secs(6), "{kind}: {:?}", begun.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_output_travels_by_reference_and_a_huge_one_is_refused() {
    let world = World::new();
    assert_eq!(
        inline(&world.ending(&task("large", json!(65_534))).await).as_str().map(str::len),
        Some(65_534)
    );
    world.payloads.fail(2);
    match world.ending(&task("large", json!(65_535))).await {
        Ending::Completed { output: Payload::Stored(stored), .. } => {
            assert_eq!(stored.size, 65_537);
            assert_eq!(world.payloads.kept(stored.id).as_str().map(str::len), Some(65_535));
        }
        other => panic!("expected a stored output, got {other:?}"),
    }
    assert_eq!(world.failure(&task("large", json!(17_000_000))).await.class, FailureClass::LimitExceeded);
    world.payloads.fail(100);
    assert_eq!(world.failure(&task("large", json!(70_000))).await.class, FailureClass::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn stored_payloads_are_put_where_the_config_refers_to_them() {
    let world = World::new();
    let rows = world.payloads.keep(&json!([1, 2]));
    world.payloads.fail(1);
    let task = Task {
        references: vec![("/rows".to_owned(), rows), ("/deep/0".to_owned(), rows)],
        ..task("echo", json!({ "rows": null, "deep": [null], "keep": 1 }))
    };
    let ending = world.ending(&task).await;
    assert_eq!(*inline(&ending), json!({ "rows": [1, 2], "deep": [[1, 2]], "keep": 1 }));
    let nowhere = Task { references: vec![("/none".to_owned(), rows)], ..crate::task("echo", json!({})) };
    assert_eq!(world.failure(&nowhere).await.class, FailureClass::Internal);
}

#[tokio::test(start_paused = true)]
async fn a_scratch_folder_is_made_by_who_needs_it_and_removed() {
    let mut world = World::new();
    let ending = world.ending(&task("scribbles", json!(1))).await;
    let output = inline(&ending);
    assert_eq!(output["before"], json!(false));
    let path = std::path::Path::new(output["path"].as_str().expect("a path"));
    assert!(path.starts_with(world.scratch.path()));
    assert!(!path.exists());
    world.leave().await;
    assert_eq!(std::fs::read_dir(world.scratch.path()).expect("a folder").count(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_at_most_once_task_runs_only_with_its_grant() {
    let world = World::new();
    let task = at_most_once("echo");
    world.give(&task);
    let ask = world.ask(0).await;
    assert_eq!((ask.kind, ask.attempt, ask.worker), (AskKind::Grant, 1, world.worker));
    assert_eq!(world.has_begun(), 0);
    // An answer to somebody else changes nothing.
    world.say(Control::Answer { token: Token::generate(), granted: true });
    world.answer(0, true).await;
    let result = world.result(task.execution).await;
    assert_eq!(result.token, Some(ask.token));
    assert_eq!(*inline(&result.ending), json!(7));
    assert!(matches!(asks(&world.seen()).as_slice(), [_]));
}

#[tokio::test(start_paused = true)]
async fn a_refused_grant_is_acknowledged_and_leaves_no_result() {
    let world = World::new();
    let task = at_most_once("echo");
    world.give(&task);
    world.answer(0, false).await;
    world.acked(task.execution).await;
    assert_eq!((world.has_begun(), results(&world.seen()).len()), (0, 0));
    assert_eq!(world.stats.dropped.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_never_comes_is_reported_and_the_task_does_not_run() {
    let world = World::new();
    let task = at_most_once("echo");
    let begun = Instant::now();
    let ending = world.ending(&task).await;
    assert_eq!(ending, Ending::NotGranted);
    assert_eq!(begun.elapsed().as_secs(), 30);
    let result = world.result(task.execution).await;
    assert_eq!(result.token, Some(world.ask(0).await.token));
    // Too late, it changes nothing.
    world.answer(0, true).await;
    assert_eq!(*inline(&world.ending(&crate::task("echo", json!(1))).await), json!(1));
    assert_eq!(world.has_begun(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_leased_at_once_runs_under_its_lease() {
    let world = World::new();
    let silent = Task { lease_at_once: true, ..task("echo", json!(1)) };
    assert_eq!(world.ending(&silent).await, Ending::Returned);
    assert_eq!(world.has_begun(), 0);

    let task = Task { lease_at_once: true, ..task("gated", json!(2)) };
    world.give(&task);
    let ask = world.answer(1, true).await;
    assert_eq!(ask.kind, AskKind::Lease);
    world.begun(1).await;
    let seen = world.seen();
    assert!(is_acked(&seen, task.execution), "the lease is committed, so the delivery may go");
    world.until(|seen| (adjusted(seen) == -1).then_some(())).await;
    world.stage.gate.notify_one();
    assert_eq!(world.result(task.execution).await.token, Some(ask.token));
    world.until(|seen| (adjusted(seen) == 0).then_some(())).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_task_is_handed_over_and_its_leases_are_renewed_in_one_message_a_shard() {
    let world = World::new();
    let (first, second) = (task_in(3, "gated", json!(1)), task_in(3, "gated", json!(2)));
    let other = task_in(4, "stubborn", json!(3));
    let begun = Instant::now();
    for task in [&first, &second, &other] {
        world.give(task);
    }
    let ask = world.ask(0).await;
    assert_eq!((ask.kind, begun.elapsed().as_secs()), (AskKind::Lease, 60));
    // Nobody answers the first question of each: it is asked again with the same token.
    world.until(|seen| (asks(seen).len() == 6).then_some(())).await;
    assert_eq!(begun.elapsed().as_secs(), 80);
    assert!(!is_acked(&world.seen(), first.execution));
    for number in 3..6 {
        let again = world.answer(number, true).await;
        assert!(asks(&world.seen())[..3].iter().any(|ask| ask.token == again.token));
    }
    for task in [&first, &second, &other] {
        world.acked(task.execution).await;
    }
    world.until(|seen| (adjusted(seen) == -3).then_some(())).await;
    let renewed = world.until(|seen| Some(renewals(seen)).filter(|all| all.len() == 2)).await;
    let mut sizes: Vec<usize> = renewed.iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [1, 2]);
    world.until(|seen| (renewals(seen).len() == 4).then_some(())).await;
    assert_eq!(begun.elapsed().as_secs(), 120);

    world.stage.gate.notify_waiters();
    let result = world.result(first.execution).await;
    assert!(asks(&world.seen()).iter().any(|ask| Some(ask.token) == result.token));
    assert_eq!(*inline(&result.ending), json!(1));
    world.until(|seen| (adjusted(seen) == -1).then_some(())).await;
    assert_eq!(world.stats.leased.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_result_of_a_task_that_asked_for_a_lease_carries_its_token() {
    let world = World::new();
    let task = task("gated", json!(1));
    world.give(&task);
    let ask = world.ask(0).await;
    world.stage.gate.notify_one();
    assert_eq!(world.result(task.execution).await.token, Some(ask.token));
    world.acked(task.execution).await;
    assert_eq!(adjusted(&world.seen()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_granted_task_is_leased_with_the_token_of_its_grant() {
    let world = World::new();
    let task = at_most_once("stubborn");
    world.give(&task);
    let grant = world.answer(0, true).await;
    let lease = world.ask(1).await;
    assert_eq!((grant.kind, lease.kind), (AskKind::Grant, AskKind::Lease));
    assert_eq!(grant.token, lease.token);
}

#[tokio::test(start_paused = true)]
async fn a_refused_lease_stops_the_run_and_drops_its_result() {
    let world = World::new();
    let task = task("polite", json!(1));
    world.give(&task);
    world.answer(0, false).await;
    world.acked(task.execution).await;
    assert_eq!(results(&world.seen()).len(), 0);
    assert_eq!(adjusted(&world.seen()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_stops_the_run_drops_its_result_and_frees_its_place() {
    let world = World::new();
    let (lost, kept) = (task("polite", json!(1)), task("stubborn", json!(1)));
    world.give(&lost);
    world.give(&kept);
    let mut tokens = Vec::new();
    for number in 0..2 {
        let ask = world.answer(number, true).await;
        if ask.execution == lost.execution {
            tokens.push(ask.token);
        }
    }
    world.until(|seen| (adjusted(seen) == -2).then_some(())).await;
    world.say(Control::Lost { tokens });
    world.until(|seen| (adjusted(seen) == -1).then_some(())).await;
    assert_eq!(results(&world.seen()).len(), 0);
    let before = renewals(&world.seen()).len();
    let next = world.until(|seen| renewals(seen).get(before).cloned()).await;
    assert!(next.iter().all(|renewal| renewal.execution == kept.execution));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_stops_what_runs_within_two_seconds_and_what_comes_later() {
    let world = World::new();
    let (polite, stubborn) = (task("polite", json!(1)), task("stubborn", json!(1)));
    let other = task("gated", json!(5));
    for task in [&polite, &stubborn, &other] {
        world.give(task);
    }
    world.begun(3).await;
    let asked = Instant::now();
    // What is on its way is named with what runs; other tasks of the execution may still come.
    let late = Task { component: "next".into(), ..polite.clone() };
    for task in [&polite, &stubborn] {
        world.say(Control::Cancel { execution: task.execution, tasks: vec![task.key(), late.key()] });
    }
    for task in [&polite, &stubborn] {
        match world.result(task.execution).await.ending {
            Ending::Failed(failure) => assert_eq!(failure.class, FailureClass::Cancelled),
            other => panic!("expected a failure, got {other:?}"),
        }
        world.acked(task.execution).await;
    }
    assert!(asked.elapsed() <= Duration::from_millis(2_050), "{:?}", asked.elapsed());

    world.give(&late);
    let result =
        world.until(|seen| results(seen).into_iter().find(|result| result.component == late.component)).await;
    assert!(matches!(result.ending, Ending::Failed(failure) if failure.class == FailureClass::Cancelled));
    assert_eq!(world.has_begun(), 3);
    assert_eq!(world.stats.cancelled_late.load(Ordering::Relaxed), 1);

    world.stage.gate.notify_one();
    assert_eq!(*inline(&world.result(other.execution).await.ending), json!(5));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_ends_the_wait_for_a_grant() {
    let world = World::new();
    let task = at_most_once("echo");
    world.give(&task);
    let ask = world.ask(0).await;
    world.say(Control::Cancel { execution: task.execution, tasks: vec![task.key()] });
    let result = world.result(task.execution).await;
    assert!(matches!(result.ending, Ending::Failed(failure) if failure.class == FailureClass::Cancelled));
    assert_eq!(result.token, Some(ask.token));
    assert_eq!(world.has_begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_finished_while_a_publish_was_in_flight_goes_in_one_message() {
    let world = World::new();
    world.hold_confirms();
    let tasks: Vec<Task> = (0..5).map(|number| task_in(7, "echo", json!(number))).collect();
    world.give(&tasks[0]);
    world.begun(1).await;
    // The first is in flight by now; a record is published behind it.
    world.until(|seen| (records(seen).len() >= 2).then_some(())).await;
    for task in &tasks[1..] {
        world.give(task);
    }
    world.begun(5).await;
    world.until(|seen| (records(seen).len() >= 3).then_some(())).await;
    world.confirm(2);
    for task in &tasks {
        world.acked(task.execution).await;
    }
    assert_eq!(results(&world.seen()).len(), 5);
    assert_eq!(world.stats.messages.load(Ordering::Relaxed), 2);
    assert!((world.stats.results_per_message() - 2.5).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn a_shard_does_not_wait_for_another_and_those_that_wait_share_a_publish() {
    let world = World::new();
    world.hold_confirms();
    let slow = task_in(1, "echo", json!(1));
    world.give(&slow);
    world.until(|seen| (records(seen).len() >= 2).then_some(())).await;
    // Two that end together, of two shards.
    let (left, right) = (task_in(2, "gated", json!(2)), task_in(3, "gated", json!(3)));
    world.give(&left);
    world.give(&right);
    world.begun(3).await;
    world.stage.gate.notify_waiters();
    world.until(|seen| (records(seen).len() >= 3).then_some(())).await;
    world.confirm(2);
    for task in [&slow, &left, &right] {
        world.acked(task.execution).await;
    }
    let calls: Vec<usize> = world
        .seen()
        .iter()
        .filter_map(|seen| match seen {
            Seen::Published(messages) if matches!(messages[0].body, InboxBody::Results { .. }) => {
                Some(messages.len())
            }
            _ => None,
        })
        .collect();
    assert_eq!(calls, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn results_that_one_coordinator_asks_for_share_a_message() {
    let world = World::new();
    world.hold_confirms();
    let to = |task: Task| Task { reply_to: Some(Shard(7)), ..task };
    let first = to(task_in(1, "echo", json!(1)));
    world.give(&first);
    world.until(|seen| (records(seen).len() >= 2).then_some(())).await;
    let others = [to(task_in(2, "echo", json!(2))), to(task_in(3, "echo", json!(3)))];
    for task in &others {
        world.give(task);
    }
    world.begun(3).await;
    world.until(|seen| (records(seen).len() >= 3).then_some(())).await;
    world.confirm(2);
    for task in std::iter::once(&first).chain(&others) {
        world.acked(task.execution).await;
    }
    let messages: Vec<(Shard, usize)> = world
        .seen()
        .iter()
        .filter_map(|seen| match seen {
            Seen::Published(messages) => Some(messages.clone()),
            _ => None,
        })
        .flatten()
        .filter_map(|message| match message.body {
            InboxBody::Results { results } => Some((message.shard, results.len())),
            _ => None,
        })
        .collect();
    assert_eq!(messages, [(Shard(7), 1), (Shard(7), 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_publish_that_fails_is_repeated_with_the_same_id_until_it_is_confirmed() {
    let world = World::new();
    world.refuse_publishes(4);
    let task = task("echo", json!(1));
    world.give(&task);
    world.acked(task.execution).await;
    let seen = world.seen();
    let ids: Vec<_> = seen
        .iter()
        .filter_map(|seen| match seen {
            Seen::Refused(messages) | Seen::Published(messages) => Some(messages),
            _ => None,
        })
        .flatten()
        .filter(|message| matches!(message.body, InboxBody::Results { .. }))
        .map(|message| message.id)
        .collect();
    assert_eq!(ids.len(), 5);
    assert!(ids.iter().all(|id| *id == ids[0]));
    assert_eq!(world.stats.publish_retries.load(Ordering::Relaxed), 4);
}

#[tokio::test(start_paused = true)]
async fn records_go_to_the_workers_shard_at_the_start_each_interval_and_when_leaving() {
    let mut world = World::with(Config { tags: vec!["eu".to_owned()], ..Config::default() });
    let begun = Instant::now();
    let first = world.until(|seen| records(seen).first().cloned()).await;
    assert_eq!(begun.elapsed().as_secs(), 0);
    assert_eq!((first.id, first.concurrency, first.running), (world.worker, 128, 0));
    assert_eq!(first.tags, ["eu"]);
    assert!(first.kinds.contains(&"echo".to_owned()) && !first.kinds.contains(&"external".to_owned()));
    assert!(first.memory_bytes > 0 && !first.draining);
    world.give(&task("gated", json!(1)));
    world.begun(1).await;
    let second = world.until(|seen| records(seen).get(1).cloned()).await;
    assert_eq!((begun.elapsed().as_secs(), second.running), (10, 1));
    let shard = world.worker.as_uuid().as_u128() % u128::from(SHARDS);
    for seen in world.seen() {
        if let Seen::Published(messages) = seen {
            assert!(messages.iter().all(|message| u128::from(message.shard.0) == shard));
        }
    }
    world.shutdown.cancel();
    let last = world.until(|seen| records(seen).into_iter().find(|record| record.draining)).await;
    assert_eq!((last.running, begun.elapsed().as_secs()), (1, 10));
    world.stage.gate.notify_one();
    world.leave().await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_lets_tasks_end_and_reports_the_rest_without_cost() {
    let mut world = World::new();
    let waiting = at_most_once("echo");
    let (ends, runs) = (task("gated", json!(1)), task("stubborn", json!(1)));
    for task in [&ends, &runs] {
        world.give(task);
    }
    world.begun(2).await;
    world.shutdown.cancel();
    world.until(|seen| seen.iter().any(|seen| matches!(seen, Seen::Stopped)).then_some(())).await;
    let asked = Instant::now();
    world.stage.gate.notify_one();
    assert_eq!(*inline(&world.result(ends.execution).await.ending), json!(1));
    // Nothing new is taken.
    world.give(&waiting);
    world.leave().await;
    let lost = world.result(runs.execution).await;
    assert_eq!(lost.ending, Ending::Lost { reason: "the worker was told to leave".to_owned() });
    assert!(is_acked(&world.seen(), runs.execution) && is_acked(&world.seen(), ends.execution));
    assert_eq!(asks(&world.seen()).len(), 0);
    let took = asked.elapsed();
    assert!((Duration::from_secs(30)..Duration::from_secs(34)).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_drain_returns_what_never_began() {
    let mut world = World::with(Config { drain_seconds: 3, ..Config::default() });
    let task = at_most_once("echo");
    world.give(&task);
    let ask = world.ask(0).await;
    world.leave().await;
    let result = world.result(task.execution).await;
    assert_eq!((result.ending, result.token), (Ending::Returned, Some(ask.token)));
    assert!(is_acked(&world.seen(), task.execution));
    assert_eq!(world.has_begun(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_drain_without_a_broker_ends_and_acknowledges_nothing() {
    let mut world = World::with(Config { drain_seconds: 1, ..Config::default() });
    world.refuse_publishes(usize::MAX);
    let task = task("echo", json!(1));
    world.give(&task);
    world.begun(1).await;
    let begun = Instant::now();
    world.leave().await;
    assert!(begun.elapsed() <= Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(!is_acked(&world.seen(), task.execution));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_never_given_back_to_the_queue() {
    let world = World::with(Config { concurrency: NonZeroU32::MIN, ..Config::default() });
    for kind in ["echo", "fails", "teleport", "panics"] {
        world.ending(&task(kind, json!(1))).await;
    }
    assert!(!world.seen().iter().any(|seen| matches!(seen, Seen::Requeued)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_the_queue_of_one_process_every_task_is_reported_once() {
    const TASKS: usize = 2_000;
    let queue = std::sync::Arc::new(queue::in_process::InProcessQueue::new());
    let (worker, stats, shutdown) = world::on(queue.clone());
    let running = tokio::spawn(worker.run(shutdown.clone()));
    let mut inbox = queue.inbox().await.expect("an inbox");
    inbox.serve(&Shard::all().collect::<Vec<_>>()).await.expect("all shards are served");
    let tasks: Vec<Task> = (0..TASKS).map(|number| task("echo", json!(number))).collect();
    queue.publish_tasks(tasks.clone()).await.expect("the queue takes them");
    let mut reported = std::collections::HashMap::new();
    while reported.len() < TASKS {
        for delivery in inbox.receive(256).await.expect("the queue is open") {
            if let InboxBody::Results { results } = delivery.message.body {
                for result in results {
                    assert!(reported.insert(result.execution, result.ending).is_none(), "reported twice");
                }
            }
            delivery.answer.ack().await;
        }
    }
    for (number, task) in tasks.iter().enumerate() {
        assert_eq!(*inline(&reported[&task.execution]), json!(number));
    }
    shutdown.cancel();
    running.await.expect("the worker does not panic").expect("the worker leaves in order");
    assert_eq!(stats.completed.load(Ordering::Relaxed), TASKS as u64);
    assert!(stats.results_per_message() > 1.0, "{stats:?}");
    let depths = queue.depths().await.expect("depths are known");
    assert!(depths.iter().all(|depth| depth.ready == 0 && depth.consumers == 0), "{depths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_with_too_many_tags_says_so() {
    let tags = (0..7).map(|number| format!("tag{number}")).collect();
    let world = World::with(Config { tags, ..Config::default() });
    let ended = world.running.await.expect("it does not panic");
    let said = ended.expect_err("it cannot run").to_string();
    assert!(said.contains("7 tags, and 6 are the most"), "{said}");
}
