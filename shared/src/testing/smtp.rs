//! A mail server for tests: it speaks as much SMTP as a client needs, and remembers what it took.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// A mail that the server took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    pub from: String,
    pub to: Vec<String>,
    /// Head and body, lines ended by CR LF, dots as they were before they were doubled.
    pub data: String,
}

impl Taken {
    /// The value of a header that is written in one line.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.data.split_once("\r\n\r\n")?;
        head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body, with quoted-printable undone.
    pub fn body(&self) -> String {
        let (_, body) = self.data.split_once("\r\n\r\n").unwrap_or_default();
        if self.header("Content-Transfer-Encoding") != Some("quoted-printable") {
            return body.to_owned();
        }
        let joined = body.replace("=\r\n", "");
        let (mut bytes, mut rest) = (Vec::new(), joined.as_bytes());
        while let Some((first, after)) = rest.split_first() {
            let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
            match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
                Some(byte) if *first == b'=' => {
                    bytes.push(byte);
                    rest = &after[2..];
                }
                _ => {
                    bytes.push(*first);
                    rest = after;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The server. A recipient with `later` in it is refused for now (451), one with `never` for ever (550).
#[derive(Debug)]
pub struct SmtpServer {
    pub address: SocketAddr,
    taken: Arc<Mutex<Vec<Taken>>>,
}

impl SmtpServer {
    /// Listens on a free port of this machine until the process ends.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let taken = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&taken);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let taken = Arc::clone(&kept);
                // A client that goes away ends its conversation, and nothing else.
                thread::spawn(move || drop(converse(&stream, &taken)));
            }
        });
        Self { address, taken }
    }

    /// What was taken so far, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn converse(stream: &TcpStream, taken: &Mutex<Vec<Taken>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let mut say = |text: &str| writer.write_all(format!("{text}\r\n").as_bytes());
    say("220 test ESMTP")?;
    let mut mail = Taken { from: String::new(), to: Vec::new(), data: String::new() };
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let named = line.split_once('<').and_then(|(_, rest)| rest.split_once('>'));
        let named = named.map(|(name, _)| name.to_owned()).unwrap_or_default();
        match verb.as_str() {
            "EHLO" => say("250-test\r\n250 8BITMIME")?,
            "MAIL" => {
                mail = Taken { from: named, to: Vec::new(), data: String::new() };
                say("250 ok")?;
            }
            "RCPT" if named.contains("later") => say("451 come back later")?,
            "RCPT" if named.contains("never") => say("550 nobody of this name")?,
            "RCPT" => {
                mail.to.push(named);
                say("250 ok")?;
            }
            "DATA" => {
                say("354 go on")?;
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line)? == 0 {
                        return Ok(());
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    mail.data.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(mail.clone());
                say("250 taken")?;
            }
            "QUIT" => {
                say("221 bye")?;
                return Ok(());
            }
            _ => say("250 ok")?,
        }
    }
}
