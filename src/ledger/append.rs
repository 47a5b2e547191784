//! Group commit: one task per process merges concurrent requests into one transaction.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::Origin;
use super::hash::{HashedEvent, leaf_hash};
use crate::domain::event::NewEvent;

/// The most requests merged into one transaction. More wait for the next one.
const GROUP_REQUESTS: usize = 1_024;
/// The most events merged into one transaction (a single larger request still goes whole).
const GROUP_EVENTS: usize = 4_096;
/// Requests that may wait; more callers wait to be queued.
const QUEUE: usize = 4_096;
/// The most events of one request; more is the business of [`super::BulkAppend`].
const MAX_EVENTS_PER_APPEND: usize = 10_000;
/// The largest payload of one event.
const MAX_DATA_BYTES: usize = 32 << 20;

/// Events to append together or not at all.
#[derive(Debug)]
pub struct Append {
    /// Who, for whom, why.
    pub origin: Origin,
    /// At least one.
    pub events: Vec<NewEvent>,
    /// Set where the request must not be carried out twice.
    pub idempotency: Option<Idempotency>,
}

/// Makes an answer from where the events went.
pub type Respond = Box<dyn Fn(&[Appended]) -> String + Send + Sync>;

/// A caller's key for a request, and how to answer it.
pub struct Idempotency {
    /// The caller's key, unique within the tenant.
    pub key: String,
    /// Hash of the whole request: the same key with another request is refused.
    pub request_sha256: [u8; 32],
    /// Makes the answer, to be kept with the events; called again if the first attempt to write them was in vain.
    pub respond: Respond,
}

impl std::fmt::Debug for Idempotency {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Idempotency").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Where an event went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// In the log.
    pub position: i64,
    /// In its stream.
    pub stream_version: i64,
    /// When the ledger took it.
    pub recorded_at: DateTime<Utc>,
    /// Its identity.
    pub event_id: Uuid,
}

/// What became of a request.
#[derive(Debug)]
pub enum Outcome {
    /// The events are durable; with the answer where there was an idempotency key.
    Appended(Vec<Appended>, Option<String>),
    /// The same request was carried out before; its answer.
    Replayed(String),
}

/// Why nothing of a request was appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Somebody else has written to the stream since; read it again and decide anew.
    #[error("stream {stream} is at version {actual}, not {expected}")]
    Conflict {
        /// The stream.
        stream: String,
        /// The version that the caller had decided on.
        expected: i64,
        /// The version it is at.
        actual: i64,
    },
    /// The idempotency key was used for another request.
    #[error("idempotency key {0:?} was used for another request; use a fresh key")]
    KeyReused(String),
    /// No events, or too many or too large ones.
    #[error("{0}")]
    Invalid(String),
    /// The database failed; whether the events are durable is not known if it failed while committing.
    #[error("the ledger could not be written: {0}")]
    Database(Arc<sqlx::Error>),
    /// The appender has stopped.
    #[error("the ledger is shutting down")]
    Closed,
}

impl From<sqlx::Error> for AppendError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

struct Request {
    append: Append,
    reply: oneshot::Sender<Result<Outcome, AppendError>>,
}

/// Handle of the process's appender task; clones share it. The task ends when the last handle is gone.
#[derive(Debug, Clone)]
pub struct Appender {
    queue: mpsc::Sender<Request>,
}

impl Appender {
    /// Starts the task.
    pub fn spawn(pool: PgPool) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE);
        tokio::spawn(run(pool, requests));
        Self { queue }
    }

    /// Appends durably: when it returns, the events are committed and every inline projection shows them.
    ///
    /// # Errors
    /// See [`AppendError`]; nothing of the request was appended.
    pub async fn append(&self, append: Append) -> Result<Outcome, AppendError> {
        if append.events.is_empty() || append.events.len() > MAX_EVENTS_PER_APPEND {
            return Err(AppendError::Invalid(format!(
                "{} events in one append; 1 to {MAX_EVENTS_PER_APPEND} are possible",
                append.events.len()
            )));
        }
        if let Some(event) = append.events.iter().find(|event| event.data.len() > MAX_DATA_BYTES) {
            return Err(AppendError::Invalid(format!(
                "{} has {} bytes of data; {MAX_DATA_BYTES} are possible",
                event.event_type,
                event.data.len()
            )));
        }
        let (reply, answer) = oneshot::channel();
        self.queue.send(Request { append, reply }).await.map_err(|_| AppendError::Closed)?;
        answer.await.map_err(|_| AppendError::Closed)?
    }
}

/// Two groups are under way at any time: while PostgreSQL writes one, the next is gathered, its streams' versions are
/// read, and it is numbered and hashed as if the one before were written already. So a group costs one round trip under
/// the lock, and PostgreSQL never waits for hashing. What was assumed is checked under the lock: if anybody else has
/// written, or the group before failed, the group is prepared anew with the lock held.
async fn run(pool: PgPool, requests: mpsc::Receiver<Request>) {
    let mut requests = Requests { requests, held: None };
    let mut before: Option<Writing> = None;
    while let Some(group) = requests.gather().await {
        if before.as_ref().is_some_and(|before| before.plan.is_none()) {
            finished(&mut before).await;
        }
        let plan = before.as_ref().and_then(|before| before.plan.as_ref());
        let ahead = prepare_ahead(&pool, &group, plan).await;
        let as_planned = finished(&mut before).await;
        let ahead = ahead.filter(|_| as_planned);
        let plan = ahead.as_ref().map(|prepared| prepared.after.clone());
        before = Some(Writing { task: tokio::spawn(commit_group(pool.clone(), group, ahead)), plan });
    }
}

/// A group that is being written.
struct Writing {
    /// Ends when it is written and its requests are answered; whether it went as planned.
    task: tokio::task::JoinHandle<bool>,
    /// How things will stand if it does; `None` if that is not known before.
    plan: Option<Arc<Standing>>,
}

/// Waits for the group before; true if there is none.
async fn finished(before: &mut Option<Writing>) -> bool {
    match before.take() {
        Some(writing) => writing.task.await.unwrap_or(false),
        None => true,
    }
}

/// Requests as they arrive.
struct Requests {
    requests: mpsc::Receiver<Request>,
    held: Option<Request>,
}

impl Requests {
    /// The requests that wait, or the next one that comes; `None` when no more can come.
    async fn gather(&mut self) -> Option<Vec<Request>> {
        let first = match self.held.take() {
            Some(request) => request,
            None => self.requests.recv().await?,
        };
        let mut events = first.append.events.len();
        let mut group = vec![first];
        let mut yielded = false;
        while group.len() < GROUP_REQUESTS {
            let Ok(next) = self.requests.try_recv() else {
                // Callers that were answered a moment ago are about to send their next request: a turn of theirs costs
                // microseconds and saves a commit.
                if yielded {
                    break;
                }
                yielded = true;
                tokio::task::yield_now().await;
                continue;
            };
            yielded = false;
            events += next.append.events.len();
            if events > GROUP_EVENTS {
                self.held = Some(next);
                break;
            }
            group.push(next);
        }
        Some(group)
    }
}

/// The log as a group finds it, or leaves it.
#[derive(Debug)]
struct Standing {
    head: i64,
    recorded_at: DateTime<Utc>,
    /// Versions of the group's streams.
    versions: HashMap<String, i64>,
}

impl Standing {
    /// From what a statement of `sql/` reads for `streams`.
    fn new(streams: &BTreeSet<&str>, (head, recorded_at, versions): (i64, DateTime<Utc>, Vec<i64>)) -> Self {
        let versions = streams.iter().map(|&stream| stream.to_owned()).zip(versions).collect();
        Self { head, recorded_at, versions }
    }

    /// The same once the group before is written, if it is not yet.
    fn after(mut self, before: &Self) -> Self {
        if self.head < before.head {
            self.head = before.head;
            for (stream, version) in &mut self.versions {
                if let Some(&later) = before.versions.get(stream) {
                    *version = later;
                }
            }
        }
        self.recorded_at = self.recorded_at.max(before.recorded_at);
        self
    }
}

fn streams(group: &[Request]) -> BTreeSet<&str> {
    group.iter().flat_map(|request| request.append.events.iter().map(|event| event.stream.as_str())).collect()
}

/// A group that is numbered and hashed.
struct Prepared {
    columns: Columns,
    keys: Keys,
    /// In the order of the requests.
    outcomes: Vec<Result<Outcome, AppendError>>,
    /// Where the log was.
    head: i64,
    recorded_at: DateTime<Utc>,
    after: Arc<Standing>,
}

/// Prepares a group while the one before is being written. `None` where that cannot be done, or failed: the group is
/// then prepared under the lock, which also tells what is wrong.
async fn prepare_ahead(pool: &PgPool, group: &[Request], before: Option<&Arc<Standing>>) -> Option<Prepared> {
    // Whether a key was used is looked up under the lock.
    if group.iter().any(|request| request.append.idempotency.is_some()) {
        return None;
    }
    let streams = streams(group);
    let row = sqlx::query_as(include_str!("sql/standing.sql"))
        .bind(streams.iter().copied().collect::<Vec<&str>>())
        .fetch_one(pool)
        .await
        .ok()?;
    let standing = Standing::new(&streams, row);
    Some(prepare(
        group,
        match before {
            Some(before) => standing.after(before),
            None => standing,
        },
    ))
}

/// Writes a group and answers its requests. Returns whether that went as it was prepared, if it was.
async fn commit_group(pool: PgPool, mut group: Vec<Request>, ahead: Option<Prepared>) -> bool {
    if let Some(prepared) = ahead {
        match write(&pool, &prepared).await {
            Ok(()) => {
                answer(group, prepared.outcomes);
                return true;
            }
            // Nothing was written.
            Err(error) if is_stale(&error) => {}
            Err(error) => {
                fail(group, error);
                return false;
            }
        }
    }
    match commit_locked(&pool, &mut group).await {
        Ok(outcomes) => answer(group, outcomes),
        Err(error) => fail(group, error),
    }
    false
}

fn answer(group: Vec<Request>, outcomes: Vec<Result<Outcome, AppendError>>) {
    for (request, outcome) in group.into_iter().zip(outcomes) {
        // A caller that went away no longer wants to know.
        let _ = request.reply.send(outcome);
    }
}

fn fail(group: Vec<Request>, error: sqlx::Error) {
    tracing::error!(error = %error, requests = group.len(), "append failed");
    let error = AppendError::from(error);
    for request in group {
        let _ = request.reply.send(Err(error.clone()));
    }
}

/// Whether the head is not where the group was prepared for.
fn is_stale(error: &sqlx::Error) -> bool {
    const SERIALIZATION_FAILURE: &str = "40001";
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref()
        == Some(SERIALIZATION_FAILURE)
}

/// Prepares and writes with the lock held.
async fn commit_locked(
    pool: &PgPool,
    group: &mut Vec<Request>,
) -> Result<Vec<Result<Outcome, AppendError>>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    let standing = {
        let streams = streams(group);
        let row = sqlx::query_as(include_str!("sql/lock.sql"))
            .bind(streams.iter().copied().collect::<Vec<&str>>())
            .fetch_one(&mut *transaction)
            .await?;
        Standing::new(&streams, row)
    };
    answer_known_keys(&mut transaction, group).await?;
    let prepared = prepare(group, standing);
    prepared.keys.keep(&mut transaction, prepared.recorded_at).await?;
    write(&mut *transaction, &prepared).await?;
    transaction.commit().await?;
    Ok(prepared.outcomes)
}

/// Columns of the events of a group, as [`ledger_append`](../../migrations/0001_ledger.sql) takes them.
#[derive(Default)]
struct Columns {
    event_ids: Vec<Uuid>,
    streams: Vec<String>,
    stream_versions: Vec<i64>,
    event_types: Vec<&'static str>,
    effective_ats: Vec<DateTime<Utc>>,
    actors: Vec<Arc<str>>,
    tenants: Vec<Arc<str>>,
    correlation_ids: Vec<Uuid>,
    causation_ids: Vec<Option<Uuid>>,
    datas: Vec<String>,
    leaf_hashes: Vec<[u8; 32]>,
}

/// Numbers and hashes the events of the requests whose expectations hold.
fn prepare(group: &[Request], standing: Standing) -> Prepared {
    let Standing { head, recorded_at, mut versions } = standing;
    let mut columns = Columns::default();
    let mut keys = Keys::default();
    let mut outcomes = Vec::with_capacity(group.len());
    for Request { append, .. } in group {
        // The same request twice in one group.
        if let Some(idempotency) = &append.idempotency
            && let Some((hash, response)) = keys.find(&append.origin.tenant, &idempotency.key)
        {
            outcomes.push(if hash == idempotency.request_sha256 {
                Ok(Outcome::Replayed(response.to_owned()))
            } else {
                Err(AppendError::KeyReused(idempotency.key.clone()))
            });
            continue;
        }
        if let Some(conflict) = conflict(append, &versions) {
            outcomes.push(Err(conflict));
            continue;
        }
        let appended = columns.push(append, head, recorded_at, &mut versions);
        let response = append.idempotency.as_ref().map(|idempotency| {
            let response = (idempotency.respond)(&appended);
            keys.push(&append.origin.tenant, &idempotency.key, idempotency.request_sha256, &response);
            response
        });
        outcomes.push(Ok(Outcome::Appended(appended, response)));
    }
    let after = Arc::new(Standing { head: head + columns.len(), recorded_at, versions });
    Prepared { columns, keys, outcomes, head, recorded_at, after }
}

impl Columns {
    fn len(&self) -> i64 {
        i64::try_from(self.event_ids.len()).expect("a group is small")
    }

    /// Adds the events of a request that is admitted.
    fn push(
        &mut self,
        append: &Append,
        head: i64,
        recorded_at: DateTime<Utc>,
        versions: &mut HashMap<String, i64>,
    ) -> Vec<Appended> {
        let Append { origin, events, .. } = append;
        let mut appended = Vec::with_capacity(events.len());
        for event in events {
            let version = versions.get_mut(&event.stream).expect("the versions of all streams were read");
            *version += 1;
            let position = head + 1 + self.len();
            let origin = origin.of(event);
            let effective_at = event.effective_at.unwrap_or(recorded_at);
            self.leaf_hashes.push(leaf_hash(&HashedEvent {
                position,
                event_id: event.event_id,
                stream: &event.stream,
                stream_version: *version,
                event_type: event.event_type,
                recorded_at,
                effective_at,
                actor: &origin.actor,
                tenant: &origin.tenant,
                correlation_id: origin.correlation_id,
                causation_id: origin.causation_id,
                data: &event.data,
            }));
            appended.push(Appended {
                position,
                stream_version: *version,
                recorded_at,
                event_id: event.event_id,
            });
            self.event_ids.push(event.event_id);
            self.streams.push(event.stream.clone());
            self.stream_versions.push(*version);
            self.event_types.push(event.event_type);
            self.effective_ats.push(effective_at);
            self.actors.push(origin.actor.clone());
            self.tenants.push(origin.tenant.clone());
            self.correlation_ids.push(origin.correlation_id);
            self.causation_ids.push(origin.causation_id);
            self.datas.push(event.data.clone());
        }
        appended
    }
}

/// Writes what was prepared, if the log still is where it was prepared for.
async fn write(
    executor: impl sqlx::PgExecutor<'_>,
    Prepared { columns, head, recorded_at, .. }: &Prepared,
) -> Result<(), sqlx::Error> {
    if columns.event_ids.is_empty() {
        return Ok(());
    }
    let types: BTreeSet<&str> = columns.event_types.iter().copied().collect();
    sqlx::query(include_str!("sql/append.sql"))
        .bind(head)
        .bind(recorded_at)
        .bind(types.into_iter().collect::<Vec<_>>())
        .bind(&columns.event_ids)
        .bind(&columns.streams)
        .bind(&columns.stream_versions)
        .bind(&columns.event_types)
        .bind(&columns.effective_ats)
        .bind(columns.actors.iter().map(AsRef::as_ref).collect::<Vec<&str>>())
        .bind(columns.tenants.iter().map(AsRef::as_ref).collect::<Vec<&str>>())
        .bind(&columns.correlation_ids)
        .bind(&columns.causation_ids)
        .bind(&columns.datas)
        .bind(columns.leaf_hashes.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
        .execute(executor)
        .await
        .map(|_| ())
}

/// The first expectation of the request that does not hold, given the events admitted so far.
fn conflict(append: &Append, versions: &HashMap<String, i64>) -> Option<AppendError> {
    let mut ahead: HashMap<&str, i64> = HashMap::new();
    for event in &append.events {
        let own = ahead.entry(&event.stream).or_default();
        let actual = versions.get(&event.stream).copied().unwrap_or_default() + *own;
        if let Some(expected) = event.expected_version
            && expected != actual
        {
            return Some(AppendError::Conflict { stream: event.stream.clone(), expected, actual });
        }
        *own += 1;
    }
    None
}

/// Removes from the group the requests whose key is on record and answers them.
async fn answer_known_keys(
    connection: &mut PgConnection,
    group: &mut Vec<Request>,
) -> Result<(), sqlx::Error> {
    let (tenants, keys): (Vec<String>, Vec<String>) = group
        .iter()
        .filter_map(|request| {
            let idempotency = request.append.idempotency.as_ref()?;
            Some((request.append.origin.tenant.to_string(), idempotency.key.clone()))
        })
        .unzip();
    if keys.is_empty() {
        return Ok(());
    }
    let known: Vec<(String, String, Vec<u8>, String)> =
        sqlx::query_as(include_str!("sql/idempotency_find.sql"))
            .bind(&tenants)
            .bind(&keys)
            .fetch_all(connection)
            .await?;
    let known: HashMap<(&str, &str), (&[u8], &str)> = known
        .iter()
        .map(|(tenant, key, hash, response)| {
            ((tenant.as_str(), key.as_str()), (hash.as_slice(), response.as_str()))
        })
        .collect();
    for request in std::mem::take(group) {
        let found = request.append.idempotency.as_ref().and_then(|idempotency| {
            let (hash, response) = known.get(&(&*request.append.origin.tenant, idempotency.key.as_str()))?;
            Some(if *hash == idempotency.request_sha256 {
                Ok(Outcome::Replayed((*response).to_owned()))
            } else {
                Err(AppendError::KeyReused(idempotency.key.clone()))
            })
        });
        match found {
            Some(outcome) => {
                let _ = request.reply.send(outcome);
            }
            None => group.push(request),
        }
    }
    Ok(())
}

/// Answers to keep with the events of a group.
#[derive(Default)]
struct Keys {
    tenants: Vec<String>,
    names: Vec<String>,
    hashes: Vec<[u8; 32]>,
    responses: Vec<String>,
}

impl Keys {
    fn find(&self, tenant: &str, key: &str) -> Option<([u8; 32], &str)> {
        let place = self.tenants.iter().zip(&self.names).position(|(t, k)| t == tenant && k == key)?;
        Some((self.hashes[place], &self.responses[place]))
    }

    fn push(&mut self, tenant: &str, key: &str, hash: [u8; 32], response: &str) {
        self.tenants.push(tenant.to_owned());
        self.names.push(key.to_owned());
        self.hashes.push(hash);
        self.responses.push(response.to_owned());
    }

    async fn keep(&self, connection: &mut PgConnection, at: DateTime<Utc>) -> Result<(), sqlx::Error> {
        if self.names.is_empty() {
            return Ok(());
        }
        sqlx::query(include_str!("sql/idempotency_keep.sql"))
            .bind(&self.tenants)
            .bind(&self.names)
            .bind(self.hashes.iter().map(<[u8; 32]>::as_slice).collect::<Vec<_>>())
            .bind(&self.responses)
            .bind(at)
            .execute(connection)
            .await?;
        Ok(())
    }
}
