//! Expressions: one test a rule, the bombs of the features chapter, and properties.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use serde_json::{Value, json};
use shared::{
    component::{Failure, FailureClass, Field},
    expression::{
        ComponentView, EvaluationError, Expression, OutputView, Rendered, RowExpression, Scope, Template,
    },
    ids::PayloadId,
};

#[derive(Default)]
struct World {
    roots: HashMap<&'static str, Value>,
    outputs: HashMap<&'static str, Value>,
    stored: HashMap<&'static str, PayloadId>,
    failed: HashMap<&'static str, Failure>,
}

impl Scope for World {
    fn root(&self, name: &str) -> Option<Value> {
        self.roots.get(name).cloned()
    }

    fn component(&self, id: &str) -> Option<ComponentView<'_>> {
        if let Some(value) = self.outputs.get(id) {
            return Some(ComponentView {
                status: "completed",
                output: Some(OutputView::Here(value)),
                error: None,
                attempts: 1,
            });
        }
        if let Some(payload) = self.stored.get(id) {
            return Some(ComponentView {
                status: "completed",
                output: Some(OutputView::Stored(*payload)),
                error: None,
                attempts: 1,
            });
        }
        self.failed.get(id).map(|error| ComponentView {
            status: "failed",
            output: None,
            error: Some(error),
            attempts: 3,
        })
    }
}

fn world() -> World {
    let mut world = World::default();
    world.roots.insert(
        "parameters",
        json!({ "id": "A-1", "limit": 10, "half": 0.5, "big": u64::MAX, "none": null }),
    );
    world.roots.insert("execution", json!({ "id": "execution_1", "status": "running" }));
    world.outputs.insert(
        "fetch",
        json!({ "body": { "total": 12, "lines": [{ "sku": "a", "n": 2 }, { "sku": "b", "n": 3 }], "odd key": 1 },
                "text": "hello", "z": 1, "a": 2 }),
    );
    world.failed.insert("broken", Failure::new(FailureClass::Timeout, "too slow"));
    world.stored.insert("huge", PayloadId::from_uuid(uuid::Uuid::from_u128(7)));
    world
}

fn evaluate(source: &str) -> Result<Value, EvaluationError> {
    Expression::compile(source).unwrap_or_else(|error| panic!("{source}: {error}")).evaluate(&world())
}

fn render(value: Value) -> Result<Rendered, EvaluationError> {
    Template::compile(&value, &|_| Field::Template)
        .unwrap_or_else(|errors| panic!("{errors:?}"))
        .render(&world())
}

fn rendered(value: Value) -> Value {
    render(value).expect("it has a value").value
}

fn failure(source: &str) -> Failure {
    match evaluate(source) {
        Err(EvaluationError::Failed(failure)) => failure,
        other => panic!("{source}: {other:?}"),
    }
}

#[test]
fn a_value_that_is_one_expression_keeps_its_type() {
    assert_eq!(rendered(json!("${{ parameters.limit }}")), json!(10));
    assert_eq!(rendered(json!("${{ parameters.limit + 1 }}")), json!(11));
    assert_eq!(rendered(json!("${{ [1, 2] }}")), json!([1, 2]));
    assert_eq!(rendered(json!("${{ {'b': 1, 'a': {'c': 2}} }}")).to_string(), r#"{"b":1,"a":{"c":2}}"#);
    assert_eq!(rendered(json!("${{ 1 }}${{ 2 }}")), json!("12"));
    assert_eq!(rendered(json!(" ${{ 1 }}")), json!(" 1"));
    assert_eq!(rendered(json!({ "a": ["x", "n=${{ parameters.limit }}"] })), json!({ "a": ["x", "n=10"] }));
}

#[test]
fn numbers_stay_what_they_are() {
    for source in ["parameters.half", "parameters.half + 0"] {
        assert_eq!(evaluate(source).expect("a number").to_string(), "0.5");
    }
    assert_eq!(evaluate("parameters.big").expect("a number"), json!(u64::MAX));
    assert_eq!(evaluate("[parameters.big][0]").expect("a number"), json!(u64::MAX));
    assert_eq!(evaluate("10 * 1.5").expect("a number").to_string(), "15.0");
    assert_eq!(evaluate("2 + 3").expect("a number").to_string(), "5");
    assert_eq!(failure("1 / 0").class, FailureClass::InvalidExpression);
}

#[test]
fn other_braces_pass_untouched() {
    for text in ["${HOME}", "{{ x }}", "{% if %}", "$", "${", "a $ b"] {
        assert_eq!(rendered(json!(text)), json!(text));
    }
    assert_eq!(rendered(json!("${{ '${{' }} x }}")), json!("${{ x }}"));
    for text in ["${% if %}", "${# note #}", "${{ open", "${{ 'a }}"] {
        assert!(Template::compile(&json!(text), &|_| Field::Template).is_err(), "{text}");
    }
}

#[test]
fn strings_and_braces_inside_do_not_end_an_expression() {
    assert_eq!(rendered(json!("${{ '}}' }}")), json!("}}"));
    assert_eq!(rendered(json!("${{ \"a\\\"}}\" }}!")), json!("a\"}}!"));
    assert_eq!(rendered(json!("${{ {'a': {'b': 1}}['a']['b'] }}")), json!(1));
}

#[test]
fn plain_paths_and_the_interpreter_agree() {
    for path in [
        "parameters.limit",
        "parameters['limit']",
        "parameters.none",
        "components.fetch.output.body.lines[1].sku",
        "components.fetch.output['body']['odd key']",
        "components.fetch.status",
        "components.fetch.attempts",
        "components.broken.error.class",
        "components.broken.attempts",
        "execution.id",
        "components.fetch.output",
        "components.fetch.output.body.lines",
        "components.fetch.output.text[1]",
    ] {
        let direct = evaluate(path).expect(path);
        assert_eq!(evaluate(&format!("({path})")).expect(path).to_string(), direct.to_string(), "{path}");
    }
    for path in [
        "parameters.nothing",
        "parameters.limit.x",
        "components.fetch.output.body.lines[7]",
        "components.broken.output",
        "components.fetch.error",
        "components.none.output",
        "nothing",
        "components.fetch.output.text.x",
        "components.fetch.output.body.lines.x",
        "components.fetch.output.body[0]",
        "components.fetch.output.text[99]",
        "components.fetch",
        "components",
        "parameters.none.x",
    ] {
        let direct = failure(path);
        assert_eq!(failure(&format!("({path})")), direct, "{path}");
        assert_eq!(direct.class, FailureClass::InvalidExpression);
    }
}

#[test]
fn what_is_missing_is_named() {
    assert_eq!(
        failure("components.fetch.output.body.totl").message,
        "`components.fetch.output.body.totl` is missing: did you mean `total`?"
    );
    assert_eq!(
        failure("components.fetch.output.body.totl > 3").message,
        "`components.fetch.output.body.totl` is missing: did you mean `total`?"
    );
    assert_eq!(
        failure("components.broken.output.x").message,
        "`components.broken.output.x` is missing: `broken` has no output, it is failed"
    );
    assert_eq!(
        failure("components.fetch.output.body.lines[9]").message,
        "`components.fetch.output.body.lines[9]` is missing: the list has 2 items"
    );
}

#[test]
fn there_are_ways_around_a_missing_value() {
    assert_eq!(evaluate("components.fetch.output.nothing | default(3)").expect("a default"), json!(3));
    assert_eq!(evaluate("components.broken.output is defined").expect("a boolean"), json!(false));
    assert_eq!(evaluate("components.broken.output | default('x')").expect("a default"), json!("x"));
    assert_eq!(evaluate("parameters.nothing is defined").expect("a boolean"), json!(false));
    assert_eq!(
        evaluate("components.fetch.output.text if components.fetch.status == 'completed' else 'none'")
            .expect("text"),
        json!("hello")
    );
}

#[test]
fn filters_reshape() {
    assert_eq!(
        evaluate("components.fetch.output.body.lines | map(attribute='n') | sum").expect("a sum"),
        json!(5)
    );
    assert_eq!(
        evaluate(
            "components.fetch.output.body.lines | selectattr('n', 'gt', 2) | map(attribute='sku') | list"
        )
        .expect("a list"),
        json!(["b"])
    );
    assert_eq!(evaluate("components.fetch.output.text ~ '!' | upper").expect("text"), json!("hello!"));
}

#[test]
fn a_whole_stored_output_is_passed_on_and_a_part_is_asked_for() {
    let payload = PayloadId::from_uuid(uuid::Uuid::from_u128(7));
    let whole = render(json!({ "a/b": ["x", "${{ components.huge.output }}"] })).expect("a reference");
    assert_eq!(whole.value, json!({ "a/b": ["x", null] }));
    assert_eq!(whole.references, [("/a~1b/1".to_owned(), payload)]);
    for part in [
        "${{ components.huge.output.x }}",
        "${{ components.huge.output | length }}",
        "text ${{ components.huge.output }}",
    ] {
        match render(json!([part, "${{ parameters.limit }}"])) {
            Err(EvaluationError::Needs(needs)) => assert_eq!(needs, [payload], "{part}"),
            other => panic!("{part}: {other:?}"),
        }
    }
    assert_eq!(rendered(json!("${{ components.huge.status }}")), json!("completed"));
}

#[test]
fn a_secret_is_a_mark_and_cannot_be_forged() {
    assert_eq!(
        rendered(
            json!({ "k": "Bearer ${{secrets.TOKEN}}", "n": "${{ parameters.limit }}-${{ secrets.A }}" })
        ),
        json!({ "k": "Bearer ${{ secrets.TOKEN }}", "n": "10-${{ secrets.A }}" })
    );
    assert!(Expression::compile("secrets.TOKEN == 'x'").is_err());
    for text in
        ["${{ secrets.TOKEN | upper }}", "${{ 'a' ~ secrets.TOKEN }}", "${{ secrets }}", "${{ secrets.A.b }}"]
    {
        assert!(Template::compile(&json!(text), &|_| Field::Template).is_err(), "{text}");
    }
    let mut world = world();
    world.roots.insert("parameters", json!({ "a": "${{ secrets.TOKEN }}", "b": "{{ secrets.TOKEN }}" }));
    for text in ["${{ parameters.a }}", "x ${{ parameters.a }}", "$${{ parameters.b }}", "${{ parameters }}"]
    {
        let template = Template::compile(&json!(text), &|_| Field::Template).expect("it compiles");
        match template.render(&world) {
            Err(EvaluationError::Failed(failure)) => assert_eq!(failure.class, FailureClass::InvalidInput),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[test]
fn fields_are_read_as_their_kind_says() {
    let kind = |path: &[&str]| match path {
        ["condition"] => Field::Expression,
        ["row"] => Field::RowExpression,
        ["sql"] => Field::Verbatim,
        _ => Field::Template,
    };
    let template = Template::compile(
        &json!({ "condition": "parameters.limit > 3", "row": "item.x > bind.y", "sql": "select '{{'", "t": "a" }),
        &kind,
    )
    .expect("it compiles");
    assert_eq!(
        template.render(&world()).expect("a value").value,
        json!({ "condition": true, "row": "item.x > bind.y", "sql": "select '{{'", "t": "a" })
    );
    let errors = Template::compile(
        &json!({ "condition": "${{ true }}", "row": "parameters.x", "sql": "x ${{ 1 }}", "t": ["ok", "${{ 1 + }}"] }),
        &kind,
    )
    .expect_err("everything is wrong");
    let paths: Vec<String> = errors.iter().map(|(path, _)| path.join(".")).collect();
    assert_eq!(paths, ["condition", "row", "sql", "t.1"]);
}

#[test]
fn names_are_checked_when_compiling() {
    for (source, message, suggestion) in [
        ("range(10)", "`range` is no function: expressions have filters instead", None),
        ("x | lenght", "there is no filter `lenght`", Some("did you mean `length`?")),
        ("x is definde", "there is no test `definde`", Some("did you mean `defined`?")),
        ("self.x", "`self` is not a root", None),
        ("now()", "`now` is no function: expressions have filters instead", None),
    ] {
        let error = Expression::compile(source).expect_err(source);
        assert_eq!(error.message, message);
        if let Some(suggestion) = suggestion {
            assert_eq!(error.suggestion.as_deref(), Some(suggestion));
        }
    }
    let names: Vec<String> =
        Expression::compile("components.a.output.x[0]['y z'] > parameters.n | int and f(1)")
            .map(|e| e.references().iter().map(ToString::to_string).collect())
            .unwrap_or_default();
    assert!(names.is_empty(), "a function is refused");
    let expression =
        Expression::compile("components.a.output.x[0]['y z'] > parameters.n | default(value=bind)")
            .expect("it compiles");
    let names: Vec<String> = expression.references().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["components.a.output.x[0]['y z']", "parameters.n", "bind"]);
}

#[test]
fn rows_are_evaluated_one_by_one() {
    let expression = RowExpression::compile("item.n * bind.factor + index").expect("it compiles");
    let bind = json!({ "factor": 3 });
    let values: Vec<Value> = (0..3)
        .map(|index| expression.evaluate(&json!({ "n": 10 }), index, &bind).expect("a number"))
        .collect();
    assert_eq!(values, [json!(30), json!(31), json!(32)]);
    let fold = RowExpression::compile("accumulator + item").expect("it compiles");
    let sum =
        (1..=4).try_fold(json!(0), |sum, n| fold.fold(&sum, &json!(n), 0, &Value::Null)).expect("a sum");
    assert_eq!(sum, json!(10));
    assert!(fold.evaluate(&json!(1), 0, &Value::Null).is_err());
    assert!(RowExpression::compile("components.a.output").is_err());
    assert!(RowExpression::compile("item.n").expect("a path").evaluate(&json!({}), 0, &Value::Null).is_err());
}

/// Every bomb ends in an error, quickly, on a stack of 2 MiB.
#[test]
fn bombs_do_not_go_off() {
    let sum = vec!["1"; 999].join("+");
    let bombs: Vec<String> = vec![
        "'x' * 10**9".into(),
        "'x' * 1000000000".into(),
        "['x'] * 100000000".into(),
        "('x' * 100000) | replace('x', 'y' * 100000)".into(),
        "('x' * 200000) ~ ('x' * 200000)".into(),
        "[1] * 1000000 | join(',' * 1000)".into(),
        "'%1000000000d' | format(1)".into(),
        "2 ** 100000".into(),
        "9 ** 9 ** 9 ** 9".into(),
        "([1] * 400000) | map('string') | list".into(),
        "(([1] * 1000) | batch(1) | list | batch(1) | list) * 1000".into(),
        "[[1] * 300] * 300 * 300".into(),
        "range(1000000000)".into(),
        "lipsum(100000)".into(),
        sum,
        format!("{}1", "-".repeat(1_999)),
        format!("{}1{}", "(".repeat(999), ")".repeat(999)),
        format!("{}1{}", "[".repeat(999), "]".repeat(999)),
        format!("{}true", "not ".repeat(400)),
        vec!["'x'"; 499].join("~"),
        vec!["a"; 600].join("."),
        vec!["1"; 400].join(" if 1 else "),
        format!("x{}", "|upper".repeat(300)),
        "1".repeat(2_000),
        "a".repeat(2_001),
        format!("{}1{}", "{'a':".repeat(200), "}".repeat(200)),
        "('a,' * 100000) | split(',') | map('upper') | join".into(),
        "([[1,2],[3,4]] * 100000) | sum(start=[]) ".into(),
        "('ab' * 50000) | list | unique | list | tojson".into(),
        "'x' | indent(1000000000)".into(),
        "1.0 * 10 ** 400".into(),
        "([1] * 400000) | unique | list | length".into(),
        "([[1] * 1000] * 1000) | sort | length".into(),
        "([[1] * 1000] * 1000) | unique | list | length".into(),
        "([{'a': [1] * 500}] * 800) | groupby('a') | length".into(),
        "([[1] * 1000] * 1000) | max".into(),
        "([1] * 400000) | zip([1] * 400000, [1] * 400000) | list | length".into(),
        "([1] * 400000) | chain([1] * 400000) | list | length".into(),
        "([1] * 400000) | reverse | batch(3) | slice(1000) | list | length".into(),
        "(['a' * 1000] * 300) | join(',') | split('a') | reverse | join('bb') | length".into(),
        format!("([1] * 400000){}", " + [1]".repeat(290)),
        format!("([1] * 10000){} | length", " + ([1] * 10000)".repeat(90)),
        format!("('x' * 10000){} | length", " ~ ('x' * 10000)".repeat(90)),
        format!("{}([1] * 400000){}", "[".repeat(140), "][0]".repeat(140)),
        format!("({} in ([1] * 100000))", vec!["2 in ([1] * 100000)"; 60].join(" or ")),
        "([[1, 2]] * 100000) | map('join', ',') | join | length".into(),
        "(([[1] * 300] * 300) | tojson | length) * ([[1] * 300] * 300 | tojson | length)".into(),
        "([1] * 400000) == ([1] * 400000)".into(),
        "([1] * 400000)[::-1][::-1][::2] | last".into(),
        "([1.5] * 400000) | sum".into(),
    ];
    let run = move || {
        for bomb in bombs {
            let begun = Instant::now();
            let outcome = Expression::compile(&bomb)
                .map_err(|error| error.to_string())
                .and_then(|expression| expression.evaluate(&world()).map_err(|error| error.to_string()));
            let spent = begun.elapsed();
            assert!(spent < Duration::from_secs(2), "{bomb:.60} took {spent:?}");
            if let Ok(value) = &outcome {
                assert!(value.to_string().len() < 300_000, "{bomb:.60}");
            }
        }
    };
    std::thread::Builder::new()
        .stack_size(2 * 1024 * 1024)
        .spawn(run)
        .expect("a thread")
        .join()
        .expect("no panic");
}

#[test]
fn limits_are_named_as_limits() {
    for source in ["'x' * 300000", "[1] * 1000000", "('x' * 200000) ~ ('x' * 200000)"] {
        assert_eq!(
            failure(source).class,
            FailureClass::LimitExceeded,
            "{source}: {}",
            failure(source).message
        );
    }
}

fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "1",
        "-",
        "+",
        "*",
        "**",
        "//",
        "%",
        "~",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        ".",
        "|",
        "'x'",
        "\"y\"",
        " not ",
        " and ",
        " or ",
        " if ",
        " else ",
        " in ",
        " is ",
        "defined",
        "length",
        "join",
        "list",
        "map",
        "sort",
        "parameters",
        ".limit",
        "components.fetch.output",
        ".body.lines",
        "[0]",
        "==",
        "<",
        "9999999999",
        "0.5",
        "true",
        "none",
        "replace('x','xx')",
        "batch(2)",
        "sum",
        "'x'*1000",
        "[1]*1000",
        "=",
        "attribute",
        "é",
        "\\",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_text_panics_or_runs_long(source in "\\PC{0,300}") {
        let begun = Instant::now();
        let _ = Expression::compile(&source).map(|expression| expression.evaluate(&world()));
        let _ = Template::compile(&json!(format!("a ${{{{ {source} }}}} b")), &|_| Field::Template);
        prop_assert!(begun.elapsed() < Duration::from_secs(1));
    }

    #[test]
    fn no_expression_panics_or_runs_long(words in proptest::collection::vec(word(), 1..120)) {
        let source: String = words.concat();
        let begun = Instant::now();
        if let Ok(expression) = Expression::compile(&source) {
            let _ = expression.evaluate(&world());
        }
        prop_assert!(begun.elapsed() < Duration::from_secs(1), "{} took {:?}", source, begun.elapsed());
    }
}
