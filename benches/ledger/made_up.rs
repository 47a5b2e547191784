//! Made-up events, shaped like those of an EC2 price list.

use mercuriale::domain::event::{
    NewEvent, PRICE_CHANGED, PRICE_LISTED, PriceListed, PriceMoved, price_stream, relative_change,
};
use mercuriale::domain::price::Attributes;
use mercuriale::ledger::{BulkAppend, Origin};
use rust_decimal::Decimal;
use sqlx::PgPool;
use uuid::Uuid;

/// Events of one chunk, as in a refresh.
pub(crate) const CHUNK_EVENTS: usize = 4_000;

/// A place in a list of `length`.
fn nth(number: i64, length: i64) -> usize {
    usize::try_from(number % length).expect("numbers are not negative")
}

/// Attributes of an EC2 instance, as many and as long as AWS's.
pub(crate) fn attributes(number: i64) -> Attributes {
    let family = ["m5", "c6i", "r6g", "t3", "m7i-flex", "x2iedn"][nth(number, 6)];
    let size = ["large", "xlarge", "2xlarge", "4xlarge", "16xlarge", "metal"][nth(number / 6, 6)];
    let instance = format!("{family}.{size}");
    let usage = format!("EUW3-BoxUsage:{instance}");
    let cores = (1 << (number % 8)).to_string();
    let memory = format!("{} GiB", 1 << (number % 9));
    [
        ("capacitystatus", "Used"),
        ("clockSpeed", "3.1 GHz"),
        ("currentGeneration", "Yes"),
        ("dedicatedEbsThroughput", "Up to 2120 Mbps"),
        ("ecu", "10"),
        ("enhancedNetworkingSupported", "Yes"),
        ("instanceFamily", "General purpose"),
        ("instanceType", &instance),
        ("intelAvx2Available", "Yes"),
        ("intelAvxAvailable", "Yes"),
        ("intelTurboAvailable", "Yes"),
        ("licenseModel", "No License required"),
        ("location", "EU (Paris)"),
        ("locationType", "AWS Region"),
        ("memory", &memory),
        ("networkPerformance", "Up to 10 Gigabit"),
        ("normalizationSizeFactor", "4"),
        ("operatingSystem", "Linux"),
        ("operation", "RunInstances"),
        ("physicalProcessor", "Intel Xeon Platinum 8175 (Skylake)"),
        ("preInstalledSw", "NA"),
        ("processorArchitecture", "64-bit"),
        ("processorFeatures", "Intel AVX; Intel AVX2; Intel AVX512; Intel Turbo"),
        ("servicecode", "AmazonEC2"),
        ("servicename", "Amazon Elastic Compute Cloud"),
        ("storage", "EBS only"),
        ("tenancy", "Shared"),
        ("usagetype", &usage),
        ("vcpu", &cores),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// A SKU of 16 characters, as scattered as AWS's.
pub(crate) fn sku(number: i64) -> String {
    const LETTERS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    let mut bits = u128::from(number.unsigned_abs().wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 20
        | u128::from(number.unsigned_abs());
    (0..16)
        .map(|_| {
            let letter = LETTERS[(bits % 36) as usize];
            bits /= 36;
            char::from(letter)
        })
        .collect()
}

pub(crate) fn listed(price_id: i64) -> NewEvent {
    let sku = sku(price_id);
    let rate = format!("{sku}.JRTCKXETXF.6YS6EN2CT7");
    let data = PriceListed {
        v: 1,
        price_id,
        key: &format!("aws/{rate}"),
        provider: "aws",
        service: "AmazonEC2",
        region: "eu-west-3",
        sku_id: &sku,
        sku_price_id: &rate,
        unit: "Hrs",
        currency: "USD",
        tier_from: Decimal::ZERO,
        tier_to: None,
        amount: Decimal::new(960 + price_id % 9_000, 4),
        attributes: std::borrow::Cow::Owned(attributes(price_id)),
    };
    NewEvent::new(price_stream(price_id), PRICE_LISTED, &data).expecting(0)
}

pub(crate) fn changed(price_id: i64, turn: i64) -> NewEvent {
    let (previous, amount) = (Decimal::new(960 + turn % 9_000, 4), Decimal::new(961 + turn % 9_000, 4));
    let data = PriceMoved {
        v: 1,
        price_id,
        provider: "aws",
        service: "AmazonEC2",
        region: "eu-west-3",
        previous,
        amount: Some(amount),
        relative_change: relative_change(previous, amount),
        missed_runs: None,
        cause: "refresh",
    };
    NewEvent::new(price_stream(price_id), PRICE_CHANGED, &data)
}

/// Lists prices; `ids` follow those listed before.
pub(crate) async fn list(pool: &PgPool, ids: std::ops::RangeInclusive<i64>) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let mut bulk = BulkAppend::begin(&mut connection, Origin::shared("bench", Uuid::now_v7())).await?;
    let mut events = Vec::with_capacity(CHUNK_EVENTS);
    for price_id in ids {
        events.push(listed(price_id));
        if events.len() == CHUNK_EVENTS {
            bulk.append(std::mem::take(&mut events)).await?;
        }
    }
    bulk.append(events).await?;
    bulk.commit().await?;
    Ok(())
}
