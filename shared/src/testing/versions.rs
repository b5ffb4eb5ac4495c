//! What every store promises of versions and drafts.

use super::store::{TENANT, draft, other_tenant, workflow};
use crate::{
    ids::{TenantId, WorkflowId},
    port::{
        store::{DynStore, Page, Saved, WorkflowDraft, WorkflowRow},
        versions::{DraftChange, DraftKept, DraftRow, VersionRow},
    },
    time::Timestamp,
};

/// Turns every promise into a test, as [`super::store::conformance`] does.
#[macro_export]
macro_rules! versions_conformance {
    ($make:path) => {
        $crate::promises!(versions, $make:
            every_saved_hash_is_a_version_that_stays
            versions_come_by_pages_newest_first
            a_draft_is_begun_on_the_newest_version
            a_draft_counts_its_changes
            refuses_a_stale_draft
            refuses_a_draft_of_an_archived_or_unknown_workflow
            a_published_draft_goes_with_it
            a_draft_changed_meanwhile_stays_and_follows
            a_draft_can_be_thrown_away
            no_tenant_sees_anothers_versions_or_drafts
        );
    };
}
pub use versions_conformance as conformance;

async fn saved(store: &DynStore, row: &WorkflowRow, text: &str, publishes: Option<u32>) -> WorkflowRow {
    let change = WorkflowDraft {
        id: row.id,
        hash: format!("hash of {text}"),
        document: text.to_owned(),
        publishes,
        ..draft(row.tenant, &row.name)
    };
    match store.workflow_update(change, None).await.expect("saved") {
        Saved::Updated(row) => row,
        other => panic!("{other:?}"),
    }
}

fn change(workflow: WorkflowId, text: &str) -> DraftChange {
    DraftChange {
        workflow,
        tenant: TENANT,
        document: text.to_owned(),
        base: None,
        expected: None,
        principal: "someone".to_owned(),
        at: Timestamp::from_micros(1_700_000_000_000_009),
    }
}

async fn put(store: &DynStore, change: DraftChange) -> DraftRow {
    match store.draft_put(change).await.expect("kept") {
        DraftKept::Kept(row) => row,
        other => panic!("{other:?}"),
    }
}

async fn listed(store: &DynStore, tenant: TenantId, id: WorkflowId, page: Page) -> Vec<VersionRow> {
    store.version_list(tenant, id, page).await.expect("listed").items
}

pub async fn every_saved_hash_is_a_version_that_stays(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    saved(&store, &row, "second", None).await;
    saved(&store, &row, "second", None).await;
    let first = store.version_get(TENANT, row.id, 1).await.expect("read").expect("there");
    assert_eq!((first.workflow, first.version, first.hash.as_str()), (row.id, 1, row.hash.as_str()));
    assert_eq!((first.document, first.created_by), (row.document, row.created_by));
    let second = store.version_get(TENANT, row.id, 2).await.expect("read").expect("there");
    assert_eq!((second.hash.as_str(), second.document.as_str()), ("hash of second", "second"));
    assert_eq!(store.version_get(TENANT, row.id, 3).await.expect("read"), None);
}

pub async fn versions_come_by_pages_newest_first(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    for text in ["2", "3", "4", "5"] {
        saved(&store, &row, text, None).await;
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = Page { after: after.clone(), limit: 2 };
        let page = store.version_list(TENANT, row.id, page).await.expect("listed");
        found.extend(page.items.into_iter().map(|row| row.version));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, [5, 4, 3, 2, 1]);
}

pub async fn a_draft_is_begun_on_the_newest_version(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    saved(&store, &row, "second", None).await;
    let kept = put(&store, change(row.id, "half done")).await;
    assert_eq!((kept.revision, kept.base, kept.document.as_str()), (1, 2, "half done"));
    assert_eq!(store.draft_get(TENANT, row.id).await.expect("read"), Some(kept));
}

pub async fn a_draft_counts_its_changes(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    put(&store, change(row.id, "one")).await;
    saved(&store, &row, "published by another", None).await;
    let second = put(&store, DraftChange { expected: Some(1), ..change(row.id, "two") }).await;
    assert_eq!((second.revision, second.base), (2, 1), "it stays on the version it was begun on");
    let third = put(&store, DraftChange { base: Some(2), ..change(row.id, "three") }).await;
    assert_eq!((third.revision, third.base, third.document.as_str()), (3, 2, "three"));
}

pub async fn refuses_a_stale_draft(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    let early = DraftChange { expected: Some(1), ..change(row.id, "none yet") };
    assert_eq!(store.draft_put(early).await.expect("answered"), DraftKept::Stale(0));
    let first = DraftChange { expected: Some(0), ..change(row.id, "one") };
    put(&store, first.clone()).await;
    assert_eq!(store.draft_put(first).await.expect("answered"), DraftKept::Stale(1));
    let kept = store.draft_get(TENANT, row.id).await.expect("read").expect("there");
    assert_eq!((kept.revision, kept.document.as_str()), (1, "one"));
}

pub async fn refuses_a_draft_of_an_archived_or_unknown_workflow(store: DynStore) {
    let unknown = store.draft_put(change(WorkflowId::generate(), "x")).await.expect("answered");
    assert_eq!(unknown, DraftKept::Missing);
    let row = workflow(&store, TENANT, "w").await;
    store.workflow_delete(TENANT, row.id).await.expect("archived");
    assert_eq!(store.draft_put(change(row.id, "x")).await.expect("answered"), DraftKept::Missing);
}

pub async fn a_published_draft_goes_with_it(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    let kept = put(&store, change(row.id, "new")).await;
    let row = saved(&store, &row, "new", Some(kept.revision)).await;
    assert_eq!(row.version, 2);
    assert_eq!(store.draft_get(TENANT, row.id).await.expect("read"), None);
}

pub async fn a_draft_changed_meanwhile_stays_and_follows(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    let kept = put(&store, change(row.id, "new")).await;
    put(&store, change(row.id, "newer")).await;
    saved(&store, &row, "new", Some(kept.revision)).await;
    let left = store.draft_get(TENANT, row.id).await.expect("read").expect("there");
    assert_eq!((left.revision, left.base, left.document.as_str()), (2, 2, "newer"));
}

pub async fn a_draft_can_be_thrown_away(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    put(&store, change(row.id, "x")).await;
    assert!(store.draft_drop(TENANT, row.id).await.expect("done"));
    assert!(!store.draft_drop(TENANT, row.id).await.expect("done"));
    assert_eq!(store.draft_get(TENANT, row.id).await.expect("read"), None);
}

pub async fn no_tenant_sees_anothers_versions_or_drafts(store: DynStore) {
    let row = workflow(&store, TENANT, "w").await;
    put(&store, change(row.id, "x")).await;
    let other = other_tenant();
    assert_eq!(listed(&store, other, row.id, Page { after: None, limit: 10 }).await, []);
    assert_eq!(store.version_get(other, row.id, 1).await.expect("read"), None);
    assert_eq!(store.draft_get(other, row.id).await.expect("read"), None);
    assert!(!store.draft_drop(other, row.id).await.expect("done"));
    let theirs = DraftChange { tenant: other, ..change(row.id, "theirs") };
    assert_eq!(store.draft_put(theirs).await.expect("answered"), DraftKept::Missing);
    let kept = store.draft_get(TENANT, row.id).await.expect("read").expect("there");
    assert_eq!(kept.document, "x");
}
