//! The promises of the store, on every store there is.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

mod common;

mod memory {
    use std::sync::Arc;

    use shared::{testing::store::Fixture, time::SystemClock};

    #[allow(clippy::unused_async, reason = "the other stores open something")]
    async fn make_store() -> Fixture {
        Fixture { store: Arc::new(store::MemoryStore::new(Arc::new(SystemClock))), keep: Box::new(()) }
    }

    shared::testing::store::conformance!(make_store);
    shared::testing::people::conformance!(make_store);
    shared::testing::triggers::conformance!(make_store);
    shared::testing::versions::conformance!(make_store);
    shared::testing::history::conformance!(make_store);
    shared::testing::rates::conformance!(make_store);
    shared::testing::cache::conformance!(make_store);
    shared::testing::documents::conformance!(make_store);
    shared::testing::accounts::conformance!(make_store);
}

mod sqlite {
    use std::sync::Arc;

    use shared::testing::store::Fixture;
    use store::{Config, SqlStore};

    async fn make_store() -> Fixture {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config::at(format!("sqlite:{}", folder.path().join("apg.db").display()));
        let store = SqlStore::open(&config).await.expect("opened");
        Fixture { store: Arc::new(store), keep: Box::new(folder) }
    }

    shared::testing::store::conformance!(make_store);
    shared::testing::people::conformance!(make_store);
    shared::testing::triggers::conformance!(make_store);
    shared::testing::versions::conformance!(make_store);
    shared::testing::history::conformance!(make_store);
    shared::testing::rates::conformance!(make_store);
    shared::testing::cache::conformance!(make_store);
    shared::testing::documents::conformance!(make_store);
    shared::testing::accounts::conformance!(make_store);
}

mod postgres {
    use std::sync::Arc;

    use shared::testing::store::Fixture;

    use super::common::Schema;

    async fn make_store() -> Fixture {
        let schema = Schema::migrated().await;
        Fixture { store: Arc::new(schema.store().await), keep: Box::new(schema) }
    }

    shared::testing::store::conformance!(make_store);
    shared::testing::people::conformance!(make_store);
    shared::testing::triggers::conformance!(make_store);
    shared::testing::versions::conformance!(make_store);
    shared::testing::history::conformance!(make_store);
    shared::testing::rates::conformance!(make_store);
    shared::testing::cache::conformance!(make_store);
    shared::testing::documents::conformance!(make_store);
    shared::testing::accounts::conformance!(make_store);
}
