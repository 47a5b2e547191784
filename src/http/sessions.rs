//! Sessions and their overrides.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use super::Http;
use super::body::{IdempotencyKey, idempotent, json_of, read_json};
use super::page::{Paging, Parameters, not_found, page_of, paged};
use super::prices::price_id_of;
use super::problem::Problem;
use crate::access::Principal;
use crate::people::{
    NewOverride, OverrideRow, Session, override_clear, override_set, overrides_list, session_get,
    session_open,
};
use crate::pricing::Page;

/// What `POST /v1/sessions` takes; nothing stands for a session of a day.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSession)]
struct Open {
    expires_at: Option<DateTime<Utc>>,
}

/// Opens a session of the caller.
///
/// Nothing, or an empty object, opens one of a day.
#[utoipa::path(
    post,
    path = "/v1/sessions",
    params(IdempotencyKey),
    request_body(content = Option<Open>, example = json!({"expires_at": null})),
    responses(
        (status = 201, body = Session, headers(("location" = String, description = "of the session"))),
        (status = 409, description = "the caller has as many as possible, or the idempotency key was used otherwise"),
    ),
)]
pub(super) async fn open(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let (headers, path) = (request.headers().clone(), request.uri().path().to_owned());
    let body = read_json(request).await?;
    let key = idempotent(&headers, &principal, &path, &body)?;
    let Open { expires_at } = json_of(&body, "{\"expires_at\":TIME}, or nothing for a session of a day")?;
    let key = key.as_ref().map(|idempotent| (idempotent.key.as_str(), &idempotent.request_sha256));
    let session = session_open(&http.pool, &principal, expires_at, key, Utc::now()).await?;
    let location = format!("/v1/sessions/{}", session.session_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(session)).into_response())
}

/// A session of the caller, open or not.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session_id}",
    params(("session_id" = Uuid, Path, description = "Of the caller.")),
    responses((status = 200, body = Session)),
)]
pub(super) async fn show(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let session = session_get(&http.pool, &principal, session_id_of(&id)?).await?;
    Ok(axum::Json(session.ok_or_else(|| not_found("session", &id))?).into_response())
}

/// The overrides that apply now, by price id.
#[utoipa::path(
    get,
    path = "/v1/sessions/{session_id}/overrides",
    params(("session_id" = Uuid, Path, description = "Of the caller."), Paging),
    responses((status = 200, body = Page<OverrideRow>)),
)]
pub(super) async fn overrides(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
    uri: Uri,
    Parameters(paging): Parameters<Paging>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(paging.limit, paging.after)?;
    let rows = overrides_list(&http.pool, &principal, session_id_of(&id)?, after, limit + 1).await?;
    Ok(paged(&uri, &Page::of(rows, limit, |row: &OverrideRow| row.price_id)))
}

/// What `PUT /v1/sessions/{id}/overrides/{price_id}` takes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewOverride)]
struct Set {
    amount: String,
    reason: String,
    expires_at: Option<DateTime<Utc>>,
}

/// The session calculates with this amount from now on.
#[utoipa::path(
    put,
    path = "/v1/sessions/{session_id}/overrides/{price_id}",
    params(("session_id" = Uuid, Path, description = "Of the caller."), ("price_id" = i64, Path, description = "Of this ledger.")),
    request_body(content = Set, example = json!({"amount": "0.0401", "reason": "our private offer", "expires_at": null})),
    responses(
        (status = 200, body = OverrideRow, description = "in place of another"),
        (status = 201, body = OverrideRow),
        (status = 409, description = "the session is over, or has as many overrides as possible"),
    ),
)]
pub(super) async fn set(
    State(http): State<Http>,
    principal: Principal,
    Path((id, price_id)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    let (session_id, price_id) = (session_id_of(&id)?, price_id_of(&price_id)?);
    let body = read_json(request).await?;
    let Set { amount, reason, expires_at } =
        json_of(&body, "{\"amount\":\"0.0472\",\"reason\":TEXT,\"expires_at\":TIME or null}")?;
    let new = NewOverride { amount, reason, expires_at };
    let appender = &http.refresher.appender;
    let (row, is_new) = override_set(&http.pool, appender, &principal, session_id, price_id, &new).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, axum::Json(row)).into_response())
}

/// The session calculates with the official price again.
#[utoipa::path(
    delete,
    path = "/v1/sessions/{session_id}/overrides/{price_id}",
    params(("session_id" = Uuid, Path, description = "Of the caller."), ("price_id" = i64, Path, description = "Of this ledger.")),
    responses(
        (status = 204, description = "cleared"),
        (status = 409, description = "the session is over"),
    ),
)]
pub(super) async fn clear(
    State(http): State<Http>,
    principal: Principal,
    Path((id, price_id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (session_id, price_id) = (session_id_of(&id)?, price_id_of(&price_id)?);
    override_clear(&http.pool, &http.refresher.appender, &principal, session_id, price_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn session_id_of(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| not_found("session", id))
}
