//! API keys of the caller's tenant.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Http;
use super::body::{object_of, read_json};
use super::page::{not_found, shown_once, whole};
use super::problem::{Problem, ProblemType};
use super::scopes::scopes_checked;
use crate::access::{ApiKey, KeysError, NewApiKey, Principal, Role, key_create, key_list, key_revoke};
use crate::pricing::Page;

/// What `POST /v1/api-keys` takes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewApiKey)]
struct New {
    /// What people call it; no control characters.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    role: Role,
    /// What it is narrowed to within the role, such as `prices:read`: `x-scope` of a route is what it needs. To write does not
    /// include to read. `null`: all that the role may.
    #[serde(default)]
    #[schema(min_items = 1)]
    scopes: Option<Vec<String>>,
    /// In the future; `null`: never.
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

/// A key that was made just now.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedApiKey)]
struct Created {
    #[serde(flatten)]
    shown: ApiKey,
    /// The key itself, this once.
    key: String,
}

/// Makes an API key.
///
/// The answer is the only place that ever shows the key. A key with scopes can only make keys with some of them.
#[utoipa::path(
    post,
    path = "/v1/api-keys",
    request_body(content = New, example = json!({
        "name": "nightly", "role": "viewer", "scopes": ["prices:read", "estimates:read"], "expires_at": null,
    })),
    responses(
        (status = 201, body = Created, headers(("location" = String, description = "of the key"))),
        (status = 409, description = "the tenant has as many keys as it may"),
    ),
)]
pub(super) async fn create(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_json(request).await?;
    let New { name, role, scopes, expires_at } = object_of(
        &body,
        "{\"name\":NAME,\"role\":ROLE,\"scopes\":[SCOPE,...] or null,\"expires_at\":TIME or null}",
    )?;
    let scopes = scopes.map(|scopes| scopes_checked(scopes, role)).transpose();
    let scopes = scopes.map_err(|detail| Problem::new(ProblemType::InvalidRequest, detail))?;
    let new = NewApiKey { name, role, scopes, expires_at };
    let (shown, key) = key_create(&http.pool, &principal, &new).await.map_err(|error| match error {
        KeysError::Invalid(detail) => Problem::new(ProblemType::InvalidRequest, detail),
        KeysError::Beyond(_) => Problem::new(ProblemType::Forbidden, error.to_string()),
        KeysError::TooMany => Problem::new(ProblemType::Conflict, error.to_string()),
        KeysError::Database(error) => error.into(),
    })?;
    let location = format!("/v1/api-keys/{}", shown.key_id);
    Ok(shown_once(StatusCode::CREATED, location, Created { shown, key }))
}

/// API keys of the tenant, newest first, without the keys themselves.
#[utoipa::path(get, path = "/v1/api-keys", responses((status = 200, body = Page<ApiKey>)))]
pub(super) async fn list(State(http): State<Http>, principal: Principal) -> Result<Response, Problem> {
    Ok(whole(key_list(&http.pool, &principal.tenant).await?))
}

/// Revokes an API key from now on.
#[utoipa::path(
    delete,
    path = "/v1/api-keys/{key_id}",
    params(("key_id" = Uuid, Path, description = "of the tenant")),
    responses((status = 204, description = "it is revoked")),
)]
pub(super) async fn revoke(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let key_id = id.parse().map_err(|_| not_found("API key", &id))?;
    if key_revoke(&http.pool, &principal.tenant, key_id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(not_found("API key", &id))
    }
}
