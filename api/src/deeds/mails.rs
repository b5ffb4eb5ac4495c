//! Mails that ask people to decide, with a link for each answer.
//!
//! The store says which questions are to be mailed, and keeps two processes from one question. The links are made
//! when the mail is, and are neither kept nor logged; of a mail server's answer only the class is logged, because
//! it may repeat what was sent.

use std::{collections::HashSet, sync::Arc, time::Duration};

use shared::{
    component::FailureClass,
    execution::PersonKind,
    ids::HumanTaskId,
    port::{
        mail::{DynMailer, Mail},
        people::{HumanTaskRow, MailClaim},
    },
    time::Timestamp,
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Deeds,
    links::{Links, MakeLinks},
};
use crate::{caller::Caller, problem::Problem};

/// How often is looked for questions to mail.
const EVERY: Duration = Duration::from_secs(5);
/// After this another process may take a question over.
const CLAIM: Duration = Duration::from_mins(1);
/// No mail of a question is begun later than this after its claim.
const LAST_MAIL: Duration = Duration::from_secs(40);
/// What a mail server is given for one mail; with [`LAST_MAIL`] less than [`CLAIM`].
const MAIL_WITHIN: Duration = Duration::from_secs(15);
/// A longer question is cut.
const LONGEST_MESSAGE: usize = 64 * 1024;
/// More mails than this are not remembered over a trouble that passes.
const REMEMBERED: usize = 10_000;

/// Whoever was mailed, and in which round.
type Sent = (HumanTaskId, Timestamp, String);

/// Sends the mails.
pub(crate) struct Mails {
    deeds: Arc<Deeds>,
    mailer: DynMailer,
    /// Sent by this process for questions of which other mails have to be tried again.
    sent: HashSet<Sent>,
}

/// The address of an assignee that is one.
fn address(assignee: &str) -> Option<&str> {
    let bare = assignee.strip_prefix("user:").unwrap_or(assignee);
    (bare.contains('@') && !bare.contains(':')).then_some(bare)
}

/// A title as a subject: in one line.
fn subject(title: &str) -> String {
    let line: String =
        title.chars().map(|char| if char.is_control() { ' ' } else { char }).take(200).collect();
    if line.trim().is_empty() { "Please decide".to_owned() } else { line }
}

fn text(row: &HumanTaskRow, links: &Links) -> String {
    let message = &row.ask.message;
    let message = &message[..message.floor_char_boundary(LONGEST_MESSAGE)];
    format!(
        "{message}\n\nApprove:\n{}\n\nReject:\n{}\n\nOne of the two works, once, until {}. Whoever has them decides: \
         do not pass this mail on.\n\n{} asks this, started by {}.\n",
        links.approve_url, links.reject_url, links.expires_at, row.workflow_name, row.requester
    )
}

fn takes_mails(row: &HumanTaskRow) -> bool {
    row.ask.links && row.ask.kind == PersonKind::Approval && row.ask.form.is_none()
}

impl Mails {
    pub(crate) fn new(deeds: Arc<Deeds>, mailer: DynMailer) -> Self {
        Self { deeds, mailer, sent: HashSet::new() }
    }

    /// Sends until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let mut interval = tokio::time::interval(EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let sending = async {
            loop {
                interval.tick().await;
                if let Err(problem) = self.round().await {
                    debug!(cause = %problem.detail, "Mails wait for the store");
                }
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = sending => {}
        }
    }

    /// Mails every question that is due.
    async fn round(&mut self) -> Result<(), Problem> {
        let store = Arc::clone(&self.deeds.store);
        loop {
            let now = self.deeds.clock.now(&store).await?;
            let Some(claim) = store.mails_claim(now, CLAIM, 1).await?.pop() else { return Ok(()) };
            let MailClaim { row, asked_at, mailed } = claim;
            if !takes_mails(&row) || self.question(&row, &mailed).await? {
                // Those who have it now have had their mail, or get none.
                store.mails_done(row.id, asked_at, row.assignees).await?;
                self.sent.retain(|(id, ..)| *id != row.id);
            }
        }
    }

    /// Mails one question to those who have not had it. `false` when some of its mails have to be tried again.
    async fn question(&mut self, row: &HumanTaskRow, mailed: &[String]) -> Result<bool, Problem> {
        let begun = Instant::now();
        let mut is_done = true;
        for assignee in &row.assignees {
            let Some(to) = address(assignee) else { continue };
            let sent = (row.id, row.round_at(), assignee.clone());
            let has_answered = row.answers.iter().any(|answer| answer.for_assignee == *assignee);
            if has_answered || mailed.contains(assignee) || self.sent.contains(&sent) {
                continue;
            }
            if begun.elapsed() > LAST_MAIL {
                return Ok(false);
            }
            match self.mail(row, assignee, to).await? {
                None => {
                    info!(human_task.id = %row.id, execution.id = %row.execution, "Sent a mail with links");
                    if self.sent.len() < REMEMBERED {
                        self.sent.insert(sent);
                    }
                }
                Some(class) => {
                    let again = class.is_retried_by_default() || class == FailureClass::Unauthorized;
                    is_done &= !again;
                    warn!(
                        human_task.id = %row.id, execution.id = %row.execution, class = %class, again,
                        "A mail with links was not taken by the mail server"
                    );
                }
            }
        }
        Ok(is_done)
    }

    /// Sends one mail, and gives the class of its failure.
    async fn mail(
        &self,
        row: &HumanTaskRow,
        assignee: &str,
        to: &str,
    ) -> Result<Option<FailureClass>, Problem> {
        let caller = Caller { tenant: row.tenant, ..Caller::owner() };
        let body = MakeLinks { assignee: assignee.to_owned(), expires_in: None };
        let links = match self.deeds.links_make(&caller, row.id, body).await {
            Ok(links) => links,
            // Answered or handed on meanwhile: there is nobody to mail.
            Err(problem) if problem.code.status() < 500 => return Ok(Some(FailureClass::Conflict)),
            Err(problem) => return Err(problem),
        };
        let asking = format!("{}/{assignee}", row.round_at().as_micros());
        let mail = Mail {
            id: uuid::Uuid::new_v5(row.id.as_uuid(), asking.as_bytes()).to_string(),
            to: to.to_owned(),
            subject: subject(&row.ask.title),
            text: text(row, &links),
        };
        Ok(match tokio::time::timeout(MAIL_WITHIN, self.mailer.send(&mail)).await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure.class),
            Err(_) => Some(FailureClass::Timeout),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_are_mailed() {
        assert_eq!(address("a@b.example"), Some("a@b.example"));
        assert_eq!(address("user:a@b.example"), Some("a@b.example"));
        assert_eq!(address("finance"), None);
        assert_eq!(address("group:a@b.example"), None);
    }

    #[test]
    fn a_title_is_one_line() {
        assert_eq!(subject("Pay?\r\nBcc: x@y.example"), "Pay?  Bcc: x@y.example");
        assert_eq!(subject("\n"), "Please decide");
        assert_eq!(subject(&"x".repeat(999)).len(), 200);
    }
}
