//! Both queues keep the promises of the port.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

use std::sync::Arc;

use shared::testing::queue::Subject;

mod in_process {
    use super::*;

    fn make() -> std::future::Ready<Subject> {
        let queue = Arc::new(queue::in_process::InProcessQueue::new());
        std::future::ready(Subject { queue, pool: "default".into() })
    }

    shared::queue_conformance!(make);
}

mod amqp {
    use super::*;

    async fn make() -> Subject {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let url = std::env::var("AMQP_URL")
            .expect("AMQP_URL is not set: run `deploy/dev/services up` (or `make test`, which does)");
        let mut config = queue::amqp::Config::new(url);
        config.namespace = format!("test.{}", uuid::Uuid::now_v7());
        let queue = queue::amqp::AmqpQueue::connect(&config).await.expect("the broker takes us");
        Subject { queue: Arc::new(queue), pool: "default".into() }
    }

    shared::queue_conformance!(make);
}
