//! The promises of [`crate::port::progress`].
