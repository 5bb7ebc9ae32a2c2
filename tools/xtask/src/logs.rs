//! `logs`: the log of one part of the stack.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{signals, workspace};

/// Show the log of one part
#[derive(Debug, Args)]
pub struct Logs {
    /// Service or server, as `status` names it
    name: String,
    /// Go on while the file grows
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    /// Prints the file, and follows it if wanted.
    pub fn run(self, stack: &str) -> Result<ExitCode> {
        signals::unblock();
        let layout = workspace::named_layout(stack)?;
        let path = layout
            .log_of(&self.name)
            .with_context(|| format!("{} has no log in {}", self.name, layout.logs().display()))?;
        let mut file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        loop {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            std::io::stdout().lock().write_all(&bytes)?;
            if !self.follow {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}
