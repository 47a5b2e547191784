//! How many requests a client may send (`RateLimit` headers of draft-ietf-httpapi-ratelimit-headers).
//!
//! A principal has its own count, wherever it comes from. Bad tokens are counted by address, and only they: behind a gateway,
//! those with good ones share the address. Tokens cannot be guessed, so it is work that is limited there, not luck. Passwords
//! can: where they are shown, all requests are counted by address, and each try by the account that it is for, wherever it comes
//! from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DashMapStateStore;
use governor::{Quota, RateLimiter};

use super::problem::{Problem, ProblemType};
use crate::access::{Account, Principal};

/// What bad tokens are limited to, as a part of what principals may send.
const PART_OF_BAD_TOKENS: u32 = 10;
/// The same for requests with passwords and refresh tokens, by address.
const PART_OF_CREDENTIALS: u32 = 10;
/// The same for passwords, by account.
const PART_OF_PASSWORDS: u32 = 100;
/// Clients are forgotten every so many requests, if they have sent nothing that still counts.
const REQUESTS_PER_CLEANING: u32 = 1_000;
/// Addresses or accounts that are counted each for itself; beyond, the others share one count.
const MAX_COUNTED: usize = 50_000;

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

type Counts<K> = RateLimiter<K, DashMapStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// Counts requests. Clones share the counts, which are those of one process.
#[derive(Debug, Clone, Default)]
pub struct RateLimits(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    principals: Limit<String>,
    bad_tokens: Limit<IpAddr>,
    credentials: Limit<IpAddr>,
    passwords: Limit<String>,
}

#[derive(Debug)]
struct Limit<K: std::hash::Hash + Eq + Clone> {
    name: &'static str,
    per_minute: NonZeroU32,
    burst: NonZeroU32,
    counts: Counts<K>,
    requests: AtomicU32,
}

impl RateLimits {
    /// No limit.
    pub fn off() -> Self {
        Self(None)
    }

    /// Requests that a client may send in a minute, on average, and at once after it was silent; 0 a minute: no limit.
    pub fn new(per_minute: u32, burst: u32) -> Self {
        let Some(per_minute) = NonZeroU32::new(per_minute) else { return Self::off() };
        let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
        Self(Some(Arc::new(Inner {
            principals: Limit::new("client", per_minute, burst),
            bad_tokens: Limit::part("bad-tokens", per_minute, burst, PART_OF_BAD_TOKENS),
            credentials: Limit::part("credentials", per_minute, burst, PART_OF_CREDENTIALS),
            passwords: Limit::part("passwords", per_minute, burst, PART_OF_PASSWORDS),
        })))
    }

    /// Counts a request of a principal; the headers of its answer, or the answer that there is none.
    pub(super) fn request_of(&self, principal: &Principal) -> Result<HeaderMap, Problem> {
        let Some(inner) = &self.0 else { return Ok(HeaderMap::new()) };
        inner.principals.count(&principal.shared_actor())
    }

    /// Counts a bad token from an address; an error once there were too many.
    pub(super) fn bad_token_from(&self, address: Option<IpAddr>) -> Result<(), Problem> {
        let Some(inner) = &self.0 else { return Ok(()) };
        inner.bad_tokens.count_from(address).map(|_| ())
    }

    /// Counts a request with credentials from an address; the headers of its answer, or the answer that there is none.
    pub(super) fn credentials_from(&self, address: Option<IpAddr>) -> Result<HeaderMap, Problem> {
        let Some(inner) = &self.0 else { return Ok(HeaderMap::new()) };
        inner.credentials.count_from(address)
    }

    /// Counts a password that is tried for an account, right or wrong; an error once there were too many.
    pub(super) fn password_for(&self, account: &Account) -> Result<(), Problem> {
        let Some(inner) = &self.0 else { return Ok(()) };
        inner.passwords.count_among(&account.to_string(), &String::new()).map(|_| ())
    }
}

impl Limit<IpAddr> {
    fn count_from(&self, address: Option<IpAddr>) -> Result<HeaderMap, Problem> {
        let unspecified = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.count_among(&address.map_or(unspecified, network), &unspecified)
    }
}

/// Who has an IPv6 address has at least the 2^64 beside it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl<K: std::hash::Hash + Eq + Clone> Limit<K> {
    fn new(name: &'static str, per_minute: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        let counts = RateLimiter::dashmap(quota).with_middleware();
        Self { name, per_minute, burst, counts, requests: AtomicU32::new(0) }
    }

    /// So much of what others may send.
    fn part(name: &'static str, per_minute: NonZeroU32, burst: NonZeroU32, part: u32) -> Self {
        let of = |whole: NonZeroU32| NonZeroU32::new(whole.get().div_ceil(part)).unwrap_or(NonZeroU32::MIN);
        Self::new(name, of(per_minute), of(burst))
    }

    /// Counts a client that anybody may make up: among the others, once there are too many to count each.
    fn count_among(&self, client: &K, others: &K) -> Result<HeaderMap, Problem> {
        self.count(if self.counts.len() >= MAX_COUNTED { others } else { client })
    }

    fn count(&self, client: &K) -> Result<HeaderMap, Problem> {
        if self.requests.fetch_add(1, Ordering::Relaxed) % REQUESTS_PER_CLEANING == REQUESTS_PER_CLEANING - 1
        {
            self.counts.retain_recent();
            self.counts.shrink_to_fit();
        }
        match self.counts.check_key(client) {
            Ok(state) => {
                let left = state.remaining_burst_capacity();
                let used = self.burst.get().saturating_sub(left);
                Ok(self.headers(left, self.seconds_for(used)))
            }
            Err(not_until) => {
                let wait = not_until.wait_time_from(DefaultClock::default().now());
                let seconds = (wait + Duration::from_millis(999)).as_secs().max(1);
                let detail = format!(
                    "more than {} requests a minute, and more than {} at once; wait {seconds} s",
                    self.per_minute, self.burst
                );
                let mut problem = Problem::new(ProblemType::TooManyRequests, detail)
                    .with_header(header::RETRY_AFTER, HeaderValue::from(seconds));
                for (name, value) in &self.headers(0, seconds) {
                    problem = problem.with_header(name.clone(), value.clone());
                }
                Err(problem)
            }
        }
    }

    /// How long it takes until so many more may be sent, rounded up.
    fn seconds_for(&self, requests: u32) -> u64 {
        (u64::from(requests) * 60).div_ceil(u64::from(self.per_minute.get()))
    }

    /// The quota is the burst, in the time that it takes to have it whole again: so the average is the rate.
    fn headers(&self, left: u32, seconds: u64) -> HeaderMap {
        let Self { name, burst, .. } = self;
        let window = self.seconds_for(burst.get());
        let values = [
            (RATE_LIMIT_POLICY, format!("\"{name}\";q={burst};w={window}")),
            (RATE_LIMIT, format!("\"{name}\";r={left};t={seconds}")),
        ];
        values.into_iter().filter_map(|(name, value)| Some((name, value.try_into().ok()?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_a_network_of_ipv6_are_one_client() {
        let of = |text: &str| network(text.parse().expect("an address")).to_string();
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(of("192.0.2.7"), "192.0.2.7");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
    }

    #[test]
    fn clients_that_were_silent_long_enough_are_forgotten() {
        // So fast that whoever has sent one request may send as many as ever at once.
        let limit = Limit::new("client", NonZeroU32::MAX, NonZeroU32::MIN);
        for client in 0..10 * REQUESTS_PER_CLEANING {
            drop(limit.count(&client));
        }
        let kept = limit.counts.len();
        assert!(kept <= REQUESTS_PER_CLEANING as usize, "{kept}");
    }
}
