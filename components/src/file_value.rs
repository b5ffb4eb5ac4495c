//! Bytes that travel by reference: `{ file, name, media_type, size, sha256 }`.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::{
    component::{Context, Failure, FailureClass},
    ids::PayloadId,
};

use crate::describe::invalid_input;

/// The media type of a row set.
pub(crate) const ROW_SET: &str = "application/x-ndjson";

/// What may be read of one payload.
pub(crate) const MAX_FILE_BYTES: usize = 64 * 1024 * 1024;

/// A file as components pass it on; `file` points into the payload store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FileValue {
    pub(crate) file: PayloadId,
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    /// How many rows a row set has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<u64>,
}

impl FileValue {
    /// The file that a value stands for, if it is one.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        value.get("file")?;
        serde_json::from_value(value.clone()).ok()
    }

    /// Keeps bytes and gives the value that stands for them.
    pub(crate) async fn keep(
        context: &Context,
        name: String,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<Self, Failure> {
        let size = bytes.len() as u64;
        let sha256 = digest(&bytes);
        let file = context.payloads.put(context.execution, bytes).await?;
        Ok(Self { file, name, media_type: media_type.to_owned(), size, sha256, rows: None })
    }

    /// The bytes.
    pub(crate) async fn bytes(&self, context: &Context) -> Result<Vec<u8>, Failure> {
        if self.size > MAX_FILE_BYTES as u64 {
            return Err(too_large(&self.name, self.size));
        }
        context.payloads.get(context.execution, self.file).await
    }

    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(self).expect("texts and numbers are JSON")
    }
}

fn too_large(name: &str, size: u64) -> Failure {
    Failure::new(
        FailureClass::LimitExceeded,
        format!("`{name}` has {size} bytes; at most {MAX_FILE_BYTES} are read at once"),
    )
}

/// SHA-256 in hex.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The bytes of an input that is text or a file, and a name for messages.
pub(crate) async fn bytes_of(input: &Value, context: &Context) -> Result<(Vec<u8>, String), Failure> {
    if let Value::String(text) = input {
        return Ok((text.clone().into_bytes(), "text".to_owned()));
    }
    let file = FileValue::of(input).ok_or_else(|| {
        invalid_input("`input` must be text or a file `{ file, name, media_type, size, sha256 }`")
    })?;
    Ok((file.bytes(context).await?, file.name))
}

/// What a file name's ending says its content is.
pub(crate) fn media_type_of(name: &str) -> &'static str {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("csv") => "text/csv",
        Some("json") => "application/json",
        Some("ndjson" | "jsonl") => ROW_SET,
        Some("txt" | "log") => "text/plain",
        Some("html" | "htm") => "text/html",
        Some("md") => "text/markdown",
        Some("xml") => "application/xml",
        Some("yaml" | "yml") => "application/yaml",
        Some("pdf") => "application/pdf",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("zip") => "application/zip",
        Some("gz") => "application/gzip",
        _ => "application/octet-stream",
    }
}
