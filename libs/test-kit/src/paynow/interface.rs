//! The interface for merchants, and the page where a customer pays by card.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Redirect, Response};
use axum::routing::{get, post};
use uuid::Uuid;

use super::books::{Books, Transaction};
use super::form::{Form, encode};
use super::{Fault, Paynow};

/// Fields of both kinds of a beginning; which of them must be there.
const COMMON: [(&str, bool); 10] = [
    ("id", true),
    ("reference", true),
    ("amount", true),
    ("additionalinfo", false),
    ("returnurl", true),
    ("resulturl", true),
    ("authemail", false),
    ("merchanttrace", false),
    ("status", true),
    ("hash", true),
];
const MOBILE: [(&str, bool); 2] = [("phone", true), ("method", true)];
const TRACE: [(&str, bool); 4] = [("id", true), ("merchanttrace", true), ("status", true), ("hash", true)];

pub(super) fn router(paynow: &Paynow) -> Router {
    Router::new()
        .route("/interface/initiatetransaction", post(web))
        .route("/interface/remotetransaction", post(mobile))
        .route("/interface/trace", post(trace))
        .route("/Interface/CheckPayment/", post(poll))
        .route("/Payment/ConfirmPayment/{number}", get(page).post(decide))
        .with_state(paynow.clone())
}

async fn web(State(paynow): State<Paynow>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&paynow, |books| begin(books, &headers, &body, false)).await
}

async fn mobile(State(paynow): State<Paynow>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&paynow, |books| begin(books, &headers, &body, true)).await
}

async fn trace(State(paynow): State<Paynow>, headers: HeaderMap, body: Bytes) -> Response {
    answer(&paynow, |books| {
        let form = read(books, &headers, &body, &[&TRACE])?;
        let wanted = form.get("merchanttrace").unwrap_or_default();
        let found = books.transactions.iter().find(|known| known.trace == wanted && !wanted.is_empty());
        Ok(match found.cloned() {
            Some(found) => books.answer(&books.status_fields(&found)),
            None => books.answer(&[("Status".into(), "NotFound".into())]),
        })
    })
    .await
}

async fn poll(
    State(paynow): State<Paynow>,
    Query(query): Query<Vec<(String, String)>>,
    body: Bytes,
) -> Response {
    answer(&paynow, |books| {
        if !body.is_empty() {
            return Err("a poll has an empty body".into());
        }
        let guid = match query.as_slice() {
            [(name, guid)] if name == "guid" => guid.parse::<Uuid>().map_err(|_| "Invalid guid")?,
            _ => return Err("Invalid guid".into()),
        };
        let found = books.transactions.iter().find(|known| known.guid == guid).cloned();
        let found = found.ok_or("Invalid guid")?;
        Ok(books.answer(&books.status_fields(&found)))
    })
    .await
}

/// Does the work and answers as the fault says. A refusal is an unsigned message with the status 200.
async fn answer(paynow: &Paynow, work: impl FnOnce(&mut Books) -> Result<String, String>) -> Response {
    let (fault, body) = {
        let mut books = paynow.lock();
        books.calls += 1;
        books.tick(Instant::now());
        let fault = books.fault;
        if fault == Fault::Down {
            return (StatusCode::SERVICE_UNAVAILABLE, "<html>down</html>").into_response();
        }
        let body = work(&mut books).unwrap_or_else(|why| {
            books.refused += 1;
            encode(&[("Status", "Error"), ("Error", &why)])
        });
        (fault, body)
    };
    match fault {
        Fault::FailAfter => (StatusCode::INTERNAL_SERVER_ERROR, "<html>Server Error</html>").into_response(),
        Fault::HangAfter => {
            tokio::time::sleep(Duration::from_mins(2)).await;
            StatusCode::GATEWAY_TIMEOUT.into_response()
        }
        _ => ([(CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response(),
    }
}

/// A form with the fields of the tables, all that must be there and no others, signed with the key.
fn read(books: &Books, headers: &HeaderMap, body: &[u8], tables: &[&[(&str, bool)]]) -> Result<Form, String> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next() != Some("application/x-www-form-urlencoded") {
        return Err("the content type must be application/x-www-form-urlencoded".into());
    }
    let form = Form::parse(std::str::from_utf8(body).map_err(|_| "no text")?)?;
    let known = || tables.iter().flat_map(|table| table.iter());
    if let Some((name, _)) = form.0.iter().find(|(name, _)| !known().any(|(known, _)| known == name)) {
        return Err(format!("Unknown field {name}"));
    }
    for (name, needed) in known() {
        if *needed && form.get(name).is_none_or(str::is_empty) {
            return Err(format!("Missing {name} field"));
        }
    }
    if form.get("id") != Some(&books.settings.id) {
        return Err("Invalid id".into());
    }
    if form.get("status") != Some("Message") {
        return Err("Invalid status field".into());
    }
    if !form.is_signed(&books.settings.key) {
        return Err("Invalid hash".into());
    }
    Ok(form)
}

fn begin(books: &mut Books, headers: &HeaderMap, body: &[u8], mobile: bool) -> Result<String, String> {
    let form = if mobile {
        read(books, headers, body, &[&COMMON, &MOBILE])?
    } else {
        read(books, headers, body, &[&COMMON])?
    };
    let field = |name: &str| form.get(name).unwrap_or_default().to_owned();
    check(books, &form, mobile)?;
    let (phone, method) = (field("phone"), field("method"));
    if phone == "0774444444" {
        return Err("Insufficient balance".into());
    }
    let quick = books.settings.prompt.min(Duration::from_secs(5));
    let slow = books.settings.prompt.min(Duration::from_secs(30));
    let answers = match phone.as_str() {
        "0771111111" => Some((Instant::now() + quick, "Paid")),
        "0772222222" => Some((Instant::now() + slow, "Paid")),
        "0773333333" => Some((Instant::now() + slow, "Cancelled")),
        _ => None,
    };
    let made = Transaction {
        number: 9_000 + u64::try_from(books.transactions.len()).unwrap_or(0),
        guid: Uuid::new_v4(),
        reference: field("reference"),
        amount: field("amount"),
        status: if mobile { "Sent" } else { "Created" }.into(),
        method,
        phone,
        trace: field("merchanttrace"),
        result_url: field("resulturl"),
        return_url: field("returnurl"),
        answers,
    };
    let mut fields = vec![("Status".to_owned(), "Ok".to_owned())];
    if mobile {
        fields
            .push(("Instructions".into(), "Dial *151*2# and enter your PIN to confirm the payment.".into()));
    } else {
        let page = format!("{}/Payment/ConfirmPayment/{}", books.host(), made.number);
        fields.push(("BrowserUrl".into(), page));
    }
    fields.push(("PaynowReference".into(), made.number.to_string()));
    fields.push(("PollUrl".into(), books.poll_url(&made)));
    books.transactions.push(made);
    Ok(books.answer(&fields))
}

/// Rules of single fields.
fn check(books: &Books, form: &Form, mobile: bool) -> Result<(), String> {
    let field = |name: &str| form.get(name).unwrap_or_default();
    let amount = field("amount");
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let good =
        amount.split_once('.').is_some_and(|(whole, part)| digits(whole) && digits(part) && part.len() == 2);
    if !good || amount.bytes().all(|byte| matches!(byte, b'0' | b'.')) {
        return Err("Invalid amount field".into());
    }
    for name in ["returnurl", "resulturl"] {
        let url = field(name);
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.contains(char::is_whitespace)) {
            return Err(format!("Invalid {name} field"));
        }
    }
    let trace = field("merchanttrace");
    if trace.len() > 32 || (!trace.is_empty() && books.transactions.iter().any(|known| known.trace == trace))
    {
        return Err("Invalid merchanttrace field".into());
    }
    if books.find(field("reference")).is_some() || field("reference").len() > 100 {
        return Err("Invalid reference field".into());
    }
    // Test mode: only the merchant may pay.
    if field("authemail") != books.settings.email && (mobile || !field("authemail").is_empty()) {
        return Err("Invalid authemail field".into());
    }
    if mobile {
        let phone = field("phone");
        if phone.len() != 10 || !phone.starts_with("07") || !digits(phone) {
            return Err("Invalid phone field".into());
        }
        if !matches!(field("method"), "ecocash" | "onemoney") {
            return Err("Invalid method field".into());
        }
    }
    Ok(())
}

async fn page(State(paynow): State<Paynow>, Path(number): Path<u64>) -> Response {
    let found = paynow.transactions().into_iter().find(|known| known.number == number);
    let Some(found) = found else { return StatusCode::NOT_FOUND.into_response() };
    // Values are the merchant's; nothing in them may become a tag.
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    Html(format!(
        "<!doctype html><html lang=\"en\"><title>Stand-in for Paynow</title><h1>{} for {}</h1><p>Status: {}. No money moves here.</p>\
         <form method=\"post\"><button name=\"do\" value=\"Paid\">Pay</button> <button name=\"do\" value=\"Cancelled\">Cancel</button></form></html>",
        safe(&found.amount),
        safe(&found.reference),
        safe(&found.status)
    ))
    .into_response()
}

async fn decide(State(paynow): State<Paynow>, Path(number): Path<u64>, body: String) -> Response {
    let found = paynow.transactions().into_iter().find(|known| known.number == number);
    let Some(found) = found else { return StatusCode::NOT_FOUND.into_response() };
    let word = match body.as_str() {
        "do=Paid" => "Paid",
        "do=Cancelled" => "Cancelled",
        _ => return StatusCode::BAD_REQUEST.into_response(),
    };
    if found.status != "Created" {
        return (StatusCode::CONFLICT, "the transaction is over").into_response();
    }
    paynow.decide(&found.reference, word, None);
    Redirect::to(&found.return_url).into_response()
}
