//! People who sign in: who they are, where they are signed in, and tries that failed.
//!
//! What opens something is never kept: of a link and of a session the SHA-256 is ([FIPS 180-4]), of a password its
//! argon2id ([RFC 9106]).
//!
//! [FIPS 180-4]: https://csrc.nist.gov/pubs/fips/180-4/upd1/final
//! [RFC 9106]: https://www.rfc-editor.org/rfc/rfc9106

use std::time::Duration;

use async_trait::async_trait;

use super::store::StoreError;
use crate::{
    ids::{SessionId, TenantId, UserId},
    time::Timestamp,
};

/// The SHA-256 of what opens something.
pub type SecretHash = [u8; 32];

/// Somebody who may sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: UserId,
    pub tenant: TenantId,
    /// As they write it. No two differ only in capitals.
    pub name: String,
    /// A PHC string.
    pub password: String,
    pub roles: Vec<String>,
    pub created_at: Timestamp,
    pub disabled_at: Option<Timestamp>,
}

/// Where somebody is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    pub id: SessionId,
    pub user: UserId,
    pub created_at: Timestamp,
    /// When something was last asked for, by the minute.
    pub seen_at: Timestamp,
    pub expires_at: Timestamp,
    /// The address it was begun from.
    pub address: String,
    /// What the browser called itself.
    pub agent: String,
}

/// What a link lets somebody do, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFor {
    /// Become the first owner.
    Owner,
    /// Give themselves a new password.
    Password(UserId),
}

/// What became of the use of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkUsed {
    Done(User),
    /// There is no such link, or it was used, or has expired.
    Refused,
    /// It makes the first owner, and there is one.
    OwnerExists,
    /// It is somebody else's.
    NotTheirs,
}

/// How many failed tries are let pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TryRule {
    pub most: u32,
    /// Failures further apart than this do not add up.
    pub within: Duration,
    /// How long nobody is let in then: this long at first, twice as long each further time, up to `longest`.
    pub lock: Duration,
    pub longest: Duration,
}

/// Failed tries of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tries {
    pub failures: u32,
    /// When they began to be counted.
    pub since: Timestamp,
    /// How often they have led to a lock.
    pub locks: u32,
    pub locked_until: Option<Timestamp>,
}

/// After so long nobody is held to what was before.
pub const TRIES_KEPT: Duration = Duration::from_hours(24);

impl Tries {
    pub fn none(now: Timestamp) -> Self {
        Self { failures: 0, since: now, locks: 0, locked_until: None }
    }

    /// Until when nobody is let in.
    pub fn locked(&self, now: Timestamp) -> Option<Timestamp> {
        self.locked_until.filter(|until| *until > now)
    }

    /// Counts a failure.
    pub fn fail(&mut self, rule: TryRule, now: Timestamp) {
        let apart = now.since(self.since);
        if apart > TRIES_KEPT {
            self.locks = 0;
        }
        if apart > rule.within {
            (self.failures, self.since) = (0, now);
        }
        self.failures += 1;
        if self.failures >= rule.most.max(1) {
            let longer = 2_u32.saturating_pow(self.locks.min(16));
            self.locked_until = Some(now.after(rule.lock.saturating_mul(longer).min(rule.longest)));
            self.locks += 1;
            (self.failures, self.since) = (0, now);
        }
    }
}

/// What failed tries are counted under: an account, a network, or both.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TryKey {
    /// Empty: whatever account.
    pub account: String,
    /// Empty: from wherever.
    pub network: String,
}

/// People who sign in.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Whether there is anybody who may sign in.
    async fn owner_exists(&self) -> Result<bool, StoreError>;

    /// Keeps a link that can be used once, before it expires.
    async fn link_put(
        &self,
        hash: SecretHash,
        for_what: LinkFor,
        expires_at: Timestamp,
    ) -> Result<(), StoreError>;

    /// Uses a link: makes the first owner, or gives whom it is for the password of `user`, ends their sessions, and begins
    /// `session`. What is refused uses nothing up. Afterwards no link makes an owner.
    async fn link_use(
        &self,
        link: SecretHash,
        user: User,
        session: (SecretHash, Session),
        now: Timestamp,
    ) -> Result<LinkUsed, StoreError>;

    /// The one of that name, however it is capitalised.
    async fn user_named(&self, name: &str) -> Result<Option<User>, StoreError>;

    /// Replaces a password, unless it has become another one than `old` meanwhile, and answers whether it did. With a session all
    /// others of theirs end, and that one begins.
    async fn password_put(
        &self,
        user: UserId,
        old: &str,
        new: &str,
        session: Option<(SecretHash, Session)>,
    ) -> Result<bool, StoreError>;

    async fn session_begin(&self, hash: SecretHash, session: Session) -> Result<(), StoreError>;

    /// A session and whose it is, expired or not.
    async fn session_find(&self, hash: SecretHash) -> Result<Option<(Session, User)>, StoreError>;

    /// Notes that something was asked for.
    async fn session_seen(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError>;

    /// The sessions of somebody, the latest first.
    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>, StoreError>;

    /// Ends a session of theirs, and answers whether there was one.
    async fn session_end(&self, user: UserId, id: SessionId) -> Result<bool, StoreError>;

    /// Counts failures under these keys at once, and answers until when the first of them is locked that is: then
    /// none is counted. Without a rule a key is only looked at.
    async fn tries_count(
        &self,
        keys: &[(TryKey, Option<TryRule>)],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError>;

    /// Forgets the failures under a key.
    async fn tries_forget(&self, key: &TryKey) -> Result<(), StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: TryRule = TryRule {
        most: 5,
        within: Duration::from_mins(15),
        lock: Duration::from_mins(15),
        longest: Duration::from_hours(1),
    };

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + minutes * 60_000_000)
    }

    fn fail(tries: &mut Tries, times: u32, minutes: i64) {
        for _ in 0..times {
            tries.fail(RULE, at(minutes));
        }
    }

    #[test]
    fn the_fifth_failure_locks_and_each_lock_is_longer_up_to_an_hour() {
        let mut tries = Tries::none(at(0));
        fail(&mut tries, 4, 1);
        assert_eq!(tries.locked(at(1)), None);
        fail(&mut tries, 1, 2);
        assert_eq!(tries.locked(at(2)), Some(at(17)));
        assert_eq!(tries.locked(at(17)), None);
        for (begins, ends) in [(20, 50), (60, 120), (130, 190)] {
            fail(&mut tries, 5, begins);
            assert_eq!(tries.locked(at(begins)), Some(at(ends)));
        }
    }

    #[test]
    fn failures_far_apart_do_not_add_up_and_a_day_forgets_locks() {
        let mut tries = Tries::none(at(0));
        for minutes in [0, 16, 32, 48, 64, 80] {
            fail(&mut tries, 1, minutes);
        }
        assert_eq!(tries.locked(at(80)), None);
        fail(&mut tries, 5, 100);
        let tomorrow = 100 + 25 * 60;
        fail(&mut tries, 5, tomorrow);
        assert_eq!(tries.locked(at(tomorrow)), Some(at(tomorrow + 15)));
    }
}
