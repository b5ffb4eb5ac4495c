//! What holds for every graph, every order of results and every input again.
//!
//! That the state is what its journal folds to, that the audit finds nothing in it, and that a message
//! again would send exactly its own tasks, the driver checks after every decision.

use proptest::prelude::*;

use super::*;

/// How a task of a generated graph ends, attempt by attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Completes,
    /// Fires its port `x`.
    Chooses,
    Fails,
    TimesOut,
    /// Fails in a way that is retried, then completes.
    Stumbles,
    /// Its worker is lost, then it completes.
    IsLost,
    /// It comes back unopened, then completes.
    Returns,
    /// Runs with a lease.
    IsLeased,
}

/// One component: its line in the document and its fate.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) line: String,
    pub(super) fate: Fate,
}

fn block() -> impl Strategy<Value = (u8, Vec<(prop::sample::Index, u8)>, u8, Fate, u8)> {
    (
        0_u8..10,
        prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 0..4),
        0_u8..5,
        prop::sample::select(vec![
            Fate::Completes,
            Fate::Completes,
            Fate::Completes,
            Fate::Chooses,
            Fate::Fails,
            Fate::Fails,
            Fate::TimesOut,
            Fate::Stumbles,
            Fate::IsLost,
            Fate::Returns,
            Fate::IsLeased,
        ]),
        0_u8..8,
    )
}

/// At most twelve components, each with needs among those before it.
pub(super) fn graph() -> impl Strategy<Value = Vec<Block>> {
    prop::collection::vec(block(), 1..=12).prop_map(|drafts| {
        let mut kinds: Vec<&str> = Vec::new();
        let mut blocks = Vec::new();
        for (at, (kind, needs, join, fate, when)) in drafts.into_iter().enumerate() {
            let (kind, config) = match kind {
                0 => ("decision", ", config: { condition: 1 > 2 }"),
                1 => ("noop", ""),
                2 => ("delay", ", config: { for: 7s }"),
                3 => ("pick", ", config: { ports: [x, y] }"),
                4 => ("log", ", config: { message: hello }"),
                _ => ("work", ", retry: { max_attempts: 2, backoff: fixed, initial: 5s, on: [connection] }"),
            };
            let mut named = std::collections::BTreeSet::new();
            if at > 0 {
                for (from, port) in needs {
                    let from = from.index(at);
                    // Two ports of one component may exclude each other.
                    if named.iter().any(|(other, _)| *other == from) {
                        continue;
                    }
                    let port = match (port, kinds[from]) {
                        (0, _) => ".error",
                        (1, _) => ".timeout",
                        (2, "decision") => ".true",
                        (3, "decision") => ".false",
                        (2, "pick") => ".x",
                        (3, "pick") => ".y",
                        _ => "",
                    };
                    named.insert((from, port));
                }
            }
            let mut line = format!("c{at}: {{ type: {kind}{config}");
            if !named.is_empty() {
                let needs: Vec<String> = named.iter().map(|(from, port)| format!("c{from}{port}")).collect();
                line.push_str(&format!(", needs: [{}]", needs.join(", ")));
                line.push_str(["", ", join: any", ", join: all_done", ", join: any", ""][usize::from(join)]);
            }
            if when == 0 {
                line.push_str(", when: false");
            }
            line.push_str(" }\n");
            kinds.push(kind);
            blocks.push(Block { line, fate });
        }
        blocks
    })
}

/// The graph as an accepted execution; `None` when the document is refused, as J16 is.
pub(super) fn accepted(head: &str, blocks: &[Block]) -> Option<Case> {
    let text: String = blocks.iter().map(|block| block.line.as_str()).collect();
    let workflow = read(head, &text).ok()?;
    Some(Case::accept(workflow, json!({}), |_| {}))
}

/// The same input once more adds nothing.
fn again(case: &Case, input: &Input<'_>) {
    let mut case = case.clone();
    // The room is the desk's affair: what it holds back may go out at any decision.
    case.room = 0;
    let told = case.take(input.clone());
    assert!(told.events.is_empty(), "{input:?} again: {:?}", told.events);
}

pub(super) fn take(case: &mut Case, input: &Input<'_>) {
    case.take(input.clone());
    again(case, input);
}

/// Ends the present attempt of a dispatched task as its fate says.
pub(super) fn one_step(case: &mut Case, id: &str, fate: Fate) {
    let first =
        case.component(id).spent() <= 1 && case.component(id).lost == 0 && case.component(id).dispatch == 1;
    if fate == Fate::IsLeased && case.component(id).fence.is_none() {
        let granted = case.ask(id, AskKind::Lease, 5);
        assert_eq!(granted, case.state.cancel.is_none());
    }
    let ending = match fate {
        Fate::Chooses => completed(json!(id), &["x"]),
        Fate::Fails => failed("user"),
        Fate::TimesOut => failed("timeout"),
        Fate::Stumbles if first => failed("connection"),
        Fate::IsLost if first => Ending::Lost { reason: "gone".to_owned() },
        Fate::Returns if first => Ending::Returned,
        _ => completed(json!(id), &["y"]),
    };
    let result = case.report(id, ending);
    take(case, &Input::Result(&result));
}

/// Runs to the end; at each step `choose` picks one of the tasks that are out.
pub(super) fn run(
    mut case: Case,
    blocks: &[Block],
    room: u32,
    mut choose: impl FnMut(usize) -> usize,
) -> Case {
    case.room = room;
    take(&mut case, &Input::Start);
    let ids: Vec<String> = (0..blocks.len()).map(|at| format!("c{at}")).collect();
    for _ in 0..1_000 {
        if case.state.status.is_terminal() {
            return case;
        }
        let out: Vec<usize> = (0..blocks.len()).filter(|at| case.phase(&ids[*at]) == "running").collect();
        let picked = if out.is_empty() { None } else { Some(out[choose(out.len()) % out.len()]) };
        match picked {
            Some(at) => one_step(&mut case, &ids[at], blocks[at].fate),
            None if !case.state.ready.is_empty() => {
                case.take(Input::Wake);
            }
            None => case.tick(seconds(7)),
        }
    }
    panic!("it does not end: {:?}", case.turns)
}

/// What the end is, whatever the order was.
/// How one component ended: its phase, ports, output and failure.
pub(super) type Ended = (&'static str, Vec<String>, Option<Payload>, Option<FailureClass>);

pub(super) fn summary(case: &Case) -> (Status, Vec<Ended>) {
    let components = case.state.root().components.iter().map(|state| {
        // A delay names its instant, which depends on when it began.
        let output =
            state.output.clone().filter(|output| !matches!(output, Payload::Inline(Value::Object(_))));
        (
            state.phase.as_str(),
            state.ports.clone(),
            output,
            state.failure.as_ref().map(|failure| failure.class.clone()),
        )
    });
    (case.state.status, components.collect())
}

fn absorbs(case: &Case) {
    let mut case = case.clone();
    let before = case.state.clone();
    let request = RequestBody::Cancel { by: "ann".to_owned(), reason: String::new() };
    let mut inputs = vec![
        Input::Start,
        Input::Wake,
        Input::Sweep,
        Input::Request(&request),
        Input::Timer(&TimerKey::Timeout),
        Input::Timer(&TimerKey::CancelGrace),
        Input::Timer(&TimerKey::Scheduled),
    ];
    let key = TaskKey::of("c0".into());
    let timers = [
        TimerKey::Retry(key.clone()),
        TimerKey::Delay(key.clone()),
        TimerKey::Lease(key.clone()),
        TimerKey::Queue(key.clone()),
        TimerKey::Total(key),
    ];
    inputs.extend(timers.iter().map(Input::Timer));
    let results: Vec<TaskResult> =
        [completed(Value::Null, &[]), failed("connection"), Ending::Returned, Ending::NotGranted]
            .into_iter()
            .map(|ending| case.report("c0", ending))
            .collect();
    inputs.extend(results.iter().map(Input::Result));
    case.now = case.now.after(seconds(100_000));
    case.queue_lost_before = Some(case.now);
    for input in inputs {
        let decision = case.take(input);
        assert!(decision.events.is_empty() && decision.timers.is_empty());
    }
    assert_eq!(case.state, before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn every_order_of_results_ends_the_same(
        blocks in graph(),
        picks in prop::collection::vec(any::<u8>(), 60),
        room in 1_u32..6,
    ) {
        let Some(case) = accepted("", &blocks) else { return Ok(()) };
        let in_order = run(case.clone(), &blocks, 1_000, |_| 0);
        let mut next = picks.iter().cycle();
        let shuffled = run(case, &blocks, room, |_| next.next().copied().unwrap_or_default().into());
        prop_assert_eq!(summary(&in_order), summary(&shuffled));
        prop_assert!(shuffled.state.root().is_settled());
        absorbs(&in_order);
        absorbs(&shuffled);
    }

    #[test]
    fn stop_ends_with_the_first_unhandled_failure(
        blocks in graph(),
        picks in prop::collection::vec(any::<u8>(), 60),
    ) {
        let Some(case) = accepted("on_unhandled_failure: stop", &blocks) else { return Ok(()) };
        let mut next = picks.iter().cycle();
        let ended = run(case, &blocks, 1_000, |_| next.next().copied().unwrap_or_default().into());
        absorbs(&ended);
        if ended.state.root().stopping.is_some() {
            prop_assert_eq!(ended.state.status, Status::Failed);
            // It ended in the turn in which it was decided.
            let Some(last) = ended.turns.last() else { panic!("it has turns") };
            let stops = last.events.iter().any(|event| matches!(event, Event::Stopping { .. }));
            prop_assert!(stops);
        }
    }

    #[test]
    fn a_cancel_at_any_moment_ends_as_cancelled_and_sends_nothing_more(
        blocks in graph(),
        picks in prop::collection::vec(any::<u8>(), 60),
        steps in 0_usize..20,
    ) {
        let Some(mut case) = accepted("", &blocks) else { return Ok(()) };
        let mut next = picks.iter().cycle().map(|pick| usize::from(*pick));
        if steps > 0 {
            take(&mut case, &Input::Start);
        }
        for _ in 1..steps {
            if case.state.status.is_terminal() {
                return Ok(());
            }
            let out: Vec<usize> = (0..blocks.len()).filter(|at| case.phase(&format!("c{at}")) == "running").collect();
            match out.get(next.next().unwrap_or_default() % out.len().max(1)) {
                Some(at) => one_step(&mut case, &format!("c{at}"), blocks[*at].fate),
                None => case.tick(seconds(7)),
            }
        }
        if case.state.status.is_terminal() {
            return Ok(());
        }
        let sent = case.sent.len();
        case.cancel();
        let out: Vec<usize> = (0..blocks.len()).filter(|at| case.phase(&format!("c{at}")) == "running").collect();
        for at in out {
            if next.next().unwrap_or_default() % 2 == 0 {
                one_step(&mut case, &format!("c{at}"), blocks[at].fate);
            }
        }
        case.sweep();
        case.tick(seconds(10));
        prop_assert_eq!(case.state.status, Status::Cancelled);
        prop_assert_eq!(case.sent.len(), sent);
        absorbs(&case);
    }

    #[test]
    fn every_turn_reads_back_from_both_codecs(blocks in graph(), room in 1_u32..6) {
        let Some(case) = accepted("", &blocks) else { return Ok(()) };
        let ended = run(case, &blocks, room, |_| 0);
        for turn in &ended.turns {
            let text = serde_json::to_string(turn).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&serde_json::from_str::<Turn>(&text).map_err(|error| TestCaseError::fail(error.to_string()))?, turn);
            let bytes = shared::wire::encode(turn).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(shared::wire::decode::<Turn>(&bytes).map_err(|error| TestCaseError::fail(error.to_string()))?, std::slice::from_ref(turn));
        }
    }
}
