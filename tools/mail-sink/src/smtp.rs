//! The SMTP server: a session is a small state machine over lines (RFC 5321, with PIPELINING, SIZE, 8BITMIME,
//! SMTPUTF8 and AUTH); the connection around it reads and writes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::faults::{Faults, Stage};
use crate::mailbox::Mailbox;

/// Largest mail.
const MAX_MAIL: usize = 10 << 20;
/// Longest command line.
const MAX_LINE: usize = 8 << 10;
/// A client that is silent for longer is dropped.
const IDLE: Duration = Duration::from_mins(5);

/// Takes connections for ever.
pub async fn serve(listener: TcpListener, mailbox: Arc<Mailbox>, faults: Arc<Faults>) -> anyhow::Result<()> {
    loop {
        let (stream, _peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("accept: {error}");
                sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (mailbox, faults) = (Arc::clone(&mailbox), Arc::clone(&faults));
        tokio::spawn(async move {
            // One client's trouble is its own.
            if let Err(error) = converse(stream, &mailbox, &faults).await {
                eprintln!("session: {error:#}");
            }
        });
    }
}

async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    mailbox: &Mailbox,
    faults: &Faults,
) -> anyhow::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut session = Session::default();
    reply(&mut stream, faults, "220 mail-sink ESMTP").await?;
    loop {
        let Some(line) = read_line(&mut stream, MAX_LINE).await? else { return Ok(()) };
        match session.line(&String::from_utf8_lossy(&line), faults) {
            Step::Reply(text) => reply(&mut stream, faults, &text).await?,
            Step::Quit => return reply(&mut stream, faults, "221 bye").await,
            Step::Data { from, to } => {
                reply(&mut stream, faults, "354 end with a line of one dot").await?;
                let Some(content) = read_content(&mut stream).await? else { return Ok(()) };
                let text = if content.len() > MAX_MAIL {
                    "552 the mail is too large".to_owned()
                } else if let Some(code) = faults.refusal(Stage::Data) {
                    refused(code)
                } else {
                    match mailbox.put(&from, &to, content).await {
                        Ok(id) => format!("250 taken as {id}"),
                        Err(error) => {
                            eprintln!("store: {error:#}");
                            "451 the mail could not be stored".to_owned()
                        }
                    }
                };
                reply(&mut stream, faults, &text).await?;
            }
        }
    }
}

async fn reply<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    faults: &Faults,
    text: &str,
) -> anyhow::Result<()> {
    sleep(faults.delay()).await;
    stream.write_all(format!("{text}\r\n").as_bytes()).await.context("write")?;
    stream.flush().await.context("write")
}

/// One line without its end; `None` at the end of the stream.
async fn read_line<S: AsyncRead + Unpin>(
    stream: &mut BufReader<S>,
    limit: usize,
) -> anyhow::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut limited = stream.take(u64::try_from(limit)?);
    let read =
        timeout(IDLE, limited.read_until(b'\n', &mut line)).await.context("the client is silent")??;
    if read == 0 {
        return Ok(None);
    }
    anyhow::ensure!(line.pop() == Some(b'\n'), "line too long or cut off");
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

/// The content up to the line of one dot, with doubled dots undone. One that is too large is read to its end
/// and cut.
async fn read_content<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> anyhow::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    loop {
        let Some(line) = read_line(stream, MAX_MAIL).await? else { return Ok(None) };
        if line == b"." {
            return Ok(Some(content));
        }
        if content.len() <= MAX_MAIL {
            content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            content.extend_from_slice(b"\r\n");
        }
    }
}

/// What the connection does next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// Answer and go on.
    Reply(String),
    /// Read a mail.
    Data { from: String, to: Vec<String> },
    /// Say goodbye.
    Quit,
}

/// Where the dialogue stands.
#[derive(Debug, Default)]
struct Session {
    greeted: bool,
    /// Lines of an AUTH exchange that are still to come.
    auth_lines: u8,
    from: Option<String>,
    to: Vec<String>,
}

fn refused(code: u16) -> String {
    let class = code / 100;
    format!("{code} {class}.0.0 refused on request")
}

impl Session {
    fn line(&mut self, line: &str, faults: &Faults) -> Step {
        if self.auth_lines > 0 {
            return Step::Reply(self.auth_continues(faults));
        }
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let text = match verb.to_ascii_uppercase().as_str() {
            "QUIT" => return Step::Quit,
            "DATA" => match self.from.take() {
                Some(from) if !self.to.is_empty() => {
                    return Step::Data { from, to: std::mem::take(&mut self.to) };
                }
                from => {
                    self.from = from;
                    "503 MAIL and RCPT first".to_owned()
                }
            },
            "EHLO" => {
                self.begin();
                format!(
                    "250-mail-sink\r\n250-PIPELINING\r\n250-SIZE \
                     {MAX_MAIL}\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 AUTH PLAIN LOGIN"
                )
            }
            "HELO" => {
                self.begin();
                "250 mail-sink".to_owned()
            }
            "NOOP" => "250 ok".to_owned(),
            "RSET" => {
                self.reset();
                "250 ok".to_owned()
            }
            "VRFY" => "252 send it and see".to_owned(),
            "MAIL" | "RCPT" | "AUTH" if !self.greeted => "503 EHLO first".to_owned(),
            "MAIL" => self.mail(rest, faults),
            "RCPT" => self.rcpt(rest, faults),
            "AUTH" => self.auth(rest, faults),
            _ => "502 unknown command".to_owned(),
        };
        Step::Reply(text)
    }

    fn begin(&mut self) {
        self.greeted = true;
        self.reset();
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    fn mail(&mut self, rest: &str, faults: &Faults) -> String {
        let Some(address) = path(rest, "FROM:") else { return "501 MAIL FROM:<address>".to_owned() };
        if self.from.is_some() {
            return "503 one MAIL at a time".to_owned();
        }
        if let Some(code) = faults.refusal(Stage::Sender) {
            return refused(code);
        }
        self.from = Some(address);
        "250 ok".to_owned()
    }

    fn rcpt(&mut self, rest: &str, faults: &Faults) -> String {
        let Some(address) = path(rest, "TO:").filter(|address| !address.is_empty()) else {
            return "501 RCPT TO:<address>".to_owned();
        };
        if self.from.is_none() {
            return "503 MAIL first".to_owned();
        }
        if self.to.len() >= 1000 {
            return "452 too many receivers".to_owned();
        }
        if let Some(code) = faults.refusal(Stage::Recipient) {
            return refused(code);
        }
        self.to.push(address);
        "250 ok".to_owned()
    }

    fn auth(&mut self, rest: &str, faults: &Faults) -> String {
        let mut words = rest.split_ascii_whitespace();
        let mechanism = words.next().unwrap_or_default().to_ascii_uppercase();
        let initial = words.next().is_some();
        self.auth_lines = match (mechanism.as_str(), initial) {
            ("PLAIN", true) => 0,
            ("PLAIN", false) | ("LOGIN", true) => 1,
            ("LOGIN", false) => 2,
            _ => return "504 PLAIN or LOGIN".to_owned(),
        };
        match (mechanism.as_str(), self.auth_lines) {
            (_, 0) => Self::auth_done(faults),
            ("PLAIN", _) => "334 ".to_owned(),
            (_, 2) => "334 VXNlcm5hbWU6".to_owned(),
            _ => "334 UGFzc3dvcmQ6".to_owned(),
        }
    }

    fn auth_continues(&mut self, faults: &Faults) -> String {
        self.auth_lines -= 1;
        if self.auth_lines > 0 { "334 UGFzc3dvcmQ6".to_owned() } else { Self::auth_done(faults) }
    }

    fn auth_done(faults: &Faults) -> String {
        faults.refusal(Stage::Authentication).map_or_else(|| "235 welcome".to_owned(), refused)
    }
}

/// The address in `FROM:<a@b> SIZE=1`.
fn path(text: &str, keyword: &str) -> Option<String> {
    let head = text.get(..keyword.len())?;
    let tail = text.get(keyword.len()..)?.trim_start();
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (address, _) = tail.strip_prefix('<')?.split_once('>')?;
    Some(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Settings, Trigger};

    async fn talk(input: &str, faults: &Faults) -> (String, Vec<Arc<crate::mailbox::Mail>>) {
        let mailbox = Mailbox::open(None, 10).unwrap();
        let (mut client, server) = tokio::io::duplex(1 << 16);
        client.write_all(input.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        converse(server, &mailbox, faults).await.unwrap();
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        (answers, mailbox.list(|_| true))
    }

    const HELLO: &str = "EHLO me\r\nMAIL FROM:<a@example.com> SIZE=20\r\nRCPT TO:<b@example.com>\r\n";

    #[tokio::test]
    async fn a_pipelined_mail_is_taken_with_its_dots() {
        let input = format!("{HELLO}DATA\r\nSubject: hi\r\n\r\n..dot\r\nend\r\n.\r\nQUIT\r\n");
        let (answers, mails) = talk(&input, &Faults::default()).await;
        assert!(
            answers.contains("354") && answers.contains("250 taken") && answers.ends_with("221 bye\r\n"),
            "{answers}"
        );
        let [mail] = mails.as_slice() else { panic!("{} mails", mails.len()) };
        assert_eq!((mail.summary.subject.as_str(), mail.text.trim()), ("hi", ".dot\r\nend"));
        assert_eq!(mail.summary.to.first().unwrap().address, "b@example.com");
    }

    #[tokio::test]
    async fn commands_out_of_order_are_refused() {
        let (answers, mails) =
            talk("MAIL FROM:<a@b.c>\r\nHELO x\r\nRCPT TO:<a@b.c>\r\nDATA\r\nQUIT\r\n", &Faults::default())
                .await;
        assert_eq!(answers.matches("503").count(), 3, "{answers}");
        assert!(mails.is_empty());
    }

    #[tokio::test]
    async fn a_switched_fault_refuses_the_content() {
        let faults = Faults::default();
        let data = Trigger { error_code: 451, probability: 100, times: Some(1), ..Trigger::default() };
        faults.set(Settings { data, ..Settings::default() }).unwrap();
        let mail = "DATA\r\nx\r\n.\r\n";
        let (answers, mails) = talk(&format!("{HELLO}{mail}{}{mail}", &HELLO[9..]), &faults).await;
        assert!(answers.contains("451 4.0.0") && answers.contains("250 taken"), "{answers}");
        assert_eq!(mails.len(), 1);
    }

    #[test]
    fn both_ways_to_authenticate_end_well() {
        let faults = Faults::default();
        for lines in
            [&["AUTH PLAIN AGEAYg=="][..], &["AUTH PLAIN", "AGEAYg=="], &["AUTH LOGIN", "YQ==", "Yg=="]]
        {
            let mut session = Session { greeted: true, ..Session::default() };
            let last = lines.iter().map(|line| session.line(line, &faults)).last();
            assert_eq!(last, Some(Step::Reply("235 welcome".to_owned())), "{lines:?}");
        }
    }

    #[test]
    fn an_address_is_read_from_its_path() {
        assert_eq!(path("from: <a@b.c> BODY=8BITMIME", "FROM:").as_deref(), Some("a@b.c"));
        assert_eq!(path("FROM:<>", "FROM:").as_deref(), Some(""));
        assert_eq!(path("FROM:a@b.c", "FROM:"), None);
        assert_eq!(path("é", "TO:"), None);
    }
}
