//! `mercuriale estimates`: saved estimates, for operators.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::Utc;
use clap::{Args, Subcommand, ValueEnum};
use uuid::Uuid;

use super::{Exit, output};
use crate::app::App;
use crate::domain::saved::export::{self, Locale};
use crate::domain::saved::{Diff, Effects, Exact, Summary};
use crate::pricing::{EstimateFilter, MAX_PAGE, Other, SavedVersion};

#[derive(Debug, Args)]
pub(super) struct Estimates {
    /// Whose estimates
    #[arg(long)]
    tenant: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Estimates that match all of these, in the order in which they were last saved
    List {
        /// Part of the name
        q: Option<String>,
        /// A whole tag
        #[arg(long)]
        tag: Option<String>,
        /// Also those that are archived
        #[arg(long)]
        archived: bool,
        /// Estimates after this position of the ledger
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=MAX_PAGE))]
        limit: i64,
        /// One JSON object an estimate
        #[arg(long)]
        json: bool,
    },
    /// The versions of an estimate, oldest first
    Versions {
        /// The estimate's id
        id: Uuid,
        /// Versions after this one
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// How many at most
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(i64).range(1..=MAX_PAGE))]
        limit: i64,
        /// One JSON object a version
        #[arg(long)]
        json: bool,
    },
    /// A version as JSON
    Show {
        /// The estimate's id
        id: Uuid,
        /// The version; the last one by default
        #[arg(long)]
        version: Option<i64>,
    },
    /// Why two versions cost different amounts
    Diff {
        /// The estimate's id
        id: Uuid,
        /// The old version
        from: i64,
        /// The new version, or now
        #[arg(value_parser = other_of)]
        to: Other,
        /// The whole comparison as JSON
        #[arg(long)]
        json: bool,
    },
    /// A version as a file
    Export(Export),
}

fn other_of(text: &str) -> Result<Other, String> {
    if text == "now" {
        return Ok(Other::Now);
    }
    text.parse().map(Other::Version).map_err(|_| "give the number of a version, or now".to_owned())
}

#[derive(Debug, Args)]
struct Export {
    /// The estimate's id
    id: Uuid,
    /// The version; the last one by default
    #[arg(long)]
    version: Option<i64>,
    /// How it is written
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
    /// Semicolons and decimal commas, as Excel in French reads them
    #[arg(long)]
    french: bool,
    /// The file; standard output by default
    #[arg(long)]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One row a line
    Csv,
    /// Sums by service and currency
    Totals,
    /// FOCUS 1.2
    Focus,
    /// Everything
    Json,
}

impl Estimates {
    pub(super) async fn run(self, app: &App) -> anyhow::Result<Exit> {
        let tenant = self.tenant;
        match self.command {
            Command::List { q, tag, archived, after, limit, json } => {
                let filter = EstimateFilter { q, tag, archived: if archived { None } else { Some(false) } };
                let page = app.pricing.estimates_find(&tenant, &filter, after, limit).await?;
                if page.items.is_empty() {
                    output::error(&"no estimate matches; leave one of the conditions out");
                }
                let titles = ["estimate", "name", "tags", "saved at", "version", "lines", "monthly"];
                output::page(&page, json, &titles, 4, |row| {
                    vec![
                        row.estimate_id.to_string(),
                        row.about.name.clone(),
                        row.about.tags.join(", "),
                        output::time(row.saved_at),
                        row.version.to_string(),
                        row.summary.lines.to_string(),
                        monthly(&row.summary),
                    ]
                })
            }
            Command::Versions { id, after, limit, json } => {
                let page = app.pricing.estimate_versions(&tenant, id, after, limit).await?;
                let page = page.with_context(|| unknown(&tenant, id, ""))?;
                let titles = [
                    "version",
                    "name",
                    "note",
                    "tags",
                    "saved at",
                    "saved by",
                    "archived",
                    "figures of",
                    "lines",
                    "monthly",
                ];
                output::page(&page, json, &titles, 7, |row| {
                    vec![
                        row.version.to_string(),
                        row.about.name.clone(),
                        row.about.note.clone().unwrap_or_default(),
                        row.about.tags.join(", "),
                        output::time(row.saved_at),
                        row.saved_by.clone(),
                        if row.about.archived { "yes" } else { "" }.to_owned(),
                        output::shown(row.figures_of),
                        row.summary.lines.to_string(),
                        monthly(&row.summary),
                    ]
                })
            }
            Command::Show { id, version } => {
                output::line(&String::from_utf8(found(app, &tenant, id, version).await?.json()?)?)
            }
            Command::Diff { id, from, to, json } => {
                let diff = app.pricing.estimate_diff(&tenant, id, from, to, Utc::now()).await?;
                if json { output::json(&diff) } else { table(&diff) }
            }
            Command::Export(export) => export.run(app, &tenant).await,
        }
    }
}

async fn found(app: &App, tenant: &str, id: Uuid, version: Option<i64>) -> anyhow::Result<SavedVersion> {
    let saved = app.pricing.estimate_version(tenant, id, version).await?;
    saved.with_context(|| {
        let version = version.map_or_else(String::new, |version| format!("version {version} of "));
        unknown(tenant, id, &version)
    })
}

fn unknown(tenant: &str, id: Uuid, version: &str) -> String {
    format!("{tenant} has no {version}estimate {id}; `mercuriale estimates list` lists those there are")
}

impl Export {
    async fn run(self, app: &App, tenant: &str) -> anyhow::Result<Exit> {
        let saved = found(app, tenant, self.id, self.version).await?;
        let locale = if self.french { Locale::French } else { Locale::Plain };
        let bytes = match self.format {
            Format::Csv => export::lines(&saved.read()?, locale)?,
            Format::Totals => export::totals(&saved.read()?, locale)?,
            Format::Focus => export::focus(&saved.read()?, self.id, tenant, locale)?,
            Format::Json => saved.json()?,
        };
        match &self.output {
            Some(path) => {
                std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => std::io::stdout().write_all(&bytes)?,
        }
        Ok(Exit::Done)
    }
}

/// What an estimate costs a month, in each currency.
fn monthly(summary: &Summary) -> String {
    let totals =
        summary.totals.iter().map(|total| format!("{} {}", cents(total.monthly_cost), total.currency));
    totals.collect::<Vec<_>>().join(" + ")
}

fn cents(amount: rust_decimal::Decimal) -> String {
    crate::domain::precise::round_cents_half_even(amount).to_string()
}

fn table(diff: &Diff) -> anyhow::Result<Exit> {
    let costs = |effects: &Effects| {
        let Effects { from_monthly_cost, to_monthly_cost, configuration, price, discount_policy, difference } =
            effects;
        [from_monthly_cost, configuration, price, discount_policy, difference, to_monthly_cost]
            .map(Exact::to_string)
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in &diff.lines {
        let status = format!("{:?}", line.status).to_lowercase();
        let mut row = vec![line.label.clone(), status, line.changed.join(", "), line.currency.clone()];
        row.extend(costs(&line.effects));
        rows.push(row);
    }
    for total in &diff.totals {
        let mut row = vec!["total".to_owned(), String::new(), String::new(), total.currency.clone()];
        row.extend(costs(&total.effects));
        rows.push(row);
    }
    let titles = [
        "line",
        "is",
        "asks for another",
        "currency",
        "monthly",
        "configuration",
        "price",
        "policy",
        "difference",
        "to",
    ];
    output::table(&titles, rows, 4)
}
