//! Row sets as the items of a loop: a file of one JSON value a line, cut into the lists that rounds take from.
//!
//! The file is read in slices and never held whole. The lists' ids follow from the file, so cutting it again keeps
//! the same. Decides nothing: how many items are too many is said by who asks.

use serde::{Deserialize, Serialize};
use shared::{
    component::{Failure, FailureClass},
    execution::{Items, StoredPayload},
    ids::{ExecutionId, PayloadId, TenantId},
    port::store::{DynStore, StoreError},
};

use crate::engine::LARGEST_ITEM;

/// Bytes of the file that are read at once.
const SLICE: u32 = 1024 * 1024;

/// The row set that a loop needs as lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowsAsk {
    pub file: PayloadId,
    /// Rows a round takes. Above 1, each item is a list of them.
    pub batch: u32,
    /// More rows are refused.
    pub most: u32,
}

impl RowsAsk {
    /// Under which id a decision finds the lists, a [`Cut`] as JSON.
    pub fn id(&self, execution: ExecutionId) -> PayloadId {
        PayloadId::derived(execution, &format!("rows/{}/{}/{}", self.file, self.batch, self.most))
    }

    fn list(&self, execution: ExecutionId, number: usize) -> PayloadId {
        PayloadId::derived(execution, &format!("rows/{}/{}/{number}", self.file, self.batch))
    }
}

/// The lists that a row set was cut into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lists {
    /// Rows in all.
    pub rows: u32,
    /// Each with the items of [`Items::CHUNK`] rounds; the last may have fewer.
    pub lists: Vec<StoredPayload>,
}

/// What became of a row set; wrong content fails the loop.
pub(crate) type Cut = Result<Lists, Failure>;

/// Cuts a row set into lists and keeps them.
pub(crate) async fn cut(
    store: &DynStore,
    (tenant, execution): (TenantId, ExecutionId),
    ask: &RowsAsk,
) -> Result<Cut, StoreError> {
    let mut cutter = Cutter::new(execution, *ask);
    let mut from = 0;
    loop {
        let Some(slice) = store.payload_slice(execution, ask.file, from, SLICE).await? else {
            let message = format!("`items`: {} is no file of this execution", ask.file);
            return Ok(Err(Failure::new(FailureClass::NotFound, message)));
        };
        let is_last = slice.len() < SLICE as usize;
        from += slice.len() as u64;
        let mut fed = cutter.feed(&slice);
        if fed.is_ok() && is_last {
            fed = cutter.end();
        }
        if let Err(failure) = fed {
            return Ok(Err(failure));
        }
        for (id, bytes) in cutter.full.drain(..) {
            store.payload_put(tenant, execution, id, bytes).await?;
        }
        if is_last {
            return Ok(Ok(Lists { rows: cutter.rows, lists: cutter.lists }));
        }
    }
}

struct Cutter {
    execution: ExecutionId,
    ask: RowsAsk,
    line: u64,
    rows: u32,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// The list under way, as JSON without its end, and its rounds.
    list: Vec<u8>,
    rounds: u32,
    /// Rows of the round under way.
    of_round: u32,
    full: Vec<(PayloadId, Vec<u8>)>,
    lists: Vec<StoredPayload>,
}

impl Cutter {
    fn new(execution: ExecutionId, ask: RowsAsk) -> Self {
        Self {
            execution,
            ask: RowsAsk { batch: ask.batch.max(1), ..ask },
            line: 0,
            rows: 0,
            begun: Vec::new(),
            list: Vec::new(),
            rounds: 0,
            of_round: 0,
            full: Vec::new(),
            lists: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        // What comes after the last line break is no line yet.
        let rest = lines.next_back().unwrap_or_default();
        for line in lines {
            if self.begun.is_empty() {
                self.row(line)?;
            } else {
                let mut whole = std::mem::take(&mut self.begun);
                whole.extend_from_slice(line);
                self.row(&whole)?;
            }
        }
        self.begun.extend_from_slice(rest);
        // A line of which the end is far is no row.
        if self.begun.len() > LARGEST_ITEM {
            let line = std::mem::take(&mut self.begun);
            return self.row(&line);
        }
        Ok(())
    }

    fn end(&mut self) -> Result<(), Failure> {
        let last = std::mem::take(&mut self.begun);
        self.row(&last)?;
        self.close_round();
        self.close_list();
        Ok(())
    }

    fn row(&mut self, line: &[u8]) -> Result<(), Failure> {
        self.line += 1;
        let row = line.trim_ascii();
        if row.is_empty() {
            return Ok(());
        }
        if row.len() > LARGEST_ITEM {
            let message =
                format!("item {} is larger than 256 KiB; pass a reference to it instead", self.rows);
            return Err(Failure::new(FailureClass::LimitExceeded, message));
        }
        if self.rows == self.ask.most {
            let message = format!("more than {} items, the `max_items`", self.ask.most);
            return Err(Failure::new(FailureClass::LimitExceeded, message));
        }
        let wrong = |error: String| {
            let message = format!("line {} of the row set is not JSON: {error}", self.line);
            Failure::new(FailureClass::InvalidInput, message)
        };
        std::str::from_utf8(row).map_err(|error| wrong(error.to_string()))?;
        serde_json::from_slice::<serde_json::Value>(row).map_err(|error| wrong(error.to_string()))?;
        self.rows += 1;
        let opens = self.of_round == 0;
        match (opens, self.rounds) {
            (true, 0) => self.list.push(b'['),
            _ => self.list.push(b','),
        }
        if opens && self.ask.batch > 1 {
            self.list.push(b'[');
        }
        self.list.extend_from_slice(row);
        self.of_round += 1;
        if self.of_round == self.ask.batch {
            self.close_round();
            if self.rounds == Items::CHUNK {
                self.close_list();
            }
        }
        Ok(())
    }

    fn close_round(&mut self) {
        if self.of_round > 0 {
            if self.ask.batch > 1 {
                self.list.push(b']');
            }
            self.of_round = 0;
            self.rounds += 1;
        }
    }

    fn close_list(&mut self) {
        if self.rounds > 0 {
            self.list.push(b']');
            let bytes = std::mem::take(&mut self.list);
            let id = self.ask.list(self.execution, self.lists.len());
            self.lists.push(StoredPayload { id, size: bytes.len() as u64 });
            self.full.push((id, bytes));
            self.rounds = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The lists of a text, given in slices of so many bytes.
    fn cut(text: &str, slice: usize, batch: u32, most: u32) -> Result<Vec<Value>, Failure> {
        let ask = RowsAsk { file: PayloadId::generate(), batch, most };
        let mut cutter = Cutter::new(ExecutionId::generate(), ask);
        for bytes in text.as_bytes().chunks(slice) {
            cutter.feed(bytes)?;
        }
        cutter.end()?;
        assert_eq!(cutter.full.len(), cutter.lists.len());
        let value =
            |(_, bytes): (PayloadId, Vec<u8>)| serde_json::from_slice(&bytes).expect("a list is JSON");
        Ok(cutter.full.into_iter().map(value).collect())
    }

    #[test]
    fn rows_come_back_in_order_however_they_are_sliced() {
        let text = "{\"n\": 0}\n\n  [1, \"ä\"]\r\nnull\n\"last\"";
        for slice in 1..text.len() {
            assert_eq!(cut(text, slice, 1, 4), Ok(vec![json!([{ "n": 0 }, [1, "ä"], null, "last"])]));
            assert_eq!(cut(text, slice, 3, 4), Ok(vec![json!([[{ "n": 0 }, [1, "ä"], null], ["last"]])]));
        }
        assert_eq!(cut("", 1, 1, 4), Ok(vec![]));
    }

    #[test]
    fn a_list_holds_the_items_of_so_many_rounds() {
        let text: String = (0..1_201).map(|number| format!("{number}\n")).collect();
        let lists = cut(&text, 100, 2, 2_000).expect("all are rows");
        let lengths: Vec<usize> = lists.iter().filter_map(|list| list.as_array().map(Vec::len)).collect();
        assert_eq!(
            (lengths, &lists[1][0], &lists[1][100]),
            (vec![500, 101], &json!([1_000, 1_001]), &json!([1_200]))
        );
    }

    #[test]
    fn what_is_no_row_is_named() {
        let failure = cut("1\n\n{\n2", 2, 1, 9).expect_err("it is not JSON");
        assert!(
            failure.class == FailureClass::InvalidInput && failure.message.starts_with("line 3 "),
            "{failure}"
        );
        let failure = cut("1\n2\n3", 2, 1, 2).expect_err("there are too many");
        assert_eq!(failure.class, FailureClass::LimitExceeded);
        let failure = cut(&"1".repeat(300_000), 1_000, 1, 2).expect_err("it is too large");
        assert_eq!(failure.class, FailureClass::LimitExceeded);
    }
}
