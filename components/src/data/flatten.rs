//! `type: flatten`: nested to flat.

use serde_json::{Map, Value, json};
use shared::component::{ConfigProblem, Failure, FailureClass, Family, Run};

use crate::{
    describe::{Component, Work, invalid_input},
    row_flow::{Pass, Row, RowWork, Step, absent, check_rows, lookup, row_type},
};

fn dot() -> String {
    ".".to_owned()
}

fn ten() -> u32 {
    10
}

row_type! {
    /// Makes nested rows flat: `{ customer: { name: "A" } }` becomes `{ "customer.name": "A" }`.
    ///
    /// Lists stay as they are, unless `explode` makes one row of each of their elements.
    Flatten, FlattenOperation {
        /// The field whose objects are made flat; the whole row without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
        /// What stands between the names.
        #[serde(default = "dot")]
        separator: String,
        /// How many levels are made flat; what lies deeper stays nested.
        #[serde(default = "ten")]
        depth: u32,
        /// A field with a list; each element gives a row of its own, with the element in that field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        explode: Option<String>,
    }
}

pub(crate) struct FlattenStep(FlattenOperation);

impl FlattenOperation {
    #[expect(clippy::unnecessary_wraps, reason = "every operation makes its step this way")]
    pub(crate) fn step(self) -> Result<FlattenStep, Failure> {
        Ok(FlattenStep(self))
    }

    fn flat(
        &self,
        value: &Value,
        name: &str,
        origin: &str,
        depth: u32,
        into: &mut Map<String, Value>,
        origins: &mut Map<String, Value>,
    ) -> Result<(), Failure> {
        if let Value::Object(object) = value
            && depth > 0
            && !object.is_empty()
        {
            for (key, value) in object {
                let joined =
                    if name.is_empty() { key.clone() } else { format!("{name}{}{key}", self.separator) };
                let place = format!("{origin}/{key}");
                self.flat(value, &joined, &place, depth - 1, into, origins)?;
            }
            return Ok(());
        }
        if let Some(earlier) = origins.get(name).and_then(Value::as_str) {
            return Err(Failure::new(
                FailureClass::Conflict,
                format!("`{earlier}` and `{origin}` would both become `{name}`; choose another `separator`"),
            ));
        }
        origins.insert(name.to_owned(), origin.into());
        into.insert(name.to_owned(), value.clone());
        Ok(())
    }

    fn row(&self, value: &Value) -> Result<Value, Failure> {
        let Value::Object(object) = value else {
            return Err(invalid_input("only a row that is an object can be made flat"));
        };
        let (mut into, mut origins) = (Map::new(), Map::new());
        let levels = self.depth.saturating_add(1);
        for (key, value) in object {
            let depth = match &self.path {
                Some(path) if path != key => 0,
                _ => levels - 1,
            };
            self.flat(value, key, &format!("/{key}"), depth, &mut into, &mut origins)?;
        }
        Ok(Value::Object(into))
    }

    fn exploded(&self, value: Value) -> Result<Vec<Value>, Failure> {
        let Some(field) = &self.explode else { return Ok(vec![value]) };
        let list = match lookup(&value, field) {
            Some(Value::Array(list)) => list.clone(),
            Some(_) => return Err(invalid_input(format!("`{field}` is not a list"))),
            None => return Err(absent(field)),
        };
        Ok(list
            .into_iter()
            .map(|element| {
                let mut row = value.clone();
                row[field.as_str()] = element;
                row
            })
            .collect())
    }
}

impl Step for FlattenStep {
    fn apply(&self, rows: Vec<Row>, pass: &mut Pass<'_>) -> Result<Vec<Row>, Failure> {
        let mut made = Vec::with_capacity(rows.len());
        for (done, row) in rows.into_iter().enumerate() {
            pass.check_cancelled(done)?;
            let Row { number, value } = row;
            let flat = self
                .0
                .exploded(value.clone())
                .and_then(|rows| rows.iter().map(|row| self.0.row(row)).collect());
            let flat: Result<Vec<Value>, Failure> = flat;
            match flat {
                Ok(values) => made.extend(values.into_iter().map(|value| Row { number, value })),
                Err(failure) => pass.bad(number, self.0.explode.as_deref(), &value, failure)?,
            }
        }
        Ok(made)
    }
}

impl Component for Flatten {
    const KIND: &'static str = "flatten";
    const FAMILY: Family = Family::Data;
    const SUMMARY: &'static str = "Makes nested rows flat, or one row of each element of a list.";

    fn example() -> Value {
        json!({ "rows": [{ "id": 1, "customer": { "name": "Ada", "city": "London" } }] })
    }

    fn check(config: &Value) -> Vec<ConfigProblem> {
        check_rows(config).into_iter().collect()
    }
}

impl Work for Flatten {
    fn build(self) -> Result<Box<dyn Run>, Failure> {
        let (operation, flow) = self.split();
        Ok(Box::new(RowWork::new(flow, operation.step()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{failure, output};

    #[tokio::test]
    async fn nested_names_are_joined() {
        let output =
            output("flatten", json!({ "rows": [{ "a": { "b": { "c": 1 } }, "d": [2] }], "depth": 1 })).await;
        assert_eq!(output["rows"], json!([{ "a.b": { "c": 1 }, "d": [2] }]));
    }

    #[tokio::test]
    async fn a_list_becomes_rows() {
        let output = output(
            "flatten",
            json!({ "rows": [{ "id": 1, "lines": [{ "n": 1 }, { "n": 2 }] }], "explode": "lines" }),
        )
        .await;
        assert_eq!(output["rows"], json!([{ "id": 1, "lines.n": 1 }, { "id": 1, "lines.n": 2 }]));
        assert_eq!((&output["rows_in"], &output["rows_out"]), (&json!(1), &json!(2)));
    }

    #[tokio::test]
    async fn names_that_collide_are_a_conflict() {
        let failed = failure("flatten", json!({ "rows": [{ "a.b": 1, "a": { "b": 2 } }] })).await;
        assert_eq!(failed.class, FailureClass::Conflict);
        assert!(failed.message.contains("`/a.b` and `/a/b`"), "{failed}");
    }

    #[tokio::test]
    async fn what_is_no_object_or_no_list_is_refused() {
        assert_eq!(failure("flatten", json!({ "rows": [1] })).await.class, FailureClass::InvalidInput);
        let no_list = failure("flatten", json!({ "rows": [{ "a": 1 }], "explode": "a" })).await;
        assert_eq!(no_list.class, FailureClass::InvalidInput);
    }
}
