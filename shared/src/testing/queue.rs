//! The promises of [`crate::port::queue`].
