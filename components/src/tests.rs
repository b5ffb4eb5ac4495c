//! Promises that hold for every component.

use std::{collections::BTreeSet, path::Path};

use serde_json::Value;
use shared::component::{Context, Descriptor, Family, Field, Runs};

use crate::{
    CATALOGUE, catalogue,
    testing::{context, run_in},
};

fn family(folder: &str) -> Option<Family> {
    Some(match folder {
        "basic" => Family::Basic,
        "control" => Family::Control,
        "time" => Family::Time,
        "people" => Family::People,
        "data" => Family::Data,
        "formats" => Family::Formats,
        "integrations" => Family::Integrations,
        "utility" => Family::Utility,
        _ => return None,
    })
}

#[test]
fn the_catalogue_is_the_folder() {
    let mut files = BTreeSet::new();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for folder in std::fs::read_dir(source).expect("the source") {
        let folder = folder.expect("an entry").path();
        let Some(family) = folder.file_name().and_then(|name| family(&name.to_string_lossy())) else {
            continue;
        };
        for file in std::fs::read_dir(&folder).expect("a family") {
            let file = file.expect("a file").path();
            let kind = file.file_stem().expect("a name").to_string_lossy().into_owned();
            if kind != "mod" {
                files.insert((family, kind));
            }
        }
    }
    let listed: BTreeSet<_> =
        CATALOGUE.iter().map(|descriptor| (descriptor.family, descriptor.kind.to_owned())).collect();
    assert_eq!(listed, files);
}

#[test]
fn no_name_twice() {
    let mut seen = BTreeSet::new();
    for descriptor in CATALOGUE {
        for name in std::iter::once(&descriptor.kind).chain(descriptor.aliases) {
            assert!(seen.insert(*name), "{name}");
            assert_eq!(catalogue().get(name).map(|found| found.kind), Some(descriptor.kind));
        }
    }
}

/// The environment that an example needs beside the usual one.
async fn prepared(kind: &str, config: &mut Value) -> (Context, tempfile::TempDir) {
    if kind != "http_request" {
        return context();
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    config["url"] = format!("http://{address}/orders/4711").into();
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of the test")]
    tokio::spawn(async move {
        let service = axum::Router::new().fallback(|| async { "an order" });
        axum::serve(listener, service).await.expect("a server");
    });
    crate::testing::context_with(&[&address], std::collections::BTreeMap::new())
}

#[tokio::test]
async fn every_example_builds_validates_and_runs() {
    for descriptor in CATALOGUE {
        let kind = descriptor.kind;
        let mut example = (descriptor.example)();
        let schema = jsonschema::draft202012::new(&(descriptor.schema)()).expect(kind);
        if let Err(wrong) = schema.validate(&example) {
            panic!("{kind}: {wrong}");
        }
        assert_eq!((descriptor.check)(&example), [], "{kind}");
        let Some(build) = descriptor.build else {
            assert_ne!(descriptor.runs, Runs::Worker, "{kind}");
            continue;
        };
        build(example.clone()).unwrap_or_else(|failure| panic!("{kind}: {failure}"));
        let (context, _folder) = prepared(kind, &mut example).await;
        let ports = (descriptor.ports)(&example);
        for _ in 0..2 {
            let outcome =
                run_in(kind, example.clone(), &context).await.unwrap_or_else(|f| panic!("{kind}: {f}"));
            assert!(
                outcome.ports.iter().all(|port| ports.names.contains(port)),
                "{kind}: {:?}",
                outcome.ports
            );
            assert!(!ports.exclusive || outcome.ports.len() == 1, "{kind}: {:?}", outcome.ports);
        }
    }
}

#[test]
fn unknown_settings_are_refused_by_name() {
    for descriptor in CATALOGUE {
        let mut config = (descriptor.example)();
        config["no_such_setting"] = 1.into();
        let schema = jsonschema::draft202012::new(&(descriptor.schema)()).expect(descriptor.kind);
        let wrong = schema.validate(&config).expect_err(descriptor.kind).to_string();
        // Of a schema without any property the validator says only that nothing is allowed.
        let is_empty = (descriptor.schema)().get("properties").is_none();
        assert!(is_empty || wrong.contains("no_such_setting"), "{}: {wrong}", descriptor.kind);
        if let Some(build) = descriptor.build {
            let failure = build(config).err().expect(descriptor.kind);
            assert!(failure.message.contains("no_such_setting"), "{failure}");
        }
    }
}

fn explained(kind: &str, schema: &Value, place: &str, unexplained: &mut Vec<String>) {
    match schema {
        Value::Object(object) => {
            for (name, property) in object.get("properties").and_then(Value::as_object).into_iter().flatten()
            {
                // The tag of a variant is a constant and explains itself.
                let has =
                    property.get("description").and_then(Value::as_str).is_some_and(|text| text.len() > 5);
                if !has && property.get("const").is_none() && property.get("$ref").is_none_or(|_| !has) {
                    unexplained.push(format!("{kind}{place}.{name}"));
                }
            }
            for (key, value) in object {
                explained(kind, value, &format!("{place}/{key}"), unexplained);
            }
        }
        Value::Array(list) => list.iter().for_each(|value| explained(kind, value, place, unexplained)),
        _ => {}
    }
}

#[test]
fn every_setting_is_explained() {
    let mut unexplained = Vec::new();
    for descriptor in CATALOGUE {
        let schema = (descriptor.schema)();
        assert!(schema["description"].as_str().is_some_and(|text| text.len() > 10), "{}", descriptor.kind);
        assert!(
            descriptor.summary.ends_with('.') && descriptor.summary.len() < 100,
            "{}",
            descriptor.summary
        );
        explained(descriptor.kind, &schema, "", &mut unexplained);
    }
    let config = schemars::schema_for!(crate::environment::Config).to_value();
    explained("environment", &config, "", &mut unexplained);
    unexplained.retain(|place| {
        // The name of a variant or of an operation stands in a list whose entries are explained.
        !place.contains("/oneOf")
    });
    assert_eq!(unexplained, Vec::<String>::new());
}

#[test]
fn conditions_are_expressions_and_sql_is_verbatim() {
    let catalogue = catalogue();
    let field = |kind: &str, config: Value, path: &[&str]| {
        (catalogue.get(kind).expect("a type").field)(&config, path)
    };
    assert_eq!(field("decision", Value::Null, &["condition"]), Field::Expression);
    assert_eq!(field("switch", serde_json::json!({ "cases": {} }), &["cases", "a"]), Field::Expression);
    assert_eq!(field("switch", serde_json::json!({ "value": 1 }), &["cases", "a"]), Field::Template);
    assert_eq!(field("while_loop", Value::Null, &["condition"]), Field::Deferred);
    assert_eq!(field("wait_for_event", Value::Null, &["filter"]), Field::Deferred);
    assert_eq!(field("filter", Value::Null, &["condition"]), Field::RowExpression);
    assert_eq!(field("database_query", Value::Null, &["statements", "sql"]), Field::Verbatim);
    assert_eq!(field("database_query", Value::Null, &["params"]), Field::Template);
}

#[test]
fn wrong_configs_of_the_engines_types_are_found() {
    let catalogue = catalogue();
    let problems = |kind: &str, config: Value| (catalogue.get(kind).expect("a type").check)(&config).len();
    use serde_json::json;
    assert_eq!(
        problems("switch", json!({ "value": 1, "cases": { "success": 1, "default": 2, "b": 3, "c": 3 } })),
        3
    );
    assert_eq!(problems("switch", json!({ "cases": { "a": "1 > 2", "b": 5 } })), 1);
    assert_eq!(problems("parallel", json!({ "branches": ["a", "a", "error", "B"] })), 3);
    assert_eq!(problems("rate_limit", json!({ "key": "k", "limit": 1, "per": "1s" })), 0);
    assert_eq!(problems("rate_limit", json!({ "key": " ", "limit": 1, "per": "0s" })), 2);
    let contradiction = json!({ "key": "k", "limit": 1, "per": "1s", "mode": "refuse", "max_wait": "1m" });
    assert_eq!(problems("rate_limit", contradiction), 1);
    assert_eq!(problems("delay", json!({})), 1);
    assert_eq!(problems("delay", json!({ "for": "1s", "until": "2030-01-01T00:00:00Z" })), 1);
    assert_eq!(problems("delay", json!({ "for": "30" })), 1);
    assert_eq!(problems("delay", json!({ "for": "365d" })), 0);
    assert_eq!(problems("delay", json!({ "for": "366d" })), 1);
    assert_eq!(problems("delay", json!({ "for": "${{ parameters.pause }}" })), 0);
    assert_eq!(problems("delay", json!({ "until": "tomorrow" })), 1);
    assert_eq!(problems("while_loop", json!({ "condition": 3, "pause": "5" })), 2);
    assert_eq!(problems("while_loop", json!({ "condition": true, "pause": "0s" })), 0);
    assert_eq!(problems("try_catch", json!({ "classes": [] })), 1);
    assert_eq!(problems("try_catch", json!({ "classes": ["timeot", "cancelled", "user.x"] })), 2);
    assert_eq!(problems("sub_workflow", json!({ "workflow": " ", "version": "newest" })), 2);
    assert_eq!(problems("sub_workflow", json!({ "workflow": "a", "version": 0 })), 1);
    assert_eq!(problems("sub_workflow", json!({ "workflow": "${{ parameters.a }}" })), 1);
    assert_eq!(
        problems("sub_workflow", json!({ "workflow": "${{ parameters.a }}", "version": "latest" })),
        0
    );
    assert_eq!(problems("human_task", json!({ "assignees": [], "form": { "type": "x" }, "due": "2" })), 3);
    assert_eq!(
        problems("wait_for_event", json!({ "event": "", "key": "", "within": "0s", "early": "x" })),
        4
    );
    assert_eq!(problems("wait_for_event", json!({ "event": "a", "key": "b", "within": "366d" })), 1);
    assert_eq!(problems("fail", json!({ "message": "x", "class": "timeout" })), 1);
    assert_eq!(problems("fail", json!({ "message": "x", "class": "boom" })), 1);
    assert_eq!(problems("fail", json!({ "message": "x", "class": "user.no_stock" })), 0);
    assert_eq!(problems("task", json!({ "topic": "a", "input_schema": { "type": "x" } })), 1);
}

#[test]
fn ports_are_known_from_the_config() {
    let catalogue = catalogue();
    let ports = |kind: &str, config: Value| (catalogue.get(kind).expect("a type").ports)(&config);
    use serde_json::json;
    let switch = ports("switch", json!({ "value": 1, "cases": { "a": 1 }, "match": "all" }));
    assert_eq!((switch.names, switch.exclusive), (vec!["a".to_owned(), "default".to_owned()], false));
    assert_eq!(ports("decision", json!({})).names, ["true", "false"]);
    assert!(!ports("parallel", json!({ "branches": ["a", "b"] })).exclusive);
    assert_eq!(
        ports("approval", json!({})),
        shared::component::OwnPorts::one_of(&["approved", "rejected", "expired"])
    );
    assert_eq!(ports("human_task", json!({})).names, ["submitted", "expired"]);
    assert_eq!(ports("wait_for_event", json!({})).names, ["received"]);
    assert_eq!(ports("try_catch", json!({})).names, ["caught"]);
    assert_eq!(ports("file_operation", json!({ "action": "list" })).names, ["found", "empty"]);
    assert!(ports("file_operation", json!({ "action": "read" })).names.is_empty());
    assert!(ports("database_query", json!({ "mode": "write" })).names.is_empty());
}

/// Puts outputs and parameters where a text is a plain path in `${{ }}`.
fn resolved(value: &Value, known: &Value) -> Value {
    match value {
        Value::String(text) => match text.strip_prefix("${{ ").and_then(|rest| rest.strip_suffix(" }}")) {
            Some(path) => known.pointer(&format!("/{}", path.replace('.', "/"))).cloned().unwrap_or_default(),
            None => value.clone(),
        },
        Value::Array(list) => list.iter().map(|value| resolved(value, known)).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), resolved(value, known))).collect(),
        other => other.clone(),
    }
}

/// A whole document around the example of a type, with components inside where it is a container.
fn document_around(descriptor: &Descriptor) -> Value {
    let body =
        |id: &str| serde_json::json!({ id: { "type": "noop" }, format!("{id}_too"): { "type": "noop" } });
    let mut component = serde_json::json!({ "type": descriptor.kind, "config": (descriptor.example)() });
    if ["group", "loop", "for_loop", "while_loop", "race", "try_catch"].contains(&descriptor.kind) {
        component["components"] = body("inside");
    }
    if descriptor.kind == "try_catch" {
        component["catch"] = body("caught");
    }
    serde_json::json!({ "workflow": "v1", "name": "t", "components": { "it": component } })
}

#[test]
fn every_example_is_read_as_part_of_a_document() {
    for descriptor in CATALOGUE {
        let document = document_around(descriptor);
        let schema =
            jsonschema::draft202012::new(&shared::workflow::json_schema(&catalogue())).expect("a schema");
        assert!(schema.is_valid(&document), "{}", descriptor.kind);
        let read = shared::workflow::read_value(&document, &catalogue())
            .unwrap_or_else(|problems| panic!("{}: {problems}", descriptor.kind));
        for alias in descriptor.aliases {
            let mut named = document.clone();
            named["components"]["it"]["type"] = Value::from(*alias);
            let again = shared::workflow::read_value(&named, &catalogue()).expect(alias);
            assert_eq!(again.canonical, read.canonical, "{alias}");
            assert!(schema.is_valid(&named), "{alias}");
        }
    }
}

#[test]
fn the_schema_for_editors_knows_what_stands_inside_what() {
    let schema =
        jsonschema::draft202012::new(&shared::workflow::json_schema(&catalogue())).expect("a schema");
    let fits = |component: Value| {
        schema
            .is_valid(&serde_json::json!({ "workflow": "v1", "name": "t", "components": { "a": component } }))
    };
    use serde_json::json;
    assert!(fits(json!({ "type": "group", "components": { "b": { "type": "noop" } } })));
    assert!(!fits(json!({ "type": "group" })));
    assert!(!fits(json!({ "type": "group", "components": { "b": { "type": "nop" } } })));
    assert!(!fits(json!({ "type": "group", "components": { "b": { "type": "noop" } }, "retry": {} })));
    assert!(!fits(
        json!({ "type": "log", "config": { "message": "x" }, "components": { "b": { "type": "noop" } } })
    ));
    assert!(fits(json!({ "type": "noop", "compensate": { "type": "noop" } })));
    assert!(!fits(json!({ "type": "noop", "compensate": { "type": "noop", "needs": [] } })));
    assert!(fits(json!({
        "type": "try", "components": { "b": { "type": "noop" } }, "finally": { "c": { "type": "noop" } }
    })));
}

/// The complete example of the document's reference, with the real types.
#[test]
fn the_complete_example_fits_the_catalogue() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tests/documents/order_fulfilment.yaml");
    let text = std::fs::read_to_string(path).expect("the example");
    let read = shared::workflow::read(&text, &catalogue()).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(read.warnings.is_empty(), "{:?}", read.warnings);
    assert_eq!(read.workflow.components.len(), 14);
}

fn example(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name);
    serde_saphyr::from_str(&std::fs::read_to_string(path).expect(name)).expect(name)
}

#[test]
fn the_examples_use_types_settings_and_ports_that_exist() {
    let catalogue = catalogue();
    for name in ["hello.yaml", "etl.yaml", "order.yaml"] {
        let document = example(name);
        let components = document["components"].as_object().expect("components");
        for (id, component) in components {
            let kind = component["type"].as_str().expect("a type");
            let descriptor = catalogue.get(kind).unwrap_or_else(|| panic!("{name} {id}: {kind}"));
            let config = component.get("config").cloned().unwrap_or_else(|| serde_json::json!({}));
            assert_eq!((descriptor.check)(&config), [], "{name} {id}");
            let schema = (descriptor.schema)();
            for setting in config.as_object().expect("a map").keys() {
                assert!(schema["properties"].get(setting).is_some(), "{name} {id}: {setting}");
            }
            for need in component.get("needs").and_then(Value::as_array).into_iter().flatten() {
                let need = need.as_str().expect("a need");
                let (from, port) = need.split_once('.').unwrap_or((need, "success"));
                let source = &components[from];
                let source_kind = catalogue.get(source["type"].as_str().expect("a type")).expect("a type");
                let own = (source_kind.ports)(source.get("config").unwrap_or(&Value::Null)).names;
                assert!(port == "success" || own.iter().any(|known| known == port), "{name} {id}: {need}");
            }
        }
    }
}

#[tokio::test]
async fn the_etl_example_loads_its_orders_and_running_it_twice_changes_nothing() {
    let (context, folder) = context();
    let document = example("etl.yaml");
    let mut reports = Vec::new();
    for _ in 0..2 {
        let mut known = serde_json::json!({ "parameters": {}, "components": {} });
        for (name, parameter) in document["parameters"].as_object().expect("parameters") {
            known["parameters"][name] = parameter["default"].clone();
        }
        for (id, component) in document["components"].as_object().expect("components") {
            let kind = component["type"].as_str().expect("a type");
            if kind == "end" {
                continue;
            }
            let config = resolved(&component["config"], &known);
            let outcome = run_in(kind, config, &context).await.unwrap_or_else(|f| panic!("{id}: {f}"));
            known["components"][id] = serde_json::json!({ "output": outcome.output });
        }
        assert_eq!(known["components"]["check"]["output"]["rows_out"], 3_000);
        assert_eq!(known["components"]["store"]["output"]["results"][2]["rows_affected"], 10);
        let stored = serde_json::json!({ "connector": "data", "sql": "select * from orders_by_country order by country" });
        let stored = run_in("database_query", stored, &context).await.expect("stored").output;
        let report = std::fs::read_to_string(folder.path().join("files/reports/orders-by-country.json"))
            .expect("a report");
        let written: Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(written["countries"], stored["rows"]);
        reports.push((report, stored));
    }
    assert_eq!(reports[0], reports[1]);
}
