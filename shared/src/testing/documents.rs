//! The promises of [`crate::port::documents`].

use super::store::{TENANT, other_tenant, workflow};
use crate::{
    ids::{TenantId, WorkflowId},
    port::{
        documents::{DocumentPart, DocumentUpdate},
        store::DynStore,
    },
    time::Timestamp,
};

/// Turns every promise into a test, as [`super::store::conformance`] does.
#[macro_export]
macro_rules! documents_conformance {
    ($make:path) => {
        $crate::promises!(documents, $make:
            the_first_beginning_of_a_document_is_its_beginning
            only_an_active_workflow_has_a_document
            updates_come_back_in_their_order
            a_reader_gets_what_it_does_not_know
            numbers_have_no_gaps_whoever_appends
            a_snapshot_takes_the_place_of_what_it_holds
            a_snapshot_does_not_go_back
            a_document_goes_with_its_workflow
            no_tenant_sees_anothers_document
        );
    };
}
pub use crate::documents_conformance as conformance;

const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

async fn begun(store: &DynStore) -> WorkflowId {
    let row = workflow(store, TENANT, "w").await;
    assert_eq!(begin(store, TENANT, row.id, 7).await, Some(7));
    row.id
}

async fn begin(store: &DynStore, tenant: TenantId, id: WorkflowId, line: u32) -> Option<u32> {
    store.document_begin(tenant, id, line, AT).await.expect("answered")
}

fn updates(bodies: &[&str]) -> Vec<DocumentUpdate> {
    let update =
        |body: &&str| DocumentUpdate { author: "someone".to_owned(), body: body.as_bytes().to_vec() };
    bodies.iter().map(update).collect()
}

async fn append(store: &DynStore, id: WorkflowId, bodies: &[&str]) -> Option<u64> {
    store.document_append(TENANT, id, updates(bodies), AT).await.expect("answered")
}

async fn squash(store: &DynStore, id: WorkflowId, up_to: u64, snapshot: &str) -> bool {
    store.document_squash(TENANT, id, up_to, snapshot.as_bytes().to_vec()).await.expect("answered")
}

async fn find(store: &DynStore, id: WorkflowId, after: u64) -> Option<DocumentPart> {
    store.document_read(TENANT, id, after).await.expect("answered")
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with what `find` gives")]
fn part(last: u64, snapshot: Option<&str>, updates: &[&str]) -> Option<DocumentPart> {
    Some(DocumentPart {
        line: 7,
        last,
        snapshot: snapshot.map(|body| body.as_bytes().to_vec()),
        updates: updates.iter().map(|body| body.as_bytes().to_vec()).collect(),
    })
}

pub async fn the_first_beginning_of_a_document_is_its_beginning(store: DynStore) {
    let id = begun(&store).await;
    assert_eq!(begin(&store, TENANT, id, u32::MAX).await, Some(7));
    let other = workflow(&store, TENANT, "other").await.id;
    assert_eq!(begin(&store, TENANT, other, u32::MAX).await, Some(u32::MAX));
    assert_eq!(find(&store, id, 0).await, part(0, None, &[]));
}

pub async fn only_an_active_workflow_has_a_document(store: DynStore) {
    let unknown = WorkflowId::generate();
    assert_eq!(begin(&store, TENANT, unknown, 7).await, None);
    assert_eq!(append(&store, unknown, &["a"]).await, None);
    assert_eq!(find(&store, unknown, 0).await, None);
    assert!(!squash(&store, unknown, 1, "a").await);
    let row = workflow(&store, TENANT, "w").await;
    store.workflow_delete(TENANT, row.id).await.expect("archived");
    assert_eq!(begin(&store, TENANT, row.id, 7).await, None);
}

pub async fn updates_come_back_in_their_order(store: DynStore) {
    let id = begun(&store).await;
    assert_eq!(append(&store, id, &["a", "b"]).await, Some(2));
    assert_eq!(append(&store, id, &["c"]).await, Some(3));
    assert_eq!(find(&store, id, 0).await, part(3, None, &["a", "b", "c"]));
}

pub async fn a_reader_gets_what_it_does_not_know(store: DynStore) {
    let id = begun(&store).await;
    append(&store, id, &["a", "b", "c"]).await;
    assert_eq!(find(&store, id, 2).await, part(3, None, &["c"]));
    assert_eq!(find(&store, id, 3).await, part(3, None, &[]));
}

pub async fn numbers_have_no_gaps_whoever_appends(store: DynStore) {
    let id = begun(&store).await;
    let all = (0..8).map(|_| append(&store, id, &["x", "y"]));
    let mut last: Vec<u64> = futures::future::join_all(all).await.into_iter().flatten().collect();
    last.sort_unstable();
    assert_eq!(last, [2, 4, 6, 8, 10, 12, 14, 16]);
    let found = find(&store, id, 0).await.expect("there");
    assert_eq!((found.last, found.updates.len()), (16, 16));
    // What is appended together stays together.
    assert!(found.updates.chunks(2).all(|pair| pair == [b"x".to_vec(), b"y".to_vec()]));
}

pub async fn a_snapshot_takes_the_place_of_what_it_holds(store: DynStore) {
    let id = begun(&store).await;
    append(&store, id, &["a", "b", "c"]).await;
    assert!(squash(&store, id, 2, "ab").await);
    assert_eq!(find(&store, id, 0).await, part(3, Some("ab"), &["c"]));
    assert_eq!(find(&store, id, 1).await, part(3, Some("ab"), &["c"]), "1 is in it, and 2 is nowhere else");
    assert_eq!(find(&store, id, 2).await, part(3, None, &["c"]));
    assert_eq!(append(&store, id, &["d"]).await, Some(4), "numbers go on");
}

pub async fn a_snapshot_does_not_go_back(store: DynStore) {
    let id = begun(&store).await;
    append(&store, id, &["a", "b", "c"]).await;
    assert!(squash(&store, id, 2, "ab").await);
    for up_to in [0, 1, 2] {
        assert!(!squash(&store, id, up_to, "old").await, "{up_to}");
    }
    assert!(!squash(&store, id, 4, "of what is not there").await);
    assert_eq!(find(&store, id, 0).await, part(3, Some("ab"), &["c"]));
    assert!(squash(&store, id, 3, "abc").await);
    assert_eq!(find(&store, id, 0).await, part(3, Some("abc"), &[]));
}

pub async fn a_document_goes_with_its_workflow(store: DynStore) {
    let id = begun(&store).await;
    append(&store, id, &["a", "b"]).await;
    squash(&store, id, 1, "a").await;
    assert!(store.workflow_delete(TENANT, id).await.expect("archived"));
    assert_eq!(find(&store, id, 0).await, None);
    assert_eq!(append(&store, id, &["c"]).await, None);
}

pub async fn no_tenant_sees_anothers_document(store: DynStore) {
    let id = begun(&store).await;
    append(&store, id, &["a"]).await;
    let other = other_tenant();
    assert_eq!(begin(&store, other, id, 9).await, None);
    assert_eq!(store.document_read(other, id, 0).await.expect("answered"), None);
    assert_eq!(store.document_append(other, id, updates(&["b"]), AT).await.expect("answered"), None);
    assert!(!store.document_squash(other, id, 1, b"x".to_vec()).await.expect("answered"));
    assert!(!store.workflow_delete(other, id).await.expect("answered"));
    assert_eq!(find(&store, id, 0).await, part(1, None, &["a"]));
}
