//! Saved estimates: versions of a tenant's estimate, each one event. Tenants never see each other's.

mod compare;

pub use compare::{CompareError, MAX_CONSOLIDATED, Other, Picked, Report, WhatIfAnswer};

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{EstimateError, Page, Pricing, PricingError};
use crate::access::{Principal, tenant_transaction};
use crate::domain::estimate::{EstimateRequest, Labels, Relabel};
use crate::domain::event::{ESTIMATE_SAVED, NewEvent, estimate_stream};
use crate::domain::saved::{About, Stored, Summary, Version, version_relabel, version_write};
use crate::ledger::{Append, AppendError, Appender, Idempotency, Outcome, idempotency_answer};

/// Who saves, and how.
#[derive(Debug, Clone)]
pub struct Save<'a> {
    /// Writes it.
    pub appender: &'a Appender,
    /// Who, for which tenant; a request may name a session of theirs.
    pub caller: &'a Principal,
    /// The caller's key, and the hash of the whole request, where it must not be carried out twice.
    pub key: Option<(String, [u8; 32])>,
}

/// Why nothing was saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It cannot be estimated.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    /// The tenant has no such estimate.
    #[error("there is no such estimate")]
    Unknown,
    /// Another version was saved since.
    #[error("version {actual} is the last one, not {expected}: read it and decide anew")]
    Lost {
        /// The version that the caller had decided on.
        expected: i64,
        /// The last one.
        actual: i64,
    },
    /// Versions of an archived estimate would be seen by nobody.
    #[error("the estimate is archived; set archived to false (PATCH) before you save a version")]
    Archived,
    /// The ledger refused it.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<PricingError> for SaveError {
    fn from(error: PricingError) -> Self {
        Self::Estimate(error.into())
    }
}

impl From<sqlx::Error> for SaveError {
    fn from(error: sqlx::Error) -> Self {
        PricingError::from(error).into()
    }
}

/// A version as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedVersion {
    /// The estimate.
    pub estimate_id: Uuid,
    /// From one.
    pub version: i64,
    /// Of the event.
    pub position: i64,
    /// When the ledger took it.
    pub saved_at: DateTime<Utc>,
    /// Who saved it.
    pub saved_by: String,
    /// The event's payload, byte for byte.
    pub data: String,
}

/// A version as it is shown: the payload behind what the ledger says of it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateVersion)]
pub struct ShownVersion<'a> {
    /// The estimate.
    estimate_id: Uuid,
    /// When the ledger took it.
    saved_at: DateTime<Utc>,
    /// Who saved it.
    saved_by: &'a str,
    /// Of the event.
    position: i64,
    #[serde(flatten)]
    stored: Stored<'a>,
}

impl SavedVersion {
    /// The whole version as JSON; the same bytes for ever.
    ///
    /// # Errors
    /// The payload is none of ours.
    pub fn json(&self) -> Result<Vec<u8>, PricingError> {
        let shown = ShownVersion {
            estimate_id: self.estimate_id,
            saved_at: self.saved_at,
            saved_by: &self.saved_by,
            position: self.position,
            stored: Stored::read(&self.data).map_err(|error| self.inconsistent(&error))?,
        };
        serde_json::to_vec(&shown).map_err(|error| self.inconsistent(&error))
    }

    /// The version, read in full.
    ///
    /// # Errors
    /// The payload is none of ours.
    pub fn read(&self) -> Result<Version<'_>, PricingError> {
        Version::read(&self.data).map_err(|error| self.inconsistent(&error))
    }

    fn inconsistent(&self, error: &serde_json::Error) -> PricingError {
        PricingError::Inconsistent(format!("event {} is no version of an estimate: {error}", self.position))
    }
}

/// An estimate as lists show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct EstimateRow {
    /// Identity.
    pub estimate_id: Uuid,
    /// The last version.
    pub version: i64,
    /// What is said about it.
    #[serde(flatten)]
    pub about: About,
    /// What it costs.
    #[serde(flatten)]
    pub summary: Summary,
    /// When version 1 was saved.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// When the last version was saved.
    pub saved_at: DateTime<Utc>,
    /// By whom.
    pub saved_by: String,
    /// The event of the last version.
    pub position: i64,
}

#[derive(Debug, sqlx::FromRow)]
struct StoredRow {
    estimate_id: Uuid,
    version: i64,
    name: String,
    note: Option<String>,
    tags: Vec<String>,
    archived: bool,
    summary: String,
    created_at: DateTime<Utc>,
    created_by: String,
    saved_at: DateTime<Utc>,
    saved_by: String,
    position: i64,
}

impl TryFrom<StoredRow> for EstimateRow {
    type Error = PricingError;

    fn try_from(row: StoredRow) -> Result<Self, PricingError> {
        let summary = serde_json::from_str(&row.summary)
            .map_err(|error| PricingError::Inconsistent(format!("estimates.estimates.summary: {error}")))?;
        Ok(Self {
            estimate_id: row.estimate_id,
            version: row.version,
            about: About { name: row.name, note: row.note, tags: row.tags, archived: row.archived },
            summary,
            created_at: row.created_at,
            created_by: row.created_by,
            saved_at: row.saved_at,
            saved_by: row.saved_by,
            position: row.position,
        })
    }
}

/// A version as the list of an estimate's versions shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateVersionRow)]
pub struct VersionRow {
    /// From one.
    pub version: i64,
    /// What is said about it.
    #[serde(flatten)]
    pub about: About,
    /// The version whose figures these are, where only what is said about it has changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figures_of: Option<i64>,
    /// What it costs.
    #[serde(flatten)]
    pub summary: Summary,
    /// When the ledger took it.
    pub saved_at: DateTime<Utc>,
    /// Who saved it.
    pub saved_by: String,
    /// Of the event.
    pub position: i64,
}

#[derive(Debug, sqlx::FromRow)]
struct StoredVersionRow {
    version: i64,
    name: String,
    note: Option<String>,
    tags: Vec<String>,
    archived: bool,
    figures_of: Option<i64>,
    summary: String,
    recorded_at: DateTime<Utc>,
    actor: String,
    position: i64,
}

impl TryFrom<StoredVersionRow> for VersionRow {
    type Error = PricingError;

    fn try_from(row: StoredVersionRow) -> Result<Self, PricingError> {
        let summary = serde_json::from_str(&row.summary).map_err(|error| {
            PricingError::Inconsistent(format!("event {}: summary: {error}", row.position))
        })?;
        Ok(Self {
            version: row.version,
            about: About { name: row.name, note: row.note, tags: row.tags, archived: row.archived },
            figures_of: row.figures_of,
            summary,
            saved_at: row.recorded_at,
            saved_by: row.actor,
            position: row.position,
        })
    }
}

/// Which estimates to find.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EstimateFilter {
    /// Part of the name, in any case.
    pub q: Option<String>,
    /// A whole tag.
    pub tag: Option<String>,
    /// Only those that are archived, or only those that are not.
    pub archived: Option<bool>,
}

/// What is kept as the answer to a request with a key: where the whole answer is.
#[derive(Serialize, Deserialize)]
struct Kept {
    estimate_id: Uuid,
    version: i64,
}

impl Pricing {
    /// Calculates an estimate and saves it as version 1. `now` is the world time of the request.
    ///
    /// # Errors
    /// See [`SaveError`]; nothing was saved.
    pub async fn estimate_create(
        &self,
        save: Save<'_>,
        request: &EstimateRequest,
        labels: Labels,
        now: DateTime<Utc>,
    ) -> Result<SavedVersion, SaveError> {
        if let Some(known) = self.known(&save).await? {
            return Ok(known);
        }
        let about = About {
            name: request.name.clone().unwrap_or_default(),
            note: labels.note,
            tags: labels.tags.unwrap_or_default(),
            archived: false,
        };
        let estimate = self.estimate_calculate_for(Some(save.caller), request, now).await?;
        self.keep(save, Uuid::now_v7(), 0, version_write(1, &about, request, &estimate)).await
    }

    /// Calculates the next version of an estimate and saves it, if `expected` is still the last one. The name and the
    /// tags stay as they were where the request has none.
    ///
    /// # Errors
    /// See [`SaveError`]; nothing was saved.
    pub async fn estimate_update(
        &self,
        save: Save<'_>,
        estimate_id: Uuid,
        expected: i64,
        request: &EstimateRequest,
        labels: Labels,
        now: DateTime<Utc>,
    ) -> Result<SavedVersion, SaveError> {
        if let Some(known) = self.known(&save).await? {
            return Ok(known);
        }
        let last = self.estimate_get(&save.caller.tenant, estimate_id).await?.ok_or(SaveError::Unknown)?;
        if last.version != expected {
            return Err(SaveError::Lost { expected, actual: last.version });
        }
        if last.about.archived {
            return Err(SaveError::Archived);
        }
        let about = About {
            name: request.name.clone().unwrap_or(last.about.name),
            note: labels.note,
            tags: labels.tags.unwrap_or(last.about.tags),
            archived: false,
        };
        let estimate = self.estimate_calculate_for(Some(save.caller), request, now).await?;
        let data = version_write(expected + 1, &about, request, &estimate);
        self.keep(save, estimate_id, expected, data).await
    }

    /// Saves a version with the figures of the last one and something else said about it, if `expected` is still the last
    /// one. Nothing is calculated.
    ///
    /// # Errors
    /// See [`SaveError`]; nothing was saved.
    pub async fn estimate_relabel(
        &self,
        save: Save<'_>,
        estimate_id: Uuid,
        expected: i64,
        relabel: Relabel,
    ) -> Result<SavedVersion, SaveError> {
        if let Some(known) = self.known(&save).await? {
            return Ok(known);
        }
        let last = self.estimate_version(&save.caller.tenant, estimate_id, None).await?;
        let last = last.ok_or(SaveError::Unknown)?;
        if last.version != expected {
            return Err(SaveError::Lost { expected, actual: last.version });
        }
        let stored = Stored::read(&last.data).map_err(|error| last.inconsistent(&error))?;
        let about = About {
            name: relabel.name.unwrap_or_else(|| stored.name.clone()),
            note: relabel.note,
            tags: relabel.tags.unwrap_or_else(|| stored.tags.clone()),
            archived: relabel.archived.unwrap_or(stored.archived),
        };
        self.keep(save, estimate_id, expected, version_relabel(&stored, &about)).await
    }

    /// A version of a tenant's estimate, by default the last one; `None` where there is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn estimate_version(
        &self,
        tenant: &str,
        estimate_id: Uuid,
        version: Option<i64>,
    ) -> Result<Option<SavedVersion>, PricingError> {
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        let row: Option<(i64, i64, DateTime<Utc>, String, String)> =
            sqlx::query_as(include_str!("sql/version.sql"))
                .bind(estimate_stream(estimate_id))
                .bind(tenant)
                .bind(version)
                .fetch_optional(&mut *transaction)
                .await?;
        transaction.commit().await?;
        Ok(row.map(|(version, position, saved_at, saved_by, data)| SavedVersion {
            estimate_id,
            version,
            position,
            saved_at,
            saved_by,
            data,
        }))
    }

    /// A tenant's estimate as lists show it; `None` where there is none.
    ///
    /// # Errors
    /// The database failed.
    pub async fn estimate_get(
        &self,
        tenant: &str,
        estimate_id: Uuid,
    ) -> Result<Option<EstimateRow>, PricingError> {
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        let row: Option<StoredRow> = sqlx::query_as(include_str!("sql/estimate.sql"))
            .bind(estimate_id)
            .bind(tenant)
            .fetch_optional(&mut *transaction)
            .await?;
        transaction.commit().await?;
        row.map(EstimateRow::try_from).transpose()
    }

    /// A tenant's estimates in the order in which they were last saved, after a position.
    ///
    /// # Errors
    /// The database failed.
    pub async fn estimates_find(
        &self,
        tenant: &str,
        filter: &EstimateFilter,
        after: i64,
        limit: i64,
    ) -> Result<Page<EstimateRow>, PricingError> {
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        let rows: Vec<StoredRow> = sqlx::query_as(include_str!("sql/estimates.sql"))
            .bind(tenant)
            .bind(after)
            .bind(&filter.q)
            .bind(&filter.tag)
            .bind(filter.archived)
            .bind(limit + 1)
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        let items = rows.into_iter().map(EstimateRow::try_from).collect::<Result<_, _>>()?;
        Ok(Page::of(items, limit, |row: &EstimateRow| row.position))
    }

    /// The versions of a tenant's estimate, oldest first, after a version; `None` where there is no such estimate.
    ///
    /// # Errors
    /// The database failed.
    pub async fn estimate_versions(
        &self,
        tenant: &str,
        estimate_id: Uuid,
        after: i64,
        limit: i64,
    ) -> Result<Option<Page<VersionRow>>, PricingError> {
        let mut transaction = tenant_transaction(&self.pool, tenant).await?;
        let rows: Vec<StoredVersionRow> = sqlx::query_as(include_str!("sql/versions.sql"))
            .bind(estimate_stream(estimate_id))
            .bind(tenant)
            .bind(after)
            .bind(limit + 1)
            .fetch_all(&mut *transaction)
            .await?;
        transaction.commit().await?;
        if rows.is_empty() && self.estimate_get(tenant, estimate_id).await?.is_none() {
            return Ok(None);
        }
        let items = rows.into_iter().map(VersionRow::try_from).collect::<Result<_, _>>()?;
        Ok(Some(Page::of(items, limit, |row: &VersionRow| row.version)))
    }

    /// What was saved under the caller's key before. It is looked for before anything is calculated: by now the same
    /// request might be refused.
    async fn known(&self, save: &Save<'_>) -> Result<Option<SavedVersion>, SaveError> {
        let Some((key, sha256)) = &save.key else { return Ok(None) };
        match idempotency_answer(&self.pool, &save.caller.tenant, key, sha256).await? {
            Some(answer) => Ok(Some(self.replayed(&save.caller.tenant, &answer).await?)),
            None => Ok(None),
        }
    }

    async fn replayed(&self, tenant: &str, answer: &str) -> Result<SavedVersion, SaveError> {
        let kept: Kept = serde_json::from_str(answer)
            .map_err(|error| PricingError::Inconsistent(format!("an answer that was kept: {error}")))?;
        let saved = self.estimate_version(tenant, kept.estimate_id, Some(kept.version)).await?;
        let gone = || PricingError::Inconsistent("an answer that was kept names no version".to_owned());
        Ok(saved.ok_or_else(gone)?)
    }

    async fn keep(
        &self,
        save: Save<'_>,
        estimate_id: Uuid,
        expected: i64,
        data: String,
    ) -> Result<SavedVersion, SaveError> {
        let Save { appender, caller, key } = save;
        let origin = caller.origin(Uuid::now_v7());
        let (tenant, saved_by) = (Arc::clone(&origin.tenant), origin.actor.to_string());
        let event = NewEvent {
            event_id: Uuid::now_v7(),
            stream: estimate_stream(estimate_id),
            expected_version: Some(expected),
            event_type: ESTIMATE_SAVED,
            effective_at: None,
            data: data.clone(),
            shared_actor: None,
        };
        let idempotency = key.map(|(key, request_sha256)| {
            let kept = serde_json::to_string(&Kept { estimate_id, version: expected + 1 });
            let kept = kept.expect("a plain struct is JSON");
            Idempotency { key, request_sha256, respond: Box::new(move |_| kept.clone()) }
        });
        match appender.append(Append { origin, events: vec![event], idempotency }).await {
            Ok(Outcome::Appended(appended, _)) => Ok(SavedVersion {
                estimate_id,
                version: expected + 1,
                position: appended[0].position,
                saved_at: appended[0].recorded_at,
                saved_by,
                data,
            }),
            Ok(Outcome::Replayed(answer)) => self.replayed(&tenant, &answer).await,
            Err(AppendError::Conflict { expected, actual, .. }) => Err(SaveError::Lost { expected, actual }),
            Err(error) => Err(error.into()),
        }
    }
}
