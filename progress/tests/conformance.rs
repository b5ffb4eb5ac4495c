//! Both displays keep the promises of the port.

#![allow(
    clippy::disallowed_methods,
    reason = "tests make ids as they please and end their tasks with their runtime"
)]

use std::{
    future::{Ready, ready},
    sync::Arc,
};

use shared::port::{progress::DynProgress, rooms::DynRooms};

mod in_process {
    use super::*;

    fn make() -> Ready<DynProgress> {
        ready(Arc::new(progress::in_process::InProcessProgress::new()))
    }

    shared::progress_conformance!(make);
}

mod in_process_rooms {
    use super::*;

    fn make() -> Ready<DynRooms> {
        ready(Arc::new(progress::rooms::InProcessRooms::new()))
    }

    shared::rooms_conformance!(make);
}

mod redis_rooms {
    use super::*;

    fn make() -> Ready<DynRooms> {
        ready(Arc::new(progress::rooms::RedisRooms::new(&redis::config()).expect("the URL is one of Redis")))
    }

    shared::rooms_conformance!(make);
}

mod redis {
    use super::*;

    pub(super) fn config() -> progress::redis::Config {
        // Another test of this process may have been first.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let url = std::env::var("REDIS_URL")
            .expect("REDIS_URL is not set: run `deploy/dev/services up` (or `make test`, which does)");
        let mut config = progress::redis::Config::new(url);
        config.namespace = format!("test:{}", uuid::Uuid::now_v7());
        config
    }

    fn make() -> Ready<DynProgress> {
        ready(Arc::new(progress::redis::RedisProgress::new(&config()).expect("the URL is one of Redis")))
    }

    shared::progress_conformance!(make);
}
