//! The short table at the end of `up` and what `status` prints.

use std::path::Path;

use devstack::progress::{Progress, seconds};
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

/// Tells how long each stage took.
pub fn stages(progress: &Progress) {
    let stages: Vec<String> =
        progress.stages().into_iter().map(|(name, time)| format!("{name} {}", seconds(time))).collect();
    progress.line(&format!("  stages         {}", stages.join(", ")));
}
