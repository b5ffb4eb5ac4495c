//! The desk around the engine: the window over executions, and values too large for the journal.

use shared::wire::{InboxBody, InboxMessage};
use shared::{ids::Shard, port::store::Kept};

use super::*;
use crate::{
    desk::{Desk, Outgoing, gather},
    engine::Limits,
};

/// A desk that keeps every turn, and one batch after the other.
struct Office {
    desk: Desk,
    workflow: Arc<Workflow>,
    now: Timestamp,
    messages: u128,
    payloads: u128,
    sent: Vec<Task>,
    turns: HashMap<ExecutionId, Vec<Turn>>,
    /// When the sweep is to look, as it was said last, and how often that was said.
    looks: Option<Timestamp>,
    said: usize,
}

impl Office {
    fn open(components: &str, window: u32) -> Self {
        Self::with(components, window, &[])
    }

    /// With weights of tenants.
    fn with(components: &str, window: u32, weights: &[(u128, u32)]) -> Self {
        let workflow = match read("", components) {
            Ok(workflow) => workflow,
            Err(problems) => panic!("{problems}"),
        };
        let weights = weights.iter().map(|(tenant, weight)| (tenant_of(*tenant), *weight));
        let rules = Rules { tenant_weights: weights.collect(), ..Rules::default() };
        let mut desk = Desk::new(rules, window, None);
        desk.learn(Arc::clone(&workflow));
        Self {
            desk,
            workflow,
            now: start_of_time(),
            messages: 0,
            payloads: 0,
            sent: Vec::new(),
            turns: HashMap::new(),
            looks: None,
            said: 0,
        }
    }

    /// Accepts an execution of a tenant and brings it to the desk.
    fn accept(&mut self, number: u128, tenant: u128) -> ExecutionId {
        let mut first = first_turn(&self.workflow, json!({}), |accepted| {
            accepted.tenant = tenant_of(tenant);
        });
        first.execution = ExecutionId::from_uuid(uuid::Uuid::from_u128(0x4000 + number));
        assert!(self.desk.adopt(std::slice::from_ref(&first)).is_ok());
        self.turns.insert(first.execution, vec![first.clone()]);
        first.execution
    }

    fn message(&mut self, execution: ExecutionId, body: InboxBody) -> InboxMessage {
        self.messages += 1;
        let id = MessageId::from_uuid(uuid::Uuid::from_u128(0x5000 + self.messages));
        InboxMessage { id, shard: Shard::of(execution), body }
    }

    /// Decides bodies about one execution as one batch.
    fn batch(&mut self, execution: ExecutionId, bodies: Vec<InboxBody>) {
        let messages = bodies.into_iter().map(|body| (self.message(execution, body), false)).collect();
        let (works, _) = gather(messages);
        for work in &works {
            self.decide(work);
        }
        self.feed();
    }

    fn decide(&mut self, work: &crate::desk::Work) {
        let mut number = self.payloads;
        let mut new_payload = || {
            number += 1;
            PayloadId::from_uuid(uuid::Uuid::from_u128(0x6000 + number))
        };
        let decided = match self.desk.decide(work, self.now, false, &HashMap::new(), None, &mut new_payload) {
            Ok(Some(decided)) => decided,
            Ok(None) => panic!("the state is fresh"),
            Err(needs) => panic!("{needs:?}"),
        };
        self.payloads = number;
        for planned in &decided.planned {
            let Some(commit) = &planned.commit else { panic!("nothing was taken out") };
            if let Some(turns) = self.turns.get_mut(&work.execution) {
                turns.push(commit.turn.clone());
            }
        }
        let commits = decided.planned.iter().filter_map(|planned| planned.commit.as_ref()?.sweep_at);
        for at in commits.chain(decided.sweep_again.iter().map(|(_, at)| *at)) {
            self.looks = Some(at);
            self.said += 1;
        }
        let kept = vec![Kept::Committed; decided.planned.len()];
        let mut outgoing = Outgoing::default();
        self.desk.settle(decided, &kept, &mut outgoing);
        self.sent.extend(outgoing.tasks);
        let Some(state) = self.desk.execution(work.execution) else { panic!("it is in memory") };
        let replayed = Execution::replay(Arc::clone(&self.workflow), &self.turns[&work.execution]);
        assert_eq!(replayed.as_ref(), Ok(state));
    }

    /// What the inbox does after each batch: room goes to those that were held back.
    fn feed(&mut self) {
        loop {
            let before = self.desk.held_back();
            let fed = self.desk.feed();
            if fed.is_empty() {
                break;
            }
            for work in &Desk::wakes(fed, MessageId::generate) {
                self.decide(work);
            }
            if self.desk.held_back() == before {
                break;
            }
        }
    }

    fn outstanding_of(&self, execution: ExecutionId) -> u32 {
        self.desk.execution(execution).map_or(0, |state| state.dispatched.len() as u32)
    }

    fn finish(&mut self, task: &Task, output: Value) -> InboxBody {
        self.report(task, completed(output, &[]))
    }

    fn report(&mut self, task: &Task, ending: Ending) -> InboxBody {
        InboxBody::Results {
            results: vec![TaskResult {
                execution: task.execution,
                component: task.component.clone(),
                iteration: Default::default(),
                attempt: task.attempt,
                dispatch: task.dispatch,
                worker: worker(1),
                token: None,
                started_at: self.now,
                finished_at: self.now,
                ending,
                log: Vec::new(),
                follows: None,
            }],
        }
    }
}

fn tenant_of(number: u128) -> TenantId {
    TenantId::from_uuid(uuid::Uuid::from_u128(number))
}

fn wide(count: usize) -> String {
    (0..count).map(|at| format!("t{at}: {{ type: work }}\n")).collect()
}

fn start(office: &mut Office, execution: ExecutionId) {
    office.batch(execution, vec![InboxBody::Wake { execution }]);
}

#[test]
fn the_window_is_never_overrun() {
    let mut office = Office::open(&wide(40), 10);
    let execution = office.accept(1, 1);
    start(&mut office, execution);
    assert_eq!(office.sent.len(), 10);
    for at in 0..40 {
        assert!(office.desk.outstanding() <= 10, "{} at once", office.desk.outstanding());
        let task = office.sent[at].clone();
        let body = office.finish(&task, Value::Null);
        office.batch(execution, vec![body]);
        assert_eq!(office.sent.len(), (at + 11).min(40), "the freed place was not given away");
    }
    assert_eq!(office.desk.outstanding(), 0);
}

#[test]
fn several_messages_of_one_batch_share_the_window() {
    let mut office = Office::open(&wide(40), 10);
    let execution = office.accept(1, 1);
    start(&mut office, execution);
    let bodies: Vec<InboxBody> = (0..5)
        .map(|at| {
            let task = office.sent[at].clone();
            office.finish(&task, Value::Null)
        })
        .collect();
    office.batch(execution, bodies);
    assert_eq!(office.desk.outstanding(), 10);
    assert_eq!(office.sent.len(), 15);
}

#[test]
fn the_window_is_shared_between_executions_and_tenants() {
    let mut office = Office::open(&wide(40), 10);
    let (greedy, second, other) = (office.accept(1, 1), office.accept(2, 1), office.accept(3, 2));
    for execution in [greedy, second, other] {
        start(&mut office, execution);
    }
    assert_eq!(office.outstanding_of(greedy), 10, "it came first and was alone");
    // As places become free, the others get theirs.
    for at in 0..10 {
        let task = office.sent[at].clone();
        let body = office.finish(&task, Value::Null);
        office.batch(greedy, vec![body]);
        assert!(office.desk.outstanding() <= 10);
    }
    let shares = [greedy, second, other].map(|execution| office.outstanding_of(execution));
    assert_eq!(shares.iter().sum::<u32>(), 10);
    assert!(shares.iter().all(|share| *share >= 2), "{shares:?}");
}

#[test]
fn a_tenant_with_one_execution_has_the_share_of_its_weight() {
    let mut office = Office::with(&wide(150), 8, &[(1, 3)]);
    // The one with three executions is not three.
    let many: Vec<ExecutionId> = (0..3).map(|number| office.accept(number, 1)).collect();
    let single = office.accept(9, 2);
    for execution in many.iter().chain([&single]) {
        start(&mut office, *execution);
    }
    for at in 0..100 {
        let task = office.sent[at].clone();
        let body = office.finish(&task, Value::Null);
        office.batch(task.execution, vec![body]);
        assert_eq!(office.desk.outstanding(), 8, "the freed place was not given away");
    }
    let of_single = |sent: &[Task]| sent.iter().filter(|task| task.execution == single).count();
    let given = of_single(&office.sent[8..108]);
    assert!((24..=26).contains(&given), "{given}");
    for execution in many {
        assert!(office.outstanding_of(execution) >= 1, "within a tenant all get some");
    }
}

#[test]
fn who_comes_new_does_not_pass_those_of_another_tenant() {
    let mut office = Office::open(&wide(40), 4);
    let waiting = office.accept(0, 1);
    let first = office.accept(1, 2);
    for execution in [first, waiting] {
        start(&mut office, execution);
    }
    assert_eq!((office.outstanding_of(first), office.outstanding_of(waiting)), (4, 0));
    for at in 0..20 {
        let task = office.sent[at].clone();
        let (body, new) = (office.finish(&task, Value::Null), office.accept(2 + at as u128, 2));
        let wake = (office.message(new, InboxBody::Wake { execution: new }), false);
        let result = (office.message(task.execution, body), false);
        let (works, _) = gather(vec![result, wake]);
        for work in &works {
            office.decide(work);
        }
        office.feed();
        assert_eq!(office.desk.outstanding(), 4);
    }
    let of_it = office.sent[4..24].iter().filter(|task| task.execution == waiting).count();
    assert!((9..=11).contains(&of_it), "{of_it}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(24))]

    /// What each tenant is given of the window is in proportion to its weight, but for a place of each, while it waits.
    #[test]
    fn the_window_is_dealt_in_proportion(
        (one, two, three) in (1u32..=8, 1u32..=8, 1u32..=8),
        window in 1u32..=9,
        together in 1usize..=4,
    ) {
        let weights = [one, two, three];
        let mut office = Office::with(&wide(90), window, &[(1, one), (2, two), (3, three)]);
        let executions: Vec<ExecutionId> = (1..=3).map(|number| office.accept(number, number)).collect();
        for execution in &executions {
            start(&mut office, *execution);
        }
        let mut done = 0;
        let mut counted = None;
        while office.sent.len() < 80 {
            for _ in 0..together.min(window as usize) {
                let task = office.sent[done].clone();
                let body = office.finish(&task, Value::Null);
                office.batch(task.execution, vec![body]);
                done += 1;
            }
            proptest::prop_assert_eq!(office.desk.outstanding(), u64::from(window));
            // The first had the window for itself.
            let begin = *counted.get_or_insert(office.sent.len());
            let given = |index: usize| {
                let of_it = |task: &&Task| task.execution == executions[index];
                office.sent[begin..].iter().filter(of_it).count() as f64 / f64::from(weights[index])
            };
            for other in 1..3 {
                let most = 1.0 / f64::from(weights[0]) + 1.0 / f64::from(weights[other]) + 0.001;
                let apart = (given(0) - given(other)).abs();
                proptest::prop_assert!(apart <= most, "{apart} of {most} after {done}");
            }
        }
    }
}

#[test]
fn a_value_that_became_too_large_is_at_hand_for_the_rest_of_its_batch() {
    let mut office = Office::open(
        "a: { type: work }
         b: { type: work }
         z: { type: work }
         both: { type: join, needs: [a, b] }
         use: { type: set_variables, needs: [both, z], config: { values: { n: '${{ components.both.output.a | length }}' } } }
         after: { type: work, needs: [use] }",
        100,
    );
    let execution = office.accept(1, 1);
    start(&mut office, execution);
    let large = json!("x".repeat(40_000));
    let tasks = office.sent.clone();
    let bodies = tasks.iter().map(|task| office.finish(task, large.clone())).collect();
    office.batch(execution, bodies);
    let Some(state) = office.desk.execution(execution) else { panic!("it is in memory") };
    let output = |id: &str| {
        office.workflow.index_of(id).and_then(|index| state.root().components[index].output.clone())
    };
    assert!(matches!(output("both"), Some(Payload::Stored(_))), "two values of 40 kB are too large together");
    assert_eq!(output("use"), Some(Payload::Inline(json!({ "n": 40_000 }))));
    assert_eq!(office.sent.len(), 4);
}

#[test]
fn a_value_that_was_laid_aside_is_at_hand_for_the_rest_of_its_batch() {
    let mut office = Office::open(
        "l: { type: loop, config: { items: [one, two, three], max_parallel: 1 }, components: { a: { type: work } } }
         go: { type: work }",
        100,
    );
    office.desk =
        Desk::new(Rules { limits: Limits { inline: 8, ..Limits::default() }, ..Rules::default() }, 100, None);
    office.desk.learn(Arc::clone(&office.workflow));
    let execution = office.accept(1, 1);
    // The list of the first loop is laid aside by the first message, and read by the second.
    let first = TaskResult {
        execution,
        component: "a".into(),
        iteration: shared::execution::Iteration(vec![0]),
        attempt: 1,
        dispatch: 1,
        worker: worker(1),
        token: None,
        started_at: office.now,
        finished_at: office.now,
        ending: completed(json!(1), &[]),
        log: Vec::new(),
        follows: None,
    };
    office.batch(execution, vec![InboxBody::Wake { execution }, InboxBody::Results { results: vec![first] }]);
    let sent: Vec<String> = office.sent.iter().map(|task| task.key().to_string()).collect();
    assert_eq!(sent, ["go", "a[0]", "a[1]"]);
}

#[test]
fn tasks_may_share_a_message_once_their_type_is_known_to_be_short() {
    let mut office =
        Office::open("a: { type: pure }\nb: { type: pure, needs: [a] }\nc: { type: work, needs: [b] }", 10);
    let execution = office.accept(1, 1);
    start(&mut office, execution);
    let first = office.sent[0].clone();
    assert!(!first.may_share, "nothing is known yet");
    let body = office.finish(&first, Value::Null);
    office.batch(execution, vec![body]);
    let second = office.sent[1].clone();
    assert!(second.may_share, "the first took no time");
    let body = office.report(&second, Ending::Lost { reason: "its worker died".to_owned() });
    office.batch(execution, vec![body]);
    let again = office.sent[2].clone();
    assert!(again.component == second.component && !again.may_share, "it may be what the worker died of");
    let body = office.finish(&again, Value::Null);
    office.batch(execution, vec![body]);
    assert!(!office.sent[3].may_share, "it has an effect");
}

#[test]
fn what_is_sent_when_the_sweep_is_far_off_is_looked_for_in_time() {
    let mut office = Office::open(
        "d: { type: delay, config: { for: 1h } }\na: { type: work, needs: [d] }\nb: { type: work, needs: [a] }",
        10,
    );
    let execution = office.accept(1, 1);
    start(&mut office, execution);
    assert_eq!(office.looks, Some(office.now.after(seconds(60))));
    office.now = office.now.after(seconds(3_600));
    office.batch(execution, vec![InboxBody::Sweep { execution }]);
    assert_eq!(office.looks, Some(office.now.after(seconds(1_800))), "nothing is under way");
    let key = TimerKey::Delay(TaskKey::of("d".into()));
    office.batch(execution, vec![InboxBody::Timer { execution, key }]);
    assert_eq!(office.looks, Some(office.now.after(seconds(60))), "the task may be lost");
    // What follows soon is looked for with it: nothing is written.
    let said = office.said;
    let body = office.finish(&office.sent[0].clone(), Value::Null);
    office.batch(execution, vec![body]);
    assert_eq!((office.sent.len(), office.said), (2, said));
}

#[test]
fn a_lost_task_does_not_say_that_its_type_is_short() {
    let mut office = Office::open("a: { type: pure }", 10);
    let execution = office.accept(1, 1);
    start(&mut office, execution);
    let first = office.sent[0].clone();
    let body = office.report(&first, Ending::Lost { reason: "its worker died".to_owned() });
    office.batch(execution, vec![body]);
    let other = office.accept(2, 1);
    start(&mut office, other);
    let sent = office.sent.last().expect("a task").clone();
    assert!(sent.execution == other && !sent.may_share, "nothing is known yet");
}
