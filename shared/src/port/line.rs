//! One execution as one line of JSON: what an archive keeps, and what is exported.
//!
//! A line is read piece by piece, so that a journal longer than memory has one too.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::de::IgnoredAny;

use super::store::{DynStore, ExecutionRow, JOURNAL_PAGE, StoreError, parts_of};
use crate::ids::{ExecutionId, PayloadId};

/// Payloads whose ids are read at once.
const PAGE: u32 = 500;

/// The line of an execution on its way out.
///
/// Its keys, in this order: `id`, `execution` (the row), `journal` (every turn), `payloads` (by id) and `late_results`.
/// A payload is `{"json": …}`, `{"parts": […]}` for a list that lies in other payloads, or `{"base64": …}` for what is
/// no JSON. An execution that is open is written as far as it is.
#[derive(Clone)]
pub struct Line {
    store: DynStore,
    row: ExecutionRow,
    next: Next,
}

/// What comes next of a line.
#[derive(Debug, Clone)]
enum Next {
    Head,
    /// The turns after this one.
    Journal(u32),
    /// The payloads with these ids, the last first; then those after the last one read.
    Payloads {
        waiting: Vec<PayloadId>,
        after: Option<PayloadId>,
        is_first: bool,
    },
    Tail,
    Nothing,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Line").field("execution", &self.row.id).finish_non_exhaustive()
    }
}

impl Line {
    pub fn of(store: DynStore, row: ExecutionRow) -> Self {
        Self { store, row, next: Next::Head }
    }

    /// The next piece; `None` after the line's end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, StoreError> {
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Head => {
                let mut piece = format!("{{\"id\":\"{}\",\"execution\":", self.row.id).into_bytes();
                piece.extend(json(&self.row)?);
                piece.extend(b",\"journal\":[");
                self.next = Next::Journal(0);
                Ok(Some(piece))
            }
            Next::Journal(after) => self.journal(after).await.map(Some),
            Next::Payloads { waiting, after, is_first } => {
                self.payload(waiting, after, is_first).await.map(Some)
            }
            Next::Tail => {
                let late = self.store.execution_late(self.row.tenant, self.row.id).await?;
                let mut piece = b"},\"late_results\":".to_vec();
                piece.extend(json(&late)?);
                piece.extend(b"}\n");
                Ok(Some(piece))
            }
            Next::Nothing => Ok(None),
        }
    }

    async fn journal(&mut self, after: u32) -> Result<Vec<u8>, StoreError> {
        let page = self.store.load(&[self.row.id], after, JOURNAL_PAGE).await?.into_iter().flatten().next();
        let mut piece = Vec::new();
        for turn in page.iter().flat_map(|page| &page.turns) {
            if turn.seq > 1 {
                piece.push(b',');
            }
            piece.extend(json(turn)?);
        }
        self.next = match page.as_ref().and_then(|page| page.goes_on(JOURNAL_PAGE)) {
            Some(last) => Next::Journal(last),
            None => {
                piece.extend(b"],\"payloads\":{");
                Next::Payloads { waiting: Vec::new(), after: None, is_first: true }
            }
        };
        Ok(piece)
    }

    async fn payload(
        &mut self,
        mut waiting: Vec<PayloadId>,
        mut after: Option<PayloadId>,
        is_first: bool,
    ) -> Result<Vec<u8>, StoreError> {
        if waiting.is_empty() {
            waiting = self.store.payload_list(self.row.id, after, PAGE).await?;
            after = waiting.last().copied().or(after);
            waiting.reverse();
        }
        let Some(id) = waiting.pop() else {
            self.next = Next::Tail;
            return Ok(Vec::new());
        };
        let bytes = self.store.payload_get(self.row.id, id).await?;
        // What is gone by now was nobody's.
        let piece = bytes.map(|bytes| {
            let comma = if is_first { "" } else { "," };
            let mut piece = format!("{comma}\"{id}\":").into_bytes();
            piece.extend(payload(&bytes));
            piece
        });
        self.next = Next::Payloads { waiting, after, is_first: is_first && piece.is_none() };
        Ok(piece.unwrap_or_default())
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Corrupt(error.into()))
}

/// A payload as JSON without a line break: outside its texts, JSON may have a blank in place of one.
fn payload(bytes: &[u8]) -> Vec<u8> {
    if let Some(parts) = parts_of(bytes) {
        let ids: Vec<String> = parts.iter().map(|id| format!("\"{id}\"")).collect();
        return format!("{{\"parts\":[{}]}}", ids.join(",")).into_bytes();
    }
    if serde_json::from_slice::<IgnoredAny>(bytes).is_ok() {
        let mut piece = b"{\"json\":".to_vec();
        piece.extend(bytes.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }));
        piece.push(b'}');
        return piece;
    }
    format!("{{\"base64\":\"{}\"}}", STANDARD.encode(bytes)).into_bytes()
}

/// Whose line this is, from its beginning alone.
pub fn execution_of(line: &[u8]) -> Option<ExecutionId> {
    let rest = line.strip_prefix(b"{\"id\":\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::store::list_of_parts;

    #[test]
    fn a_payload_stands_in_a_line_as_what_it_is() {
        let text = |bytes: &[u8]| String::from_utf8(payload(bytes)).expect("text");
        assert_eq!(
            text(b"{\n  \"a\": \"\\n\",\r\n \"b\": 1e400}"),
            "{\"json\":{   \"a\": \"\\n\",   \"b\": 1e400}}"
        );
        assert_eq!(text(b"\xff{"), "{\"base64\":\"/3s=\"}");
        assert_eq!(text(b"[1"), "{\"base64\":\"WzE=\"}");
        let part = PayloadId::generate();
        assert_eq!(text(&list_of_parts(&[part])), format!("{{\"parts\":[\"{part}\"]}}"));
    }

    #[test]
    fn a_line_says_whose_it_is() {
        let id = ExecutionId::generate();
        assert_eq!(execution_of(format!("{{\"id\":\"{id}\",\"execution\":…").as_bytes()), Some(id));
        assert_eq!(execution_of(b"{\"id\":\"nobody\"}"), None);
        assert_eq!(execution_of(b"{}"), None);
    }
}
