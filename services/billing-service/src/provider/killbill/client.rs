//! The REST client: typed calls, one host, no redirects. A body is read as JSON only when it says that it is
//! JSON.

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, Response, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;

/// Longest wait for one call; shorter than the provider's deadline, so that the cause is named.
const TIMEOUT: Duration = Duration::from_secs(9);
/// Longest wait for a move of the test clock.
pub const CLOCK_TIMEOUT: Duration = Duration::from_secs(75);
/// With any type alone it answers `/catalog` in XML or in JSON as its start happened to order the two.
const ACCEPTED: &str = "application/json, */*;q=0.1";
/// Largest answer that is read.
const LARGEST: usize = 32 << 20;
/// Who we are in Kill Bill's audit.
const ACTOR: &str = "saasodoo-billing";

/// Where Kill Bill is and how we sign in.
#[derive(Clone)]
pub struct Access {
    /// Address without a path, such as `http://killbill:8080`.
    pub url: String,
    /// User.
    pub username: String,
    /// Password.
    pub password: SecretString,
    /// Key of our tenant.
    pub api_key: String,
    /// Secret of our tenant.
    pub api_secret: SecretString,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Access({})", self.url)
    }
}

/// Talks to one Kill Bill.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    access: Access,
}

/// What is sent.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// JSON.
    Json(String),
    /// XML; the server takes it as `text/xml` only.
    Xml(String),
}

/// A successful answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Last segment of `Location`: the id of what was made.
    pub made: Option<String>,
    json: Option<String>,
}

impl Answer {
    /// The body.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        let text =
            self.json.as_deref().ok_or_else(|| Fault::Nonsense("no JSON where JSON was expected".into()))?;
        serde_json::from_str(text).map_err(|error| Fault::Nonsense(error.to_string()))
    }

    /// The id of what was made.
    pub fn id(&self) -> Result<String, Fault> {
        self.made.clone().ok_or_else(|| Fault::Nonsense("no Location of what was made".into()))
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    code: Option<i64>,
    message: Option<String>,
}

impl Client {
    /// A client for one server. Nothing is sent yet.
    pub fn try_new(access: Access) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(3))
            .build()?;
        Ok(Self { http, access })
    }

    /// A call below `/1.0/kb`. `path` holds encoded segments alone; `query` is encoded here.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Body,
    ) -> Result<Answer, Fault> {
        self.call_within(TIMEOUT, method, path, query, body).await
    }

    /// The same with another patience.
    pub async fn call_within(
        &self,
        patience: Duration,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Body,
    ) -> Result<Answer, Fault> {
        let access = &self.access;
        let url = format!("{}/1.0/kb{path}", access.url.trim_end_matches('/'));
        let (kind, text) = match body {
            Body::Empty => ("application/json", None),
            Body::Json(text) => ("application/json", Some(text)),
            Body::Xml(text) => ("text/xml", Some(text)),
        };
        let mut request = self
            .http
            .request(method, url)
            .timeout(patience)
            .query(query)
            .basic_auth(&access.username, Some(access.password.expose_secret()))
            .header("X-Killbill-ApiKey", hidden(&access.api_key)?)
            .header("X-Killbill-ApiSecret", hidden(access.api_secret.expose_secret())?)
            .header("X-Killbill-CreatedBy", ACTOR)
            .header(CONTENT_TYPE, kind)
            .header("Accept", ACCEPTED);
        if let Some(text) = text {
            request = request.body(text);
        }
        // An error of the HTTP client may hold the address with its query, but no header.
        let response = request.send().await.map_err(|error| no_answer(&error.without_url()))?;
        self.answer(response).await
    }

    async fn answer(&self, mut response: Response) -> Result<Answer, Fault> {
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let kind = header(CONTENT_TYPE).unwrap_or_default().to_owned();
        let made = header(LOCATION).and_then(last_segment);
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| no_answer(&error.without_url()))? {
            if bytes.len() + chunk.len() > LARGEST {
                return Err(Fault::Nonsense("the answer is too large".into()));
            }
            bytes.extend_from_slice(&chunk);
        }
        let json = if kind.starts_with("application/json") && !bytes.is_empty() {
            Some(String::from_utf8(bytes).map_err(|_| Fault::Nonsense("JSON that is no UTF-8".into()))?)
        } else {
            None
        };
        if (200..300).contains(&status) {
            return Ok(Answer { status, made, json });
        }
        let error = json.as_deref().and_then(|text| serde_json::from_str::<ErrorBody>(text).ok());
        Err(match error {
            Some(body) => Fault::Api {
                status,
                code: body.code,
                message: self.cleaned(body.message.as_deref().unwrap_or("")),
            },
            None => Fault::Page { status, kind },
        })
    }

    /// Error texts quote what was sent: the keys of the tenant among it.
    fn cleaned(&self, message: &str) -> String {
        let access = &self.access;
        let mut text = message.to_owned();
        for secret in
            [access.api_key.as_str(), access.api_secret.expose_secret(), access.password.expose_secret()]
        {
            if !secret.is_empty() {
                text = text.replace(secret, "…");
            }
        }
        text.chars().take(500).collect()
    }

    /// The key of our tenant.
    pub fn api_key(&self) -> &str {
        &self.access.api_key
    }

    /// The secret of our tenant, to make it with.
    pub fn api_secret(&self) -> &SecretString {
        &self.access.api_secret
    }
}

fn no_answer(error: &reqwest::Error) -> Fault {
    let kind = if error.is_timeout() {
        "in time"
    } else if error.is_connect() {
        "at its address"
    } else {
        "to the end"
    };
    Fault::NoAnswer(format!("not {kind}"))
}

fn hidden(text: &str) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| Fault::Nonsense("a key of the tenant cannot stand in a header".into()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Location` may end with a slash or a query.
fn last_segment(location: &str) -> Option<String> {
    let path = location.split(['?', '#']).next()?;
    path.trim_end_matches('/').rsplit('/').next().filter(|last| !last.is_empty()).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_last_segment_of_the_location() {
        let id = |text| last_segment(text);
        assert_eq!(id("http://h:1/1.0/kb/accounts/a-1").as_deref(), Some("a-1"));
        assert_eq!(id("http://h:1/1.0/kb/invoicePayments/p-1/").as_deref(), Some("p-1"));
        assert_eq!(id("http://h:1/1.0/kb/subscriptions/s-1?x=y").as_deref(), Some("s-1"));
    }

    #[test]
    fn the_way_in_is_not_printed() {
        let secret = SecretString::from("hush");
        let access = Access {
            url: "http://h".into(),
            username: "u".into(),
            password: secret.clone(),
            api_key: "thekey".into(),
            api_secret: secret,
        };
        let client = Client::try_new(access).unwrap();
        let shown = format!("{client:?}");
        assert!(!shown.contains("hush") && !shown.contains("thekey"), "{shown}");
        assert_eq!(client.cleaned("no value for key thekey"), "no value for key …");
    }
}
