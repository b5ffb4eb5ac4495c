//! People who sign in.

use async_trait::async_trait;
use shared::{
    ids::{SessionId, TenantId, UserId},
    port::{
        accounts::{Accounts, LinkFor, LinkUsed, SecretHash, Session, Tries, TryKey, TryRule, User},
        store::StoreError,
    },
    time::Timestamp,
};
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    SqlStore,
    dialect::At,
    rows,
    sql_store::{in_transaction, on_pool},
};

const COUNT_USERS: &str = "\
select count(*)
from wo_users";

const PUT_LINK: &str = "\
insert into wo_account_links (hash, user_id, expires_at)
values ($1, $2, $3)";

const LINK: &str = "\
select user_id
from wo_account_links
where hash = $1 and expires_at > $2";

/// Of two who use it at once, one finds it gone.
const USE_LINK: &str = "\
delete from wo_account_links
where hash = $1";

const DROP_OWNER_LINKS: &str = "\
delete from wo_account_links
where user_id is null";

const FOUND: &str = "\
insert into wo_users (id, tenant_id, name, folded, password, roles, founder, created_at, disabled_at)
values ($1, $2, $3, $4, $5, $6, 1, $7, null)
on conflict do nothing";

const USER_BY_ID: &str = "\
select id, tenant_id, name, password, roles, created_at, disabled_at
from wo_users
where id = $1";

const USER_BY_NAME: &str = "\
select id, tenant_id, name, password, roles, created_at, disabled_at
from wo_users
where folded = $1";

const SET_PASSWORD: &str = "\
update wo_users
set password = $2
where id = $1";

const REPLACE_PASSWORD: &str = "\
update wo_users
set password = $3
where id = $1 and password = $2";

const ADD_SESSION: &str = "\
insert into wo_sessions (hash, id, user_id, created_at, seen_at, expires_at, address, agent)
values ($1, $2, $3, $4, $5, $6, $7, $8)";

const SESSION: &str = "\
select s.id as session_id, s.created_at as begun_at, s.seen_at, s.expires_at, s.address, s.agent,
    u.id, u.tenant_id, u.name, u.password, u.roles, u.created_at, u.disabled_at
from wo_sessions as s
join wo_users as u on u.id = s.user_id
where s.hash = $1";

const SEEN: &str = "\
update wo_sessions
set seen_at = $2
where id = $1 and seen_at < $2";

const SESSIONS: &str = "\
select id, user_id, created_at, seen_at, expires_at, address, agent
from wo_sessions
where user_id = $1
order by created_at desc, id desc";

const END_SESSION: &str = "\
delete from wo_sessions
where user_id = $1 and id = $2";

const END_SESSIONS: &str = "\
delete from wo_sessions
where user_id = $1";

/// Takes the row for itself, and makes it first where there is none.
const HOLD_TRIES: &str = "\
insert into wo_sign_in_tries (account, network, failures, since, locks, locked_until)
values ($1, $2, 0, $3, 0, null)
on conflict (account, network) do update set failures = wo_sign_in_tries.failures
returning failures, since, locks, locked_until";

const PUT_TRIES: &str = "\
update wo_sign_in_tries
set failures = $3, since = $4, locks = $5, locked_until = $6
where account = $1 and network = $2";

const FORGET_TRY: &str = "\
delete from wo_sign_in_tries
where account = $1 and network = $2";

/// Of whoever stays away: nothing is left of a session that has expired, nor of a link.
pub(crate) const FORGET_SESSIONS: &str = "\
delete from wo_sessions
where expires_at <= $1";

pub(crate) const FORGET_LINKS: &str = "\
delete from wo_account_links
where expires_at <= $1";

pub(crate) const FORGET_TRIES: &str = "\
delete from wo_sign_in_tries
where since <= $1";

pub(crate) const STATEMENTS: &[&str] = &[
    COUNT_USERS,
    PUT_LINK,
    LINK,
    USE_LINK,
    DROP_OWNER_LINKS,
    FOUND,
    USER_BY_ID,
    USER_BY_NAME,
    SET_PASSWORD,
    REPLACE_PASSWORD,
    ADD_SESSION,
    SESSION,
    SEEN,
    SESSIONS,
    END_SESSION,
    END_SESSIONS,
    HOLD_TRIES,
    PUT_TRIES,
    FORGET_TRY,
    FORGET_SESSIONS,
    FORGET_LINKS,
    FORGET_TRIES,
];

#[derive(Debug, FromRow)]
struct UserRecord {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    password: String,
    roles: String,
    created_at: At,
    disabled_at: Option<At>,
}

impl UserRecord {
    fn user(self) -> Result<User, StoreError> {
        Ok(User {
            id: UserId::from_uuid(self.id),
            tenant: TenantId::from_uuid(self.tenant_id),
            name: self.name,
            password: self.password,
            roles: rows::tags(&self.roles)?,
            created_at: self.created_at.0,
            disabled_at: self.disabled_at.map(|at| at.0),
        })
    }
}

#[derive(Debug, FromRow)]
struct SessionRecord {
    id: Uuid,
    user_id: Uuid,
    created_at: At,
    seen_at: At,
    expires_at: At,
    address: String,
    agent: String,
}

impl SessionRecord {
    fn session(self) -> Session {
        Session {
            id: SessionId::from_uuid(self.id),
            user: UserId::from_uuid(self.user_id),
            created_at: self.created_at.0,
            seen_at: self.seen_at.0,
            expires_at: self.expires_at.0,
            address: self.address,
            agent: self.agent,
        }
    }
}

#[derive(Debug, FromRow)]
struct SignedInRecord {
    session_id: Uuid,
    begun_at: At,
    seen_at: At,
    expires_at: At,
    address: String,
    agent: String,
    #[sqlx(flatten)]
    user: UserRecord,
}

/// Begins a session, in a transaction.
macro_rules! add_session {
    ($tx:expr, $hash:expr, $session:expr) => {
        sqlx::query(ADD_SESSION)
            .bind($hash.to_vec())
            .bind(*$session.id.as_uuid())
            .bind(*$session.user.as_uuid())
            .bind(At($session.created_at))
            .bind(At($session.seen_at))
            .bind(At($session.expires_at))
            .bind(&$session.address)
            .bind(&$session.agent)
            .execute($tx)
            .await
    };
}

fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[async_trait]
impl Accounts for SqlStore {
    async fn owner_exists(&self) -> Result<bool, StoreError> {
        let users: i64 = on_pool!(self, |pool, sql| sqlx::query_scalar(COUNT_USERS).fetch_one(pool).await)?;
        Ok(users > 0)
    }

    async fn link_put(
        &self,
        hash: SecretHash,
        for_what: LinkFor,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let user = match for_what {
            LinkFor::Owner => None,
            LinkFor::Password(user) => Some(*user.as_uuid()),
        };
        in_transaction!(self, |tx, sql| {
            let put = sqlx::query(PUT_LINK).bind(hash.to_vec()).bind(user).bind(At(expires_at));
            put.execute(&mut *tx).await?;
            Ok(())
        })
    }

    async fn link_use(
        &self,
        link: SecretHash,
        user: User,
        (hash, session): (SecretHash, Session),
        now: Timestamp,
    ) -> Result<LinkUsed, StoreError> {
        let used = in_transaction!(self, |tx, sql| {
            let found: Option<Option<Uuid>> =
                sqlx::query_scalar(LINK).bind(link.to_vec()).bind(At(now)).fetch_optional(&mut *tx).await?;
            let Some(theirs) = found else { return Ok(Err(LinkUsed::Refused)) };
            if let Some(id) = theirs {
                let record: Option<UserRecord> =
                    sqlx::query_as(USER_BY_ID).bind(id).fetch_optional(&mut *tx).await?;
                let record = record.filter(|record| folded(&record.name) == folded(&user.name));
                let Some(record) = record else { return Ok(Err(LinkUsed::NotTheirs)) };
                if sqlx::query(USE_LINK).bind(link.to_vec()).execute(&mut *tx).await?.rows_affected() == 0 {
                    return Ok(Err(LinkUsed::Refused));
                }
                sqlx::query(SET_PASSWORD).bind(id).bind(&user.password).execute(&mut *tx).await?;
                sqlx::query(END_SESSIONS).bind(id).execute(&mut *tx).await?;
                let session = Session { user: UserId::from_uuid(id), ..session };
                add_session!(&mut *tx, hash, session)?;
                return Ok(Ok(UserRecord { password: user.password, ..record }));
            }
            let made = sqlx::query(FOUND)
                .bind(*user.id.as_uuid())
                .bind(*user.tenant.as_uuid())
                .bind(&user.name)
                .bind(folded(&user.name))
                .bind(&user.password)
                .bind(rows::tags_text(&user.roles))
                .bind(At(user.created_at))
                .execute(&mut *tx)
                .await?;
            if made.rows_affected() == 0 {
                return Ok(Err(LinkUsed::OwnerExists));
            }
            sqlx::query(DROP_OWNER_LINKS).execute(&mut *tx).await?;
            add_session!(&mut *tx, hash, session)?;
            Ok(Ok(UserRecord {
                id: *user.id.as_uuid(),
                tenant_id: *user.tenant.as_uuid(),
                name: user.name,
                password: user.password,
                roles: rows::tags_text(&user.roles),
                created_at: At(user.created_at),
                disabled_at: None,
            }))
        })?;
        match used {
            Ok(record) => Ok(LinkUsed::Done(record.user()?)),
            Err(refused) => Ok(refused),
        }
    }

    async fn user_named(&self, name: &str) -> Result<Option<User>, StoreError> {
        let record: Option<UserRecord> = on_pool!(self, |pool, sql| sqlx::query_as(USER_BY_NAME)
            .bind(folded(name))
            .fetch_optional(pool)
            .await)?;
        record.map(UserRecord::user).transpose()
    }

    async fn password_put(
        &self,
        user: UserId,
        old: &str,
        new: &str,
        session: Option<(SecretHash, Session)>,
    ) -> Result<bool, StoreError> {
        let (old, new) = (old.to_owned(), new.to_owned());
        in_transaction!(self, |tx, sql| {
            let id = *user.as_uuid();
            let put = sqlx::query(REPLACE_PASSWORD).bind(id).bind(&old).bind(&new).execute(&mut *tx).await?;
            if put.rows_affected() == 0 {
                return Ok(false);
            }
            if let Some((hash, session)) = session {
                sqlx::query(END_SESSIONS).bind(id).execute(&mut *tx).await?;
                add_session!(&mut *tx, hash, session)?;
            }
            Ok(true)
        })
    }

    async fn session_begin(&self, hash: SecretHash, session: Session) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            add_session!(&mut *tx, hash, session)?;
            Ok(())
        })
    }

    async fn session_find(&self, hash: SecretHash) -> Result<Option<(Session, User)>, StoreError> {
        let record: Option<SignedInRecord> = on_pool!(self, |pool, sql| sqlx::query_as(SESSION)
            .bind(hash.to_vec())
            .fetch_optional(pool)
            .await)?;
        let Some(record) = record else { return Ok(None) };
        let session = Session {
            id: SessionId::from_uuid(record.session_id),
            user: UserId::from_uuid(record.user.id),
            created_at: record.begun_at.0,
            seen_at: record.seen_at.0,
            expires_at: record.expires_at.0,
            address: record.address,
            agent: record.agent,
        };
        Ok(Some((session, record.user.user()?)))
    }

    async fn session_seen(&self, id: SessionId, at: Timestamp) -> Result<(), StoreError> {
        in_transaction!(self, |tx, sql| {
            sqlx::query(SEEN).bind(*id.as_uuid()).bind(At(at)).execute(&mut *tx).await?;
            Ok(())
        })
    }

    async fn sessions_of(&self, user: UserId) -> Result<Vec<Session>, StoreError> {
        let records: Vec<SessionRecord> =
            on_pool!(self, |pool, sql| sqlx::query_as(SESSIONS).bind(*user.as_uuid()).fetch_all(pool).await)?;
        Ok(records.into_iter().map(SessionRecord::session).collect())
    }

    async fn session_end(&self, user: UserId, id: SessionId) -> Result<bool, StoreError> {
        in_transaction!(self, |tx, sql| {
            let end = sqlx::query(END_SESSION).bind(*user.as_uuid()).bind(*id.as_uuid());
            Ok(end.execute(&mut *tx).await?.rows_affected() > 0)
        })
    }

    async fn tries_count(
        &self,
        keys: &[(TryKey, Option<TryRule>)],
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StoreError> {
        // In the order of keys, so that two transactions never wait for each other.
        let mut keys = keys.to_vec();
        keys.sort_by(|a, b| a.0.cmp(&b.0));
        in_transaction!(self, |tx, sql| {
            let (mut locked, mut counted) = (None, Vec::new());
            for (key, rule) in keys {
                let held: (i32, At, i32, Option<At>) = sqlx::query_as(HOLD_TRIES)
                    .bind(&key.account)
                    .bind(&key.network)
                    .bind(At(now))
                    .fetch_one(&mut *tx)
                    .await?;
                let mut tries = Tries {
                    failures: u32::try_from(held.0).unwrap_or(0),
                    since: held.1.0,
                    locks: u32::try_from(held.2).unwrap_or(0),
                    locked_until: held.3.map(|at| at.0),
                };
                locked = locked.max(tries.locked(now));
                if let Some(rule) = rule {
                    tries.fail(rule, now);
                    counted.push((key, tries));
                }
            }
            if locked.is_some() {
                return Ok(locked);
            }
            for (key, tries) in counted {
                sqlx::query(PUT_TRIES)
                    .bind(&key.account)
                    .bind(&key.network)
                    .bind(count(tries.failures))
                    .bind(At(tries.since))
                    .bind(count(tries.locks))
                    .bind(tries.locked_until.map(At))
                    .execute(&mut *tx)
                    .await?;
            }
            Ok(None)
        })
    }

    async fn tries_forget(&self, key: &TryKey) -> Result<(), StoreError> {
        let key = key.clone();
        in_transaction!(self, |tx, sql| {
            let forget = sqlx::query(FORGET_TRY).bind(&key.account).bind(&key.network);
            forget.execute(&mut *tx).await?;
            Ok(())
        })
    }
}

/// A name by which nobody can pass for another.
pub(crate) fn folded(name: &str) -> String {
    name.to_lowercase()
}
