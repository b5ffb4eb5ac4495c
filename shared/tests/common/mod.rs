//! A small catalogue for the tests of this crate; the real one lives in the crate `components`.
#![allow(dead_code, reason = "each test binary uses its own part")]

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::component::{
    Catalogue, ConfigProblem, Descriptor, Effect, Family, Field, OwnPorts, Runs,
    control::{
        Approval, Decision, Delay, End, Fail, ForLoop, Group, HumanTask, Join, Log, Loop, Noop, Parallel,
        Race, SetVariables, Start, SubWorkflow, Switch, TryCatch, WaitForEvent, WhileLoop,
    },
};

fn schema_of<T: JsonSchema>() -> Value {
    schemars::schema_for!(T).to_value()
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// Asks an HTTP server.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpRequest {
    /// The method.
    method: Method,
    /// The address.
    #[schemars(length(min = 1))]
    url: String,
    /// Sent with the request.
    #[serde(default)]
    headers: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    #[schemars(range(min = 0, max = 10))]
    max_redirects: Option<u32>,
    #[serde(default)]
    follow: bool,
}

/// Keeps rows.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Filter {
    rows: Value,
    condition: Value,
    #[serde(default)]
    bind: Map<String, Value>,
}

/// Asks a database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Query {
    sql: String,
    #[serde(default)]
    arguments: Vec<Value>,
}

fn descriptor(kind: &'static str, schema: fn() -> Value) -> Descriptor {
    Descriptor {
        kind,
        aliases: &[],
        family: Family::Control,
        runs: Runs::Coordinator,
        summary: "A type for tests.",
        schema,
        example: || json!({}),
        ports: |_| OwnPorts::none(),
        effect: |_| Effect::Pure,
        field: |_, _| Field::Template,
        check: |_| Vec::new(),
        build: None,
    }
}

pub(crate) fn catalogue() -> Catalogue {
    Catalogue::new(&[
        descriptor("start", schema_of::<Start>),
        descriptor("end", schema_of::<End>),
        Descriptor { aliases: &["pass"], ..descriptor("noop", schema_of::<Noop>) },
        Descriptor {
            aliases: &["if_then", "condition"],
            ports: |_| OwnPorts::one_of(&["true", "false"]),
            field: |_, path| if path == ["condition"] { Field::Expression } else { Field::Template },
            ..descriptor("decision", schema_of::<Decision>)
        },
        Descriptor {
            ports: |config| OwnPorts {
                names: config["cases"]
                    .as_object()
                    .map(|cases| cases.keys().cloned().collect::<Vec<_>>())
                    .unwrap_or_default()
                    .into_iter()
                    .chain(["default".to_owned()])
                    .collect(),
                exclusive: config["match"] != "all",
            },
            field: |config, path| {
                if path.first() == Some(&"cases") && config.get("value").is_none() {
                    Field::Expression
                } else {
                    Field::Template
                }
            },
            ..descriptor("switch", schema_of::<Switch>)
        },
        Descriptor {
            ports: |config| OwnPorts {
                names: config["branches"]
                    .as_array()
                    .map(|list| list.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                    .unwrap_or_default(),
                exclusive: false,
            },
            ..descriptor("parallel", schema_of::<Parallel>)
        },
        descriptor("join", schema_of::<Join>),
        Descriptor {
            check: |config| match (config.get("for"), config.get("until")) {
                (None, None) => vec![ConfigProblem {
                    path: Vec::new(),
                    message: "one of `for` and `until` is required".to_owned(),
                    suggestion: Some("write `for: 30s`".to_owned()),
                }],
                _ => Vec::new(),
            },
            ..descriptor("delay", schema_of::<Delay>)
        },
        descriptor("fail", schema_of::<Fail>),
        descriptor("log", schema_of::<Log>),
        descriptor("set_variables", schema_of::<SetVariables>),
        Descriptor {
            field: |_, path| {
                if path == ["on_unhandled_failure"] { Field::Verbatim } else { Field::Template }
            },
            ..descriptor("group", schema_of::<Group>)
        },
        Descriptor { aliases: &["foreach", "for_each"], ..descriptor("loop", schema_of::<Loop>) },
        descriptor("for_loop", schema_of::<ForLoop>),
        Descriptor {
            aliases: &["while"],
            field: |_, path| if path == ["condition"] { Field::Deferred } else { Field::Template },
            ..descriptor("while_loop", schema_of::<WhileLoop>)
        },
        descriptor("race", schema_of::<Race>),
        Descriptor {
            aliases: &["try"],
            ports: |_| OwnPorts { names: vec!["caught".to_owned()], exclusive: false },
            ..descriptor("try_catch", schema_of::<TryCatch>)
        },
        Descriptor {
            aliases: &["subprocess"],
            effect: |_| Effect::Idempotent,
            ..descriptor("sub_workflow", schema_of::<SubWorkflow>)
        },
        Descriptor {
            ports: |_| OwnPorts::one_of(&["approved", "rejected", "expired"]),
            ..descriptor("approval", schema_of::<Approval>)
        },
        Descriptor {
            ports: |_| OwnPorts::one_of(&["submitted", "expired"]),
            ..descriptor("human_task", schema_of::<HumanTask>)
        },
        Descriptor {
            ports: |_| OwnPorts { names: vec!["received".to_owned()], exclusive: false },
            field: |_, path| if path == ["filter"] { Field::Deferred } else { Field::Template },
            ..descriptor("wait_for_event", schema_of::<WaitForEvent>)
        },
        Descriptor {
            aliases: &["http"],
            runs: Runs::Worker,
            effect: |config| if config["method"] == "GET" { Effect::Reads } else { Effect::Effect },
            ..descriptor("http_request", schema_of::<HttpRequest>)
        },
        Descriptor {
            runs: Runs::Worker,
            field: |_, path| if path == ["condition"] { Field::RowExpression } else { Field::Template },
            ..descriptor("filter", schema_of::<Filter>)
        },
        Descriptor {
            runs: Runs::Worker,
            field: |_, path| if path == ["sql"] { Field::Verbatim } else { Field::Template },
            ..descriptor("query", schema_of::<Query>)
        },
    ])
}

pub(crate) const ORDER: &str = r"# What happens to an order.
workflow: v1
name: order-fulfilment
labels: { team: shop }
parameters:
  order_id: { type: string, required: true }
  limit: { type: integer, default: 10000 }
concurrency:
  key: ${{ parameters.order_id }}
  limit: 1
timeout: 2h

components:
  # The order as the shop has it.
  fetch:
    type: http
    config:
      method: GET
      url: https://shop.example/orders/${{ parameters.order_id }}
      headers:
        authorization: Bearer ${{ secrets.SHOP }}
    retry: { max_attempts: 5, backoff: exponential, initial: 1s, cap: 60s, on: [timeout, http_5xx] }
    timeout: 30s   # the shop is slow

  large:
    type: decision@1
    needs: [fetch]
    config: { condition: components.fetch.output.body.total > parameters.limit }
  note:
    type: noop
    needs: [large.true]
    config:
      value: |
        A large order:
          ${{ components.fetch.output.body.total }}
  ship:
    type: http_request
    needs: [large.false, note]
    join: any
    config:
      method: POST
      url: https://shop.example/ship
      body: ${{ components.fetch.output.body }}
  failed:
    type: noop
    needs: [ship.error, ship.timeout]
    join: any
output:
  tracking: ${{ components.ship.output.body | default(none) }}
layout:
  fetch: { x: 10, y: 20 }
";
