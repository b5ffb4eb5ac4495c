//! What expressions may name: the roots of their place, and the components that run before them.

use std::{
    cell::OnceCell,
    collections::{HashMap, HashSet},
};

use super::{
    check::{Checker, Draft, Found, below, list, path_of},
    containers::Plan,
    graph::{self, Point, Sets},
    model::{Output, Part},
    problem::nearest,
};
use crate::{
    expression::{Expression, Reference, Use},
    ids::ComponentId,
};

/// The roots that only some places have, and what to say elsewhere.
const PLACED: &[(&str, &str)] = &[
    ("item", "`item` is known inside a `loop` and a `for_loop`"),
    ("index", "`index` is known inside a `loop` and a `for_loop`"),
    ("iteration", "`iteration` is known inside a `while_loop` and in its `condition`"),
    ("previous", "`previous` is known inside a `while_loop` and in its `condition`"),
    ("this", "`this` is known in `compensate`; elsewhere write `components.<id>.output`"),
    ("error", "`error` is known in `catch` and `on_failure`; elsewhere write `components.<id>.error`"),
    ("event", "`event` is known in `triggers` and in the `filter` of a `wait_for_event`"),
];

/// What runs before what, of each scope when it is first asked for.
pub(super) struct Tables<'p> {
    points: &'p [Vec<Point>],
    orders: &'p [Option<Vec<usize>>],
    sets: Vec<OnceCell<Option<(Sets, Sets)>>>,
}

impl<'p> Tables<'p> {
    pub(super) fn new(points: &'p [Vec<Point>], orders: &'p [Option<Vec<usize>>]) -> Self {
        Self { points, orders, sets: points.iter().map(|_| OnceCell::new()).collect() }
    }

    /// What comes before each component of a scope, and what has certainly completed; absent with a cycle.
    fn of(&self, scope: usize) -> Option<&(Sets, Sets)> {
        self.sets[scope]
            .get_or_init(|| {
                let (points, order) = (&self.points[scope], self.orders[scope].as_ref()?);
                Some((graph::upstream(points, order), graph::certain(points, order)))
            })
            .as_ref()
    }
}

/// How a component looks from an expression.
enum Sight<'p> {
    Itself,
    /// A container that the expression stands in.
    Around,
    /// Runs before; `certain` when it has completed in any case.
    Before {
        certain: bool,
    },
    NotBefore,
    /// Does not run before this container, in which the expression stands.
    BesideContainer(&'p str),
    /// Stands inside this container, which may be named itself.
    Inside(&'p str),
    /// Stands in a part of the document that runs at another time.
    Elsewhere(&'static str),
}

/// What an expression can see of the document.
pub(super) struct Seen<'p, 'v> {
    plan: &'p Plan<'v>,
    tables: &'p Tables<'p>,
    /// The component it belongs to; absent for `output`.
    at: Option<usize>,
}

impl<'p, 'v> Seen<'p, 'v> {
    pub(super) fn by_output(plan: &'p Plan<'v>, tables: &'p Tables<'p>) -> Self {
        Self { plan, tables, at: None }
    }

    fn by_component(plan: &'p Plan<'v>, tables: &'p Tables<'p>, index: usize) -> Self {
        Self { plan, tables, at: Some(index) }
    }

    /// Whether a root beside those of every place is known to this expression.
    fn has_root(&self, root: &str, used: &Use) -> bool {
        let Some(index) = self.at else { return false };
        let field = (self.plan.drafts[index].type_name(), used.path.first().map(String::as_str));
        match (root, field) {
            ("event", field) => return field == ("wait_for_event", Some("filter")),
            ("iteration" | "previous", ("while_loop", Some("condition"))) => return true,
            _ => {}
        }
        for (scope, owner) in self.plan.around(index) {
            let owner = owner.map_or("", |owner| self.plan.drafts[owner].type_name());
            let known = match (scope.part, root) {
                // What failed is past when things are undone.
                (Part::Compensation, "error") => return false,
                (Part::Compensation, "this") | (Part::Catch | Part::OnFailure, "error") => true,
                (Part::Body, "item" | "index") => matches!(owner, "loop" | "for_loop"),
                (Part::Body, "iteration" | "previous") => owner == "while_loop",
                _ => false,
            };
            if known {
                return true;
            }
        }
        false
    }

    fn sight(&self, target: usize) -> Sight<'p> {
        let plan = self.plan;
        let target_scope = plan.drafts[target].scope;
        let Some(index) = self.at else {
            return if target_scope == 0 {
                Sight::Before { certain: true }
            } else {
                self.hidden(target, &[0], &[])
            };
        };
        let mut here = index;
        let mut scopes = Vec::new();
        let mut chain = vec![here];
        let mut undone = false;
        for (scope, owner) in plan.around(index) {
            let number = plan.drafts[here].scope;
            scopes.push(number);
            if target_scope == number {
                if target == here {
                    return match (here == index, undone) {
                        (true, _) => Sight::Itself,
                        (false, true) => Sight::Before { certain: true },
                        (false, false) => Sight::Around,
                    };
                }
                let (from, to) = (plan.drafts[here].position, plan.drafts[target].position);
                return match self.tables.of(number) {
                    None => Sight::Before { certain: true },
                    Some((upstream, certain)) if upstream.has(from, to) => {
                        Sight::Before { certain: certain.has(from, to) }
                    }
                    Some(_) if here == index || undone => Sight::NotBefore,
                    Some(_) => Sight::BesideContainer(&plan.drafts[here].id),
                };
            }
            let ended: &[Option<usize>] = match (scope.part, owner) {
                (Part::Catch, Some(owner)) => &[plan.drafts[owner].scopes.body],
                (Part::Finally, Some(owner)) => {
                    let scopes = plan.drafts[owner].scopes;
                    &[scopes.body, scopes.catch]
                }
                (Part::OnFailure | Part::Finally, None) => &[Some(0)],
                _ => &[],
            };
            if ended.contains(&Some(target_scope)) {
                return Sight::Before { certain: false };
            }
            scopes.extend(ended.iter().copied().flatten());
            undone = scope.part == Part::Compensation;
            match owner {
                Some(owner) => here = owner,
                None => break,
            }
            chain.push(here);
        }
        self.hidden(target, &scopes, &chain)
    }

    /// Why a component cannot be named where these scopes can be seen.
    fn hidden(&self, target: usize, scopes: &[usize], chain: &[usize]) -> Sight<'p> {
        let plan = self.plan;
        let mut here = target;
        loop {
            let scope = &plan.scopes[plan.drafts[here].scope];
            let part = match (scope.part, scope.owner) {
                (Part::Catch, _) => "a `catch`",
                (Part::Finally, _) => "a `finally`",
                (Part::OnFailure, _) => "`on_failure`",
                (Part::Workflow | Part::Body | Part::Compensation, _) => "another scope",
            };
            match scope.owner {
                Some(owner) if scopes.contains(&plan.drafts[owner].scope) => {
                    return if chain.contains(&owner) {
                        Sight::Elsewhere(part)
                    } else {
                        Sight::Inside(&plan.drafts[owner].id)
                    };
                }
                Some(owner) => here = owner,
                None => return Sight::Elsewhere(part),
            }
        }
    }

    /// Whether the author has thought of an absent output: a default, a test, or a look at the status,
    /// here, in the `when` of the component or of a container around it.
    fn is_guarded(&self, used: &Use, id: &str) -> bool {
        let asks = |references: &[Reference]| {
            references.iter().any(|reference| {
                reference.component() == Some(id)
                    && matches!(reference.component_field(), Some("status" | "error"))
            })
        };
        let guards = |when: &Expression| {
            asks(when.references())
                || (when.source.contains("defined")
                    && when.references().iter().any(|reference| reference.component() == Some(id)))
        };
        ["default", "defined", "| d("].iter().any(|word| used.source.contains(word))
            || asks(&used.references)
            || self.at.is_some_and(|index| {
                std::iter::once(index)
                    .chain(self.plan.around(index).filter_map(|(_, owner)| owner))
                    .any(|index| self.plan.drafts[index].when.as_ref().is_some_and(guards))
            })
    }
}

impl Checker<'_> {
    /// Rules that follow from what runs before what.
    pub(super) fn flow(&mut self, plan: &Plan<'_>, scope: usize, points: &[Point], order: &[usize]) {
        let draft = |position: usize| &plan.drafts[plan.scopes[scope].components[position]];
        for never in graph::never(points, order) {
            let router = draft(never.router);
            let name = |port: &Output| match port {
                Output::Success => "success",
                Output::Error => "error",
                Output::Timeout => "timeout",
                Output::Own(own) => router.ports.names[*own].as_str(),
            };
            let (first, second) = (name(&never.ports.0), name(&never.ports.1));
            let Draft { id, path, .. } = draft(never.component);
            let message = if never.direct {
                format!(
                    "`{id}` can never run: `{0}.{first}` and `{0}.{second}` exclude each other",
                    router.id
                )
            } else {
                format!(
                    "`{id}` can never run: it needs both sides of `{0}` (`{0}.{first}` and `{0}.{second}`)",
                    router.id
                )
            };
            let code = if never.direct { "exclusive_ports" } else { "never_ready" };
            self.report(
                Found::new(code, message, &below(path, "needs"))
                    .at_key()
                    .suggest("did you mean `join: any`?"),
            );
        }
    }

    /// Checks what every expression of every component names.
    pub(super) fn every_use(&mut self, plan: &Plan<'_>, tables: &Tables<'_>, names: &HashSet<&str>) {
        for (index, draft) in plan.drafts.iter().enumerate() {
            let seen = Seen::by_component(plan, tables, index);
            let base = below(&draft.path, "config");
            for used in &draft.uses {
                self.uses(used, &base, names, &plan.by_id, Some(&seen));
            }
            let key = below(&below(&draft.path, "concurrency"), "key");
            for used in &draft.concurrency_uses {
                self.uses(used, &key, names, &plan.by_id, Some(&seen));
            }
            let key = below(&below(&draft.path, "cache"), "key");
            for used in &draft.cache_uses {
                self.uses(used, &key, names, &plan.by_id, Some(&seen));
            }
            if let Some(when) = &draft.when {
                let used = Use {
                    path: Vec::new(),
                    offset: 0,
                    source: when.source.clone(),
                    references: when.references().to_vec(),
                    is_row: false,
                };
                self.uses(&used, &below(&draft.path, "when"), names, &plan.by_id, Some(&seen));
            }
        }
    }

    /// Checks every reference of one expression.
    ///
    /// Without `seen` nothing is asked about the place, and no component stands before it.
    pub(super) fn uses(
        &mut self,
        used: &Use,
        base: &[&str],
        parameters: &HashSet<&str>,
        by_id: &HashMap<ComponentId, usize>,
        seen: Option<&Seen<'_, '_>>,
    ) {
        use crate::expression::Segment;
        if used.is_row {
            return;
        }
        for reference in &used.references {
            let found = |code, message: String| {
                let mut found = Found::new(code, message, &[]).inside(used.offset + reference.start);
                found.path = path_of(base, &used.path);
                found
            };
            let first = match reference.path.first() {
                Some(Segment::Key(key)) => Some(key.as_str()),
                _ => None,
            };
            match reference.root.as_str() {
                "parameters" => {
                    if let Some(name) = first.filter(|name| !parameters.contains(name)) {
                        let near = nearest(name, parameters.iter().copied());
                        let suggestion = near.map_or_else(
                            || format!("add it under `parameters:`: `{name}: {{ type: string }}`"),
                            |near| format!("did you mean `parameters.{near}`?"),
                        );
                        let message = format!("the workflow has no parameter `{name}`");
                        self.report(found("unknown_parameter", message).suggest(suggestion));
                    }
                }
                root @ ("execution" | "workflow") => {
                    let fields: &[&str] = if root == "execution" {
                        &["id", "started_at", "status", "mode"]
                    } else {
                        &["name", "version"]
                    };
                    if let Some(name) = first.filter(|name| !fields.contains(name)) {
                        let near = nearest(name, fields.iter().copied());
                        let suggestion = near.map_or_else(
                            || format!("its fields are {}", list(fields)),
                            |near| format!("did you mean `{root}.{near}`?"),
                        );
                        self.report(
                            found("reference", format!("`{root}` has no field `{name}`")).suggest(suggestion),
                        );
                    }
                }
                "secrets" => {
                    if base.last() != Some(&"config") {
                        self.report(
                            found("secret", "a secret cannot be used here".to_owned()).suggest(
                                "secrets can be used in the config of components that run on a worker",
                            ),
                        );
                    }
                }
                "components" => {
                    let (Some(id), Some(field)) = (reference.component(), reference.component_field()) else {
                        self.report(
                            found("reference", format!("`{reference}` is incomplete")).suggest(
                                "write `components.<id>.output`, `.status`, `.error` or `.attempts`",
                            ),
                        );
                        continue;
                    };
                    let fields = ["output", "status", "error", "attempts"];
                    if !fields.contains(&field) {
                        let near = nearest(field, fields.into_iter());
                        let suggestion = near.map_or_else(
                            || format!("its fields are {}; data is in `output`", list(&fields)),
                            |near| format!("did you mean `components.{id}.{near}`?"),
                        );
                        self.report(
                            found("reference", format!("a component has no field `{field}`"))
                                .suggest(suggestion),
                        );
                    }
                    let Some(target) = by_id.get(id).copied() else {
                        let near =
                            nearest(id, by_id.keys().map(ComponentId::as_str).filter(|id| !id.contains('.')));
                        let suggestion = near.map(|near| format!("did you mean `components.{near}`?"));
                        self.report(
                            found("unknown_component", format!("there is no component `{id}`"))
                                .maybe(suggestion),
                        );
                        continue;
                    };
                    let Some(seen) = seen else { continue };
                    let wrong = |message: String, suggestion: Option<String>| {
                        found("not_upstream", message).maybe(suggestion)
                    };
                    match seen.sight(target) {
                        Sight::Itself => self.report(wrong(format!("`{id}` cannot refer to itself"), None)),
                        Sight::Around => self.report(wrong(
                            format!("`{id}` is not finished while what stands inside it runs"),
                            None,
                        )),
                        Sight::NotBefore => self.report(wrong(
                            format!("`{id}` does not run before this component"),
                            Some(format!("add `{id}` to `needs`")),
                        )),
                        Sight::BesideContainer(container) => self.report(wrong(
                            format!("`{id}` does not run before `{container}`, which this stands inside"),
                            Some(format!("add `{id}` to the `needs` of `{container}`")),
                        )),
                        Sight::Inside(container) => self.report(
                            found(
                                "out_of_scope",
                                format!("`{id}` stands inside `{container}`: only `{container}` can be named here"),
                            )
                            .suggest(format!("use `components.{container}.output`, which holds the outputs of what is inside")),
                        ),
                        Sight::Elsewhere(part) => self.report(
                            found("out_of_scope", format!("`{id}` stands in {part}, which cannot be seen from here")),
                        ),
                        Sight::Before { certain } => {
                            if field == "output" && !certain && !seen.is_guarded(used, id) {
                                self.report(
                                    found("unguarded", format!("`{id}` may be skipped or failed here, and then has no output"))
                                        .warning()
                                        .suggest(format!(
                                            "guard it: `… if components.{id}.status == 'completed' else …`, or `| default(…)`"
                                        )),
                                );
                            }
                        }
                    }
                }
                "this" if seen.is_some_and(|seen| seen.has_root("this", used)) => {
                    let fields = ["output", "status", "error", "attempts"];
                    if let Some(name) = first.filter(|name| !fields.contains(name)) {
                        self.report(found("reference", format!("`this` has no field `{name}`")).suggest(
                            format!(
                                "its fields are {}; data is in `output`: `this.output.{name}`",
                                list(&fields)
                            ),
                        ));
                    }
                }
                root if seen.is_some_and(|seen| seen.has_root(root, used)) => {}
                root => {
                    let roots = ["parameters", "components", "execution", "workflow", "secrets"];
                    let suggestion = if by_id.contains_key(root) {
                        format!("did you mean `components.{root}.output`?")
                    } else if parameters.contains(root) {
                        format!("did you mean `parameters.{root}`?")
                    } else if let Some((_, place)) = PLACED.iter().find(|(name, _)| *name == root) {
                        (*place).to_owned()
                    } else {
                        nearest(root, roots.into_iter()).map_or_else(
                            || format!("the roots are {}", list(&roots)),
                            |near| format!("did you mean `{near}`?"),
                        )
                    };
                    self.report(
                        found("unknown_root", format!("`{root}` is not known here")).suggest(suggestion),
                    );
                }
            }
        }
    }
}
