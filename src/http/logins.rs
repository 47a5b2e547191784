//! What users come in with: passwords, and refresh tokens. None of it is ever logged.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::Http;
use super::access::unauthenticated;
use super::body::{object_of, read_credentials};
use super::problem::{Problem, ProblemType};
use crate::access::{
    ACCESS_LIFETIME, Account, Login, LoginError, login, login_end, login_renew, password_change,
    password_setup,
};

/// What `POST /v1/token` takes.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(tag = "grant_type", rename_all = "snake_case", deny_unknown_fields)]
#[schema(as = TokenRequest)]
enum Grant {
    /// A login.
    Password {
        #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._:-]+$")]
        tenant: String,
        #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
        name: String,
        #[schema(value_type = String, max_length = 128)]
        password: SecretString,
    },
    /// The next pair of tokens of a login.
    RefreshToken {
        /// The last one of the login; it is not good after that.
        #[schema(value_type = String)]
        refresh_token: SecretString,
    },
}

/// What `POST /v1/token` answers.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Tokens)]
struct Tokens<'a> {
    /// For the `Authorization` header of requests.
    access_token: &'a str,
    #[schema(pattern = "^Bearer$")]
    token_type: &'static str,
    /// Seconds.
    expires_in: u64,
    /// For the next access token, once.
    refresh_token: &'a str,
    /// Seconds.
    refresh_expires_in: i64,
}

/// What `POST /v1/token/revoke` takes.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenRevocation)]
struct Revoke {
    /// Of the login.
    #[schema(value_type = String)]
    refresh_token: SecretString,
}

/// What `POST /v1/password` takes.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(untagged, expecting = "the fields do not belong together")]
#[schema(as = NewPassword)]
enum Set {
    First(First),
    Next(Next),
}

/// A first password, or the first one after a reset.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FirstPassword)]
struct First {
    /// As an administrator got it for the user.
    #[schema(value_type = String)]
    setup_token: SecretString,
    #[schema(value_type = String, min_length = 12, max_length = 128)]
    password: SecretString,
}

/// Another password.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NextPassword)]
struct Next {
    #[schema(min_length = 1, max_length = 100, pattern = "^[A-Za-z0-9._:-]+$")]
    tenant: String,
    #[schema(min_length = 1, max_length = 100, pattern = "^[^\\x00-\\x1f\\x7f-\\x9f]+$")]
    name: String,
    /// The one until now.
    #[schema(value_type = String, max_length = 128)]
    password: SecretString,
    #[schema(value_type = String, min_length = 12, max_length = 128)]
    new_password: SecretString,
}

impl From<LoginError> for Problem {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::Invalid(detail) => Self::new(ProblemType::InvalidRequest, detail),
            LoginError::Password | LoginError::Setup | LoginError::Refresh => {
                unauthenticated(error.to_string(), r#"Bearer realm="mercuriale""#)
            }
            LoginError::Failed(cause) => {
                tracing::error!(%cause, "a password could not be looked at");
                Self::internal()
            }
            LoginError::Database(error) => error.into(),
        }
    }
}

/// Whose password it is; counted, since passwords can be guessed.
fn account_of(http: &Http, tenant: &str, name: &str) -> Result<Account, Problem> {
    let account = Account::new(tenant, name)
        .map_err(|error| Problem::new(ProblemType::InvalidRequest, error.to_string()))?;
    http.limits.password_for(&account)?;
    Ok(account)
}

/// Logs a user in, or renews a login: an access token for 15 minutes, and a refresh token for the next one.
///
/// A login lasts 30 days, and ends after 7 days without use. A refresh token is good once: if it is used again, the login ends,
/// since one of the two who used it has stolen it.
#[utoipa::path(
    post,
    path = "/v1/token",
    request_body(content = Grant, example = json!({
        "grant_type": "password", "tenant": "default", "name": "ada@example.org", "password": "a long one, such as this",
    })),
    responses(
        (status = 200, body = Tokens),
        (status = 401, description = "the password is not the user's, or the refresh token is not good any more"),
    ),
)]
pub(super) async fn issue(State(http): State<Http>, request: Request) -> Result<Response, Problem> {
    let body = read_credentials(request).await?;
    let grant = object_of(
        &body,
        "{\"grant_type\":\"password\",\"tenant\":TENANT,\"name\":NAME,\"password\":PASSWORD} or \
         {\"grant_type\":\"refresh_token\",\"refresh_token\":TOKEN}",
    )?;
    let Login { principal, refresh_token, refresh_seconds } = match grant {
        Grant::Password { tenant, name, password } => {
            login(&http.pool, &account_of(&http, &tenant, &name)?, password).await?
        }
        Grant::RefreshToken { refresh_token } => login_renew(&http.pool, &refresh_token).await?,
    };
    let (access_token, _) = http.authority.issue(&principal, ACCESS_LIFETIME);
    let tokens = Tokens {
        access_token: &access_token,
        token_type: "Bearer",
        expires_in: ACCESS_LIFETIME.as_secs(),
        refresh_token: refresh_token.expose_secret(),
        refresh_expires_in: refresh_seconds,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], axum::Json(tokens)).into_response())
}

/// Logs out.
///
/// Access tokens that were issued go on for 15 minutes at most. A token that is not good is as good as revoked.
#[utoipa::path(
    post,
    path = "/v1/token/revoke",
    request_body(content = Revoke, example = json!({"refresh_token": "mrr_AZq2kQ"})),
    responses((status = 204, description = "the login is over")),
)]
pub(super) async fn revoke(State(http): State<Http>, request: Request) -> Result<StatusCode, Problem> {
    let body = read_credentials(request).await?;
    let Revoke { refresh_token } = object_of(&body, "{\"refresh_token\":TOKEN}")?;
    login_end(&http.pool, &refresh_token).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a password, with a setup token or in place of another; all logins end.
///
/// It needs 12 to 128 characters, whichever you like.
#[utoipa::path(
    post,
    path = "/v1/password",
    request_body(content = Set, example = json!({
        "setup_token": "mrs_AZq2kQ", "password": "a long one, such as this",
    })),
    responses(
        (status = 204, description = "it is set"),
        (status = 401, description = "the setup token is not good any more, or the password until now is another"),
    ),
)]
pub(super) async fn set_password(State(http): State<Http>, request: Request) -> Result<StatusCode, Problem> {
    let body = read_credentials(request).await?;
    let set = object_of(
        &body,
        "{\"setup_token\":TOKEN,\"password\":PASSWORD} or \
         {\"tenant\":TENANT,\"name\":NAME,\"password\":PASSWORD,\"new_password\":PASSWORD}",
    )?;
    match set {
        Set::First(First { setup_token, password }) => {
            password_setup(&http.pool, &setup_token, password).await?;
        }
        Set::Next(Next { tenant, name, password, new_password }) => {
            let account = account_of(&http, &tenant, &name)?;
            password_change(&http.pool, &account, password, new_password).await?;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}
