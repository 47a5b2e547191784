//! From a line to the prices it may mean.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::PricingError;
use super::listing::ListingRow;
use crate::domain::estimate::RequestLine;
use crate::domain::selection::Candidate;

/// At which prices are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct When {
    /// Time in the world.
    pub(super) as_of: DateTime<Utc>,
    /// What the ledger has recorded after this position is not known.
    pub(super) known_at: i64,
}

/// A line matches fewer prices than this before attributes narrow them; more are not read, hence refused.
pub(super) const MAX_CANDIDATES: usize = 5_000;

/// Where the line's price belongs: the grain at which caches are validated.
pub(super) fn place(line: &RequestLine) -> String {
    format!("{}/{}/{}", line.provider, line.service, line.region)
}

/// Everything that the choice of the line's rate depends on.
pub(super) fn line_key(line: &RequestLine) -> String {
    let mut key = format!(
        "{}\0{}\0{}\0{}\0{}\0{:?}",
        line.provider,
        line.service,
        line.region,
        line.resource,
        line.pricing_model.name(),
        line.pricing_basis
    );
    for (name, value) in &line.attributes {
        key.push('\0');
        key.push_str(name);
        key.push('\0');
        key.push_str(value);
    }
    key
}

#[derive(Debug, sqlx::FromRow)]
struct CandidateRow {
    line: i64,
    #[sqlx(flatten)]
    listing: ListingRow,
    amount: Decimal,
    effective_at: DateTime<Utc>,
    position: i64,
}

/// What a line may mean.
#[derive(Debug, Default)]
pub(super) struct Meant {
    /// Prices that have the resource's name, with all tiers and fees.
    pub(super) candidates: Vec<Candidate>,
    /// Where the resource names one certain price rather than a product: the attribute that says so.
    pub(super) identity: Option<(&'static str, String)>,
}

/// What each of `lines` may mean, in their order, in force now or as of a time.
pub(super) async fn candidates(
    connection: &mut PgConnection,
    lines: &[&RequestLine],
    at: Option<When>,
) -> Result<Vec<Meant>, PricingError> {
    let named: Vec<(&RequestLine, &str)> = lines.iter().map(|line| (*line, line.resource.as_str())).collect();
    let mut meant: Vec<Meant> = find(connection, &named, at)
        .await?
        .into_iter()
        .zip(lines)
        .map(|(candidates, line)| Meant { identity: identity(&candidates, &line.resource), candidates })
        .collect();
    // A price by its own name is one tier; the line needs the others of its SKU as well. SKUs may share a meter.
    let mut alone: Vec<(usize, String)> = Vec::new();
    for (index, meant) in meant.iter_mut().enumerate().filter(|(_, meant)| meant.identity.is_some()) {
        let skus: BTreeSet<&str> =
            meant.candidates.iter().map(|candidate| candidate.listing.sku_id.as_str()).collect();
        alone.extend(skus.into_iter().map(|sku_id| (index, sku_id.to_owned())));
        meant.candidates.clear();
    }
    if !alone.is_empty() {
        let skus: Vec<(&RequestLine, &str)> =
            alone.iter().map(|(index, sku_id)| (lines[*index], sku_id.as_str())).collect();
        for ((index, _), siblings) in alone.iter().zip(find(connection, &skus, at).await?) {
            meant[*index].candidates.extend(siblings);
        }
        for meant in meant.iter_mut().filter(|meant| meant.identity.is_some()) {
            meant.candidates.sort_by_key(|candidate| candidate.price_id);
            meant.candidates.dedup_by_key(|candidate| candidate.price_id);
        }
    }
    Ok(meant)
}

/// Whether `resource` is the price id, the key or the rate code or meter of these candidates.
fn identity(candidates: &[Candidate], resource: &str) -> Option<(&'static str, String)> {
    candidates.iter().find_map(|candidate| {
        let listing = &candidate.listing;
        if resource.parse() == Ok(candidate.price_id) || listing.key.eq_ignore_ascii_case(resource) {
            Some(("price_id", candidate.price_id.to_string()))
        } else if listing.sku_price_id.eq_ignore_ascii_case(resource) {
            Some(("sku_price_id", resource.to_owned()))
        } else {
            None
        }
    })
}

/// Prices by name, for several lines in one query.
async fn find(
    connection: &mut PgConnection,
    names: &[(&RequestLine, &str)],
    at: Option<When>,
) -> Result<Vec<Vec<Candidate>>, PricingError> {
    let lookups: Vec<String> =
        names.iter().map(|(line, name)| format!("{}/{name}", place(line)).to_lowercase()).collect();
    let price_ids: Vec<Option<i64>> = names.iter().map(|(_, name)| name.parse().ok()).collect();
    let statement = match at {
        None => sqlx::query_as::<_, CandidateRow>(include_str!("sql/candidates.sql")),
        Some(_) => sqlx::query_as::<_, CandidateRow>(include_str!("sql/candidates_as_of.sql")),
    };
    let mut statement = statement
        .bind(lookups)
        .bind(price_ids)
        .bind(i64::try_from(MAX_CANDIDATES + 1).expect("a small number"));
    if let Some(When { as_of, known_at }) = at {
        statement = statement.bind(as_of).bind(known_at);
    }
    let mut found: Vec<Vec<Candidate>> = vec![Vec::new(); names.len()];
    for row in statement.fetch_all(connection).await? {
        let place = usize::try_from(row.line - 1).expect("ordinality counts from one");
        let line = names[place].0;
        // A price id leads to one price wherever it is; the line says where it has to be.
        if row.listing.provider != line.provider
            || row.listing.service != line.service
            || row.listing.region != line.region
        {
            continue;
        }
        let (price_id, listing) = row.listing.read()?;
        found[place].push(Candidate {
            price_id,
            listing: Arc::new(listing),
            amount: row.amount.normalize(),
            effective_at: row.effective_at,
            position: row.position,
        });
    }
    Ok(found)
}

/// What to try where nothing is known under the line's resource.
pub(super) async fn nearest(
    connection: &mut PgConnection,
    line: &RequestLine,
    as_of: Option<DateTime<Utc>>,
) -> Result<String, PricingError> {
    let prefix = place(line).to_lowercase();
    let resource = line.resource.to_lowercase();
    let names: Vec<String> = sqlx::query_scalar(include_str!("sql/nearest.sql"))
        .bind(&line.provider)
        .bind(&line.service)
        .bind(&line.region)
        .bind(&resource)
        .bind(i32::try_from(prefix.chars().count() + 2).unwrap_or(i32::MAX))
        .fetch_all(&mut *connection)
        .await?;
    if names.contains(&resource) {
        let then = as_of.map_or_else(|| "now".to_owned(), |as_of| format!("as of {as_of}"));
        return Ok(format!(
            "it is on record, but not in force {then}; the history of its price says when it is \
             (GET /v1/prices/{{id}}/history, `mercuriale prices history`)"
        ));
    }
    if !names.is_empty() {
        return Ok(format!("the nearest names there are {}", names.join(", ")));
    }
    let places: Vec<(String, String, String)> =
        sqlx::query_as(include_str!("sql/places.sql")).fetch_all(connection).await?;
    if places
        .iter()
        .any(|(provider, service, region)| format!("{provider}/{service}/{region}") == place(line))
    {
        return Ok("search GET /v1/prices for the names there are".to_owned());
    }
    Ok(nearest_place(&line.provider, Some(&line.service), Some(&line.region), &places))
}

/// The known places whose names are the nearest; what is not named may be anything.
pub(super) fn nearest_place(
    provider: &str,
    service: Option<&str>,
    region: Option<&str>,
    places: &[(String, String, String)],
) -> String {
    let mut near: Vec<(usize, String)> = places
        .iter()
        .map(|known| {
            let distance = strsim::levenshtein(&known.0, provider)
                + service.map_or(0, |service| {
                    strsim::levenshtein(&known.1.to_lowercase(), &service.to_lowercase())
                })
                + region.map_or(0, |region| strsim::levenshtein(&known.2, region));
            (distance, format!("{} {} in {}", known.0, known.1, known.2))
        })
        .collect();
    near.sort();
    let near: Vec<String> = near.into_iter().take(5).map(|(_, name)| name).collect();
    if near.is_empty() {
        "the ledger holds no prices yet: load a price list with `mercuriale refresh`".to_owned()
    } else {
        format!("prices are known of {}", near.join(", "))
    }
}
