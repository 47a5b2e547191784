//! What the ledger tells others: every event through NATS JetStream, as CloudEvents, and which places to forget.
//!
//! The bus is a consumer of the log with a cursor in PostgreSQL. It holds nothing of its own: a NATS that is lost is
//! filled again from the log, a relay that is killed goes on where the stream ends.

mod hub;
mod message;
mod relay;

pub use hub::{Announced, Hub, PricePlace, Wanted};
pub use message::{EVENT_SUBJECTS, INVALIDATED_SUBJECT, Invalidated, STREAM, notices, subject};
pub use relay::{Relay, RelayError};
