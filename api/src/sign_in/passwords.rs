//! Passwords: which are taken, and how they are kept and compared (argon2id, RFC 9106).

use argon2::{
    Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version,
    password_hash::{Salt, SaltString},
};
use tokio::sync::Semaphore;

use crate::problem::{Code, Problem};

/// As OWASP recommends where memory allows: KiB, passes, lanes.
const COST: (u32, u32, u32) = (47_104, 1, 1);
const SHORTEST: usize = 12;
const LONGEST: usize = 128;
/// Comparisons at one time: each takes 46 MiB.
const AT_ONCE: usize = 2;
/// Those that may wait for their turn.
const IN_LINE: usize = 32;

/// Long enough to be taken, and among the first that anybody tries.
const COMMON: &str = include_str!("common.txt");

/// Whether a password is one to be taken, or why not.
pub(super) fn check(password: &str, name: &str) -> Result<(), String> {
    let length = password.chars().count();
    if length < SHORTEST {
        return Err(format!("It has {length} characters; at least {SHORTEST} are needed"));
    }
    if length > LONGEST {
        return Err(format!("It has {length} characters; at most {LONGEST} are taken"));
    }
    let lower = password.to_lowercase();
    let mut letters = lower.chars();
    let first = letters.next();
    if letters.all(|letter| Some(letter) == first) {
        return Err("It is one character over and over".to_owned());
    }
    let bare =
        lower.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter.is_ascii_punctuation());
    if COMMON.lines().any(|common| common == lower || common == bare) {
        return Err("It is among the first that anybody would try".to_owned());
    }
    if !name.is_empty() && lower.replace(&name.to_lowercase(), "").chars().count() < SHORTEST / 2 {
        return Err("It is little more than the name".to_owned());
    }
    Ok(())
}

/// Hashes and compares, a few at a time.
#[derive(Debug)]
pub(super) struct Passwords {
    turns: Semaphore,
    places: Semaphore,
    /// The hash of nothing anybody knows: whoever is not there takes as long as whoever is.
    nobody: String,
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    let (memory, passes, lanes) = COST;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory, passes, lanes, None)?))
}

fn hash(password: &[u8]) -> Result<String, Problem> {
    let mut salt = [0_u8; Salt::RECOMMENDED_LENGTH];
    getrandom::fill(&mut salt).map_err(Problem::internal)?;
    let salt = SaltString::encode_b64(&salt).map_err(Problem::internal)?;
    let hashed = argon2().map_err(Problem::internal)?.hash_password(password, &salt);
    Ok(hashed.map_err(Problem::internal)?.to_string())
}

/// Whether a hash is made with less than is now asked for.
fn is_weak(hash: &PasswordHash<'_>) -> bool {
    let (memory, passes, lanes) = COST;
    Params::try_from(hash)
        .map_or(true, |params| (params.m_cost(), params.t_cost(), params.p_cost()) < (memory, passes, lanes))
}

/// What comparing a password showed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Compared {
    Wrong,
    Right,
    /// It is right, and should be kept anew as this.
    Weak(String),
}

impl Passwords {
    pub(super) fn new() -> Result<Self, Problem> {
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(Problem::internal)?;
        Ok(Self {
            turns: Semaphore::new(AT_ONCE),
            places: Semaphore::new(AT_ONCE + IN_LINE),
            nobody: hash(&random)?,
        })
    }

    /// Runs on a thread of its own when it is its turn.
    async fn in_turn<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(Problem::new(Code::TooBusy, "Too many people are signing in at once.")
                .with_retry_after(std::time::Duration::from_secs(2)));
        };
        let _turn = self.turns.acquire().await.map_err(Problem::internal)?;
        tokio::task::spawn_blocking(work).await.map_err(Problem::internal)?
    }

    pub(super) async fn hash(&self, password: &str) -> Result<String, Problem> {
        let password = password.as_bytes().to_vec();
        self.in_turn(move || hash(&password)).await
    }

    /// Compares with what is kept of somebody; of nobody as well, which takes as long.
    pub(super) async fn compare(&self, password: &str, kept: Option<&str>) -> Result<Compared, Problem> {
        let is_there = kept.is_some();
        let kept = kept.unwrap_or(&self.nobody).to_owned();
        // Nothing longer was ever taken, and hashing it all would cost as much as it is long.
        let password: Vec<u8> = password.as_bytes().iter().copied().take(LONGEST * 4 + 1).collect();
        self.in_turn(move || {
            let kept = PasswordHash::new(&kept).map_err(Problem::internal)?;
            let is_right = argon2().map_err(Problem::internal)?.verify_password(&password, &kept).is_ok();
            match is_right && is_there {
                false => Ok(Compared::Wrong),
                true if is_weak(&kept) => hash(&password).map(Compared::Weak),
                true => Ok(Compared::Right),
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_taken_by_their_length_and_not_by_their_kinds_of_letters() {
        for (password, taken) in [
            ("correct horse battery", true),
            ("nur kleine buchstaben", true),
            ("пароль из одних букв", true),
            ("elevenchars", false),
            ("aaaaaaaaaaaaaaaa", false),
            ("password1234", false),
            ("Password123456!", false),
            ("ada.lovelace1", false),
            ("ada.lovelace and the engine", true),
        ] {
            assert_eq!(check(password, "ada.lovelace").is_ok(), taken, "{password}");
        }
        assert!(check(&"ab".repeat(64), "").is_ok());
        assert!(check(&"ab".repeat(65), "").is_err());
    }

    #[tokio::test]
    async fn a_password_is_right_or_wrong_and_an_old_hash_is_made_anew() {
        let passwords = Passwords::new().expect("made");
        let kept = passwords.hash("correct horse battery").await.expect("hashed");
        assert!(kept.starts_with("$argon2id$v=19$m=47104,t=1,p=1$"), "{kept}");
        let compare = async |password: &str, kept: Option<&str>| {
            passwords.compare(password, kept).await.expect("compared")
        };
        assert_eq!(compare("correct horse battery", Some(&kept)).await, Compared::Right);
        assert_eq!(compare("correct horse batterx", Some(&kept)).await, Compared::Wrong);
        assert_eq!(compare("correct horse battery", None).await, Compared::Wrong);
        let cheap = Argon2::new(
            Algorithm::Argon2id,
            Version::V0x13,
            Params::new(19_456, 2, 1, None).expect("parameters"),
        );
        let salt = SaltString::encode_b64(&[7; 16]).expect("a salt");
        let old = cheap.hash_password(b"correct horse battery", &salt).expect("hashed").to_string();
        let Compared::Weak(new) = compare("correct horse battery", Some(&old)).await else {
            panic!("the old hash stays")
        };
        assert_eq!(compare("correct horse battery", Some(&new)).await, Compared::Right);
    }

    #[tokio::test]
    async fn more_than_can_wait_are_told_to_come_again() {
        let passwords = Passwords::new().expect("made");
        let _places = passwords.places.acquire_many((AT_ONCE + IN_LINE) as u32).await.expect("places");
        let refused = passwords.hash("correct horse battery").await.expect_err("refused");
        assert_eq!(refused.code, Code::TooBusy);
    }
}
