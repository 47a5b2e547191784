//! Users: people whom this service itself lets in. Administrators of a tenant make them; a password they set themselves.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::opaque::{Kind, opaque_make};
use super::principal::{Principal, Role, subject_checked};
use super::tenant::tenant_transaction;

/// How long a setup token may be used.
const SETUP_LIFETIME: Duration = Duration::from_hours(72);
/// The longest name, in characters.
const MAX_NAME_CHARACTERS: usize = 100;
/// Users of a tenant, with those who are disabled: their names are never free again.
const MAX_USERS: i64 = 2_000;

/// A user, as administrators see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[expect(missing_docs, reason = "see migrations/0008_users.sql")]
pub struct User {
    pub user_id: Uuid,
    /// Unique in the tenant; the subject of tokens, and so the actor of events.
    pub name: String,
    pub role: String,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// Since when they are not let in; `None`: they are.
    pub disabled_at: Option<DateTime<Utc>>,
    /// `None`: they have none.
    pub password_set_at: Option<DateTime<Utc>>,
    /// Until when the setup token may be used that waits for it.
    pub setup_expires_at: Option<DateTime<Utc>>,
}

/// Why nothing was done with a user.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// Somebody has the name, or had it.
    #[error("there is a user of this name; names are not given twice, since they are in the ledger")]
    Taken,
    /// The tenant has as many as it may.
    #[error("the tenant has {MAX_USERS} users, the most there can be")]
    TooMany,
    /// There is none with this id in the tenant.
    #[error("there is no such user")]
    NotFound,
    /// Nobody locks themselves out.
    #[error("nobody disables themselves, nor changes their own role; ask another administrator")]
    Oneself,
    /// A disabled user gets no setup token.
    #[error("the user is disabled; enable them first")]
    Disabled,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// Makes a user in the tenant of `by`. The second value is the setup token, which nobody can be told again.
///
/// # Errors
/// See [`UsersError`].
pub async fn user_create(
    pool: &PgPool,
    by: &Principal,
    name: &str,
    role: Role,
) -> Result<(User, String), UsersError> {
    let name = subject_checked(name).map_err(|error| UsersError::Invalid(format!("name: {error}")))?;
    if name.chars().count() > MAX_NAME_CHARACTERS {
        let text = format!("name: it has more than {MAX_NAME_CHARACTERS} characters; choose a shorter one");
        return Err(UsersError::Invalid(text));
    }
    let user_id = Uuid::now_v7();
    let (token, sha256) = opaque_make(Kind::Setup, &by.tenant, user_id);
    let mut transaction = tenant_transaction(pool, &by.tenant).await?;
    let kept: Result<Option<User>, sqlx::Error> = sqlx::query_as(include_str!("sql/user_create.sql"))
        .bind(user_id)
        .bind(&*by.tenant)
        .bind(name)
        .bind(role.name())
        .bind(by.actor())
        .bind(sha256)
        .bind(seconds(SETUP_LIFETIME))
        .bind(MAX_USERS)
        .fetch_optional(&mut *transaction)
        .await;
    let kept =
        kept.map_err(|error| match error.as_database_error().and_then(|error| error.constraint()) {
            Some("users_name") => UsersError::Taken,
            _ => error.into(),
        })?;
    transaction.commit().await?;
    Ok((kept.ok_or(UsersError::TooMany)?, token))
}

/// The users of a tenant, newest first, also those who are disabled.
///
/// # Errors
/// The database failed.
pub async fn user_list(pool: &PgPool, tenant: &str) -> Result<Vec<User>, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, tenant).await?;
    let users = sqlx::query_as(include_str!("sql/user_list.sql"))
        .bind(tenant)
        .bind(MAX_USERS)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(users)
}

/// Changes the role of a user, for all access tokens from now on, or whether they are let in. Who is disabled is logged out.
///
/// # Errors
/// See [`UsersError`].
pub async fn user_change(
    pool: &PgPool,
    by: &Principal,
    user_id: Uuid,
    role: Option<Role>,
    disabled: Option<bool>,
) -> Result<User, UsersError> {
    let mut transaction = tenant_transaction(pool, &by.tenant).await?;
    let found = found(&mut transaction, &by.tenant, user_id).await?;
    let is_change = role.is_some_and(|role| role.name() != found.role) || disabled == Some(true);
    if is_change && format!("user:{}", found.name) == by.person() {
        return Err(UsersError::Oneself);
    }
    let user = sqlx::query_as(include_str!("sql/user_change.sql"))
        .bind(&*by.tenant)
        .bind(user_id)
        .bind(role.map(Role::name))
        .bind(disabled)
        .fetch_one(&mut *transaction)
        .await?;
    if disabled == Some(true) {
        logins_end(&mut transaction, &by.tenant, user_id).await?;
    }
    transaction.commit().await?;
    Ok(user)
}

/// Takes the password of a user away, logs them out, and gives them a setup token, which nobody can be told again.
///
/// # Errors
/// See [`UsersError`].
pub async fn user_reset(pool: &PgPool, by: &Principal, user_id: Uuid) -> Result<(User, String), UsersError> {
    let mut transaction = tenant_transaction(pool, &by.tenant).await?;
    if found(&mut transaction, &by.tenant, user_id).await?.is_disabled {
        return Err(UsersError::Disabled);
    }
    let (token, sha256) = opaque_make(Kind::Setup, &by.tenant, user_id);
    let user = sqlx::query_as(include_str!("sql/user_reset.sql"))
        .bind(&*by.tenant)
        .bind(user_id)
        .bind(sha256)
        .bind(seconds(SETUP_LIFETIME))
        .fetch_one(&mut *transaction)
        .await?;
    logins_end(&mut transaction, &by.tenant, user_id).await?;
    transaction.commit().await?;
    Ok((user, token))
}

#[derive(sqlx::FromRow)]
struct Found {
    name: String,
    role: String,
    is_disabled: bool,
}

/// A user, whom nobody else changes until the transaction ends.
async fn found(connection: &mut PgConnection, tenant: &str, user_id: Uuid) -> Result<Found, UsersError> {
    let found = sqlx::query_as(include_str!("sql/user_find.sql"))
        .bind(tenant)
        .bind(user_id)
        .fetch_optional(connection)
        .await?;
    found.ok_or(UsersError::NotFound)
}

/// Ends all logins of a user. A login that begins at this moment waits for the row of the user, which the transaction has
/// changed before.
pub(super) async fn logins_end(
    connection: &mut PgConnection,
    tenant: &str,
    user_id: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query(include_str!("sql/logins_end.sql")).bind(tenant).bind(user_id).execute(connection).await?;
    Ok(())
}

/// As PostgreSQL counts.
pub(super) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
