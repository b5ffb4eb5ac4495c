//! The component library: one file a component, one explicit [`CATALOGUE`].
//!
//! A component is a struct whose fields are its settings and whose doc comments are its manual.
//! Nothing here decides what runs next: the engine orders, a worker calls, a component answers.

pub mod basic;
pub mod control;
pub mod data;
mod describe;
pub mod egress;
pub mod environment;
mod file_value;
mod folders;
pub mod formats;
pub mod integrations;
pub mod mail;
pub mod people;
mod row_flow;
mod sql;
#[cfg(test)]
mod testing;
pub mod time;
pub mod utility;

use describe::{engine, external, worker};
pub use environment::Environment;
use shared::component::{Catalogue, Descriptor, control as engine_decides};

/// Every component there is, in the order the palette shows them.
pub static CATALOGUE: &[Descriptor] = &[
    engine::<engine_decides::Start>(),
    engine::<engine_decides::End>(),
    external::<basic::task::Task>(),
    engine::<engine_decides::Noop>(),
    engine::<engine_decides::Decision>(),
    engine::<engine_decides::Switch>(),
    engine::<engine_decides::Parallel>(),
    engine::<engine_decides::Join>(),
    engine::<engine_decides::Loop>(),
    engine::<engine_decides::ForLoop>(),
    engine::<engine_decides::WhileLoop>(),
    engine::<engine_decides::Group>(),
    engine::<engine_decides::Race>(),
    engine::<engine_decides::TryCatch>(),
    engine::<engine_decides::SubWorkflow>(),
    engine::<engine_decides::SetVariables>(),
    engine::<engine_decides::RateLimit>(),
    engine::<engine_decides::Fail>(),
    engine::<engine_decides::Delay>(),
    engine::<engine_decides::WaitForEvent>(),
    engine::<engine_decides::Approval>(),
    engine::<engine_decides::HumanTask>(),
    worker::<people::notification::Notification>(),
    worker::<data::transform::Transform>(),
    worker::<data::filter::Filter>(),
    worker::<data::map::Map>(),
    worker::<data::aggregate::Aggregate>(),
    worker::<data::sort::Sort>(),
    worker::<data::flatten::Flatten>(),
    worker::<data::deduplicate::Deduplicate>(),
    worker::<data::validate::Validate>(),
    worker::<formats::csv_parse::CsvParse>(),
    worker::<integrations::http_request::HttpRequest>(),
    worker::<integrations::database_query::DatabaseQuery>(),
    worker::<integrations::file_operation::FileOperation>(),
    engine::<engine_decides::Log>(),
];

/// [`CATALOGUE`] with its index of names.
pub fn catalogue() -> Catalogue {
    Catalogue::new(CATALOGUE)
}

#[cfg(test)]
mod tests;
