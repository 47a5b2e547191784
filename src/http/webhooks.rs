//! Webhooks of the tenant that asks.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Http;
use super::body::{object_of, read_json};
use super::page::{Parameters, not_found, page_of, paged, shown_once, whole};
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::pricing::Page;
use crate::webhooks::{DeadLetter, NewWebhook, WebhookError, WebhookRow};

/// A webhook that was just made.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedWebhook)]
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

/// Documents what [`id_of`] reads.
#[derive(utoipa::IntoParams)]
#[allow(dead_code, reason = "nobody makes one")]
#[into_params(names("webhook_id"), parameter_in = Path)]
struct WebhookId(
    /// Of the tenant.
    Uuid,
);

/// What is tried once more.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct Replaying {
    /// Dead letters.
    replaying: u64,
}

fn id_of(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| not_found("webhook", text))
}

/// Makes a webhook, which is told of what is recorded from now on.
///
/// The answer is the only place that ever shows its secret.
#[utoipa::path(
    post,
    path = "/v1/webhooks",
    request_body(content = NewWebhook, example = json!({
        "url": "https://prices.example.org/told", "event_types": ["price.changed"], "provider": "aws",
    })),
    responses((status = 201, body = Created, headers(("location" = String, description = "of the webhook")))),
)]
pub(super) async fn create(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_json(request).await?;
    let new = object_of(&body, "{\"url\": ...} and, if you like, filters")?;
    let (webhook, secret) = http.webhooks.create(&principal.tenant, &principal.actor(), &new).await?;
    let place = format!("/v1/webhooks/{}", webhook.webhook_id);
    let created = Created { webhook: &webhook, secret: secret.expose() };
    Ok(shown_once(StatusCode::CREATED, place, created))
}

/// Webhooks of the tenant.
#[utoipa::path(get, path = "/v1/webhooks", responses((status = 200, body = Page<WebhookRow>)))]
pub(super) async fn list(State(http): State<Http>, principal: Principal) -> Result<Response, Problem> {
    Ok(whole(http.webhooks.list(&principal.tenant).await?))
}

/// One webhook.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{webhook_id}",
    params(WebhookId),
    responses((status = 200, body = WebhookRow)),
)]
pub(super) async fn show(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let webhook = http.webhooks.get(&principal.tenant, id_of(&id)?).await?;
    Ok(axum::Json(webhook.ok_or_else(|| not_found("webhook", &id))?).into_response())
}

/// Deletes a webhook, with its dead letters.
#[utoipa::path(
    delete,
    path = "/v1/webhooks/{webhook_id}",
    params(WebhookId),
    responses((status = 204, description = "it is deleted")),
)]
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

/// Has a webhook that was disabled told again, from where it was.
///
/// One that is not disabled stays as it is.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{webhook_id}/enable",
    params(WebhookId),
    responses((status = 200, body = WebhookRow)),
)]
pub(super) async fn enable(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let webhook = http.webhooks.enable(&principal.tenant, id_of(&id)?).await?;
    Ok(axum::Json(webhook.ok_or_else(|| not_found("webhook", &id))?).into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Where the page before ended: follow its `Link` header.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Rows of the page; 100 where it is left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
}

/// Events that could not be delivered, by position.
#[utoipa::path(
    get,
    path = "/v1/webhooks/{webhook_id}/dead-letters",
    params(WebhookId, List),
    responses((status = 200, body = Page<DeadLetter>)),
)]
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

/// Tries the dead letters of a webhook once more.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{webhook_id}/dead-letters/replay",
    params(WebhookId),
    responses((status = 202, body = Replaying)),
)]
pub(super) async fn replay(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let replaying = http.webhooks.replay(&principal.tenant, id_of(&id)?).await?;
    let replaying = replaying.ok_or_else(|| not_found("webhook", &id))?;
    Ok((StatusCode::ACCEPTED, axum::Json(Replaying { replaying })).into_response())
}
