//! Services, databases and files outside.

pub mod database_query;
pub mod file_operation;
pub mod http_request;
