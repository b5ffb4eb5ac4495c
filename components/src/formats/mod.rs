//! Texts and files to rows and back.

pub mod csv_parse;
