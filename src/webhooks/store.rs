//! Webhooks of tenants, and their dead letters. Each query says whose rows it sees; the database keeps it to them.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::sign::Secret;
use super::target::Reach;
use crate::access::tenant_transaction;

/// Webhooks that a tenant may have.
const MAX_WEBHOOKS: i64 = 20;
/// Event types that a webhook may name.
const MAX_TYPES: usize = 50;
/// The longest text of a filter, in bytes.
const MAX_TEXT_BYTES: usize = 500;

/// Why a webhook cannot be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// What is wrong with the request, and what to do.
    #[error("{0}")]
    Invalid(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// A webhook to be made; filters that are `None` do not matter.
#[derive(Debug, Clone, Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the names are those of the events")]
pub struct NewWebhook {
    /// Where events are sent.
    pub url: String,
    pub event_types: Option<Vec<String>>,
    pub provider: Option<String>,
    pub service: Option<String>,
    pub region: Option<String>,
    pub price_id: Option<i64>,
}

/// A webhook as it is shown.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[expect(missing_docs, reason = "see `NewWebhook`")]
pub struct WebhookRow {
    pub webhook_id: Uuid,
    pub url: String,
    pub event_types: Option<Vec<String>>,
    pub provider: Option<String>,
    pub service: Option<String>,
    pub region: Option<String>,
    pub price_id: Option<i64>,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// Why nothing is sent any more.
    pub disabled_why: Option<String>,
    /// Everything up to here was delivered, is a dead letter, or was not wanted.
    pub position: i64,
    /// Failed ones of the event at hand.
    pub attempts: i32,
    /// Since when nothing could be delivered.
    pub failing_since: Option<DateTime<Utc>>,
    /// When the event at hand is tried again.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Events that were given up.
    pub dead_letters: i64,
}

/// An event that was given up.
#[derive(Debug, Clone, serde::Serialize, sqlx::FromRow, utoipa::ToSchema)]
#[expect(missing_docs, reason = "see `ledger::Event`")]
pub struct DeadLetter {
    pub position: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub stream: String,
    pub recorded_at: DateTime<Utc>,
    /// When it was given up, or tried again in vain.
    pub died_at: DateTime<Utc>,
    /// What went wrong last.
    pub error: String,
    /// Whether it is about to be tried again.
    pub replaying: bool,
}

/// The webhooks of all tenants. Clones share it.
#[derive(Debug, Clone)]
pub struct Webhooks {
    pool: PgPool,
    reach: Reach,
}

fn check(new: &NewWebhook, reach: Reach) -> Result<(), String> {
    reach.check(&new.url).map_err(|message| format!("url: {message}"))?;
    if let Some(types) = &new.event_types
        && (types.is_empty() || types.len() > MAX_TYPES)
    {
        return Err(format!("event_types: name 1 to {MAX_TYPES}, or leave it out for all"));
    }
    let types = new.event_types.iter().flatten().map(|text| ("event_types", text));
    let places = [("provider", &new.provider), ("service", &new.service), ("region", &new.region)];
    let places = places.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?)));
    for (name, text) in types.chain(places) {
        if text.is_empty() || text.len() > MAX_TEXT_BYTES || text.contains('\0') {
            return Err(format!("{name}: a text has 1 to {MAX_TEXT_BYTES} bytes, none of them NUL"));
        }
    }
    match new.price_id {
        Some(id) if id < 1 => Err(format!("price_id: {id} is no id of a price")),
        _ => Ok(()),
    }
}

impl Webhooks {
    /// Webhooks that may reach so far.
    pub fn new(pool: PgPool, reach: Reach) -> Self {
        Self { pool, reach }
    }

    /// Makes a webhook that is told of what is recorded from now on. The secret is not to be had again.
    ///
    /// # Errors
    /// The request is not right, the tenant has too many, or the database failed.
    pub async fn create(
        &self,
        tenant: &str,
        created_by: &str,
        new: &NewWebhook,
    ) -> Result<(WebhookRow, Secret), WebhookError> {
        check(new, self.reach).map_err(WebhookError::Invalid)?;
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        sqlx::query(include_str!("sql/lock.sql")).bind(tenant).execute(&mut *transaction).await?;
        let count: i64 = sqlx::query_scalar(include_str!("sql/count.sql"))
            .bind(tenant)
            .fetch_one(&mut *transaction)
            .await?;
        if count >= MAX_WEBHOOKS {
            let message = format!("there are {count} webhooks, the most a tenant may have; delete one first");
            return Err(WebhookError::Invalid(message));
        }
        let (webhook_id, secret) = (Uuid::now_v7(), Secret::new());
        sqlx::query(include_str!("sql/insert.sql"))
            .bind(webhook_id)
            .bind(tenant)
            .bind(&new.url)
            .bind(secret.bytes())
            .bind(&new.event_types)
            .bind(&new.provider)
            .bind(&new.service)
            .bind(&new.region)
            .bind(new.price_id)
            .bind(created_by)
            .execute(&mut *transaction)
            .await?;
        let row = rows(&mut transaction, tenant, Some(webhook_id)).await?.pop();
        transaction.commit().await?;
        Ok((row.ok_or(sqlx::Error::RowNotFound)?, secret))
    }

    /// The webhooks of a tenant.
    ///
    /// # Errors
    /// The database failed.
    pub async fn list(&self, tenant: &str) -> Result<Vec<WebhookRow>, sqlx::Error> {
        rows(&mut tenant_transaction(&self.pool, tenant).await?, tenant, None).await
    }

    /// One of them; `None` if there is none of this id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn get(&self, tenant: &str, webhook_id: Uuid) -> Result<Option<WebhookRow>, sqlx::Error> {
        Ok(rows(&mut tenant_transaction(&self.pool, tenant).await?, tenant, Some(webhook_id)).await?.pop())
    }

    /// Deletes one, with its dead letters; `false` if there is none of this id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn delete(&self, tenant: &str, webhook_id: Uuid) -> Result<bool, sqlx::Error> {
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        let deleted = sqlx::query(include_str!("sql/delete.sql"))
            .bind(tenant)
            .bind(webhook_id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(deleted.rows_affected() > 0)
    }

    /// Up to `limit` events after a position that were given up; `None` if there is no such webhook.
    ///
    /// # Errors
    /// The database failed.
    pub async fn dead_letters(
        &self,
        tenant: &str,
        webhook_id: Uuid,
        after: i64,
        limit: i64,
    ) -> Result<Option<Vec<DeadLetter>>, sqlx::Error> {
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        if rows(&mut transaction, tenant, Some(webhook_id)).await?.is_empty() {
            return Ok(None);
        }
        let letters = sqlx::query_as(include_str!("sql/dead_letters.sql"))
            .bind(tenant)
            .bind(webhook_id)
            .bind(after)
            .bind(limit)
            .fetch_all(&mut *transaction)
            .await?;
        Ok(Some(letters))
    }

    /// Has a disabled webhook told again, from where it was; `None` if there is none of this id.
    ///
    /// # Errors
    /// The database failed.
    pub async fn enable(&self, tenant: &str, webhook_id: Uuid) -> Result<Option<WebhookRow>, sqlx::Error> {
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        sqlx::query(include_str!("sql/enable.sql"))
            .bind(tenant)
            .bind(webhook_id)
            .execute(&mut *transaction)
            .await?;
        let webhook = rows(&mut transaction, tenant, Some(webhook_id)).await?.pop();
        transaction.commit().await?;
        Ok(webhook)
    }

    /// Has all dead letters tried once more, in the order of the log; how many, or `None` if there is no such webhook.
    ///
    /// # Errors
    /// The webhook is disabled, or the database failed.
    pub async fn replay(&self, tenant: &str, webhook_id: Uuid) -> Result<Option<u64>, WebhookError> {
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        let Some(webhook) = rows(&mut transaction, tenant, Some(webhook_id)).await?.pop() else {
            return Ok(None);
        };
        if let Some(why) = webhook.disabled_why {
            return Err(WebhookError::Invalid(format!("the webhook is disabled ({why}); enable it first")));
        }
        let marked = sqlx::query(include_str!("sql/replay.sql"))
            .bind(tenant)
            .bind(webhook_id)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Some(marked.rows_affected()))
    }
}

async fn rows(
    transaction: &mut Transaction<'static, Postgres>,
    tenant: &str,
    webhook_id: Option<Uuid>,
) -> Result<Vec<WebhookRow>, sqlx::Error> {
    sqlx::query_as(include_str!("sql/list.sql"))
        .bind(tenant)
        .bind(webhook_id)
        .fetch_all(&mut **transaction)
        .await
}

/// A webhook as its deliverer needs it.
#[derive(sqlx::FromRow)]
pub(super) struct AtWork {
    pub(super) webhook_id: Uuid,
    pub(super) tenant: String,
    pub(super) url: String,
    pub(super) secret: Vec<u8>,
    pub(super) event_types: Option<Vec<String>>,
    pub(super) provider: Option<String>,
    pub(super) service: Option<String>,
    pub(super) region: Option<String>,
    pub(super) price_id: Option<i64>,
    pub(super) position: i64,
    pub(super) attempts: i32,
    pub(super) is_due: bool,
}

impl AtWork {
    /// What it wants, for the bus's own test of places.
    pub(super) fn wanted(&self) -> crate::bus::Wanted {
        crate::bus::Wanted {
            event_types: self.event_types.clone(),
            provider: self.provider.clone(),
            service: self.service.clone(),
            region: self.region.clone(),
            price_id: self.price_id,
            tenant: Some(Arc::from(self.tenant.as_str())),
        }
    }
}
