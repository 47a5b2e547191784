//! Refreshes that somebody asks the service for, beside those that are due.
//!
//! A run is in the ledger from the moment its list's header has been read. What happens before, and a list that is
//! refused and leaves nothing, is known to this process for a while, under the id that the run will have.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::{Live, Target};
use crate::sources::refresh::{Refresher, refresh_get, scope_is_free};

/// Runs that are remembered; the oldest are forgotten first.
const REMEMBERED: usize = 1_000;
/// Runs that may wait or be under way in one process.
const MAX_OPEN: usize = 200;

/// Why a refresh is not begun.
#[derive(Debug, thiserror::Error)]
pub enum DemandError {
    /// No list of that name is configured.
    #[error("{0}")]
    Unknown(String),
    /// One is under way.
    #[error("a refresh of {source_name} {scope} is under way; wait for its end")]
    UnderWay {
        /// Of this source ...
        source_name: String,
        /// ... and scope.
        scope: String,
    },
    /// The key was used for another request.
    #[error("the idempotency key was used for another request; use a fresh key")]
    KeyReused,
    /// Too many wait.
    #[error("{MAX_OPEN} refreshes wait already; ask again when some have ended")]
    Full,
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// Who asks for which lists.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// Of this source; `None`: all.
    pub source: Option<&'a str>,
    /// Of this scope; `None`: all of the source.
    pub scope: Option<&'a str>,
    /// Actor of the events.
    pub actor: &'a str,
    /// The caller's key, with its tenant: the same one is the same refresh.
    pub idempotency: Option<(&'a str, &'a str)>,
}

/// A run that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Asked {
    /// Also in the ledger, once it has started.
    pub refresh_id: Uuid,
    /// The configured source.
    pub source: String,
    /// What its list covers.
    pub scope: String,
    /// `accepted`, or `refused` where it left nothing in the ledger.
    pub state: &'static str,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip)]
    ended: bool,
}

/// Runs refreshes on demand. Clones share what they know.
#[derive(Debug, Clone)]
pub struct OnDemand {
    live: Live,
    targets: Arc<[Target]>,
    asked: Arc<Mutex<VecDeque<Asked>>>,
    running: TaskTracker,
}

impl OnDemand {
    /// Fetches of these lists when asked to.
    pub fn new(live: Live, targets: Vec<Target>) -> Self {
        Self { live, targets: targets.into(), asked: Arc::default(), running: TaskTracker::new() }
    }

    /// Waits until all that was begun has ended; nothing more may be asked for.
    pub async fn finished(&self) {
        self.running.close();
        self.running.wait().await;
    }

    /// Begins to fetch lists, one after the other, and returns what was begun. The same idempotency key begins nothing
    /// new.
    ///
    /// # Errors
    /// See [`DemandError`]; nothing was begun.
    pub async fn request(&self, demand: Demand<'_>) -> Result<Vec<Asked>, DemandError> {
        let targets = self.wanted(demand)?;
        let asked: Vec<Asked> = targets
            .iter()
            .enumerate()
            .map(|(place, target)| Asked {
                refresh_id: demand.idempotency.map_or_else(Uuid::now_v7, |key| id_of(key, place)),
                source: target.source.to_string(),
                scope: target.scope.clone(),
                state: "accepted",
                reason: None,
                ended: false,
            })
            .collect();
        if demand.idempotency.is_some() && self.is_repeated(&asked).await? {
            return Ok(asked);
        }
        let under_way =
            |one: &Asked| DemandError::UnderWay { source_name: one.source.clone(), scope: one.scope.clone() };
        // By another process, or the schedule.
        for one in &asked {
            if !scope_is_free(&self.live.refresher.pool, &one.source, &one.scope).await? {
                return Err(under_way(one));
            }
        }
        {
            let mut known = self.known();
            let open = |one: &&Asked| !one.ended;
            // The same request may have come twice at once.
            if asked.iter().all(|one| known.iter().any(|other| other.refresh_id == one.refresh_id)) {
                return Ok(asked);
            }
            if let Some(one) = asked.iter().find(|one| {
                known.iter().filter(open).any(|other| other.source == one.source && other.scope == one.scope)
            }) {
                return Err(under_way(one));
            }
            if known.iter().filter(open).count() + asked.len() > MAX_OPEN {
                return Err(DemandError::Full);
            }
            known.extend(asked.iter().cloned());
            while known.len() > REMEMBERED && known.front().is_some_and(|oldest| oldest.ended) {
                known.pop_front();
            }
        }
        let refresher = Refresher { actor: demand.actor.into(), ..self.live.refresher.clone() };
        let begun: Vec<(Uuid, Target)> = asked.iter().map(|one| one.refresh_id).zip(targets).collect();
        self.running.spawn(self.clone().run(refresher, begun));
        Ok(asked)
    }

    /// A run that was asked for here, as far as this process knows.
    pub fn get(&self, refresh_id: Uuid) -> Option<Asked> {
        self.known().iter().find(|one| one.refresh_id == refresh_id).cloned()
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wanted(&self, demand: Demand<'_>) -> Result<Vec<Target>, DemandError> {
        if self.targets.is_empty() {
            return Err(DemandError::Unknown("no sources are configured: set MERCURIALE_SOURCES".to_owned()));
        }
        let of_source = |target: &&Target| demand.source.is_none_or(|name| *target.source == *name);
        let of_scope = |target: &&Target| demand.scope.is_none_or(|scope| target.scope == scope);
        let targets: Vec<Target> = self.targets.iter().filter(of_source).filter(of_scope).cloned().collect();
        if !targets.is_empty() {
            return Ok(targets);
        }
        let mut there: Vec<String> =
            self.targets.iter().filter(of_source).map(|target| target.scope.clone()).collect();
        if there.is_empty() {
            there = self.targets.iter().map(|target| target.source.to_string()).collect();
        }
        there.dedup();
        there.truncate(20);
        Err(DemandError::Unknown(format!("no such list is configured; there are {}", there.join(", "))))
    }

    /// Whether the request with these ids, made of its key, was begun before.
    ///
    /// # Errors
    /// Another request was, with the same key; or the database failed.
    async fn is_repeated(&self, asked: &[Asked]) -> Result<bool, DemandError> {
        let mut repeated = false;
        for one in asked {
            let known = self.get(one.refresh_id).map(|known| (known.source, Some(known.scope)));
            let known = match known {
                Some(known) => Some(known),
                None => refresh_get(&self.live.refresher.pool, one.refresh_id)
                    .await?
                    .map(|row| (row.source, row.scope)),
            };
            if let Some((source, scope)) = known {
                if source != one.source || scope.as_ref() != Some(&one.scope) {
                    return Err(DemandError::KeyReused);
                }
                repeated = true;
            }
        }
        Ok(repeated)
    }

    /// Whether a list fails or is refused is no reason to leave the others out.
    async fn run(self, refresher: Refresher, begun: Vec<(Uuid, Target)>) {
        for (refresh_id, target) in begun {
            let live =
                Live { refresher: refresher.clone(), refresh_id: Some(refresh_id), ..self.live.clone() };
            let outcome = live.refresh(&target).await;
            if let Err(error) = &outcome {
                tracing::warn!(source = %target.source, scope = target.scope, %error, "the refresh failed");
            }
            // What the ledger knows is told from there.
            let mut known = self.known();
            if let Some(one) = known.iter_mut().find(|one| one.refresh_id == refresh_id) {
                one.ended = true;
                if let Err(error) = outcome {
                    one.state = "refused";
                    one.reason = Some(error.to_string());
                }
            }
        }
    }
}

/// The id of a run that a key stands for.
fn id_of((tenant, key): (&str, &str), place: usize) -> Uuid {
    let digest = Sha256::digest(format!("mercuriale refresh\0{tenant}\0{key}\0{place}"));
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
