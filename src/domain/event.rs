//! Events: what can happen, and the exact payload of each.
//!
//! Payloads carry `"v": 1`, decimals as strings, and are written once; their bytes are what the ledger hashes.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::price::Attributes;

/// A refresh began; stream `refresh/<uuid>`, as all of `refresh.*` and `prices.observed`.
pub const REFRESH_STARTED: &str = "refresh.started";
/// A refresh was recorded in full.
pub const REFRESH_COMPLETED: &str = "refresh.completed";
/// A list could not be read; nothing else of it is recorded.
pub const REFRESH_FAILED: &str = "refresh.failed";
/// A list looked suspicious: only the observation is recorded.
pub const REFRESH_QUARANTINED: &str = "refresh.quarantined";
/// An administrator accepted a quarantined list.
pub const REFRESH_RELEASED: &str = "refresh.released";
/// A stretch of what a refresh saw.
pub const PRICES_OBSERVED: &str = "prices.observed";
/// A price is on record for the first time; stream `price/<id>`, as all of `price.*`.
pub const PRICE_LISTED: &str = "price.listed";
/// A price moved by more than the threshold, or an administrator set it.
pub const PRICE_CHANGED: &str = "price.changed";
/// A price is no longer offered.
pub const PRICE_WITHDRAWN: &str = "price.withdrawn";
/// A withdrawn price is offered again.
pub const PRICE_RELISTED: &str = "price.relisted";
/// Somebody suggests an official price to the administrator; stream `proposal/<uuid>`.
pub const PROPOSAL_SUBMITTED: &str = "proposal.submitted";
/// A version of an estimate was saved; stream `estimate/<uuid>`, whose versions are those of the estimate.
pub const ESTIMATE_SAVED: &str = "estimate.saved";
/// An administrator made it the official price; the `price.changed` or `price.relisted` comes just before.
pub const PROPOSAL_APPROVED: &str = "proposal.approved";
/// An administrator refused it.
pub const PROPOSAL_REJECTED: &str = "proposal.rejected";
/// Somebody calculates with another price in a session; stream `session/<id>`.
pub const OVERRIDE_SET: &str = "override.set";
/// The session calculates with the official price again.
pub const OVERRIDE_CLEARED: &str = "override.cleared";
/// The administrator set the discount rates; stream `policy/discount`.
pub const DISCOUNT_POLICY_SET: &str = "discount_policy.set";

/// Tenant of events that belong to everybody.
pub const SHARED_TENANT: &str = "shared";

/// An event before the ledger took it.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// UUID v7.
    pub event_id: Uuid,
    /// What it is about, such as `price/17`.
    pub stream: String,
    /// The stream's version it was decided on; 0: the stream must be new; `None`: whatever it is.
    pub expected_version: Option<i64>,
    /// One of the constants of this module.
    pub event_type: &'static str,
    /// When it holds in the world; `None`: when it is recorded.
    pub effective_at: Option<DateTime<Utc>>,
    /// JSON text.
    pub data: String,
    /// Set where it belongs to everybody while others of its append belong to a tenant: its actor.
    pub shared_actor: Option<Arc<str>>,
}

impl NewEvent {
    /// An event with a fresh identity and the given payload.
    pub fn new(stream: String, event_type: &'static str, data: &impl Serialize) -> Self {
        let data = serde_json::to_string(data).expect("payloads are plain structs");
        Self {
            event_id: Uuid::now_v7(),
            stream,
            expected_version: None,
            event_type,
            effective_at: None,
            data,
            shared_actor: None,
        }
    }

    /// Sets the version of the stream it was decided on.
    #[must_use]
    pub fn expecting(mut self, version: i64) -> Self {
        self.expected_version = Some(version);
        self
    }

    /// Makes it belong to everybody, whoever the others of its append belong to.
    #[must_use]
    pub fn shared_by(mut self, actor: Arc<str>) -> Self {
        self.shared_actor = Some(actor);
        self
    }

    /// Sets when it holds in the world.
    #[must_use]
    pub fn effective(mut self, at: DateTime<Utc>) -> Self {
        self.effective_at = Some(at);
        self
    }
}

/// Name of a price's stream.
pub fn price_stream(price_id: i64) -> String {
    format!("price/{price_id}")
}

/// Name of a refresh's stream.
pub fn refresh_stream(refresh_id: Uuid) -> String {
    format!("refresh/{refresh_id}")
}

/// Name of a proposal's stream.
pub fn proposal_stream(proposal_id: Uuid) -> String {
    format!("proposal/{proposal_id}")
}

/// Name of an estimate's stream.
pub fn estimate_stream(estimate_id: Uuid) -> String {
    format!("estimate/{estimate_id}")
}

/// Name of a session's stream.
pub fn session_stream(session_id: Uuid) -> String {
    format!("session/{session_id}")
}

/// Stream of the discount policy.
pub const DISCOUNT_POLICY_STREAM: &str = "policy/discount";

/// Payload of [`PRICE_LISTED`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(missing_docs, reason = "see `domain::price::Listing`")]
pub struct PriceListed<'a> {
    pub v: u8,
    pub price_id: i64,
    pub key: &'a str,
    pub provider: &'a str,
    pub service: &'a str,
    pub region: &'a str,
    pub sku_id: &'a str,
    pub sku_price_id: &'a str,
    pub unit: &'a str,
    pub currency: &'a str,
    pub tier_from: Decimal,
    pub tier_to: Option<Decimal>,
    pub amount: Decimal,
    #[serde(bound(deserialize = "'de: 'a"))]
    pub attributes: std::borrow::Cow<'a, Attributes>,
}

/// Payload of [`PRICE_CHANGED`], [`PRICE_WITHDRAWN`] and [`PRICE_RELISTED`]. It names the place of the price, so that
/// a subscriber can route it without a look-up.
#[derive(Debug, Clone, Serialize)]
pub struct PriceMoved<'a> {
    /// 1.
    pub v: u8,
    /// The price.
    pub price_id: i64,
    /// `aws`, `azure`, ...
    pub provider: &'a str,
    /// Its service.
    pub service: &'a str,
    /// Its region.
    pub region: &'a str,
    /// The official price before.
    pub previous: Decimal,
    /// The official price from now on; absent when withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub amount: Option<Decimal>,
    /// (amount - previous) / previous, to 10 decimals; absent from zero and when withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_change: Option<Decimal>,
    /// Complete runs in a row that did not show it, when withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed_runs: Option<u32>,
    /// `refresh` or `proposal`.
    pub cause: &'a str,
}

/// (amount - previous) / previous to 10 decimals, half even; `None` from zero or where it does not fit.
pub fn relative_change(previous: Decimal, amount: Decimal) -> Option<Decimal> {
    amount.checked_sub(previous)?.checked_div(previous).map(|change| change.round_dp(10).normalize())
}

/// Payload of [`REFRESH_STARTED`].
#[derive(Debug, Clone, Serialize)]
pub struct RefreshStarted<'a> {
    /// 1.
    pub v: u8,
    /// `aws-bulk`, `azure-retail`, `csv`, `starter`, ...
    pub source: &'a str,
    /// Files or URLs read, in order.
    pub origin: &'a [String],
    /// What the list covers; absent where it failed before it said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'a str>,
    /// When the source showed it; absent as `scope`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_at: Option<DateTime<Utc>>,
}

/// Payload of [`PRICES_OBSERVED`].
#[derive(Debug, Clone, Serialize)]
pub struct PricesObserved<'a> {
    /// 1.
    pub v: u8,
    /// SHA-256 of the segment, hex.
    pub segment: &'a str,
    /// Lowest price of the segment.
    pub first_price_id: i64,
    /// Highest price of the segment.
    pub last_price_id: i64,
    /// Number of observations.
    pub count: u64,
}

/// What a refresh found, as recorded in [`REFRESH_COMPLETED`] and [`REFRESH_QUARANTINED`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefreshCounts {
    /// Prices in force that the list shows, one per price.
    pub observed: u64,
    /// Seen for the first time.
    pub listed: u64,
    /// Moved by more than the threshold.
    pub changed: u64,
    /// Exactly as on record.
    pub unchanged: u64,
    /// Different, but not by more than the threshold.
    pub within_threshold: u64,
    /// In force in the scope, but not in the list.
    pub not_observed: u64,
    /// Taken out of force by this run.
    pub withdrawn: u64,
    /// Back in force by this run.
    pub relisted: u64,
}

/// Payload of [`REFRESH_COMPLETED`] and [`REFRESH_QUARANTINED`], and of [`REFRESH_RELEASED`].
#[derive(Debug, Clone, Serialize)]
pub struct RefreshOutcome<'a> {
    /// 1.
    pub v: u8,
    /// As in [`RefreshStarted`].
    pub source: &'a str,
    /// What the list covers.
    pub scope: &'a str,
    /// When the source showed it.
    pub observed_at: DateTime<Utc>,
    /// SHA-256 of the list's bytes, hex.
    pub content_sha256: &'a str,
    /// Whether absence counts.
    pub complete: bool,
    /// What was found.
    #[serde(flatten)]
    pub counts: &'a RefreshCounts,
    /// Prices in force that the list did not show, as a PostgreSQL `int8multirange`.
    pub not_observed_ids: &'a str,
    /// Why it was quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'a str>,
    /// Quarantined: SHA-256 of the segments with prices not on record, hex.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    pub unlisted_segments: &'a [String],
    /// The source's own name of what it published, where it has one (AWS: the version in the offer file's URL).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_version: Option<&'a str>,
    /// The `ETag` of the list as it was fetched, where there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<&'a str>,
    /// Where a language model was asked: what it cost, and what became of its answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub research: Option<&'a Research>,
}

/// What asking a language model took in one run, and what became of what it said beside the observations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Research {
    /// Answers that were given, whether they could be used or not.
    pub answers: u64,
    /// Tokens sent.
    pub input_tokens: u64,
    /// Tokens received.
    pub output_tokens: u64,
    /// What the answers cost, in the currency in which the endpoint or the configuration counts; absent where neither
    /// says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Decimal>,
    /// Prices that the plan said to look up.
    pub planned: u64,
    /// Prices looked up and not found.
    pub not_found: u64,
    /// Proposals submitted; one that was submitted before, at the same official price, is not submitted again.
    pub proposed: u64,
    /// What was neither observed nor proposed, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedPrice>,
    /// Why the run ended before everything planned was looked up: budget, time, or an endpoint that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
}

/// Of [`Research`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefusedPrice {
    /// Its key, or what the model gave for one.
    pub key: String,
    /// Why.
    pub reason: String,
}

/// Payload of [`PROPOSAL_SUBMITTED`].
#[derive(Debug, Clone, Serialize)]
pub struct ProposalSubmitted<'a> {
    /// 1.
    pub v: u8,
    /// The price.
    pub price_id: i64,
    /// What its official amount should be.
    pub amount: Decimal,
    /// Why, in the words of the author.
    pub justification: &'a str,
    /// What shows it: URLs, quotations. Texts from outside, to be shown as such.
    pub evidence: &'a [String],
}

/// Payload of [`PROPOSAL_APPROVED`] and [`PROPOSAL_REJECTED`].
#[derive(Debug, Clone, Serialize)]
pub struct ProposalDecided<'a> {
    /// 1.
    pub v: u8,
    /// The price.
    pub price_id: i64,
    /// What was proposed.
    pub amount: Decimal,
    /// `approved` or `rejected`.
    pub decision: &'a str,
    /// Who decided, with the tenant where the proposal belongs to everybody.
    pub by: &'a str,
    /// Why, in the words of who decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<&'a str>,
}

/// Payload of [`OVERRIDE_SET`].
#[derive(Debug, Clone, Serialize)]
pub struct OverrideSet<'a> {
    /// 1.
    pub v: u8,
    /// The price.
    pub price_id: i64,
    /// What the session calculates with instead of the official price.
    pub amount: Decimal,
    /// Why, in the words of who set it.
    pub reason: &'a str,
    /// From when on it no longer applies; absent: as long as the session lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// Payload of [`OVERRIDE_CLEARED`].
#[derive(Debug, Clone, Copy, Serialize)]
pub struct OverrideCleared {
    /// 1.
    pub v: u8,
    /// The price.
    pub price_id: i64,
}

/// Payload of [`REFRESH_FAILED`].
#[derive(Debug, Clone, Serialize)]
pub struct RefreshFailed<'a> {
    /// 1.
    pub v: u8,
    /// As in [`RefreshStarted`].
    pub source: &'a str,
    /// What went wrong, with file, line and item.
    pub reason: &'a str,
    /// As in [`RefreshOutcome`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub research: Option<&'a Research>,
}
