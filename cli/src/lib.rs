//! Composition of roles and adapters.
