//! Prices: search, one price, its history, what was observed of it.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Datelike as _, Utc};
use serde::Deserialize;

use super::Http;
use super::page::{Paging, Parameters, not_found, page_of, paged, text_of};
use super::problem::{Problem, ProblemType};
use crate::domain::estimate::YEARS;
use crate::pricing::{HistoryRow, Observed, Page, PriceFilter, PriceRow};

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Search {
    /// `aws`, `azure`, ...
    #[param(example = "aws", max_length = 500)]
    provider: Option<String>,
    /// AWS offer code or Azure service name.
    #[param(example = "AmazonEC2", max_length = 500)]
    service: Option<String>,
    /// Region code.
    #[param(example = "eu-west-3", max_length = 500)]
    region: Option<String>,
    /// A whole name: instance type, ARM SKU name, meter name, usage type, SKU.
    #[param(example = "t3.medium", max_length = 500)]
    resource: Option<String>,
    /// Free text over names and attributes.
    #[param(max_length = 500)]
    q: Option<String>,
    /// Amounts as of this time in the world, of the years 2000 to 2199; now, where it is left out.
    as_of: Option<DateTime<Utc>>,
    /// Where the page before ended: follow its `Link` header.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Rows of the page; 100 where it is left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
}

/// Prices that match all parameters, by price id.
#[utoipa::path(get, path = "/v1/prices", params(Search), responses((status = 200, body = Page<PriceRow>)))]
pub(super) async fn search(
    State(http): State<Http>,
    uri: Uri,
    Parameters(search): Parameters<Search>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(search.limit, search.after)?;
    let filter = PriceFilter {
        provider: text_of("provider", search.provider)?,
        service: text_of("service", search.service)?,
        region: text_of("region", search.region)?,
        resource: text_of("resource", search.resource)?,
        q: text_of("q", search.q)?,
        as_of: search.as_of.map(year_checked).transpose()?,
    };
    Ok(paged(&uri, &http.pricing.prices_find(&filter, after, limit).await?))
}

/// PostgreSQL's time line is shorter than the type's.
pub(super) fn year_checked(as_of: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
    if YEARS.contains(&as_of.year()) {
        return Ok(as_of);
    }
    let detail = format!("as_of: give a time of the years {} to {}", YEARS.start(), YEARS.end());
    Err(Problem::new(ProblemType::InvalidRequest, detail))
}

/// Documents what [`price_id_of`] reads.
#[derive(utoipa::IntoParams)]
#[allow(dead_code, reason = "nobody makes one")]
#[into_params(names("price_id"), parameter_in = Path)]
pub(super) struct PriceId(
    /// Of this ledger.
    i64,
);

pub(super) fn price_id_of(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| not_found("price", id))
}

/// One price.
#[utoipa::path(get, path = "/v1/prices/{price_id}", params(PriceId), responses((status = 200, body = PriceRow)))]
pub(super) async fn show(State(http): State<Http>, Path(id): Path<String>) -> Result<Response, Problem> {
    let price = http.pricing.price_get(price_id_of(&id)?).await?.ok_or_else(|| not_found("price", &id))?;
    Ok(axum::Json(price).into_response())
}

/// The events of a price, oldest first.
#[utoipa::path(
    get,
    path = "/v1/prices/{price_id}/history",
    params(PriceId, Paging),
    responses((status = 200, body = Page<HistoryRow>)),
)]
pub(super) async fn history(
    State(http): State<Http>,
    Path(id): Path<String>,
    uri: Uri,
    Parameters(paging): Parameters<Paging>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(paging.limit, paging.after)?;
    let price_id = price_id_of(&id)?;
    let page = http.pricing.price_history(price_id, after, limit).await?;
    if page.items.is_empty() && http.pricing.price_get(price_id).await?.is_none() {
        return Err(not_found("price", &id));
    }
    Ok(paged(&uri, &page))
}

/// What each refresh saw of a price, oldest first.
#[utoipa::path(
    get,
    path = "/v1/prices/{price_id}/observations",
    params(PriceId, Paging),
    responses((status = 200, body = Page<Observed>)),
)]
pub(super) async fn observations(
    State(http): State<Http>,
    Path(id): Path<String>,
    uri: Uri,
    Parameters(paging): Parameters<Paging>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(paging.limit, paging.after)?;
    let price_id = price_id_of(&id)?;
    let page = http.pricing.price_observations(price_id, after, limit).await?;
    if page.items.is_empty() && http.pricing.price_get(price_id).await?.is_none() {
        return Err(not_found("price", &id));
    }
    Ok(paged(&uri, &page))
}
