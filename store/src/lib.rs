//! The durable truth: SqlStore on PostgreSQL and SQLite, MemoryStore for tests.
