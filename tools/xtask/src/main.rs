//! One command for the local stack, tests, lints and benchmarks: `cargo xtask help` lists them. What a
//! command does stands in the module of its name; what the stack is made of stands in `devstack`.

mod attack;
mod bench;
mod build;
mod compose;
mod databases;
mod demo;
mod env;
mod former;
mod given;
mod install;
mod lines;
mod lint;
mod logs;
mod queries;
mod requirements;
mod scratch;
mod settings;
mod signals;
mod sqlx;
mod table;
mod test;
mod third_party;
mod tools;
mod up;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the SaaSOdoo workspace
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    /// Name of the stack, which is also its folder in `target`; another name is another stack beside the
    /// first
    #[arg(long, global = true, default_value = "dev", value_parser = workspace::stack_name)]
    stack: String,
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Start the local stack, run the main job once, and tell where everything is
    Up(up::Up),
    /// Stop the local stack
    Down(up::Down),
    /// Show the parts of the running stack
    Status,
    /// Print what a shell needs to talk to the running stack: eval "$(cargo xtask env)"
    Env,
    /// Show the log of one part
    Logs(logs::Logs),
    /// Run all tests against servers of their own
    Test(test::Test),
    /// Replay attacks against the running stack
    Attack(attack::Attack),
    /// Check formatting, lints, dependencies, contracts and SQL data
    Lint(lint::Lint),
    /// Write the index that says which tests prove which requirement
    Requirements(requirements::Requirements),
    /// Write the page that lists the settings of all services
    Settings(settings::Settings),
    /// Measure
    Bench(bench::Bench),
    /// SQL data that builds use where no database is
    Sqlx(sqlx::Sqlx),
}

fn main() -> ExitCode {
    // Before any thread: every thread inherits which signals are blocked.
    signals::block();
    let Cli { stack, command } = Cli::parse();
    let outcome = match command {
        Task::Up(task) => task.run(&stack),
        Task::Down(task) => task.run(&stack),
        Task::Status => up::status(&stack),
        Task::Env => env::run(&stack),
        Task::Logs(task) => task.run(&stack),
        Task::Test(task) => task.run(),
        Task::Attack(task) => task.run(&stack),
        Task::Lint(task) => Ok(task.run()),
        Task::Requirements(task) => task.run(),
        Task::Settings(task) => task.run(),
        Task::Bench(task) => task.run(),
        Task::Sqlx(task) => task.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
