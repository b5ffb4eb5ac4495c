use super::*;
use crate::workflow::{Problem, Read, read as read_document};

fn document(triggers: &str) -> String {
    let triggers: String = triggers.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "workflow: v1\nname: t\nparameters:\n  order_id: {{ type: string, default: none }}\ntriggers:\n{triggers}components:\n  a:\n    type: noop\n"
    )
}

fn catalogue() -> crate::component::Catalogue {
    crate::component::Catalogue::new(&[crate::component::Descriptor {
        kind: "noop",
        aliases: &[],
        family: crate::component::Family::Basic,
        runs: crate::component::Runs::Coordinator,
        summary: "",
        schema: schema_of::<crate::component::control::Noop>,
        example: || json!({}),
        ports: |_| crate::component::OwnPorts::none(),
        effect: |_| crate::component::Effect::Pure,
        field: |_, _| crate::component::Field::Template,
        check: |_| Vec::new(),
        build: None,
    }])
}

fn saved(triggers: &str) -> Read {
    read_document(&document(triggers), &catalogue()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(triggers: &str) -> Vec<Problem> {
    match read_document(&document(triggers), &catalogue()) {
        Ok(_) => panic!("this can be saved:\n{triggers}"),
        Err(problems) => problems.list,
    }
}

#[test]
fn the_triggers_of_the_reference_document_read() {
    let read = saved(
        "incoming:
  type: webhook
  config:
    path: /orders
    verify: standard_webhooks
    dedupe_key: ${{ event.id }}
  parameters:
    order_id: ${{ event.body.order_id }}
nightly:
  type: schedule
  config:
    cron: \"0 2 * * *\"
    timezone: Africa/Nairobi
    catchup: last               # none | last | all
    overlap: skip               # skip | queue | cancel_running | allow
  parameters:
    order_id: oldest-unshipped",
    );
    let [incoming, nightly] = &read.workflow.triggers[..] else { panic!("two") };
    assert_eq!((incoming.kind(), nightly.kind()), ("webhook_trigger", "schedule_trigger"));
    let event = json!({ "id": "e1", "body": { "order_id": "A-7" } });
    let given = incoming.parameters(&read.workflow, &event).expect("parameters");
    assert_eq!(Value::Object(given), json!({ "order_id": "A-7" }));
    assert_eq!(incoming.key(&event), Ok(Some("e1".to_owned())));
    let next =
        nightly.timed().expect("a schedule").schedule.after("2026-01-01T00:00:00Z".parse().expect("now"));
    assert_eq!(next.map(|at| at.to_string()).as_deref(), Some("2026-01-01T23:00:00.000000Z"));
    assert!(read.warnings.iter().any(|warning| warning.code == "no_secret"), "{:?}", read.warnings);
    assert!(read.canonical.contains(r#""type":"webhook_trigger""#), "{}", read.canonical);
    assert!(read.canonical.contains(r#""dedupe_key":"${{ event.id }}""#), "{}", read.canonical);
    // The snapshot compiles to the same triggers.
    let again = crate::workflow::compile_snapshot(&read.canonical, &catalogue()).expect("a snapshot");
    let hashes = |workflow: &Workflow| -> Vec<String> {
        workflow.triggers.iter().map(|trigger| trigger.hash.clone()).collect()
    };
    assert_eq!(hashes(&again), hashes(&read.workflow));
}

#[test]
fn an_alias_and_its_type_are_one_document_and_another_trigger_is_another_version() {
    let alias = saved("a: { type: scheduler, config: { every: 5m } }");
    let named = saved("a: { type: schedule_trigger, config: { every: 5m } }");
    let other = saved("a: { type: schedule_trigger, config: { every: 6m } }");
    assert_eq!(alias.workflow.hash, named.workflow.hash);
    assert_ne!(alias.workflow.hash, other.workflow.hash);
    assert_ne!(alias.workflow.triggers[0].hash, other.workflow.triggers[0].hash);
    let beside = saved("a: { type: schedule, dedupe_key: x, config: { every: 5m } }");
    let inside = saved("a: { type: schedule, config: { every: 5m, dedupe_key: x } }");
    assert_eq!(beside.workflow.hash, inside.workflow.hash);
}

#[test]
fn every_example_can_be_saved() {
    for kind in TRIGGER_TYPES {
        for name in std::iter::once(&kind.kind).chain(kind.aliases) {
            let read = saved(&format!("a: {{ type: {name}, config: {} }}", (kind.example)()));
            assert_eq!(read.workflow.triggers[0].kind(), kind.kind);
            assert!(read.warnings.is_empty(), "{:?}", read.warnings);
        }
    }
}

#[test]
fn what_cannot_be_saved_is_told_with_its_place() {
    // The trigger, the code, where it is shown, and a part of what is said.
    let cases: &[(&str, &str, &str, &str)] = &[
        ("a: { type: shedule, config: { every: 5m } }", "unknown_type", "triggers.a.type", "schedule"),
        ("a: { config: { every: 5m } }", "missing_field", "triggers.a", "type"),
        ("A: { type: schedule, config: { every: 5m } }", "id_form", "triggers.A", "cannot be the id"),
        ("a: { type: schedule, confg: {} }", "unknown_field", "triggers.a.confg", "config"),
        ("a: { type: schedule, config: { corn: x } }", "unknown_field", "triggers.a.config.corn", "cron"),
        ("a: { type: schedule }", "schedule", "triggers.a", "`cron` or `every`"),
        (
            "a: { type: schedule, config: { every: 5m, cron: \"* * * * *\" } }",
            "schedule",
            "triggers.a.config.every",
            "not both",
        ),
        (
            "a: { type: schedule, config: { every: 500ms } }",
            "schedule",
            "triggers.a.config.every",
            "at most once a second",
        ),
        (
            "a: { type: schedule, config: { cron: \"0 25 * * *\" } }",
            "schedule",
            "triggers.a.config.cron",
            "hours",
        ),
        (
            "a: { type: schedule, config: { cron: \"0 0 30 2 *\" } }",
            "schedule",
            "triggers.a.config.cron",
            "never fires",
        ),
        (
            "a: { type: schedule, config: { every: 1h, timezone: Europe/Berln } }",
            "schedule",
            "triggers.a.config.timezone",
            "Europe/Berlin",
        ),
        (
            "a: { type: schedule, config: { every: 1h, catchup: every } }",
            "config_value",
            "triggers.a.config.catchup",
            "`last`",
        ),
        (
            "a: { type: schedule, config: { every: 1h, starts: soon } }",
            "schedule",
            "triggers.a.config.starts",
            "not an instant",
        ),
        ("a: { type: webhook }", "config_missing", "triggers.a.config", "verify"),
        ("a: { type: queue, config: { queue: q } }", "config_missing", "triggers.a.config", "connector"),
        ("a: { type: queue, config: { connector: b } }", "config_missing", "triggers.a.config", "queue"),
        (
            "a: { type: queue, config: { connector: \"\", queue: q } }",
            "config_value",
            "triggers.a.config.connector",
            "`rabbitmq` or `redis`",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: \"\" } }",
            "config_value",
            "triggers.a.config.queue",
            "from 1 to 255",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: apg.inbox.0 } }",
            "own_queue",
            "triggers.a.config.queue",
            "control queue",
        ),
        (
            "a: { type: stream_input, config: { connector: b, queue: \"apg:execution:1\" } }",
            "own_queue",
            "triggers.a.config.queue",
            "control queue",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: q, prefetch: 0 } }",
            "config_value",
            "triggers.a.config.prefetch",
            "1",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: q, prefetch: 1001 } }",
            "config_value",
            "triggers.a.config.prefetch",
            "1000",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: q, decode: xml } }",
            "config_value",
            "triggers.a.config.decode",
            "`json`",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: q, on_bad: drop } }",
            "config_value",
            "triggers.a.config.on_bad",
            "`park`",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: q, group: \"\" } }",
            "config_value",
            "triggers.a.config.group",
            "1",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: q, prefech: 5 } }",
            "unknown_field",
            "triggers.a.config.prefech",
            "prefetch",
        ),
        (
            "a: { type: webhook, config: { verify: github, secret: \"${{ secrets.HOOK }}\" } }",
            "expression",
            "triggers.a.config.secret",
            "`HOOK`",
        ),
        (
            "a: { type: webhook, config: { verify: github, secret: \"whsec_a+b/c=\" } }",
            "secret",
            "triggers.a.config.secret",
            "never the secret itself",
        ),
        (
            "a: { type: webhook, config: { verify: github, secret: H, max_body: 2MiB } }",
            "config_value",
            "triggers.a.config.max_body",
            "1MiB",
        ),
        (
            "a: { type: webhook, config: { verify: github, secret: H, rate_limit: fast } }",
            "config_value",
            "triggers.a.config.rate_limit",
            "60/min",
        ),
        (
            "a: { type: webhook, config: { verify: github, secret: H, header: X-A } }",
            "config",
            "triggers.a.config.header",
            "only `hmac`",
        ),
        (
            "a: { type: webhook, config: { verify: github, secret: H, method: GET } }",
            "config_value",
            "triggers.a.config.method",
            "POST",
        ),
        (
            "a: { type: event, config: { types: [] } }",
            "config_value",
            "triggers.a.config.types",
            "at least 1",
        ),
        (
            "a: { type: event, config: { types: [\"order created\"] } }",
            "event_pattern",
            "triggers.a.config.types.0",
            "no pattern",
        ),
        (
            "a: { type: event, config: { types: [execution.finished] } }",
            "event_pattern",
            "triggers.a.config.types.0",
            "sends no event",
        ),
        (
            "a: { type: event, config: { types: [x], debounce: 5s, batch_within: 5s, batch_size: 2 } }",
            "config_value",
            "triggers.a.config.debounce",
            "either waits for quiet",
        ),
        (
            "a: { type: event, config: { types: [x], debounce: 5s, batch_size: 2 } }",
            "config_value",
            "triggers.a.config.batch_size",
            "the newest event",
        ),
        (
            "a: { type: event, config: { types: [x], batch_size: 2 } }",
            "config_value",
            "triggers.a.config.batch_size",
            "wait for ever",
        ),
        (
            "a: { type: event, config: { types: [x], batch_within: 5s } }",
            "config_value",
            "triggers.a.config.batch_within",
            "full at once",
        ),
        (
            "a: { type: event, config: { types: [x], debounce: 10ms } }",
            "duration",
            "triggers.a.config.debounce",
            "from 1s to 1d",
        ),
        (
            "a: { type: event, config: { types: [x], filter: \"parameters.x > 1\" } }",
            "unknown_root",
            "triggers.a.config.filter",
            "`event`",
        ),
        (
            "a: { type: event, config: { types: [x], filter: \"event.body. >\" } }",
            "expression",
            "triggers.a.config.filter",
            "",
        ),
        (
            "a: { type: file, config: { connector: files, folder: ../etc } }",
            "outside_root",
            "triggers.a.config.folder",
            "leads out",
        ),
        (
            "a: { type: file, config: { connector: files, pattern: \"[a\" } }",
            "glob",
            "triggers.a.config.pattern",
            "no pattern",
        ),
        (
            "a: { type: file, config: { connector: files, poll: 100ms } }",
            "duration",
            "triggers.a.config.poll",
            "from 1s",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: apg.inbox.00 } }",
            "own_queue",
            "triggers.a.config.queue",
            "control queue",
        ),
        (
            "a: { type: queue, config: { connector: b, queue: q, prefetch: 0 } }",
            "config_value",
            "triggers.a.config.prefetch",
            "at least 1",
        ),
        (
            "a: { type: manual, config: { confirm: maybe } }",
            "config_type",
            "triggers.a.config.confirm",
            "true or false",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, parameters: { order: x } }",
            "unknown_parameter",
            "triggers.a.parameters.order",
            "no parameter",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, parameters: { order_id: 7 } }",
            "parameter",
            "triggers.a.parameters.order_id",
            "expected text",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, parameters: { order_id: \"${{ parameters.x }}\" } }",
            "unknown_root",
            "triggers.a.parameters.order_id",
            "not known in a trigger",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, parameters: { order_id: \"${{ event.bdy }}\" } }",
            "reference",
            "triggers.a.parameters.order_id",
            "no field `bdy`",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, max_per_hour: 0 }",
            "field_value",
            "triggers.a.max_per_hour",
            "from 1",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, concurrency: { limit: 2 } }",
            "missing_field",
            "triggers.a.concurrency",
            "`key` is required",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, concurrency: { key: k, limit: 0 } }",
            "field_value",
            "triggers.a.concurrency.limit",
            "from 1",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, concurrency: { key: k, limits: 1 } }",
            "unknown_field",
            "triggers.a.concurrency.limits",
            "unknown field",
        ),
        (
            "a: { type: schedule, config: { every: 1h }, concurrency: { key: \"${{ parameters.x }}\" } }",
            "unknown_root",
            "triggers.a.concurrency.key",
            "not known in a trigger",
        ),
        (
            "a: { type: schedule, enabled: 1, config: { every: 1h } }",
            "field_type",
            "triggers.a.enabled",
            "true or false",
        ),
        (
            "a: { type: schedule, dedupe_key: x, config: { every: 1h, dedupe_key: y } }",
            "duplicate_field",
            "triggers.a.config.dedupe_key",
            "twice",
        ),
    ];
    for (trigger, code, path, part) in cases {
        let found = refused(trigger);
        let said: Vec<String> =
            found.iter().map(|one| format!("{} {} {one}", one.code, one.path.join("."))).collect();
        assert!(
            found.iter().any(|one| one.path.join(".") == *path
                && one.code == *code
                && one.to_string().contains(part)
                && one.line.is_some()),
            "{trigger}\nexpected {code} at {path} with `{part}`\n{}",
            said.join("\n")
        );
    }
}

#[test]
fn a_wrong_cron_is_shown_at_the_wrong_field() {
    let found = refused("a:\n  type: schedule\n  config:\n    cron: \"0 25 * * *\"");
    let excerpt = found[0].excerpt.clone().expect("an excerpt");
    let lines: Vec<&str> = excerpt.lines().collect();
    assert_eq!(lines[1].find('^'), lines[0].find("25"), "{excerpt}");
}

#[test]
fn a_required_parameter_must_be_given_unless_a_person_gives_it() {
    let text = |kind: &str| {
        format!(
            "workflow: v1\nname: t\nparameters:\n  n: {{ type: integer, required: true }}\ntriggers:\n  a: {kind}\ncomponents:\n  a:\n    type: noop\n"
        )
    };
    let refused = read_document(&text("{ type: schedule, config: { every: 1h } }"), &catalogue());
    assert!(refused.is_err_and(|problems| problems.list.iter().any(|one| one.code == "missing_parameter")));
    let manual = read_document(&text("{ type: manual }"), &catalogue()).expect("saved");
    let trigger = &manual.workflow.triggers[0];
    assert!(trigger.parameters(&manual.workflow, &json!({ "body": { "n": 1 } })).is_ok());
    assert!(matches!(
        trigger.parameters(&manual.workflow, &json!({ "body": {} })),
        Err(Unfit::Parameters(_))
    ));
}

#[test]
fn patterns_of_event_types() {
    for (pattern, kind, fit) in [
        ("order.created", "order.created", true),
        ("order.created", "order.created.late", false),
        ("order.*", "order.created", true),
        ("order.*", "order.created.late", true),
        ("order.*", "order", false),
        ("*", "anything.at.all", true),
        ("*.created", "order.created", true),
        ("*.created", "order.item.created", false),
    ] {
        assert_eq!(fits(pattern, kind), fit, "{pattern} {kind}");
    }
}

#[test]
fn sizes_and_rates() {
    assert_eq!(parse_size("256KiB"), Some(256 * 1024));
    assert_eq!(parse_size("256"), None);
    assert_eq!(parse_rate("5/s"), Some((5, Duration::from_secs(1))));
    assert_eq!(parse_rate("0/s"), None);
    assert_eq!(parse_rate("5"), None);
}

fn queue(config: &str) -> Trigger {
    let mut read = saved(&format!("a: {{ type: queue, config: {{ connector: b, queue: q{config} }} }}"));
    std::sync::Arc::get_mut(&mut read.workflow).expect("nobody else has it").triggers.remove(0)
}

fn message(body: &[u8]) -> crate::port::sources::Incoming {
    crate::port::sources::Incoming {
        tag: 1,
        id: Some("m-1".to_owned()),
        time: None,
        headers: Map::from_iter([("kind".to_owned(), json!("order"))]),
        body: body.to_vec(),
        flaw: None,
    }
}

#[test]
fn a_message_is_read_as_its_trigger_says() {
    let now = Timestamp::from_micros(0);
    for (decode, body, read) in [
        ("json", "{\"n\": 1}".as_bytes(), Ok(json!({ "n": 1 }))),
        ("json", b"{", Err("not JSON")),
        ("json", b"\xff", Err("not JSON")),
        ("text", b"{", Ok(json!("{"))),
        ("text", b"\xff", Err("not text in UTF-8")),
        ("bytes", b"\xff", Ok(json!("/w=="))),
    ] {
        let trigger = queue(&format!(", decode: {decode}"));
        let Source::Queue(config) = &trigger.source else { panic!("a queue") };
        match (config.event(&message(body), now), read) {
            (Ok(event), Ok(body)) => {
                assert_eq!(event["body"], body);
                assert_eq!((&event["id"], &event["source"]), (&json!("m-1"), &json!("connectors/b/q")));
                assert_eq!(
                    (&event["type"], &event["headers"]["kind"]),
                    (&json!("queue.message"), &json!("order"))
                );
                assert_eq!(trigger.key(&event), Ok(Some("connectors/b/q m-1".to_owned())));
            }
            (Err((event, why)), Err(part)) => {
                assert!(why.contains(part), "{why}");
                assert_eq!(event["body"], Value::Null);
            }
            (got, wanted) => panic!("{decode} {body:?}: {got:?}, not {wanted:?}"),
        }
    }
    let trigger = queue("");
    let Source::Queue(config) = &trigger.source else { panic!("a queue") };
    let large = format!("\"{}\"", "x".repeat(MAX_MESSAGE - 2)).into_bytes();
    assert!(config.read(&large).is_ok());
    let why = config.read(&[large, b" ".to_vec()].concat()).expect_err("one byte too many");
    assert!(why.contains("1048577 bytes"), "{why}");
    let flawed = crate::port::sources::Incoming { flaw: Some("torn".to_owned()), ..message(b"{}") };
    assert_eq!(config.event(&flawed, now).expect_err("flawed").1, "torn");
}

#[test]
fn a_message_without_an_id_has_no_key_and_long_ones_stay_apart() {
    let trigger = queue("");
    let event = |id: Value| json!({ "id": id, "source": format!("connectors/b/{}", "q".repeat(255)) });
    assert_eq!(trigger.key(&event(Value::Null)), Ok(None));
    let long = "x".repeat(300);
    let key = |end: &str| trigger.key(&event(json!(format!("{long}{end}")))).expect("a key").expect("one");
    assert_ne!(key("1"), key("2"));
    assert!(key("1").chars().count() <= MAX_KEY);
}
