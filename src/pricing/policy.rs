//! Setting the discount policy.

use serde::Serialize;

use crate::domain::discounts::{DiscountPolicy, Rates};
use crate::domain::event::{DISCOUNT_POLICY_SET, DISCOUNT_POLICY_STREAM, NewEvent};
use crate::ledger::{Append, AppendError, Appender, Origin};

/// Payload of `discount_policy.set`.
#[derive(Serialize)]
struct PolicySet<'a> {
    v: u8,
    rates: &'a Rates,
}

/// Puts rates in force from now on, if the policy in force is still version `expected`. Returns the new policy.
///
/// # Errors
/// [`AppendError::Conflict`] if another version is in force; or the ledger failed.
pub async fn policy_set(
    appender: &Appender,
    origin: Origin,
    expected: u64,
    rates: Rates,
) -> Result<DiscountPolicy, AppendError> {
    // Version 1 is built in: the first one set is the stream's first event, and version 2.
    let stream_version = i64::try_from(expected).unwrap_or(i64::MAX).saturating_sub(1);
    let data = PolicySet { v: 1, rates: &rates };
    let event = NewEvent::new(DISCOUNT_POLICY_STREAM.to_owned(), DISCOUNT_POLICY_SET, &data)
        .expecting(stream_version);
    appender.append(Append { origin, events: vec![event], idempotency: None }).await?;
    Ok(DiscountPolicy { version: expected.saturating_add(1), rates })
}
