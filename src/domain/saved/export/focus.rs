//! The cost columns of FOCUS 1.2 (the Open Cost and Usage Specification), one row a charge.
//!
//! What holds of every row, as FOCUS demands: `ListCost` = `ListUnitPrice` x `PricingQuantity`, `ContractedCost` =
//! `ContractedUnitPrice` x `PricingQuantity`. So a line with several tiers is several rows. Where a product has more
//! than 28 digits it is rounded to these.

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::own::{basis_name, category, time};
use super::{ExportError, Locale, Sheet};
use crate::domain::precise::{divide, multiply};
use crate::domain::saved::{Line, StoredCharge, Version};

const COLUMNS: [&str; 47] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingCurrency",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SkuPriceId",
    "Tags",
    "x_EstimateId",
    "x_EstimateName",
    "x_EstimateVersion",
    "x_LineNumber",
    "x_Resource",
    "x_PricingModel",
    "x_PricingBasis",
    "x_DiscountRate",
    "x_DiscountPolicyVersion",
    "x_PriceId",
    "x_PriceObservedAt",
    "x_LedgerPosition",
];

/// The rows of a version of a tenant's estimate.
///
/// # Errors
/// See [`ExportError`].
pub fn focus(
    version: &Version<'_>,
    estimate_id: Uuid,
    tenant: &str,
    locale: Locale,
) -> Result<Vec<u8>, ExportError> {
    let mut sheet = Sheet::new(locale, &COLUMNS)?;
    let (start, end) = period(version);
    // A tag of ours is a word: FOCUS writes a tag without a value as `true`.
    let tags: Map<String, Value> =
        version.about.tags.iter().map(|tag| (tag.clone(), Value::Bool(true))).collect();
    let common = Common {
        estimate_id: estimate_id.to_string(),
        tenant,
        start: time(start),
        end: time(end),
        tags: Value::Object(tags).to_string(),
    };
    for (index, line) in version.lines.iter().enumerate() {
        for charge in &line.charges {
            row(&mut sheet, version, &common, (index, line), charge)?;
        }
    }
    sheet.finish()
}

/// What all rows share.
struct Common<'a> {
    estimate_id: String,
    tenant: &'a str,
    start: String,
    end: String,
    tags: String,
}

fn row(
    sheet: &mut Sheet,
    version: &Version<'_>,
    common: &Common<'_>,
    (index, line): (usize, &Line<'_>),
    charge: &StoredCharge<'_>,
) -> Result<(), ExportError> {
    let (asked, cost) = (&line.asked, &line.cost);
    let quantity = divide(charge.quantity, charge.factor)?;
    let provider = provider_name(&asked.provider);
    sheet.exact(charge.monthly_cost)?;
    sheet.text(common.tenant)?;
    sheet.text(common.tenant)?;
    sheet.text(&line.currency)?;
    sheet.plain(&common.end)?;
    sheet.plain(&common.start)?;
    sheet.plain("Usage")?;
    // Nothing: no correction.
    sheet.plain("")?;
    sheet.text(&asked.label)?;
    sheet.plain("Usage-Based")?;
    sheet.plain(&common.end)?;
    sheet.plain(&common.start)?;
    sheet.exact(quantity)?;
    sheet.text(&charge.unit)?;
    sheet.exact(multiply(charge.unit_price, quantity)?)?;
    sheet.exact(charge.unit_price)?;
    sheet.exact(charge.monthly_cost)?;
    sheet.text(provider)?;
    sheet.exact(multiply(charge.list_unit_price, quantity)?)?;
    sheet.exact(charge.list_unit_price)?;
    sheet.plain(category(asked.pricing_model))?;
    sheet.text(&line.currency)?;
    sheet.exact(quantity)?;
    sheet.text(&charge.unit)?;
    sheet.text(provider)?;
    sheet.text(provider)?;
    sheet.text(&asked.region)?;
    sheet.text(&asked.region)?;
    // Nothing: what is estimated does not run yet, so it has no id.
    sheet.plain("")?;
    sheet.text(&asked.label)?;
    sheet.plain(service_category(&asked.provider, &asked.service))?;
    sheet.text(&asked.service)?;
    sheet.text(&cost.price.sku_id)?;
    sheet.text(&charge.sku_price_id)?;
    sheet.plain(&common.tags)?;
    sheet.plain(&common.estimate_id)?;
    sheet.text(&version.about.name)?;
    sheet.plain(&version.version.to_string())?;
    sheet.plain(&(index + 1).to_string())?;
    sheet.text(&asked.resource)?;
    sheet.plain(asked.pricing_model.name())?;
    sheet.plain(basis_name(cost.pricing_basis))?;
    sheet.exact(cost.discount_rate)?;
    sheet.plain(&version.discount_policy.version.to_string())?;
    sheet.plain(&charge.price_id.to_string())?;
    sheet.plain(&time(cost.price.observed_at))?;
    sheet.plain(&version.position.to_string())?;
    sheet.end_row()
}

/// The calendar month that is estimated, in UTC; where the request names none, that of the prices. The end is exclusive.
fn period(version: &Version<'_>) -> (DateTime<Utc>, DateTime<Utc>) {
    let asked = version.month.as_ref().and_then(|month| format!("{month}-01").parse::<NaiveDate>().ok());
    let day = asked.unwrap_or_else(|| version.as_of.date_naive());
    let first = day.with_day(1).unwrap_or(day);
    let next = first.checked_add_months(Months::new(1)).unwrap_or(first);
    let midnight = |day: NaiveDate| day.and_time(chrono::NaiveTime::MIN).and_utc();
    (midnight(first), midnight(next))
}

fn provider_name(provider: &str) -> &str {
    match provider {
        "aws" => "AWS",
        "azure" => "Microsoft",
        other => other,
    }
}

/// FOCUS's own list of categories; what is not known is `Other`.
fn service_category(provider: &str, service: &str) -> &'static str {
    match (provider, service) {
        ("aws", "AmazonEC2" | "AWSLambda" | "AmazonECS" | "AmazonEKS" | "AmazonECR" | "AmazonLightsail")
        | (
            "azure",
            "Virtual Machines"
            | "Functions"
            | "Container Instances"
            | "Azure Kubernetes Service"
            | "Azure App Service",
        ) => "Compute",
        ("aws", "AmazonS3" | "AmazonEFS" | "AmazonFSx" | "AmazonGlacier" | "AWSBackup")
        | ("azure", "Storage" | "Azure NetApp Files" | "Backup") => "Storage",
        (
            "aws",
            "AmazonRDS" | "AmazonDynamoDB" | "AmazonElastiCache" | "AmazonDocDB" | "AmazonNeptune"
            | "AmazonMemoryDB",
        )
        | (
            "azure",
            "SQL Database"
            | "Azure Cosmos DB"
            | "Azure Database for PostgreSQL"
            | "Azure Database for MySQL"
            | "Redis Cache",
        ) => "Databases",
        (
            "aws",
            "AmazonVPC" | "AWSELB" | "AmazonCloudFront" | "AmazonRoute53" | "AWSDirectConnect"
            | "AWSDataTransfer",
        )
        | (
            "azure",
            "Virtual Network"
            | "Load Balancer"
            | "Application Gateway"
            | "Azure Front Door Service"
            | "Bandwidth"
            | "VPN Gateway",
        ) => "Networking",
        ("aws", "AmazonApiGateway" | "AWSQueueService" | "AmazonSNS" | "AWSEvents")
        | ("azure", "API Management" | "Service Bus" | "Event Grid" | "Event Hubs") => "Integration",
        ("aws", "AmazonAthena" | "AmazonRedshift" | "AmazonKinesis" | "ElasticMapReduce" | "AWSGlue")
        | ("azure", "Azure Synapse Analytics" | "Azure Data Factory v2" | "Azure Databricks") => "Analytics",
        ("aws", "AmazonSageMaker" | "AmazonBedrock")
        | ("azure", "Azure Machine Learning" | "Foundry Models") => "AI and Machine Learning",
        ("aws", "AmazonCloudWatch" | "AWSCloudTrail" | "AWSConfig")
        | ("azure", "Azure Monitor" | "Log Analytics") => "Management and Governance",
        ("aws", "awskms" | "AWSSecretsManager" | "awswaf" | "AmazonGuardDuty")
        | ("azure", "Key Vault" | "Microsoft Defender for Cloud") => "Security",
        _ => "Other",
    }
}
