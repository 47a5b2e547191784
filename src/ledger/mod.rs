//! The log: append, read, hash, verify.
//!
//! An [`Appender`] is a handle that any number of tasks share. Positions are given out under one lock in PostgreSQL, so
//! they have no gaps and their order is the order of commits.

mod append;
mod bulk;
mod connect;
mod hash;
mod idempotency;
mod lead;
mod read;
pub mod segments;
pub mod verify;

pub use append::{Append, AppendError, Appended, Appender, Idempotency, Outcome, Respond};
pub use bulk::BulkAppend;
pub use connect::{ConnectError, connect, migrate};
pub use hash::leaf_hash;
pub use idempotency::idempotency_answer;
pub use lead::{HEARTBEAT, Lead, answered};
pub use read::{Event, EventFilter, Tail, head, id, read, read_some};

use std::borrow::Cow;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::event::{NewEvent, SHARED_TENANT};

/// Who appends, for whom and why; shared by the events of one request.
#[derive(Debug, Clone)]
pub struct Origin {
    /// User, key or part of the program, such as `cli` or `user:ada`.
    pub actor: Arc<str>,
    /// Whose it is; [`crate::domain::event::SHARED_TENANT`] for what belongs to everybody.
    pub tenant: Arc<str>,
    /// Ties together the events of one action.
    pub correlation_id: Uuid,
    /// The event that led to these.
    pub causation_id: Option<Uuid>,
}

impl Origin {
    /// An action of `actor` on what belongs to everybody.
    pub fn shared(actor: &str, correlation_id: Uuid) -> Self {
        Self { actor: actor.into(), tenant: SHARED_TENANT.into(), correlation_id, causation_id: None }
    }

    /// The origin of one event of this origin's append.
    fn of(&self, event: &NewEvent) -> Cow<'_, Self> {
        match &event.shared_actor {
            None => Cow::Borrowed(self),
            Some(actor) => Cow::Owned(Self {
                actor: Arc::clone(actor),
                tenant: SHARED_TENANT.into(),
                correlation_id: self.correlation_id,
                causation_id: self.causation_id,
            }),
        }
    }

    /// The same, caused by `event_id`.
    #[must_use]
    pub fn caused_by(mut self, event_id: Uuid) -> Self {
        self.causation_id = Some(event_id);
        self
    }
}
