//! What the ledger costs, each figure as a ratio to a limit measured in the same run: `make bench`, or
//! `cargo bench -- bulk` for one figure. Prints a Markdown table; docs/PERFORMANCE.md keeps one.
//!
//! Machines differ and are shared, so both sides of a ratio take turns, and the median of the rounds counts. Every
//! figure has a database of its own on a private PostgreSQL in a temporary folder.
#![expect(clippy::print_stdout, reason = "a benchmark's result is what it prints")]
#![expect(clippy::float_arithmetic, clippy::cast_precision_loss, reason = "rates and ratios are no prices")]

mod appends;
mod bulk;
mod estimates;
mod latency;
mod live;
mod machine;
mod made_up;
mod rebuild;
mod refresh;
mod saved;
mod server;
mod service;
mod table;

use std::path::Path;

use anyhow::Context as _;

use self::server::Server;
use self::table::Table;

const FIGURES: [&str; 8] = ["appends", "bulk", "estimates", "latency", "live", "rebuild", "refresh", "saved"];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    // `cargo bench` adds `--bench`.
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let [first, arguments @ ..] = &wanted[..]
        && first == refresh::CHILD
    {
        return refresh::run_child(arguments).await;
    }
    if let Some(unknown) = wanted.iter().find(|name| !FIGURES.contains(&name.as_str())) {
        anyhow::bail!("there is no figure {unknown:?}; there are {}", FIGURES.join(", "));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|other| other == name);

    let folder = tempfile::tempdir().context("no temporary folder")?;
    let server = Server::start(folder.path()).await?;
    let outcome = measure(&server, folder.path(), is_wanted).await;
    server.stop().await?;
    outcome
}

async fn measure(server: &Server, folder: &Path, is_wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    println!("{}\n", machine::describe(server, folder).await?);
    let mut table = Table::default();
    if is_wanted("appends") {
        appends::measure(server, &mut table).await?;
    }
    if is_wanted("bulk") {
        bulk::measure(server, &mut table).await?;
    }
    if is_wanted("estimates") {
        estimates::measure(server, &mut table).await?;
    }
    if is_wanted("latency") {
        latency::measure(server, &mut table).await?;
    }
    if is_wanted("live") {
        live::measure(server, folder, &mut table).await?;
    }
    if is_wanted("rebuild") {
        rebuild::measure(server, &mut table).await?;
    }
    if is_wanted("refresh") {
        refresh::measure(server, folder, &mut table).await?;
    }
    if is_wanted("saved") {
        saved::measure(server, &mut table).await?;
    }
    println!("\n{table}");
    Ok(())
}
