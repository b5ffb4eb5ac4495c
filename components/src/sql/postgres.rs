//! PostgreSQL. Parameters are written in the types that the server infers for them.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SecondsFormat, Utc};
use futures::TryStreamExt;
use serde_json::{Map, Number, Value};
use shared::component::{Failure, FailureClass};
use sqlx::{
    AssertSqlSafe, Column, Either, Encode, Executor, PgConnection, PgPool, Row, SqlSafeStr, Statement, Type,
    TypeInfo, ValueRef,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgConnectOptions, PgPoolOptions, PgRow, PgTypeInfo, PgValueRef, Postgres},
};
use uuid::Uuid;

use super::{Answer, Dialect, failure};
use crate::{
    describe::{invalid_config, invalid_input},
    environment::Pools,
};

pub(crate) async fn pool<'a>(pools: &'a Pools, url: &str) -> Result<&'a PgPool, Failure> {
    pools
        .postgres
        .get_or_try_init(|| async {
            let options: PgConnectOptions = url.parse()?;
            PgPoolOptions::new()
                .max_connections(10)
                .acquire_timeout(Duration::from_secs(10))
                // A begin that was cancelled in flight may have left a transaction open.
                .before_acquire(|connection, _| {
                    Box::pin(async move {
                        connection.execute("rollback").await?;
                        Ok(true)
                    })
                })
                .connect_with(options)
                .await
        })
        .await
        .map_err(|error| failure(&error, Dialect::Postgres))
}

/// Runs one statement that was looked at.
pub(crate) async fn execute(
    connection: &mut PgConnection,
    sql: &str,
    params: &[Value],
    max_rows: u64,
) -> Result<Answer, Failure> {
    let wrong = |error: sqlx::Error| failure(&error, Dialect::Postgres);
    let statement =
        (&mut *connection).prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await.map_err(wrong)?;
    let kinds: Vec<PgTypeInfo> = match statement.parameters() {
        Some(Either::Left(kinds)) => kinds.to_vec(),
        _ => Vec::new(),
    };
    if kinds.len() != params.len() {
        return Err(invalid_config(format!(
            "the statement has {} parameters, {} are given",
            kinds.len(),
            params.len()
        )));
    }
    let mut query = statement.query();
    for (number, (param, kind)) in (1..).zip(params.iter().zip(kinds)) {
        query =
            query.bind(Param::of(param, kind).map_err(|what| invalid_input(format!("${number}: {what}")))?);
    }
    let mut answer = Answer::default();
    let mut stream = connection.fetch_many(query);
    while let Some(next) = stream.try_next().await.map_err(wrong)? {
        match next {
            Either::Left(done) => answer.affected += done.rows_affected(),
            Either::Right(row) => answer.push(to_json(&row)?, max_rows)?,
        }
    }
    Ok(answer)
}

/// A value in the type that the server wants.
struct Param {
    kind: PgTypeInfo,
    value: Wanted,
}

enum Wanted {
    Null,
    Bool(bool),
    Small(i16),
    Int(i32),
    Big(i64),
    Real(f32),
    Double(f64),
    Text(String),
    Json(Value),
    Jsonb(Value),
    Uuid(Uuid),
    Date(NaiveDate),
    Time(NaiveTime),
    Timestamp(NaiveDateTime),
    Instant(DateTime<Utc>),
    Numeric(Vec<u8>),
    Bytes(Vec<u8>),
}

impl Param {
    fn of(value: &Value, kind: PgTypeInfo) -> Result<Self, String> {
        let name = kind.name().to_ascii_uppercase();
        let wrong = || format!("{} does not fit the type {name}", crate::row_flow::kind_of(value));
        let text = || value.as_str().ok_or_else(wrong);
        let whole = || value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()).ok_or_else(wrong);
        let wanted = match (name.as_str(), value) {
            ("JSON", _) if !value.is_null() => Wanted::Json(value.clone()),
            ("JSONB", _) if !value.is_null() => Wanted::Jsonb(value.clone()),
            (_, Value::Null) => Wanted::Null,
            ("BOOL", _) => Wanted::Bool(value.as_bool().ok_or_else(wrong)?),
            ("INT2", _) => Wanted::Small(whole()?.try_into().map_err(|_| wrong())?),
            ("INT4", _) => Wanted::Int(whole()?.try_into().map_err(|_| wrong())?),
            ("INT8", _) => Wanted::Big(whole()?),
            ("FLOAT4", _) => Wanted::Real(value.as_f64().ok_or_else(wrong)? as f32),
            ("FLOAT8", _) => Wanted::Double(value.as_f64().ok_or_else(wrong)?),
            ("NUMERIC", Value::Number(number)) => {
                Wanted::Numeric(numeric_bytes(&number.to_string()).ok_or_else(wrong)?)
            }
            ("NUMERIC", Value::String(text)) => {
                Wanted::Numeric(numeric_bytes(text.trim()).ok_or_else(wrong)?)
            }
            ("UUID", _) => Wanted::Uuid(text()?.parse().map_err(|_| wrong())?),
            ("DATE", _) => Wanted::Date(text()?.parse().map_err(|_| wrong())?),
            ("TIME", _) => Wanted::Time(text()?.parse().map_err(|_| wrong())?),
            ("TIMESTAMP", _) => {
                let text = text()?;
                let parsed = text.parse::<NaiveDateTime>().ok();
                let zoned = || text.parse::<DateTime<Utc>>().ok().map(|at| at.naive_utc());
                Wanted::Timestamp(parsed.or_else(zoned).ok_or_else(wrong)?)
            }
            ("TIMESTAMPTZ", _) => Wanted::Instant(text()?.parse().map_err(|_| wrong())?),
            ("BYTEA", _) => Wanted::Bytes(hex::decode(text()?).map_err(|_| wrong())?),
            (_, Value::String(text)) => Wanted::Text(text.clone()),
            ("TEXT" | "VARCHAR" | "CHAR" | "BPCHAR" | "UNKNOWN", other) => Wanted::Text(other.to_string()),
            _ => {
                return Err(format!(
                    "values of the type {name} are given as text with a cast, such as $1::text::{}",
                    name.to_lowercase()
                ));
            }
        };
        Ok(Self { kind, value: wanted })
    }
}

impl Type<Postgres> for Param {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }

    fn compatible(_: &PgTypeInfo) -> bool {
        true
    }
}

impl Encode<'_, Postgres> for Param {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match &self.value {
            Wanted::Null => Ok(IsNull::Yes),
            Wanted::Bool(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Small(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Int(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Big(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Real(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Double(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Text(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Json(value) => {
                buffer.extend_from_slice(&serde_json::to_vec(value)?);
                Ok(IsNull::No)
            }
            Wanted::Jsonb(value) => {
                buffer.push(1);
                buffer.extend_from_slice(&serde_json::to_vec(value)?);
                Ok(IsNull::No)
            }
            Wanted::Uuid(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Date(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Time(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Timestamp(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Instant(value) => Encode::<Postgres>::encode_by_ref(value, buffer),
            Wanted::Numeric(bytes) | Wanted::Bytes(bytes) => {
                buffer.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.kind.clone())
    }
}

/// A decimal text in the binary form of `numeric`: digits of base 10,000, weight, sign and scale.
///
/// Source: `numeric_recv` in PostgreSQL's `src/backend/utils/adt/numeric.c`.
fn numeric_bytes(text: &str) -> Option<Vec<u8>> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() + fraction.len() == 0
        || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit())
        || !(-1_000..=1_000).contains(&exponent)
    {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    // Where the point stands, counted in digits from the left.
    let mut point = whole.len() as i32 + exponent;
    let scale = (digits.len() as i32 - point).max(0);
    let mut padded = digits;
    if point < 0 {
        padded.insert_str(0, &"0".repeat(point.unsigned_abs() as usize));
        point = 0;
    }
    let missing = (point - padded.len() as i32).max(0);
    padded.push_str(&"0".repeat(missing as usize));
    let lead = (4 - point % 4) % 4;
    padded.insert_str(0, &"0".repeat(lead as usize));
    point += lead;
    let tail = (4 - padded.len() % 4) % 4;
    padded.push_str(&"0".repeat(tail));
    let mut groups: Vec<u16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, d| sum * 10 + u16::from(d - b'0')))
        .collect();
    let mut weight = point / 4 - 1;
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let mut bytes = Vec::with_capacity(8 + groups.len() * 2);
    bytes.extend(u16::try_from(groups.len()).ok()?.to_be_bytes());
    bytes.extend(i16::try_from(weight).ok()?.to_be_bytes());
    bytes.extend((if negative && !groups.is_empty() { 0x4000_u16 } else { 0 }).to_be_bytes());
    bytes.extend(u16::try_from(scale).ok()?.to_be_bytes());
    bytes.extend(groups.iter().flat_map(|group| group.to_be_bytes()));
    Some(bytes)
}

/// The decimal text of the binary form of `numeric`.
fn numeric_text(bytes: &[u8]) -> Option<String> {
    let field = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let (count, weight, sign, scale) = (field(0)?, field(2)? as i16, field(4)?, usize::from(field(6)?));
    match sign {
        0 | 0x4000 => {}
        _ => return None,
    }
    let group = |index: i32| -> u16 {
        if index < 0 || index >= i32::from(count) { 0 } else { field(8 + index as usize * 2).unwrap_or(0) }
    };
    let mut text = String::new();
    if weight < 0 {
        text.push('0');
    }
    for index in 0..=i32::from(weight) {
        let digits = group(index);
        let digits = if text.is_empty() { digits.to_string() } else { format!("{digits:04}") };
        text.push_str(&digits);
    }
    if scale > 0 {
        let mut fraction = String::new();
        let mut index = i32::from(weight) + 1;
        while fraction.len() < scale {
            let digits = format!("{:04}", group(index));
            fraction.push_str(&digits);
            index += 1;
        }
        fraction.truncate(scale);
        text.push('.');
        text.push_str(&fraction);
    }
    if sign == 0x4000 {
        text.insert(0, '-');
    }
    Some(text)
}

/// A decimal as a JSON number where that is exact, otherwise as text.
fn numeric_json(text: String) -> Value {
    let significant = text.bytes().filter(u8::is_ascii_digit).count();
    if let Ok(whole) = text.parse::<i64>() {
        return whole.into();
    }
    match text.parse::<f64>().ok().filter(|_| significant <= 15).and_then(Number::from_f64) {
        Some(number) => Value::Number(number),
        None => Value::String(text),
    }
}

fn to_json(row: &PgRow) -> Result<Value, Failure> {
    let mut object = Map::with_capacity(row.columns().len());
    for (index, column) in row.columns().iter().enumerate() {
        let raw = row.try_get_raw(index).map_err(|error| failure(&error, Dialect::Postgres))?;
        let value = if raw.is_null() { Value::Null } else { value(raw, row, index, column.name())? };
        object.insert(column.name().to_owned(), value);
    }
    Ok(Value::Object(object))
}

fn value(raw: PgValueRef<'_>, row: &PgRow, index: usize, column: &str) -> Result<Value, Failure> {
    let wrong = |error| failure(&error, Dialect::Postgres);
    let float = |number: f64| Number::from_f64(number).map_or(Value::Null, Value::Number);
    let kind = raw.type_info().name().to_ascii_uppercase();
    Ok(match kind.as_str() {
        "BOOL" => row.try_get::<bool, _>(index).map_err(wrong)?.into(),
        "INT2" => row.try_get::<i16, _>(index).map_err(wrong)?.into(),
        "INT4" => row.try_get::<i32, _>(index).map_err(wrong)?.into(),
        "INT8" => row.try_get::<i64, _>(index).map_err(wrong)?.into(),
        "FLOAT4" => {
            let number = row.try_get::<f32, _>(index).map_err(wrong)?;
            float(number.to_string().parse().unwrap_or_else(|_| f64::from(number)))
        }
        "FLOAT8" => float(row.try_get::<f64, _>(index).map_err(wrong)?),
        "NUMERIC" => {
            let text = raw.as_bytes().ok().and_then(numeric_text);
            text.map_or_else(|| Value::from("NaN"), numeric_json)
        }
        "JSON" | "JSONB" => row.try_get::<Value, _>(index).map_err(wrong)?,
        "UUID" => row.try_get::<Uuid, _>(index).map_err(wrong)?.to_string().into(),
        "DATE" => row.try_get::<NaiveDate, _>(index).map_err(wrong)?.to_string().into(),
        "TIME" => row.try_get::<NaiveTime, _>(index).map_err(wrong)?.to_string().into(),
        "TIMESTAMP" => row
            .try_get::<NaiveDateTime, _>(index)
            .map_err(wrong)?
            .format("%Y-%m-%dT%H:%M:%S%.f")
            .to_string()
            .into(),
        "TIMESTAMPTZ" => row
            .try_get::<DateTime<Utc>, _>(index)
            .map_err(wrong)?
            .to_rfc3339_opts(SecondsFormat::AutoSi, true)
            .into(),
        "BYTEA" => hex::encode(row.try_get::<Vec<u8>, _>(index).map_err(wrong)?).into(),
        "TEXT[]" | "VARCHAR[]" => row.try_get::<Vec<Option<String>>, _>(index).map_err(wrong)?.into(),
        "INT4[]" => row.try_get::<Vec<Option<i32>>, _>(index).map_err(wrong)?.into(),
        "INT8[]" => row.try_get::<Vec<Option<i64>>, _>(index).map_err(wrong)?.into(),
        "VOID" => Value::Null,
        "TEXT" | "VARCHAR" | "CHAR" | "BPCHAR" | "NAME" | "UNKNOWN" | "CITEXT" | "XML" => {
            row.try_get_unchecked::<String, _>(index).map_err(wrong)?.into()
        }
        _ if matches!(raw.type_info().kind(), sqlx::postgres::PgTypeKind::Enum(_)) => {
            row.try_get_unchecked::<String, _>(index).map_err(wrong)?.into()
        }
        _ => {
            return Err(invalid_config(format!(
                "the column `{column}` has the type {}; cast it in the statement, such as {column}::text",
                kind.to_lowercase()
            )));
        }
    })
}

/// The class of an SQLSTATE.
///
/// Source: appendix A of PostgreSQL's documentation.
pub(super) fn class(state: &str) -> FailureClass {
    match state {
        "57014" => FailureClass::Timeout,
        "40001" | "40P01" | "55P03" => FailureClass::Unavailable,
        "42501" => FailureClass::Unauthorized,
        "42P01" | "3D000" | "3F000" => FailureClass::NotFound,
        "25006" => FailureClass::InvalidConfig,
        _ => match state.get(..2) {
            Some("08") => FailureClass::Connection,
            Some("28") => FailureClass::Unauthorized,
            Some("53" | "57" | "58") => FailureClass::Unavailable,
            Some("54") => FailureClass::LimitExceeded,
            Some("22" | "23") => FailureClass::InvalidInput,
            Some("XX") => FailureClass::Internal,
            _ => FailureClass::InvalidConfig,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_read_back_digit_by_digit() {
        for text in [
            "0",
            "1",
            "-1",
            "12.50",
            "10000",
            "100000000",
            "0.0001",
            "0.00001",
            "-0.5",
            "123456789012345678901234567890.12345",
            "9999.9999",
            "10000.00010",
        ] {
            assert_eq!(numeric_text(&numeric_bytes(text).expect(text)).as_deref(), Some(text), "{text}");
        }
        assert_eq!(numeric_text(&numeric_bytes("1.5e3").expect("a number")).as_deref(), Some("1500"));
        assert_eq!(numeric_text(&numeric_bytes("1e-7").expect("a number")).as_deref(), Some("0.0000001"));
        for wrong in ["", "-", ".", "1x", "NaN", "1e9999"] {
            assert_eq!(numeric_bytes(wrong), None, "{wrong}");
        }
        assert_eq!(numeric_json("12.50".into()), serde_json::json!(12.5));
        assert_eq!(numeric_json("12345678901234567.5".into()), serde_json::json!("12345678901234567.5"));
    }
}
