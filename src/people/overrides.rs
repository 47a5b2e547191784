//! Overrides: a session's own price in place of an official one.

use std::collections::HashMap;

use chrono::{DateTime, SubsecRound as _, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::input::{Checks, MAX_REASON_CHARS};
use super::sessions::session_to_use;
use super::{ATTEMPTS, PeopleError};
use crate::access::{Principal, tenant_transaction};
use crate::domain::arithmetic::{Override, Overrides};
use crate::domain::event::{
    NewEvent, OVERRIDE_CLEARED, OVERRIDE_SET, OverrideCleared, OverrideSet, session_stream,
};
use crate::ledger::{Append, AppendError, Appender};

/// The most prices that a session overrides at a time.
pub const MAX_OVERRIDES: i64 = 500;

/// An override that applies, beside the price that it replaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct OverrideRow {
    /// The price.
    pub price_id: i64,
    /// What the session calculates with.
    pub amount: Decimal,
    /// Why.
    pub reason: String,
    /// From when on it no longer applies; `None`: as long as the session lasts.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was set.
    pub set_at: DateTime<Utc>,
    /// Position of the event that set it.
    pub position: i64,
    /// The official price now; `None`: it was withdrawn.
    #[sqlx(skip)]
    pub list_unit_price: Option<Decimal>,
}

/// What somebody wants a session to calculate with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOverride {
    /// A decimal, zero or more.
    pub amount: String,
    /// Why.
    pub reason: String,
    /// From when on it no longer applies.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Price id, amount, reason, end and position, see `sql/overrides_used.sql`.
type UsedRow = (i64, Decimal, String, Option<DateTime<Utc>>, i64);

/// What a decision depends on, see `sql/override_standing.sql`.
#[derive(Debug, sqlx::FromRow)]
struct Standing {
    stream_version: i64,
    is_price: bool,
}

/// Sets an override in a session of the caller; true where the session had none of that price. The same one again
/// changes nothing.
///
/// # Errors
/// No such session or price, a session that has expired or has too many overrides, amounts or texts that are refused,
/// or the ledger failed.
pub async fn override_set(
    pool: &PgPool,
    appender: &Appender,
    caller: &Principal,
    session_id: Uuid,
    price_id: i64,
    new: &NewOverride,
) -> Result<(OverrideRow, bool), PeopleError> {
    let now = Utc::now().trunc_subsecs(6);
    let session = session_to_use(pool, caller, session_id, now).await?;
    let mut checks = Checks::default();
    let amount = checks.amount(&new.amount);
    let reason = checks.text("/reason", &new.reason, MAX_REASON_CHARS);
    let expires_at =
        new.expires_at.map(|at| checks.end(at, now, session.expires_at, "when the session itself ends"));
    checks.finish()?;
    let amount = amount.unwrap_or_default();
    for _ in 0..ATTEMPTS {
        let standing = standing(pool, session_id, price_id).await?;
        if !standing.is_price {
            return Err(PeopleError::not_found("price", &price_id));
        }
        // Read after the version, as all below: if it has changed since, the append is refused.
        if others(pool, caller, session_id, price_id, now).await? >= MAX_OVERRIDES {
            let text =
                format!("the session overrides {MAX_OVERRIDES} prices, the most there can be; clear some");
            return Err(PeopleError::Conflict(text));
        }
        let before = override_of(pool, caller, session_id, price_id, now).await?;
        if let Some(before) = &before
            && (before.amount, &before.reason, before.expires_at) == (amount, &reason, expires_at)
        {
            return Ok((before.clone(), false));
        }
        let data = OverrideSet { v: 1, price_id, amount, reason: &reason, expires_at };
        let event =
            NewEvent::new(session_stream(session_id), OVERRIDE_SET, &data).expecting(standing.stream_version);
        if append_alone(appender, caller, event).await? {
            let set = override_of(pool, caller, session_id, price_id, now).await?;
            let cleared = || PeopleError::Conflict("it was cleared at once by another request".to_owned());
            return Ok((set.ok_or_else(cleared)?, before.is_none()));
        }
    }
    Err(PeopleError::crowded())
}

/// Clears an override of a session of the caller.
///
/// # Errors
/// No such session or override, a session that has expired, or the ledger failed.
pub async fn override_clear(
    pool: &PgPool,
    appender: &Appender,
    caller: &Principal,
    session_id: Uuid,
    price_id: i64,
) -> Result<(), PeopleError> {
    let now = Utc::now();
    session_to_use(pool, caller, session_id, now).await?;
    for _ in 0..ATTEMPTS {
        let standing = standing(pool, session_id, price_id).await?;
        if override_of(pool, caller, session_id, price_id, now).await?.is_none() {
            return Err(PeopleError::not_found("override of price", &price_id));
        }
        let event =
            NewEvent::new(session_stream(session_id), OVERRIDE_CLEARED, &OverrideCleared { v: 1, price_id })
                .expecting(standing.stream_version);
        if append_alone(appender, caller, event).await? {
            return Ok(());
        }
    }
    Err(PeopleError::crowded())
}

/// Up to `limit` overrides of a session of the caller that apply now, after a price id.
///
/// # Errors
/// No such session, one that has expired, or the database failed.
pub async fn overrides_list(
    pool: &PgPool,
    caller: &Principal,
    session_id: Uuid,
    after: i64,
    limit: i64,
) -> Result<Vec<OverrideRow>, PeopleError> {
    let now = Utc::now();
    session_to_use(pool, caller, session_id, now).await?;
    Ok(listed(pool, caller, session_id, None, now, (after, limit)).await?)
}

/// The override of one price that applies now.
pub(super) async fn override_of(
    pool: &PgPool,
    caller: &Principal,
    session_id: Uuid,
    price_id: i64,
    now: DateTime<Utc>,
) -> Result<Option<OverrideRow>, sqlx::Error> {
    let rows = listed(pool, caller, session_id, Some(price_id), now, (i64::MIN, 1)).await?;
    Ok(rows.into_iter().next())
}

async fn listed(
    pool: &PgPool,
    caller: &Principal,
    session_id: Uuid,
    price_id: Option<i64>,
    now: DateTime<Utc>,
    (after, limit): (i64, i64),
) -> Result<Vec<OverrideRow>, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, &caller.tenant).await?;
    let mut rows: Vec<OverrideRow> = sqlx::query_as(include_str!("sql/overrides_list.sql"))
        .bind(session_id)
        .bind(&*caller.tenant)
        .bind(now)
        .bind(price_id)
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    let price_ids: Vec<i64> = rows.iter().map(|row| row.price_id).collect();
    let officials: Vec<(i64, Decimal)> =
        sqlx::query_as(include_str!("sql/list_prices.sql")).bind(price_ids).fetch_all(pool).await?;
    let officials: HashMap<i64, Decimal> = officials.into_iter().collect();
    for row in &mut rows {
        row.amount = row.amount.normalize();
        row.list_unit_price = officials.get(&row.price_id).map(Decimal::normalize);
    }
    Ok(rows)
}

/// The overrides with which an estimate at a position of the log calculates, whatever happened to them later. The caller
/// has to be known to be the subject of the session.
///
/// # Errors
/// The database failed.
pub async fn overrides_used(
    pool: &PgPool,
    caller: &Principal,
    session_id: Uuid,
    position: i64,
    now: DateTime<Utc>,
    as_of: Option<DateTime<Utc>>,
) -> Result<Overrides, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, &caller.tenant).await?;
    let rows: Vec<UsedRow> = sqlx::query_as(include_str!("sql/overrides_used.sql"))
        .bind(session_id)
        .bind(&*caller.tenant)
        .bind(position)
        .bind(now)
        .bind(as_of)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(rows
        .into_iter()
        .map(|(price_id, amount, reason, expires_at, position)| {
            (price_id, Override { amount: amount.normalize(), reason, expires_at, position })
        })
        .collect())
}

async fn standing(pool: &PgPool, session_id: Uuid, price_id: i64) -> Result<Standing, sqlx::Error> {
    sqlx::query_as(include_str!("sql/override_standing.sql"))
        .bind(session_stream(session_id))
        .bind(price_id)
        .fetch_one(pool)
        .await
}

/// How many overrides of other prices apply in the session.
async fn others(
    pool: &PgPool,
    caller: &Principal,
    session_id: Uuid,
    price_id: i64,
    now: DateTime<Utc>,
) -> Result<i64, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, &caller.tenant).await?;
    let count = sqlx::query_scalar(include_str!("sql/overrides_others.sql"))
        .bind(session_id)
        .bind(&*caller.tenant)
        .bind(price_id)
        .bind(now)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(count)
}

/// Whether the event was appended; if not, somebody else has written to the session's stream.
async fn append_alone(appender: &Appender, caller: &Principal, event: NewEvent) -> Result<bool, PeopleError> {
    let append = Append { origin: caller.origin(Uuid::now_v7()), events: vec![event], idempotency: None };
    match appender.append(append).await {
        Ok(_) => Ok(true),
        Err(AppendError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
