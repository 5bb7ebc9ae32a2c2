//! A Kill Bill of our own: the published WAR under jetty-runner, on loopback. Both come from Maven once and
//! are kept in the per-user cache.
//!
//! Its data is in H2, in memory: it is gone when it stops. (A file was tried; the server empties it at its
//! start.)
//!
//! Its settings are for development: test mode (its clock can be moved) and one round of password hashing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::http;
use crate::process::{self, Spec, StopSignal};
use crate::secrets::write_private;

/// User (`KILLBILL_USERNAME`).
pub const USER: &str = "admin";
/// Longest start: it unpacks itself and builds its tables.
pub const DEADLINE: Duration = Duration::from_mins(3);

/// The newest WAR that Maven delivers.
const WAR: &str = "org.kill-bill.billing:killbill-profiles-killbill:0.22.26:war";
const WAR_FILE: &str = "killbill-profiles-killbill-0.22.26.war";
const RUNNER: &str = "org.eclipse.jetty:jetty-runner:10.0.26";
const RUNNER_FILE: &str = "jetty-runner-10.0.26.jar";

/// Packages that it reaches into. Without the protocol handlers it starts, says that it is healthy, and fills
/// the disk with one error.
const OPENED: [&str; 9] = [
    "java.lang",
    "java.net",
    "java.security",
    "java.util",
    "sun.net.www.protocol.jar",
    "sun.net.www.protocol.file",
    "sun.net.www.protocol.http",
    "sun.net.www.protocol.https",
    "sun.net.www.protocol.ftp",
];

/// The two files that it is made of.
#[derive(Debug, Clone)]
pub struct Files {
    war: PathBuf,
    runner: PathBuf,
}

/// Fetches what is missing into the cache.
pub fn ensure(cache: &Path) -> Result<Files> {
    let folder = cache.join("killbill");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let files = Files { war: folder.join(WAR_FILE), runner: folder.join(RUNNER_FILE) };
    for (artifact, file) in [(RUNNER, &files.runner), (WAR, &files.war)] {
        if file.exists() {
            continue;
        }
        // Copied aside first: half a file must not look like one.
        let aside = folder.join(format!("part-{}", std::process::id()));
        let mut maven = Command::new("mvn");
        maven.args(["--batch-mode", "--quiet", "dependency:copy"]);
        maven.arg(format!("-Dartifact={artifact}")).arg(format!("-DoutputDirectory={}", aside.display()));
        process::run_within(process::DOWNLOAD, &mut maven, None)
            .context("fetch Kill Bill with Maven (package `maven`, and a Java 17)")?;
        let name = file.file_name().context("no name")?;
        fs::rename(aside.join(name), file).with_context(|| format!("keep {}", file.display()))?;
        drop(fs::remove_dir_all(&aside));
    }
    Ok(files)
}

/// Writes settings into `dir` and gives what starts the server.
pub fn spec(files: &Files, dir: &Path, logs: &Path, port: u16, password: &str) -> Result<Spec> {
    let home = dir.join("killbill");
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let users = home.join("shiro.ini");
    write_private(&users, &format!("[users]\n{USER} = {password}, root\n[roles]\nroot = *:*\n"))?;
    let mut text = String::new();
    for prefix in ["org.killbill.dao", "org.killbill.billing.osgi.dao"] {
        for (name, value) in
            [("url", "jdbc:h2:mem:killbill;DB_CLOSE_DELAY=-1"), ("user", "killbill"), ("password", password)]
        {
            text.extend([prefix, ".", name, "=", value, "\n"]);
        }
    }
    text.extend(["org.killbill.security.shiroResourcePath=file:", &users.display().to_string(), "\n"]);
    text.push_str(SETTINGS);
    let settings = home.join("killbill.properties");
    write_private(&settings, &text)?;
    let mut spec = Spec::new("killbill", "java", logs).args(["-Xms128m", "-Xmx700m", "-Duser.timezone=GMT"]);
    for package in OPENED {
        spec = spec.arg("--add-opens").arg(format!("java.base/{package}=ALL-UNNAMED"));
    }
    let mut spec = spec
        .arg("-Dcom.sun.xml.bind.v2.bytecode.ClassTailor.noOptimize=true")
        .arg(format!("-Dorg.killbill.server.properties=file://{}", settings.display()))
        .arg(format!("-Djava.io.tmpdir={}", home.display()))
        .arg("-jar")
        .arg(&files.runner)
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .arg(&files.war)
        .stop_with(StopSignal::TermGroup, Duration::from_secs(20));
    spec.dir = Some(home);
    Ok(spec)
}

/// Short pauses of its queues, so that hooks come at once; a clock that can be moved by years.
const SETTINGS: &str = "\
org.killbill.server.multitenant=true
org.killbill.server.test.mode=true
org.killbill.osgi.bundle.install.dir=no-bundles
org.killbill.osgi.root.dir=osgi-cache
org.killbill.tenant.broadcast.rate=1s
org.killbill.security.shiroNbHashIterations=1
org.killbill.notificationq.main.sleep=100
org.killbill.notificationq.main.claimed=1
org.killbill.persistent.bus.main.sleep=100
org.killbill.persistent.bus.external.sleep=100
org.killbill.billing.server.notifications.retries=1m,2m
org.killbill.invoice.sanitySafetyBoundEnabled=false
org.killbill.invoice.maxDailyNumberOfItemsSafetyBound=-1
org.killbill.manualPayTemplate.name=org/killbill/billing/util/invoice/templates/HtmlInvoiceTemplate.mustache
";

/// Whether it says that it is healthy. That alone proves little; billing-service asks it as its tenant.
pub fn answers(url: &str) -> bool {
    http::status(&format!("{url}/1.0/healthcheck")) == Some(200)
}

/// Refuses a Java that it does not run on.
pub fn check_java() -> Result<()> {
    let version = process::run(Command::new("java").arg("--version"), None)
        .context("Kill Bill needs a Java 17 (package `openjdk-17-jre-headless`)")?;
    if version.is_empty() {
        bail!("`java --version` says nothing");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference: without these lines it looks healthy and does not work.
    #[test]
    fn the_password_stands_in_files_alone_and_the_handlers_are_opened() {
        let folder = tempfile::tempdir().unwrap();
        let files = Files { war: "k.war".into(), runner: "r.jar".into() };
        let spec = spec(&files, folder.path(), folder.path(), 1, "hush").unwrap();
        let args: Vec<_> = spec.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        assert!(!args.iter().any(|arg| arg.contains("hush")), "{args:?}");
        assert_eq!(args.iter().filter(|arg| arg.contains("sun.net.www.protocol")).count(), 5);
        assert!(args.windows(2).any(|pair| pair == ["--host", "127.0.0.1"]));
        let settings = fs::read_to_string(folder.path().join("killbill/killbill.properties")).unwrap();
        assert!(settings.contains("jdbc:h2:mem:") && !settings.contains("MODE=LEGACY"), "{settings}");
    }
}
