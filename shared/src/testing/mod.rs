//! Conformance suites: one function a promise of an adapter port, run on every adapter.

#![expect(clippy::disallowed_methods, reason = "tests end their tasks with their runtime")]

pub mod accounts;
pub mod cache;
pub mod documents;
pub mod history;
pub mod people;
pub mod progress;
pub mod queue;
pub mod rates;
pub mod rooms;
pub mod smtp;
pub mod store;
pub mod streams;
pub mod triggers;
pub mod versions;

/// A test of each promise of a suite, on a store of its own.
#[doc(hidden)]
#[macro_export]
macro_rules! promises {
    ($suite:ident, $make:path: $($promise:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let fixture = $make().await;
                $crate::testing::$suite::$promise(fixture.store.clone()).await;
                drop(fixture);
            }
        )*
    };
}
