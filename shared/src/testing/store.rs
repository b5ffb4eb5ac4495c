//! The promises of [`crate::port::store`].
