//! Signing in: one-time links, passwords, sessions, and the key that programs show.

mod passwords;

use std::{net::IpAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::{
    ids::{SessionId, TenantId, UserId},
    port::{
        accounts::{LinkFor, LinkUsed, SecretHash, Session, TryKey, TryRule, User},
        store::{DynStore, StoreError},
    },
    time::Timestamp,
};
use tracing::{info, warn};
use utoipa::ToSchema;

use self::passwords::{Compared, Passwords};
use crate::{
    caller::{Caller, Permission},
    config::Security,
    deeds::clock::StoreClock,
    problem::{Code, Mistake, Problem},
};

/// How long a link can be used.
const LINK_LASTS: Duration = Duration::from_hours(24);
/// How often it is noted that a session is in use.
const SEEN_EVERY: Duration = Duration::from_mins(1);
const LONGEST_NAME: usize = 64;
const LONGEST_AGENT: usize = 256;

/// Locks somebody out for a while, from one network.
const LOCK: Duration = Duration::from_mins(15);
const LONGEST_LOCK: Duration = Duration::from_hours(1);
/// Guesses at one account from many networks.
const ACCOUNT: TryRule = TryRule {
    most: 100,
    within: Duration::from_hours(1),
    lock: Duration::from_mins(15),
    longest: LONGEST_LOCK,
};
/// Guesses at many accounts from one network.
const NETWORK: TryRule = TryRule {
    most: 50,
    within: Duration::from_mins(15),
    lock: Duration::from_mins(15),
    longest: LONGEST_LOCK,
};

/// A secret that opens something, new and random.
#[derive(Clone)]
pub struct Opener(String);

impl Opener {
    /// # Errors
    /// When the system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0_u8; 32];
        getrandom::fill(&mut bytes)?;
        Ok(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The text of it. Show it to nobody but whom it is for.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> SecretHash {
        hash_of(&self.0)
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("••••••")
    }
}

fn hash_of(secret: &str) -> SecretHash {
    Sha256::digest(secret.as_bytes()).into()
}

/// A link that lets somebody in, once.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Link {
    /// Where it is used, in a browser.
    pub url: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// Whom a link is for.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct NewLink {
    /// Whose password is forgotten; without a name the link makes the first owner.
    pub name: Option<String>,
}

/// Keeps a new link for `for_what` and answers the address at which it is used.
///
/// # Errors
/// When the store cannot be reached.
pub async fn make_link(store: &DynStore, base_url: &str, for_what: LinkFor) -> Result<Link, StoreError> {
    let opener = Opener::random().map_err(|error| StoreError::Unavailable(Box::new(error)))?;
    let expires_at = store.now().await?.after(LINK_LASTS);
    store.link_put(opener.hash(), for_what, expires_at).await?;
    // Behind the #, which no browser sends: it is in no log.
    let url = format!("{base_url}/workflow_orchestration/setup#{}", opener.reveal());
    Ok(Link { url, expires_at })
}

/// The text that a page of ours sends with what it writes: derived from the session, which no other page can read.
pub(crate) fn csrf_of(opener: &str) -> String {
    hex::encode(Sha256::new().chain_update(b"csrf\0").chain_update(opener.as_bytes()).finalize())
}

/// Who asks to be let in, as the connection shows them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Visitor {
    pub address: Option<IpAddr>,
    pub agent: String,
}

impl Visitor {
    /// The /24 of an IPv4 address, the /48 of an IPv6 one.
    fn network(&self) -> String {
        match self.address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => {
                let [a, b, c, _] = address.octets();
                format!("{a}.{b}.{c}.0/24")
            }
            Some(IpAddr::V6(address)) => {
                let [a, b, c, ..] = address.segments();
                format!("{a:x}:{b:x}:{c:x}::/48")
            }
            None => "unknown".to_owned(),
        }
    }
}

/// Whether somebody is signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SessionState {
    /// Nobody owns this installation yet: whoever started it has a link.
    Setup,
    SignedOut,
    SignedIn,
}

/// Who is signed in, and what they may do.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PrincipalView {
    /// Kept with what they create and start.
    pub name: String,
    /// What they are.
    pub roles: Vec<String>,
    /// What they may do, such as `workflow.edit`.
    pub permissions: Vec<String>,
}

/// The session of a browser.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Session)]
pub(crate) struct SessionView {
    /// Whether somebody is signed in.
    pub state: SessionState,
    /// Who it is.
    pub principal: Option<PrincipalView>,
    /// Sent as `X-CSRF-Token` with whatever changes something.
    pub csrf: Option<String>,
    /// When it ends in any case.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Seconds without a request after which it ends.
    pub idle_seconds: u64,
}

/// A link is used, by its token.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Setup {
    /// What stands behind the `#` of the link.
    pub token: String,
    /// 1 to 64 letters, digits and `. _ - @`.
    pub name: String,
    /// 12 to 128 characters.
    pub password: String,
}

/// Somebody signs in.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignInAs {
    /// However it is capitalised.
    pub name: String,
    /// As it was set.
    pub password: String,
}

/// A new password.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPassword {
    /// The password as it is.
    pub old: String,
    /// 12 to 128 characters.
    pub new: String,
}

/// One place where somebody is signed in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct OwnSession {
    /// The session's id.
    #[schema(value_type = String)]
    pub id: SessionId,
    /// Whether it is the one that asks.
    pub current: bool,
    /// When somebody signed in there.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When something was last asked for, by the minute.
    #[schema(value_type = String, format = DateTime)]
    pub seen_at: Timestamp,
    /// When it ends in any case.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The address it was begun from.
    pub address: String,
    /// What the browser calls itself.
    pub agent: String,
}

/// Where somebody is signed in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct OwnSessionList {
    /// The latest first.
    pub items: Vec<OwnSession>,
    /// Always nothing: they are few.
    pub next_cursor: Option<String>,
}

/// What roles may do. Unknown ones may do nothing.
fn permissions_of(roles: &[String]) -> Vec<Permission> {
    if roles.iter().any(|role| role == OWNER) { Permission::ALL.to_vec() } else { Vec::new() }
}

const OWNER: &str = "owner";

fn caller_of(session: &Session, user: &User) -> Caller {
    Caller {
        tenant: user.tenant,
        principal: user.name.as_str().into(),
        roles: user.roles.iter().map(|role| role.as_str().into()).collect(),
        groups: [].into(),
        permissions: permissions_of(&user.roles).into(),
        session: Some((session.user, session.id)),
    }
}

/// Lets people in.
pub(crate) struct SignIn {
    store: DynStore,
    clock: StoreClock,
    security: Security,
    key: Option<SecretHash>,
    passwords: tokio::sync::OnceCell<Passwords>,
}

impl SignIn {
    pub(crate) fn new(store: DynStore, security: Security, key: Option<&str>) -> Self {
        Self {
            store,
            clock: StoreClock::default(),
            security,
            key: key.map(hash_of),
            passwords: tokio::sync::OnceCell::new(),
        }
    }

    async fn now(&self) -> Result<Timestamp, Problem> {
        Ok(self.clock.now(&self.store).await?)
    }

    /// Made when the first one signs in: it takes a moment.
    async fn passwords(&self) -> Result<&Passwords, Problem> {
        self.passwords
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(Passwords::new).await.map_err(Problem::internal)?
            })
            .await
    }

    /// Who shows a key.
    pub(crate) fn by_key(&self, shown: &str) -> Result<Caller, Problem> {
        // Hashes, so that the time to compare says nothing about how much of it was right.
        if self.key.is_some_and(|key| key == hash_of(shown.trim())) {
            return Ok(Caller::owner());
        }
        let detail = match self.key {
            Some(_) => "The key is not the one this server was given (`api.key`).",
            None => "This server takes no key: it was given none (`api.key`).",
        };
        Err(Problem::new(Code::Unauthorized, detail))
    }

    /// A session that has not ended, and whose it is.
    async fn live(&self, opener: &str) -> Result<Option<(Session, User)>, Problem> {
        let Some((session, user)) = self.store.session_find(hash_of(opener)).await? else { return Ok(None) };
        let now = self.now().await?;
        let idle = Duration::from_secs(self.idle_seconds());
        if session.expires_at <= now || now.since(session.seen_at) > idle || user.disabled_at.is_some() {
            return Ok(None);
        }
        if now.since(session.seen_at) >= SEEN_EVERY {
            self.store.session_seen(session.id, now).await?;
        }
        Ok(Some((session, user)))
    }

    fn idle_seconds(&self) -> u64 {
        u64::from(self.security.session_idle_minutes) * 60
    }

    /// Who a session belongs to.
    pub(crate) async fn by_session(&self, opener: &str) -> Result<Caller, Problem> {
        match self.live(opener).await? {
            Some((session, user)) => Ok(caller_of(&session, &user)),
            None => Err(Problem::new(Code::Unauthorized, "The session has ended: sign in again.")),
        }
    }

    /// Whether somebody who was let in may stay.
    pub(crate) async fn may_stay(&self, caller: &Caller) -> Result<bool, Problem> {
        let Some((user, id)) = caller.session else { return Ok(true) };
        let now = self.now().await?;
        let sessions = self.store.sessions_of(user).await?;
        Ok(sessions.iter().any(|session| session.id == id && session.expires_at > now))
    }

    /// What a browser sees first.
    pub(crate) async fn session(&self, opener: Option<&str>) -> Result<SessionView, Problem> {
        if let Some(opener) = opener
            && let Some((session, user)) = self.live(opener).await?
        {
            return Ok(self.view(opener, &session, &user));
        }
        let owned = self.store.owner_exists().await?;
        Ok(SessionView {
            state: if owned { SessionState::SignedOut } else { SessionState::Setup },
            principal: None,
            csrf: None,
            expires_at: None,
            idle_seconds: self.idle_seconds(),
        })
    }

    fn view(&self, opener: &str, session: &Session, user: &User) -> SessionView {
        SessionView {
            state: SessionState::SignedIn,
            principal: Some(PrincipalView {
                name: user.name.clone(),
                roles: user.roles.clone(),
                permissions: permissions_of(&user.roles).iter().map(|it| it.as_str().to_owned()).collect(),
            }),
            csrf: Some(csrf_of(opener)),
            expires_at: Some(session.expires_at),
            idle_seconds: self.idle_seconds(),
        }
    }

    fn begin(&self, user: UserId, visitor: &Visitor, now: Timestamp) -> Result<(Opener, Session), Problem> {
        let lasts = Duration::from_hours(u64::from(self.security.session_timeout_hours));
        let session = Session {
            id: SessionId::generate(),
            user,
            created_at: now,
            seen_at: now,
            expires_at: now.after(lasts),
            address: visitor.address.map_or_else(String::new, |address| address.to_canonical().to_string()),
            agent: visitor.agent.chars().filter(|letter| !letter.is_control()).take(LONGEST_AGENT).collect(),
        };
        Ok((Opener::random().map_err(Problem::internal)?, session))
    }

    /// Makes a link for the first owner, or for somebody who has forgotten their password.
    pub(crate) async fn link(
        &self,
        caller: &Caller,
        base_url: &str,
        NewLink { name }: NewLink,
    ) -> Result<Link, Problem> {
        caller.must(Permission::AdminSystem)?;
        let for_what = match name {
            Some(name) => match self.store.user_named(&name).await? {
                Some(user) => LinkFor::Password(user.id),
                None => return Err(Problem::not_found(format_args!("user `{}`", name.escape_debug()))),
            },
            None if self.store.owner_exists().await? => {
                return Err(Problem::new(Code::OwnerExists, "Say whose password is forgotten: `name`."));
            }
            None => LinkFor::Owner,
        };
        Ok(make_link(&self.store, base_url, for_what).await?)
    }

    /// Uses a link.
    pub(crate) async fn setup(
        &self,
        Setup { token, name, password }: Setup,
        visitor: &Visitor,
    ) -> Result<(Opener, SessionView), Problem> {
        let mut wrong = Vec::new();
        if let Err(why) = check_name(&name) {
            wrong.push(mistake("name", why));
        }
        if let Err(why) = passwords::check(&password, &name) {
            wrong.push(mistake("password", why));
        }
        if !wrong.is_empty() {
            return Err(refusal(&wrong));
        }
        let now = self.now().await?;
        let network = TryKey { account: String::new(), network: visitor.network() };
        self.must_not_be_locked(&[(network.clone(), None)], now).await?;
        let user = User {
            id: UserId::generate(),
            tenant: TenantId::DEFAULT,
            name,
            password: self.passwords().await?.hash(&password).await?,
            roles: vec![OWNER.to_owned()],
            created_at: now,
            disabled_at: None,
        };
        let (opener, session) = self.begin(user.id, visitor, now)?;
        let used = self.store.link_use(hash_of(&token), user, (opener.hash(), session.clone()), now).await?;
        match used {
            LinkUsed::Done(user) => {
                info!(user = user.name, "A link was used: they set their password and are signed in");
                let session = Session { user: user.id, ..session };
                let view = self.view(opener.reveal(), &session, &user);
                Ok((opener, view))
            }
            LinkUsed::NotTheirs => {
                Err(refusal(&[mistake("name", "The link is for somebody of another name".to_owned())]))
            }
            LinkUsed::OwnerExists => Err(Problem::new(
                Code::OwnerExists,
                "This installation has an owner already. Sign in, or ask for a new password: `apg owner-link` makes a link.",
            )),
            LinkUsed::Refused => {
                self.store.tries_count(&[(network, Some(NETWORK))], now).await?;
                Err(Problem::new(
                    Code::LinkRefused,
                    "The link was used, or is older than a day. `apg owner-link` makes a new one.",
                ))
            }
        }
    }

    async fn must_not_be_locked(
        &self,
        keys: &[(TryKey, Option<TryRule>)],
        now: Timestamp,
    ) -> Result<(), Problem> {
        if self.store.tries_count(keys, now).await?.is_some() { Err(not_let_in()) } else { Ok(()) }
    }

    /// Signs somebody in.
    pub(crate) async fn sign_in(
        &self,
        SignInAs { name, password }: SignInAs,
        visitor: &Visitor,
    ) -> Result<(Opener, SessionView), Problem> {
        let user = self.is_really(&name, &password, visitor).await?;
        let now = self.now().await?;
        let (opener, session) = self.begin(user.id, visitor, now)?;
        self.store.session_begin(opener.hash(), session.clone()).await?;
        let view = self.view(opener.reveal(), &session, &user);
        Ok((opener, view))
    }

    /// Compares name and password. Whoever is not there, is disabled or locked out takes as long as a wrong password, and
    /// is answered the same.
    async fn is_really(&self, name: &str, password: &str, visitor: &Visitor) -> Result<User, Problem> {
        let now = self.now().await?;
        let network = visitor.network();
        // What is no name is nobody's, and is not kept either.
        let account = if check_name(name).is_ok() { name.to_lowercase() } else { String::new() };
        let here = TryKey { account: account.clone(), network: network.clone() };
        let everywhere = TryKey { account: account.clone(), network: String::new() };
        let whoever = TryKey { account: String::new(), network };
        let rule = TryRule {
            most: self.security.max_login_attempts,
            within: LOCK,
            lock: LOCK,
            longest: LONGEST_LOCK,
        };
        // Counted before it is known to be one, so that many at once do not slip by.
        let mut keys = vec![(whoever.clone(), None)];
        if !account.is_empty() {
            keys.extend([(here.clone(), Some(rule)), (everywhere.clone(), None)]);
        }
        let is_locked = self.store.tries_count(&keys, now).await?.is_some();
        let user = if account.is_empty() { None } else { self.store.user_named(&account).await? };
        let kept = user.as_ref().map(|user| user.password.as_str());
        let compared = self.passwords().await?.compare(password, kept).await?;
        match (user, compared) {
            (Some(user), Compared::Right | Compared::Weak(_)) if is_locked || user.disabled_at.is_some() => {}
            (Some(user), compared @ (Compared::Right | Compared::Weak(_))) => {
                self.store.tries_forget(&here).await?;
                if let Compared::Weak(new) = compared {
                    self.store.password_put(user.id, &user.password, &new, None).await?;
                }
                return Ok(user);
            }
            _ => {}
        }
        if !is_locked {
            let mut keys = vec![(whoever, Some(NETWORK))];
            if !account.is_empty() {
                keys.push((everywhere, Some(ACCOUNT)));
            }
            self.store.tries_count(&keys, now).await?;
        }
        warn!(account, address = ?visitor.address, locked = is_locked, "Somebody was not let in");
        Err(not_let_in())
    }

    /// Ends the session that asks.
    pub(crate) async fn sign_out(&self, caller: &Caller) -> Result<(), Problem> {
        if let Some((user, id)) = caller.session {
            self.store.session_end(user, id).await?;
        }
        Ok(())
    }

    pub(crate) async fn own_sessions(&self, caller: &Caller) -> Result<OwnSessionList, Problem> {
        let (user, own) = must_be_person(caller)?;
        let now = self.now().await?;
        let sessions = self.store.sessions_of(user).await?.into_iter();
        let items = sessions
            .filter(|session| session.expires_at > now)
            .map(|session| OwnSession {
                id: session.id,
                current: session.id == own,
                created_at: session.created_at,
                seen_at: session.seen_at,
                expires_at: session.expires_at,
                address: session.address,
                agent: session.agent,
            })
            .collect();
        Ok(OwnSessionList { items, next_cursor: None })
    }

    pub(crate) async fn end_session(&self, caller: &Caller, id: SessionId) -> Result<(), Problem> {
        let (user, _) = must_be_person(caller)?;
        if self.store.session_end(user, id).await? {
            return Ok(());
        }
        Err(Problem::not_found(format_args!("session `{id}`")))
    }

    /// Replaces the caller's password. All their sessions end; the one answered is new.
    pub(crate) async fn new_password(
        &self,
        caller: &Caller,
        NewPassword { old, new }: NewPassword,
        visitor: &Visitor,
    ) -> Result<(Opener, SessionView), Problem> {
        must_be_person(caller)?;
        if let Err(why) = passwords::check(&new, &caller.principal) {
            return Err(refusal(&[mistake("new", why)]));
        }
        let user = self.is_really(&caller.principal, &old, visitor).await?;
        // It may have been kept anew just now.
        let kept = self.store.user_named(&user.name).await?.map_or(user.password.clone(), |it| it.password);
        let new = self.passwords().await?.hash(&new).await?;
        let (opener, session) = self.begin(user.id, visitor, self.now().await?)?;
        let begun = Some((opener.hash(), session.clone()));
        if !self.store.password_put(user.id, &kept, &new, begun).await? {
            return Err(not_let_in());
        }
        let view = self.view(opener.reveal(), &session, &user);
        Ok((opener, view))
    }
}

fn must_be_person(caller: &Caller) -> Result<(UserId, SessionId), Problem> {
    caller.session.ok_or_else(|| {
        Problem::new(Code::Forbidden, "This is for people who are signed in, and a key was shown.")
    })
}

/// The same whatever the reason is: who guesses learns nothing.
fn not_let_in() -> Problem {
    Problem::new(
        Code::SignInRefused,
        "Name or password is wrong, or there were too many wrong ones: then nobody is let in for 15 minutes, and longer if it goes on.",
    )
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.chars().count() > LONGEST_NAME {
        return Err(format!("A name has 1 to {LONGEST_NAME} characters"));
    }
    match name.chars().find(|letter| !letter.is_alphanumeric() && !"._-@".contains(*letter)) {
        Some(letter) => {
            Err(format!("`{}` is not taken: letters, digits and . _ - @ are", letter.escape_debug()))
        }
        None => Ok(()),
    }
}

fn mistake(field: &str, message: String) -> Mistake {
    Mistake::new(Code::InvalidBody, vec![field.to_owned()], message)
}

/// Says the first of these mistakes, and lists all.
fn refusal(wrong: &[Mistake]) -> Problem {
    let first = wrong.first().map_or("", |mistake| &mistake.message);
    let listed = wrong.iter().filter_map(|mistake| serde_json::to_value(mistake).ok()).collect();
    Problem::new(Code::InvalidBody, format!("{first}.")).with_problems(listed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_those_that_one_guesser_has() {
        for (address, network) in [
            ("10.1.2.3", "10.1.2.0/24"),
            ("::ffff:10.1.2.3", "10.1.2.0/24"),
            ("2001:db8:1:2::5", "2001:db8:1::/48"),
        ] {
            let visitor =
                Visitor { address: Some(address.parse().expect("an address")), ..Visitor::default() };
            assert_eq!(visitor.network(), network);
        }
        assert_eq!(Visitor::default().network(), "unknown");
    }

    #[test]
    fn names_are_short_and_plain() {
        for (name, taken) in [
            ("ada", true),
            ("Ada.Lovelace@example.org", true),
            ("Zoë", true),
            ("", false),
            ("a b", false),
            ("a\u{202e}b", false),
            ("<b>", false),
        ] {
            assert_eq!(check_name(name).is_ok(), taken, "{name}");
        }
        assert!(check_name(&"a".repeat(65)).is_err());
    }

    #[test]
    fn an_opener_is_not_printed_and_its_token_is_another_text() {
        let opener = Opener::random().expect("randomness");
        assert!(opener.reveal().len() >= 43 && !format!("{opener:?}").contains(opener.reveal()));
        let csrf = csrf_of(opener.reveal());
        assert!(csrf != csrf_of("another") && !csrf.contains(opener.reveal()));
        assert_ne!(hex::encode(opener.hash()), csrf);
    }
}
