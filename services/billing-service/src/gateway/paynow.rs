//! The gateway `paynow` (BIL-27): mobile money and cards of Zimbabwe. Every message is signed both ways;
//! answers whose hash is wrong are no answers. The protocol has no currency: an integration pays in one,
//! which is a setting.

mod message;

use std::fmt;
use std::time::Duration as Wait;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Url, redirect};
use secrecy::SecretString;
use time::Duration;
use uuid::Uuid;

pub use message::{LARGEST, Message, signed};

use super::{Asked, Begun, Charge, GatewayError, PaymentGateway};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::Method;
use crate::domain::report::{Report, Standing};

/// Its name.
pub const NAME: &str = "paynow";
/// Where its messages come in; `PAYNOW_RESULT_URL` must end with it.
pub const RESULT_PATH: &str = "/billing/api/billing/webhooks/paynow";

/// Longest wait for the beginning of a payment: a phone's network may take its time.
const BEGIN: Wait = Wait::from_secs(20);
/// Longest wait for an answer about one.
const ASK: Wait = Wait::from_secs(10);
/// Longest text of a refusal that is passed on.
const SHOWN: usize = 200;

/// How Paynow is reached.
#[derive(Clone)]
pub struct Access {
    /// Address without a path, such as `https://www.paynow.co.zw`. It is the only one that is ever asked.
    pub base: Url,
    /// Id of the integration.
    pub integration_id: String,
    /// Its key.
    pub integration_key: SecretString,
    /// Mail address of the merchant's account.
    pub merchant_email: String,
    /// Where Paynow posts results: the gateway's route.
    pub result_url: String,
    /// Where the customer comes back to; the payment's id is added.
    pub return_url: String,
    /// Currency of the integration.
    pub currency: Currency,
    /// How long a customer may take.
    pub patience: Duration,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({})", self.base)
    }
}

/// Talks to Paynow.
#[derive(Debug, Clone)]
pub struct Paynow {
    http: reqwest::Client,
    access: Access,
}

fn away(why: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> GatewayError {
    GatewayError::Unavailable(anyhow::anyhow!("{why}"))
}

impl Paynow {
    /// Nothing is sent yet.
    pub fn try_new(access: Access) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .connect_timeout(Wait::from_secs(5))
            .build()?;
        Ok(Self { http, access })
    }

    /// An address of Paynow, and of nobody else: what a message names is never asked, and nobody is sent
    /// there, because it says so.
    fn own(&self, text: &str) -> Option<Url> {
        let url = Url::parse(text).ok()?;
        let plain = url.username().is_empty() && url.password().is_none();
        (plain && url.origin() == self.access.base.origin()).then_some(url)
    }

    async fn post(&self, url: Url, body: String, patience: Wait) -> Result<Message, GatewayError> {
        let request = self
            .http
            .post(url)
            .timeout(patience)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body);
        let mut response = request.send().await.map_err(|error| away(error.without_url()))?;
        if !response.status().is_success() {
            return Err(away(format!("status {}", response.status().as_u16())));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| away(error.without_url()))? {
            if bytes.len() + chunk.len() > LARGEST {
                return Err(away("the answer is too large"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Message::parse(&bytes).ok_or_else(|| away("the answer is no message"))
    }

    /// A message that Paynow signed. Errors come unsigned, and say so.
    fn genuine(&self, message: Message) -> Result<Message, GatewayError> {
        if message.is_signed(&self.access.integration_key) {
            return Ok(message);
        }
        Err(away("the hash of the answer is wrong"))
    }

    fn interface(&self, name: &str) -> Result<Url, GatewayError> {
        self.access.base.join(&format!("/interface/{name}")).map_err(away)
    }

    /// The payment by our own id, when the address to ask at was lost with its answer.
    async fn trace(&self, payment: Uuid) -> Result<Option<Message>, GatewayError> {
        let trace = payment.simple().to_string();
        let fields =
            [("id", self.access.integration_id.as_str()), ("merchanttrace", &trace), ("status", "Message")];
        let body = signed(&fields, &self.access.integration_key);
        let answer = self.post(self.interface("trace")?, body, ASK).await?;
        if answer.get("status").eq_ignore_ascii_case("error") {
            // Paynow says: an error is no proof that there is no payment.
            return Err(away("the trace failed"));
        }
        let answer = self.genuine(answer)?;
        Ok((!answer.get("status").eq_ignore_ascii_case("notfound")).then_some(answer))
    }

    fn report(&self, message: &Message) -> Report {
        let word: String = message.get("status").trim().chars().take(40).collect();
        let amount = Money::parse(message.get("amount").trim(), self.access.currency);
        // Not part of the protocol today; one that is named must be ours.
        let named = message.get("currency").trim();
        let ours = named.is_empty() || named.eq_ignore_ascii_case(self.access.currency.as_str());
        Report {
            standing: standing(&word),
            amount: amount.filter(|_| ours),
            gateway_reference: message.get("paynowreference").trim().chars().take(60).collect(),
            poll_url: self.own(message.get("pollurl")).map(|url| url.to_string()).unwrap_or_default(),
            word,
        }
    }
}

/// Paynow's words. Three of them mean that the customer has paid; one that we do not know means that we wait.
fn standing(word: &str) -> Standing {
    match word.to_ascii_lowercase().as_str() {
        "paid" | "awaiting delivery" | "delivered" => Standing::Paid,
        "cancelled" => Standing::Cancelled,
        "failed" => Standing::Failed,
        "disputed" => Standing::Disputed,
        "refunded" => Standing::Refunded,
        "created" | "sent" => Standing::Open,
        _ => {
            tracing::warn!(word, "Paynow says a word that we do not know");
            Standing::Open
        }
    }
}

/// What Paynow says to the customer, as plain text.
fn shown(text: &str) -> String {
    let text: String = text.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
    let text = text.trim();
    if text.is_empty() { "it gave no reason".to_owned() } else { text.to_owned() }
}

#[tonic::async_trait]
impl PaymentGateway for Paynow {
    fn name(&self) -> &'static str {
        NAME
    }

    fn currency(&self) -> Option<Currency> {
        Some(self.access.currency)
    }

    fn patience(&self) -> Duration {
        self.access.patience
    }

    async fn begin(&self, charge: &Charge<'_>) -> Result<Begun, GatewayError> {
        let access = &self.access;
        let amount = charge.amount.decimal();
        let trace = charge.payment.simple().to_string();
        let back = format!("{}?payment={}", access.return_url, charge.payment);
        let mobile = charge.method.needs_phone();
        let mut fields = vec![
            ("id", access.integration_id.as_str()),
            ("reference", charge.reference),
            ("amount", amount.as_str()),
            ("additionalinfo", charge.about),
            ("returnurl", back.as_str()),
            ("resulturl", access.result_url.as_str()),
            ("authemail", access.merchant_email.as_str()),
            ("merchanttrace", trace.as_str()),
        ];
        if mobile {
            let method = if charge.method == Method::Ecocash { "ecocash" } else { "onemoney" };
            fields.extend([("phone", charge.phone), ("method", method)]);
        }
        fields.push(("status", "Message"));
        let url = self.interface(if mobile { "remotetransaction" } else { "initiatetransaction" })?;
        let answer = self.post(url, signed(&fields, &access.integration_key), BEGIN).await?;
        if answer.get("status").eq_ignore_ascii_case("error") {
            return Err(GatewayError::Refused(shown(answer.get("error"))));
        }
        let answer = self.genuine(answer)?;
        if !answer.get("status").eq_ignore_ascii_case("ok") {
            return Err(away("the answer has another status than Ok"));
        }
        let redirect = if mobile { None } else { self.own(answer.get("browserurl")) };
        if !mobile && redirect.is_none() {
            return Err(away("the customer would be sent to another host"));
        }
        let poll = self.own(answer.get("pollurl"));
        if poll.is_none() {
            tracing::error!(payment.id = %charge.payment, "the address to ask at is another host; the payment is traced instead");
        }
        Ok(Begun {
            poll_url: poll.map(|url| url.to_string()).unwrap_or_default(),
            redirect_url: redirect.map(|url| url.to_string()).unwrap_or_default(),
            gateway_reference: answer.get("paynowreference").chars().take(60).collect(),
            report: None,
        })
    }

    async fn look_up(&self, asked: &Asked<'_>) -> Result<Option<Report>, GatewayError> {
        let message = match self.own(asked.poll_url) {
            Some(url) => {
                let answer = self.post(url, String::new(), ASK).await?;
                if answer.get("status").eq_ignore_ascii_case("error") {
                    return Err(away("the poll failed"));
                }
                Some(self.genuine(answer)?)
            }
            None => self.trace(asked.payment).await?,
        };
        let Some(message) = message else { return Ok(None) };
        if message.get("reference") != asked.reference {
            return Err(away("the answer is about another payment"));
        }
        Ok(Some(self.report(&message)))
    }

    fn webhook_reference(&self, body: &[u8]) -> Option<String> {
        let message =
            Message::parse(body).filter(|message| message.is_signed(&self.access.integration_key))?;
        Some(message.get("reference").to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paynow() -> Paynow {
        Paynow::try_new(Access {
            base: Url::parse("https://www.paynow.example").unwrap(),
            integration_id: "1201".into(),
            integration_key: "hush-hush".into(),
            merchant_email: "m@example.com".into(),
            result_url: format!("https://api.example{RESULT_PATH}"),
            return_url: "https://app.example/billing/payment-status".into(),
            currency: Currency::USD,
            patience: Duration::minutes(30),
        })
        .unwrap()
    }

    /// BIL-27: the host to ask at is the configured one, whatever a message says.
    #[test]
    fn another_host_is_never_asked() {
        let paynow = paynow();
        assert!(paynow.own("https://www.paynow.example/Interface/CheckPayment/?guid=1").is_some());
        for other in [
            "http://www.paynow.example/Interface/CheckPayment/?guid=1",
            "https://www.paynow.example:8443/x",
            "https://www.paynow.example.evil.example/x",
            "https://www.paynow.example@evil.example/x",
            "https://user@www.paynow.example/x",
            "https://169.254.169.254/latest",
            "/Interface/CheckPayment/?guid=1",
            "",
        ] {
            assert!(paynow.own(other).is_none(), "{other}");
        }
    }

    #[test]
    fn three_words_mean_paid_and_an_unknown_one_means_nothing() {
        for word in ["Paid", "Awaiting Delivery", "delivered"] {
            assert_eq!(standing(word), Standing::Paid);
        }
        for word in ["Created", "Sent", "", "Rejected by the moon"] {
            assert_eq!(standing(word), Standing::Open);
        }
    }

    #[test]
    fn the_key_is_not_printed() {
        assert!(!format!("{:?}", paynow()).contains("hush"));
    }

    /// BIL-27: a forged message is about nothing.
    #[test]
    fn only_its_own_messages_are_heard() {
        let fields = [("reference", "INV-1"), ("amount", "9.00"), ("status", "Paid")];
        let genuine = signed(&fields, &"hush-hush".into());
        let forged = signed(&fields, &"a guess".into());
        assert_eq!(paynow().webhook_reference(genuine.as_bytes()).as_deref(), Some("INV-1"));
        assert_eq!(paynow().webhook_reference(forged.as_bytes()), None);
        assert_eq!(paynow().webhook_reference(b"reference=INV-1&status=Paid"), None);
    }
}
