//! The API service: REST, live events, health, metrics.
