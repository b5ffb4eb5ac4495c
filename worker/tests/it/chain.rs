//! What a worker does with the chain that came with a task.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::json;
use shared::{
    expression::Written,
    ids::ExecutionId,
    wire::{Chain, Control, Ending, Link, Sees, Task, TaskResult},
};

use crate::{
    inline,
    world::{World, results, task},
};

/// A link whose config is `expression`.
fn link(id: &str, kind: &str, expression: &str) -> Link {
    Link {
        component: id.into(),
        kind: kind.into(),
        config: Written::Expression(expression.to_owned()),
        timeout: Duration::from_mins(1),
    }
}

fn chained(kind: &str, config: serde_json::Value, links: Vec<Link>) -> Task {
    let mut sees = Sees::default();
    sees.roots.insert("parameters".to_owned(), json!({ "n": 10 }));
    Task { chain: Some(Box::new(Chain { links, sees })), ..task(kind, config) }
}

/// The results of the one message in which those of an execution came.
async fn together(world: &World, execution: ExecutionId) -> Vec<TaskResult> {
    world.result(execution).await;
    world.acked(execution).await;
    results(&world.seen()).into_iter().filter(|result| result.execution == execution).collect()
}

fn ids(results: &[TaskResult]) -> Vec<&str> {
    results.iter().map(|result| result.component.as_str()).collect()
}

#[tokio::test(start_paused = true)]
async fn each_link_has_a_result_of_its_own_in_one_message() {
    let world = World::new();
    let links = vec![
        link("b", "echo", "components.step.output + parameters.n"),
        link("c", "echo", "[components.b.output, components.step.attempts]"),
        link("d", "key", "none"),
    ];
    let task = Task { attempt: 2, ..chained("echo", json!(1), links) };
    world.give(&task);
    let all = together(&world, task.execution).await;
    assert_eq!(ids(&all), ["step", "b", "c", "d"]);
    assert_eq!(*inline(&all[1].ending), json!(11));
    assert_eq!(*inline(&all[2].ending), json!([11, 2]));
    assert_eq!(*inline(&all[3].ending), json!(format!("{}/d", task.execution.as_uuid())));
    assert_eq!((all[0].attempt, all[0].follows), (2, None));
    for pair in all.windows(2) {
        assert_eq!((pair[1].attempt, pair[1].dispatch), (1, 1));
        assert_eq!(pair[1].follows, Some(pair[0].started_at));
        assert!(pair[0].finished_at <= pair[1].started_at);
    }
    let sent = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!((sent(&world.stats.messages), sent(&world.stats.results)), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_chain_ends_where_it_does_not_fit() {
    let world = World::new();
    for (links, expected) in [
        // An expression that fails, a type that nobody here offers: the coordinator says so.
        (vec![link("b", "echo", "components.step.output.none"), link("c", "echo", "1")], &["step"][..]),
        (vec![link("b", "echo", "components.never.output")], &["step"]),
        (vec![link("b", "echo", "1"), link("c", "unheard_of", "1")], &["step", "b"]),
        // Too large to look into.
        (vec![link("b", "large", "70000"), link("c", "echo", "components.b.output")], &["step", "b"]),
        // A failure is a result; what follows it is not begun.
        (vec![link("b", "fails", "1"), link("c", "echo", "1")], &["step", "b"]),
        (vec![link("b", "panics", "1"), link("c", "echo", "1")], &["step", "b"]),
        // Too long.
        (vec![link("b", "gated", "1"), link("c", "echo", "1")], &["step"]),
    ] {
        let task = chained("echo", json!(1), links);
        world.give(&task);
        assert_eq!(ids(&together(&world, task.execution).await), expected, "{:?}", task.chain);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_what_failed_or_took_long() {
    let world = World::new();
    let task = chained("fails", json!(1), vec![link("b", "echo", "1")]);
    world.give(&task);
    assert_eq!(ids(&together(&world, task.execution).await), ["step"]);

    let task = chained("naps", json!(1), vec![link("b", "echo", "1")]);
    world.give(&task);
    assert_eq!(ids(&together(&world, task.execution).await), ["step"]);
}

#[tokio::test(start_paused = true)]
async fn a_chain_that_is_cancelled_ends() {
    let world = World::new();
    let task = chained("echo", json!(1), vec![link("b", "gated", "1"), link("c", "echo", "1")]);
    world.give(&task);
    world.begun(2).await;
    world.say(Control::Cancel { execution: task.execution, tasks: vec![task.key()] });
    let all = together(&world, task.execution).await;
    assert_eq!(ids(&all), ["step"]);
    assert!(matches!(all[0].ending, Ending::Completed { .. }), "{:?}", all[0].ending);
}
