//! The document of a room: updates in, what somebody lacks of them out.

use yrs::{Doc, ReadTxn, StateVector, Transact, Update, updates::decoder::Decode};

/// What an update was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// It brought something, or will when what it builds on is here.
    New,
    /// Everything in it was known.
    Known,
    /// It is none.
    Malformed,
}

pub(super) struct Document {
    doc: Doc,
    /// What it takes at most, in bytes: what there was at the last count, and all since.
    size: usize,
}

impl Document {
    pub(super) fn new() -> Self {
        Self { doc: Doc::new(), size: 0 }
    }

    pub(super) fn apply(&mut self, update: &[u8]) -> Applied {
        let Ok(decoded) = Update::decode_v1(update) else { return Applied::Malformed };
        let mut transaction = self.doc.transact_mut();
        if transaction.apply_update(decoded).is_err() {
            return Applied::Malformed;
        }
        let brought = !transaction.insert_set().is_empty() || !transaction.delete_set().is_empty();
        if !brought && !transaction.has_missing_updates() {
            return Applied::Known;
        }
        drop(transaction);
        self.size += update.len();
        Applied::New
    }

    pub(super) fn state_vector(&self) -> StateVector {
        self.doc.transact().state_vector()
    }

    /// What somebody lacks who knows this much.
    pub(super) fn answer(&self, known: &StateVector) -> Vec<u8> {
        self.doc.transact().encode_state_as_update_v1(known)
    }

    /// All of it as one update, which is also how much it is; nothing while something it builds on is missing.
    pub(super) fn whole(&mut self) -> Option<Vec<u8>> {
        if self.doc.transact().has_missing_updates() {
            return None;
        }
        let whole = self.answer(&StateVector::default());
        self.size = whole.len();
        Some(whole)
    }

    /// Whether this much more is within a limit.
    pub(super) fn has_room(&mut self, more: usize, limit: usize) -> bool {
        if self.size + more > limit {
            self.size = self.answer(&StateVector::default()).len();
        }
        self.size + more <= limit
    }
}

#[cfg(test)]
mod tests {
    use yrs::{Map, WriteTxn};

    use super::*;

    fn change(doc: &Doc, name: &str, value: &str) -> Vec<u8> {
        let before = doc.transact().state_vector();
        let mut transaction = doc.transact_mut();
        transaction.get_or_insert_map("registers").insert(&mut transaction, name, value);
        drop(transaction);
        doc.transact().encode_diff_v1(&before)
    }

    #[test]
    fn what_is_known_is_told_from_what_is_new() {
        let doc = Doc::new();
        let (one, two) = (change(&doc, "a", "1"), change(&doc, "a", "2"));
        let mut room = Document::new();
        assert_eq!(room.apply(&two), Applied::New, "it waits for what it builds on");
        assert_eq!(room.whole(), None);
        assert_eq!(room.apply(&one), Applied::New);
        assert_eq!(room.apply(&one), Applied::Known);
        assert_eq!(room.apply(&two), Applied::Known);
        assert_eq!(
            room.apply(&doc.transact().encode_state_as_update_v1(&StateVector::default())),
            Applied::Known
        );
        assert_eq!(room.apply(b"no update"), Applied::Malformed);
        let mut again = Document::new();
        assert_eq!(again.apply(&room.whole().expect("all is there")), Applied::New);
        assert_eq!(again.state_vector(), doc.transact().state_vector());
    }

    #[test]
    fn values_that_were_replaced_take_no_room() {
        let doc = Doc::new();
        let mut room = Document::new();
        let long = "x".repeat(1_000);
        for _ in 0..100 {
            assert!(room.has_room(1_100, 8_000));
            assert_eq!(room.apply(&change(&doc, "a", &long)), Applied::New);
        }
        assert!(!room.has_room(8_000, 8_000));
    }
}
