//! Turns a component's type into a [`Descriptor`]: function pointers, no macro, nothing before `main`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use shared::{
    component::{
        ConfigProblem, Descriptor, Effect, Failure, FailureClass, Family, Field, OwnPorts, Run, Runs,
    },
    time::parse_duration,
};

/// What a component type says about itself.
pub(crate) trait Component: Serialize + DeserializeOwned + JsonSchema + 'static {
    const KIND: &'static str;
    const ALIASES: &'static [&'static str] = &[];
    const FAMILY: Family;
    /// One sentence for the palette.
    const SUMMARY: &'static str;

    /// A config that validates and runs.
    fn example() -> Value;

    fn ports(config: &Value) -> OwnPorts {
        let _ = config;
        OwnPorts::none()
    }

    fn effect(config: &Value) -> Effect {
        let _ = config;
        Effect::Pure
    }

    fn field(config: &Value, path: &[&str]) -> Field {
        let _ = (config, path);
        Field::Template
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let _ = config;
        Vec::new()
    }
}

/// A component that a worker of ours carries out.
pub(crate) trait Work: Component {
    /// Prepares one attempt; what is wrong with the resolved config is said here.
    fn build(self) -> Result<Box<dyn Run>, Failure>;
}

pub(crate) const fn engine<T: Component>() -> Descriptor {
    describe::<T>(Runs::Coordinator, None)
}

pub(crate) const fn external<T: Component>() -> Descriptor {
    describe::<T>(Runs::External, None)
}

pub(crate) const fn worker<T: Work>() -> Descriptor {
    describe::<T>(Runs::Worker, Some(build::<T>))
}

type Build = fn(Value) -> Result<Box<dyn Run>, Failure>;

const fn describe<T: Component>(runs: Runs, build: Option<Build>) -> Descriptor {
    Descriptor {
        kind: T::KIND,
        aliases: T::ALIASES,
        family: T::FAMILY,
        runs,
        summary: T::SUMMARY,
        schema: schema::<T>,
        example: T::example,
        ports: T::ports,
        effect: T::effect,
        field: T::field,
        check: T::check,
        build,
    }
}

fn schema<T: Component>() -> Value {
    schemars::schema_for!(T).to_value()
}

fn build<T: Work>(config: Value) -> Result<Box<dyn Run>, Failure> {
    serde_json::from_value::<T>(config)
        .map_err(|wrong| {
            Failure::new(
                FailureClass::InvalidConfig,
                format!("the config of `{}` is wrong: {wrong}", T::KIND),
            )
        })?
        .build()
}

/// A mistake at `path`.
pub(crate) fn problem(path: &[&str], message: impl Into<String>) -> ConfigProblem {
    ConfigProblem {
        path: path.iter().map(ToString::to_string).collect(),
        message: message.into(),
        suggestion: None,
    }
}

/// Whether a setting holds an expression, so that its value is not known yet.
pub(crate) fn is_expression(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("${{"))
}

/// The longest time that anything waits.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_hours(365 * 24);

/// Problems of a duration at `path` that is written out. `zero`: whether none at all is fine.
pub(crate) fn check_duration(config: &Value, path: &[&str], zero: bool) -> Option<ConfigProblem> {
    let value = path.iter().try_fold(config, |value, name| value.get(name))?;
    let text = value.as_str().filter(|text| !text.contains("${{"))?;
    match parse_duration(text) {
        Ok(duration) if duration > LONGEST_WAIT => {
            Some(problem(path, format!("`{text}` is longer than 365 days")))
        }
        Ok(duration) if duration.is_zero() && !zero => Some(problem(path, "must be longer than zero")),
        Ok(_) => None,
        Err(wrong) => Some(problem(path, wrong.to_string())),
    }
}

/// Problems of a config that must give exactly one of some settings.
pub(crate) fn exactly_one(config: &Value, names: &[&str]) -> Vec<ConfigProblem> {
    let given = names.iter().filter(|name| config.get(**name).is_some_and(|value| !value.is_null())).count();
    if given == 1 {
        return Vec::new();
    }
    let list = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
    let said = if given == 0 { "none is given" } else { "more than one is given" };
    vec![problem(&[], format!("exactly one of {list} must be given; {said}"))]
}

pub(crate) fn invalid_config(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::InvalidConfig, message)
}

pub(crate) fn invalid_input(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::InvalidInput, message)
}

pub(crate) fn cancelled(doing: &str) -> Failure {
    Failure::new(FailureClass::Cancelled, format!("cancelled while {doing}"))
}
