//! The pure core: money, units, prices, events, discounts and the arithmetic of estimates.
//!
//! Nothing here does I/O or reads a clock. Every rule the product exists for is a function of its
//! arguments, so that it can be tested with given/when/then and replayed for ever.

pub mod arithmetic;
pub mod discounts;
pub mod estimate;
pub mod event;
pub mod formula;
pub mod money;
pub mod object;
pub mod precise;
pub mod price;
pub mod price_list;
pub mod refresh;
pub mod saved;
pub mod selection;
pub mod units;
