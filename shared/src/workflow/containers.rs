//! Reading every component of a document, those inside containers and other scopes too.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
};

use serde_json::{Map, Value};

use super::{
    check::{Checker, Draft, Found, MAX_COMPONENTS, below, id_form, is_id, list},
    model::{OnUnhandledFailure, Part, Scope, Scopes},
};
use crate::{component::Runs, ids::ComponentId};

/// How deep containers may stand inside one another.
pub const MAX_NESTING: usize = 16;

/// The types that have `components`. A `parallel` is one only when it has them.
const CONTAINERS: &[&str] = &["group", "loop", "for_loop", "while_loop", "race", "try_catch", "parallel"];
/// The types that wait for people, events or another execution, as long as it takes.
const WAITING: &[&str] = &["approval", "human_task", "wait_for_event", "sub_workflow"];
/// The types the engine decides that can undo something.
const UNDOING: &[&str] = &["log", "fail", "set_variables", "noop"];

/// Whether components of this type may have `components`.
pub fn is_container(kind: &str) -> bool {
    CONTAINERS.contains(&kind)
}

fn is_loop(kind: &str) -> bool {
    matches!(kind, "loop" | "for_loop" | "while_loop")
}

/// Whether a type has no time-out unless its author gives one.
pub(super) fn is_timeless(kind: &str) -> bool {
    is_container(kind) || WAITING.contains(&kind)
}

/// Why a field cannot stand on a container, and what to do instead.
pub(super) const NOT_ON_CONTAINERS: &[(&str, &str, &str)] = &[
    ("retry", "what is inside is tried again, each for itself", "give `retry` to the components inside"),
    ("cache", "its output is made of what runs inside", "give `cache` to the components inside"),
    ("delivery", "no worker runs it", "give `delivery` to the components inside"),
    ("worker", "no worker runs it", "give `worker` to the components inside"),
    (
        "queue_timeout",
        "it waits for no worker",
        "give `queue_timeout` to the components inside, or set `timeout`",
    ),
];

/// The fields of what undoes another component.
const COMPENSATE: &[&str] = &[
    "type",
    "title",
    "description",
    "config",
    "retry",
    "timeout",
    "queue_timeout",
    "total_timeout",
    "delivery",
    "worker",
];

/// Every component of a document, and the scopes they stand in, before anything is compiled.
pub(super) struct Plan<'v> {
    pub(super) drafts: Vec<Draft<'v>>,
    pub(super) scopes: Vec<Scope>,
    pub(super) by_id: HashMap<ComponentId, usize>,
    pub(super) on_failure: Option<usize>,
    pub(super) finally: Option<usize>,
}

impl<'v> Plan<'v> {
    /// The scopes around a component, from its own outward, each with its owner.
    pub(super) fn around(&self, index: usize) -> impl Iterator<Item = (&Scope, Option<usize>)> {
        let mut next = Some(index);
        std::iter::from_fn(move || {
            let scope = &self.scopes[self.drafts[next?].scope];
            next = scope.owner;
            Some((scope, scope.owner))
        })
    }

    /// Why a component cannot be connected with one of another scope.
    pub(super) fn across(&self, reader: &Draft<'v>, from: usize) -> (String, String) {
        let source = &self.drafts[from];
        let id = &source.id;
        let rule = "both ends of a connection stand in the same scope";
        // The container in the reader's scope that holds the other one.
        let holder = self
            .around(from)
            .filter_map(|(_, owner)| owner)
            .find(|owner| self.drafts[*owner].scope == reader.scope);
        if let Some(holder) = holder {
            let holder = &self.drafts[holder].id;
            return (format!("`{id}` stands inside `{holder}`; {rule}"), format!("need `{holder}`"));
        }
        let mut outward = self.scopes[reader.scope].owner;
        while let Some(owner) = outward {
            if self.drafts[owner].scope == source.scope {
                let owner = &self.drafts[owner].id;
                return (
                    format!("`{id}` stands outside `{owner}`; {rule}"),
                    format!("let `{owner}` need it: what is inside starts after that"),
                );
            }
            outward = self.scopes[self.drafts[owner].scope].owner;
        }
        (format!("`{id}` stands in another scope; {rule}"), "need a component of this scope".to_owned())
    }
}

/// What holds for every component of a scope.
#[derive(Clone, Copy)]
struct Around {
    part: Part,
    owner: Option<usize>,
    on_unhandled_failure: OnUnhandledFailure,
    loops: usize,
    /// Containers around it.
    depth: usize,
    /// Whether what runs here may be undone later.
    may_compensate: bool,
}

/// Components at any depth, counted no further than needed.
fn count(components: &Map<String, Value>, depth: usize) -> usize {
    let mut total = components.len();
    for fields in components.values().filter_map(Value::as_object).take(MAX_COMPONENTS) {
        total += usize::from(fields.get("compensate").is_some_and(Value::is_object));
        for name in ["components", "catch", "finally"] {
            if let (Some(Value::Object(inner)), true) = (fields.get(name), depth < MAX_NESTING) {
                total += count(inner, depth + 1);
            }
        }
    }
    total
}

impl<'a> Checker<'a> {
    /// Reads all scopes of a document.
    pub(super) fn plan<'v>(
        &mut self,
        document: &'v Map<String, Value>,
        on_unhandled_failure: OnUnhandledFailure,
    ) -> Plan<'v>
    where
        'a: 'v,
    {
        let mut plan = Plan {
            drafts: Vec::new(),
            scopes: Vec::new(),
            by_id: HashMap::new(),
            on_failure: None,
            finally: None,
        };
        let around = Around {
            part: Part::Workflow,
            owner: None,
            on_unhandled_failure,
            loops: 0,
            depth: 0,
            may_compensate: true,
        };
        let places = ["components", "on_failure", "finally"];
        let total: usize =
            places.iter().filter_map(|name| document.get(*name)?.as_object()).map(|map| count(map, 0)).sum();
        if total > MAX_COMPONENTS {
            self.report(Found::new(
                "too_many_components",
                format!("a workflow has at most {MAX_COMPONENTS} components, this one has {total}"),
                &["components"],
            ));
        }
        let components = self.map(document, "components", &[]);
        if components.is_some_and(Map::is_empty) {
            self.report(Found::new(
                "no_components",
                "a workflow has at least one component",
                &["components"],
            ));
        }
        if document.get("components").is_none_or(Value::is_null) {
            self.report(
                Found::new("missing_field", "`components` is required: a workflow has at least one", &[])
                    .suggest("add `components:` with one component under it"),
            );
        }
        let few = total <= MAX_COMPONENTS;
        self.scope(&mut plan, components.filter(|_| few), &["components"], around);
        for (name, part) in [("on_failure", Part::OnFailure), ("finally", Part::Finally)] {
            let Some(components) = self.map(document, name, &[]).filter(|_| few) else {
                continue;
            };
            if components.is_empty() {
                self.report(
                    Found::new("no_components", format!("`{name}` has no components"), &[name])
                        .at_key()
                        .suggest(format!("put a component under it, or remove `{name}`")),
                );
            }
            let around = Around {
                part,
                on_unhandled_failure: OnUnhandledFailure::Finish,
                may_compensate: false,
                ..around
            };
            let scope = self.scope(&mut plan, Some(components), &[name], around);
            if part == Part::Finally {
                plan.finally = Some(scope);
            } else {
                plan.on_failure = Some(scope);
            }
        }
        plan
    }

    /// Reads the components of one scope, then what stands inside them.
    fn scope<'v>(
        &mut self,
        plan: &mut Plan<'v>,
        components: Option<&'v Map<String, Value>>,
        path: &[&'v str],
        around: Around,
    ) -> usize
    where
        'a: 'v,
    {
        let scope = plan.scopes.len();
        let first = plan.drafts.len();
        let members = first..first + components.map_or(0, Map::len);
        plan.scopes.push(Scope {
            part: around.part,
            owner: around.owner,
            components: members.clone().collect(),
            on_unhandled_failure: around.on_unhandled_failure,
            loops: around.loops,
        });
        for (position, (id, value)) in components.into_iter().flatten().enumerate() {
            let path = below(path, id);
            if !is_id(id) {
                self.report(id_form(id, "a component", &path));
            }
            match plan.by_id.entry(ComponentId::new(id)) {
                Entry::Vacant(place) => {
                    place.insert(first + position);
                }
                Entry::Occupied(there) => {
                    let other = plan.drafts[*there.get()].path.clone();
                    self.report(
                        Found::new(
                            "duplicate_id",
                            format!("the id `{id}` is taken by `{}`", other.join(".")),
                            &path,
                        )
                        .at_key()
                        .also(&other)
                        .suggest("an id is unique in the whole document, containers included"),
                    );
                }
            }
            let mut draft = self.draft(Cow::Borrowed(id), path, value);
            draft.scope = scope;
            draft.position = position;
            plan.drafts.push(draft);
        }
        for index in members {
            self.inside(plan, index, around);
        }
        scope
    }

    /// Reads the scopes of one component, and what undoes it.
    fn inside<'v>(&mut self, plan: &mut Plan<'v>, index: usize, around: Around)
    where
        'a: 'v,
    {
        let draft = &plan.drafts[index];
        let Some(fields) = draft.fields else { return };
        let (kind, path, id) = (draft.type_name(), draft.path.clone(), draft.id.clone());
        let is_known = draft.kind.is_some();
        let given = |name: &str| fields.get(name).is_some_and(|value| !value.is_null());
        self.compensation(plan, index, around);

        if is_known && !is_container(kind) && fields.contains_key("components") {
            self.report(
                Found::new(
                    "not_a_container",
                    format!("`{kind}` is no container and has no `components`"),
                    &below(&path, "components"),
                )
                .at_key()
                .suggest(format!("put them in a `group`; the containers are {}", list(CONTAINERS))),
            );
        }
        for name in ["catch", "finally"] {
            if is_known && kind != "try_catch" && fields.contains_key(name) {
                self.report(
                    Found::new(
                        "not_a_try",
                        format!("only a `try_catch` has `{name}`, and `{id}` is a `{kind}`"),
                        &below(&path, name),
                    )
                    .at_key()
                    .suggest("put the components in a `try_catch`"),
                );
            }
        }
        let is_open = is_container(kind) && (kind != "parallel" || fields.contains_key("components"));
        if is_open {
            self.container(&plan.drafts[index], fields, &path);
        }
        if kind == "try_catch" && !given("catch") && !given("finally") {
            self.report(
                Found::new("try_without_catch", format!("`{id}` has neither `catch` nor `finally`"), &path)
                    .at_key()
                    .suggest("add `catch:` with components under it, or use a `group`"),
            );
        }

        let mut scopes = Scopes::default();
        for name in ["components", "catch", "finally"] {
            let Some(components) = self.map(fields, name, &path) else { continue };
            let path = below(&path, name);
            if components.is_empty() && (is_open || !is_known) {
                self.report(
                    Found::new("no_components", format!("`{name}` of `{id}` has no components"), &path)
                        .at_key()
                        .suggest("put a component under it"),
                );
            }
            if around.depth >= MAX_NESTING {
                self.report(
                    Found::new(
                        "nested_too_deep",
                        format!("containers stand at most {MAX_NESTING} deep inside one another"),
                        &path,
                    )
                    .at_key()
                    .suggest("move the inner part to a workflow of its own and call it with `sub_workflow`"),
                );
                continue;
            }
            let part = match name {
                "components" => Part::Body,
                "catch" => Part::Catch,
                _ => Part::Finally,
            };
            let on_unhandled_failure = match plan.drafts[index].config_value.get("on_unhandled_failure") {
                Some(Value::String(word)) if kind == "group" && word == "stop" => OnUnhandledFailure::Stop,
                _ => OnUnhandledFailure::Finish,
            };
            let inner = Around {
                part,
                owner: Some(index),
                on_unhandled_failure,
                loops: around.loops + usize::from(part == Part::Body && is_loop(kind)),
                depth: around.depth + 1,
                may_compensate: around.may_compensate && part != Part::Finally,
            };
            let scope = Some(self.scope(plan, Some(components), &path, inner));
            match part {
                Part::Body => scopes.body = scope,
                Part::Catch => scopes.catch = scope,
                _ => scopes.finally = scope,
            }
        }
        plan.drafts[index].scopes = scopes;
    }

    /// Rules about the fields of a container.
    fn container(&mut self, draft: &Draft<'_>, fields: &Map<String, Value>, path: &[&str]) {
        let (kind, id) = (draft.type_name(), &draft.id);
        for (name, reason, instead) in NOT_ON_CONTAINERS {
            if fields.contains_key(*name) {
                self.report(
                    Found::new(
                        "not_on_container",
                        format!("`{name}` cannot stand on the container `{id}`: {reason}"),
                        &below(path, name),
                    )
                    .at_key()
                    .suggest(*instead),
                );
            }
        }
        if fields.get("components").is_none_or(Value::is_null) {
            self.report(
                Found::new(
                    "no_components",
                    format!("`{id}` is a `{kind}`, a container, and has no `components`"),
                    path,
                )
                .at_key()
                .suggest("add `components:` with a component under it"),
            );
        }
        if kind == "parallel" && draft.config_value.get("branches").is_some() {
            self.report(
                Found::new(
                    "branches_and_components",
                    format!("`{id}` has `components`, so it has no `branches`: everything inside runs side by side"),
                    &[path, &["config", "branches"]].concat(),
                )
                .at_key()
                .suggest("remove `branches`, or `components`"),
            );
        }
        let children = fields.get("components").and_then(Value::as_object);
        if let ("race", Some(children)) = (kind, children) {
            if children.len() == 1 {
                self.report(
                    Found::new("race_of_one", format!("`{id}` is a race of one"), &below(path, "components"))
                        .at_key()
                        .suggest("add a second component, or use a `group`"),
                );
            }
            for (child, fields) in children {
                if fields
                    .get("needs")
                    .is_some_and(|needs| needs.as_array().is_none_or(|list| !list.is_empty()))
                {
                    self.report(
                        Found::new(
                            "needs_in_race",
                            format!("`{child}` runs in the race `{id}` and waits for none of the others"),
                            &[path, &["components", child, "needs"]].concat(),
                        )
                        .at_key()
                        .suggest("put what belongs together in a `group` inside the race"),
                    );
                }
            }
        }
    }

    /// Reads what undoes a component, in a scope of its own.
    fn compensation<'v>(&mut self, plan: &mut Plan<'v>, index: usize, around: Around)
    where
        'a: 'v,
    {
        let owner = &plan.drafts[index];
        let Some(fields) = owner.fields else { return };
        let Some(compensate) = self.map(fields, "compensate", &owner.path) else { return };
        let path = below(&owner.path, "compensate");
        if !around.may_compensate {
            self.report(
                Found::new("compensate_place", "what runs at the end is not undone", &path)
                    .at_key()
                    .suggest("components inside `on_failure` and `finally` have no `compensate`"),
            );
            return;
        }
        for name in compensate.keys().filter(|name| !COMPENSATE.contains(&name.as_str())) {
            let reason = match name.as_str() {
                "needs" | "join" | "when" => "it runs by itself, when the execution is undone",
                "components" | "catch" | "finally" => "it is one component, no container",
                "compensate" => "what undoes is not undone",
                "concurrency" => "what undoes waits for nobody",
                "cache" => "what was done before is not undone by it",
                _ => continue,
            };
            self.report(
                Found::new(
                    "compensate_field",
                    format!("`compensate` has no `{name}`: {reason}"),
                    &below(&path, name),
                )
                .at_key()
                .suggest(format!("its fields are {}", list(COMPENSATE))),
            );
        }
        let id = format!("{}.compensate", owner.id);
        let Some(value) = fields.get("compensate") else { return };
        let mut draft = self.draft(Cow::Owned(id), path, value);
        if let Some(kind) = draft.kind
            && kind.runs == Runs::Coordinator
            && !UNDOING.contains(&kind.kind)
        {
            let reason = match kind.kind {
                "sub_workflow" => "another execution has a history and compensations of its own",
                name if is_container(name) => "it is one component, no container",
                name if is_timeless(name) || name == "delay" => {
                    "an execution that is undone waits for nothing"
                }
                _ => "there is nothing that could follow it",
            };
            self.report(
                Found::new(
                    "compensate_type",
                    format!("`{}` cannot undo a component: {reason}", kind.kind),
                    &below(&draft.path, "type"),
                )
                .suggest(format!("use a component that a worker runs, or one of {}", list(UNDOING))),
            );
        }
        let undo = plan.drafts.len();
        draft.scope = plan.scopes.len();
        draft.needs = Vec::new();
        draft.join_given = false;
        plan.scopes.push(Scope {
            part: Part::Compensation,
            owner: Some(index),
            components: vec![undo],
            on_unhandled_failure: OnUnhandledFailure::Finish,
            loops: around.loops,
        });
        plan.drafts[index].compensate = Some(undo);
        plan.by_id.insert(ComponentId::new(&draft.id), undo);
        plan.drafts.push(draft);
    }
}
