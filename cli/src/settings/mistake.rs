//! What is wrong with a configuration, and where it came from.

use std::fmt;

use serde::{Serialize, Serializer};

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Origin {
    #[default]
    Default,
    /// A place in the configuration file, from 1.
    File { path: String, line: u64, column: u64 },
    /// An environment variable.
    Environment { name: String },
    /// A flag as it was given.
    Flag { text: String },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0, .. } => f.write_str(path),
            Self::File { path, line, column: 0 } => write!(f, "{path}:{line}"),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::Flag { text } => write!(f, "flag {text}"),
        }
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One wrong setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mistake {
    /// Dotted, such as `engine.task_queue_size`; empty when no key can be named.
    pub key: String,
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    pub origin: Origin,
}

impl Mistake {
    pub(super) fn new(key: impl Into<String>, message: impl Into<String>, origin: Origin) -> Self {
        Self { key: key.into(), message: message.into(), suggestion: None, origin }
    }

    pub(super) fn with_suggestion(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, word: &str) -> fmt::Result {
        write!(f, "{word}: ")?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n  --> {}", self.message, self.origin)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n  = help: {suggestion}")?;
        }
        Ok(())
    }

    /// As a warning: what was given has no effect, and that is no reason to stop.
    pub fn warning(&self) -> impl fmt::Display + '_ {
        struct Warning<'a>(&'a Mistake);
        impl fmt::Display for Warning<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.write(f, "warning")
            }
        }
        Warning(self)
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, "error")
    }
}

/// Every wrong setting of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.0 {
            writeln!(f, "{mistake}\n")?;
        }
        match self.0.len() {
            1 => f.write_str("1 setting is wrong; nothing was started"),
            n => write!(f, "{n} settings are wrong; nothing was started"),
        }
    }
}

impl std::error::Error for Mistakes {}
