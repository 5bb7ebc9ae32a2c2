//! `settings`: the page `docs/SETTINGS.md`, made from what each program says of itself with `serve --help`.
//! The programs are the one place where a setting is written down.

use std::fmt::Write as _;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::Args;
use devstack::process;
use devstack::progress::Progress;
use devstack::services;
use devstack::stack::Extent;

use crate::workspace::{build_programs, root, target};

const PAGE: &str = "docs/SETTINGS.md";

/// Write the page that lists the settings of all services
#[derive(Debug, Args)]
pub struct Settings {
    /// Fail where the page is not as it would be made now, and change nothing
    #[arg(long)]
    check: bool,
}

impl Settings {
    /// Builds the programs and runs it.
    pub fn run(&self) -> Result<ExitCode> {
        build_programs(Extent::All, &Progress::new(std::io::stderr()))?;
        if self.check {
            return Ok(if is_fresh()? { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        fs::write(root().join(PAGE), page()?).with_context(|| format!("write {PAGE}"))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Whether the page is as the built programs would make it; says what to do where it is not.
pub fn is_fresh() -> Result<bool> {
    let fresh = fs::read_to_string(root().join(PAGE)).unwrap_or_default() == page()?;
    if !fresh {
        eprintln!("{PAGE} is not fresh; `cargo xtask settings` makes it");
    }
    Ok(fresh)
}

fn page() -> Result<String> {
    let mut text = String::from(
        "# Settings\n\nMade by `cargo xtask settings` from `<service> serve --help`; `cargo xtask test` keeps it fresh. \
         Every setting\nis an environment variable; secrets are given by nothing else.\n",
    );
    for service in &services::ALL {
        let program = target()?.join("debug").join(service.name);
        // Nothing of this machine's environment may be told as a default.
        let help = process::run(Command::new(&program).args(["serve", "--help"]).env_clear(), None)?;
        let settings = parse(&help);
        let _ = write!(text, "\n## {}\n", service.name);
        for Setting { variable, required, default, values, about } in settings {
            let need = if required { "Required. " } else { "" };
            let _ = write!(text, "\n### `{variable}`\n\n{need}{about}\n");
            if let Some(values) = values {
                let _ = write!(text, "\nValues: {values}.\n");
            }
            if let Some(default) = default {
                let _ = write!(text, "\nDefault: `{default}`\n");
            }
        }
    }
    Ok(text)
}

#[derive(Debug, PartialEq, Eq)]
struct Setting {
    variable: String,
    required: bool,
    default: Option<String>,
    values: Option<String>,
    about: String,
}

/// Reads the long help of clap: an option begins with its flag, its text is indented further.
fn parse(help: &str) -> Vec<Setting> {
    let usage = help.lines().find(|line| line.starts_with("Usage:")).unwrap_or_default();
    let mut settings = Vec::new();
    let mut option: Option<(String, Vec<&str>)> = None;
    for line in help.lines() {
        if line.starts_with("      --") || line.starts_with("  -") {
            settings.extend(option.take().and_then(|(flag, text)| setting(&flag, usage, &text)));
            option = Some((line.trim().to_owned(), Vec::new()));
        } else if let Some((_, text)) = &mut option {
            text.push(line.trim());
        }
    }
    settings.extend(option.take().and_then(|(flag, text)| setting(&flag, usage, &text)));
    settings
}

fn setting(flag: &str, usage: &str, text: &[&str]) -> Option<Setting> {
    let note = |name: &str| {
        let joined = text.join(" ");
        let (_, rest) = joined.split_once(&format!("[{name}: "))?;
        rest.split_once(']').map(|(value, _)| value.trim_end_matches('=').to_owned())
    };
    let variable = note("env")?;
    let lines = text.iter().take_while(|line| !line.starts_with('['));
    let about = lines.fold(String::new(), |mut about, line| {
        // Lines of a paragraph are joined; those of a list stay.
        let starts = line.is_empty() || line.starts_with("- ") || *line == "Possible values:";
        about.push_str(if starts { "\n" } else { " " });
        about.push_str(line);
        about
    });
    let about = about.replace("\n \n", "\n\n").trim().to_owned();
    Some(Setting {
        variable,
        // The usage names only what must be given.
        required: usage.contains(&format!(" {flag}")),
        default: note("default"),
        values: note("possible values"),
        about,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Serve until stopped

Usage: x serve [OPTIONS] --password <PASSWORD>

Options:
      --environment <ENVIRONMENT>
          Where this process runs; test modes
          refuse to start

          Possible values:
          - development: Anything goes
          - production:  Nothing goes
          
          [env: ENVIRONMENT=]
          [default: development]

      --password <PASSWORD>
          Of the database
          
          [env: X_PASSWORD]

      --debug <DEBUG>
          More in the log
          
          [env: DEBUG=]
          [possible values: true, false]

  -h, --help
          Print help
";

    #[test]
    fn the_help_of_a_program_is_read() {
        let settings = parse(HELP);
        assert_eq!(settings.len(), 3);
        assert_eq!(settings[0].variable, "ENVIRONMENT");
        assert_eq!(
            settings[0].about,
            "Where this process runs; test modes refuse to start\n\nPossible values:\n- development: Anything goes\n\
             - production:  Nothing goes"
        );
        assert_eq!(settings[0].default.as_deref(), Some("development"));
        assert!(settings[1].required && !settings[0].required);
        assert_eq!(settings[2].values.as_deref(), Some("true, false"));
    }
}
