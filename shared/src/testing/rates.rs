//! The promises of [`crate::port::rates`].

use std::time::Duration;

use super::store::{TENANT, accepted, another, execution, keep, other_tenant, start, to, turn, workflow};
use crate::{
    execution::{Status, TaskKey},
    ids::{ExecutionId, TenantId},
    port::{
        rates::{Permit, PermitAsk, Rate},
        store::{DynStore, WaitChange},
    },
    time::Timestamp,
};

/// Turns every promise into a test, as [`super::store::conformance`] does.
#[macro_export]
macro_rules! rates_conformance {
    ($make:path) => {
        $crate::promises!(rates, $make:
            permits_follow_one_another
            a_task_that_asks_again_has_its_permit
            a_permit_is_forgotten_with_its_wait
            nobody_is_let_through_after_its_end
            keys_are_of_their_tenant
            permits_that_are_asked_for_at_once_are_given_one_by_one
        );
    };
}
pub use crate::rates_conformance as conformance;

const EVERY_TEN: Rate = Rate { limit: 1, per: Duration::from_secs(10), burst: 1 };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000).after(Duration::from_secs(seconds))
}

fn ask(execution: ExecutionId, task: &str, until: Option<Timestamp>) -> PermitAsk {
    PermitAsk { execution, task: TaskKey::of(task.into()), key: "crm".to_owned(), rate: EVERY_TEN, until }
}

async fn permit(store: &DynStore, tenant: TenantId, ask: PermitAsk) -> Permit {
    store.permit(tenant, ask, at(0)).await.expect("an answer")
}

pub async fn permits_follow_one_another(store: DynStore) {
    let (_, id) = execution(&store).await;
    for (task, expected) in [("a", 0), ("b", 10), ("c", 20)] {
        let given = permit(&store, TENANT, ask(id, task, Some(at(20)))).await;
        assert_eq!(given, Permit { at: at(expected), refused: false, held_to: None });
    }
    // Neither of them takes one.
    for until in [Some(at(29)), None] {
        let refused = permit(&store, TENANT, ask(id, "d", until)).await;
        assert_eq!(refused, Permit { at: at(30), refused: true, held_to: None });
    }
    assert_eq!(permit(&store, TENANT, ask(id, "d", Some(at(30)))).await.at, at(30));
    let more = Rate { limit: 5, ..EVERY_TEN };
    let held = permit(&store, TENANT, PermitAsk { rate: more, ..ask(id, "e", Some(at(60))) }).await;
    assert_eq!(held, Permit { at: at(40), refused: false, held_to: Some(EVERY_TEN) });
}

pub async fn a_task_that_asks_again_has_its_permit(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let other = another(&store, &workflow).await;
    permit(&store, TENANT, ask(id, "a", None)).await;
    let first = permit(&store, TENANT, ask(other, "a", Some(at(60)))).await;
    for _ in 0..3 {
        let again = store.permit(TENANT, ask(other, "a", Some(at(60))), at(7)).await.expect("an answer");
        assert_eq!((again.at, again.refused), (first.at, false));
    }
    assert_eq!(permit(&store, TENANT, ask(other, "b", Some(at(60)))).await.at, at(20));
}

pub async fn a_permit_is_forgotten_with_its_wait(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    assert_eq!(permit(&store, TENANT, ask(id, "a", Some(at(60)))).await.at, at(0));
    let mut goes_on = turn(&workflow, id, 2);
    goes_on.waits = vec![WaitChange::Close { task: TaskKey::of("a".into()) }];
    keep(&store, goes_on).await;
    assert_eq!(permit(&store, TENANT, ask(id, "a", Some(at(60)))).await.at, at(10));
}

pub async fn nobody_is_let_through_after_its_end(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let other = another(&store, &workflow).await;
    assert_eq!(permit(&store, TENANT, ask(id, "a", Some(at(60)))).await.at, at(0));
    keep(&store, to(turn(&workflow, id, 2), Status::Cancelled)).await;
    for task in ["a", "b"] {
        assert_eq!(permit(&store, TENANT, ask(id, task, Some(at(60)))).await, Permit::unwanted(at(0)));
    }
    assert_eq!(permit(&store, TENANT, ask(other, "a", Some(at(60)))).await.at, at(10));
}

pub async fn keys_are_of_their_tenant(store: DynStore) {
    let (_, id) = execution(&store).await;
    let other = workflow(&store, other_tenant(), "theirs").await;
    let theirs = start(&store, accepted(&other)).await;
    assert_eq!(permit(&store, TENANT, ask(id, "a", None)).await.at, at(0));
    assert_eq!(permit(&store, other_tenant(), ask(theirs, "a", None)).await.at, at(0));
}

pub async fn permits_that_are_asked_for_at_once_are_given_one_by_one(store: DynStore) {
    let (_, id) = execution(&store).await;
    let asks = (0..12).map(|number| permit(&store, TENANT, ask(id, &format!("t{number}"), Some(at(600)))));
    let mut given: Vec<Timestamp> =
        futures::future::join_all(asks).await.into_iter().map(|permit| permit.at).collect();
    given.sort();
    let expected: Vec<Timestamp> = (0..12).map(|number| at(number * 10)).collect();
    assert_eq!(given, expected);
}
