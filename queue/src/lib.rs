//! Moves messages: in process, and RabbitMQ through lapin.
