//! Proposals: what an official price should be, for an administrator other than the author to decide.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::Serialize;
use sqlx::PgPool;
use uuid::Uuid;

use super::input::{Checks, MAX_EVIDENCE, MAX_EVIDENCE_CHARS, MAX_JUSTIFICATION_CHARS, MAX_REASON_CHARS};
use super::overrides::override_of;
use super::sessions::session_to_use;
use super::{ATTEMPTS, Moved, PeopleError};
use crate::access::{Permission, Principal, person_behind, tenant_transaction};
use crate::domain::event::{
    NewEvent, PRICE_CHANGED, PRICE_RELISTED, PROPOSAL_APPROVED, PROPOSAL_REJECTED, PROPOSAL_SUBMITTED,
    PriceMoved, ProposalDecided, ProposalSubmitted, SHARED_TENANT, price_stream, proposal_stream,
    relative_change,
};
use crate::ledger::{Append, AppendError, Appended, Appender, Idempotency, Outcome, idempotency_answer};

/// What a proposal can be.
pub const STATES: [&str; 3] = ["pending", "approved", "rejected"];
/// The most proposals of a tenant that wait for a decision. Submitted at the same moment, a few more may get in.
const MAX_PENDING: i64 = 1_000;

/// A proposal and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, sqlx::FromRow, utoipa::ToSchema)]
pub struct ProposalRow {
    /// Its identity.
    pub proposal_id: Uuid,
    #[serde(skip)]
    tenant: String,
    /// Whether it belongs to everybody, as those of sources do.
    #[sqlx(skip)]
    pub shared: bool,
    /// The price.
    pub price_id: i64,
    /// What its official amount should be.
    pub amount: Decimal,
    /// Why, in the words of the author.
    pub justification: String,
    /// URLs, quotations.
    #[sqlx(json)]
    pub evidence: Vec<String>,
    /// One of [`STATES`].
    pub state: String,
    /// The author.
    pub submitted_by: String,
    /// When the ledger took it.
    pub submitted_at: DateTime<Utc>,
    #[serde(skip)]
    submitted_position: i64,
    #[serde(skip)]
    submitted_event_id: Uuid,
    /// Who decided.
    pub decided_by: Option<String>,
    /// When.
    pub decided_at: Option<DateTime<Utc>>,
    /// Why.
    pub note: Option<String>,
    /// The event that led to the state.
    pub position: i64,
    /// The official price then; `None`: it was withdrawn.
    #[sqlx(skip)]
    pub list_unit_price_at_submission: Option<Decimal>,
    /// The official price now; `None`: it was withdrawn.
    #[sqlx(skip)]
    pub list_unit_price: Option<Decimal>,
    /// Whether the two differ while it waits: then an approval has to confirm that this is known.
    #[sqlx(skip)]
    pub moved: bool,
}

impl ProposalRow {
    fn completed(mut self, (then, now): (Option<Decimal>, Option<Decimal>)) -> Self {
        self.shared = self.tenant == SHARED_TENANT;
        self.amount = self.amount.normalize();
        self.list_unit_price_at_submission = then.map(|amount| amount.normalize());
        self.list_unit_price = now.map(|amount| amount.normalize());
        self.moved = self.state == "pending" && self.list_unit_price != self.list_unit_price_at_submission;
        self
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("a plain struct is JSON")
    }
}

/// What somebody proposes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewProposal {
    /// The price.
    pub price_id: i64,
    /// A decimal, zero or more; `None`: that of the session's override.
    pub amount: Option<String>,
    /// Why; `None`: the reason of the session's override.
    pub justification: Option<String>,
    /// URLs, quotations.
    pub evidence: Vec<String>,
    /// A session of the caller that overrides the price.
    pub session: Option<Uuid>,
}

/// What an administrator decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// Whether the proposed amount becomes the official price.
    pub approved: bool,
    /// Why; a rejection needs it.
    pub note: Option<String>,
    /// The last event of the price that the administrator knows of.
    pub confirm_position: Option<i64>,
}

/// A caller's key for a request that must not be carried out twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotent {
    /// Unique within the tenant.
    pub key: String,
    /// Of the whole request and who sent it.
    pub request_sha256: [u8; 32],
}

/// The official price that a proposal is about.
#[derive(Debug, sqlx::FromRow)]
struct Price {
    provider: String,
    service: String,
    region: String,
    amount: Decimal,
    in_force: bool,
    stream_version: i64,
    position: i64,
}

impl Price {
    fn official(&self) -> Option<Decimal> {
        self.in_force.then(|| self.amount.normalize())
    }
}

/// Proposals that the caller may see: those of its tenant, for administrators also those that belong to everybody. In
/// the order in which they last changed, after a position.
///
/// # Errors
/// The database failed.
pub async fn proposals_list(
    pool: &PgPool,
    caller: &Principal,
    state: Option<&str>,
    after: i64,
    limit: i64,
) -> Result<Vec<ProposalRow>, sqlx::Error> {
    find(pool, caller, None, state, after, limit).await
}

/// One of them.
///
/// # Errors
/// The database failed.
pub async fn proposal_get(
    pool: &PgPool,
    caller: &Principal,
    proposal_id: Uuid,
) -> Result<Option<ProposalRow>, sqlx::Error> {
    Ok(find(pool, caller, Some(proposal_id), None, 0, 1).await?.into_iter().next())
}

async fn find(
    pool: &PgPool,
    caller: &Principal,
    proposal_id: Option<Uuid>,
    state: Option<&str>,
    after: i64,
    limit: i64,
) -> Result<Vec<ProposalRow>, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, &caller.tenant).await?;
    let rows: Vec<ProposalRow> = sqlx::query_as(include_str!("sql/proposals.sql"))
        .bind(&*caller.tenant)
        .bind(caller.role.may(Permission::Administer))
        .bind(SHARED_TENANT)
        .bind(proposal_id)
        .bind(state)
        .bind(after)
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    let (price_ids, positions): (Vec<i64>, Vec<i64>) =
        rows.iter().map(|row| (row.price_id, row.submitted_position)).unzip();
    let officials: Vec<(Option<Decimal>, Option<Decimal>)> =
        sqlx::query_as(include_str!("sql/proposal_prices.sql"))
            .bind(price_ids)
            .bind(positions)
            .fetch_all(pool)
            .await?;
    Ok(rows.into_iter().zip(officials).map(|(row, official)| row.completed(official)).collect())
}

/// Submits a proposal; returns it as JSON, for the same request always the same.
///
/// # Errors
/// Texts or amounts that are refused, no such price, session or override, too many that wait, or the ledger failed.
pub async fn proposal_submit(
    pool: &PgPool,
    appender: &Appender,
    caller: &Principal,
    new: &NewProposal,
    idempotent: Option<&Idempotent>,
) -> Result<String, PeopleError> {
    once(pool, caller, idempotent, submit(pool, appender, caller, new, idempotent)).await
}

async fn submit(
    pool: &PgPool,
    appender: &Appender,
    caller: &Principal,
    new: &NewProposal,
    idempotent: Option<&Idempotent>,
) -> Result<String, PeopleError> {
    let price_id = new.price_id;
    let overridden = match new.session {
        None => None,
        Some(session_id) => {
            let now = Utc::now();
            session_to_use(pool, caller, session_id, now).await?;
            let found = override_of(pool, caller, session_id, price_id, now).await?;
            Some(found.ok_or_else(|| PeopleError::not_found("override of price", &price_id))?)
        }
    };
    let mut checks = Checks::default();
    let amount = match (&new.amount, &overridden) {
        (Some(text), _) => checks.amount(text),
        (None, Some(overridden)) => Some(overridden.amount),
        (None, None) => {
            checks.add("/amount", "is missing", "give it, or a session that overrides the price");
            None
        }
    };
    let justification = match (&new.justification, &overridden) {
        (Some(text), _) => checks.text("/justification", text, MAX_JUSTIFICATION_CHARS),
        (None, Some(overridden)) => overridden.reason.clone(),
        (None, None) => {
            checks.add("/justification", "is missing", "say why the price should be another");
            String::new()
        }
    };
    if new.evidence.len() > MAX_EVIDENCE {
        let message = format!("{} pieces are more than the {MAX_EVIDENCE} that are kept", new.evidence.len());
        checks.add("/evidence", message, "give the best");
    }
    let evidence = new.evidence.iter().take(MAX_EVIDENCE).enumerate();
    let evidence: Vec<String> = evidence
        .map(|(index, text)| checks.text(&format!("/evidence/{index}"), text, MAX_EVIDENCE_CHARS))
        .collect();
    checks.finish()?;
    let amount = amount.unwrap_or_default();
    let price = price(pool, price_id).await?.ok_or_else(|| PeopleError::not_found("price", &price_id))?;
    if price.official() == Some(amount) {
        let message = format!("{amount} is the official price already");
        return Err(PeopleError::invalid("/amount", message, "propose another amount"));
    }
    let pending = pending(pool, caller).await?;
    if pending >= MAX_PENDING {
        let text =
            format!("{pending} proposals wait for a decision, the most there can be; have some decided");
        return Err(PeopleError::Conflict(text));
    }
    let proposal_id = Uuid::now_v7();
    let data =
        ProposalSubmitted { v: 1, price_id, amount, justification: &justification, evidence: &evidence };
    let event = NewEvent::new(proposal_stream(proposal_id), PROPOSAL_SUBMITTED, &data).expecting(0);
    let origin = caller.origin(Uuid::now_v7());
    let row = ProposalRow {
        proposal_id,
        tenant: caller.tenant.to_string(),
        shared: false,
        price_id,
        amount,
        justification,
        evidence,
        state: "pending".to_owned(),
        submitted_by: origin.actor.to_string(),
        submitted_at: DateTime::UNIX_EPOCH,
        submitted_position: 0,
        submitted_event_id: event.event_id,
        decided_by: None,
        decided_at: None,
        note: None,
        position: 0,
        list_unit_price_at_submission: price.official(),
        list_unit_price: price.official(),
        moved: false,
    };
    let answer = move |appended: &[Appended]| {
        let mut row = row.clone();
        if let Some(last) = appended.last() {
            (row.position, row.submitted_at) = (last.position, last.recorded_at);
        }
        row.json()
    };
    append(appender, Append { origin, events: vec![event], idempotency: None }, idempotent, answer).await
}

/// How many proposals of the caller's tenant wait.
async fn pending(pool: &PgPool, caller: &Principal) -> Result<i64, sqlx::Error> {
    let mut transaction = tenant_transaction(pool, &caller.tenant).await?;
    let count = sqlx::query_scalar(include_str!("sql/proposals_pending.sql"))
        .bind(&*caller.tenant)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.rollback().await?;
    Ok(count)
}

/// Approves or rejects a proposal; returns it as JSON, for the same request always the same. An approval makes its amount
/// the official price in the same transaction.
///
/// # Errors
/// No such proposal, one that was decided before or whose author decides, a price that moved without confirmation, or the
/// ledger failed.
pub async fn proposal_decide(
    pool: &PgPool,
    appender: &Appender,
    caller: &Principal,
    proposal_id: Uuid,
    decision: &Decision,
    idempotent: Option<&Idempotent>,
) -> Result<String, PeopleError> {
    once(pool, caller, idempotent, decide(pool, appender, caller, proposal_id, decision, idempotent)).await
}

async fn decide(
    pool: &PgPool,
    appender: &Appender,
    caller: &Principal,
    proposal_id: Uuid,
    decision: &Decision,
    idempotent: Option<&Idempotent>,
) -> Result<String, PeopleError> {
    let mut checks = Checks::default();
    let note = decision.note.as_ref().map(|note| checks.text("/note", note, MAX_REASON_CHARS));
    if note.is_none() && !decision.approved {
        checks.add("/note", "is missing", "tell the author why");
    }
    checks.finish()?;
    for _ in 0..ATTEMPTS {
        let row = proposal_get(pool, caller, proposal_id).await?;
        let row = row.ok_or_else(|| PeopleError::not_found("proposal", &proposal_id))?;
        let origin = caller.origin(Uuid::now_v7()).caused_by(row.submitted_event_id);
        let shared_actor: Arc<str> = caller.shared_actor().into();
        let by = if row.shared { Arc::clone(&shared_actor) } else { Arc::clone(&origin.actor) };
        if row.state != "pending" {
            let by = row.decided_by.as_deref().unwrap_or("somebody");
            return Err(PeopleError::Conflict(format!("the proposal was {} by {by} before", row.state)));
        }
        if is_author(pool, caller, &row).await? {
            let text = "the author of a proposal cannot decide on it, nor can a key that acts for the author, or acts for \
                        the same person; ask another administrator";
            return Err(PeopleError::Forbidden(text.to_owned()));
        }
        let mut events = Vec::new();
        if decision.approved {
            match change(pool, &row, decision.confirm_position).await {
                Ok(event) => events.push(event.shared_by(shared_actor)),
                Err(error) => {
                    // It may be another administrator's approval that moved the price.
                    let now = proposal_get(pool, caller, proposal_id).await?;
                    if now.is_some_and(|now| now.state != "pending") {
                        continue;
                    }
                    return Err(error);
                }
            }
        }
        let (state, event_type) =
            if decision.approved { ("approved", PROPOSAL_APPROVED) } else { ("rejected", PROPOSAL_REJECTED) };
        let data = ProposalDecided {
            v: 1,
            price_id: row.price_id,
            amount: row.amount,
            decision: state,
            by: &by,
            note: note.as_deref(),
        };
        let decided = NewEvent::new(proposal_stream(proposal_id), event_type, &data).expecting(1);
        events.push(if row.shared { decided.shared_by(Arc::clone(&by)) } else { decided });
        let answered = ProposalRow {
            state: state.to_owned(),
            decided_by: Some(by.to_string()),
            note: note.clone(),
            list_unit_price: if decision.approved { Some(row.amount) } else { row.list_unit_price },
            moved: false,
            ..row
        };
        let answer = move |appended: &[Appended]| {
            let mut row = answered.clone();
            if let Some(last) = appended.last() {
                (row.position, row.decided_at) = (last.position, Some(last.recorded_at));
            }
            row.json()
        };
        match append(appender, Append { origin, events, idempotency: None }, idempotent, answer).await {
            // Somebody else has decided, or the price has moved: look again.
            Err(PeopleError::Append(AppendError::Conflict { .. })) => {}
            done => return done,
        }
    }
    Err(PeopleError::crowded())
}

/// Whether a proposal was submitted by the person who is behind the caller, or by a key of that person.
async fn is_author(pool: &PgPool, caller: &Principal, row: &ProposalRow) -> Result<bool, sqlx::Error> {
    let author = if row.shared {
        // Of somebody in another tenant, or of a source that nobody asked.
        let Some(author) = caller.of_shared_actor(&row.submitted_by) else { return Ok(false) };
        author
    } else {
        row.submitted_by.clone()
    };
    Ok(person_behind(pool, &caller.tenant, &author).await? == caller.person())
}

/// The event that makes a proposal's amount the official price, decided on the version of the price that was looked at.
async fn change(
    pool: &PgPool,
    row: &ProposalRow,
    confirm_position: Option<i64>,
) -> Result<NewEvent, PeopleError> {
    let price = price(pool, row.price_id).await?;
    let price = price.ok_or_else(|| PeopleError::not_found("price", &row.price_id))?;
    let official = price.official();
    let known = match confirm_position {
        Some(position) => position == price.position,
        None => official == row.list_unit_price_at_submission,
    };
    if !known {
        return Err(PeopleError::Moved(Box::new(Moved {
            list_unit_price_at_submission: row.list_unit_price_at_submission,
            list_unit_price: official,
            price_position: price.position,
        })));
    }
    if official == Some(row.amount) {
        let text = format!("{} is the official price already; reject the proposal", row.amount);
        return Err(PeopleError::Conflict(text));
    }
    let data = PriceMoved {
        v: 1,
        price_id: row.price_id,
        provider: &price.provider,
        service: &price.service,
        region: &price.region,
        previous: price.amount,
        amount: Some(row.amount),
        relative_change: relative_change(price.amount, row.amount),
        missed_runs: None,
        cause: "proposal",
    };
    let event_type = if official.is_some() { PRICE_CHANGED } else { PRICE_RELISTED };
    Ok(NewEvent::new(price_stream(row.price_id), event_type, &data).expecting(price.stream_version))
}

async fn price(pool: &PgPool, price_id: i64) -> Result<Option<Price>, sqlx::Error> {
    sqlx::query_as(include_str!("sql/proposal_price.sql")).bind(price_id).fetch_optional(pool).await
}

/// Carries out a request, unless its key says that it was.
async fn once(
    pool: &PgPool,
    caller: &Principal,
    idempotent: Option<&Idempotent>,
    request: impl Future<Output = Result<String, PeopleError>>,
) -> Result<String, PeopleError> {
    let Some(Idempotent { key, request_sha256 }) = idempotent else { return request.await };
    if let Some(answer) = idempotency_answer(pool, &caller.tenant, key, request_sha256).await? {
        return Ok(answer);
    }
    match request.await {
        // What the same request did meanwhile may be why this one is refused.
        Err(refused @ (PeopleError::Conflict(_) | PeopleError::Invalid(_) | PeopleError::Moved(_))) => {
            idempotency_answer(pool, &caller.tenant, key, request_sha256).await?.ok_or(refused)
        }
        done => done,
    }
}

/// Appends, and makes the answer, which is kept where there is a key.
async fn append(
    appender: &Appender,
    append: Append,
    idempotent: Option<&Idempotent>,
    answer: impl Fn(&[Appended]) -> String + Clone + Send + Sync + 'static,
) -> Result<String, PeopleError> {
    let idempotency = idempotent.map(|Idempotent { key, request_sha256 }| Idempotency {
        key: key.clone(),
        request_sha256: *request_sha256,
        respond: Box::new(answer.clone()),
    });
    match appender.append(Append { idempotency, ..append }).await? {
        Outcome::Appended(_, Some(kept)) | Outcome::Replayed(kept) => Ok(kept),
        Outcome::Appended(places, None) => Ok(answer(&places)),
    }
}
