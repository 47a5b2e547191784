//! API keys of the caller's tenant.

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Http;
use super::body::read_json;
use super::page::not_found;
use super::problem::{Problem, ProblemType};
use crate::access::{ApiKey, KeysError, NewApiKey, Principal, Role, key_create, key_list, key_revoke};

/// What `POST /v1/api-keys` takes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    name: String,
    role: Role,
    #[serde(default)]
    expires_at: Option<DateTime<Utc>>,
}

/// A key that was made just now.
#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    shown: ApiKey,
    /// The key itself, this once.
    key: String,
}

/// `POST /v1/api-keys`: makes one. The answer is the only place that ever shows the key.
pub(super) async fn create(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_json(request).await?;
    let New { name, role, expires_at } = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("{error}; send {{\"name\":NAME,\"role\":ROLE,\"expires_at\":TIME or null}}");
        Problem::new(ProblemType::InvalidRequest, detail)
    })?;
    let new = NewApiKey { name, role, expires_at };
    let (shown, key) = key_create(&http.pool, &principal, &new).await.map_err(|error| match error {
        KeysError::Invalid(detail) => Problem::new(ProblemType::InvalidRequest, detail),
        KeysError::TooMany => Problem::new(ProblemType::Conflict, error.to_string()),
        KeysError::Database(error) => error.into(),
    })?;
    let headers = [
        (header::LOCATION, format!("/v1/api-keys/{}", shown.key_id)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, axum::Json(Created { shown, key })).into_response())
}

/// `GET /v1/api-keys`: those of the tenant, newest first, without the keys themselves.
pub(super) async fn list(State(http): State<Http>, principal: Principal) -> Result<Response, Problem> {
    let items = key_list(&http.pool, &principal.tenant).await?;
    Ok(axum::Json(serde_json::json!({ "items": items })).into_response())
}

/// `DELETE /v1/api-keys/{id}`: revokes one from now on.
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
