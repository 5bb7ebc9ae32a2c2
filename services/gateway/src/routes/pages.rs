//! Plain pages for the links in mails: verify an address, set a new password, reveal the first Odoo password.
//!
//! Each page is a constant with one script; its policy allows exactly that script by its hash and nothing from outside. Opening a link changes
//! nothing: the token is sent when the person presses the button.

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine as _;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::access::Limit;
use crate::api::Api;
use crate::openapi::operation_id;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:17px/1.5 system-ui,sans-serif;max-width:28rem;margin:0 auto;padding:2rem 1rem}\
label{display:block;margin:1rem 0 .25rem}\
input,button{font:inherit;box-sizing:border-box;width:100%;padding:.6rem;border:1px solid #888;border-radius:.4rem}\
button{margin-top:1.25rem;background:#0b5cad;color:#fff;border-color:#0b5cad;cursor:pointer}\
button:disabled{opacity:.6}\
#said{margin-top:1.25rem;white-space:pre-line}";

/// What the scripts share: the query, a POST, the place of the outcome. The token leaves the address bar at once.
const SHARED: &str = r#"
const query = new URLSearchParams(location.search);
const form = document.querySelector("form"), said = document.getElementById("said"), button = form.querySelector("button");
const say = (text) => { said.textContent = text; said.focus(); };
const post = async (path, body, token) => {
  const headers = {"Content-Type": "application/json"};
  if (token) headers["Authorization"] = "Bearer " + token;
  const answer = await fetch(path, {method: "POST", headers, body: JSON.stringify(body), credentials: "omit"});
  const value = await answer.json().catch(() => ({}));
  if (answer.ok) return value;
  const fields = (value.errors || []).map((error) => error.field + " " + error.message);
  throw new Error(fields.length ? fields.join("\n") : value.detail || "Something went wrong. Please try again.");
};
const run = (work) => form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  say("One moment …");
  try { say(await work()); form.hidden = true; } catch (error) { say(error.message); button.disabled = false; }
});
const value = (name) => form.elements[name].value;
"#;

const VERIFY: &str = r#"
const token = query.get("token");
history.replaceState(null, "", location.pathname);
if (!token) { form.hidden = true; say("This link is not complete. Please open the link of the mail again."); }
run(async () => { await post("/user/auth/verify-email", {token}); return "Your address is verified. You can sign in now."; });
"#;

const RESET: &str = r#"
const token = query.get("token");
history.replaceState(null, "", location.pathname);
if (!token) { form.hidden = true; say("This link is not complete. Please open the link of the mail again."); }
run(async () => {
  await post("/user/auth/password-reset-complete", {token, new_password: value("new_password"), confirm_password: value("confirm_password")});
  return "Your password is changed. You can sign in now.";
});
"#;

const REVEAL: &str = r#"
const instance = query.get("instance");
if (!/^[0-9a-f-]{36}$/i.test(instance || "")) { form.hidden = true; say("This link is not complete. Please open the link of the mail again."); }
run(async () => {
  const login = await post("/user/auth/login", {email: value("email"), password: value("password")});
  const token = login.tokens.access_token;
  try {
    const shown = await post("/instance/instances/" + instance + "/credentials/reveal", {}, token);
    return "Log-in: " + shown.admin_email + "\nPassword: " + shown.admin_password + "\n\nThis is shown once. Please keep it in a safe place.";
  } finally { post("/user/auth/logout", {}, token).catch(() => {}); }
});
"#;

struct Page {
    path: &'static str,
    title: &'static str,
    intro: &'static str,
    fields: &'static str,
    button: &'static str,
    script: &'static str,
    /// What stands in the link's query.
    parameter: &'static str,
}

const PAGES: [Page; 3] = [
    Page {
        path: "/verify-email",
        title: "Verify your address",
        intro: "Press the button to verify the address that this mail was sent to.",
        fields: "",
        button: "Verify my address",
        script: VERIFY,
        parameter: "token",
    },
    Page {
        path: "/reset-password",
        title: "Set a new password",
        intro: "8 characters or more, with upper and lower case, a digit and a symbol.",
        fields: "<label for=\"new_password\">New password</label>\
            <input id=\"new_password\" name=\"new_password\" type=\"password\" autocomplete=\"new-password\" minlength=\"8\" maxlength=\"128\" required>\
            <label for=\"confirm_password\">The same again</label>\
            <input id=\"confirm_password\" name=\"confirm_password\" type=\"password\" autocomplete=\"new-password\" minlength=\"8\" maxlength=\"128\" required>",
        button: "Set the password",
        script: RESET,
        parameter: "token",
    },
    Page {
        path: "/reveal",
        title: "First password of your Odoo",
        intro: "Sign in to see the log-in of your instance's administrator. It is shown once.",
        fields: "<label for=\"email\">E-mail</label>\
            <input id=\"email\" name=\"email\" type=\"email\" autocomplete=\"username\" required>\
            <label for=\"password\">Password</label>\
            <input id=\"password\" name=\"password\" type=\"password\" autocomplete=\"current-password\" required>",
        button: "Show the log-in",
        script: REVEAL,
        parameter: "instance",
    },
];

/// `sha256-…` of an inline script or style, as a policy names it.
pub fn hash_of(inline: &str) -> String {
    format!("sha256-{}", base64::engine::general_purpose::STANDARD.encode(Sha256::digest(inline.as_bytes())))
}

/// Adds the routes.
pub fn add(mut api: Api) -> Api {
    for page in &PAGES {
        let script = format!("{SHARED}{}", page.script);
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash_of(&script),
            hash_of(STYLE)
        );
        let html = page.html(&script);
        let handler = get(move || async move { show(&html, &policy) });
        let operation = json!({
            "summary": page.title,
            "description": "A page for people who follow the link of a mail. Opening it changes nothing.",
            "operationId": operation_id("get", page.path),
            "parameters": [{"name": page.parameter, "in": "query", "required": true, "schema": {"type": "string"}}],
            "responses": {"200": {"description": "the page", "content": {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>…"}}}},
        });
        api = api.page(Limit::Usual, page.path, &operation, &handler);
    }
    api
}

impl Page {
    fn html(&self, script: &str) -> String {
        let Self { title, intro, fields, button, .. } = self;
        format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <meta name=\"robots\" content=\"noindex\"><title>{title}</title><style>{STYLE}</style></head>\
             <body><main><h1>{title}</h1><noscript><p>This page needs JavaScript.</p></noscript>\
             <form><p>{intro}</p>{fields}<button type=\"submit\">{button}</button></form>\
             <p id=\"said\" role=\"status\" aria-live=\"polite\" tabindex=\"-1\"></p></main><script>{script}</script></body></html>"
        )
    }
}

fn show(html: &str, policy: &str) -> Response {
    let mut response = html.to_owned().into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}
