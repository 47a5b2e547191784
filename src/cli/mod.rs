//! The command line: thin over the same calls as HTTP. Results go to stdout, everything else to stderr.

mod estimate;
mod estimates;
mod ledger;
mod output;
mod policy;
mod prices;
mod projections;
mod refresh;
mod serve;
mod token;

use std::process::ExitCode;

use chrono::{DateTime, Datelike as _, SubsecRound as _, Utc};
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::app::App;
use crate::config::{Config, LogFormat, refuse_unknown_variables};
use crate::domain::estimate::YEARS;
use crate::sources::live::{self, Target};
use crate::telemetry;

/// Exit codes, beside those of clap (2: wrong usage).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// Everything was done.
    Done,
    /// A list waits in quarantine for an administrator.
    Quarantined,
    /// Something failed.
    Failed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Quarantined => 3,
        })
    }
}

/// Exit code of wrong usage.
const USAGE: u8 = 2;

/// An event-sourced ledger of cloud prices: estimates, price history and proofs
#[derive(Debug, Parser)]
#[command(name = "mercuriale", version, args_conflicts_with_subcommands = false)]
struct Arguments {
    #[command(flatten)]
    config: Config,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP (also without a command)
    Serve,
    /// Fetch price lists from the configured sources, or read them from files, and record them
    Refresh(refresh::Refresh),
    /// List refreshes, show one, or release one from quarantine
    #[command(subcommand)]
    Refreshes(refresh::Refreshes),
    /// Estimate the cost of a request in a JSON file
    Estimate(estimate::Estimate),
    /// List saved estimates, show, compare or export their versions
    Estimates(estimates::Estimates),
    /// Search prices, show one, its history or its observations
    #[command(subcommand)]
    Prices(prices::Prices),
    /// Show or set the discount rates
    #[command(subcommand)]
    Policy(policy::Policy),
    /// List, rebuild or check read models
    #[command(subcommand)]
    Projections(projections::Projections),
    /// Follow or verify the log
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Issue tokens
    #[command(subcommand)]
    Token(token::Token),
    /// Bring the database's schema and read models up to date
    Migrate,
    /// Check the configuration and the connection to the database
    CheckConfig,
}

/// Runs the program.
pub fn main() -> ExitCode {
    let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let command = Arguments::command();
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| Some(argument.get_env()?.to_str()?.to_owned()))
        .collect();
    if let Err(error) = refuse_unknown_variables(variables, known.iter().map(String::as_str)) {
        output::error(&error);
        return ExitCode::from(USAGE);
    }
    let Arguments { config, command } = Arguments::parse();
    let command = command.unwrap_or(Command::Serve);
    let targets = match config.sources.as_deref().map_or_else(|| Ok(Vec::new()), live::load) {
        Ok(targets) => targets,
        Err(error) => {
            output::error(&error);
            return ExitCode::from(USAGE);
        }
    };
    if let Command::Refresh(refresh) = &command
        && let Err(error) = refresh.check(&targets)
    {
        output::error(&error);
        return ExitCode::from(USAGE);
    }
    // A statement over a whole list takes its seconds: outside of a service that is no warning.
    let default_log =
        if matches!(command, Command::Serve) { "warn,mercuriale=info" } else { "warn,sqlx::query=error" };
    let log = config.log.as_deref().unwrap_or(default_log);
    if let Err(error) = telemetry::init(log, config.log_format == LogFormat::Json) {
        output::error(&error);
        return ExitCode::from(USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::error(&error);
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(async {
        match run(&config, targets, command).await {
            Ok(exit) => exit,
            Err(error) => {
                output::failure(&error);
                Exit::Failed
            }
        }
    });
    // A parser's thread may still be reading a list that nobody waits for.
    runtime.shutdown_background();
    exit.into()
}

/// A time on the command line, as requests take it: whole microseconds of the years that estimates may name.
fn time_of(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .ok()
        .filter(|time| YEARS.contains(&time.year()) && time.trunc_subsecs(6) == *time)
        .ok_or_else(|| {
            format!(
                "write RFC 3339 with at most microseconds, such as 2026-03-03T00:00:00Z, from {} to {}",
                YEARS.start(),
                YEARS.end()
            )
        })
}

async fn run(config: &Config, targets: Vec<Target>, command: Command) -> anyhow::Result<Exit> {
    // Registered before anything is started, so that an early Ctrl-C also ends in order.
    let stop = serve::stop_signal()?;
    let command = match command {
        Command::Token(token) => return token.run(config).await,
        command => command,
    };
    let app = App::open(config).await?;
    let outcome = match command {
        // Serving ends by the signal itself, after it has finished what it accepted.
        Command::Serve => serve::serve(config, &app, targets, stop).await,
        command => tokio::select! {
            outcome = dispatch(&app, targets, command) => outcome,
            () = stop => Err(anyhow::anyhow!("interrupted")),
        },
    };
    app.close().await?;
    outcome
}

async fn dispatch(app: &App, targets: Vec<Target>, command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Serve | Command::Token(_) => unreachable!("done by the caller"),
        Command::Refresh(refresh) => refresh.run(app, targets).await,
        Command::Refreshes(refreshes) => refreshes.run(app).await,
        Command::Estimate(estimate) => estimate.run(app).await,
        Command::Estimates(estimates) => estimates.run(app).await,
        Command::Prices(prices) => prices.run(app).await,
        Command::Policy(policy) => policy.run(app).await,
        Command::Projections(projections) => projections.run(app).await,
        Command::Ledger(ledger) => ledger.run(app).await,
        Command::Migrate => {
            app.engine.catch_up("price_search", i64::MAX).await?;
            output::line("the database is up to date")
        }
        Command::CheckConfig => {
            let position = crate::ledger::head(&app.pool).await?;
            output::line(&format!("the configuration is right; the ledger is at position {position}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_requests_take_it() {
        assert_eq!(
            time_of("2026-03-03T01:00:00+01:00").map(|time| time.to_rfc3339()),
            Ok("2026-03-03T00:00:00+00:00".to_owned())
        );
        for text in ["tomorrow", "2026-03-03", "1850-01-01T00:00:00Z", "2026-03-03T00:00:00.0000001Z"] {
            let error = time_of(text).expect_err(text);
            assert!(error.contains("such as 2026-03-03T00:00:00Z"), "{error}");
        }
    }

    #[test]
    fn commands_are_well_formed() {
        Arguments::command().debug_assert();
    }
}
