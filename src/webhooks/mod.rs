//! Webhooks: events told over HTTP, signed (Standard Webhooks), in order, at least once.
//!
//! `target` says which URLs may be called, `store` keeps webhooks by tenant, `sign` makes requests, `deliver` follows the
//! log for all webhooks, in one process of all that work on the ledger.

mod deliver;
mod sign;
mod store;
mod target;

pub use deliver::{Deliverer, Pace};
pub use sign::Secret;
pub use store::{DeadLetter, NewWebhook, WebhookError, WebhookRow, Webhooks};
pub use target::{Reach, is_public};
