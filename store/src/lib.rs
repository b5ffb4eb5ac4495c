//! The durable truth: [`SqlStore`] on PostgreSQL and SQLite, [`MemoryStore`] for tests.
//!
//! Keeps and finds; decides nothing about workflows.

mod accounts;
mod archive;
mod cache;
mod config;
mod dialect;
mod documents;
mod error;
mod history;
mod ledger;
mod library;
mod members;
mod memory;
mod migrate;
mod people;
mod places;
mod rates;
mod rows;
mod sql_store;
mod sweeps;
mod timers;
mod triggers;
mod turns;
mod versions;
mod views;
mod writer;

pub use archive::{FolderArchive, archived};
pub use config::{Config, OpenError, Synchronous};
pub use memory::MemoryStore;
pub use migrate::{MigrationStatus, migrate, migration_status};
pub use sql_store::{SqlStore, guarded};

pub(crate) use ledger::Ledger;

/// Every statement there is, in PostgreSQL's text and in SQLite's.
///
/// For the test that prepares each on both engines.
pub fn statements() -> Vec<(&'static str, &'static str)> {
    let shared = [
        views::STATEMENTS,
        library::STATEMENTS,
        members::STATEMENTS,
        sweeps::STATEMENTS,
        people::STATEMENTS,
        rates::STATEMENTS,
        cache::STATEMENTS,
        triggers::STATEMENTS,
        versions::STATEMENTS,
        accounts::STATEMENTS,
        documents::STATEMENTS,
        history::STATEMENTS,
    ];
    let mut all: Vec<(&str, &str)> = shared.into_iter().flatten().map(|text| (*text, *text)).collect();
    all.extend(dialect::LISTED);
    all.push(dialect::LINE_BY_TURNS);
    let batches = turns::BATCHES
        .iter()
        .chain(timers::BATCHES)
        .chain(sweeps::BATCHES)
        .chain(members::BATCHES)
        .chain(people::BATCHES)
        .chain(rates::BATCHES)
        .chain(cache::BATCHES);
    all.extend(batches.map(|batch| (batch.postgres(), batch.sqlite_single())));
    all
}
