//! Takes tasks, runs components, reports.
