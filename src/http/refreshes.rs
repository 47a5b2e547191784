//! Refreshes: as they were recorded, on demand, and released.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;

use super::Http;
use super::body::{idempotency_key, read_json};
use super::page::{PagingByState, Parameters, not_found, page_of, paged, state_of, text_of};
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::pricing::Page;
use crate::sources::live::{Demand, DemandError};
use crate::sources::refresh::{
    RefreshError, RefreshRow, Refresher, STATES, refresh_get, refreshes, release as refresh_release,
};

/// `GET /v1/refreshes`: in the order in which they last changed.
pub(super) async fn list(
    State(http): State<Http>,
    uri: Uri,
    Parameters(list): Parameters<PagingByState>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(list.limit, list.after)?;
    let state = state_of("a refresh", list.state, &STATES)?;
    let rows = refreshes(&http.pool, after, state.as_deref(), limit + 1).await?;
    Ok(paged(&uri, &Page::of(rows, limit, |row: &RefreshRow| row.position)))
}

/// `GET /v1/refreshes/{id}`: one; also one that was asked for and is not in the ledger yet.
pub(super) async fn show(State(http): State<Http>, Path(id): Path<String>) -> Result<Response, Problem> {
    let refresh_id = id.parse().map_err(|_| not_found("refresh", &id))?;
    if let Some(row) = refresh_get(&http.pool, refresh_id).await? {
        return Ok(axum::Json(row).into_response());
    }
    let asked = http.on_demand.get(refresh_id).ok_or_else(|| not_found("refresh", &id))?;
    Ok(axum::Json(asked).into_response())
}

/// What `POST /v1/refreshes` takes; nothing stands for all lists.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    source: Option<String>,
    scope: Option<String>,
}

/// `POST /v1/refreshes`: fetches configured lists, as the schedule does. Answers before they are fetched, with the ids
/// to look after them by.
pub(super) async fn start(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let body = read_json(request).await?;
    let start: Start = if body.is_empty() {
        Start::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| {
            let detail =
                format!("{error}; send {{\"source\":NAME,\"scope\":SCOPE}}, or nothing for all lists");
            Problem::new(ProblemType::InvalidRequest, detail)
        })?
    };
    let (source, scope) = (text_of("source", start.source)?, text_of("scope", start.scope)?);
    let asked = http
        .on_demand
        .request(Demand {
            source: source.as_deref(),
            scope: scope.as_deref(),
            actor: &principal.shared_actor(),
            idempotency: key.as_deref().map(|key| (&*principal.tenant, key)),
        })
        .await
        .map_err(|error| match error {
            DemandError::Unknown(_) => Problem::new(ProblemType::InvalidRequest, error.to_string()),
            DemandError::UnderWay { .. } | DemandError::KeyReused | DemandError::Full => {
                Problem::new(ProblemType::Conflict, error.to_string())
            }
            DemandError::Database(error) => error.into(),
        })?;
    let location = match &asked[..] {
        [one] => format!("/v1/refreshes/{}", one.refresh_id),
        _ => "/v1/refreshes".to_owned(),
    };
    let body = axum::Json(serde_json::json!({ "refreshes": asked }));
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response())
}

/// `POST /v1/refreshes/{id}/release`: applies what a quarantined refresh observed. A second one is a conflict.
pub(super) async fn release(
    State(http): State<Http>,
    Path(id): Path<String>,
    principal: Principal,
) -> Result<Response, Problem> {
    let refresh_id = id.parse().map_err(|_| not_found("refresh", &id))?;
    refresh_get(&http.pool, refresh_id).await?.ok_or_else(|| not_found("refresh", &id))?;
    let refresher = Refresher { actor: principal.shared_actor().into(), ..http.refresher };
    // A task of its own: a caller who goes away does not stop it halfway.
    let released = tokio::spawn(async move { refresh_release(&refresher, refresh_id).await }).await;
    match released {
        Ok(Ok(report)) => Ok(axum::Json(report).into_response()),
        Ok(Err(error @ (RefreshError::NotReleasable(_) | RefreshError::Refused(_)))) => {
            Err(Problem::new(ProblemType::Conflict, error.to_string()))
        }
        Ok(Err(RefreshError::Database(error))) => Err(error.into()),
        Ok(Err(RefreshError::Append(error))) => Err(error.into()),
        Ok(Err(error)) => {
            tracing::error!(%error, "a release failed");
            Err(Problem::internal())
        }
        Err(error) => {
            tracing::error!(%error, "a release failed");
            Err(Problem::internal())
        }
    }
}
