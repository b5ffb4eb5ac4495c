//! Accounts in memory.

use std::collections::BTreeMap;

use async_trait::async_trait;
use shared::{
    ids::{SessionId, UserId},
    port::{
        accounts::{
            Accounts, LinkFor, LinkUsed, SecretHash, Session, TRIES_KEPT, Tries, TryKey, TryRule, User,
        },
        store::StoreError,
    },
    time::Timestamp,
};

use super::MemoryStore;
use crate::accounts::folded;

#[derive(Debug, Default)]
pub(super) struct Rows {
    users: BTreeMap<UserId, User>,
    sessions: BTreeMap<SecretHash, Session>,
    links: BTreeMap<SecretHash, (LinkFor, Timestamp)>,
    tries: BTreeMap<TryKey, Tries>,
}

impl Rows {
    pub(super) fn forget(&mut self, now: Timestamp) {
        self.sessions.retain(|_, session| session.expires_at > now);
        self.links.retain(|_, (_, expires_at)| *expires_at > now);
        self.tries.retain(|_, tries| now.since(tries.since) < TRIES_KEPT);
    }

    fn begin_alone(&mut self, hash: SecretHash, session: Session) {
        self.sessions.retain(|_, other| other.user != session.user);
        self.sessions.insert(hash, session);
    }
}

#[async_trait]
impl Accounts for MemoryStore {
    async fn owner_exists(&self) -> Result<bool, StoreError> {
        Ok(!self.state()?.accounts.users.is_empty())
    }

    async fn link_put(
        &self,
        hash: SecretHash,
        for_what: LinkFor,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.state()?.accounts.links.insert(hash, (for_what, expires_at));
        Ok(())
    }

    async fn link_use(
        &self,
        link: SecretHash,
        user: User,
        (hash, session): (SecretHash, Session),
        now: Timestamp,
    ) -> Result<LinkUsed, StoreError> {
        let rows = &mut self.state()?.accounts;
        let valid = rows.links.get(&link).filter(|(_, expires_at)| *expires_at > now);
        match valid.map(|(for_what, _)| *for_what) {
            None => Ok(LinkUsed::Refused),
            Some(LinkFor::Password(id)) => {
                let theirs = rows.users.get_mut(&id).filter(|it| folded(&it.name) == folded(&user.name));
                let Some(theirs) = theirs else { return Ok(LinkUsed::NotTheirs) };
                theirs.password = user.password;
                let user = theirs.clone();
                rows.links.remove(&link);
                rows.begin_alone(hash, Session { user: id, ..session });
                Ok(LinkUsed::Done(user))
            }
            Some(LinkFor::Owner) if !rows.users.is_empty() => Ok(LinkUsed::OwnerExists),
            Some(LinkFor::Owner) => {
                rows.users.insert(user.id, user.clone());
                rows.links.retain(|_, (for_what, _)| *for_what != LinkFor::Owner);
                rows.begin_alone(hash, session);
                Ok(LinkUsed::Done(user))
            }
        }
    }

    async fn user_named(&self, name: &str) -> Result<Option<User>, StoreError> {
        let name = folded(name);
        Ok(self.state()?.accounts.users.values().find(|user| folded(&user.name) == name).cloned())
    }

    async fn password_put(
        &self,
        user: UserId,
        old: &str,
        new: &str,
        session: Option<(SecretHash, Session)>,
    ) -> Result<bool, StoreError> {
        let rows = &mut self.state()?.accounts;
        let Some(found) = rows.users.get_mut(&user).filter(|user| user.password == old) else {
            return Ok(false);
        };
        new.clone_into(&mut found.password);
        if let Some((hash, session)) = session {
            rows.begin_alone(hash, session);
        }
        Ok(true)
    }

    async fn session_begin(&self, hash: SecretHash, session: Session) -> Result<(), StoreError> {
        self.state()?.accounts.sessions.insert(hash, session);
        Ok(())
    }

    async fn session_find(&self, hash: SecretHash) -> Result<Option<(Session, User)>, StoreError> {
        let rows = &self.state()?.accounts;
        Ok(rows
            .sessions
            .get(&hash)
            .and_then(|session| Some((session.clone(), rows.users.get(&session.user)?.clone()))))
    }

    async fn session_seen(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        let rows = &mut self.state()?.accounts;
        for session in rows.sessions.values_mut().filter(|session| session.id == id) {
            session.seen_at = session.seen_at.max(at);
        }
        Ok(())
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        let rows = &self.state()?.accounts;
        let mut theirs: Vec<Session> =
            rows.sessions.values().filter(|session| session.user == user).cloned().collect();
        theirs.sort_by_key(|session| std::cmp::Reverse((session.created_at, session.id)));
        Ok(theirs)
    }

    async fn session_end(&self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        let rows = &mut self.state()?.accounts;
        let before = rows.sessions.len();
        rows.sessions.retain(|_, session| session.user != user || session.id != id);
        Ok(rows.sessions.len() < before)
    }

    async fn tries_count(
        &self,
        keys: &[(TryKey, Option<TryRule>)],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        let rows = &mut self.state()?.accounts;
        let locked = keys.iter().filter_map(|(key, _)| rows.tries.get(key)?.locked(now)).max();
        if locked.is_none() {
            for (key, rule) in keys {
                if let Some(rule) = rule {
                    rows.tries.entry(key.clone()).or_insert_with(|| Tries::none(now)).fail(*rule, now);
                }
            }
        }
        Ok(locked)
    }

    async fn tries_forget(&self, key: &TryKey) -> Result<(), StoreError> {
        self.state()?.accounts.tries.remove(key);
        Ok(())
    }
}
