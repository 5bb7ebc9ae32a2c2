//! The mail server: one pooled transport, verified TLS, and what its answers mean.

use anyhow::Context as _;
use lettre::address::Address;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, MultiPart};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;

use crate::config::Smtp;
use crate::domain::Failure;
use crate::templates::Rendered;

/// Sends mails. Cheap to clone: all clones share the connections.
#[derive(Debug, Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    timeout: std::time::Duration,
    from: Mailbox,
    /// Where a customer switches mails off.
    preferences_url: String,
}

/// One mail as it goes out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// Address of the account.
    pub recipient: &'a str,
    /// The same on every attempt, so that a receiver can tell a repetition (NTF-16).
    pub message_id: &'a str,
    /// `Date`.
    pub date: OffsetDateTime,
    /// Gets `List-Unsubscribe`.
    pub switchable: bool,
    /// Parts.
    pub content: &'a Rendered,
}

impl Mailer {
    /// Fails when the settings cannot work; does not connect.
    pub fn try_new(settings: &Smtp, from: Mailbox, frontend_url: &str) -> anyhow::Result<Self> {
        let tls = if settings.smtp_use_ssl {
            Tls::Wrapper(tls_parameters(settings)?)
        } else if settings.smtp_use_tls {
            Tls::Required(tls_parameters(settings)?)
        } else {
            Tls::None
        };
        let pool = PoolConfig::new()
            .max_size(settings.smtp_connections)
            .idle_timeout(std::time::Duration::from_secs(30));
        let mut transport =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.smtp_host.as_str())
                .port(settings.smtp_port)
                .tls(tls)
                .timeout(Some(settings.timeout()))
                .pool_config(pool);
        if let (Some(user), Some(password)) = (&settings.smtp_username, &settings.smtp_password) {
            let credentials = Credentials::new(user.clone(), password.expose_secret().to_owned());
            transport = transport.credentials(credentials);
        }
        Ok(Self {
            transport: transport.build(),
            timeout: settings.timeout(),
            from,
            preferences_url: format!("{frontend_url}/preferences"),
        })
    }

    /// Hands one mail over. `Ok` is the server's promise to deliver it.
    pub async fn send(&self, mail: Outgoing<'_>) -> Result<(), Failure> {
        let message = self.message(mail)?;
        // The transport's own time-out holds for each command; this one for all of them.
        match tokio::time::timeout(self.timeout * 2, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(classify(&error)),
            Err(_) => Err(Failure::Connection("the mail server did not answer in time".into())),
        }
    }

    /// Connects, greets, and says whether the server is usable now.
    pub async fn probe(&self) -> anyhow::Result<()> {
        let limit = self.timeout.min(std::time::Duration::from_secs(10));
        let usable = tokio::time::timeout(limit, self.transport.test_connection())
            .await
            .context("the mail server did not answer in time")?
            .context("cannot connect to the mail server")?;
        anyhow::ensure!(usable, "the mail server refused the connection test");
        Ok(())
    }

    fn message(&self, mail: Outgoing<'_>) -> Result<Message, Failure> {
        let bad =
            |what: &str, error: &dyn std::fmt::Display| Failure::Permanent(format!("bad {what}: {error}"));
        let to: Address = mail.recipient.parse().map_err(|error| bad("recipient", &error))?;
        let mut message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(mail.content.subject.as_str())
            .message_id(Some(mail.message_id.to_owned()))
            .date(mail.date.into())
            .multipart(MultiPart::alternative_plain_html(
                mail.content.text.clone(),
                mail.content.html.clone(),
            ))
            .map_err(|error| bad("message", &error))?;
        let headers = message.headers_mut();
        headers.insert_raw(raw("Auto-Submitted", "auto-generated"));
        if mail.switchable {
            headers.insert_raw(raw("List-Unsubscribe", &format!("<{}>", self.preferences_url)));
        }
        Ok(message)
    }
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn tls_parameters(settings: &Smtp) -> anyhow::Result<TlsParameters> {
    let mut tls = TlsParameters::builder(settings.smtp_host.clone());
    if let Some(path) = &settings.smtp_ca_file {
        let pem =
            std::fs::read(path).with_context(|| format!("SMTP_CA_FILE: cannot read {}", path.display()))?;
        let certificate =
            Certificate::from_pem(&pem).context("SMTP_CA_FILE does not hold a PEM certificate")?;
        tls = tls.add_root_certificate(certificate);
    }
    tls.build_rustls().context("TLS to the mail server")
}

/// A refused log-in is a fault of our settings: it must not end every mail for good.
const LOGIN_CODES: [&str; 4] = ["530", "534", "535", "538"];

fn classify(error: &lettre::transport::smtp::Error) -> Failure {
    let text = describe(error);
    let code = error.status().map(|code| code.to_string());
    match code.as_deref() {
        Some(code) if LOGIN_CODES.contains(&code) || code == "421" => Failure::Connection(text),
        Some(_) if error.is_permanent() => Failure::Permanent(text),
        Some(_) => Failure::Transient(text),
        None => Failure::Connection(text),
    }
}

/// The error with its causes, cut to what a row should hold.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}
