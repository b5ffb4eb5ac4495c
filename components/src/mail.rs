//! Mail over SMTP, by the connectors of kind `smtp`.
//!
//! A mail's `Message-ID` is made of its id, so that a server that got it before can tell.

use std::time::Duration;

use async_trait::async_trait;
use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox, header::ContentType},
    transport::smtp::{
        Error as SmtpError,
        authentication::Credentials,
        client::{Tls as Channel, TlsParameters},
    },
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{
    component::{Failure, FailureClass},
    port::mail::{Mail, Mailer},
};

use crate::describe::{invalid_config, invalid_input};

/// No answer of a server takes longer.
const WITHIN: Duration = Duration::from_secs(30);

/// How the connection to a mail server is kept from others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tls {
    /// Begun in plain text and then encrypted (`STARTTLS`); a server that cannot is refused.
    #[default]
    Starttls,
    /// Encrypted from the beginning.
    Implicit,
    /// Not at all: for a server on this machine.
    None,
}

/// A mail server and who sends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// The server's name.
    pub host: String,
    /// Its port; without it 587, or 465 with `tls: implicit`, or 25 with `tls: none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How the connection is kept from others.
    #[serde(default)]
    pub tls: Tls,
    /// Who signs in; nobody without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password of `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The sender's address, such as `Flows <flows@example.com>`.
    pub from: String,
}

impl Server {
    /// What is wrong with the settings.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.host.trim().is_empty() {
            return Err("`host` is empty");
        }
        if self.user.is_some() != self.password.is_some() {
            return Err("`user` and `password` are given together");
        }
        self.from.parse::<Mailbox>().map(drop).map_err(|_| "`from` is not a mail address")
    }
}

/// Sends over one server, with a connection of its own for each mail.
pub(crate) struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

impl SmtpMailer {
    pub(crate) fn new(server: &Server) -> Result<Self, Failure> {
        let from = server.from.parse().map_err(|_| invalid_config("`from` is not a mail address"))?;
        let secured = || {
            TlsParameters::new(server.host.clone())
                .map_err(|wrong| invalid_config(format!("no TLS to `{}`: {wrong}", server.host)))
        };
        let (port, channel) = match server.tls {
            Tls::Starttls => (587, Channel::Required(secured()?)),
            Tls::Implicit => (465, Channel::Wrapper(secured()?)),
            Tls::None => (25, Channel::None),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port.unwrap_or(port))
            .tls(channel)
            .timeout(Some(WITHIN));
        if let (Some(user), Some(password)) = (&server.user, &server.password) {
            builder = builder.credentials(Credentials::new(user.clone(), password.clone()));
        }
        Ok(Self { transport: builder.build(), from })
    }
}

/// A bare mail address.
pub(crate) fn address(text: &str) -> Result<Address, Failure> {
    // A control character is none of an address, whatever a parser lets through.
    let is_fine = !text.chars().any(|char| char.is_control() || char.is_whitespace());
    text.parse().ok().filter(|_| is_fine).ok_or_else(|| {
        invalid_input(format!("`{}` is not a mail address", text.escape_debug().take(80).collect::<String>()))
    })
}

/// Refuses what could begin another header.
pub(crate) fn header_line(name: &str, text: &str) -> Result<(), Failure> {
    match text.chars().find(|char| char.is_control()) {
        None => Ok(()),
        Some(_) => Err(invalid_input(format!("the {name} has a line end or another control character"))),
    }
}

/// The mail as it goes over the wire.
fn message(from: &Mailbox, mail: &Mail) -> Result<Message, Failure> {
    header_line("subject", &mail.subject)?;
    header_line("id", &mail.id)?;
    let to = Mailbox::new(None, address(&mail.to)?);
    Message::builder()
        .message_id(Some(format!("<{}@{}>", mail.id, from.email.domain())))
        .from(from.clone())
        .to(to)
        .subject(mail.subject.clone())
        .header(ContentType::TEXT_PLAIN)
        .body(mail.text.clone())
        .map_err(|wrong| invalid_input(format!("the mail cannot be written: {wrong}")))
}

fn failure(error: &SmtpError) -> Failure {
    let status = error.status().map(u16::from);
    let class = match status {
        Some(530 | 534 | 535) => FailureClass::Unauthorized,
        Some(500..=599) => FailureClass::InvalidInput,
        Some(_) => FailureClass::Unavailable,
        None if error.is_timeout() => FailureClass::Timeout,
        None if error.is_response() || error.is_client() => FailureClass::Unavailable,
        None => FailureClass::Connection,
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let said: String = match status {
        Some(status) => format!("the mail server answered {status}{cause}"),
        None => format!("the mail server could not be used: {error}"),
    };
    Failure::new(class, said.escape_debug().take(300).collect::<String>())
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), Failure> {
        let message = message(&self.from, mail)?;
        self.transport.send(message).await.map(drop).map_err(|error| failure(&error))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(to: &str, subject: &str, text: &str) -> Result<String, Failure> {
        let from = "Flows <flows@example.com>".parse().expect("an address");
        let mail = Mail { id: "id-1".into(), to: to.into(), subject: subject.into(), text: text.into() };
        let bytes = message(&from, &mail)?.formatted();
        Ok(String::from_utf8(bytes).expect("mails are ASCII"))
    }

    /// The names of the headers.
    fn names(mail: &str) -> Vec<String> {
        let (head, _) = mail.split_once("\r\n\r\n").expect("a head");
        let lines = head.split("\r\n").filter(|line| !line.starts_with([' ', '\t']));
        lines.map(|line| line.split(':').next().unwrap_or_default().to_ascii_lowercase()).collect()
    }

    #[test]
    fn the_message_id_stays_the_same() {
        let mail = written("a@b.example", "Stock is low: „Grüße“", "Text").expect("written");
        assert!(mail.contains("Message-ID: <id-1@example.com>\r\n"), "{mail}");
        assert!(mail.contains("To: a@b.example\r\n"), "{mail}");
    }

    #[test]
    fn line_ends_are_refused() {
        for subject in ["a\r\nBcc: x@y.example", "a\nb", "a\rb", "a\0b"] {
            let wrong = written("a@b.example", subject, "").expect_err("refused");
            assert_eq!(wrong.class, FailureClass::InvalidInput);
        }
        for to in ["a@b.example\r\nBcc: x@y.example", "a@b.example, c@d.example", "a b@c.example", "a", ""] {
            assert_eq!(written(to, "s", "").expect_err(to).class, FailureClass::InvalidInput, "{to}");
        }
    }

    #[test]
    fn settings_without_sense_are_refused() {
        let server = |change: fn(&mut Server)| {
            let mut server = Server {
                host: "mail.example".into(),
                port: None,
                tls: Tls::Starttls,
                user: None,
                password: None,
                from: "a@b.example".into(),
            };
            change(&mut server);
            server.check()
        };
        assert_eq!(server(|_| ()), Ok(()));
        assert!(server(|server| server.host.clear()).is_err());
        assert!(server(|server| server.user = Some("u".into())).is_err());
        assert!(server(|server| server.from = "nobody".into()).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_header(to in ".{0,40}", subject in "(?s).{0,80}", text in "(?s).{0,200}") {
            let expected = names(&written("a@b.example", "s", "t").expect("written"));
            if let Ok(mail) = written(&to, &subject, &text) {
                prop_assert_eq!(names(&mail), &*expected);
            }
            if let Ok(mail) = written("a@b.example", &subject, &text) {
                prop_assert_eq!(names(&mail), expected);
            }
        }
    }
}
