//! Shows live progress: in process, and Redis.
