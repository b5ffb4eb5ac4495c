//! The `apg` binary.
fn main() {}
