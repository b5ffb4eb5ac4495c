//! Trying a part of a document while it is being drawn: one component, and what is before it.
//!
//! Pure. What is tried is a document of its own, with what the component depends on and nothing else, so that mistakes
//! elsewhere do not matter and nothing behind it runs. What stands in for components that do not run is in the first
//! turn; from there on it is an execution like any other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Carry, Event, Payload, SkipReason, TaskKey};
use crate::{
    component::Failure,
    expression::{Expression, Reference},
    ids::{ComponentId, ExecutionId},
    workflow::{Component, Output, Workflow, nearest},
};

/// Fields of a document that are about an execution as a whole, or start one.
const LEFT_OUT: &[&str] = &["triggers", "concurrency", "on_failure", "finally", "output", "layout"];

/// How a component ended, by whoever tries another.
#[derive(Debug, Clone, PartialEq)]
pub enum Pin {
    Completed {
        output: Value,
        /// The own ports that fire; those that what runs asks for, when left out.
        ports: Option<Vec<String>>,
    },
    Failed(Failure),
}

/// What is to be tried.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    pub component: &'a str,
    /// Whether nothing else may run.
    pub only: bool,
    pub pins: &'a BTreeMap<ComponentId, Pin>,
    /// How components ended in an execution whose data stands in for what is not pinned.
    pub data: &'a BTreeMap<ComponentId, Carry>,
}

/// What becomes of a component.
#[derive(Debug, Clone, PartialEq)]
pub enum Role {
    Runs,
    /// It does not run, and is taken to have ended so.
    Pinned(Carry),
    /// The same, as in the execution whose data is used.
    Taken(Carry),
    /// Only components that do not run ask for it.
    LeftOut,
}

impl Role {
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Pinned(_) => "pinned",
            Self::Taken(_) => "taken",
            Self::LeftOut => "left_out",
        }
    }
}

/// Why it is not tried.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    #[error("the document has no component `{id}`{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    Unknown { id: String, near: Option<String> },
    #[error("`{id}` stands inside `{outer}`; try `{outer}`")]
    Inside { id: String, outer: String },
    #[error("`{id}` is pinned and would not run; unpin it, or try what comes after it")]
    Pinned { id: ComponentId },
    #[error("`{id}` is pinned, and is not before `{component}`")]
    NotBefore { id: ComponentId, component: String },
    #[error("`{id}` has no port `{port}`{}", .near.as_ref().map(|near| format!("; did you mean `{near}`?")).unwrap_or_default())]
    NoPort { id: ComponentId, port: String, near: Option<String> },
    #[error("only `{component}` is to run, and {} no data: pin {}, name an execution that has it, or try up to `{component}`", no_data(.missing), them(.missing))]
    NoData { component: String, missing: Vec<ComponentId> },
}

fn no_data(missing: &[ComponentId]) -> String {
    let names: Vec<String> = missing.iter().map(|id| format!("`{id}`")).collect();
    format!("{} {}", names.join(", "), if names.len() == 1 { "has" } else { "have" })
}

const fn them(missing: &[ComponentId]) -> &'static str {
    if missing.len() == 1 { "it" } else { "them" }
}

/// The part of a document that a component of its own scope depends on, as a document. It is not checked.
///
/// # Errors
/// When there is no such component, or it stands inside another one.
pub fn part_of(document: &Value, component: &str) -> Result<Value, Refusal> {
    // What is no document is told by whoever reads it.
    let Some(fields) = document.as_object() else { return Ok(document.clone()) };
    let Some(all) = fields.get("components").and_then(Value::as_object) else { return Ok(document.clone()) };
    if !all.contains_key(component) {
        let outer = all.iter().find(|(_, outer)| stands_in(outer, component)).map(|(id, _)| id.clone());
        return Err(match outer {
            Some(outer) => Refusal::Inside { id: component.to_owned(), outer },
            None => {
                let near = nearest(component, all.keys().map(String::as_str)).map(ToOwned::to_owned);
                Refusal::Unknown { id: component.to_owned(), near }
            }
        });
    }
    let mut kept = BTreeSet::new();
    let mut open = vec![component];
    while let Some(id) = open.pop() {
        if kept.insert(id) {
            let needs = all.get(id).and_then(|fields| fields.get("needs")).and_then(Value::as_array);
            let needs = needs.into_iter().flatten().filter_map(Value::as_str);
            open.extend(needs.map(|need| need.split_once('.').map_or(need, |(id, _)| id)));
        }
    }
    let part = all.iter().filter(|(id, _)| kept.contains(id.as_str()));
    let part: Map<String, Value> = part.map(|(id, fields)| (id.clone(), fields.clone())).collect();
    let mut document: Map<String, Value> = fields.clone();
    document.retain(|field, _| !LEFT_OUT.contains(&field.as_str()));
    document.insert("components".to_owned(), Value::Object(part));
    Ok(Value::Object(document))
}

/// Whether a component stands inside another one, as written.
fn stands_in(outer: &Value, id: &str) -> bool {
    let scopes =
        ["components", "catch", "finally"].into_iter().filter_map(|scope| outer.get(scope)?.as_object());
    scopes.into_iter().any(|scope| scope.iter().any(|(inner, fields)| inner == id || stands_in(fields, id)))
}

/// What becomes of each component of `part`, in the order written; see [`part_of`].
///
/// # Errors
/// Why it cannot be tried like this.
pub fn plan(part: &Workflow, wanted: &Wanted<'_>) -> Result<Vec<(ComponentId, Role)>, Refusal> {
    let own = &part.scopes[0].components;
    let of = |id: &str| part.index_of(id).filter(|index| part.components[*index].scope == 0);
    let Some(target) = of(wanted.component) else {
        return Err(Refusal::Unknown { id: wanted.component.to_owned(), near: None });
    };
    for id in wanted.pins.keys() {
        match of(id.as_str()) {
            Some(index) if index == target => return Err(Refusal::Pinned { id: id.clone() }),
            Some(_) => {}
            None => {
                let component = wanted.component.to_owned();
                return Err(Refusal::NotBefore { id: id.clone(), component });
            }
        }
    }
    let stands = |index: usize| {
        let component = &part.components[index];
        let reads_failure = || {
            let mut ports = component.outgoing.iter().map(|(_, port)| port);
            ports.any(|port| matches!(port, Output::Error | Output::Timeout))
        };
        wanted.pins.contains_key(&component.id)
            || match wanted.data.get(&component.id) {
                Some(Carry::Failed { .. }) => reads_failure(),
                data => data.is_some(),
            }
    };
    let mut running = BTreeSet::from([target]);
    let mut asked = BTreeSet::new();
    let mut open = vec![target];
    while let Some(index) = open.pop() {
        for before in depends_on(part, index) {
            asked.insert(before);
            if !stands(before) && running.insert(before) {
                open.push(before);
            }
        }
    }
    if wanted.only && running.len() > 1 {
        running.remove(&target);
        let direct = depends_on(part, target);
        let missing = running.iter().filter(|index| direct.contains(index));
        let missing = missing.map(|index| part.components[*index].id.clone()).collect();
        return Err(Refusal::NoData { component: wanted.component.to_owned(), missing });
    }
    own.iter()
        .map(|index| {
            let component = &part.components[*index];
            let role = match (wanted.pins.get(&component.id), wanted.data.get(&component.id)) {
                _ if running.contains(index) => Role::Runs,
                _ if !asked.contains(index) => Role::LeftOut,
                (Some(pin), _) => Role::Pinned(ended(component, pin, &running)?),
                (None, Some(carry)) => Role::Taken(carry.clone()),
                (None, None) => Role::LeftOut,
            };
            Ok((component.id.clone(), role))
        })
        .collect()
}

/// How a pinned component ended.
fn ended(component: &Component, pin: &Pin, running: &BTreeSet<usize>) -> Result<Carry, Refusal> {
    let (output, ports) = match pin {
        Pin::Completed { output, ports } => (output.clone(), ports),
        Pin::Failed(failure) => return Ok(Carry::Failed { failure: failure.clone(), attempts: 1 }),
    };
    let ports = match ports {
        Some(ports) => {
            for port in ports {
                if !component.ports.contains(port) {
                    let near = nearest(port, component.ports.iter().map(String::as_str));
                    let near = near.map(ToOwned::to_owned);
                    return Err(Refusal::NoPort { id: component.id.clone(), port: port.clone(), near });
                }
            }
            ports.clone()
        }
        None => {
            let read = component.outgoing.iter().filter(|(reader, _)| running.contains(reader));
            let own: BTreeSet<usize> = read
                .filter_map(|(_, port)| match port {
                    Output::Own(port) => Some(*port),
                    _ => None,
                })
                .collect();
            own.into_iter().map(|port| component.ports[port].clone()).collect()
        }
    };
    Ok(Carry::Completed { output: Payload::Inline(output), ports, attempts: 0 })
}

/// Components of the workflow's own scope that one of them cannot begin or be resolved without.
fn depends_on(part: &Workflow, index: usize) -> BTreeSet<usize> {
    let mut before: BTreeSet<usize> = part.components[index].needs.iter().map(|need| need.from).collect();
    let mut look = |reference: &Reference| {
        let read = reference.component().and_then(|id| part.index_of(id));
        before.extend(read.filter(|read| part.components[*read].scope == 0 && *read != index));
    };
    for (at, component) in part.components.iter().enumerate() {
        if at != index && !part.enclosing(at).any(|outer| outer == index) {
            continue;
        }
        component.when.iter().flat_map(Expression::references).for_each(&mut look);
        component.config_references(&mut look);
        let place = component.concurrency.as_ref().map(|concurrency| concurrency.key.references());
        let kept = component.cache.as_ref().and_then(|caching| Some(caching.key.as_ref()?.references()));
        place.into_iter().chain(kept).flatten().for_each(&mut look);
    }
    before
}

/// What stands in the first turn after `accepted`.
pub fn events(plan: &[(ComponentId, Role)], data_from: Option<ExecutionId>) -> Vec<Event> {
    let pinned = |id: &ComponentId, from, result: Carry| Event::Pinned {
        task: TaskKey::of(id.clone()),
        from,
        result: Box::new(result),
    };
    let stands = plan.iter().filter_map(|(id, role)| match role {
        Role::Runs => None,
        Role::Pinned(carry) => Some(pinned(id, None, carry.clone())),
        Role::Taken(carry) => Some(pinned(id, data_from, carry.clone())),
        Role::LeftOut => Some(pinned(id, None, Carry::Skipped { reason: SkipReason::NotTried })),
    });
    stands.collect()
}
