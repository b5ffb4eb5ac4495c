//! `type: database_query`: a statement, or several in one transaction.
//!
//! Every run is one transaction in a task of its own, so that an attempt that is given up rolls back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::{
    component::{
        ConfigProblem, Context, Effect, Failure, FailureClass, Family, Field, Outcome, OwnPorts, Run,
    },
    time::parse_duration,
};
use sqlx::{AssertSqlSafe, Executor, PgConnection, SqliteConnection};
use tokio_util::sync::CancellationToken;

use crate::{
    Environment,
    describe::{Component, Work, cancelled, exactly_one, invalid_config, is_expression, problem},
    environment::Connector,
    row_flow::{Row, absent, arrive, depart, lookup},
    sql::{self, Answer, Dialect, postgres, sqlite},
};

/// Whether a run may change something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In a read-only transaction; the database refuses every change.
    #[default]
    Read,
    /// May change something.
    Write,
}

/// What of the rows is given back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fetch {
    /// All of them, as `rows`.
    #[default]
    All,
    /// The first one, as `row`; null when there is none.
    One,
    /// Only the counts.
    None,
    /// All of them, as a row set (a file of one JSON object a line).
    Rows,
}

/// How a PostgreSQL transaction is kept apart from others. SQLite is always serializable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Each statement sees what is committed before it.
    #[default]
    ReadCommitted,
    /// All statements see one state.
    RepeatableRead,
    /// As if one after another; may fail as `unavailable` and be tried again.
    Serializable,
}

/// One of several statements: text, or a map when it has parameters.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneStatement {
    /// The statement alone.
    Text(String),
    /// The statement and its values.
    Full(Statement),
}

/// A statement and its values.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// The SQL, with `$1`, `$2` … where values stand.
    pub sql: String,
    /// The values for `$1`, `$2` …; with `rows` they come after those of `row_fields`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Value>,
    /// Rows, for each of which the statement is run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Value>,
    /// The fields of a row that become `$1`, `$2` …; not needed for rows that are lists of values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub row_fields: Vec<String>,
}

fn a_thousand() -> u32 {
    1_000
}

fn a_hundred_thousand() -> u64 {
    100_000
}

fn thirty_seconds() -> String {
    "30s".to_owned()
}

/// Runs SQL on a database: one statement, several in one transaction, or one for each of many rows.
///
/// Values are passed with `params` and never written into the SQL. With `sql` the output is `rows` (or `row`, by
/// `fetch`), `row_count` and `rows_affected`; with `statements` it is `results`, one such map a statement, and
/// `rows_affected` in all. In mode `read` the port `found` fires when the last statement gave a row, `empty` otherwise.
/// Decimals of PostgreSQL are numbers up to 15 digits and text beyond; bytes are hexadecimal text.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseQuery {
    /// The connector of a SQLite or PostgreSQL database, such as `data`.
    pub connector: String,
    /// The SQL, with `$1`, `$2` … where values stand. Either this or `statements`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<String>,
    /// Several statements in one transaction, run in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100))]
    pub statements: Option<Vec<OneStatement>>,
    /// The values for `$1`, `$2` … of `sql`; with `rows` they come after those of `row_fields`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<Value>,
    /// Names for `{name}` holes in the SQL, such as a table; quoted by the platform.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identifiers: BTreeMap<String, String>,
    /// Rows, for each of which `sql` is run, all in one transaction: a list, an output with `rows`, or a row set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Value>,
    /// The fields of a row that become `$1`, `$2` …; not needed for rows that are lists of values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub row_fields: Vec<String>,
    /// After how many rows a cancellation is looked for.
    #[serde(default = "a_thousand")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch: u32,
    /// Whether something may be changed.
    #[serde(default)]
    pub mode: Mode,
    /// What of the rows is given back.
    #[serde(default)]
    pub fetch: Fetch,
    /// How many rows a statement may give.
    #[serde(default = "a_hundred_thousand")]
    pub max_rows: u64,
    /// How the transaction is kept apart from others.
    #[serde(default)]
    pub isolation: Isolation,
    /// How long the whole may take in the database, such as `30s`.
    #[serde(default = "thirty_seconds")]
    pub statement_timeout: String,
}

/// A statement with what it is run for.
struct Order {
    sql: String,
    params: Vec<Value>,
    rows: Option<Vec<Row>>,
    row_fields: Vec<String>,
}

impl Order {
    fn params_of(&self, row: &Row) -> Result<Vec<Value>, Failure> {
        let wrong = |mut failure: Failure| {
            failure.message = format!("row {}: {}", row.number, failure.message);
            failure.details = Some(json!({ "row": row.number }));
            failure
        };
        let mut params = match &row.value {
            Value::Array(list) if self.row_fields.is_empty() => list.clone(),
            value => {
                let fields = self.row_fields.iter();
                let found = fields.map(|field| lookup(value, field).cloned().ok_or_else(|| absent(field)));
                found.collect::<Result<Vec<_>, _>>().map_err(wrong)?
            }
        };
        params.extend(self.params.iter().cloned());
        Ok(params)
    }
}

/// Either engine's connection inside its transaction.
enum Session<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Session<'_> {
    async fn execute(&mut self, sql: &str, params: &[Value], max_rows: u64) -> Result<Answer, Failure> {
        match self {
            Self::Sqlite(connection) => {
                let mut answer = sqlite::execute(connection, sql, params, max_rows).await?;
                // SQLite goes on telling the count of the last statement that had one.
                if !counts_rows(sql) {
                    answer.affected = 0;
                }
                Ok(answer)
            }
            Self::Postgres(connection) => postgres::execute(connection, sql, params, max_rows).await,
        }
    }

    async fn all(
        mut self,
        orders: &[Order],
        max_rows: u64,
        batch: u32,
        stop: &CancellationToken,
    ) -> Result<Vec<Answer>, Failure> {
        let mut answers = Vec::with_capacity(orders.len());
        for (index, order) in orders.iter().enumerate() {
            let place = |mut failure: Failure| {
                if orders.len() > 1 {
                    failure.message = format!("statement {index}: {}", failure.message);
                }
                failure
            };
            let Some(rows) = &order.rows else {
                answers.push(self.execute(&order.sql, &order.params, max_rows).await.map_err(place)?);
                continue;
            };
            let mut sum = Answer::default();
            for (done, row) in rows.iter().enumerate() {
                if done.is_multiple_of(batch.max(1) as usize) && stop.is_cancelled() {
                    return Err(cancelled("writing rows to the database"));
                }
                let params = order.params_of(row).map_err(place)?;
                let mut answer =
                    self.execute(&order.sql, &params, max_rows).await.map_err(|mut failure| {
                        failure.message = format!("row {}: {}", row.number, failure.message);
                        if let Some(details) = failure.details.as_mut().and_then(Value::as_object_mut) {
                            details.insert("row".to_owned(), row.number.into());
                        }
                        place(failure)
                    })?;
                sum.affected += answer.affected;
                sum.rows.append(&mut answer.rows);
                if sum.rows.len() as u64 > max_rows {
                    return Err(place(Failure::new(
                        FailureClass::LimitExceeded,
                        format!("the statement gives more than {max_rows} rows (`max_rows`)"),
                    )));
                }
            }
            answers.push(sum);
        }
        Ok(answers)
    }
}

impl DatabaseQuery {
    async fn orders(&self, context: &Context, dialect: Dialect) -> Result<Vec<Order>, Failure> {
        let given: Vec<Statement> = match (&self.sql, &self.statements) {
            (Some(sql), None) => vec![Statement {
                sql: sql.clone(),
                params: self.params.clone(),
                rows: self.rows.clone(),
                row_fields: self.row_fields.clone(),
            }],
            (None, Some(list)) if !list.is_empty() => list
                .iter()
                .map(|one| match one {
                    OneStatement::Full(full) => full.clone(),
                    OneStatement::Text(sql) => {
                        Statement { sql: sql.clone(), params: Vec::new(), rows: None, row_fields: Vec::new() }
                    }
                })
                .collect(),
            _ => return Err(invalid_config("exactly one of `sql` and `statements` must be given")),
        };
        let mut orders = Vec::with_capacity(given.len());
        for statement in given {
            let rows = match &statement.rows {
                Some(rows) => Some(arrive(rows, context).await?.rows),
                None => None,
            };
            orders.push(Order {
                sql: sql::prepare(&statement.sql, &self.identifiers, dialect)?,
                params: statement.params,
                rows,
                row_fields: statement.row_fields,
            });
        }
        Ok(orders)
    }

    /// The transaction, from begin to commit. Ends early, rolled back, when `stop` ends or time is over.
    async fn transact(
        &self,
        context: &Context,
        orders: Vec<Order>,
        stop: CancellationToken,
    ) -> Result<Vec<Answer>, Failure> {
        let limit = self.limit()?;
        let place = Environment::of(context)?.place(&self.connector)?;
        let writes = self.mode == Mode::Write;
        match &place.connector {
            Connector::Sqlite { path } => {
                let wrong = |error: sqlx::Error| sql::failure(&error, Dialect::Sqlite);
                let pool = sqlite::pool(&place.pools, path, writes).await?;
                let begin = if writes { "begin immediate" } else { "begin" };
                let mut transaction = pool.begin_with(begin).await.map_err(wrong)?;
                let inner = CancellationToken::new();
                sqlite::watch(&mut transaction, inner.clone()).await?;
                let session = Session::Sqlite(&mut transaction);
                let result =
                    until(limit, &stop, &inner, session.all(&orders, self.max_rows, self.batch, &stop)).await;
                let mut handle = transaction.lock_handle().await.map_err(wrong)?;
                handle.remove_progress_handler();
                drop(handle);
                match result {
                    Ok(answers) => transaction.commit().await.map(|()| answers).map_err(wrong),
                    Err(failure) => {
                        transaction.rollback().await.map_err(wrong)?;
                        Err(failure)
                    }
                }
            }
            Connector::Postgres { url } => {
                let wrong = |error: sqlx::Error| sql::failure(&error, Dialect::Postgres);
                let pool = postgres::pool(&place.pools, url).await?;
                #[expect(clippy::disallowed_methods, reason = "runs in a task of its own, see `run`")]
                let mut transaction = pool.begin().await.map_err(wrong)?;
                let isolation = match self.isolation {
                    Isolation::ReadCommitted => "read committed",
                    Isolation::RepeatableRead => "repeatable read",
                    Isolation::Serializable => "serializable",
                };
                let access = if writes { "read write" } else { "read only" };
                for setting in [
                    format!("set transaction isolation level {isolation}, {access}"),
                    format!("set local statement_timeout = {}", limit.as_millis().max(1)),
                ] {
                    transaction.execute(AssertSqlSafe(setting)).await.map_err(wrong)?;
                }
                let session = Session::Postgres(&mut transaction);
                let inner = CancellationToken::new();
                match until(limit, &stop, &inner, session.all(&orders, self.max_rows, self.batch, &stop))
                    .await
                {
                    Ok(answers) => transaction.commit().await.map(|()| answers).map_err(wrong),
                    Err(failure) if inner.is_cancelled() => {
                        // The server may be at work until its own time-out; the rollback waits for it, we do not.
                        drop(transaction);
                        Err(failure)
                    }
                    Err(failure) => {
                        transaction.rollback().await.map_err(wrong)?;
                        Err(failure)
                    }
                }
            }
            Connector::Folder { .. }
            | Connector::Http { .. }
            | Connector::Smtp(_)
            | Connector::Webhook { .. }
            | Connector::Rabbitmq { .. }
            | Connector::Redis { .. } => {
                Err(invalid_config(format!("the connector `{}` is not a database", self.connector)))
            }
        }
    }

    fn limit(&self) -> Result<Duration, Failure> {
        parse_duration(&self.statement_timeout)
            .map_err(|wrong| invalid_config(format!("`statement_timeout`: {wrong}")))
    }

    async fn shaped(&self, answer: Answer, context: &Context) -> Result<Map<String, Value>, Failure> {
        let mut shaped = Map::new();
        let count = answer.rows.len();
        match self.fetch {
            Fetch::All => {
                shaped.insert("rows".to_owned(), Value::Array(answer.rows));
            }
            Fetch::One => {
                shaped.insert("row".to_owned(), answer.rows.into_iter().next().unwrap_or_default());
            }
            Fetch::None => {}
            Fetch::Rows => {
                shaped.insert("rows".to_owned(), depart(answer.rows, true, context).await?);
            }
        }
        shaped.insert("row_count".to_owned(), count.into());
        shaped.insert("rows_affected".to_owned(), answer.affected.into());
        Ok(shaped)
    }
}

/// Whether a statement changes rows, and so has a count of its own.
fn counts_rows(sql: &str) -> bool {
    let word: String = sql.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    ["insert", "update", "delete", "replace", "with"].iter().any(|kind| word.eq_ignore_ascii_case(kind))
}

/// Work until it is done, time is over, or `stop` ends; `inner` tells the database in the latter cases.
async fn until<T>(
    limit: Duration,
    stop: &CancellationToken,
    inner: &CancellationToken,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        biased;
        () = stop.cancelled() => {
            inner.cancel();
            Err(cancelled("waiting for the database"))
        }
        () = tokio::time::sleep(limit) => {
            inner.cancel();
            Err(Failure::new(
                FailureClass::Timeout,
                format!("the database was not done within {} (`statement_timeout`)", shared::time::format_duration(limit)),
            ))
        }
        result = work => result,
    }
}

#[async_trait]
impl Run for DatabaseQuery {
    async fn run(&self, context: &Context) -> Result<Outcome, Failure> {
        let place = Environment::of(context)?.place(&self.connector)?;
        let dialect = match place.connector {
            Connector::Postgres { .. } => Dialect::Postgres,
            _ => Dialect::Sqlite,
        };
        let orders = self.orders(context, dialect).await?;
        let stop = context.cancel.child_token();
        // An attempt that is dropped ends its transaction as one that is cancelled does.
        let _stopped_when_dropped = stop.clone().drop_guard();
        let (query, inside) = (Arc::new(self.clone()), context.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "awaited on the next line, and stopped by `stop` when this is dropped"
        )]
        let task = tokio::spawn(async move { query.transact(&inside, orders, stop).await });
        let answers = task.await.map_err(|broken| {
            Failure::new(FailureClass::Internal, format!("the work on the database broke: {broken}"))
        })??;
        let found = answers.last().is_some_and(|answer| !answer.rows.is_empty());
        let affected: u64 = answers.iter().map(|answer| answer.affected).sum();
        let mut results = Vec::with_capacity(answers.len());
        for answer in answers {
            results.push(self.shaped(answer, context).await?);
        }
        let output = match (&self.statements, results.pop()) {
            (None, Some(only)) => Value::Object(only),
            (_, last) => {
                results.extend(last);
                json!({ "results": results, "rows_affected": affected })
            }
        };
        let ports = match self.mode {
            Mode::Read => vec![if found { "found" } else { "empty" }.to_owned()],
            Mode::Write => Vec::new(),
        };
        Ok(Outcome { output, ports })
    }
}

impl Component for DatabaseQuery {
    const KIND: &'static str = "database_query";
    const ALIASES: &'static [&'static str] = &["sql_query", "database", "sql"];
    const FAMILY: Family = Family::Integrations;
    const SUMMARY: &'static str =
        "Runs SQL on a database: a statement, a transaction, or one statement for many rows.";

    fn example() -> Value {
        json!({ "connector": "data", "sql": "select $1 as answer", "params": [42] })
    }

    fn ports(config: &Value) -> OwnPorts {
        if writes(config) { OwnPorts::none() } else { OwnPorts::one_of(&["found", "empty"]) }
    }

    fn effect(config: &Value) -> Effect {
        if writes(config) { Effect::Effect } else { Effect::Reads }
    }

    fn field(_: &Value, path: &[&str]) -> Field {
        match path {
            ["sql" | "statements"] | ["statements", "sql"] => Field::Verbatim,
            _ => Field::Template,
        }
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        let mut problems = exactly_one(config, &["sql", "statements"]);
        let timeout =
            config.get("statement_timeout").filter(|text| !is_expression(text)).and_then(Value::as_str);
        if let Some(Err(wrong)) = timeout.map(parse_duration) {
            problems.push(problem(&["statement_timeout"], wrong.to_string()));
        }
        let mut refuse = |sql: Option<&str>, path: &[&str]| {
            if sql.is_some_and(|sql| sql.contains("${{")) {
                let message =
                    "`${{ }}` may not stand inside SQL; write $1, $2 … and pass values with `params`";
                problems.push(problem(path, message));
            }
        };
        refuse(config.get("sql").and_then(Value::as_str), &["sql"]);
        let statements = config.get("statements").and_then(Value::as_array);
        for (index, statement) in statements.into_iter().flatten().enumerate() {
            let index = index.to_string();
            refuse(statement.as_str(), &["statements", &index]);
            refuse(statement.get("sql").and_then(Value::as_str), &["statements", &index, "sql"]);
        }
        problems
    }
}

fn writes(config: &Value) -> bool {
    config.get("mode").and_then(Value::as_str) == Some("write")
}

impl Work for DatabaseQuery {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        self.limit()?;
        Ok(Box::new(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{context, context_with, run_in};

    async fn run(mut config: Value, context: &Context) -> Result<Outcome, Failure> {
        if config.get("connector").is_none() {
            config["connector"] = "data".into();
        }
        run_in("database_query", config, context).await
    }

    async fn write(sql: &str, context: &Context) -> Result<Outcome, Failure> {
        run(json!({ "mode": "write", "sql": sql }), context).await
    }

    async fn class(config: Value, context: &Context) -> FailureClass {
        let shown = config.to_string();
        run(config, context).await.map(|outcome| outcome.output).expect_err(&shown).class
    }

    #[tokio::test]
    async fn rows_come_with_their_types() {
        let (context, _folder) = context();
        write("create table t (i integer, r real, s text, b boolean, x blob, n integer)", &context)
            .await
            .expect("made");
        let insert = json!({
            "mode": "write", "sql": "insert into t values ($1, $2, $3, $4, x'00ff', $5) returning i",
            "params": [9_007_199_254_740_993_i64, 1.5, "Grüße 😀 '; drop table t; --", true, null],
        });
        let inserted = run(insert, &context).await.expect("inserted");
        assert_eq!(inserted.output["rows"][0]["i"], 9_007_199_254_740_993_i64);
        let read = run(json!({ "sql": "select * from t" }), &context).await.expect("read");
        assert_eq!(read.ports, ["found"]);
        assert_eq!(
            read.output["rows"],
            json!([{ "i": 9_007_199_254_740_993_i64, "r": 1.5, "s": "Grüße 😀 '; drop table t; --", "b": true,
                     "x": "00ff", "n": null }])
        );
        let none = run(json!({ "sql": "select * from t where i = $1", "params": [1] }), &context)
            .await
            .expect("none");
        assert_eq!((none.ports, &none.output["row_count"]), (vec!["empty".to_owned()], &json!(0)));
        let one = run(json!({ "sql": "select i from t", "fetch": "one" }), &context).await.expect("one");
        assert_eq!(one.output["row"]["i"], 9_007_199_254_740_993_i64);
        let set =
            run(json!({ "sql": "select i from t", "fetch": "rows" }), &context).await.expect("a row set");
        assert_eq!(set.output["rows"]["rows"], 1);
        let counts =
            run(json!({ "sql": "select i from t", "fetch": "none" }), &context).await.expect("counts");
        assert_eq!(counts.output, json!({ "row_count": 1, "rows_affected": 0 }));
    }

    #[tokio::test]
    async fn a_transaction_is_whole_or_not_at_all() {
        let (context, _folder) = context();
        let load = |rows: Value| {
            json!({ "mode": "write", "fetch": "none", "identifiers": { "table": "t" }, "statements": [
                "create table if not exists {table} (id integer primary key, name text not null)",
                "delete from {table}",
                { "sql": "insert into {table} values ($1, $2)", "rows": rows, "row_fields": ["id", "person.name"] },
            ] })
        };
        let good =
            json!([{ "id": 1, "person": { "name": "Ada" } }, { "id": 2, "person": { "name": "Bob" } }]);
        for _ in 0..2 {
            let loaded = run(load(good.clone()), &context).await.expect("loaded");
            assert_eq!(loaded.output["results"][2]["rows_affected"], 2);
        }
        let twice = json!([{ "id": 7, "person": { "name": "Cy" } }, { "id": 7, "person": { "name": "Di" } }]);
        let failed = run(load(twice), &context).await.expect_err("a key twice");
        assert_eq!(failed.class, FailureClass::Conflict);
        assert_eq!(failed.details.expect("details")["row"], 2);
        let read = run(json!({ "sql": "select id from t order by id" }), &context).await.expect("read");
        assert_eq!(read.output["rows"], json!([{ "id": 1 }, { "id": 2 }]));
        let lists = json!({ "mode": "write", "sql": "insert into t values ($1, $2)", "rows": { "rows": [[3, "Eve"]] } });
        assert_eq!(run(lists, &context).await.expect("a list").output["rows_affected"], 1);
    }

    #[tokio::test]
    async fn reading_changes_nothing() {
        let (context, folder) = context();
        write("create table t (i integer)", &context).await.expect("made");
        for sql in ["insert into t values (1)", "delete from t", "drop table t", "create table u (i)"] {
            assert_eq!(class(json!({ "sql": sql }), &context).await, FailureClass::InvalidConfig, "{sql}");
        }
        let other = folder.path().join("other.db");
        for sql in
            [format!("attach '{}' as o", other.display()), format!("vacuum into '{}'", other.display())]
        {
            for mode in ["read", "write"] {
                let config = json!({ "sql": sql, "mode": mode });
                assert_eq!(class(config, &context).await, FailureClass::InvalidConfig);
            }
        }
        assert!(!other.exists());
    }

    #[tokio::test]
    async fn failures_have_classes() {
        let (context, _folder) = context();
        write("create table t (i integer primary key, n integer not null)", &context).await.expect("made");
        for (config, expected) in [
            (json!({ "sql": "select * from gone" }), FailureClass::NotFound),
            (json!({ "sql": "selec 1" }), FailureClass::InvalidConfig),
            (json!({ "sql": "select 1; select 2" }), FailureClass::InvalidConfig),
            (json!({ "sql": "select ${{ x }}" }), FailureClass::InvalidConfig),
            (json!({ "sql": "insert into t values (1, null)", "mode": "write" }), FailureClass::InvalidInput),
            (json!({ "sql": "select 1 union select 2", "max_rows": 1 }), FailureClass::LimitExceeded),
            (json!({ "sql": "select 1", "statement_timeout": "30" }), FailureClass::InvalidConfig),
            (json!({ "sql": "select 1", "connector": "files" }), FailureClass::InvalidConfig),
            (json!({ "sql": "select 1", "statements": ["select 1"] }), FailureClass::InvalidConfig),
        ] {
            assert_eq!(class(config.clone(), &context).await, expected, "{config}");
        }
        assert_eq!(
            DatabaseQuery::check(&json!({ "connector": "data", "statements": ["select ${{ x }}"] })).len(),
            1
        );
    }

    const ENDLESS: &str =
        "with recursive c(n) as (select 1 union all select n + 1 from c) select max(n) from c";

    #[tokio::test]
    async fn endless_work_ends_in_time_and_when_cancelled() {
        let (context, _folder) = context();
        let config = json!({ "sql": ENDLESS, "statement_timeout": "50ms" });
        assert_eq!(class(config, &context).await, FailureClass::Timeout);
        context.cancel.cancel();
        assert_eq!(class(json!({ "sql": ENDLESS }), &context).await, FailureClass::Cancelled);
        let (fresh, _folder) = self::context();
        let after = Context { cancel: CancellationToken::new(), ..context };
        assert!(run(json!({ "sql": "select 1" }), &after).await.is_ok(), "the connection is usable again");
        drop(fresh);
    }

    #[tokio::test]
    async fn an_attempt_that_is_dropped_is_rolled_back() {
        let (context, _folder) = context();
        write("create table t (i integer)", &context).await.expect("made");
        let config = json!({ "mode": "write", "statements": ["insert into t values (1)", ENDLESS] });
        let attempt = run(config, &context);
        assert!(tokio::time::timeout(Duration::from_millis(50), attempt).await.is_err());
        write("insert into t values (2)", &context).await.expect("the database is free again");
        let read = run(json!({ "sql": "select i from t" }), &context).await.expect("read");
        assert_eq!(read.output["rows"], json!([{ "i": 2 }]));
    }

    #[tokio::test]
    async fn postgres_answers_the_same_way() {
        let url = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL is not set: run `deploy/dev/services up` (or `make test`, which does)");
        let connector = Connector::Postgres { url };
        let (context, _folder) = context_with(&[], BTreeMap::from([("pg".to_owned(), connector)]));
        let run = |mut config: Value| {
            config["connector"] = "pg".into();
            let context = context.clone();
            async move { run_in("database_query", config, &context).await }
        };
        let table = format!("t_{}", context.execution.as_uuid().simple());
        let names = json!({ "table": table });
        let create = "create table {table} (i int4 primary key, n numeric(20,4), f float8, s text, j jsonb, \
                      at timestamptz, d date, u uuid, b bool, k bytea, l bigint)";
        let row = json!([1, 12.5, 0.1, "Grüße 😀", { "a": [1] }, "2030-01-31T08:00:00Z", "2030-01-31",
                         "0192f0c4-0000-7000-8000-000000000001", true, "00ff", 9_007_199_254_740_993_i64]);
        let load = json!({ "mode": "write", "identifiers": names, "statements": [
            create, { "sql": "insert into {table} values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)", "rows": [row] },
        ] });
        run(load).await.expect("loaded");
        let read =
            run(json!({ "identifiers": names, "sql": "select * from {table} where i = $1", "params": [1] }));
        let read = read.await.expect("read");
        let values: Vec<Value> =
            read.output["rows"][0].as_object().expect("a row").values().cloned().collect();
        assert_eq!(Value::Array(values), row);
        assert_eq!(read.ports, ["found"]);
        for (config, expected) in [
            (json!({ "identifiers": names, "sql": "delete from {table}" }), FailureClass::InvalidConfig),
            (json!({ "sql": "select * from gone_for_good" }), FailureClass::NotFound),
            (
                json!({ "identifiers": names, "sql": "insert into {table} (i) values (1)", "mode": "write" }),
                FailureClass::Conflict,
            ),
            (json!({ "sql": "select pg_sleep(10)", "statement_timeout": "50ms" }), FailureClass::Timeout),
            (json!({ "sql": "select $1::int4", "params": ["x"] }), FailureClass::InvalidInput),
            (json!({ "sql": "select 1", "params": [1] }), FailureClass::InvalidConfig),
        ] {
            assert_eq!(run(config.clone()).await.expect_err("fails").class, expected, "{config}");
        }
        let sum =
            run(json!({ "identifiers": names, "sql": "select sum(n) as s, count(*) as c from {table}" }))
                .await;
        assert_eq!(sum.expect("a sum").output["rows"][0], json!({ "s": 12.5, "c": 1 }));
        run(json!({ "mode": "write", "identifiers": names, "sql": "drop table {table}" }))
            .await
            .expect("dropped");
    }
}
