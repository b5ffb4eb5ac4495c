//! The workflows that are measured. A step adds one to its input, so every run checks its result.

use serde_json::{Map, Value, json};

/// A document and what an execution of it gives back.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) definition: Value,
    pub(crate) expected: Value,
}

fn step(needs: Option<&str>, rows: Value) -> Value {
    let mut component = json!({ "type": "map", "config": { "rows": rows, "expression": "item + 1" } });
    if let Some(needs) = needs {
        component["needs"] = json!([needs]);
    }
    component
}

fn rows_of(id: &str) -> Value {
    json!(format!("${{{{ components.{id}.output.rows }}}}"))
}

fn document(name: &str, components: Map<String, Value>) -> Value {
    json!({ "workflow": "v1", "name": name, "components": components })
}

/// So many steps, one after another.
pub(crate) fn chain(length: usize) -> Case {
    let mut components = Map::new();
    for number in 1..=length {
        let before = format!("s{}", number - 1);
        let (needs, rows) =
            if number == 1 { (None, json!([0])) } else { (Some(before.as_str()), rows_of(&before)) };
        components.insert(format!("s{number}"), step(needs, rows));
    }
    let last = format!("s{length}");
    components.insert(
        "done".to_owned(),
        json!({ "type": "end", "needs": [last], "config": { "output": rows_of(&last) } }),
    );
    Case { definition: document(&format!("bench-chain-{length}"), components), expected: json!([length]) }
}

/// One step, then so many at once, then a join.
pub(crate) fn fan_out(width: usize) -> Case {
    let mut components = Map::new();
    components.insert("first".to_owned(), step(None, json!([0])));
    let names: Vec<String> = (1..=width).map(|number| format!("p{number}")).collect();
    for name in &names {
        components.insert(name.clone(), step(Some("first"), rows_of("first")));
    }
    components.insert("all".to_owned(), json!({ "type": "join", "needs": names }));
    let last = format!("p{width}");
    components.insert(
        "done".to_owned(),
        json!({
            "type": "end", "needs": ["all"],
            "config": { "output": { "first": rows_of("p1"), "last": rows_of(&last) } },
        }),
    );
    Case {
        definition: document(&format!("bench-fan-out-{width}"), components),
        expected: json!({ "first": [2], "last": [2] }),
    }
}

/// A loop of one step over a list of so many numbers, which a worker reads.
pub(crate) fn each(count: usize, parallel: usize) -> Case {
    let text = format!("n\n{}", "0\n".repeat(count));
    let mut components = Map::new();
    components.insert(
        "list".to_owned(),
        json!({ "type": "csv_parse", "config": { "input": text, "types": { "n": "integer" }, "as": "rows" } }),
    );
    components.insert(
        "each".to_owned(),
        json!({
            "type": "loop",
            "needs": ["list"],
            "config": { "items": "${{ components.list.output.rows }}", "max_parallel": parallel },
            "components": { "step": step(None, json!(["${{ item.n }}"])) },
        }),
    );
    components.insert(
        "done".to_owned(),
        json!({ "type": "end", "needs": ["each"], "config": { "output": count } }),
    );
    Case { definition: document(&format!("bench-loop-{count}"), components), expected: json!(count) }
}

/// One wait until an instant.
pub(crate) fn until(instant: &str) -> Case {
    let mut components = Map::new();
    components.insert("wait".to_owned(), json!({ "type": "delay", "config": { "until": instant } }));
    components
        .insert("done".to_owned(), json!({ "type": "end", "needs": ["wait"], "config": { "output": 1 } }));
    Case { definition: document("bench-until", components), expected: json!(1) }
}

/// One step that cannot do its work.
pub(crate) fn failing() -> Case {
    let mut components = Map::new();
    let mut component = step(None, json!([0]));
    component["config"]["expression"] = json!("item.nothing.more");
    components.insert("s1".to_owned(), component);
    Case { definition: document("bench-failing", components), expected: Value::Null }
}

/// So many calls of a service that takes its time, one after another.
pub(crate) fn calls(length: usize, url: &str) -> Case {
    let mut components = Map::new();
    for number in 1..=length {
        let mut component = json!({ "type": "http_request", "config": { "method": "GET", "url": url } });
        if number > 1 {
            component["needs"] = json!([format!("s{}", number - 1)]);
        }
        components.insert(format!("s{number}"), component);
    }
    let last = format!("s{length}");
    components.insert(
        "done".to_owned(),
        json!({
            "type": "end", "needs": [last],
            "config": { "output": format!("${{{{ components.{last}.output.status }}}}") },
        }),
    );
    Case { definition: document(&format!("bench-calls-{length}"), components), expected: json!(200) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_reads_the_one_before() {
        let case = chain(3);
        let components = &case.definition["components"];
        assert_eq!(components.as_object().map(Map::len), Some(4));
        assert_eq!(components["s1"]["config"]["rows"], json!([0]));
        assert_eq!(components["s3"]["needs"], json!(["s2"]));
        assert_eq!(components["s3"]["config"]["rows"], json!("${{ components.s2.output.rows }}"));
        assert_eq!(case.expected, json!([3]));
    }

    #[test]
    fn a_join_waits_for_every_branch() {
        let case = fan_out(5);
        assert_eq!(case.definition["components"]["all"]["needs"], json!(["p1", "p2", "p3", "p4", "p5"]));
    }
}
