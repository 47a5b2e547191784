//! When lists are fetched: each a while after its last run ended, by one of all processes on the ledger.
//!
//! Nothing is kept but the ledger: a list is due by what it says of the list's last run, so that a process which was
//! down catches up, and a refresh on the command line counts. The leader is whoever holds an advisory lock, on a
//! connection of its own that it shows a sign of life on.

use std::collections::HashMap;
use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Live, Target};
use crate::ledger::{HEARTBEAT, Lead, answered};
use crate::sources::refresh::{RefreshError, RunEnd, last_ends};

/// Before trying to lead again after losing the connection: whoever lost it may be the one whose network is bad.
const LOST: Duration = Duration::from_secs(5);
/// How soon a list that failed is tried again, if its interval is not shorter.
const RETRY: Duration = Duration::from_mins(15);

/// A list may also be refreshed by hand, or by an earlier leader's last run: the ledger is looked at this often.
const LOOK: Duration = Duration::from_mins(1);

/// Fetches lists when they are due.
#[derive(Debug)]
pub struct Scheduler {
    live: Live,
    targets: Vec<Target>,
    every: Duration,
    /// Lists whose last run here left no trace in the ledger that would put off the next one.
    not_before: HashMap<Target, Instant>,
}

impl Scheduler {
    /// Fetches each of `targets` every `every`, or up to 10 % later: the lists drift apart.
    pub fn new(live: Live, targets: Vec<Target>, every: Duration) -> Self {
        Self { live, targets, every, not_before: HashMap::new() }
    }

    /// Leads, or waits to lead, for ever. May be stopped at any time: a run that is cut off leaves nothing behind.
    pub async fn run(mut self) {
        if self.targets.is_empty() {
            return;
        }
        let mut told = false;
        loop {
            match self.session().await {
                Ok(()) => told = false,
                // Once: a database that is down is down for everybody.
                Err(error) if !told => {
                    tracing::warn!(%error, "scheduled refreshes wait for the database");
                    told = true;
                }
                Err(_) => {}
            }
            sleep(LOST).await;
        }
    }

    /// Waits to lead, and leads until the connection is lost.
    async fn session(&mut self) -> Result<(), sqlx::Error> {
        let mut lead = Lead::take(&self.live.refresher.pool, "scheduler").await?;
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tracing::info!(lists = self.targets.len(), "this process refreshes the price lists from now on");
        let mut next = Instant::now();
        loop {
            heartbeat.tick().await;
            lead.beat().await?;
            if Instant::now() < next {
                continue;
            }
            match self.next_due(lead.connection()).await? {
                (target, wait) if wait.is_zero() => {
                    let live = self.live.clone();
                    let mut run = std::pin::pin!(live.refresh(&target));
                    let mut lost = None;
                    let outcome = loop {
                        tokio::select! {
                            outcome = &mut run => break outcome,
                            _ = heartbeat.tick(), if lost.is_none() => lost = lead.beat().await.err(),
                        }
                    };
                    self.tell(&target, outcome);
                    // What was begun is finished, since the scope's lock guards it; nothing more is begun.
                    if let Some(error) = lost {
                        return Err(error);
                    }
                    heartbeat.reset_immediately();
                }
                (_, wait) => next = Instant::now() + wait,
            }
        }
    }

    /// Says what became of a run. One that has failed is in the ledger; it is logged here and nowhere else.
    fn tell(&mut self, target: &Target, outcome: Result<super::Report, RefreshError>) {
        let (source, scope) = (&target.source, &target.scope);
        match outcome {
            Ok(report) if report.quarantined => {
                let (refresh_id, reason) = (report.refresh_id, report.reason.as_deref().unwrap_or_default());
                tracing::warn!(%source, scope, %refresh_id, reason, "quarantined");
            }
            Ok(report) => {
                let (counts, seconds, complete) = (&report.counts, report.seconds, report.complete);
                tracing::info!(
                    %source, scope, complete, seconds, observed = counts.observed, listed = counts.listed,
                    changed = counts.changed, withdrawn = counts.withdrawn, "refreshed"
                );
            }
            Err(error) => {
                tracing::warn!(%source, scope, %error, "the refresh failed");
                self.not_before.insert(target.clone(), Instant::now() + self.retry());
                return;
            }
        }
        self.not_before.remove(target);
    }

    fn retry(&self) -> Duration {
        RETRY.min(self.every)
    }

    /// The list that is due first, and how long it is until then.
    async fn next_due(&self, connection: &mut PgConnection) -> Result<(Target, Duration), sqlx::Error> {
        let mut ends: HashMap<&str, Vec<RunEnd>> = HashMap::new();
        let mut next: Option<(&Target, Duration)> = None;
        for target in &self.targets {
            if !ends.contains_key(&*target.source) {
                ends.insert(&target.source, answered(last_ends(&mut *connection, &target.source)).await?);
            }
            let last = ends[&*target.source].iter().find(|end| end.scope == target.scope);
            let by_ledger = last.map_or(Duration::ZERO, |last| self.wait_after(last));
            let here = self.not_before.get(target);
            let wait =
                here.map_or(by_ledger, |at| by_ledger.max(at.saturating_duration_since(Instant::now())));
            if next.is_none_or(|(_, least)| wait < least) {
                next = Some((target, wait));
            }
        }
        let (target, wait) = next.expect("there are sources");
        Ok((target.clone(), wait.min(LOOK)))
    }

    /// How long a list is left alone, counted from now, after its last run.
    fn wait_after(&self, last: &RunEnd) -> Duration {
        let pause = if last.failed { self.retry() } else { self.every };
        // By chance, but the same for everybody who asks: the last bytes of a UUID v7 are random.
        let chance = u32::from(last.refresh_id.as_bytes()[15]);
        let pause = pause + pause * chance / (10 * u32::from(u8::MAX));
        pause.saturating_sub(Duration::from_millis(u64::try_from(last.age_ms).unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn a_list_is_due_an_interval_after_its_last_run_or_a_tenth_later() {
        let pool = sqlx::PgPool::connect_lazy("postgres://localhost/none").expect("a URL");
        let refresher = crate::sources::refresh::Refresher {
            appender: crate::ledger::Appender::spawn(pool.clone()),
            pool,
            rules: crate::domain::refresh::Rules::default(),
            actor: "test".into(),
        };
        let live = Live::new(refresher, super::super::Limits::default()).expect("a client");
        let scheduler = Scheduler::new(live, Vec::new(), Duration::from_hours(8));
        let end = |last_byte, failed, age_ms| RunEnd {
            scope: String::new(),
            refresh_id: Uuid::from_u128(last_byte),
            failed,
            age_ms,
        };
        let minutes = |end: &RunEnd| scheduler.wait_after(end).as_secs() / 60;
        assert_eq!(minutes(&end(0, false, 0)), 480);
        assert_eq!(minutes(&end(255, false, 0)), 528);
        assert_eq!(minutes(&end(0, false, 60 * 60_000)), 420);
        assert_eq!(minutes(&end(0, false, 9 * 60 * 60_000)), 0);
        assert_eq!(minutes(&end(0, true, 5 * 60_000)), 10);
    }
}
