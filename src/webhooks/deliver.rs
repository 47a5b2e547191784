//! Delivery: one process follows the log for all webhooks, each at its own pace.
//!
//! Everything that has to be known after a crash is in PostgreSQL: a position for each webhook, and its dead letters. An
//! event is sent before its position is noted, so it may be sent twice, with the same id, and never not at all. A webhook
//! that fails waits by itself: it holds a row, no memory and no connection.

use std::convert::Infallible;
use std::time::Duration;

use chrono::Utc;
use reqwest::StatusCode;
use sqlx::PgPool;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::sign::{Secret, Told};
use super::store::AtWork;
use super::target::Reach;
use crate::bus::PricePlace;
use crate::domain::event::SHARED_TENANT;
use crate::ledger::{self, HEARTBEAT, Lead, Tail};

/// Webhooks at work at once: more than a few tenants have, so that a few whose targets hang hold up nobody else's.
const AT_ONCE: usize = 128;
/// Events of one webhook in memory.
const BATCH: i64 = 8;
/// Positions that a webhook looks through at a time, whether they are wanted or not.
const STRETCH: i64 = 20_000;
/// Batches in a row, before other webhooks get a turn.
const BATCHES: u32 = 16;
/// Payloads from here on are referred to.
const MAX_PAYLOAD_BYTES: i32 = 250_000;
/// Dead letters that a webhook may have; after that, the event at hand is tried on, and nothing behind it.
const MAX_DEAD_LETTERS: i64 = 10_000;
/// How often the webhooks are looked at for those whose time has come.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after a failure of the database.
const RETRY: Duration = Duration::from_secs(1);

/// How patient deliveries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// For one answer. Default 15 s.
    pub timeout: Duration,
    /// After the first failure; doubled each time, less up to a half by chance. Default 5 s.
    pub first_delay: Duration,
    /// At most. Default 1 h.
    pub max_delay: Duration,
    /// Once nothing could be delivered for so long, an event that fails is given up. Default 24 h.
    pub give_up_after: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(15),
            first_delay: Duration::from_secs(5),
            max_delay: Duration::from_hours(1),
            give_up_after: Duration::from_hours(24),
        }
    }
}

/// Sends events to webhooks.
#[derive(Debug, Clone)]
pub struct Deliverer {
    pool: PgPool,
    client: reqwest::Client,
    ledger_id: Uuid,
    reach: Reach,
    pace: Pace,
}

/// How an attempt ended.
enum Ended {
    Delivered,
    /// The target wants no more.
    Gone,
    Failed(String),
}

impl Deliverer {
    /// A deliverer of one ledger.
    ///
    /// # Errors
    /// The machine's root certificates cannot be read.
    pub fn new(pool: PgPool, ledger_id: Uuid, reach: Reach, pace: Pace) -> Result<Self, reqwest::Error> {
        Ok(Self { pool, client: reach.client(pace.timeout)?, ledger_id, reach, pace })
    }

    /// Delivers whenever it leads, until the task is dropped. Failures of the database are logged and tried again.
    pub async fn run(self) {
        let mut told = false;
        loop {
            let Err(error) = self.lead(&mut told).await;
            if !told {
                tracing::warn!(%error, "webhooks wait for the database");
                told = true;
            }
            sleep(RETRY).await;
        }
    }

    /// Waits to lead, and delivers as long as it does.
    async fn lead(&self, told: &mut bool) -> Result<Infallible, sqlx::Error> {
        let mut lead = Lead::take(&self.pool, "webhooks").await?;
        let mut tail = Tail::new(self.pool.clone(), ledger::head(&self.pool).await?, 1).await?;
        // Dropped with the lead, so that another leader's deliveries do not cross those of this one for long.
        let mut working = JoinSet::new();
        let mut at_work: Vec<(Id, Uuid)> = Vec::new();
        *told = false;
        let mut beat = Instant::now();
        loop {
            if beat.elapsed() >= HEARTBEAT {
                lead.beat().await?;
                beat = Instant::now();
            }
            for webhook_id in self.due(&at_work).await? {
                let deliverer = self.clone();
                let task = working.spawn(async move { deliverer.work(webhook_id).await });
                at_work.push((task.id(), webhook_id));
            }
            tokio::select! {
                Some(ended) = working.join_next_with_id(), if !at_work.is_empty() => {
                    let id = match &ended {
                        Ok((id, _)) => *id,
                        Err(error) => error.id(),
                    };
                    at_work.retain(|(task, _)| *task != id);
                    if let Ok((_, outcome)) = ended {
                        outcome?;
                    }
                }
                waited = tail.wait() => waited?,
                () = sleep(LOOK) => {}
            }
        }
    }

    async fn due(&self, at_work: &[(Id, Uuid)]) -> Result<Vec<Uuid>, sqlx::Error> {
        let free = AT_ONCE.saturating_sub(at_work.len());
        if free == 0 {
            return Ok(Vec::new());
        }
        let head = ledger::head(&self.pool).await?;
        let busy: Vec<Uuid> = at_work.iter().map(|(_, webhook_id)| *webhook_id).collect();
        sqlx::query_scalar(include_str!("sql/due.sql"))
            .bind(head)
            .bind(busy)
            .bind(i64::try_from(free).expect("a small number"))
            .fetch_all(&self.pool)
            .await
    }

    /// Delivers what a webhook has waiting, for a while.
    async fn work(&self, webhook_id: Uuid) -> Result<(), sqlx::Error> {
        for _ in 0..BATCHES {
            let webhook: Option<AtWork> = sqlx::query_as(include_str!("sql/at_work.sql"))
                .bind(webhook_id)
                .fetch_optional(&self.pool)
                .await?;
            let Some(webhook) = webhook else { return Ok(()) };
            let replayed = self.replay(&webhook).await?;
            let went_on = webhook.is_due && self.go_on(&webhook).await?;
            if !replayed && !went_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The next events of the log; whether there may be more to do at once.
    async fn go_on(&self, webhook: &AtWork) -> Result<bool, sqlx::Error> {
        let until = ledger::head(&self.pool).await?.min(webhook.position + STRETCH);
        if until <= webhook.position {
            return Ok(false);
        }
        let events: Vec<Told> = sqlx::query_as(include_str!("sql/batch.sql"))
            .bind(webhook.position)
            .bind(until)
            .bind(&webhook.event_types)
            .bind(SHARED_TENANT)
            .bind(&webhook.tenant)
            .bind(BATCH)
            .bind(MAX_PAYLOAD_BYTES)
            .fetch_all(&self.pool)
            .await?;
        let whole = i64::try_from(events.len()).is_ok_and(|count| count < BATCH);
        let last = events.last().map_or(until, |event| if whole { until } else { event.position });
        let wanted = webhook.wanted();
        let mut attempts = webhook.attempts;
        for event in events {
            let place = event.data.as_deref().and_then(|data| PricePlace::of(&event.event_type, data));
            if !wanted.matches_place(place.as_ref()) {
                continue;
            }
            match self.send(webhook, &event).await {
                Ended::Delivered => self.advance(webhook, event.position, true).await?,
                Ended::Gone => return self.disable(webhook).await.map(|()| false),
                Ended::Failed(error) => {
                    self.fail(webhook, &event, attempts, &error).await?;
                    return Ok(false);
                }
            }
            attempts = 0;
        }
        self.advance(webhook, last, false).await?;
        Ok(true)
    }

    /// Dead letters that somebody wants tried again: each once. Whether there were any.
    async fn replay(&self, webhook: &AtWork) -> Result<bool, sqlx::Error> {
        let letters: Vec<Told> = sqlx::query_as(include_str!("sql/replays.sql"))
            .bind(webhook.webhook_id)
            .bind(BATCH)
            .bind(MAX_PAYLOAD_BYTES)
            .fetch_all(&self.pool)
            .await?;
        let any = !letters.is_empty();
        for letter in letters {
            match self.send(webhook, &letter).await {
                Ended::Delivered => {
                    self.note(include_str!("sql/replayed.sql"), webhook, letter.position, None).await?;
                }
                Ended::Gone => {
                    self.disable(webhook).await?;
                    return Ok(false);
                }
                Ended::Failed(error) => {
                    let failed = include_str!("sql/replay_failed.sql");
                    self.note(failed, webhook, letter.position, Some(&error)).await?;
                }
            }
        }
        Ok(any)
    }

    /// One attempt.
    async fn send(&self, webhook: &AtWork, event: &Told) -> Ended {
        // Once more: a literal address never sees the resolver, and the setting may have changed.
        let url = match self.reach.check(&webhook.url) {
            Ok(url) => url,
            Err(why) => return Ended::Failed(why),
        };
        let body = event.body(self.ledger_id);
        let timestamp = Utc::now().timestamp();
        let signature =
            Secret::from_bytes(webhook.secret.clone()).signature(event.event_id, timestamp, &body);
        let request = self
            .client
            .post(url)
            .header("content-type", "application/cloudevents+json")
            .header("webhook-id", event.event_id.to_string())
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", signature)
            .body(body);
        // The body of the answer is not read: nobody needs it, and it may have no end.
        match request.send().await.map(|response| response.status()) {
            Ok(status) if status.is_success() => Ended::Delivered,
            Ok(StatusCode::GONE) => Ended::Gone,
            Ok(status) if status.is_redirection() => {
                Ended::Failed(format!("the target answered {status}; redirects are not followed"))
            }
            Ok(status) => Ended::Failed(format!("the target answered {status}")),
            Err(error) if error.is_timeout() => Ended::Failed("the target did not answer in time".to_owned()),
            Err(error) => Ended::Failed(causes(error)),
        }
    }

    async fn advance(&self, webhook: &AtWork, position: i64, delivered: bool) -> Result<(), sqlx::Error> {
        sqlx::query(include_str!("sql/advance.sql"))
            .bind(webhook.webhook_id)
            .bind(position)
            .bind(delivered)
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    /// Puts an event off, or gives it up.
    async fn fail(
        &self,
        webhook: &AtWork,
        event: &Told,
        attempts: i32,
        error: &str,
    ) -> Result<(), sqlx::Error> {
        let delay = self.delay(attempts);
        let mut transaction = self.pool.begin().await?;
        let failing: Option<(i64, i64)> = sqlx::query_as(include_str!("sql/fail.sql"))
            .bind(webhook.webhook_id)
            .bind(error)
            .bind(i64::try_from(delay.as_millis()).unwrap_or(i64::MAX))
            .fetch_optional(&mut *transaction)
            .await?;
        // None: it was deleted meanwhile.
        if let Some((failing_ms, dead_letters)) = failing
            && u64::try_from(failing_ms).is_ok_and(|ms| Duration::from_millis(ms) >= self.pace.give_up_after)
            && dead_letters < MAX_DEAD_LETTERS
        {
            sqlx::query(include_str!("sql/die.sql"))
                .bind(webhook.webhook_id)
                .bind(event.position)
                .bind(error)
                .execute(&mut *transaction)
                .await?;
            tracing::warn!(webhook_id = %webhook.webhook_id, position = event.position, error, "a delivery was given up");
        }
        transaction.commit().await
    }

    /// Doubled each time, less up to a half by chance, so that what failed together does not return together.
    fn delay(&self, attempts: i32) -> Duration {
        let doubled = 2_u32.saturating_pow(u32::try_from(attempts).unwrap_or_default());
        let delay = self.pace.first_delay.saturating_mul(doubled).min(self.pace.max_delay);
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(rand::random_range(millis / 2..=millis))
    }

    async fn disable(&self, webhook: &AtWork) -> Result<(), sqlx::Error> {
        sqlx::query(include_str!("sql/disable.sql"))
            .bind(webhook.webhook_id)
            .bind("the target answered 410 Gone")
            .execute(&self.pool)
            .await
            .map(|_| ())
    }

    async fn note(
        &self,
        statement: &'static str,
        webhook: &AtWork,
        position: i64,
        error: Option<&str>,
    ) -> Result<(), sqlx::Error> {
        let query = sqlx::query(statement).bind(webhook.webhook_id).bind(position);
        let query = match error {
            Some(error) => query.bind(error),
            None => query,
        };
        query.execute(&self.pool).await.map(|_| ())
    }
}

/// An error with its causes, without the URL, which may hold what is nobody's business.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text.chars().take(500).collect()
}
