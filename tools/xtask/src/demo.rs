//! The main job, once, as a customer would do it: sign up, follow the link in the mail, log in, create an
//! instance, wait until it runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use devstack::http::{self, Response};
use devstack::process::wait_until;
use devstack::progress::Progress;
use devstack::secrets::write_private;
use devstack::stackfile::StackFile;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

const EMAIL: &str = "demo@example.com";
const PASSWORD: &str = "Correct-Horse-7";

/// The demonstration customer and instance.
#[derive(Clone, Serialize, Deserialize)]
pub struct Demo {
    /// E-mail of the customer.
    pub email: String,
    /// Password of the customer.
    pub password: String,
    /// The instance.
    pub instance: String,
    /// Its public address.
    pub url: String,
    /// Its last status.
    pub status: String,
}

fn file(folder: &Path) -> PathBuf {
    folder.join("demo.json")
}

/// What an earlier start of the stack in `folder` made.
pub fn earlier(folder: &Path) -> Option<Demo> {
    std::fs::read(file(folder)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

/// Does the main job, or looks at what an earlier start did.
pub fn run(stack: &StackFile, folder: &Path, progress: &Progress) -> Result<Demo> {
    let demo = if let Some(demo) = earlier(folder) {
        progress.stage("instance of before", || look(stack, demo))?
    } else {
        progress.stage("customer signs up", || sign_up(stack))?;
        let token = log_in(stack)?;
        let instance = progress.stage("instance is created", || create(stack, &token))?;
        progress.stage("instance runs", || wait_running(stack, &token, &instance))?
    };
    write_private(&file(folder), &serde_json::to_string_pretty(&demo)?)?;
    Ok(demo)
}

fn look(stack: &StackFile, demo: Demo) -> Result<Demo> {
    let token = log_in(stack)?;
    if demo.status == "running" {
        return wait_running(stack, &token, &demo.instance);
    }
    Ok(demo)
}

fn call(stack: &StackFile, path: &str, body: &Value) -> Result<Response> {
    http::post(&format!("{}{path}", stack.api)).json(body).send()
}

fn expect(answer: &Response, status: u16, what: &str) -> Result<Value> {
    if answer.status != status {
        bail!("{what}: the API answered {} {}", answer.status, answer.body);
    }
    answer.json()
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .with_context(|| format!("the answer has no {pointer}: {value}"))
}

fn sign_up(stack: &StackFile) -> Result<()> {
    let customer = json!({
        "email": EMAIL, "password": PASSWORD, "first_name": "Ada", "last_name": "Demo", "accept_terms": true,
    });
    expect(&call(stack, "/user/auth/register", &customer)?, 201, "register")?;
    let mut token = None;
    if !wait_until(Duration::from_secs(30), || {
        token = verification_token(stack);
        token.is_some()
    }) {
        bail!("no verification mail arrived within 30 s; look at {}", stack.mail);
    }
    expect(&call(stack, "/user/auth/verify-email", &json!({ "token": token }))?, 200, "verify the e-mail")?;
    Ok(())
}

fn verification_token(stack: &StackFile) -> Option<String> {
    let list = http::get(&format!("{}/api/v1/messages?limit=50", stack.mail)).send().ok()?.json().ok()?;
    let mails = list.get("messages")?.as_array()?;
    mails.iter().filter(|mail| is_to(mail, EMAIL)).find_map(|mail| {
        let id = mail.get("ID")?.as_str()?;
        let mail = http::get(&format!("{}/api/v1/message/{id}", stack.mail)).send().ok()?.json().ok()?;
        token_in(mail.get("Text")?.as_str()?)
    })
}

fn is_to(mail: &Value, address: &str) -> bool {
    let receivers = mail.get("To").and_then(Value::as_array);
    receivers
        .is_some_and(|all| all.iter().any(|to| to.get("Address").and_then(Value::as_str) == Some(address)))
}

/// The value of `token=` in a link.
fn token_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("token=")?;
    let token: String =
        rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "_-.".contains(*c)).collect();
    (token.len() >= 20).then_some(token)
}

fn log_in(stack: &StackFile) -> Result<String> {
    token(stack, EMAIL, PASSWORD)
}

/// Logs somebody in and returns the access token.
pub fn token(stack: &StackFile, email: &str, password: &str) -> Result<String> {
    let body = json!({ "email": email, "password": password });
    let answer = expect(&call(stack, "/user/auth/login", &body)?, 200, "log in")?;
    Ok(text(&answer, "/tokens/access_token")?.to_owned())
}

fn create(stack: &StackFile, token: &str) -> Result<String> {
    let body = json!({
        "name": "Demo", "odoo_version": "17", "admin_email": EMAIL, "demo_data": true,
        "cpu_limit": 1.0, "memory_limit": "2Gi", "storage_limit": "10Gi",
    });
    let url = format!("{}/instance/instances", stack.api);
    let answer = http::post(&url).bearer(token).json(&body).send()?;
    Ok(text(&expect(&answer, 201, "create the instance")?, "/id")?.to_owned())
}

fn wait_running(stack: &StackFile, token: &str, instance: &str) -> Result<Demo> {
    let url = format!("{}/instance/instances/{instance}", stack.api);
    let end = Instant::now() + Duration::from_mins(5);
    loop {
        let answer = expect(&http::get(&url).bearer(token).send()?, 200, "look at the instance")?;
        let status = text(&answer, "/status")?;
        // Somebody may have stopped it since, or its trial ended: that is how it shall be.
        let is_wanted = answer.get("desired_state").and_then(Value::as_str) == Some("running");
        if status == "running" || !is_wanted {
            return Ok(Demo {
                email: EMAIL.to_owned(),
                password: PASSWORD.to_owned(),
                instance: instance.to_owned(),
                url: public_url(stack, &answer)?,
                status: status.to_owned(),
            });
        }
        if status == "error" || Instant::now() >= end {
            bail!("the instance does not run: {answer}");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn public_url(stack: &StackFile, instance: &Value) -> Result<String> {
    if let Some(url) = instance.get("url").or_else(|| instance.get("external_url")).and_then(Value::as_str) {
        return Ok(url.to_owned());
    }
    let port = stack.ingress.rsplit_once(':').map_or("80", |(_, port)| port);
    Ok(format!("http://{}.{}:{port}", text(instance, "/subdomain")?, stack.base_domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_a_link() {
        let mail = "Open\nhttp://localhost:1/verify?token=abcdefghijklmnopqrst_-1.2\nor ignore";
        assert_eq!(token_in(mail).as_deref(), Some("abcdefghijklmnopqrst_-1.2"));
        assert_eq!(token_in("token=short"), None);
    }

    #[test]
    fn a_mail_to_somebody_else_is_not_ours() {
        let mail = json!({ "To": [{ "Address": "a@b.c" }] });
        assert!(is_to(&mail, "a@b.c") && !is_to(&mail, "x@b.c") && !is_to(&json!({}), "a@b.c"));
    }
}
