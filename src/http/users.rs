//! Users of the caller's tenant.

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Http;
use super::body::{object_of, read_json};
use super::page::{not_found, shown_once, whole};
use super::problem::{Problem, ProblemType};
use crate::access::{Principal, Role, User, UsersError, user_change, user_create, user_list, user_reset};
use crate::pricing::Page;

/// What `POST /v1/users` takes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewUser)]
struct New {
    /// Unique in the tenant, also among those who are disabled; at most 200 bytes.
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: String,
    role: Role,
}

/// A user who may set a password now.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = CreatedUser)]
struct Created {
    #[serde(flatten)]
    shown: User,
    /// What the user sets a password with, within 72 hours; shown this once.
    setup_token: String,
}

impl Created {
    fn answer(self, status: StatusCode) -> Response {
        shown_once(status, format!("/v1/users/{}", self.shown.user_id), self)
    }
}

/// What `PATCH /v1/users/{user_id}` takes; what is left out stays.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = UserChange)]
struct Change {
    role: Option<Role>,
    disabled: Option<bool>,
}

/// Documents what [`id_of`] reads.
#[derive(utoipa::IntoParams)]
#[allow(dead_code, reason = "nobody makes one")]
#[into_params(names("user_id"), parameter_in = Path)]
struct UserId(
    /// Of the tenant.
    Uuid,
);

fn id_of(text: &str) -> Result<Uuid, Problem> {
    text.parse().map_err(|_| not_found("user", text))
}

/// `id` is as the caller wrote it.
fn refused(error: UsersError, id: &str) -> Problem {
    match error {
        UsersError::Invalid(detail) => Problem::new(ProblemType::InvalidRequest, detail),
        UsersError::NotFound => not_found("user", id),
        UsersError::Oneself => Problem::new(ProblemType::Forbidden, error.to_string()),
        UsersError::Taken | UsersError::TooMany | UsersError::Disabled => {
            Problem::new(ProblemType::Conflict, error.to_string())
        }
        UsersError::Database(error) => error.into(),
    }
}

/// Makes a user.
///
/// The answer is the only place that ever shows the setup token, with which the user sets a password: see
/// `POST /v1/password`.
#[utoipa::path(
    post,
    path = "/v1/users",
    request_body(content = New, example = json!({"name": "ada@example.org", "role": "analyst"})),
    responses(
        (status = 201, body = Created, headers(("location" = String, description = "of the user"))),
        (status = 409, description = "somebody has the name, or had it, or the tenant has as many users as it may"),
    ),
)]
pub(super) async fn create(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let body = read_json(request).await?;
    let New { name, role } = object_of(&body, "{\"name\":NAME,\"role\":ROLE}")?;
    let created = user_create(&http.pool, &principal, &name, role).await;
    let (shown, setup_token) = created.map_err(|error| refused(error, &name))?;
    Ok(Created { shown, setup_token }.answer(StatusCode::CREATED))
}

/// Users of the tenant, newest first, also those who are disabled.
#[utoipa::path(get, path = "/v1/users", responses((status = 200, body = Page<User>)))]
pub(super) async fn list(State(http): State<Http>, principal: Principal) -> Result<Response, Problem> {
    Ok(whole(user_list(&http.pool, &principal.tenant).await?))
}

/// Gives a user another role, or lets them in no longer, or again.
///
/// Refresh tokens end at once with `disabled`, and bring the new role when they are used; access tokens that were issued before
/// go on for 15 minutes at most. Nobody does this to themselves.
#[utoipa::path(
    patch,
    path = "/v1/users/{user_id}",
    params(UserId),
    request_body(content = Change, example = json!({"role": "viewer", "disabled": false})),
    responses((status = 200, body = User)),
)]
pub(super) async fn change(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let user_id = id_of(&id)?;
    let body = read_json(request).await?;
    let Change { role, disabled } =
        object_of(&body, "{\"role\":ROLE,\"disabled\":true or false}, or one of them")?;
    let changed = user_change(&http.pool, &principal, user_id, role, disabled).await;
    Ok(axum::Json(changed.map_err(|error| refused(error, &id))?).into_response())
}

/// Takes the password of a user away, ends their refresh tokens, and gives them another setup token.
///
/// For those who forgot the password, or let the setup token get too old.
#[utoipa::path(
    post,
    path = "/v1/users/{user_id}/setup-token",
    params(UserId),
    responses(
        (status = 200, body = Created),
        (status = 409, description = "the user is disabled"),
    ),
)]
pub(super) async fn reset(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let reset = user_reset(&http.pool, &principal, id_of(&id)?).await;
    let (shown, setup_token) = reset.map_err(|error| refused(error, &id))?;
    Ok(Created { shown, setup_token }.answer(StatusCode::OK))
}
