//! Where a workflow begins and ends, and the blocks without a purpose of their own.

pub mod end;
pub mod noop;
pub mod start;
pub mod task;
