//! The short table and the next steps at the end of `up`; `status` prints the table, too.

use std::path::Path;

use devstack::progress::Progress;
use devstack::stackfile::StackFile;

use crate::demo::Demo;

/// Tells where everything is.
pub fn print(progress: &Progress, stack: &StackFile, file: &Path, demo: Option<&Demo>) {
    let row = |name: &str, value: &str| progress.line(&format!("  {name:<14} {value}"));
    progress.line("");
    if !stack.api.is_empty() {
        row("API", &stack.api);
        row("API documents", &format!("{}/instance/docs", stack.api));
    }
    if let Some(demo) = demo {
        row("instance", &format!("{} ({})", demo.url, demo.status));
    }
    row("mails", &stack.mail);
    if !stack.kubeconfig.as_os_str().is_empty() {
        row(
            "Kubernetes",
            &format!("{} --kubeconfig {}", stack.kubectl.display(), stack.kubeconfig.display()),
        );
    }
    if !stack.api.is_empty() {
        row("administrator", &format!("{}  {}", stack.admin.email, stack.admin.password));
    }
    if let Some(demo) = demo {
        row("customer", &format!("{}  {}", demo.email, demo.password));
    }
    if !stack.paynow.is_empty() {
        row("Paynow", &format!("a stand-in, its switch is {}/transactions", stack.paynow));
    }
    row("control", &stack.control);
    row("logs", &stack.logs.display().to_string());
    row("all of it", &file.display().to_string());
}

/// What a person does first with a running stack.
pub fn next_steps(progress: &Progress, stack: &StackFile) {
    if stack.api.is_empty() {
        return;
    }
    progress.line("\nNext steps:");
    let docs = format!("open {}/instance/docs", stack.api);
    for (command, what) in [
        (docs.as_str(), "the API, with every route and body"),
        ("eval \"$(cargo xtask env)\"", "API, ADMIN_TOKEN, KUBECONFIG, kubectl and psql for this shell"),
        ("kubectl get deploy,pods -n odoo-instances", "the instances on Kubernetes"),
        ("cargo xtask status", "what runs, and where"),
        ("cargo xtask logs gateway --follow", "what a service says"),
        ("cargo xtask down", "stops all of it; with --purge it also deletes the data"),
    ] {
        progress.line(&format!("  {command:<46} {what}"));
    }
}
