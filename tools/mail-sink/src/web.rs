//! The HTTP side: Mailpit's interface for programs, and a plain list for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::faults::{Faults, Settings};
use crate::mailbox::{Mail, Mailbox, Summary};

#[derive(Clone, Debug)]
struct App {
    mailbox: Arc<Mailbox>,
    faults: Arc<Faults>,
}

/// The routes.
pub fn router(mailbox: Arc<Mailbox>, faults: Arc<Faults>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/mail/{id}", get(mail_page))
        .route("/mail/{id}/html", get(mail_html))
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(async || "ok"))
        .route("/api/v1/messages", get(messages).delete(clear))
        .route("/api/v1/search", get(search))
        .route("/api/v1/message/{id}", get(message))
        .route("/api/v1/message/{id}/headers", get(headers))
        .route("/api/v1/message/{id}/raw", get(raw))
        .route("/api/v1/chaos", get(faults_now).put(set_faults))
        .with_state(App { mailbox, faults })
}

#[derive(Debug, Deserialize)]
struct Page {
    #[serde(default)]
    start: usize,
    #[serde(default = "fifty")]
    limit: usize,
    #[serde(default)]
    query: String,
}

fn fifty() -> usize {
    50
}

#[derive(Serialize)]
struct Listing {
    total: usize,
    count: usize,
    messages_count: usize,
    start: usize,
    messages: Vec<Summary>,
}

async fn messages(State(app): State<App>, Query(page): Query<Page>) -> Json<Listing> {
    Json(listing(&app, &page, |_| true))
}

async fn search(State(app): State<App>, Query(page): Query<Page>) -> Json<Listing> {
    let terms = terms(&page.query);
    Json(listing(&app, &page, |mail| terms.iter().all(|(key, value)| has(mail, key, value))))
}

fn listing(app: &App, page: &Page, wanted: impl Fn(&Mail) -> bool) -> Listing {
    let total = app.mailbox.list(|_| true).len();
    let found = app.mailbox.list(wanted);
    let messages: Vec<Summary> =
        found.iter().skip(page.start).take(page.limit).map(|mail| mail.summary.clone()).collect();
    Listing { total, count: messages.len(), messages_count: found.len(), start: page.start, messages }
}

/// `to:"a@b.c" word` as pairs of key and lower-case value.
fn terms(query: &str) -> Vec<(String, String)> {
    let clean = |text: &str| text.trim_matches('"').to_lowercase();
    query
        .split_whitespace()
        .map(|term| match term.split_once(':') {
            Some((key @ ("to" | "from" | "subject"), value)) => (key.to_owned(), clean(value)),
            _ => (String::new(), clean(term)),
        })
        .collect()
}

fn has(mail: &Mail, key: &str, value: &str) -> bool {
    let summary = &mail.summary;
    let contains = |text: &str| text.to_lowercase().contains(value);
    match key {
        "to" => summary.to.iter().chain(&summary.cc).chain(&summary.bcc).any(|a| contains(&a.address)),
        "from" => contains(&summary.from.address),
        "subject" => contains(&summary.subject),
        _ => contains(&summary.subject) || contains(&mail.text),
    }
}

async fn clear(State(app): State<App>) -> &'static str {
    app.mailbox.clear();
    "ok"
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Whole {
    #[serde(flatten)]
    summary: Summary,
    text: String,
    #[serde(rename = "HTML")]
    html: String,
    headers: BTreeMap<String, Vec<String>>,
}

fn header_map(mail: &Mail) -> BTreeMap<String, Vec<String>> {
    let mut map = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in &mail.headers {
        map.entry(name.clone()).or_default().push(value.clone());
    }
    map
}

fn find(app: &App, id: &str) -> Result<Arc<Mail>, StatusCode> {
    app.mailbox.find(id).ok_or(StatusCode::NOT_FOUND)
}

async fn message(State(app): State<App>, Path(id): Path<String>) -> Result<Json<Whole>, StatusCode> {
    let mail = find(&app, &id)?;
    Ok(Json(Whole {
        summary: mail.summary.clone(),
        text: mail.text.clone(),
        html: mail.html.clone(),
        headers: header_map(&mail),
    }))
}

async fn headers(
    State(app): State<App>,
    Path(id): Path<String>,
) -> Result<Json<BTreeMap<String, Vec<String>>>, StatusCode> {
    Ok(Json(header_map(&*find(&app, &id)?)))
}

async fn raw(State(app): State<App>, Path(id): Path<String>) -> Result<Response, StatusCode> {
    let mail = find(&app, &id)?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], mail.raw.clone()).into_response())
}

async fn faults_now(State(app): State<App>) -> Json<Settings> {
    Json(app.faults.get())
}

async fn set_faults(State(app): State<App>, Json(settings): Json<Settings>) -> Response {
    match app.faults.set(settings) {
        Ok(()) => Json(app.faults.get()).into_response(),
        Err(text) => (StatusCode::UNPROCESSABLE_ENTITY, text).into_response(),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn document(title: &str, body: &str) -> Html<String> {
    Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>{}</title>\
         <style>body{{font:15px sans-serif;margin:2em}}td{{padding:.2em 1em .2em 0}}pre{{white-space:pre-wrap}}iframe{{width:100%;height:40em;border:1px solid #ccc}}</style>\
         {body}</html>",
        escape(title)
    ))
}

async fn page(State(app): State<App>) -> Html<String> {
    let mut rows = String::new();
    for mail in app.mailbox.list(|_| true).iter().take(500) {
        let summary = &mail.summary;
        let to: Vec<&str> = summary.to.iter().map(|a| a.address.as_str()).collect();
        // Writing into a String cannot fail.
        let _: std::fmt::Result = write!(
            rows,
            "<tr><td>{}<td>{}<td><a href=\"/mail/{}\">{}</a>",
            escape(summary.created.get(..19).unwrap_or_default()),
            escape(&to.join(", ")),
            summary.id,
            escape(if summary.subject.is_empty() { "(no subject)" } else { &summary.subject }),
        );
    }
    document("Mails", &format!("<h1>Mails</h1><table>{rows}</table>"))
}

async fn mail_page(State(app): State<App>, Path(id): Path<String>) -> Result<Html<String>, StatusCode> {
    let mail = find(&app, &id)?;
    let frame = if mail.html.is_empty() {
        String::new()
    } else {
        format!(
            "<h2>HTML</h2><iframe sandbox=\"allow-popups allow-popups-to-escape-sandbox\" \
             src=\"/mail/{}/html\"></iframe>",
            mail.summary.id
        )
    };
    let to: Vec<&str> = mail.summary.to.iter().map(|a| a.address.as_str()).collect();
    let body = format!(
        "<p><a href=\"/\">All mails</a><h1>{}</h1><p>From {} to {}, {}{frame}<h2>Text</h2><pre>{}</pre>",
        escape(&mail.summary.subject),
        escape(&mail.summary.from.address),
        escape(&to.join(", ")),
        escape(&mail.summary.created),
        with_links(&mail.text),
    );
    Ok(document(&mail.summary.subject, &body))
}

async fn mail_html(State(app): State<App>, Path(id): Path<String>) -> Result<Response, StatusCode> {
    let mail = find(&app, &id)?;
    let policy = (
        header::CONTENT_SECURITY_POLICY,
        "sandbox allow-popups allow-popups-to-escape-sandbox; script-src 'none'",
    );
    Ok(([policy], Html(format!("<base target=_blank>{}", mail.html))).into_response())
}

/// Escaped text whose web addresses can be clicked.
fn with_links(text: &str) -> String {
    let is_link = |word: &str| word.starts_with("http://") || word.starts_with("https://");
    text.split_inclusive(char::is_whitespace)
        .map(|word| {
            let bare = word.trim_end();
            let space = word.get(bare.len()..).unwrap_or_default();
            let shown = escape(bare);
            if is_link(bare) {
                format!("<a href=\"{shown}\">{shown}</a>{space}")
            } else {
                format!("{shown}{space}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    async fn with_mails(subjects: &[&str]) -> Router {
        let mailbox = Arc::new(Mailbox::open(None, 100).unwrap());
        for subject in subjects {
            let raw = format!(
                "From: s@example.com\r\nTo: {subject}@example.com\r\nSubject: {subject}\r\n\r\nSee \
                 http://x.example/?token=1&a=<\r\n"
            );
            mailbox.put("s@example.com", &[format!("{subject}@example.com")], raw.into()).await.unwrap();
        }
        router(mailbox, Arc::default())
    }

    async fn fetch(router: &Router, request: Request<Body>) -> (StatusCode, String) {
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn fetch_json(router: &Router, path: &str) -> serde_json::Value {
        let (status, body) = fetch(router, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    #[tokio::test]
    async fn the_list_is_newest_first_and_bounded() {
        let router = with_mails(&["one", "two", "three"]).await;
        let list = fetch_json(&router, "/api/v1/messages?limit=2").await;
        assert_eq!((list["total"].as_u64(), list["messages"].as_array().unwrap().len()), (Some(3), 2));
        assert_eq!(list["messages"][0]["Subject"], "three");
        assert_eq!(list["messages"][0]["To"][0]["Address"], "three@example.com");
    }

    #[tokio::test]
    async fn one_mail_has_text_headers_and_ids() {
        let router = with_mails(&["one"]).await;
        let list = fetch_json(&router, "/api/v1/messages").await;
        let id = list["messages"][0]["ID"].as_str().unwrap();
        let mail = fetch_json(&router, &format!("/api/v1/message/{id}")).await;
        assert!(mail["Text"].as_str().unwrap().contains("token=1"));
        assert_eq!(
            (mail["HTML"].as_str(), mail["From"]["Address"].as_str()),
            (Some(""), Some("s@example.com"))
        );
        let headers = fetch_json(&router, &format!("/api/v1/message/{id}/headers")).await;
        assert_eq!(headers["Subject"][0], "one");
    }

    #[tokio::test]
    async fn a_search_finds_the_receiver() {
        let router = with_mails(&["one", "two"]).await;
        let list = fetch_json(&router, "/api/v1/search?query=to:%22two@example.com%22").await;
        assert_eq!(
            (list["messages_count"].as_u64(), list["messages"][0]["Subject"].as_str()),
            (Some(1), Some("two"))
        );
    }

    #[tokio::test]
    async fn clearing_forgets_all() {
        let router = with_mails(&["one"]).await;
        let (status, _) =
            fetch(&router, Request::delete("/api/v1/messages").body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200);
        assert_eq!(fetch_json(&router, "/api/v1/messages").await["total"], 0);
    }

    #[tokio::test]
    async fn faults_are_switched_over_http() {
        let router = with_mails(&[]).await;
        let put = |body: &'static str| {
            Request::put("/api/v1/chaos")
                .header("content-type", "application/json")
                .body(Body::from(body))
                .unwrap()
        };
        let (status, _) = fetch(&router, put(r#"{"Recipient":{"ErrorCode":550,"Probability":100}}"#)).await;
        assert_eq!(status, 200);
        assert_eq!(fetch_json(&router, "/api/v1/chaos").await["Recipient"]["ErrorCode"], 550);
        let (status, _) = fetch(&router, put(r#"{"Recipient":{"ErrorCode":250,"Probability":100}}"#)).await;
        assert_eq!(status, 422);
    }

    #[test]
    fn links_can_be_clicked_and_nothing_else_is_markup() {
        assert_eq!(
            with_links("<b> http://x/?a=1&b=2\n"),
            "&lt;b&gt; <a href=\"http://x/?a=1&amp;b=2\">http://x/?a=1&amp;b=2</a>\n"
        );
    }
}
