//! A refresh: reads one list, compares it with the official prices and records what it saw and what it means.
//!
//! The list is read whole before anything but `refresh.started` is written; then the writers' lock is taken and
//! everything else goes into one transaction. A run that fails or is killed leaves nothing half-written, and a reader
//! never sees half of a new list.

mod conclude;
mod coverage;
mod known;
mod later;
mod list;
mod release;
mod repeat;
mod research;
mod staging;

pub use conclude::Report;
pub use list::{RefreshRow, STATES, refresh_get, refreshes, scope_is_free};
pub use release::release;
pub use repeat::{LastRun, RunEnd, last_complete, last_ends};
pub use research::{Judged, Proposal, ResearchLog};

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::mpsc;
use uuid::Uuid;

use self::coverage::ScopeRun;
use self::staging::{FromParser, Staging};
use super::{ListEnd, ListError, ListHeader, ListSink};
use crate::domain::event::{
    NewEvent, REFRESH_FAILED, REFRESH_STARTED, RefreshFailed, RefreshStarted, Research, refresh_stream,
};
use crate::domain::refresh::Rules;
use crate::ledger::segments::SegmentError;
use crate::ledger::{Append, AppendError, Appender, Origin, Outcome};

/// How far the clock of whoever published a list may be ahead of ours.
const CLOCK_TOLERANCE: chrono::Duration = chrono::Duration::days(1);

/// Why a refresh recorded nothing, or only that it failed.
#[derive(Debug, thiserror::Error)]
pub enum RefreshError {
    /// The list is from the future or not newer than the last one of its scope, or another run of the scope is under way.
    #[error("{0}")]
    Refused(String),
    /// The list could not be read; `refresh.failed` says so in the ledger.
    #[error(transparent)]
    List(#[from] ListError),
    /// The list contradicts itself; `refresh.failed` says so in the ledger.
    #[error("{0}")]
    Contradiction(String),
    /// No such refresh, or not one that can be released.
    #[error("{0}")]
    NotReleasable(String),
    /// The ledger refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// A stored segment is missing or damaged.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// What refreshes need of the program.
#[derive(Debug, Clone)]
pub struct Refresher {
    /// Connections to the ledger.
    pub pool: PgPool,
    /// For the events that stand alone.
    pub appender: Appender,
    /// The operator's figures.
    pub rules: Rules,
    /// Who runs the refreshes.
    pub actor: Arc<str>,
}

/// Where a list comes from, as far as it is known before it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOrigin {
    /// Of the run, where it was told to somebody before it starts.
    pub refresh_id: Option<Uuid>,
    /// Format or configured source.
    pub source: String,
    /// What the list covers; `None` where only the list itself says so.
    pub scope: Option<String>,
    /// Files or URLs, in order.
    pub files: Vec<String>,
}

/// What a source says of a whole list, to be asked about it the next time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceVersion {
    /// See [`crate::domain::event::RefreshOutcome::source_version`].
    pub version: Option<String>,
    /// The `ETag` header.
    pub etag: Option<String>,
}

/// What a parser brings back.
#[derive(Debug)]
struct Read {
    end: ListEnd,
    version: SourceVersion,
    /// Where each price was judged by itself.
    judged: Option<Judged>,
}

/// A run under way.
#[derive(Debug)]
struct Run {
    refresh_id: Uuid,
    source: String,
    /// Of the header, or known before.
    scope: Option<String>,
    files: Vec<String>,
    origin: Origin,
    began: Instant,
    /// Known since the header.
    header: Option<ListHeader>,
    /// Position up to which the official prices in memory were read.
    read_at: i64,
    staged: bool,
    research: Option<ResearchLog>,
}

impl Refresher {
    /// Reads a list and records it. `read` is called on a thread of its own with the sink to fill.
    ///
    /// # Errors
    /// See [`RefreshError`].
    pub async fn refresh<R>(&self, source: &str, files: Vec<String>, read: R) -> Result<Report, RefreshError>
    where
        R: FnOnce(&mut dyn ListSink) -> Result<ListEnd, ListError> + Send + 'static,
    {
        let list = ListOrigin { refresh_id: None, source: source.to_owned(), scope: None, files };
        self.refresh_versioned(list, move |sink| Ok((read(sink)?, SourceVersion::default()))).await
    }

    /// The same for a list of which the source tells a version. `list.scope`, if given, is the one that the header will
    /// say: a list that fails before its header counts as a run of it.
    ///
    /// # Errors
    /// See [`RefreshError`].
    pub async fn refresh_versioned<R>(&self, list: ListOrigin, read: R) -> Result<Report, RefreshError>
    where
        R: FnOnce(&mut dyn ListSink) -> Result<(ListEnd, SourceVersion), ListError> + Send + 'static,
    {
        let run = self.new_run(list);
        self.refresh_run(run, move |sink| {
            let (end, version) = read(sink)?;
            Ok(Read { end, version, judged: None })
        })
        .await
    }

    async fn refresh_run<R>(&self, mut run: Run, read: R) -> Result<Report, RefreshError>
    where
        R: FnOnce(&mut dyn ListSink) -> Result<Read, ListError> + Send + 'static,
    {
        // A connection of its own, closed at the end: it holds the scope's lock and the staging tables.
        let mut connection = self.pool.acquire().await?.detach();
        let outcome = self.run(&mut run, &mut connection, read).await;
        self.end(&run, connection, outcome).await
    }

    fn new_run(&self, list: ListOrigin) -> Run {
        let refresh_id = list.refresh_id.unwrap_or_else(Uuid::now_v7);
        Run {
            refresh_id,
            source: list.source,
            scope: list.scope,
            files: list.files,
            origin: Origin::shared(&self.actor, refresh_id),
            began: Instant::now(),
            header: None,
            read_at: 0,
            staged: false,
            research: None,
        }
    }

    /// Closes the run's connection, and records a failure.
    async fn end(
        &self,
        run: &Run,
        connection: PgConnection,
        outcome: Result<Report, RefreshError>,
    ) -> Result<Report, RefreshError> {
        let closed = connection.close().await;
        match outcome {
            Ok(report) => {
                closed?;
                Ok(report)
            }
            Err(error) => {
                if !matches!(error, RefreshError::Refused(_)) {
                    self.record_failure(run, &error).await?;
                }
                Err(error)
            }
        }
    }

    async fn run<R>(
        &self,
        run: &mut Run,
        connection: &mut PgConnection,
        read: R,
    ) -> Result<Report, RefreshError>
    where
        R: FnOnce(&mut dyn ListSink) -> Result<Read, ListError> + Send + 'static,
    {
        let (to_refresh, mut from_parser) = mpsc::channel(staging::PIECES);
        let parsing = tokio::task::spawn_blocking(move || {
            let mut sink = Staging::new(to_refresh);
            let read = read(&mut sink)?;
            Ok::<_, ListError>((read, sink.finish()?))
        });
        // What the refresh refused, as opposed to what the parser found wrong.
        let mut refused = None;
        while let Some(message) = from_parser.recv().await {
            if let Err(error) = self.take(run, connection, message).await {
                refused = Some(error);
                from_parser.close();
            }
        }
        let parsed = parsing.await.expect("a parser does not panic");
        if let Some(error) = refused {
            return Err(error);
        }
        let (read, known) = parsed?;
        self.conclude(run, connection, &read, known).await
    }

    async fn take(
        &self,
        run: &mut Run,
        connection: &mut PgConnection,
        message: FromParser,
    ) -> Result<(), RefreshError> {
        match message {
            FromParser::Header(header, answer) => {
                let runs = self.begin(run, connection, header).await?;
                let known = coverage::load(connection, &runs).await?;
                let _ = answer.send(Ok(known));
            }
            FromParser::Products(rows) => {
                self.stage(run, connection, include_str!("sql/copy_products.sql"), rows).await?;
            }
            FromParser::Prices(rows) => {
                self.stage(run, connection, include_str!("sql/copy_prices.sql"), rows).await?;
            }
        }
        Ok(())
    }

    async fn stage(
        &self,
        run: &mut Run,
        connection: &mut PgConnection,
        statement: &'static str,
        rows: String,
    ) -> Result<(), RefreshError> {
        if !run.staged {
            staging::create(connection).await?;
            run.staged = true;
        }
        Ok(staging::copy(connection, statement, rows).await?)
    }

    /// The header is known: takes the scope's lock, refuses an old list, records the start. Returns the scope's runs.
    async fn begin(
        &self,
        run: &mut Run,
        connection: &mut PgConnection,
        header: ListHeader,
    ) -> Result<Vec<ScopeRun>, RefreshError> {
        let latest = Utc::now() + CLOCK_TOLERANCE;
        if header.observed_at > latest {
            return Err(RefreshError::Refused(format!(
                "the list of {} {} says that it was observed at {}, which is in the future; no list before that time \
                 would be taken any more, so check the machine's clock, or give --observed-at",
                run.source,
                header.scope,
                timestamp(header.observed_at),
            )));
        }
        lock_scope(connection, &run.source, &header.scope).await?;
        let runs = coverage::scope_runs(connection, &run.source, &header.scope).await?;
        if let Some(last) = runs.first()
            && header.observed_at <= last.observed_at
        {
            return Err(RefreshError::Refused(format!(
                "the list of {} {} was observed at {}, which is not after {}, the last one recorded ({}); \
                 older lists are refused, since the ledger is written in the order of observation",
                run.source,
                header.scope,
                timestamp(header.observed_at),
                timestamp(last.observed_at),
                last.state,
            )));
        }
        self.close_interrupted(run, connection, &header.scope).await?;
        run.scope = Some(header.scope.clone());
        let started = self.append(run, vec![started(run, Some(header.observed_at))]).await?;
        run.header = Some(header);
        run.origin = run.origin.clone().caused_by(started);
        run.read_at = crate::ledger::head(&mut *connection).await?;
        Ok(runs)
    }

    /// Appends events and returns the identity of the first.
    async fn append(&self, run: &Run, events: Vec<NewEvent>) -> Result<Uuid, AppendError> {
        let append = Append { origin: run.origin.clone(), events, idempotency: None };
        match self.appender.append(append).await? {
            Outcome::Appended(appended, _) => Ok(appended[0].event_id),
            Outcome::Replayed(_) => unreachable!("there was no idempotency key"),
        }
    }

    /// Says why a run ended, and that it started, in one append, where that is not on record yet.
    async fn record_failure(&self, run: &Run, error: &RefreshError) -> Result<(), AppendError> {
        let mut events = Vec::new();
        if run.header.is_none() {
            events.push(started(run, None));
        }
        let research = run.research.as_ref().map(ResearchLog::read);
        events.push(failed(run, run.refresh_id, &error.to_string(), research.as_ref()));
        match self.append(run, events).await {
            // The next run of the scope was faster to say so, or the commit succeeded and only its answer was lost.
            Err(AppendError::Conflict { .. }) => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Runs of the scope that were killed: whoever holds the scope's lock knows that they are not under way.
    async fn close_interrupted(
        &self,
        run: &Run,
        connection: &mut PgConnection,
        scope: &str,
    ) -> Result<(), RefreshError> {
        let interrupted: Vec<Uuid> = sqlx::query_scalar(include_str!("sql/scope_interrupted.sql"))
            .bind(&run.source)
            .bind(scope)
            .bind(run.refresh_id)
            .fetch_all(connection)
            .await?;
        for refresh_id in interrupted {
            match self.append(run, vec![failed(run, refresh_id, "the run was interrupted", None)]).await {
                // It was about to fail, and said so itself in the meantime.
                Err(AppendError::Conflict { .. }) => {}
                outcome => drop(outcome?),
            }
        }
        Ok(())
    }
}

/// The first event of a run.
fn started(run: &Run, observed_at: Option<DateTime<Utc>>) -> NewEvent {
    let data = RefreshStarted {
        v: 1,
        source: &run.source,
        origin: &run.files,
        scope: run.scope.as_deref(),
        observed_at,
    };
    NewEvent::new(refresh_stream(run.refresh_id), REFRESH_STARTED, &data).expecting(0)
}

/// The last event of a run that recorded nothing but its start.
fn failed(run: &Run, refresh_id: Uuid, reason: &str, research: Option<&Research>) -> NewEvent {
    let data = RefreshFailed { v: 1, source: &run.source, reason, research };
    NewEvent::new(refresh_stream(refresh_id), REFRESH_FAILED, &data).expecting(1)
}

/// Takes the lock of a scope. A run that ended or was killed just now may hold it for a moment longer.
async fn lock_scope(connection: &mut PgConnection, source: &str, scope: &str) -> Result<(), RefreshError> {
    sqlx::raw_sql("set lock_timeout = '3s'").execute(&mut *connection).await?;
    let locked = sqlx::query(include_str!("sql/scope_lock.sql"))
        .bind(source)
        .bind(scope)
        .execute(&mut *connection)
        .await;
    if let Err(error) = locked {
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        return Err(if code.as_deref() == Some(LOCK_NOT_AVAILABLE) {
            RefreshError::Refused(format!(
                "another refresh of {source} {scope} is under way; try again later"
            ))
        } else {
            error.into()
        });
    }
    sqlx::raw_sql("set lock_timeout = 0").execute(connection).await?;
    Ok(())
}

/// SQLSTATE of a lock that was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

fn timestamp(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)
}
