//! Work on rows and values. Nothing here looks outside.

pub mod aggregate;
pub mod deduplicate;
pub mod filter;
pub mod flatten;
pub mod map;
pub mod sort;
pub mod transform;
pub mod validate;
