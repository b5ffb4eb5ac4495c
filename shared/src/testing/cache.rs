//! The promises of [`crate::port::cache`].

use std::time::Duration;

use super::store::{TENANT, accepted, execution, keep, other_tenant, start, turn, workflow};
use crate::{
    ids::{ComponentId, ExecutionId, TenantId, WorkflowId},
    port::{
        cache::{CacheEntry, CacheKey, CachedResult},
        store::{Commit, DynStore, Kept},
    },
    time::Timestamp,
};

/// Turns every promise into a test, as [`super::store::conformance`] does.
#[macro_export]
macro_rules! cache_conformance {
    ($make:path) => {
        $crate::promises!(cache, $make:
            results_are_kept_with_their_turn
            a_turn_that_is_not_kept_keeps_no_result
            the_last_result_of_a_key_replaces_the_others
            results_are_of_their_tenant_and_workflow
            results_are_removed_by_component_or_all
            what_has_expired_is_removed_some_time
        );
    };
}
pub use crate::cache_conformance as conformance;

fn key(component: &str, hash: &str) -> CacheKey {
    CacheKey { component: component.into(), hash: hash.to_owned() }
}

fn result(execution: ExecutionId, output: &str, expires_at: Timestamp) -> CachedResult {
    let at = Timestamp::from_micros(1_700_000_000_000_000);
    CachedResult {
        output: output.as_bytes().to_vec(),
        ports: vec!["found".to_owned()],
        execution,
        at,
        expires_at,
    }
}

async fn tomorrow(store: &DynStore) -> Timestamp {
    store.now().await.expect("the present").after(Duration::from_hours(24))
}

fn keeping(mut commit: Commit, entries: Vec<(CacheKey, CachedResult)>) -> Commit {
    commit.cache = entries.into_iter().map(|(key, result)| CacheEntry { key, result }).collect();
    commit
}

async fn find(
    store: &DynStore,
    tenant: TenantId,
    workflow: WorkflowId,
    keys: &[CacheKey],
) -> Vec<Option<CachedResult>> {
    store.cache_find(tenant, workflow, keys).await.expect("an answer")
}

async fn clear(store: &DynStore, tenant: TenantId, workflow: WorkflowId, component: Option<&str>) -> u64 {
    let component = component.map(ComponentId::from);
    store.cache_clear(tenant, workflow, component.as_ref()).await.expect("cleared")
}

pub async fn results_are_kept_with_their_turn(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let until = tomorrow(&store).await;
    assert!(find(&store, TENANT, workflow.id, &[]).await.is_empty());
    let (one, two) = (result(id, "{\"n\":1}", until), result(id, "2", until));
    let entries = vec![(key("a", "1"), one.clone()), (key("a", "2"), two.clone())];
    keep(&store, keeping(turn(&workflow, id, 2), entries)).await;
    let keys = [key("a", "2"), key("b", "1"), key("a", "1"), key("a", "2")];
    let found = find(&store, TENANT, workflow.id, &keys).await;
    assert_eq!(found, [Some(two.clone()), None, Some(one), Some(two)]);
}

pub async fn a_turn_that_is_not_kept_keeps_no_result(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let until = tomorrow(&store).await;
    keep(&store, turn(&workflow, id, 2)).await;
    let late = keeping(turn(&workflow, id, 2), vec![(key("a", "1"), result(id, "1", until))]);
    assert_eq!(store.commit(vec![late]).await.expect("an answer"), [Kept::Superseded]);
    assert_eq!(find(&store, TENANT, workflow.id, &[key("a", "1")]).await, [None]);
}

pub async fn the_last_result_of_a_key_replaces_the_others(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let until = tomorrow(&store).await;
    let of = |seq: u32, output: &str| {
        keeping(turn(&workflow, id, seq), vec![(key("a", "1"), result(id, output, until))])
    };
    let kept = store.commit(vec![of(2, "1"), of(3, "2")]).await.expect("an answer");
    assert_eq!(kept, [Kept::Committed, Kept::Committed]);
    assert_eq!(find(&store, TENANT, workflow.id, &[key("a", "1")]).await, [Some(result(id, "2", until))]);
    let again = CachedResult { ports: Vec::new(), ..result(id, "3", until.after(Duration::from_secs(1))) };
    keep(&store, keeping(turn(&workflow, id, 4), vec![(key("a", "1"), again.clone())])).await;
    assert_eq!(find(&store, TENANT, workflow.id, &[key("a", "1")]).await, [Some(again)]);
}

pub async fn results_are_of_their_tenant_and_workflow(store: DynStore) {
    let (ours, id) = execution(&store).await;
    let until = tomorrow(&store).await;
    let other = workflow(&store, TENANT, "other").await;
    let theirs = workflow(&store, other_tenant(), "theirs").await;
    let foreign = start(&store, accepted(&theirs)).await;
    keep(&store, keeping(turn(&ours, id, 2), vec![(key("a", "1"), result(id, "1", until))])).await;
    keep(&store, keeping(turn(&theirs, foreign, 2), vec![(key("a", "1"), result(foreign, "2", until))]))
        .await;
    let keys = [key("a", "1")];
    for (tenant, workflow) in [(TENANT, other.id), (TENANT, theirs.id), (other_tenant(), ours.id)] {
        assert_eq!(find(&store, tenant, workflow, &keys).await, [None]);
        assert_eq!(clear(&store, tenant, workflow, None).await, 0);
    }
    assert_eq!(find(&store, TENANT, ours.id, &keys).await, [Some(result(id, "1", until))]);
    assert_eq!(find(&store, other_tenant(), theirs.id, &keys).await, [Some(result(foreign, "2", until))]);
}

pub async fn results_are_removed_by_component_or_all(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let until = tomorrow(&store).await;
    let keys = [key("a", "1"), key("a", "2"), key("b", "1"), key("c", "1")];
    let entries = keys.iter().map(|key| (key.clone(), result(id, "1", until))).collect();
    keep(&store, keeping(turn(&workflow, id, 2), entries)).await;
    assert_eq!(clear(&store, TENANT, workflow.id, Some("a")).await, 2);
    let left: Vec<bool> =
        find(&store, TENANT, workflow.id, &keys).await.iter().map(Option::is_some).collect();
    assert_eq!(left, [false, false, true, true]);
    assert_eq!(clear(&store, TENANT, workflow.id, Some("a")).await, 0);
    assert_eq!(clear(&store, TENANT, workflow.id, None).await, 2);
    assert_eq!(clear(&store, TENANT, workflow.id, None).await, 0);
}

pub async fn what_has_expired_is_removed_some_time(store: DynStore) {
    let (workflow, id) = execution(&store).await;
    let until = tomorrow(&store).await;
    let past = Timestamp::from_micros(1_700_000_000_000_001);
    let keys = [key("a", "1"), key("a", "2")];
    let entries = vec![(keys[0].clone(), result(id, "1", past)), (keys[1].clone(), result(id, "2", until))];
    keep(&store, keeping(turn(&workflow, id, 2), entries)).await;
    // Who decides looks at the instant itself.
    assert!(find(&store, TENANT, workflow.id, &keys).await.iter().all(Option::is_some));
    store.maintain().await.expect("maintained");
    assert_eq!(find(&store, TENANT, workflow.id, &keys).await, [None, Some(result(id, "2", until))]);
}
