//! API keys: for programs, which cannot log in. Shown once, kept as a hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use sqlx::PgPool;
use uuid::Uuid;

use super::principal::{Principal, Role, tenant_checked};
use super::tenant::tenant_transaction;

/// What every key begins with, so that scanners for leaked secrets and people know it.
pub(super) const KEY_PREFIX: &str = "mrc_";
/// Random bytes of a key.
const KEY_BYTES: usize = 32;
/// Characters of a key that are kept to recognise it by, beside [`KEY_PREFIX`]; 48 of its 256 bits.
const SHOWN_CHARACTERS: usize = 8;
/// Keys of a tenant that are not revoked.
const MAX_KEYS: i64 = 1_000;
/// Keys that are listed.
const MAX_LISTED: i64 = 2_000;
/// The longest name of a key, in characters.
const MAX_NAME_CHARACTERS: usize = 100;

/// A key as it is shown, without the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[expect(missing_docs, reason = "see migrations/0003_api_keys.sql")]
pub struct ApiKey {
    pub key_id: Uuid,
    pub name: String,
    /// How the key begins.
    pub prefix: String,
    pub role: String,
    /// What it is narrowed to; `None`: all that the role may.
    pub scopes: Option<Vec<String>>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// The person whom it acts for: who made it, or made the key that did.
    pub owner: String,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    /// To the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// It would be more than the key that makes it.
    #[error("a key with scopes makes only keys with some of them: {0}")]
    Beyond(String),
    /// The tenant has as many as it may.
    #[error("the tenant has {MAX_KEYS} keys; revoke one that is not used")]
    TooMany,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// What a new key should be.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// What it is narrowed to within the role, of the scopes that there are; `None`: nothing.
    pub scopes: Option<Vec<String>>,
    /// When it ends, if it does.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Makes a key for the tenant of `by`. The second value is the key itself, which nobody can be told again.
///
/// # Errors
/// See [`KeysError`].
pub async fn key_create(
    pool: &PgPool,
    by: &Principal,
    new: &NewApiKey,
) -> Result<(ApiKey, String), KeysError> {
    let characters = new.name.chars().count();
    if !(1..=MAX_NAME_CHARACTERS).contains(&characters) || new.name.chars().any(char::is_control) {
        let text =
            format!("name: 1 to {MAX_NAME_CHARACTERS} characters are needed, and no control characters");
        return Err(KeysError::Invalid(text));
    }
    if new.expires_at.is_some_and(|at| at <= Utc::now()) {
        return Err(KeysError::Invalid("expires_at: the time is past; give a later one or none".to_owned()));
    }
    if let Some(own) = by.scopes()
        && !new.scopes.as_ref().is_some_and(|wanted| wanted.iter().all(|scope| own.contains(scope)))
    {
        return Err(KeysError::Beyond(own.join(", ")));
    }
    let key = format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; KEY_BYTES]>()));
    let mut transaction = tenant_transaction(pool, &by.tenant).await?;
    let kept: Option<ApiKey> = sqlx::query_as(include_str!("sql/key_create.sql"))
        .bind(Uuid::now_v7())
        .bind(&*by.tenant)
        .bind(&new.name)
        .bind(&key[..KEY_PREFIX.len() + SHOWN_CHARACTERS])
        .bind(hash(&key))
        .bind(new.role.name())
        .bind(&new.scopes)
        .bind(by.actor())
        .bind(by.person())
        .bind(new.expires_at)
        .bind(MAX_KEYS)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok((kept.ok_or(KeysError::TooMany)?, key))
}

/// The keys of a tenant, newest first, also revoked ones.
///
/// # Errors
/// The database failed.
pub async fn key_list(pool: &PgPool, tenant: &str) -> Result<Vec<ApiKey>, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, tenant).await?;
    let keys = sqlx::query_as(include_str!("sql/key_list.sql"))
        .bind(tenant)
        .bind(MAX_LISTED)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(keys)
}

/// Revokes a key of a tenant, from the next request on; whether there is one.
///
/// # Errors
/// The database failed.
pub async fn key_revoke(pool: &PgPool, tenant: &str, key_id: Uuid) -> Result<bool, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, tenant).await?;
    let revoked = sqlx::query(include_str!("sql/key_revoke.sql"))
        .bind(tenant)
        .bind(key_id)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(revoked.rows_affected() > 0)
}

#[derive(sqlx::FromRow)]
struct Found {
    key_id: Uuid,
    tenant: String,
    role: String,
    scopes: Option<Vec<String>>,
    owner: String,
    expires_at: Option<DateTime<Utc>>,
    is_to_note: bool,
}

/// Whose key it is; `None` where it is nobody's, or not any more.
///
/// # Errors
/// The database failed.
pub(super) async fn key_verify(pool: &PgPool, key: &str) -> Result<Option<Principal>, sqlx::Error> {
    let found: Option<Found> =
        sqlx::query_as(include_str!("sql/key_find.sql")).bind(hash(key)).fetch_optional(pool).await?;
    let Some(found) = found else { return Ok(None) };
    if found.is_to_note {
        sqlx::query(include_str!("sql/key_used.sql")).bind(found.key_id).execute(pool).await?;
    }
    let inconsistent = |error| sqlx::Error::Decode(Box::new(error));
    let role = found.role.parse().map_err(inconsistent)?;
    let tenant = tenant_checked(&found.tenant).map_err(inconsistent)?;
    let principal = Principal::of_key(tenant, found.key_id, role, &found.owner, found.scopes);
    Ok(Some(principal.until(found.expires_at)))
}

/// The person behind an actor of events of a tenant: the owner of a key, else the actor itself.
///
/// # Errors
/// The database failed.
pub async fn person_behind(pool: &PgPool, tenant: &str, actor: &str) -> Result<String, sqlx::Error> {
    let Some(key_id) = actor.strip_prefix("key:").and_then(|id| id.parse::<Uuid>().ok()) else {
        return Ok(actor.to_owned());
    };
    let mut transaction = tenant_transaction(pool, tenant).await?;
    let owner: Option<String> = sqlx::query_scalar(include_str!("sql/key_owner.sql"))
        .bind(tenant)
        .bind(key_id)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(owner.unwrap_or_else(|| actor.to_owned()))
}

/// The key has as many random bits as the hash: a slow hash or a salt would add nothing, and what is compared by the index
/// is the hash, of which a caller does not choose the bits.
fn hash(key: &str) -> Vec<u8> {
    Sha256::digest(key).to_vec()
}
