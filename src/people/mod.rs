//! What people do with prices: sessions with prices of their own, and proposals to change the official ones.
//!
//! An override or a proposal is an event; a session is a row that expires. Decisions are taken on a version of the streams
//! they write, and taken anew if somebody else was faster.

mod input;
mod overrides;
mod proposals;
mod sessions;

pub use overrides::{
    MAX_OVERRIDES, NewOverride, OverrideRow, override_clear, override_set, overrides_list, overrides_used,
};
pub use proposals::{
    Decision, Idempotent, NewProposal, ProposalRow, STATES, proposal_decide, proposal_get, proposal_submit,
    proposals_list,
};
pub use sessions::{MAX_SESSION, MAX_SESSIONS, Session, session_get, session_open};

use rust_decimal::Decimal;

use crate::domain::estimate::{InvalidRequest, Problem};
use crate::ledger::AppendError;

/// How often a decision is taken anew because somebody else wrote to the stream meanwhile.
const ATTEMPTS: usize = 20;

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum PeopleError {
    /// The request, with the places at fault.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// There is nothing of that id for this caller; whether there is for another is not told.
    #[error("there is no {what} {id:?}")]
    NotFound {
        /// `session`, `price`, ...
        what: &'static str,
        /// As the caller wrote it.
        id: String,
    },
    /// Not by this person.
    #[error("{0}")]
    Forbidden(String),
    /// The state of things does not allow it.
    #[error("{0}")]
    Conflict(String),
    /// The official price is not what the proposal was made for, and the caller does not say to know it.
    #[error("{0}")]
    Moved(Box<Moved>),
    /// The ledger refused.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

/// What became of the price of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Moved {
    /// When the proposal was submitted; `None`: the price was withdrawn.
    pub list_unit_price_at_submission: Option<Decimal>,
    /// Now.
    pub list_unit_price: Option<Decimal>,
    /// Position of the last event of the price; an approval with it as `confirm_position` is carried out.
    pub price_position: i64,
}

impl std::fmt::Display for Moved {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |amount: Option<Decimal>| {
            amount.map_or_else(|| "withdrawn".to_owned(), |amount| amount.normalize().to_string())
        };
        write!(
            formatter,
            "the price has moved since the proposal was submitted: it was {} and is {}; approve it with \
             \"confirm_position\":{} if it should be changed all the same",
            shown(self.list_unit_price_at_submission),
            shown(self.list_unit_price),
            self.price_position
        )
    }
}

impl PeopleError {
    fn invalid(place: &str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        let problem =
            Problem { place: place.to_owned(), label: None, message: message.into(), remedy: remedy.into() };
        Self::Invalid(InvalidRequest { problems: vec![problem], total: 1 })
    }

    fn not_found(what: &'static str, id: &impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    /// After [`ATTEMPTS`] in vain.
    fn crowded() -> Self {
        Self::Conflict("others are changing the same at this moment; try again".to_owned())
    }
}
