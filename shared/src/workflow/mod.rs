//! The workflow document: read, checked as a whole, hashed, and compiled into what the engine runs.
//!
//! The text is the document of record; [`Workflow`] is its parsed, checked, immutable snapshot.
//! Nothing here runs a component or looks outside.

mod model;

pub use model::{
    Compensation, Component, Concurrency, Delivery, Join, Need, OnUnhandledFailure, Output, Parameter,
    ParameterType, Placement, Priority, Workflow,
};
