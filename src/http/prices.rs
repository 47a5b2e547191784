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
use crate::pricing::PriceFilter;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Search {
    provider: Option<String>,
    service: Option<String>,
    region: Option<String>,
    resource: Option<String>,
    q: Option<String>,
    as_of: Option<DateTime<Utc>>,
    after: Option<i64>,
    limit: Option<i64>,
}

/// `GET /v1/prices`: prices that match all parameters, by price id.
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
fn year_checked(as_of: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
    if YEARS.contains(&as_of.year()) {
        return Ok(as_of);
    }
    let detail = format!("as_of: give a time of the years {} to {}", YEARS.start(), YEARS.end());
    Err(Problem::new(ProblemType::InvalidRequest, detail))
}

pub(super) fn price_id_of(id: &str) -> Result<i64, Problem> {
    id.parse().map_err(|_| not_found("price", id))
}

/// `GET /v1/prices/{id}`: one price.
pub(super) async fn show(State(http): State<Http>, Path(id): Path<String>) -> Result<Response, Problem> {
    let price = http.pricing.price_get(price_id_of(&id)?).await?.ok_or_else(|| not_found("price", &id))?;
    Ok(axum::Json(price).into_response())
}

/// `GET /v1/prices/{id}/history`: its events, oldest first.
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

/// `GET /v1/prices/{id}/observations`: what each refresh saw of it, oldest first.
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
