//! Prices for those who ask: resolve a line to its price, now or as of a time, cached and never stale; search, history.
//!
//! An answer is exact for one position of the ledger, which it names. Cached prices are used only if nothing in their
//! place (provider, service, region) has moved since they were read; where the ledger stands is asked after the
//! request arrived, once for all requests that wait at that moment (`position.rs`).

mod estimate;
mod export;
mod flight;
mod listing;
mod lookup;
mod policy;
mod position;
mod saved;
mod search;

pub use estimate::EstimateError;
pub use export::{ListFormat, Place, PriceExport, PriceExportError};
pub use policy::policy_set;
pub use saved::{
    CompareError, EstimateFilter, EstimateRow, MAX_CONSOLIDATED, Other, Picked, Report, Save, SaveError,
    SavedVersion, ShownVersion, VersionRow, WhatIfAnswer,
};
pub use search::{HistoryRow, MAX_PAGE, Observed, Page, PriceFilter, PriceRow};

use std::sync::Arc;

use sqlx::PgPool;

use self::flight::Flights;
use self::position::Positions;
use crate::cache::PriceCache;
use crate::domain::discounts::DiscountPolicy;
use crate::projections::{Engine, ProjectionError};

/// Answers from the ledger. Clones share caches.
#[derive(Debug, Clone)]
pub struct Pricing {
    pool: PgPool,
    engine: Engine,
    positions: Positions,
    flights: Flights,
    /// Nearest first.
    caches: Vec<Arc<dyn PriceCache>>,
}

/// Why there is no answer, though the request is right.
#[derive(Debug, thiserror::Error)]
pub enum PricingError {
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// The position of the ledger could not be read; all who waited for that read share the cause.
    #[error("the position of the ledger could not be read: {0}")]
    Standing(#[from] Arc<sqlx::Error>),
    /// A read of the database failed; all who waited for it share the cause.
    #[error(transparent)]
    Flight(#[from] Arc<PricingError>),
    /// The search model could not be brought up to date.
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    /// What is stored cannot be read.
    #[error("{0}")]
    Inconsistent(String),
}

impl PricingError {
    /// Whether the database cannot be reached or is going away or full, so that a later try may succeed.
    pub fn is_unavailable(&self) -> bool {
        let error = match self {
            Self::Database(error) | Self::Projection(ProjectionError::Apply { source: error, .. }) => error,
            Self::Standing(error) => error,
            Self::Flight(error) => return error.is_unavailable(),
            Self::Projection(ProjectionError::Unknown { .. }) | Self::Inconsistent(_) => return false,
        };
        match error {
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => true,
            // SQLSTATE classes: connection, no such database, resources, operator intervention.
            sqlx::Error::Database(error) => error
                .code()
                .is_some_and(|code| ["08", "3D", "53", "57"].iter().any(|class| code.starts_with(class))),
            _ => false,
        }
    }
}

impl Pricing {
    /// Answers from this database; caches are asked in their order.
    pub fn new(pool: PgPool, caches: Vec<Arc<dyn PriceCache>>) -> Self {
        let (engine, positions) = (Engine::new(pool.clone()), Positions::spawn(pool.clone()));
        let flights = Flights::spawn(pool.clone(), engine.clone(), positions.clone(), caches.clone());
        Self { pool, engine, positions, flights, caches }
    }

    /// The discount policy in force.
    ///
    /// # Errors
    /// The database failed.
    pub async fn discount_policy(&self) -> Result<DiscountPolicy, PricingError> {
        Ok(position::policy_as_of(&self.pool, None).await?)
    }
}

/// A snapshot in which the search model knows every price that the ledger lists.
async fn snapshot(
    pool: &PgPool,
    engine: &Engine,
) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, PricingError> {
    loop {
        let mut transaction = pool.begin_with("begin isolation level repeatable read read only").await?;
        let behind: bool =
            sqlx::query_scalar(include_str!("sql/search_behind.sql")).fetch_one(&mut *transaction).await?;
        if !behind {
            return Ok(transaction);
        }
        transaction.rollback().await?;
        engine.catch_up("price_search", i64::MAX).await?;
    }
}
