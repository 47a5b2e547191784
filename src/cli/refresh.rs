//! `mercuriale refresh` and `mercuriale refreshes`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use uuid::Uuid;

use super::{Exit, output};
use crate::app::App;
use crate::sources::live::{Limits, Live, Target};
use crate::sources::refresh::{RefreshError, Report, STATES, refresh_get, refreshes, release};
use crate::sources::{Format, ListHeader, ListSink, Price, Product, SinkError, plan, read_list};

/// Refreshes that are listed at most.
const MAX_LISTED: i64 = 500;

#[derive(Debug, Args)]
pub(super) struct Refresh {
    /// Configured source to fetch; without this and --format, all of them
    #[arg(long, value_name = "NAME", conflicts_with = "format")]
    source: Option<String>,
    /// Format of the files
    #[arg(long, value_enum, requires = "files")]
    format: Option<Format>,
    /// Lists to read, in order; a folder stands for its files, and the numbered pages of an Azure answer are one list
    #[arg(requires = "format")]
    files: Vec<PathBuf>,
    /// When the source showed these prices, where the list does not say or is wrong (RFC 3339)
    #[arg(long, requires = "format", value_name = "TIME", value_parser = super::time_of)]
    observed_at: Option<DateTime<Utc>>,
    /// What the list covers, where it does not say
    #[arg(long, requires = "format", value_parser = NonEmptyStringValueParser::new())]
    scope: Option<String>,
    /// The list is not whole: what it lacks is not missing
    #[arg(long, requires = "format")]
    partial: bool,
    /// One JSON object a list
    #[arg(long)]
    json: bool,
}

impl Refresh {
    /// Whether there is something to refresh.
    pub(super) fn check(&self, targets: &[Target]) -> Result<(), String> {
        match &self.source {
            None if self.format.is_some() || !targets.is_empty() => Ok(()),
            _ if targets.is_empty() => Err(
                "no sources are configured: set MERCURIALE_SOURCES to a file that names some, or read files with \
                 --format"
                    .to_owned(),
            ),
            Some(name) if !targets.iter().any(|target| *target.source == **name) => {
                let mut names: Vec<&str> = targets.iter().map(|target| &*target.source).collect();
                names.dedup();
                Err(format!("there is no source {name}; there are {}", names.join(", ")))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn run(self, app: &App, targets: Vec<Target>) -> anyhow::Result<Exit> {
        let mut outcomes = Outcomes { json: self.json, exit: Exit::Done, reports: Vec::new() };
        match self.format {
            Some(format) => self.read_files(app, format, &mut outcomes).await?,
            None => self.fetch(app, targets, &mut outcomes).await?,
        }
        if !outcomes.reports.is_empty() {
            table(&outcomes.reports)?;
        }
        app.engine.catch_up("price_search", i64::MAX).await?;
        Ok(outcomes.exit)
    }

    async fn read_files(&self, app: &App, format: Format, outcomes: &mut Outcomes) -> anyhow::Result<()> {
        let inputs = plan(format, &self.files, self.scope.as_deref(), self.observed_at, self.partial)?;
        let source = source_of(format);
        for input in inputs {
            let name = input.files.first().map(|file| file.display().to_string()).unwrap_or_default();
            let bar = progress(name, "{spinner} {msg} {human_pos} prices, {elapsed}");
            let files = input.files.iter().map(|file| file.display().to_string()).collect();
            let counted = bar.clone();
            let outcome = app
                .refresher
                .refresh(source, files, move |sink| read_list(&input, &mut Counted { sink, bar: counted }))
                .await;
            bar.finish_and_clear();
            outcomes.add(outcome)?;
        }
        Ok(())
    }

    async fn fetch(&self, app: &App, targets: Vec<Target>, outcomes: &mut Outcomes) -> anyhow::Result<()> {
        let live = Live::new(app.refresher.clone(), Limits::default())?;
        let wanted = |target: &Target| self.source.as_ref().is_none_or(|name| *target.source == **name);
        for target in targets.into_iter().filter(wanted) {
            let bar = progress(format!("{} {}", target.source, target.scope), "{spinner} {msg} {elapsed}");
            bar.enable_steady_tick(Duration::from_millis(200));
            let outcome = live.refresh(&target).await;
            bar.finish_and_clear();
            outcomes.add(outcome)?;
        }
        Ok(())
    }
}

/// What became of the lists so far.
struct Outcomes {
    json: bool,
    exit: Exit,
    /// To be shown as a table at the end.
    reports: Vec<Report>,
}

impl Outcomes {
    fn add(&mut self, outcome: Result<Report, RefreshError>) -> anyhow::Result<()> {
        match outcome {
            Ok(report) => {
                if report.quarantined {
                    self.exit = self.exit.max(Exit::Quarantined);
                    output::error(&quarantine_notice(&report));
                }
                if self.json {
                    output::json(&report)?;
                } else {
                    self.reports.push(report);
                }
            }
            Err(error) => {
                self.exit = Exit::Failed;
                output::error(&error);
            }
        }
        Ok(())
    }
}

/// Source of lists read from files: the name of their format.
fn source_of(format: Format) -> &'static str {
    match format {
        Format::AwsBulk => "aws-bulk",
        Format::AzureRetail => "azure-retail",
        Format::Csv => "csv",
    }
}

fn quarantine_notice(report: &Report) -> String {
    format!(
        "{} of {}: quarantined, {}; look at it and, if it is right, run `mercuriale refreshes release {}`",
        report.scope,
        output::time(report.observed_at),
        report.reason.as_deref().unwrap_or_default(),
        report.refresh_id
    )
}

fn table(reports: &[Report]) -> anyhow::Result<Exit> {
    let titles = [
        "scope",
        "observed at",
        "observed",
        "listed",
        "changed",
        "unchanged",
        "within",
        "missing",
        "withdrawn",
        "relisted",
        "seconds",
        "",
    ];
    let rows = reports
        .iter()
        .map(|report| {
            let counts = &report.counts;
            let mut row = vec![report.scope.clone(), output::time(report.observed_at)];
            let numbers = [
                counts.observed,
                counts.listed,
                counts.changed,
                counts.unchanged,
                counts.within_threshold,
                counts.not_observed,
                counts.withdrawn,
                counts.relisted,
            ];
            row.extend(numbers.iter().map(u64::to_string));
            row.push(report.seconds.to_string());
            row.push(match (report.quarantined, report.complete) {
                (true, _) => "quarantined".to_owned(),
                (false, false) => "partial".to_owned(),
                (false, true) => String::new(),
            });
            row
        })
        .collect();
    output::table(&titles, rows, 2)
}

fn progress(name: String, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::no_length()
        .with_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner()),
        )
        .with_message(name)
}

/// Counts prices on their way to the sink.
struct Counted<'a> {
    sink: &'a mut dyn ListSink,
    bar: ProgressBar,
}

impl ListSink for Counted<'_> {
    fn header(&mut self, header: &ListHeader) -> Result<(), SinkError> {
        self.sink.header(header)
    }

    fn product(&mut self, product: &Product<'_>) -> Result<(), SinkError> {
        self.sink.product(product)
    }

    fn price(&mut self, price: &Price<'_>) -> Result<(), SinkError> {
        self.bar.inc(1);
        self.sink.price(price)
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Refreshes {
    /// Refreshes in the order in which they last changed
    List {
        /// Only those in this state
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// Those after this position of the ledger
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// One JSON object a refresh
        #[arg(long)]
        json: bool,
    },
    /// One refresh
    Show {
        /// Its id
        id: Uuid,
    },
    /// Apply what a quarantined refresh observed: it was right after all
    Release {
        /// Its id
        id: Uuid,
        /// JSON
        #[arg(long)]
        json: bool,
    },
}

impl Refreshes {
    pub(super) async fn run(self, app: &App) -> anyhow::Result<Exit> {
        match self {
            Self::List { state, after, json } => {
                let rows = refreshes(&app.pool, after, state.as_deref(), MAX_LISTED).await?;
                if json {
                    for row in &rows {
                        output::json(row)?;
                    }
                    return Ok(Exit::Done);
                }
                let titles = [
                    "refresh",
                    "source",
                    "scope",
                    "observed at",
                    "state",
                    "observed",
                    "listed",
                    "changed",
                    "position",
                ];
                let rows = rows
                    .into_iter()
                    .map(|row| {
                        vec![
                            row.refresh_id.to_string(),
                            row.source,
                            row.scope.unwrap_or_default(),
                            output::shown(row.observed_at.map(output::time)),
                            row.state,
                            output::shown(row.observed),
                            output::shown(row.listed),
                            output::shown(row.changed),
                            row.position.to_string(),
                        ]
                    })
                    .collect();
                output::table(&titles, rows, 5)
            }
            Self::Show { id } => match refresh_get(&app.pool, id).await? {
                Some(row) => output::json(&row),
                None => {
                    Err(anyhow::anyhow!("there is no refresh {id}; `mercuriale refreshes list` shows them"))
                }
            },
            Self::Release { id, json } => {
                let report = release(&app.refresher, id).await?;
                app.engine.catch_up("price_search", i64::MAX).await?;
                if json { output::json(&report) } else { table(&[report]) }
            }
        }
    }
}
