//! Signed links that decide from a mail, once.
//!
//! A link is `payload.signature`, both base64url: the payload says which task, for whom, which verdict, until
//! when, and a nonce; the signature is HMAC-SHA256 under a key of the installation that only the store holds.
//! Nothing of a link is kept but the nonce of a used one, and none is ever logged.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use shared::{
    execution::{AnswerVerdict, PersonKind},
    ids::{HumanTaskId, TenantId},
    port::{people::HumanTaskRow, store::HumanTaskStatus},
    time::{Timestamp, parse_duration},
};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Deeds,
    human_tasks::{AnswerHumanTask, Answered, ending},
};
use crate::{
    caller::{Caller, Permission},
    problem::{Code, Problem},
};

/// The name of the key in the store.
const KEY_NAME: &str = "decide_links";
/// What is signed begins with this, so that the key signs nothing else by accident.
const PURPOSE: &[u8] = b"apg decide link 1\n";
/// No token of ours is longer: an assignee has at most 255 bytes.
const LONGEST: usize = 4_096;

const USUAL_LIFE: Duration = Duration::from_hours(72);
const SHORTEST_LIFE: Duration = Duration::from_mins(1);
const LONGEST_LIFE: Duration = Duration::from_hours(30 * 24);

/// What a link says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "w")]
    tenant: TenantId,
    #[serde(rename = "t")]
    task: HumanTaskId,
    #[serde(rename = "a")]
    assignee: String,
    #[serde(rename = "v")]
    verdict: AnswerVerdict,
    /// Microseconds.
    #[serde(rename = "e")]
    expires_at: i64,
    #[serde(rename = "n")]
    nonce: Uuid,
}

fn mac(key: &[u8], payload: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(PURPOSE);
    mac.update(payload);
    mac
}

fn sign(key: &[u8], claims: &Claims) -> Result<String, Problem> {
    let payload = serde_json::to_vec(claims).map_err(Problem::internal)?;
    let signature = mac(key, &payload).finalize().into_bytes();
    Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(&payload), URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token of ours says, in constant time where it matters; `None` for any other text.
fn verify(key: &[u8], token: &str) -> Option<Claims> {
    if token.len() > LONGEST {
        return None;
    }
    let (payload, signature) = token.split_once('.')?;
    let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    mac(key, &payload).verify_slice(&signature).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// For whom links are made, and for how long.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct MakeLinks {
    /// One of the assignees, as it stands in the task.
    pub assignee: String,
    /// How long they work, such as `48h`; from a minute to 30 days, and never longer than the task waits. Three
    /// days when left out.
    #[serde(default)]
    pub expires_in: Option<String>,
}

/// Two links of which one works once. Whoever has one decides: send them to the assignee and keep no copy.
#[derive(Clone, Serialize, ToSchema)]
pub(crate) struct Links {
    /// Opens a page that approves after a click.
    pub approve_url: String,
    /// Opens a page that rejects after a click.
    pub reject_url: String,
    /// When both stop working.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
}

/// What a link shows before it is used.
#[derive(Debug)]
pub(crate) struct LinkView {
    pub title: String,
    pub message: String,
    pub workflow: String,
    pub requester: String,
    pub assignee: String,
    pub verdict: AnswerVerdict,
    pub expires_at: Timestamp,
    /// Why it cannot be used any more.
    pub over: Option<String>,
}

fn refused(why: &str) -> Problem {
    Problem::new(Code::LinkRefused, why)
}

impl Deeds {
    async fn link_key(&self) -> Result<&[u8], Problem> {
        let key = self
            .link_key
            .get_or_try_init(|| async {
                let mut fresh = vec![0; 32];
                getrandom::fill(&mut fresh).map_err(Problem::internal)?;
                self.store.key_or(KEY_NAME, fresh).await.map_err(Problem::from)
            })
            .await?;
        Ok(key)
    }

    /// Makes two links for an assignee of an open approval.
    pub(crate) async fn links_make(
        &self,
        caller: &Caller,
        id: HumanTaskId,
        body: MakeLinks,
    ) -> Result<Links, Problem> {
        caller.must(Permission::Read)?;
        let row = self.human_task_row(caller.tenant, id).await?;
        caller.must(Permission::ApprovalDecideFor)?;
        if row.status != HumanTaskStatus::Open {
            return Err(Problem::new(Code::TaskEnded, ending(&row)));
        }
        if !row.ask.links || row.ask.kind != PersonKind::Approval {
            let detail = "It takes no links: they are for approvals with `links: true`.";
            return Err(Problem::new(Code::WrongAction, detail));
        }
        if row.ask.form.is_some() {
            let detail = "It has a form to fill in, which a link cannot: it is answered in the inbox.";
            return Err(Problem::new(Code::WrongAction, detail));
        }
        if !row.assignees.contains(&body.assignee) || body.assignee.len() > 255 {
            let detail = format!("It is with {}.", row.assignees.join(", "));
            return Err(Problem::new(Code::InvalidBody, detail));
        }
        let life = match body.expires_in.as_deref() {
            None => USUAL_LIFE,
            Some(text) => parse_duration(text)
                .ok()
                .filter(|life| (SHORTEST_LIFE..=LONGEST_LIFE).contains(life))
                .ok_or_else(|| {
                    Problem::new(
                        Code::InvalidBody,
                        "`expires_in` is a duration from `1m` to `30d`, such as `48h`.",
                    )
                })?,
        };
        let until = self.clock.now(&self.store).await?.after(life);
        let expires_at = row.ask.expires_at.map_or(until, |end| end.min(until));
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(Problem::internal)?;
        let key = self.link_key().await?;
        let url = |verdict| {
            let claims = Claims {
                tenant: caller.tenant,
                task: id,
                assignee: body.assignee.clone(),
                verdict,
                expires_at: expires_at.as_micros(),
                // The same for both: one of them decides, and then neither.
                nonce: Uuid::from_bytes(nonce),
            };
            Ok::<_, Problem>(format!("{}/decide/{}", self.base_url, sign(key, &claims)?))
        };
        Ok(Links {
            approve_url: url(AnswerVerdict::Approve)?,
            reject_url: url(AnswerVerdict::Reject)?,
            expires_at,
        })
    }

    /// What a token says, and its task, unless it is forged, expired, or the task is with somebody else.
    async fn link_read(&self, token: &str) -> Result<(Claims, HumanTaskRow), Problem> {
        let claims = verify(self.link_key().await?, token)
            .ok_or_else(|| refused("This link is not one of ours, or was changed on the way."))?;
        if self.clock.now(&self.store).await?.as_micros() >= claims.expires_at {
            return Err(refused("This link has expired. Open the task in the inbox, or ask for a new link."));
        }
        let row = self.store.human_task_get(claims.tenant, claims.task).await?;
        let row = row.ok_or_else(|| refused("The task of this link is gone."))?;
        if !row.ask.links {
            return Err(refused("The task takes no links."));
        }
        if row.status == HumanTaskStatus::Open && !row.assignees.contains(&claims.assignee) {
            return Err(refused("The task is with somebody else by now."));
        }
        Ok((claims, row))
    }

    /// What a link would decide. Changes nothing: mail scanners open links.
    pub(crate) async fn link_look(&self, token: &str) -> Result<LinkView, Problem> {
        let (claims, row) = self.link_read(token).await?;
        let over = if row.status == HumanTaskStatus::Open {
            row.answers
                .iter()
                .find(|answer| answer.for_assignee == claims.assignee)
                .map(|answer| format!("{} answered at {}.", answer.for_assignee, answer.at))
        } else {
            Some(ending(&row))
        };
        Ok(LinkView {
            title: row.ask.title,
            message: row.ask.message,
            workflow: row.workflow_name,
            requester: row.requester,
            assignee: claims.assignee,
            verdict: claims.verdict,
            expires_at: Timestamp::from_micros(claims.expires_at),
            over,
        })
    }

    /// Decides as the assignee of the link, once.
    pub(crate) async fn link_use(&self, token: &str, comment: String) -> Result<Answered, Problem> {
        let (claims, row) = self.link_read(token).await?;
        if row.status != HumanTaskStatus::Open {
            return Err(Problem::new(Code::TaskEnded, ending(&row)));
        }
        let expires_at = Timestamp::from_micros(claims.expires_at);
        if !self.store.nonce_use(claims.nonce, expires_at).await? {
            return Err(refused("This link was used."));
        }
        let body = AnswerHumanTask { comment, ..AnswerHumanTask::default() };
        // Whoever has the mail is taken for the assignee; the journal says how the answer came.
        let by = format!("link:{}", claims.assignee);
        let answered = self.answer(row, claims.verdict, &by, &claims.assignee, body, &[]).await;
        if let Err(problem) = &answered
            && problem.code.status() != 409
        {
            // Nothing was decided, and another try may be: the link stays good.
            self.store.nonce_free(claims.nonce).await?;
        }
        answered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 32] = [7; 32];

    fn claims(assignee: &str) -> Claims {
        Claims {
            tenant: TenantId::DEFAULT,
            task: HumanTaskId::from_uuid(Uuid::from_u128(7)),
            assignee: assignee.to_owned(),
            verdict: AnswerVerdict::Approve,
            expires_at: 1_700_000_000_000_000,
            nonce: Uuid::from_u128(9),
        }
    }

    #[test]
    fn a_token_reads_back_under_its_key_alone() {
        let claims = claims("group:finance");
        let token = sign(&KEY, &claims).expect("signed");
        assert_eq!(verify(&KEY, &token), Some(claims));
        assert_eq!(verify(&[8; 32], &token), None);
        let payload = token.split('.').next().expect("a payload");
        for wrong in ["", ".", payload, &format!("{payload}."), &"x".repeat(10_000), &format!("{token}A")] {
            assert_eq!(verify(&KEY, wrong), None);
        }
        // A bare HMAC of the payload, as another purpose might make.
        let bare = Hmac::<Sha256>::new_from_slice(&KEY).expect("a key");
        let bytes = URL_SAFE_NO_PAD.decode(payload).expect("base64");
        let signature = bare.chain_update(&bytes).finalize().into_bytes();
        assert_eq!(verify(&KEY, &format!("{payload}.{}", URL_SAFE_NO_PAD.encode(signature))), None);
    }

    #[test]
    fn the_longest_assignee_fits() {
        // A control character takes six bytes in JSON.
        let claims = claims(&"\u{1}".repeat(255));
        let token = sign(&KEY, &claims).expect("signed");
        assert_eq!(verify(&KEY, &token), Some(claims));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_verifies(assignee in "[a-z:]{1,40}", place in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let token = sign(&KEY, &claims(&assignee)).expect("signed");
            let mut bytes = token.clone().into_bytes();
            let index = place.index(bytes.len());
            bytes[index] ^= 1 << bit;
            if let Ok(changed) = String::from_utf8(bytes) {
                prop_assert_eq!(verify(&KEY, &changed), None, "{}", changed);
            }
        }

        #[test]
        fn no_text_panics_the_reader(text in ".{0,200}") {
            prop_assert_eq!(verify(&KEY, &text), None);
        }

        #[test]
        fn no_other_claims_fit_a_signature(one in "[a-z]{1,20}", other in "[a-z]{1,20}") {
            prop_assume!(one != other);
            let first = sign(&KEY, &claims(&one)).expect("signed");
            let second = sign(&KEY, &claims(&other)).expect("signed");
            let (payload, _) = first.split_once('.').expect("two parts");
            let (_, signature) = second.split_once('.').expect("two parts");
            let mixed = format!("{payload}.{signature}");
            prop_assert_eq!(verify(&KEY, &mixed), None);
        }
    }
}
