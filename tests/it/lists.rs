//! Small price lists written by hand, and a ledger to refresh from them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use chrono::{DateTime, TimeDelta, Utc};
use mercuriale::domain::refresh::Rules;
use mercuriale::sources::refresh::{RefreshError, Refresher, Report, release};
use mercuriale::sources::{Format, ListInput, read_list};
use rust_decimal::Decimal;
use serde_json::json;
use uuid::Uuid;

use crate::support::Database;

/// Midnight UTC of a day of 2026, counted from 0.
pub(crate) fn day(day: i64) -> DateTime<Utc> {
    "2026-01-01T00:00:00Z".parse::<DateTime<Utc>>().expect("a time") + TimeDelta::days(day)
}

pub(crate) fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

/// A list in our own columns.
pub(crate) fn csv(scope: &str, at: DateTime<Utc>, prices: &[(&str, &str)]) -> String {
    let mut text = format!(
        "# observed_at: {}\n# scope: {scope}\n\
         provider,service,region,sku_id,sku_price_id,unit,currency,amount\n",
        at.to_rfc3339()
    );
    for (sku, amount) in prices {
        let _ = writeln!(text, "test,compute,here,{sku},{sku},Hrs,USD,{amount}");
    }
    text
}

/// An AWS offer file of hourly on-demand prices in Paris.
pub(crate) fn aws(at: DateTime<Utc>, prices: &[(String, String)]) -> String {
    let mut products = serde_json::Map::new();
    let mut terms = serde_json::Map::new();
    for (sku, amount) in prices {
        products.insert(
            sku.clone(),
            json!({
                "sku": sku, "productFamily": "Compute Instance",
                "attributes": {"regionCode": "eu-west-3", "instanceType": format!("t3.{sku}")},
            }),
        );
        let rate = format!("{sku}.JRTCKXETXF.6YS6EN2CT7");
        terms.insert(
            sku.clone(),
            json!({format!("{sku}.JRTCKXETXF"): {
                "offerTermCode": "JRTCKXETXF", "sku": sku, "effectiveDate": "2026-01-01T00:00:00Z",
                "priceDimensions": {&rate: {
                    "rateCode": rate, "description": "", "beginRange": "0", "endRange": "Inf", "unit": "Hrs",
                    "pricePerUnit": {"USD": amount}, "appliesTo": [],
                }},
                "termAttributes": {},
            }}),
        );
    }
    // Written by hand around the parts: the format's order matters.
    format!(
        "{{\"formatVersion\": \"v1.0\", \"offerCode\": \"AmazonEC2\", \"publicationDate\": \"{}\",\n\
         \"products\": {},\n\"terms\": {{\"OnDemand\": {}}}}}",
        at.to_rfc3339(),
        serde_json::Value::Object(products),
        serde_json::Value::Object(terms)
    )
}

/// An item of the Azure Retail Prices API, in force from one day until before another.
pub(crate) fn azure_item(meter: &str, amount: &str, from: i64, until: Option<i64>) -> String {
    // The end names the last minute.
    let until = until
        .map(|until| {
            format!("\"effectiveEndDate\": \"{}\", ", (day(until) - TimeDelta::minutes(1)).to_rfc3339())
        })
        .unwrap_or_default();
    format!(
        "{{\"currencyCode\": \"USD\", \"tierMinimumUnits\": 0.0, \"retailPrice\": {amount}, \
         \"armRegionName\": \"francecentral\", \"effectiveStartDate\": \"{}\", {until}\"meterId\": \"{meter}\", \
         \"meterName\": \"D2s v5\", \"productId\": \"P1\", \"skuId\": \"P1/0001\", \"productName\": \"Dsv5\", \
         \"skuName\": \"D2s v5\", \"serviceName\": \"Virtual Machines\", \"unitOfMeasure\": \"1 Hour\", \
         \"type\": \"Consumption\"}}",
        day(from).to_rfc3339()
    )
}

/// A page of that API; `skip` of the link to the next one.
pub(crate) fn azure_page(items: &[String], skip: Option<usize>) -> String {
    let next = skip.map_or("null".to_owned(), |skip| {
        format!(
            "\"https://prices.azure.com/api/retail/prices?$filter=armRegionName%20eq%20%27x%27&$skip={skip}\""
        )
    });
    format!(
        "{{\"Items\": [\n{}\n], \"NextPageLink\": {next}, \"Count\": {}}}",
        items.join(",\n"),
        items.len()
    )
}

/// A ledger with somewhere to put lists.
pub(crate) struct Ledger {
    pub(crate) database: Database,
    pub(crate) refresher: Refresher,
    folder: tempfile::TempDir,
}

impl Ledger {
    pub(crate) async fn new() -> Self {
        let database = Database::new().await;
        let refresher = Refresher {
            pool: database.pool.clone(),
            appender: database.appender.clone(),
            rules: Rules::default(),
            actor: "test".into(),
        };
        Self { database, refresher, folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a list under a name of its own.
    pub(crate) fn write(&self, text: &str) -> PathBuf {
        let path = self.folder().join(Uuid::now_v7().to_string());
        std::fs::write(&path, text).expect("writes");
        path
    }

    pub(crate) async fn read(&self, input: ListInput) -> Result<Report, RefreshError> {
        let source = match input.format {
            Format::AwsBulk => "aws-bulk",
            Format::AzureRetail => "azure-retail",
            Format::Csv => "csv",
        };
        self.refresher.refresh(source, vec!["a list".into()], move |sink| read_list(&input, sink)).await
    }

    pub(crate) async fn read_text(&self, format: Format, text: &str) -> Result<Report, RefreshError> {
        let files = vec![self.write(text)];
        self.read(ListInput { format, files, scope: None, observed_at: None, partial: false }).await
    }

    /// A whole list of the scope, seen on a day.
    pub(crate) async fn try_csv(
        &self,
        scope: &str,
        on: i64,
        prices: &[(&str, &str)],
    ) -> Result<Report, RefreshError> {
        self.read_text(Format::Csv, &csv(scope, day(on), prices)).await
    }

    pub(crate) async fn csv(&self, scope: &str, on: i64, prices: &[(&str, &str)]) -> Report {
        self.try_csv(scope, on, prices).await.expect("is recorded")
    }

    /// A list that is not whole.
    pub(crate) async fn partial(&self, scope: &str, on: i64, prices: &[(&str, &str)]) -> Report {
        let files = vec![self.write(&csv(scope, day(on), prices))];
        let input = ListInput { format: Format::Csv, files, scope: None, observed_at: None, partial: true };
        self.read(input).await.expect("is recorded")
    }

    pub(crate) async fn release(&self, refresh_id: Uuid) -> Result<Report, RefreshError> {
        release(&self.refresher, refresh_id).await
    }

    pub(crate) async fn head(&self) -> i64 {
        mercuriale::ledger::head(&self.database.pool).await.expect("reads")
    }

    /// Types of the events after a position.
    pub(crate) async fn events_after(&self, position: i64) -> Vec<String> {
        sqlx::query_scalar("select event_type from events where position > $1 order by position")
            .bind(position)
            .fetch_all(&self.database.pool)
            .await
            .expect("reads")
    }

    pub(crate) async fn segments(&self) -> i64 {
        sqlx::query_scalar("select count(*) from observation_segments")
            .fetch_one(&self.database.pool)
            .await
            .expect("reads")
    }

    /// What is official, by SKU: the amount and whether it is in force.
    pub(crate) async fn official(&self) -> BTreeMap<String, (Decimal, bool)> {
        let rows: Vec<(String, Decimal, bool)> =
            sqlx::query_as("select sku_id, amount, in_force from current_prices.prices")
                .fetch_all(&self.database.pool)
                .await
                .expect("reads");
        let count = rows.len();
        let official: BTreeMap<_, _> =
            rows.into_iter().map(|(sku, amount, in_force)| (sku, (amount.normalize(), in_force))).collect();
        assert_eq!(official.len(), count, "the tests give each price a SKU of its own");
        official
    }

    /// Fails unless these prices are official, with their amounts, in force unless marked with a leading `-`.
    pub(crate) async fn assert_official(&self, expected: &[(&str, &str)]) {
        let expected: BTreeMap<String, (Decimal, bool)> = expected
            .iter()
            .map(|(sku, amount)| match sku.strip_prefix('-') {
                Some(sku) => (sku.to_owned(), (decimal(amount), false)),
                None => ((*sku).to_owned(), (decimal(amount), true)),
            })
            .collect();
        assert_eq!(self.official().await, expected);
        self.database.assert_sound().await;
    }
}

/// Counts as observed, listed, changed, unchanged, within the threshold, not observed, withdrawn, relisted.
pub(crate) fn counts(report: &Report) -> [u64; 8] {
    let counts = &report.counts;
    [
        counts.observed,
        counts.listed,
        counts.changed,
        counts.unchanged,
        counts.within_threshold,
        counts.not_observed,
        counts.withdrawn,
        counts.relisted,
    ]
}
