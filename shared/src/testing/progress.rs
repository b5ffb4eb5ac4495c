//! The promises of [`crate::port::progress`].
//!
//! `progress_conformance!(make)` makes a test of each, where `make()` gives, in time, a `DynProgress`: a
//! display.

use std::time::Duration;

use futures::{StreamExt, stream::BoxStream};

use crate::{
    execution::Status,
    ids::{ExecutionId, TenantId},
    port::progress::{ComponentProgress, DynProgress, Update},
    time::Timestamp,
};

/// How long anything awaited may take.
const SOON: Duration = Duration::from_secs(20);

/// Makes a test of each promise: `progress_conformance!(make)`.
#[macro_export]
macro_rules! progress_conformance {
    ($make:expr) => {
        $crate::progress_conformance!(
            $make;
            a_watcher_sees_an_update_as_it_was_shown,
            a_watcher_sees_updates_in_order,
            a_watcher_sees_only_its_execution,
            every_watcher_sees_every_update,
            a_watcher_sees_nothing_from_before,
            showing_to_nobody_does_nothing,
            an_execution_can_be_watched_again,
            answers_a_check
        );
    };
    ($make:expr; $($promise:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                $crate::testing::progress::$promise($make().await).await;
            }
        )+
    };
}

/// An update of an execution.
pub fn update(execution: ExecutionId, seq: u32) -> Update {
    Update {
        tenant: TenantId::DEFAULT,
        execution,
        seq,
        at: Timestamp::from_micros(1_700_000_000_000_000 + i64::from(seq)),
        status: Status::Running,
        failing: false,
        settled: seq,
        total: 1000,
        components: vec![ComponentProgress {
            rounds: None,
            component: "fetch".into(),
            state: "retrying".into(),
            attempt: 2,
        }],
    }
}

async fn next(updates: &mut BoxStream<'static, Update>) -> Update {
    tokio::time::timeout(SOON, updates.next())
        .await
        .expect("an update comes soon")
        .expect("the display is not lost")
}

async fn watch(progress: &DynProgress, execution: ExecutionId) -> BoxStream<'static, Update> {
    progress.watch(execution).await.expect("the display can be watched")
}

pub async fn a_watcher_sees_an_update_as_it_was_shown(progress: DynProgress) {
    let execution = ExecutionId::generate();
    let mut updates = watch(&progress, execution).await;
    progress.show(vec![update(execution, 1)]);
    assert_eq!(next(&mut updates).await, update(execution, 1));
}

pub async fn a_watcher_sees_updates_in_order(progress: DynProgress) {
    let execution = ExecutionId::generate();
    let mut updates = watch(&progress, execution).await;
    for seq in 1..=50 {
        progress.show(vec![update(execution, 2 * seq), update(execution, 2 * seq + 1)]);
    }
    for seq in 2..=101 {
        assert_eq!(next(&mut updates).await.seq, seq);
    }
}

pub async fn a_watcher_sees_only_its_execution(progress: DynProgress) {
    let (mine, other) = (ExecutionId::generate(), ExecutionId::generate());
    let mut updates = watch(&progress, mine).await;
    let _other = watch(&progress, other).await;
    progress.show(vec![update(other, 1), update(mine, 2)]);
    assert_eq!(next(&mut updates).await, update(mine, 2));
}

pub async fn every_watcher_sees_every_update(progress: DynProgress) {
    let execution = ExecutionId::generate();
    let mut one = watch(&progress, execution).await;
    let mut two = watch(&progress, execution).await;
    progress.show(vec![update(execution, 1)]);
    assert_eq!(next(&mut one).await.seq, 1);
    assert_eq!(next(&mut two).await.seq, 1);
    drop(one);
    progress.show(vec![update(execution, 2)]);
    assert_eq!(next(&mut two).await.seq, 2);
}

pub async fn a_watcher_sees_nothing_from_before(progress: DynProgress) {
    let execution = ExecutionId::generate();
    // One that watches tells when the first has gone out.
    let mut early = watch(&progress, execution).await;
    progress.show(vec![update(execution, 1)]);
    assert_eq!(next(&mut early).await.seq, 1);
    let mut late = watch(&progress, execution).await;
    progress.show(vec![update(execution, 2)]);
    assert_eq!(next(&mut late).await.seq, 2);
}

pub async fn showing_to_nobody_does_nothing(progress: DynProgress) {
    progress.show((1..100).map(|seq| update(ExecutionId::generate(), seq)).collect());
    progress.show(Vec::new());
    answers_a_check(progress).await;
}

pub async fn an_execution_can_be_watched_again(progress: DynProgress) {
    let execution = ExecutionId::generate();
    for seq in 1..4 {
        let mut updates = watch(&progress, execution).await;
        progress.show(vec![update(execution, seq)]);
        assert_eq!(next(&mut updates).await.seq, seq);
        drop(updates);
        // Another one, so that the display looks at who is left.
        drop(watch(&progress, ExecutionId::generate()).await);
    }
}

pub async fn answers_a_check(progress: DynProgress) {
    progress.check().await.expect("the display answers");
}
