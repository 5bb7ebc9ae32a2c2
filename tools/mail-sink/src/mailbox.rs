//! The mails that were taken: a bounded list in memory, newest last, and a file for each in a folder.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use mail_parser::{Address as Parsed, MessageParser};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

/// A name and an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Address {
    /// Name, may be empty.
    pub name: String,
    /// Address.
    pub address: String,
}

/// What the list shows of a mail.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// Identifier of this sink.
    #[serde(rename = "ID")]
    pub id: String,
    /// `Message-ID` header without its brackets.
    #[serde(rename = "MessageID")]
    pub message_id: String,
    /// Sender in the header.
    pub from: Address,
    /// Receivers in the header `To`; the receivers of the envelope if there is none.
    pub to: Vec<Address>,
    /// Receivers in the header `Cc`.
    pub cc: Vec<Address>,
    /// Receivers of the envelope that no header names.
    pub bcc: Vec<Address>,
    /// Where answers go.
    pub reply_to: Vec<Address>,
    /// Decoded subject.
    pub subject: String,
    /// When it was taken (RFC 3339).
    pub created: String,
    /// Size in bytes.
    pub size: usize,
    /// Number of attachments.
    pub attachments: usize,
    /// Beginning of the text.
    pub snippet: String,
}

/// A mail.
#[derive(Debug)]
pub struct Mail {
    /// What the list shows.
    pub summary: Summary,
    /// Decoded text part (made from the HTML part if there is none).
    pub text: String,
    /// Decoded HTML part; empty if there is none.
    pub html: String,
    /// Header fields in order.
    pub headers: Vec<(String, String)>,
    /// The content as received.
    pub raw: Vec<u8>,
}

/// All mails.
#[derive(Debug)]
pub struct Mailbox {
    mails: Mutex<VecDeque<Arc<Mail>>>,
    folder: Option<PathBuf>,
    keep: usize,
}

impl Mailbox {
    /// An empty mailbox for at most `keep` mails; `folder` is made if absent.
    pub fn open(folder: Option<PathBuf>, keep: usize) -> anyhow::Result<Self> {
        if let Some(folder) = &folder {
            std::fs::create_dir_all(folder).with_context(|| format!("folder {}", folder.display()))?;
        }
        Ok(Self { mails: Mutex::default(), folder, keep: keep.max(1) })
    }

    /// Takes a mail; gives its identifier.
    pub async fn put(&self, sender: &str, receivers: &[String], raw: Vec<u8>) -> anyhow::Result<String> {
        let now = now();
        let mail = Arc::new(read(sender, receivers, raw, now));
        if let Some(folder) = &self.folder {
            let seconds = now.unix_timestamp();
            let path = folder.join(format!("{seconds}-{}.eml", mail.summary.id));
            tokio::fs::write(&path, &mail.raw).await.with_context(|| format!("write {}", path.display()))?;
        }
        let id = mail.summary.id.clone();
        let mut mails = self.lock();
        if mails.len() >= self.keep {
            mails.pop_front();
        }
        mails.push_back(mail);
        Ok(id)
    }

    /// All mails that `wanted` accepts, newest first.
    pub fn list(&self, wanted: impl Fn(&Mail) -> bool) -> Vec<Arc<Mail>> {
        self.lock().iter().rev().filter(|mail| wanted(mail)).cloned().collect()
    }

    /// One mail; `latest` is the newest.
    pub fn find(&self, id: &str) -> Option<Arc<Mail>> {
        let mails = self.lock();
        if id == "latest" {
            mails.back().cloned()
        } else {
            mails.iter().rev().find(|mail| mail.summary.id == id).cloned()
        }
    }

    /// Forgets all mails; the files stay.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Mail>>> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the time of arrival is the machine's")]
fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

fn read(sender: &str, receivers: &[String], raw: Vec<u8>, now: OffsetDateTime) -> Mail {
    let plain = |address: &str| Address { name: String::new(), address: address.to_owned() };
    let Decoded { from, mut to, cc, reply_to, subject, message_id, text, html, headers, attachments } =
        decode(&raw);
    let named = |address: &String| to.iter().chain(&cc).any(|a| a.address.eq_ignore_ascii_case(address));
    let unnamed: Vec<Address> =
        receivers.iter().filter(|address| !named(address)).map(|a| plain(a)).collect();
    let bcc = if to.is_empty() && cc.is_empty() {
        to = unnamed;
        Vec::new()
    } else {
        unnamed
    };
    let summary = Summary {
        id: Uuid::new_v4().simple().to_string(),
        message_id,
        from: from.unwrap_or_else(|| plain(sender)),
        to,
        cc,
        bcc,
        reply_to,
        subject,
        created: now.format(&Rfc3339).unwrap_or_default(),
        size: raw.len(),
        attachments,
        snippet: text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect(),
    };
    Mail { summary, text, html, headers, raw }
}

/// What a mail says of itself.
#[derive(Debug, Default)]
struct Decoded {
    from: Option<Address>,
    to: Vec<Address>,
    cc: Vec<Address>,
    reply_to: Vec<Address>,
    subject: String,
    message_id: String,
    text: String,
    html: String,
    headers: Vec<(String, String)>,
    attachments: usize,
}

fn decode(raw: &[u8]) -> Decoded {
    // The parser gives up on a content without any header field.
    let Some(message) = MessageParser::default().parse(raw) else {
        return Decoded { text: String::from_utf8_lossy(raw).into_owned(), ..Decoded::default() };
    };
    let has_html = message.html_part(0).is_some_and(mail_parser::MessagePart::is_text_html);
    Decoded {
        from: addresses(message.from()).into_iter().next(),
        to: addresses(message.to()),
        cc: addresses(message.cc()),
        reply_to: addresses(message.reply_to()),
        subject: message.subject().unwrap_or_default().to_owned(),
        message_id: message.message_id().unwrap_or_default().to_owned(),
        text: message.body_text(0).unwrap_or_default().into_owned(),
        html: if has_html { message.body_html(0).unwrap_or_default().into_owned() } else { String::new() },
        headers: message
            .headers_raw()
            .map(|(name, value)| (name.to_owned(), value.trim().replace("\r\n", "\n")))
            .collect(),
        attachments: message.attachment_count(),
    }
}

fn addresses(parsed: Option<&Parsed<'_>>) -> Vec<Address> {
    parsed
        .into_iter()
        .flat_map(Parsed::iter)
        .map(|a| Address {
            name: a.name().unwrap_or_default().to_owned(),
            address: a.address().unwrap_or_default().to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIL: &str = "From: SaaSOdoo <noreply@example.com>\r\nTo: \"Ada\" <ada@example.com>\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\n\
        Message-ID: <1@example.com>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n\
        open https://example.com/verify?token=3Dabc=\r\ndef\r\n\
        --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>open</p>\r\n--b--\r\n";

    #[tokio::test]
    async fn a_mail_is_decoded() {
        let mailbox = Mailbox::open(None, 10).unwrap();
        let receivers = ["ada@example.com".to_owned(), "hidden@example.com".to_owned()];
        let id = mailbox.put("bounce@example.com", &receivers, MAIL.into()).await.unwrap();
        let mail = mailbox.find(&id).unwrap();
        assert_eq!(mail.summary.subject, "Grüße");
        assert_eq!(mail.summary.from.address, "noreply@example.com");
        assert_eq!(
            mail.summary.to,
            [Address { name: "Ada".to_owned(), address: "ada@example.com".to_owned() }]
        );
        assert_eq!(mail.summary.bcc.first().map(|a| a.address.as_str()), Some("hidden@example.com"));
        assert!(mail.text.contains("token=abcdef"), "{}", mail.text);
        assert_eq!(mail.html.trim(), "<p>open</p>");
        assert!(mail.headers.iter().any(|(name, value)| name == "Message-ID" && value == "<1@example.com>"));
    }

    #[tokio::test]
    async fn the_oldest_mail_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let mailbox = Mailbox::open(Some(folder.path().to_owned()), 2).unwrap();
        for n in 1..=3 {
            mailbox
                .put("a@b.c", &["d@e.f".to_owned()], format!("Subject: {n}\r\n\r\nx\r\n").into())
                .await
                .unwrap();
        }
        let subjects: Vec<_> =
            mailbox.list(|_| true).iter().map(|mail| mail.summary.subject.clone()).collect();
        assert_eq!(subjects, ["3", "2"]);
        assert_eq!(mailbox.find("latest").unwrap().summary.to.len(), 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}
