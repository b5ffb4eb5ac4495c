//! Small things that workflows need around their work.

pub mod log;
