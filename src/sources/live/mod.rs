//! Lists fetched from the providers, or from a mirror of theirs, over HTTP.
//!
//! `config` says which, `http` asks for documents with limits and retries, `body` streams a list into a parser's
//! thread, `aws` and `azure` know how each provider publishes, `llm` asks where nobody does, and `schedule` decides when,
//! unless somebody asks (`demand`).

mod aws;
mod azure;
mod body;
pub(super) mod config;
mod demand;
pub(super) mod http;
mod llm;
mod schedule;

pub use config::{SourcesError, Target, load};
pub use demand::{Asked, Demand, DemandError, OnDemand};
pub use http::{FetchError, Limits};
pub use schedule::Scheduler;

use chrono::{DateTime, SubsecRound as _, Utc};
use uuid::Uuid;

use self::config::List;
use self::http::Client;
use super::ListError;
use super::refresh::{ListOrigin, RefreshError, Refresher, Report};

/// Fetches lists and records them. Clones share connections.
#[derive(Debug, Clone)]
pub struct Live {
    refresher: Refresher,
    client: Client,
    /// The same with the patience that language models need.
    answers: Client,
    /// Of the run to come, where it is known before.
    refresh_id: Option<Uuid>,
}

impl Live {
    /// Fetches within `limits`.
    ///
    /// # Errors
    /// The machine's root certificates cannot be read.
    pub fn new(refresher: Refresher, limits: Limits) -> Result<Self, FetchError> {
        let patient = Limits { idle_timeout: limits.answer_timeout, ..limits.clone() };
        Ok(Self { refresher, client: Client::new(limits)?, answers: Client::new(patient)?, refresh_id: None })
    }

    /// Fetches a list and records it, as [`Refresher::refresh`] does with a file. A list that its provider says is
    /// unchanged is recorded as seen again without being fetched.
    ///
    /// # Errors
    /// See [`RefreshError`]; what could not be fetched is a [`ListError::Io`] that names the URL.
    pub async fn refresh(&self, target: &Target) -> Result<Report, RefreshError> {
        match &target.list {
            List::Aws { offer, region } => aws::refresh(self, target, offer, region).await,
            List::Azure { filter, currency } => {
                azure::refresh(self, target, filter.as_deref(), currency).await
            }
            List::Llm(assignment) => llm::refresh(self, target, assignment).await,
        }
    }

    fn origin(&self, target: &Target, url: &reqwest::Url) -> ListOrigin {
        ListOrigin {
            refresh_id: self.refresh_id,
            source: target.source.to_string(),
            scope: Some(target.scope.clone()),
            files: vec![url.to_string()],
        }
    }

    /// Records that a list could not be had.
    async fn fail(&self, list: ListOrigin, error: ListError) -> Result<Report, RefreshError> {
        self.refresher.refresh_versioned(list, |_| Err(error)).await
    }
}

fn fetch_failed(url: &reqwest::Url, error: FetchError) -> ListError {
    ListError::Io { file: url.to_string(), source: std::io::Error::other(error) }
}

/// The time of observation: when an answer began to arrive, by our own clock.
fn now() -> DateTime<Utc> {
    // As exact as PostgreSQL is.
    Utc::now().trunc_subsecs(6)
}
