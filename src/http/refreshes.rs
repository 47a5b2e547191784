//! Refreshes: as they were recorded, on demand, and released.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::Http;
use super::body::{IdempotencyKey, idempotency_key, json_of, read_json};
use super::page::{PagingByState, Parameters, not_found, page_of, paged, state_of, text_of};
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::pricing::Page;
use crate::sources::live::{Asked, Demand, DemandError};
use crate::sources::refresh::{
    RefreshError, RefreshRow, Refresher, Report, STATES, refresh_get, refreshes, release as refresh_release,
};

/// Refreshes in the order in which they last changed.
#[utoipa::path(get, path = "/v1/refreshes", params(PagingByState), responses((status = 200, body = Page<RefreshRow>)))]
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

/// A refresh as it is shown.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
#[schema(as = Refresh)]
pub(super) enum Shown {
    /// By the ledger.
    Recorded(Box<RefreshRow>),
    /// By the process that was asked for it.
    Asked(Asked),
}

/// One refresh; also one that was asked for and is not in the ledger yet.
#[utoipa::path(
    get,
    path = "/v1/refreshes/{refresh_id}",
    params(("refresh_id" = Uuid, Path, description = "of the refresh")),
    responses((status = 200, body = Shown)),
)]
pub(super) async fn show(
    State(http): State<Http>,
    Path(id): Path<String>,
) -> Result<axum::Json<Shown>, Problem> {
    let refresh_id = id.parse().map_err(|_| not_found("refresh", &id))?;
    if let Some(row) = refresh_get(&http.pool, refresh_id).await? {
        return Ok(axum::Json(Shown::Recorded(Box::new(row))));
    }
    let asked = http.on_demand.get(refresh_id).ok_or_else(|| not_found("refresh", &id))?;
    Ok(axum::Json(Shown::Asked(asked)))
}

/// What `POST /v1/refreshes` takes; nothing stands for all lists.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RefreshesWanted)]
struct Start {
    /// A configured source; all where it is left out.
    #[schema(max_length = 500)]
    source: Option<String>,
    /// A scope of the source; all where it is left out.
    #[schema(max_length = 500)]
    scope: Option<String>,
}

/// What will be fetched.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RefreshesAccepted)]
struct Accepted {
    refreshes: Vec<Asked>,
}

/// Fetches configured lists, as the schedule does.
///
/// Answers before they are fetched, with the ids to look after them by.
#[utoipa::path(
    post,
    path = "/v1/refreshes",
    params(IdempotencyKey),
    request_body(content = Option<Start>, example = json!({"source": "aws", "scope": "AmazonEC2/eu-west-3"})),
    responses(
        (status = 202, body = Accepted, headers(("location" = String, description = "of the refresh"))),
        (status = 409, description = "one is under way, too many wait, or the key was used for another request"),
    ),
)]
pub(super) async fn start(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let key = idempotency_key(request.headers())?;
    let body = read_json(request).await?;
    let start: Start = json_of(&body, "{\"source\":NAME,\"scope\":SCOPE}, or nothing for all lists")?;
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
    let body = axum::Json(Accepted { refreshes: asked });
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location)], body).into_response())
}

/// Applies what a quarantined refresh observed.
#[utoipa::path(
    post,
    path = "/v1/refreshes/{refresh_id}/release",
    params(("refresh_id" = Uuid, Path, description = "of the refresh")),
    responses(
        (status = 200, body = Report),
        (status = 409, description = "it is not in quarantine, or was released already"),
    ),
)]
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
