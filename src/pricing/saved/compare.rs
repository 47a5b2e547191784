//! Versions compared, asked differently, and summed. Nothing here is saved.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;
use uuid::Uuid;

use super::SavedVersion;
use crate::domain::arithmetic::{Estimate, Overrides, ServedFrom, line_cost};
use crate::domain::estimate::{EstimateRequest, InvalidRequest};
use crate::domain::precise::Overflow;
use crate::domain::saved::{
    About, Consolidated, Consolidation, Diff, Repriced, Stored, Version, WhatIf, diff, lines_match,
    request_as_of_now, version_write, what_if,
};
use crate::pricing::estimate::rate_choose;
use crate::pricing::lookup::When;
use crate::pricing::{EstimateError, Pricing, PricingError, snapshot};

/// The most estimates of one report.
pub const MAX_CONSOLIDATED: usize = 100;

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The tenant has no such estimate or version.
    #[error("there is no {0}")]
    Unknown(String),
    /// What is asked differently is no request.
    #[error(transparent)]
    Invalid(InvalidRequest),
    /// It cannot be estimated now.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    /// A cost that no decimal holds.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl From<PricingError> for CompareError {
    fn from(error: PricingError) -> Self {
        Self::Estimate(error.into())
    }
}

/// What a version is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Other {
    /// Another version.
    Version(i64),
    /// The same request at the prices and the policy of now.
    Now,
}

/// A version asked differently.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct WhatIfAnswer {
    /// What was asked.
    pub request: EstimateRequest,
    /// The answer.
    pub estimate: Estimate,
    /// Why it differs from the version.
    pub diff: Diff,
}

/// A version in a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateSummed)]
pub struct Picked {
    /// The estimate.
    pub estimate_id: Uuid,
    /// Its version.
    pub version: i64,
    /// What is said about it.
    #[serde(flatten)]
    pub about: About,
}

/// Several estimates in one report. Sums are exact; there are no exchange rates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = EstimateReport)]
pub struct Report {
    /// What was summed.
    pub estimates: Vec<Picked>,
    /// By currency.
    pub totals: Vec<Consolidated>,
    /// By currency and provider.
    pub providers: Vec<Consolidated>,
    /// By currency, provider and service.
    pub services: Vec<Consolidated>,
    /// By currency, provider and region.
    pub regions: Vec<Consolidated>,
    /// By currency and tag. An estimate counts under each of its tags, so these do not add up to the total.
    pub tags: Vec<Consolidated>,
}

impl Pricing {
    /// Why another version, or the same request now, costs another amount than a version.
    ///
    /// # Errors
    /// See [`CompareError`].
    pub async fn estimate_diff(
        &self,
        tenant: &str,
        estimate_id: Uuid,
        from: i64,
        to: Other,
        now: DateTime<Utc>,
    ) -> Result<Diff, CompareError> {
        let old = self.version_of(tenant, estimate_id, Some(from)).await?;
        if let Other::Version(to) = to {
            let new = self.version_of(tenant, estimate_id, Some(to)).await?;
            return self.compare(&old, &new.data, true).await;
        }
        let stored = Stored::read(&old.data).map_err(|error| old.inconsistent(&error))?;
        let request = request_as_of_now(stored.request.get()).map_err(CompareError::Invalid)?;
        let estimate = self.estimate_calculate(&request, now).await?;
        let new = version_write(from, &old.read()?.about, &request, &estimate);
        self.compare(&old, &new, false).await
    }

    /// A version with something asked differently, at the prices of now unless it asks for others.
    ///
    /// # Errors
    /// See [`CompareError`].
    pub async fn estimate_what_if(
        &self,
        tenant: &str,
        estimate_id: Uuid,
        version: i64,
        asked: &WhatIf,
        now: DateTime<Utc>,
    ) -> Result<WhatIfAnswer, CompareError> {
        let old = self.version_of(tenant, estimate_id, Some(version)).await?;
        let stored = Stored::read(&old.data).map_err(|error| old.inconsistent(&error))?;
        let request = what_if(stored.request.get(), asked).map_err(CompareError::Invalid)?;
        let estimate = self.estimate_calculate(&request, now).await?;
        let new = version_write(version, &old.read()?.about, &request, &estimate);
        let diff = self.compare(&old, &new, false).await?;
        Ok(WhatIfAnswer { request, estimate, diff })
    }

    /// Sums versions, by default the last ones.
    ///
    /// # Errors
    /// See [`CompareError`].
    pub async fn estimates_consolidate(
        &self,
        tenant: &str,
        wanted: &[(Uuid, Option<i64>)],
    ) -> Result<Report, CompareError> {
        let mut consolidation = Consolidation::default();
        let mut estimates = Vec::with_capacity(wanted.len());
        for (estimate_id, version) in wanted {
            let saved = self.version_of(tenant, *estimate_id, *version).await?;
            let version = saved.read()?;
            consolidation.add(&version);
            estimates.push(Picked {
                estimate_id: *estimate_id,
                version: version.version,
                about: version.about,
            });
        }
        Ok(Report {
            estimates,
            totals: consolidation.totals(),
            providers: consolidation.providers(),
            services: consolidation.services(),
            regions: consolidation.regions(),
            tags: consolidation.tags(),
        })
    }

    async fn version_of(
        &self,
        tenant: &str,
        estimate_id: Uuid,
        version: Option<i64>,
    ) -> Result<SavedVersion, CompareError> {
        let found = self.estimate_version(tenant, estimate_id, version).await?;
        found.ok_or_else(|| {
            let version = version.map_or_else(String::new, |version| format!("version {version} of "));
            CompareError::Unknown(format!("{version}estimate {estimate_id}"))
        })
    }

    async fn compare(&self, old: &SavedVersion, new: &str, is_saved: bool) -> Result<Diff, CompareError> {
        let from = old.read()?;
        let to = Version::read(new).map_err(|error| old.inconsistent(&error))?;
        let matched = lines_match(&from, &to);
        let wanted = matched.to_reprice(&from, &to);
        let repriced =
            if wanted.is_empty() { BTreeMap::new() } else { self.reprice(&from, new, &wanted).await? };
        Ok(diff(&from, &to, is_saved, &matched, &repriced)?)
    }

    /// Lines of the new version at the prices as of the old one, as far as they were known by then; those that had none
    /// are left out.
    async fn reprice(
        &self,
        from: &Version<'_>,
        new: &str,
        wanted: &[usize],
    ) -> Result<BTreeMap<usize, Repriced>, CompareError> {
        let stored = Stored::read(new).map_err(|error| PricingError::Inconsistent(error.to_string()))?;
        let request = request_as_of_now(stored.request.get()).map_err(CompareError::Invalid)?;
        let lines: Vec<_> = wanted.iter().map(|&index| &request.lines[index]).collect();
        let mut snapshot = snapshot(&self.pool, &self.engine).await?;
        let when = When { as_of: from.as_of, known_at: from.position };
        let choices = rate_choose(&mut snapshot, &lines, Some(when)).await?;
        snapshot.rollback().await.map_err(PricingError::from)?;
        let mut repriced = BTreeMap::new();
        for ((index, line), choice) in wanted.iter().zip(lines).zip(choices) {
            let Ok(selection) = choice else { continue };
            let hours = request.hours();
            let (policy, official) = (&from.discount_policy, Overrides::new());
            if let Ok(cost) = line_cost(&selection, line, hours, policy, &official, ServedFrom::Postgres) {
                repriced.insert(*index, Repriced::from(&cost));
            }
        }
        Ok(repriced)
    }
}
