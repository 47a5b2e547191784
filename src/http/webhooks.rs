//! Webhooks of the tenant that asks.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Http;
use super::body::read_json;
use super::page::{Parameters, not_found, page_of, paged};
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::pricing::Page;
use crate::webhooks::{DeadLetter, WebhookError, WebhookRow};

/// A webhook that was just made.
#[derive(Serialize)]
struct Created<'a> {
    #[serde(flatten)]
    webhook: &'a WebhookRow,
    /// Not to be had again.
    secret: String,
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        match error {
            WebhookError::Invalid(detail) => Self::new(ProblemType::InvalidRequest, detail),
            WebhookError::Database(error) => error.into(),
        }
    }
}

fn id_of(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| not_found("webhook", text))
}

/// `POST /v1/webhooks`.
pub(super) async fn create(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_json(request).await?;
    let new = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("the body: {error}; send {{\"url\": ...}} and, if you like, filters");
        Problem::new(ProblemType::InvalidRequest, detail)
    })?;
    let created_by = format!("user:{}", principal.subject);
    let (webhook, secret) = http.webhooks.create(&principal.tenant, &created_by, &new).await?;
    let place = format!("/v1/webhooks/{}", webhook.webhook_id);
    let created = Created { webhook: &webhook, secret: secret.expose() };
    let headers = [(header::LOCATION, place), (header::CACHE_CONTROL, "no-store".to_owned())];
    Ok((StatusCode::CREATED, headers, axum::Json(created)).into_response())
}

/// `GET /v1/webhooks`.
pub(super) async fn list(State(http): State<Http>, principal: Principal) -> Result<Response, Problem> {
    let webhooks = http.webhooks.list(&principal.tenant).await?;
    Ok(axum::Json(serde_json::json!({"items": webhooks})).into_response())
}

/// `GET /v1/webhooks/{webhook_id}`.
pub(super) async fn show(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let webhook = http.webhooks.get(&principal.tenant, id_of(&id)?).await?;
    Ok(axum::Json(webhook.ok_or_else(|| not_found("webhook", &id))?).into_response())
}

/// `DELETE /v1/webhooks/{webhook_id}`.
pub(super) async fn delete(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    if http.webhooks.delete(&principal.tenant, id_of(&id)?).await? {
        Ok(StatusCode::NO_CONTENT.into_response())
    } else {
        Err(not_found("webhook", &id))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    after: Option<i64>,
    limit: Option<i64>,
}

/// `GET /v1/webhooks/{webhook_id}/dead-letters`.
pub(super) async fn dead_letters(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
    uri: Uri,
    Parameters(list): Parameters<List>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(list.limit, list.after)?;
    let letters = http.webhooks.dead_letters(&principal.tenant, id_of(&id)?, after, limit + 1).await?;
    let letters = letters.ok_or_else(|| not_found("webhook", &id))?;
    Ok(paged(&uri, &Page::of(letters, limit, |letter: &DeadLetter| letter.position)))
}

/// `POST /v1/webhooks/{webhook_id}/dead-letters/replay`: 202, since it takes a while.
pub(super) async fn replay(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let replaying = http.webhooks.replay(&principal.tenant, id_of(&id)?).await?;
    let replaying = replaying.ok_or_else(|| not_found("webhook", &id))?;
    Ok((StatusCode::ACCEPTED, axum::Json(serde_json::json!({"replaying": replaying}))).into_response())
}
