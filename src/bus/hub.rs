//! Events as they are recorded, for the many who listen in this process: one tail of the log serves all.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::broadcast;

use crate::domain::event::SHARED_TENANT;
use crate::ledger::{self, Event, Tail};

/// Events that a listener may be behind before it is cut off; it can go on from the log.
const RING_EVENTS: usize = 4_096;
/// Events read at a time.
const BATCH: i64 = 500;
/// Data that is kept in the ring; what is longer is read from the log when it is sent, so that the ring has a bound in bytes.
const MAX_KEPT_BYTES: usize = 32 << 10;
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// An event, and what listeners choose by.
#[derive(Debug)]
pub struct Announced {
    /// As recorded, but without its data if it is not whole.
    pub event: Event,
    /// Whether the event has its data.
    pub is_whole: bool,
    /// Of a price event.
    pub price: Option<PricePlace>,
}

/// The price that an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[expect(missing_docs, reason = "the names are those of the events")]
pub struct PricePlace {
    pub price_id: i64,
    pub provider: String,
    pub service: String,
    pub region: String,
}

impl PricePlace {
    /// The price that an event of this type and data is about.
    pub fn of(event_type: &str, data: &str) -> Option<Self> {
        event_type.starts_with("price.").then(|| serde_json::from_str(data).ok()).flatten()
    }
}

impl From<Event> for Announced {
    fn from(event: Event) -> Self {
        let price = PricePlace::of(&event.event_type, &event.data);
        Self { event, is_whole: true, price }
    }
}

impl Announced {
    /// As the ring keeps it.
    fn kept(self) -> Self {
        if self.event.data.len() <= MAX_KEPT_BYTES {
            return self;
        }
        Self { event: Event { data: String::new(), ..self.event }, is_whole: false, ..self }
    }
}

/// Which events a listener wants; what is `None` does not matter.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// One of these types.
    pub event_types: Option<Vec<String>>,
    /// Of this provider, ...
    pub provider: Option<String>,
    /// ... service, ...
    pub service: Option<String>,
    /// ... region, ...
    pub region: Option<String>,
    /// ... or price.
    pub price_id: Option<i64>,
    /// What belongs to everybody or to this tenant.
    pub tenant: Option<Arc<str>>,
}

impl Wanted {
    /// Whether an event is wanted.
    pub fn matches(&self, announced: &Announced) -> bool {
        if let Some(types) = &self.event_types
            && !types.contains(&announced.event.event_type)
        {
            return false;
        }
        let of = announced.event.tenant.as_str();
        if self.tenant.as_deref().is_some_and(|tenant| of != tenant && of != SHARED_TENANT) {
            return false;
        }
        self.matches_place(announced.price.as_ref())
    }

    /// Whether an event about this price, or about none, is wanted as far as its place goes.
    pub fn matches_place(&self, price: Option<&PricePlace>) -> bool {
        let by_place = self.provider.is_some()
            || self.service.is_some()
            || self.region.is_some()
            || self.price_id.is_some();
        let is =
            |wanted: &Option<String>, actual: &str| wanted.as_deref().is_none_or(|wanted| wanted == actual);
        match price {
            None => !by_place,
            Some(price) => {
                is(&self.provider, &price.provider)
                    && is(&self.service, &price.service)
                    && is(&self.region, &price.region)
                    && self.price_id.is_none_or(|wanted| wanted == price.price_id)
            }
        }
    }
}

/// Handle of the task that tails the log; clones share it.
#[derive(Debug, Clone)]
pub struct Hub {
    ring: broadcast::Sender<Arc<Announced>>,
}

impl Hub {
    /// Starts the task; it announces what is recorded from now on.
    pub fn spawn(pool: PgPool) -> Self {
        let (ring, _) = broadcast::channel(RING_EVENTS);
        tokio::spawn(run(pool, ring.clone()));
        Self { ring }
    }

    /// Listens from now on. Whoever reads the log after this call and then listens, misses nothing.
    pub fn listen(&self) -> broadcast::Receiver<Arc<Announced>> {
        self.ring.subscribe()
    }
}

async fn run(pool: PgPool, ring: broadcast::Sender<Arc<Announced>>) {
    let mut after = None;
    loop {
        if let Err(error) = announce(&pool, &ring, &mut after).await {
            if pool.is_closed() {
                return;
            }
            tracing::warn!(%error, "events are not announced for the moment");
            tokio::time::sleep(RETRY).await;
        }
    }
}

async fn announce(
    pool: &PgPool,
    ring: &broadcast::Sender<Arc<Announced>>,
    after: &mut Option<i64>,
) -> Result<(), sqlx::Error> {
    let from = match *after {
        Some(position) => position,
        None => ledger::head(pool).await?,
    };
    *after = Some(from);
    let mut tail = Tail::new(pool.clone(), from, BATCH).await?;
    loop {
        for event in tail.next().await? {
            *after = Some(event.position);
            // Nobody may be listening.
            let _ = ring.send(Arc::new(Announced::from(event).kept()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(event_type: &str, data: &str) -> Announced {
        Announced::from(Event {
            position: 1,
            event_id: uuid::Uuid::nil(),
            stream: String::new(),
            stream_version: 1,
            event_type: event_type.to_owned(),
            recorded_at: chrono::DateTime::UNIX_EPOCH,
            effective_at: chrono::DateTime::UNIX_EPOCH,
            actor: String::new(),
            tenant: SHARED_TENANT.to_owned(),
            correlation_id: uuid::Uuid::nil(),
            causation_id: None,
            data: data.to_owned(),
            leaf_hash: Vec::new(),
        })
    }

    #[test]
    fn listeners_hear_nothing_of_other_tenants() {
        let mut own = announced("override.set", "{}");
        own.event.tenant = "acme".to_owned();
        let shared = announced("refresh.started", "{}");
        for (tenant, hears_own) in
            [(None, true), (Some("acme"), true), (Some("acm"), false), (Some("other"), false)]
        {
            let wanted = Wanted { tenant: tenant.map(Arc::from), ..Wanted::default() };
            assert_eq!(wanted.matches(&own), hears_own, "{tenant:?}");
            assert!(wanted.matches(&shared), "{tenant:?}");
        }
    }

    #[test]
    fn listeners_get_what_they_want() {
        let price =
            announced("price.changed", r#"{"price_id":7,"provider":"aws","service":"S","region":"r"}"#);
        let refresh = announced("refresh.started", "{}");
        let any = Wanted::default();
        assert!(any.matches(&price) && any.matches(&refresh));
        let aws = Wanted { provider: Some("aws".into()), ..Wanted::default() };
        assert!(aws.matches(&price) && !aws.matches(&refresh));
        let other = Wanted { price_id: Some(8), ..aws.clone() };
        assert!(!other.matches(&price));
        let types = Wanted { event_types: Some(vec!["refresh.started".into()]), ..Wanted::default() };
        assert!(!types.matches(&price) && types.matches(&refresh));
    }
}
