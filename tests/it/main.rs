//! The whole system through its public API: every test in one process with everything in it, and in a
//! cluster on PostgreSQL, RabbitMQ and Redis.
//!
//! Nothing here looks inside: what is tested is what `apg` answers, and what arrives at the probe.

#![expect(clippy::format_push_string, reason = "documents are put together once a test")]

/// Runs each test in both shapes: `embedded::<name>` and `cluster::<name>`.
macro_rules! both_shapes {
    ($($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                crate::at(crate::harness::place::Shape::Embedded, super::$name)
            })+
        }
        mod cluster {
            $(#[test]
            fn $name() -> anyhow::Result<()> {
                crate::at(crate::harness::place::Shape::Cluster, super::$name)
            })+
        }
    };
}

mod calls;
mod cases;
mod command_line;
mod examples;
mod executions;
mod faults;
mod guides;
mod harness;
mod leaks;
mod limits;
mod live;
mod operations;
mod people;
mod readme;
mod restarts;
mod rooms;
mod semantics;
mod sign_in;
mod triggers;
mod why;
mod workflows;

use anyhow::Result;

use harness::{
    RUNTIME,
    place::{Place, Shape},
};

/// Runs a test at the shared place of this shape; when it fails, the logs of the processes are shown.
fn at(shape: Shape, test: impl AsyncFnOnce(&'static Place) -> Result<()>) -> Result<()> {
    let place = Place::shared(shape)?;
    RUNTIME.block_on(test(place)).inspect_err(|_| eprintln!("{}", place.tails(30)))
}
