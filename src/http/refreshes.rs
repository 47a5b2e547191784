//! Refreshes, as they were recorded.

use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::Http;
use super::page::{Parameters, not_found, page_of, paged, text_of};
use super::problem::{Problem, ProblemType};
use crate::pricing::Page;
use crate::sources::refresh::{RefreshRow, STATES, refresh_get, refreshes};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    state: Option<String>,
    after: Option<i64>,
    limit: Option<i64>,
}

/// `GET /v1/refreshes`: in the order in which they last changed.
pub(super) async fn list(
    State(http): State<Http>,
    uri: Uri,
    Parameters(list): Parameters<List>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(list.limit, list.after)?;
    let state = text_of("state", list.state)?;
    if let Some(state) = state.as_deref().filter(|state| !STATES.contains(state)) {
        let detail = format!("state={state}: a refresh is one of {}", STATES.join(", "));
        return Err(Problem::new(ProblemType::InvalidRequest, detail));
    }
    let rows = refreshes(&http.pool, after, state.as_deref(), limit + 1).await?;
    Ok(paged(&uri, &Page::of(rows, limit, |row: &RefreshRow| row.position)))
}

/// `GET /v1/refreshes/{id}`: one.
pub(super) async fn show(State(http): State<Http>, Path(id): Path<String>) -> Result<Response, Problem> {
    let refresh_id = id.parse().map_err(|_| not_found("refresh", &id))?;
    let row = refresh_get(&http.pool, refresh_id).await?.ok_or_else(|| not_found("refresh", &id))?;
    Ok(axum::Json(row).into_response())
}
