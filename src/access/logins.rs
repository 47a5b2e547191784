//! How users come in: a password for a pair of tokens, a refresh token for the next pair, once (RFC 9700, 4.14.2).

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::opaque::{Kind, Named, opaque_make, opaque_read};
use super::passwords::{PasswordError, password_checked, password_hash, password_verify};
use super::principal::{InvalidPrincipal, Principal, Role, subject_checked, tenant_checked};
use super::tenant::tenant_transaction;
use super::users::{logins_end, seconds};

/// How long an access token is valid: so long does a user who was disabled, or has another role, go on as before.
pub const ACCESS_LIFETIME: Duration = Duration::from_mins(15);
/// How long a login lasts, however often it is renewed.
const LOGIN_LIFETIME: Duration = Duration::from_hours(24 * 30);
/// How long a refresh token may be left unused.
const REFRESH_LIFETIME: Duration = Duration::from_hours(24 * 7);
/// Logins of a user that go on; another one ends the one that was not used for longest.
const MAX_LOGINS: i64 = 20;

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// No such user, no password, another password, or disabled: which of them is not told.
    #[error(
        "tenant, name and password do not belong together, or the user is not let in; an administrator can make a new \
         setup token"
    )]
    Password,
    /// The setup token is not good.
    #[error("the setup token is not known, used, or too old; ask an administrator for another one")]
    Setup,
    /// The refresh token is not good.
    #[error("the refresh token is not known, used, or too old, or the user was logged out; log in again")]
    Refresh,
    /// The password could not be verified.
    #[error("{0}")]
    Failed(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

impl From<PasswordError> for LoginError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Length(_) => Self::Invalid(error.to_string()),
            PasswordError::Failed(_) => Self::Failed(error.to_string()),
        }
    }
}

/// Who says to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    tenant: String,
    name: String,
}

impl Account {
    /// An account that could be; whether it is, is not asked.
    ///
    /// # Errors
    /// There can be no such tenant or no such name.
    pub fn new(tenant: &str, name: &str) -> Result<Self, InvalidPrincipal> {
        Ok(Self { tenant: tenant_checked(tenant)?.to_owned(), name: subject_checked(name)?.to_owned() })
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.tenant, self.name)
    }
}

/// A user who was let in.
#[derive(Debug)]
pub struct Login {
    /// In the role of this moment.
    pub principal: Principal,
    /// For the next pair of tokens.
    pub refresh_token: SecretString,
    /// How long it is good, in seconds.
    pub refresh_seconds: i64,
}

/// Lets a user in who knows the password.
///
/// # Errors
/// See [`LoginError`].
pub async fn login(pool: &PgPool, account: &Account, password: SecretString) -> Result<Login, LoginError> {
    let Verified { user_id, hash } = verified(pool, account, password).await?;
    let Account { tenant, name } = account;
    let mut transaction = tenant_transaction(pool, tenant).await?;
    let role: Option<String> = sqlx::query_scalar(include_str!("sql/login_admit.sql"))
        .bind(tenant)
        .bind(user_id)
        .bind(hash)
        .fetch_optional(&mut *transaction)
        .await?;
    let principal = principal(tenant, name, &role.ok_or(LoginError::Password)?)?;
    let login_id = Uuid::new_v4();
    let (token, sha256) = opaque_make(Kind::Refresh, tenant, login_id);
    let refresh_seconds = sqlx::query_scalar(include_str!("sql/login_begin.sql"))
        .bind(login_id)
        .bind(tenant)
        .bind(user_id)
        .bind(sha256)
        .bind(seconds(LOGIN_LIFETIME))
        .bind(seconds(REFRESH_LIFETIME))
        .fetch_one(&mut *transaction)
        .await?;
    sqlx::query(include_str!("sql/logins_tidy.sql"))
        .bind(tenant)
        .bind(user_id)
        .bind(MAX_LOGINS)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Login { principal, refresh_token: token.into(), refresh_seconds })
}

/// The next pair of tokens of a login. If the token was renewed before, one of the two who have it is a thief, and the login
/// ends for both.
///
/// # Errors
/// See [`LoginError`].
pub async fn login_renew(pool: &PgPool, token: &SecretString) -> Result<Login, LoginError> {
    #[derive(sqlx::FromRow)]
    struct Renewed {
        name: String,
        role: String,
        seconds: i64,
    }
    let shown = opaque_read(Kind::Refresh, token.expose_secret()).ok_or(LoginError::Refresh)?;
    let (next, sha256) = opaque_make(Kind::Refresh, &shown.tenant, shown.id);
    let mut transaction = tenant_transaction(pool, &shown.tenant).await?;
    let renewed: Option<Renewed> = sqlx::query_as(include_str!("sql/login_renew.sql"))
        .bind(&shown.tenant)
        .bind(shown.id)
        .bind(&shown.sha256)
        .bind(sha256)
        .bind(seconds(REFRESH_LIFETIME))
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(Renewed { name, role, seconds }) = renewed else {
        let ended = end(&mut transaction, &shown).await?;
        transaction.commit().await?;
        if let Some(Ended { user_id, is_reuse: true }) = ended {
            let tenant = &shown.tenant;
            tracing::warn!(tenant, %user_id, "a refresh token was used twice: the login was ended, it may be stolen");
        }
        return Err(LoginError::Refresh);
    };
    transaction.commit().await?;
    let principal = principal(&shown.tenant, &name, &role)?;
    Ok(Login { principal, refresh_token: next.into(), refresh_seconds: seconds })
}

/// Ends the login of a refresh token, if there is one (RFC 7009).
///
/// # Errors
/// The database failed.
pub async fn login_end(pool: &PgPool, token: &SecretString) -> Result<(), sqlx::Error> {
    let Some(shown) = opaque_read(Kind::Refresh, token.expose_secret()) else { return Ok(()) };
    let mut transaction = tenant_transaction(pool, &shown.tenant).await?;
    end(&mut transaction, &shown).await?;
    transaction.commit().await
}

/// Sets the first password of a user, or the first one after a reset. The setup token is not good any more.
///
/// # Errors
/// See [`LoginError`].
pub async fn password_setup(
    pool: &PgPool,
    token: &SecretString,
    password: SecretString,
) -> Result<(), LoginError> {
    password_checked(&password)?;
    let shown = opaque_read(Kind::Setup, token.expose_secret()).ok_or(LoginError::Setup)?;
    let mut transaction = tenant_transaction(pool, &shown.tenant).await?;
    // Asked before, so that only those who have a good one make us hash.
    let is_good: bool = sqlx::query_scalar(include_str!("sql/setup_find.sql"))
        .bind(&shown.tenant)
        .bind(shown.id)
        .bind(&shown.sha256)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    if !is_good {
        return Err(LoginError::Setup);
    }
    let hash = password_hash(password).await?;
    let mut transaction = tenant_transaction(pool, &shown.tenant).await?;
    let set = sqlx::query(include_str!("sql/setup_use.sql"))
        .bind(&shown.tenant)
        .bind(shown.id)
        .bind(&shown.sha256)
        .bind(hash)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    if set.rows_affected() == 0 { Err(LoginError::Setup) } else { Ok(()) }
}

/// Replaces the password of a user who knows it, and ends all logins.
///
/// # Errors
/// See [`LoginError`].
pub async fn password_change(
    pool: &PgPool,
    account: &Account,
    password: SecretString,
    new: SecretString,
) -> Result<(), LoginError> {
    password_checked(&new)?;
    let Verified { user_id, hash } = verified(pool, account, password).await?;
    let new = password_hash(new).await?;
    let tenant = &account.tenant;
    let mut transaction = tenant_transaction(pool, tenant).await?;
    let set = sqlx::query(include_str!("sql/password_change.sql"))
        .bind(tenant)
        .bind(user_id)
        .bind(hash)
        .bind(new)
        .execute(&mut *transaction)
        .await?;
    if set.rows_affected() == 0 {
        return Err(LoginError::Password);
    }
    logins_end(&mut transaction, tenant, user_id).await?;
    transaction.commit().await?;
    Ok(())
}

/// A user whose password was verified, and the hash that it was verified with.
#[derive(sqlx::FromRow)]
struct Verified {
    user_id: Uuid,
    #[sqlx(rename = "password_hash")]
    hash: String,
}

/// Takes as long, and answers alike, whatever is wrong.
async fn verified(pool: &PgPool, account: &Account, password: SecretString) -> Result<Verified, LoginError> {
    let mut transaction = tenant_transaction(pool, &account.tenant).await?;
    let found: Option<Verified> = sqlx::query_as(include_str!("sql/password_find.sql"))
        .bind(&account.tenant)
        .bind(&account.name)
        .fetch_optional(&mut *transaction)
        .await?;
    // No connection waits for a hash.
    transaction.rollback().await?;
    let is_right = password_verify(password, found.as_ref().map(|found| found.hash.clone())).await?;
    found.filter(|_| is_right).ok_or(LoginError::Password)
}

fn principal(tenant: &str, name: &str, role: &str) -> Result<Principal, sqlx::Error> {
    let principal = role.parse::<Role>().and_then(|role| Principal::new(tenant, name, role));
    principal.map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

#[derive(sqlx::FromRow)]
struct Ended {
    user_id: Uuid,
    is_reuse: bool,
}

async fn end(connection: &mut PgConnection, shown: &Named) -> Result<Option<Ended>, sqlx::Error> {
    sqlx::query_as(include_str!("sql/login_end.sql"))
        .bind(&shown.tenant)
        .bind(shown.id)
        .bind(&shown.sha256)
        .fetch_optional(connection)
        .await
}
