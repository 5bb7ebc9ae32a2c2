//! `env`: what a shell needs to talk to the running stack, as lines that it can evaluate. RUNBOOK uses these
//! names.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use devstack::services;
use devstack::stackfile::StackFile;

use crate::{demo, signals, up, workspace};

/// Prints one `export` for each name.
pub fn run(stack: &str) -> Result<ExitCode> {
    signals::unblock();
    let file = up::read_file(&workspace::named_layout(stack)?)?;
    let mut out = std::io::stdout().lock();
    for (name, value) in names(&file)? {
        writeln!(out, "export {name}={value}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn names(stack: &StackFile) -> Result<Vec<(String, String)>> {
    let mut all = Vec::new();
    let mut plain = |name: &str, value: &str| all.push((name.to_owned(), quoted(value)));
    if !stack.api.is_empty() {
        plain("API", &stack.api);
        // As the stack is now: a log-in of its own, which ends like any other.
        plain("ADMIN_TOKEN", &demo::token(stack, &stack.admin.email, &stack.admin.password)?);
    }
    plain("MAIL_URL", &stack.mail);
    plain("CONTROL", &stack.control);
    plain(
        "SAASODOO_STACK",
        &format!("{}/stack.json", stack.logs.parent().context("the logs lie nowhere")?.display()),
    );
    let (server, _) = stack.database_url.rsplit_once('/').context("the database's URL has no database")?;
    plain("PSQL", &format!("{server}/postgres"));
    for service in &services::ALL {
        if let Some(database) = service.database {
            let short = service.name.trim_end_matches("-service").to_uppercase();
            // Two services share one database, and one of them gives it its name here.
            if !short.contains('-') {
                plain(&format!("PSQL_{short}"), &format!("{server}/{}", database.name));
            }
        }
    }
    if !stack.kubeconfig.as_os_str().is_empty() {
        plain("KUBECONFIG", &stack.kubeconfig.display().to_string());
    }
    if let Some(folder) = stack.kubectl.parent().filter(|folder| folder.is_absolute()) {
        all.push(("PATH".to_owned(), format!("{}:\"$PATH\"", quoted(&folder.display().to_string()))));
    }
    Ok(all)
}

/// A text as the shell reads it back, whatever it contains.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        for text in ["plain", "it's", "$(x) `y` \"z\" \\", ""] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(text))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), text);
        }
    }
}
