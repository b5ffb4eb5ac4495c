//! The names of log fields, once.

/// The execution a line is about.
pub const EXECUTION_ID: &str = "execution.id";
/// The task a line is about.
pub const TASK_ID: &str = "task.id";
/// The tenant a line is about.
pub const TENANT_ID: &str = "tenant.id";
/// The component type a line is about.
pub const COMPONENT_TYPE: &str = "component.type";
