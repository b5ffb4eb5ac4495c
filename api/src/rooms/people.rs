//! Who is in a room: what each last said of themselves. Nobody here reads it.

use std::{collections::HashMap, sync::Arc};

use tokio::time::Instant;
use yrs::{
    block::ClientID,
    sync::{AwarenessUpdate, awareness::AwarenessUpdateEntry},
};

/// What somebody may say of themselves, in bytes.
const LONGEST: usize = 8 * 1024;
/// What is said of somebody who is gone.
const GONE: &str = "null";

/// Through whom somebody is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    /// A connection of this room.
    Member(u64),
    /// Another room, which spoke of them last at this instant.
    Room(Instant),
}

#[derive(Debug)]
struct Person {
    clock: u32,
    json: Arc<str>,
    through: Through,
}

#[derive(Debug, Default)]
pub(super) struct People {
    all: HashMap<ClientID, Person>,
}

fn update(entries: impl IntoIterator<Item = (ClientID, AwarenessUpdateEntry)>) -> Option<AwarenessUpdate> {
    let clients: HashMap<_, _> = entries.into_iter().collect();
    (!clients.is_empty()).then_some(AwarenessUpdate { clients })
}

impl People {
    /// Takes what is said of people, and answers what of it is news. A connection speaks for one person: the first it
    /// names.
    pub(super) fn hear(
        &mut self,
        said: AwarenessUpdate,
        through: Through,
        speaks_for: &mut Option<ClientID>,
        most: usize,
    ) -> Option<AwarenessUpdate> {
        let mut news = Vec::new();
        let mut room = most.saturating_sub(self.all.len());
        for (id, entry) in said.clients {
            let is_member = matches!(through, Through::Member(_));
            if entry.json.len() > LONGEST || (is_member && *speaks_for.get_or_insert(id) != id) {
                continue;
            }
            let is_gone = &*entry.json == GONE;
            match self.all.get_mut(&id) {
                Some(known) => {
                    // Who has come here from another room is not gone because they left that one.
                    if !is_member && is_gone && matches!(known.through, Through::Member(_)) {
                        continue;
                    }
                    let is_newer = entry.clock > known.clock || (entry.clock == known.clock && is_gone);
                    let has_moved = is_member && known.through != through;
                    if !is_newer && !has_moved {
                        continue;
                    }
                    if is_gone {
                        self.all.remove(&id);
                    } else {
                        *known = Person { clock: entry.clock, json: Arc::clone(&entry.json), through };
                    }
                }
                None if is_gone || room == 0 => continue,
                None => {
                    let person = Person { clock: entry.clock, json: Arc::clone(&entry.json), through };
                    room -= 1;
                    self.all.insert(id, person);
                }
            }
            news.push((id, entry));
        }
        update(news)
    }

    /// Forgets those who are gone, and answers what others have to be told.
    pub(super) fn forget(&mut self, is_gone: impl Fn(Through) -> bool) -> Option<AwarenessUpdate> {
        let mut gone = Vec::new();
        self.all.retain(|id, person| {
            if !is_gone(person.through) {
                return true;
            }
            gone.push((*id, AwarenessUpdateEntry { clock: person.clock, json: GONE.into() }));
            false
        });
        update(gone)
    }

    /// Everybody who is here through somebody like this.
    pub(super) fn list(&self, of: impl Fn(Through) -> bool) -> Option<AwarenessUpdate> {
        update(self.all.iter().filter(|(_, person)| of(person.through)).map(|(id, person)| {
            (*id, AwarenessUpdateEntry { clock: person.clock, json: Arc::clone(&person.json) })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(list: &[(u64, u32, &str)]) -> AwarenessUpdate {
        let entries = list.iter().map(|(id, clock, json)| {
            (ClientID::new(*id), AwarenessUpdateEntry { clock: *clock, json: (*json).into() })
        });
        AwarenessUpdate { clients: entries.collect() }
    }

    #[test]
    fn a_connection_speaks_for_one_person() {
        let mut people = People::default();
        let mut whom = None;
        let one = Through::Member(1);
        assert!(people.hear(said(&[(7, 1, "{}")]), one, &mut whom, 9).is_some());
        assert_eq!(whom, Some(ClientID::new(7)));
        assert_eq!(people.hear(said(&[(8, 1, "{}")]), one, &mut whom, 9), None);
        assert_eq!(people.hear(said(&[(7, 1, "{}")]), one, &mut whom, 9), None, "it is known");
        assert_eq!(people.hear(said(&[(7, 2, &"x".repeat(9_000))]), one, &mut whom, 9), None);
        // They connect anew before the old connection is found to be dead.
        let mut again = None;
        assert!(people.hear(said(&[(7, 1, "{}")]), Through::Member(2), &mut again, 9).is_some());
        assert_eq!(people.forget(|through| through == one), None);
        assert_eq!(people.forget(|through| through == Through::Member(2)), Some(said(&[(7, 1, "null")])));
    }

    #[test]
    fn who_comes_from_another_room_is_not_gone_when_that_says_so() {
        let mut people = People::default();
        let elsewhere = Through::Room(Instant::now());
        assert!(people.hear(said(&[(7, 1, "{}"), (8, 1, "{}")]), elsewhere, &mut None, 9).is_some());
        assert!(people.hear(said(&[(7, 2, "{}")]), Through::Member(1), &mut None, 9).is_some());
        let gone = people.hear(said(&[(7, 2, "null"), (8, 1, "null")]), elsewhere, &mut None, 9);
        assert_eq!(gone, Some(said(&[(8, 1, "null")])));
        assert_eq!(people.list(|_| true), Some(said(&[(7, 2, "{}")])));
        assert_eq!(people.hear(said(&[(9, 1, "{}")]), elsewhere, &mut None, 1), None, "too many");
    }
}
