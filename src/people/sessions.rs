//! Sessions: opened by one person, found again by that person alone.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::PeopleError;
use super::input::Checks;
use crate::access::{Principal, tenant_transaction};
use crate::ledger::AppendError;

/// The longest life of a session.
pub const MAX_SESSION: Duration = Duration::from_hours(24 * 30);
/// Where the request does not say.
const DEFAULT_SESSION: Duration = Duration::from_hours(24);
/// The most open sessions of one person.
pub const MAX_SESSIONS: i64 = 100;

/// A session, as its subject sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct Session {
    /// Random, so that it cannot be guessed; still, only its subject can use it.
    pub session_id: Uuid,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// From when on its overrides no longer apply.
    pub expires_at: DateTime<Utc>,
}

impl Session {
    /// Whether it is open.
    ///
    /// # Errors
    /// It has expired; the message says what to do.
    pub fn open_at(&self, now: DateTime<Utc>) -> Result<(), String> {
        if self.expires_at > now {
            return Ok(());
        }
        Err(format!(
            "the session expired at {}; open another with POST /v1/sessions and set its overrides again",
            self.expires_at
        ))
    }
}

/// Opens a session of the caller. With the key of a request that was carried out, it is the session of that request.
///
/// # Errors
/// A time that is past or too far; too many open sessions; a key that was used for another request; or the database
/// failed.
pub async fn session_open(
    pool: &PgPool,
    caller: &Principal,
    expires_at: Option<DateTime<Utc>>,
    idempotency: Option<(&str, &[u8; 32])>,
    now: DateTime<Utc>,
) -> Result<Session, PeopleError> {
    let mut transaction = tenant_transaction(pool, &caller.tenant).await?;
    // Openings in a tenant take turns, so that the count holds, and one key opens one session.
    sqlx::query(include_str!("sql/session_turn.sql"))
        .bind(&*caller.tenant)
        .execute(&mut *transaction)
        .await?;
    if let Some((key, sha256)) = idempotency
        && let Some(session) = opened_before(&mut transaction, caller, key, sha256).await?
    {
        return Ok(session);
    }
    let now = now.trunc_subsecs(6);
    let mut checks = Checks::default();
    let expires_at = match expires_at {
        Some(at) => checks.end(at, now, now + MAX_SESSION, "the end of the longest session"),
        None => now + DEFAULT_SESSION,
    };
    checks.finish()?;
    sqlx::query(include_str!("sql/session_forget.sql"))
        .bind(&*caller.tenant)
        .bind(&*caller.subject)
        .bind(now - MAX_SESSION)
        .execute(&mut *transaction)
        .await?;
    let session: Option<Session> = sqlx::query_as(include_str!("sql/session_open.sql"))
        .bind(Uuid::new_v4())
        .bind(&*caller.tenant)
        .bind(&*caller.subject)
        .bind(now)
        .bind(expires_at)
        .bind(idempotency.map(|(key, _)| key))
        .bind(idempotency.map(|(_, sha256)| sha256.as_slice()))
        .bind(MAX_SESSIONS)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.commit().await?;
    session.ok_or_else(|| {
        PeopleError::Conflict(format!(
            "{MAX_SESSIONS} sessions are open, the most there can be; let one expire"
        ))
    })
}

async fn opened_before(
    connection: &mut PgConnection,
    caller: &Principal,
    key: &str,
    sha256: &[u8; 32],
) -> Result<Option<Session>, PeopleError> {
    #[derive(sqlx::FromRow)]
    struct Known {
        #[sqlx(flatten)]
        session: Session,
        request_sha256: Vec<u8>,
    }
    let known: Option<Known> = sqlx::query_as(include_str!("sql/session_of_key.sql"))
        .bind(&*caller.tenant)
        .bind(key)
        .fetch_optional(connection)
        .await?;
    match known {
        Some(known) if known.request_sha256 != sha256 => Err(AppendError::KeyReused(key.to_owned()).into()),
        known => Ok(known.map(|known| known.session)),
    }
}

/// A session of the caller, open or not; `None` where there is none, or it is somebody else's.
///
/// # Errors
/// The database failed.
pub async fn session_get(
    pool: &PgPool,
    caller: &Principal,
    session_id: Uuid,
) -> Result<Option<Session>, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, &caller.tenant).await?;
    let session = sqlx::query_as(include_str!("sql/session_get.sql"))
        .bind(session_id)
        .bind(&*caller.tenant)
        .bind(&*caller.subject)
        .fetch_optional(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(session)
}

/// The same, only while it is open.
pub(super) async fn session_to_use(
    pool: &PgPool,
    caller: &Principal,
    session_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Session, PeopleError> {
    let session = session_get(pool, caller, session_id).await?;
    let session = session.ok_or_else(|| PeopleError::not_found("session", &session_id))?;
    session.open_at(now).map_err(PeopleError::Conflict)?;
    Ok(session)
}
