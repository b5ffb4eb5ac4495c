//! The promises of [`crate::port::accounts`].

use std::time::Duration;

use super::store::TENANT;
use crate::{
    ids::{SessionId, UserId},
    port::{
        accounts::{LinkFor, LinkUsed, SecretHash, Session, TryKey, TryRule, User},
        store::DynStore,
    },
    time::Timestamp,
};

/// Turns every promise into a test, as [`super::store::conformance`] does.
#[macro_export]
macro_rules! accounts_conformance {
    ($make:path) => {
        $crate::promises!(accounts, $make:
            a_link_makes_one_owner_once
            of_many_who_use_links_at_once_one_becomes_owner
            a_link_that_has_expired_is_refused
            a_link_gives_whom_it_is_for_a_new_password
            somebody_is_found_however_their_name_is_capitalised
            a_password_is_replaced_only_as_it_was_seen
            a_new_password_ends_all_other_sessions
            a_session_is_found_by_its_hash_and_ended_by_its_owner
            sessions_are_seen_and_listed
            failures_add_up_to_a_lock_that_is_told
            many_failures_at_once_are_all_counted
            what_is_locked_counts_nothing_and_can_be_forgotten
            expired_sessions_and_links_are_removed_some_time
        );
    };
}
pub use crate::accounts_conformance as conformance;

const AT: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);
const HOUR: Duration = Duration::from_hours(1);
const RULE: TryRule = TryRule { most: 3, within: HOUR, lock: HOUR, longest: HOUR };

fn hash(of: &str) -> SecretHash {
    let mut hash = [0; 32];
    for (place, byte) in hash.iter_mut().zip(of.bytes()) {
        *place = byte;
    }
    hash
}

fn user(name: &str) -> User {
    User {
        id: UserId::generate(),
        tenant: TENANT,
        name: name.to_owned(),
        password: format!("password of {name}"),
        roles: vec!["owner".to_owned()],
        created_at: AT,
        disabled_at: None,
    }
}

fn session(user: UserId, at: Timestamp) -> Session {
    Session {
        id: SessionId::generate(),
        user,
        created_at: at,
        seen_at: at,
        expires_at: at.after(HOUR),
        address: "127.0.0.1".to_owned(),
        agent: "a browser".to_owned(),
    }
}

async fn link(store: &DynStore, name: &str, for_what: LinkFor) -> SecretHash {
    store.link_put(hash(name), for_what, AT.after(HOUR)).await.expect("kept");
    hash(name)
}

async fn use_link(store: &DynStore, link: SecretHash, user: User, opens: &str) -> LinkUsed {
    let session = session(user.id, AT);
    store.link_use(link, user, (hash(opens), session), AT).await.expect("answered")
}

async fn owner(store: &DynStore) -> User {
    let link = link(store, "a link", LinkFor::Owner).await;
    match use_link(store, link, user("Ada"), "first").await {
        LinkUsed::Done(user) => user,
        other => panic!("{other:?}"),
    }
}

async fn find(store: &DynStore, opens: &str) -> Option<(Session, User)> {
    store.session_find(hash(opens)).await.expect("answered")
}

fn key(account: &str, network: &str) -> TryKey {
    TryKey { account: account.to_owned(), network: network.to_owned() }
}

pub async fn a_link_makes_one_owner_once(store: DynStore) {
    assert!(!store.owner_exists().await.expect("answered"));
    let (first, second) =
        (link(&store, "one", LinkFor::Owner).await, link(&store, "two", LinkFor::Owner).await);
    assert_eq!(use_link(&store, hash("three"), user("Eve"), "a").await, LinkUsed::Refused);
    let ada = user("Ada");
    assert_eq!(use_link(&store, first, ada.clone(), "b").await, LinkUsed::Done(ada.clone()));
    assert!(store.owner_exists().await.expect("answered"));
    assert_eq!(use_link(&store, first, user("Eve"), "c").await, LinkUsed::Refused);
    assert_eq!(use_link(&store, second, user("Eve"), "d").await, LinkUsed::Refused);
    let late = link(&store, "late", LinkFor::Owner).await;
    assert_eq!(use_link(&store, late, user("Eve"), "e").await, LinkUsed::OwnerExists);
    assert_eq!(find(&store, "b").await.map(|(_, user)| user), Some(ada));
    for opens in ["a", "c", "d", "e"] {
        assert_eq!(find(&store, opens).await, None);
    }
}

pub async fn of_many_who_use_links_at_once_one_becomes_owner(store: DynStore) {
    let mut tries = tokio::task::JoinSet::new();
    for number in 0..8 {
        let name = format!("link {}", number / 2);
        if number % 2 == 0 {
            link(&store, &name, LinkFor::Owner).await;
        }
        let store = DynStore::clone(&store);
        tries.spawn(async move {
            use_link(&store, hash(&name), user(&format!("user{number}")), &format!("session {number}")).await
        });
    }
    let answers = tries.join_all().await;
    let made = answers.iter().filter(|answer| matches!(answer, LinkUsed::Done(_))).count();
    assert_eq!(made, 1, "{answers:?}");
}

pub async fn a_link_that_has_expired_is_refused(store: DynStore) {
    let link = link(&store, "a link", LinkFor::Owner).await;
    let ada = user("Ada");
    let late = AT.after(HOUR);
    let begun = (hash("late"), session(ada.id, late));
    assert_eq!(store.link_use(link, ada, begun, late).await.expect("answered"), LinkUsed::Refused);
    assert!(!store.owner_exists().await.expect("answered"));
}

pub async fn a_link_gives_whom_it_is_for_a_new_password(store: DynStore) {
    let ada = owner(&store).await;
    let link = link(&store, "forgotten", LinkFor::Password(ada.id)).await;
    assert_eq!(use_link(&store, link, user("Eve"), "eve").await, LinkUsed::NotTheirs);
    let again = User { password: "another".to_owned(), ..user("ADA") };
    let LinkUsed::Done(found) = use_link(&store, link, again, "second").await else { panic!("not used") };
    assert_eq!(found, User { password: "another".to_owned(), ..ada.clone() });
    assert_eq!(find(&store, "first").await, None, "all sessions have ended");
    assert_eq!(find(&store, "second").await.map(|(session, _)| session.user), Some(ada.id));
    assert_eq!(use_link(&store, link, user("Ada"), "third").await, LinkUsed::Refused);
}

pub async fn somebody_is_found_however_their_name_is_capitalised(store: DynStore) {
    let ada = owner(&store).await;
    for name in ["Ada", "ada", "ADA"] {
        assert_eq!(store.user_named(name).await.expect("answered"), Some(ada.clone()));
    }
    assert_eq!(store.user_named("Adam").await.expect("answered"), None);
}

pub async fn a_password_is_replaced_only_as_it_was_seen(store: DynStore) {
    let ada = owner(&store).await;
    let put =
        async |old: &str, new: &str| store.password_put(ada.id, old, new, None).await.expect("answered");
    assert!(!put("something else", "new").await);
    assert!(put(&ada.password, "new").await);
    assert!(!put(&ada.password, "newer").await);
    let now = store.user_named("ada").await.expect("answered").expect("a user");
    assert_eq!(now.password, "new");
    assert!(find(&store, "first").await.is_some(), "no session has ended");
}

pub async fn a_new_password_ends_all_other_sessions(store: DynStore) {
    let ada = owner(&store).await;
    store.session_begin(hash("second"), session(ada.id, AT)).await.expect("begun");
    let begun = Some((hash("third"), session(ada.id, AT)));
    assert!(store.password_put(ada.id, &ada.password, "new", begun).await.expect("answered"));
    assert_eq!((find(&store, "first").await, find(&store, "second").await), (None, None));
    assert!(find(&store, "third").await.is_some());
}

pub async fn a_session_is_found_by_its_hash_and_ended_by_its_owner(store: DynStore) {
    let ada = owner(&store).await;
    let (begun, of) = find(&store, "first").await.expect("a session");
    assert_eq!((begun.user, of), (ada.id, ada.clone()));
    let end = async |user, id| store.session_end(user, id).await.expect("answered");
    assert!(!end(UserId::generate(), begun.id).await);
    assert!(find(&store, "first").await.is_some());
    assert!(end(ada.id, begun.id).await);
    assert!(!end(ada.id, begun.id).await);
    assert_eq!(find(&store, "first").await, None);
}

pub async fn sessions_are_seen_and_listed(store: DynStore) {
    let ada = owner(&store).await;
    let later = Session { created_at: AT.after(HOUR), ..session(ada.id, AT) };
    store.session_begin(hash("second"), later.clone()).await.expect("begun");
    let seen = AT.after(Duration::from_mins(5));
    store.session_seen(later.id, seen).await.expect("noted");
    store.session_seen(later.id, AT).await.expect("noted");
    let listed = store.sessions_of(ada.id).await.expect("listed");
    assert_eq!(listed.len(), 2);
    assert_eq!(listed[0], Session { seen_at: seen, ..later });
    assert_eq!(store.sessions_of(UserId::generate()).await.expect("listed"), []);
}

pub async fn failures_add_up_to_a_lock_that_is_told(store: DynStore) {
    let both = [(key("ada", "10.0.0.0"), Some(RULE)), (key("ada", ""), None)];
    let count = async || store.tries_count(&both, AT).await.expect("counted");
    for _ in 0..3 {
        assert_eq!(count().await, None);
    }
    assert_eq!(count().await, Some(AT.after(HOUR)));
    let elsewhere = [(key("ada", "10.0.1.0"), Some(RULE)), (key("ada", ""), None)];
    assert_eq!(store.tries_count(&elsewhere, AT).await.expect("counted"), None);
}

pub async fn many_failures_at_once_are_all_counted(store: DynStore) {
    let mut tries = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let store = DynStore::clone(&store);
        tries.spawn(async move {
            let keys = [(key("ada", "10.0.0.0"), Some(RULE)), (key("", "10.0.0.0"), None)];
            store.tries_count(&keys, AT).await.expect("counted")
        });
    }
    let let_pass = tries.join_all().await.into_iter().filter(Option::is_none).count();
    assert_eq!(let_pass, 3);
}

pub async fn what_is_locked_counts_nothing_and_can_be_forgotten(store: DynStore) {
    let (person, account) = (key("ada", "10.0.0.0"), key("ada", ""));
    let once = TryRule { most: 1, ..RULE };
    let both = [(person.clone(), Some(once)), (account.clone(), Some(RULE))];
    for _ in 0..4 {
        store.tries_count(&both, AT).await.expect("counted");
    }
    // The account has one failure and not four.
    let alone = [(account, Some(RULE))];
    assert_eq!(store.tries_count(&alone, AT).await.expect("counted"), None);
    store.tries_forget(&person).await.expect("forgotten");
    assert_eq!(store.tries_count(&[(person, None)], AT).await.expect("answered"), None);
}

pub async fn expired_sessions_and_links_are_removed_some_time(store: DynStore) {
    let ada = owner(&store).await;
    let now = store.now().await.expect("the present");
    let fresh = session(ada.id, now);
    store.session_begin(hash("fresh"), fresh.clone()).await.expect("begun");
    store.maintain().await.expect("maintained");
    assert_eq!(store.sessions_of(ada.id).await.expect("listed"), [fresh]);
}
