//! What may leave a worker as an output, and how it travels.
//!
//! Does not decide where bytes are kept: that is [`PayloadAccess`].

use std::{future::Future, time::Duration};

use serde_json::Value;
use shared::{
    component::{Failure, FailureClass, PayloadAccess},
    execution::{Payload, StoredPayload},
    ids::{ExecutionId, PayloadId},
    retry::Reconnect,
};

/// The largest output of one task, in bytes of JSON.
pub(crate) const LARGEST: usize = 16 * 1024 * 1024;

/// Readers of messages and journals refuse what is nested deeper.
const DEEPEST: usize = 64;

/// Tries to reach the payload store before the attempt fails.
const TRIES: u32 = 5;

/// Length in bytes of a value's JSON, within a few bytes a float, without writing it.
///
/// # Errors
/// `limit_exceeded` above [`LARGEST`] or below [`DEEPEST`]; `invalid_input` for a NUL character,
/// which PostgreSQL cannot keep. All would otherwise stop an execution after the effect took place.
pub(crate) fn measure(value: &Value) -> Result<usize, Failure> {
    let mut size = 0;
    walk(value, 0, &mut size)?;
    Ok(size)
}

fn walk(value: &Value, depth: usize, size: &mut usize) -> Result<(), Failure> {
    *size += match value {
        Value::Null | Value::Bool(true) => 4,
        Value::Bool(false) => 5,
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => digits(number),
            (None, Some(number)) => 1 + digits(number.unsigned_abs()),
            // The longest that the shortest form of a 64-bit float takes.
            (None, None) => 24,
        },
        Value::String(text) => text_size(text)?,
        Value::Array(items) => {
            below(depth)?;
            for item in items {
                walk(item, depth + 1, size)?;
            }
            2 + items.len().saturating_sub(1)
        }
        Value::Object(fields) => {
            below(depth)?;
            for (name, item) in fields {
                *size += text_size(name)? + 1;
                walk(item, depth + 1, size)?;
            }
            2 + fields.len().saturating_sub(1)
        }
    };
    if *size > LARGEST {
        return Err(Failure::new(
            FailureClass::LimitExceeded,
            format!(
                "the output is larger than {} MiB; keep it in a file or table and pass its name on",
                LARGEST >> 20
            ),
        ));
    }
    Ok(())
}

fn below(depth: usize) -> Result<(), Failure> {
    if depth < DEEPEST {
        return Ok(());
    }
    Err(Failure::new(
        FailureClass::LimitExceeded,
        format!("the output is nested deeper than {DEEPEST} levels"),
    ))
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

fn text_size(text: &str) -> Result<usize, Failure> {
    let mut size = text.len() + 2;
    for byte in text.bytes() {
        if byte < 0x20 {
            if byte == 0 {
                return Err(Failure::new(
                    FailureClass::InvalidInput,
                    "the output holds a NUL character (\\u0000), which no store can keep; remove it in the component",
                ));
            }
            size += if matches!(byte, b'\n' | b'\r' | b'\t' | 0x08 | 0x0c) { 1 } else { 5 };
        } else if byte == b'"' || byte == b'\\' {
            size += 1;
        }
    }
    Ok(size)
}

/// The output as it travels: small ones in the message, large ones by reference.
pub(crate) async fn pack(
    payloads: &dyn PayloadAccess,
    execution: ExecutionId,
    output: Value,
) -> Result<(Payload, usize), Failure> {
    let size = measure(&output)?;
    if size <= Payload::INLINE_LIMIT {
        return Ok((Payload::Inline(output), size));
    }
    let bytes = serde_json::to_vec(&output)
        .map_err(|error| Failure::new(FailureClass::Internal, format!("the output is no JSON: {error}")))?;
    let size = bytes.len() as u64;
    let id = persist(|| payloads.put(execution, bytes.clone())).await?;
    Ok((Payload::Stored(StoredPayload { id, size }), 64))
}

/// Puts the values of stored payloads where the config refers to them.
pub(crate) async fn resolve(
    payloads: &dyn PayloadAccess,
    execution: ExecutionId,
    config: &mut Value,
    references: &[(String, PayloadId)],
) -> Result<(), Failure> {
    let mut read: Vec<(PayloadId, Value)> = Vec::new();
    for (pointer, id) in references {
        if !read.iter().any(|(known, _)| known == id) {
            let bytes = persist(|| payloads.get(execution, *id)).await?;
            let value = serde_json::from_slice(&bytes)
                .map_err(|_| Failure::new(FailureClass::Internal, format!("the stored {id} is no JSON")))?;
            read.push((*id, value));
        }
        let place = config.pointer_mut(pointer).ok_or_else(|| {
            Failure::new(
                FailureClass::Internal,
                format!("the config has no place {pointer} for a stored payload"),
            )
        })?;
        if let Some((_, value)) = read.iter().find(|(known, _)| known == id) {
            *place = value.clone();
        }
    }
    Ok(())
}

/// Tries again a few times: an attempt is not worth less than a hiccup of the payload store, and pure
/// components have no retry policy that would mend it.
async fn persist<T, F>(mut deed: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let mut pauses = Reconnect::new(Duration::from_millis(50), Duration::from_secs(1));
    let mut tries = 1;
    loop {
        match deed().await {
            Err(failure) if failure.class.is_retried_by_default() && tries < TRIES => {
                tries += 1;
                tokio::time::sleep(pauses.pause()).await;
            }
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_measure_is_the_length_of_the_text() {
        for value in [
            json!(null),
            json!([]),
            json!({}),
            json!([
                true,
                false,
                null,
                0,
                9,
                10,
                18_446_744_073_709_551_615_u64,
                -1,
                -9_223_372_036_854_775_808_i64
            ]),
            json!({ "a\"b": "line\nbreak\t\\ ä \u{1}", "c": [{}, [[]], ""] }),
        ] {
            assert_eq!(measure(&value), Ok(value.to_string().len()), "{value}");
        }
        let float = json!(0.1);
        assert!(measure(&float).expect("small") >= float.to_string().len());
    }

    #[test]
    fn what_a_store_or_reader_would_refuse_is_refused_here() {
        let class = |value: &Value| measure(value).expect_err("refused").class;
        assert_eq!(class(&json!({ "a": ["b\u{0}c"] })), FailureClass::InvalidInput);
        assert_eq!(class(&json!({ "b\u{0}": 1 })), FailureClass::InvalidInput);
        assert_eq!(class(&Value::String("x".repeat(LARGEST))), FailureClass::LimitExceeded);
        let nest = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(measure(&nest(DEEPEST)).is_ok());
        assert_eq!(class(&nest(DEEPEST + 1)), FailureClass::LimitExceeded);
    }
}
