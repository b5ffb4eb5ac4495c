//! When a component is ready: J1 to J19.

use anyhow::{Result, ensure};

use super::{Case, document, is_mistake, refused, with_calls};
use crate::harness::place::Place;

both_shapes!(
    j1_fired_and_fired,
    j2_fired_and_dead,
    j3_fired_and_pending,
    j4_dead_and_dead,
    j5_dead_and_pending,
    j6_pending_and_pending,
    j7_one_connection_fired,
    j8_one_connection_dead,
    j9_one_connection_pending,
    j10_without_needs_it_is_ready_at_the_start,
    j11_any_starts_once_and_cancels_nobody,
    j12_ready_and_when_is_false,
    j13_ready_and_when_cannot_be_decided,
    j14_when_is_not_asked_when_the_join_says_skipped,
    j15_all_done_runs_when_every_connection_is_dead,
    j16_both_sides_of_a_decision_are_refused_when_saving,
    j17_two_exclusive_ports_are_refused_when_saving,
    j18_the_same_connection_twice_is_refused_when_saving,
    j19_a_scope_of_skipped_components_completes,
    what_many_components_read_may_be_large,
);

/// What `all`, `any` and `all_done` make of these connections: `f`ired, `d`ead or `p`ending.
async fn joins(place: &Place, edges: &str, expected: [&str; 3]) -> Result<()> {
    let sources: Vec<String> = (0..edges.len()).map(|at| format!("e{at}")).collect();
    let needs = sources.join(", ");
    let (mut text, mut shown) = (String::new(), Vec::new());
    for (id, edge) in sources.iter().zip(edges.chars()) {
        let (component, word) = match edge {
            'f' => (format!("@call({id})"), "completed"),
            'd' => (format!("@call({id}?status=404)"), "failed"),
            _ => ("@waits".to_owned(), "awaiting"),
        };
        text += &format!("{id}: {{ {component} }}\n");
        shown.push(format!("{id} {word}"));
    }
    let mut ready = Vec::new();
    for (join, word) in ["all", "any", "all_done"].into_iter().zip(expected) {
        text += &format!("on_{join}: {{ @call(on_{join}), needs: [{needs}], join: {join} }}\n");
        let word = match word {
            "ready" => {
                ready.push(format!("on_{join}"));
                "completed"
            }
            "waits" => "waiting",
            other => other,
        };
        shown.push(format!("on_{join} {word}"));
    }
    let case = Case::start(place, &text).await?;
    case.shows(&shown.join(", ")).await?;
    if edges.contains('p') {
        case.stops().await?;
    } else {
        // Nobody handles the failed ones.
        case.ends(if edges.contains('d') { "failed" } else { "completed" }).await?;
    }
    let mut calls = case.calls();
    calls.retain(|call| call.starts_with("on_"));
    calls.sort();
    ready.sort();
    ensure!(calls == ready, "{edges}: those that were ready ran once, the others never: {calls:?}");
    Ok(())
}

async fn j1_fired_and_fired(place: &Place) -> Result<()> {
    joins(place, "ff", ["ready", "ready", "ready"]).await
}

async fn j2_fired_and_dead(place: &Place) -> Result<()> {
    joins(place, "fd", ["skipped", "ready", "ready"]).await?;
    joins(place, "df", ["skipped", "ready", "ready"]).await
}

async fn j3_fired_and_pending(place: &Place) -> Result<()> {
    joins(place, "fp", ["waits", "ready", "waits"]).await?;
    joins(place, "pf", ["waits", "ready", "waits"]).await
}

async fn j4_dead_and_dead(place: &Place) -> Result<()> {
    joins(place, "dd", ["skipped", "skipped", "ready"]).await
}

async fn j5_dead_and_pending(place: &Place) -> Result<()> {
    joins(place, "dp", ["skipped", "waits", "waits"]).await?;
    joins(place, "pd", ["skipped", "waits", "waits"]).await
}

async fn j6_pending_and_pending(place: &Place) -> Result<()> {
    joins(place, "pp", ["waits", "waits", "waits"]).await
}

async fn j7_one_connection_fired(place: &Place) -> Result<()> {
    joins(place, "f", ["ready", "ready", "ready"]).await
}

async fn j8_one_connection_dead(place: &Place) -> Result<()> {
    joins(place, "d", ["skipped", "skipped", "ready"]).await
}

async fn j9_one_connection_pending(place: &Place) -> Result<()> {
    joins(place, "p", ["waits", "waits", "waits"]).await
}

async fn j10_without_needs_it_is_ready_at_the_start(place: &Place) -> Result<()> {
    let case = Case::start(place, "a: { @call(a) }\nb: { @call(b), join: all }").await?;
    case.ends("completed").await?;
    case.shows("a completed, b completed").await?;
    for join in ["any", "all_done"] {
        let mistake = refused(place, &document("", &format!("a: {{ type: noop, join: {join} }}"))).await?;
        let suggestion = "add `needs`, or remove `join`";
        is_mistake(&mistake, "join_without_needs", "components.a.join", suggestion)?;
    }
    Ok(())
}

async fn j11_any_starts_once_and_cancels_nobody(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "a: { @call(a) }
         b: { @waits }
         c: { @call(c), needs: [b] }
         first: { @call(first), needs: [a, b, c], join: any }",
    )
    .await?;
    case.shows("a completed, b awaiting, c waiting, first completed").await?;
    case.go().await?;
    case.ends("completed").await?;
    case.shows("a completed, b completed, c completed, first completed").await?;
    ensure!(case.calls() == ["a", "first", "c"], "{:?}", case.calls());
    Ok(())
}

async fn j12_ready_and_when_is_false(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "a: { @call(a) }
         b: { @call(b), needs: [a], when: components.a.output.body.call > 1 }
         c: { @call(c), needs: [b] }
         d: { @call(d), needs: [a], when: components.a.output.body.call == 1 }",
    )
    .await?;
    case.ends("completed").await?;
    case.shows("a completed, b skipped, c skipped, d completed").await?;
    ensure!(case.skipped_for("b").await? == "when_false", "`b` was ready");
    ensure!(case.skipped_for("c").await? == "dead_connection", "skipping travels on");
    Ok(())
}

async fn j13_ready_and_when_cannot_be_decided(place: &Place) -> Result<()> {
    for when in ["components.a.output.body.call", "components.a.output.body.missing > 1"] {
        let case = Case::start(
            place,
            &format!(
                "a: {{ @call(a) }}
                 b: {{ @call(b), needs: [a], when: {when}, retry: {{ max_attempts: 5, initial: 1ms, on: [invalid_expression] }} }}
                 c: {{ @call(c), needs: [b] }}
                 h: {{ type: end, needs: [b.error], config: {{ output: '${{{{ components.b.error.class }}}}' }} }}"
            ),
        )
        .await?;
        let found = case.ends("completed").await?;
        ensure!(found["output"] == "invalid_expression", "{when}: {found}");
        case.shows("a completed, b failed, c skipped, h completed").await?;
        ensure!(case.events("b").await?.len() == 1, "it is not retried: {:?}", case.events("b").await?);
        ensure!(case.calls() == ["a"], "{:?}", case.calls());
    }
    Ok(())
}

async fn j14_when_is_not_asked_when_the_join_says_skipped(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "a: { @call(a?status=404) }
         b: { @call(b), needs: [a], when: components.a.output.body.missing > 1 }
         h: { @call(h), needs: [a.error] }",
    )
    .await?;
    case.ends("completed").await?;
    case.shows("a failed, b skipped, h completed").await?;
    ensure!(case.skipped_for("b").await? == "dead_connection", "`when` was asked");
    Ok(())
}

async fn j15_all_done_runs_when_every_connection_is_dead(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "which: { type: decision, config: { condition: 1 > 2 } }
         a: { @call(a), needs: [which.true] }
         b: { @call(b), needs: [a], join: all_done }
         c: { @call(c), needs: [a], join: all_done, when: components.a.status == 'completed' }
         g: { type: group, needs: [which.true], components: { i: { @call(i) }, j: { @call(j), needs: [i], join: all_done } } }",
    )
    .await?;
    case.ends("completed").await?;
    case.shows("a skipped, b completed, c skipped, g skipped").await?;
    ensure!(case.calls() == ["b"], "{:?}", case.calls());
    Ok(())
}

async fn j16_both_sides_of_a_decision_are_refused_when_saving(place: &Place) -> Result<()> {
    let text = document(
        "",
        "which: { type: decision, config: { condition: 1 > 2 } }
         a: { type: noop, needs: [which.true] }
         b: { type: noop, needs: [which.false] }
         c: { type: noop, needs: [a, b] }",
    );
    let mistake = refused(place, &text).await?;
    is_mistake(&mistake, "never_ready", "components.c.needs", "did you mean `join: any`?")?;
    // So are both outcomes of one component, however far behind it the branches meet.
    let failure = "x: { @call(x) }
         ok: { type: noop, needs: [x] }
         a: { type: noop, needs: [ok] }
         b: { type: noop, needs: [x.error] }
         c: { type: noop, needs: [a, b] }";
    let mistake = refused(place, &with_calls(&document("", failure), place, "refused")).await?;
    is_mistake(&mistake, "never_ready", "components.c.needs", "did you mean `join: any`?")?;
    let case = Case::start(place, &failure.replace("[a, b]", "[a, b], join: any")).await?;
    case.ends("completed").await?;
    case.shows("a completed, b skipped, c completed").await?;
    // What is suggested runs.
    let case =
        Case::start(place, &text[text.find("  which").unwrap_or(0)..].replace("[a, b]", "[a, b], join: any"))
            .await?;
    case.ends("completed").await?;
    case.shows("a skipped, b completed, c completed").await
}

async fn j17_two_exclusive_ports_are_refused_when_saving(place: &Place) -> Result<()> {
    for (component, ports) in [
        ("type: decision, config: { condition: 1 > 2 }", ["true", "false"]),
        ("type: approval, config: { assignees: [ann] }", ["approved", "rejected"]),
        ("type: noop", ["success", "error"]),
    ] {
        let text = format!(
            "which: {{ {component} }}\nc: {{ type: noop, needs: [which.{}, which.{}] }}",
            ports[0], ports[1]
        );
        let mistake = refused(place, &document("", &text)).await?;
        is_mistake(&mistake, "exclusive_ports", "components.c.needs", "did you mean `join: any`?")?;
    }
    Ok(())
}

async fn j18_the_same_connection_twice_is_refused_when_saving(place: &Place) -> Result<()> {
    let text = document("", "a: { type: noop }\nb: { type: noop, needs: [a, a.success] }");
    let mistake = refused(place, &text).await?;
    is_mistake(&mistake, "duplicate_connection", "components.b.needs.1", "remove one of them")
}

async fn j19_a_scope_of_skipped_components_completes(place: &Place) -> Result<()> {
    let case = Case::start(
        place,
        "a: { @call(a), when: 'false' }
         b: { @call(b), needs: [a] }
         c: { @call(c), needs: [a, b], join: any }",
    )
    .await?;
    let found = case.ends("completed").await?;
    ensure!(found["progress"] == 100.0, "{found}");
    case.shows("a skipped, b skipped, c skipped").await?;
    // A scope inside, too.
    let case = Case::start(
        place,
        "g: { type: group, components: { a: { @call(a), when: 'false' }, b: { @call(b), needs: [a] } } }
         after: { @call(after), needs: [g] }",
    )
    .await?;
    case.ends("completed").await?;
    case.shows("g completed, after completed").await?;
    ensure!(case.calls() == ["after"], "{:?}", case.calls());
    Ok(())
}

/// One turn decides about all readers, each of which needs another value from the store.
async fn what_many_components_read_may_be_large(place: &Place) -> Result<()> {
    const MANY: usize = 12;
    let mut text = String::new();
    for number in 0..MANY {
        text += &format!("b{number}: {{ @call(b{number}?bytes=100000) }}\n");
    }
    let all: Vec<String> = (0..MANY).map(|number| format!("b{number}")).collect();
    text += &format!("gate: {{ type: noop, needs: [{}] }}\n", all.join(", "));
    for number in 0..MANY {
        text += &format!(
            "r{number}: {{ type: set_variables, needs: [gate, b{number}], config: {{ values: {{ \
             n: '${{{{ components.b{number}.output.body.text | length }}}}' }} }} }}\n"
        );
    }
    text += "done: { type: end, needs: [r11], config: { output: '${{ components.r11.output.n }}' } }\n";
    let case = Case::start(place, &text).await?;
    let found = case.ends("completed").await?;
    ensure!(found["output"] == 100_000, "{found}");
    Ok(())
}
