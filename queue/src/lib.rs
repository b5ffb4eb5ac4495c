//! Moves messages: in process, and RabbitMQ through lapin.
//!
//! Keeps nothing that matters: whatever is lost here, the store makes whole again.

pub mod amqp;
pub mod in_process;
mod room;
mod weighted;
