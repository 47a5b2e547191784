//! A refresh of a million unchanged prices from one AWS file, beside only parsing that file; its memory, and what it adds
//! to the database. Both run in processes of their own, so that the peak of memory is theirs.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use chrono::{DateTime, Duration, Utc};
use mercuriale::domain::refresh::Rules;
use mercuriale::ledger::{self, Appender};
use mercuriale::sources::refresh::{Refresher, Report};
use mercuriale::sources::{Format, ListHeader, ListInput, ListSink, Price, Product, SinkError, read_list};
use tokio::process::Command;

use crate::made_up;
use crate::server::Server;
use crate::table::{Goal, Table, median};

/// As many as give a million prices with the terms below.
const SKUS: i64 = 52_632;
const ROUNDS: i32 = 3;
const MIB: f64 = 1_048_576.0;
/// First argument of a child.
pub(crate) const CHILD: &str = "child";

/// Reserved terms of a SKU: offer term code, years, class, payment, and whether there is a fee beside the rate.
const TERMS: [(&str, &str, &str, &str, bool); 11] = [
    ("4NA7Y494T4", "1yr", "standard", "No Upfront", false),
    ("HU7G6KETJZ", "1yr", "standard", "Partial Upfront", true),
    ("6QCMYABX3D", "1yr", "standard", "All Upfront", true),
    ("7NE97W5U4E", "1yr", "convertible", "No Upfront", false),
    ("CUZHX8X6JH", "1yr", "convertible", "Partial Upfront", true),
    ("VJWZNREJX2", "1yr", "convertible", "All Upfront", true),
    ("BPH4J8HBKS", "3yr", "standard", "No Upfront", false),
    ("38NPMPTW36", "3yr", "standard", "Partial Upfront", true),
    ("NQ3QZPMQV9", "3yr", "standard", "All Upfront", true),
    ("Z2E3P23VKM", "3yr", "convertible", "No Upfront", false),
    ("R5XV2EPZQZ", "3yr", "convertible", "Partial Upfront", true),
];

pub(crate) async fn measure(server: &Server, folder: &Path, table: &mut Table) -> anyhow::Result<()> {
    let file = folder.join("index.json");
    write_list(&file, SKUS)?;
    let pool = server.ledger("refresh").await?;
    let url = server.url("refresh");
    let listed_at = Utc::now() - Duration::days(10);
    let began = Instant::now();
    let first = refresh(&url, &file, listed_at).await?;
    let seconds = began.elapsed().as_secs_f64();
    let prices = first.counts.observed;
    table.note(&format!("refresh of {prices} new prices"), format!("{seconds:.1} s"), String::new(), "");

    let mut rounds = Vec::new();
    let (mut peak, mut added) = (0.0_f64, 0.0_f64);
    for round in 1..=ROUNDS {
        let size = database_bytes(server, &pool).await?;
        let refreshed =
            child(&["refresh", &url, path(&file)?, &(listed_at + Duration::days(round.into())).to_rfc3339()])
                .await?;
        added = added.max(database_bytes(server, &pool).await? - size);
        let parsed = child(&["parse", path(&file)?]).await?;
        peak = peak.max(refreshed.peak_bytes);
        rounds.push((refreshed.seconds, parsed.seconds));
    }
    let (refreshed, parsed) = (median(rounds.iter().map(|r| r.0)), median(rounds.iter().map(|r| r.1)));
    let megabytes = std::fs::metadata(&file)?.len() / 1_000_000;
    table.push(
        &format!("refresh of {prices} unchanged prices ({megabytes} MB)"),
        format!("{refreshed:.2} s"),
        format!("only parsing: {parsed:.2} s"),
        median(rounds.iter().map(|(refreshed, parsed)| refreshed / parsed)),
        Goal::AtMost(3.0),
    );
    table.push(
        "its peak memory",
        format!("{:.0} MiB", peak / MIB),
        "512 MiB".to_owned(),
        peak / (512.0 * MIB),
        Goal::AtMost(1.0),
    );
    table.push(
        "bytes it adds to the database",
        format!("{:.0} kB", added / 1_000.0),
        "200 kB".to_owned(),
        added / 200_000.0,
        Goal::AtMost(1.0),
    );
    Ok(())
}

fn path(file: &Path) -> anyhow::Result<&str> {
    file.to_str().context("the temporary folder's name is no UTF-8")
}

async fn database_bytes(server: &Server, pool: &sqlx::PgPool) -> anyhow::Result<f64> {
    sqlx::raw_sql("checkpoint").execute(&mut server.administrator().await?).await?;
    let bytes: i64 =
        sqlx::query_scalar("select pg_database_size(current_database())").fetch_one(pool).await?;
    Ok(bytes as f64)
}

/// What a child says of itself.
struct Measured {
    seconds: f64,
    peak_bytes: f64,
}

async fn child(arguments: &[&str]) -> anyhow::Result<Measured> {
    let output = Command::new(std::env::current_exe()?)
        .arg(CHILD)
        .args(arguments)
        .output()
        .await
        .context("a child")?;
    let text = String::from_utf8(output.stdout)?;
    anyhow::ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let (seconds, peak_bytes) = text.trim().split_once(' ').context("a child's answer")?;
    Ok(Measured { seconds: seconds.parse()?, peak_bytes: peak_bytes.parse()? })
}

/// What a child does.
pub(crate) async fn run_child(arguments: &[String]) -> anyhow::Result<()> {
    let began = Instant::now();
    match arguments {
        [task, file] if task == "parse" => {
            read_list(&input(Path::new(file), None), &mut Nothing)?;
        }
        [task, url, file, observed_at] if task == "refresh" => {
            let report = refresh(url, Path::new(file), observed_at.parse()?).await?;
            anyhow::ensure!(report.counts.unchanged == report.counts.observed, "{report:?}");
        }
        _ => anyhow::bail!("a child has nothing to do"),
    }
    let seconds = began.elapsed().as_secs_f64();
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    let kibibytes: f64 = peak.trim().trim_end_matches(" kB").parse()?;
    println!("{seconds} {}", kibibytes * 1_024.0);
    Ok(())
}

fn input(file: &Path, observed_at: Option<DateTime<Utc>>) -> ListInput {
    ListInput {
        format: Format::AwsBulk,
        files: vec![file.to_owned()],
        scope: None,
        observed_at,
        partial: false,
    }
}

async fn refresh(url: &str, file: &Path, observed_at: DateTime<Utc>) -> anyhow::Result<Report> {
    refresh_file(&refresher(ledger::connect(url, 10).await?), file, observed_at).await
}

pub(crate) fn refresher(pool: sqlx::PgPool) -> Refresher {
    Refresher {
        appender: Appender::spawn(pool.clone()),
        pool,
        rules: Rules::default(),
        actor: Arc::from("bench"),
    }
}

pub(crate) async fn refresh_file(
    refresher: &Refresher,
    file: &Path,
    observed_at: DateTime<Utc>,
) -> anyhow::Result<Report> {
    let input = input(file, Some(observed_at));
    Ok(refresher
        .refresh("aws-bulk", vec!["index.json".to_owned()], move |sink| read_list(&input, sink))
        .await?)
}

/// A sink that only takes.
struct Nothing;

impl ListSink for Nothing {
    fn header(&mut self, _: &ListHeader) -> Result<(), SinkError> {
        Ok(())
    }

    fn product(&mut self, _: &Product<'_>) -> Result<(), SinkError> {
        Ok(())
    }

    fn price(&mut self, _: &Price<'_>) -> Result<(), SinkError> {
        Ok(())
    }
}

/// A list laid out as AWS's, with a space of indentation a level; 19 prices a SKU.
pub(crate) fn write_list(file: &Path, skus: i64) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(file)?);
    writeln!(
        out,
        "{{\n \"formatVersion\": \"v1.0\",\n \"disclaimer\": \"\",\n \"offerCode\": \"AmazonEC2\",\n \
         \"version\": \"20250327204525\",\n \"publicationDate\": \"2025-03-27T20:45:25Z\",\n \"products\": {{"
    )?;
    for number in 1..=skus {
        let sku = made_up::sku(number);
        let mut attributes = made_up::attributes(number);
        attributes.insert("regionCode".to_owned(), "eu-west-3".to_owned());
        let product = serde_json::json!({
            "sku": sku, "productFamily": "Compute Instance", "attributes": attributes,
        });
        let comma = if number < skus { "," } else { "" };
        writeln!(out, "  \"{sku}\": {}{comma}", serde_json::to_string_pretty(&product)?)?;
    }
    writeln!(out, " }},\n \"terms\": {{\n  \"OnDemand\": {{")?;
    for number in 1..=skus {
        let sku = made_up::sku(number);
        let comma = if number < skus { "," } else { "" };
        writeln!(out, "   \"{sku}\": {{")?;
        term(&mut out, &sku, number, ("JRTCKXETXF", "", "", "", false))?;
        writeln!(out, "\n   }}{comma}")?;
    }
    writeln!(out, "  }},\n  \"Reserved\": {{")?;
    for number in 1..=skus {
        let sku = made_up::sku(number);
        let comma = if number < skus { "," } else { "" };
        writeln!(out, "   \"{sku}\": {{")?;
        for (index, reserved) in TERMS.into_iter().enumerate() {
            term(&mut out, &sku, number, reserved)?;
            writeln!(out, "{}", if index + 1 < TERMS.len() { "," } else { "" })?;
        }
        writeln!(out, "   }}{comma}")?;
    }
    writeln!(out, "  }}\n }}\n}}")?;
    out.flush()?;
    Ok(())
}

fn term(
    out: &mut impl std::io::Write,
    sku: &str,
    number: i64,
    (code, years, class, payment, fee): (&str, &str, &str, &str, bool),
) -> anyhow::Result<()> {
    let mut dimensions = serde_json::Map::new();
    let rate = format!("{sku}.{code}.6YS6EN2CT7");
    dimensions.insert(rate.clone(), serde_json::json!({
        "rateCode": rate, "description": "Linux/UNIX (Amazon VPC), instance hour", "beginRange": "0", "endRange": "Inf",
        "unit": "Hrs", "pricePerUnit": { "USD": format!("0.{:04}000000", number % 9_999 + 1) }, "appliesTo": [],
    }));
    if fee {
        let rate = format!("{sku}.{code}.2TG2D8R56U");
        dimensions.insert(
            rate.clone(),
            serde_json::json!({
                "rateCode": rate, "description": "Upfront Fee", "unit": "Quantity",
                "pricePerUnit": { "USD": (number % 5_000 + 1).to_string() }, "appliesTo": [],
            }),
        );
    }
    let attributes = if years.is_empty() {
        serde_json::json!({})
    } else {
        serde_json::json!({ "LeaseContractLength": years, "OfferingClass": class, "PurchaseOption": payment })
    };
    let term = serde_json::json!({
        "offerTermCode": code, "sku": sku, "effectiveDate": "2025-03-01T00:00:00Z", "priceDimensions": dimensions,
        "termAttributes": attributes,
    });
    write!(out, "    \"{sku}.{code}\": {}", serde_json::to_string_pretty(&term)?)?;
    Ok(())
}
