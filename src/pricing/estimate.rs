//! Estimates: every line resolved, validated at one position, and summed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::PgConnection;

use super::flight::Choice;
use super::lookup::{self, MAX_CANDIDATES, When, line_key, place};
use super::position::{Standing, policy_as_of};
use super::{Pricing, PricingError, snapshot};
use crate::access::Principal;
use crate::cache::{CachedRate, RateKey};
use crate::domain::arithmetic::{CostError, Estimate, Overrides, ServedFrom, estimate_sum, line_cost};
use crate::domain::discounts::DiscountPolicy;
use crate::domain::estimate::{EstimateRequest, InvalidRequest, MAX_PROBLEMS, Problem, RequestLine};
use crate::domain::selection::{Query, Selection, SelectionError, price_select};
use crate::people::{overrides_used, session_get};

/// How far a client's clock may be ahead of ours.
pub(super) const CLOCK_TOLERANCE: chrono::Duration = chrono::Duration::minutes(1);

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    /// Lines that cannot be priced, each with its place and remedy.
    #[error(transparent)]
    Unanswerable(InvalidRequest),
    /// Not the request's fault.
    #[error(transparent)]
    Pricing(#[from] PricingError),
}

/// A line's rate and where it was read.
type Rate = (Arc<Selection>, ServedFrom);
/// The same where a line may mean no price.
type Found = (Choice, ServedFrom);

/// Rates by line, and the position at which all of them hold.
struct Resolved {
    rates: Vec<Rate>,
    position: i64,
    policy: Arc<DiscountPolicy>,
}

impl Pricing {
    /// Prices a request at one position of the ledger, not before the one it had when the request arrived.
    ///
    /// `now` is the world time of the request. Nobody in particular asks, so it can name no session.
    ///
    /// # Errors
    /// Lines that cannot be priced, or the database failed.
    pub async fn estimate_calculate(
        &self,
        request: &EstimateRequest,
        now: DateTime<Utc>,
    ) -> Result<Estimate, EstimateError> {
        self.estimate_calculate_for(None, request, now).await
    }

    /// The same for somebody, with the overrides of the session that the request names: those that hold at the very
    /// position of the answer.
    ///
    /// # Errors
    /// Lines that cannot be priced, a session that is not the caller's or has expired, or the database failed.
    pub async fn estimate_calculate_for(
        &self,
        caller: Option<&Principal>,
        request: &EstimateRequest,
        now: DateTime<Utc>,
    ) -> Result<Estimate, EstimateError> {
        self.session_check(caller, request, now).await?;
        let resolved = match request.as_of {
            None => self.resolve_now(request).await?,
            Some(as_of) if as_of > now + CLOCK_TOLERANCE => {
                return Err(unanswerable(vec![Problem {
                    place: "/as_of".to_owned(),
                    label: None,
                    message: format!("{as_of} is in the future, where no price is known"),
                    remedy: "give a time up to now, or leave it out".to_owned(),
                }]));
            }
            Some(as_of) => self.resolve_as_of(request, as_of).await?,
        };
        count_sources(&resolved.rates);
        let overrides = self.overrides(caller, request, resolved.position, now).await?;
        let hours = request.hours();
        let mut costs = Vec::with_capacity(request.lines.len());
        let mut problems = Vec::new();
        for (index, (line, (selection, served_from))) in request.lines.iter().zip(&resolved.rates).enumerate()
        {
            match line_cost(selection, line, hours, &resolved.policy, &overrides, *served_from) {
                Ok(cost) => costs.push(cost),
                Err(error) => problems.push(cost_problem(index, line, &error)),
            }
        }
        if !problems.is_empty() {
            return Err(unanswerable(problems));
        }
        let as_of = request.as_of.unwrap_or_else(|| now.trunc_subsecs(6));
        estimate_sum(costs, resolved.position, as_of, &resolved.policy).map_err(|error| {
            unanswerable(vec![Problem {
                place: "/lines".to_owned(),
                label: None,
                message: error.to_string(),
                remedy: "estimate the lines in several requests".to_owned(),
            }])
        })
    }

    /// Whether the session that the request names is the caller's and open.
    async fn session_check(
        &self,
        caller: Option<&Principal>,
        request: &EstimateRequest,
        now: DateTime<Utc>,
    ) -> Result<(), EstimateError> {
        let Some(session_id) = request.session else { return Ok(()) };
        let session = match caller {
            Some(caller) => session_get(&self.pool, caller, session_id).await.map_err(PricingError::from)?,
            None => None,
        };
        let (message, remedy) = match session.map(|session| session.open_at(now)) {
            Some(Ok(())) => return Ok(()),
            Some(Err(expired)) => (expired, "leave it out for the official prices"),
            // Whether it is somebody else's is not told.
            None => (
                format!("there is no session {session_id:?} of yours"),
                "open one with POST /v1/sessions, or leave it out",
            ),
        };
        let (place, remedy) = ("/session".to_owned(), remedy.to_owned());
        Err(unanswerable(vec![Problem { place, label: None, message, remedy }]))
    }

    /// What the session has set, at a position of the ledger; it is never cached.
    async fn overrides(
        &self,
        caller: Option<&Principal>,
        request: &EstimateRequest,
        position: i64,
        now: DateTime<Utc>,
    ) -> Result<Overrides, EstimateError> {
        let (Some(caller), Some(session_id)) = (caller, request.session) else { return Ok(Overrides::new()) };
        let used = overrides_used(&self.pool, caller, session_id, position, now, request.as_of).await;
        Ok(used.map_err(PricingError::from)?)
    }

    async fn resolve_now(&self, request: &EstimateRequest) -> Result<Resolved, EstimateError> {
        self.positions.catch_up().await.map_err(PricingError::from)?;
        let keys: Vec<RateKey> = self
            .positions
            .with_standing(|standing| request.lines.iter().map(|line| rate_key(standing, line)).collect());
        let cached = self.cached_rates(request, &keys).await;
        // A cached rate may be younger than the standing that was waited for, never than the one known now: position
        // and policy are taken where the rates are validated.
        let resolved = self.positions.with_standing(|standing| {
            let rates: Option<Vec<Rate>> = valid_rates(standing, request, &cached).collect();
            Some(Resolved {
                rates: rates?,
                position: standing.position,
                policy: Arc::clone(&standing.policy),
            })
        });
        match resolved {
            Some(resolved) => Ok(resolved),
            None => self.resolve_missing(request, &cached).await,
        }
    }

    /// What the caches have, nearest first; a farther one is asked only for what the nearer ones lack.
    async fn cached_rates(&self, request: &EstimateRequest, keys: &[RateKey]) -> Vec<Option<CachedRate>> {
        let mut cached = vec![None; keys.len()];
        for (level, cache) in self.caches.iter().enumerate() {
            if level == 0 {
                cached = cache.get(keys).await;
                continue;
            }
            let missing: Vec<usize> = self.positions.with_standing(|standing| {
                let valid = valid_rates(standing, request, &cached).enumerate();
                valid.filter(|(_, rate)| rate.is_none()).map(|(index, _)| index).collect()
            });
            if missing.is_empty() {
                break;
            }
            let asked: Vec<RateKey> = missing.iter().map(|&index| keys[index].clone()).collect();
            let found = cache.get(&asked).await;
            let mut entries = Vec::new();
            for ((index, key), rate) in missing.into_iter().zip(asked).zip(found) {
                if let Some(rate) = rate {
                    entries.push((key, rate.clone()));
                    cached[index] = Some(rate);
                }
            }
            for nearer in &self.caches[..level] {
                nearer.put(&entries).await;
            }
        }
        cached
    }

    /// Some lines are not cached, or no longer valid: reads them, and validates the others at the position of that read.
    async fn resolve_missing(
        &self,
        request: &EstimateRequest,
        cached: &[Option<CachedRate>],
    ) -> Result<Resolved, EstimateError> {
        let nothing = vec![None; cached.len()];
        // A cached rate may have moved by the time of the read. Then all lines are read at once, with none to validate.
        for cached in [cached, &nothing] {
            let missing = self.positions.with_standing(|standing| {
                let valid = request.lines.iter().zip(valid_rates(standing, request, cached));
                valid.filter(|(_, rate)| rate.is_none()).map(|(line, _)| line.clone()).collect()
            });
            let flight = self.flights.read(missing).await.map_err(PricingError::from)?;
            let found: Option<Vec<Found>> = self.positions.with_standing(|standing| {
                let valid = request.lines.iter().zip(valid_rates(standing, request, cached));
                let found = valid.map(|(line, rate)| match rate {
                    Some((selection, served_from)) => Some((Ok(selection), served_from)),
                    None => Some((flight.choices.get(&line_key(line))?.clone(), ServedFrom::Postgres)),
                });
                found.collect()
            });
            if let Some(found) = found {
                return Ok(Resolved {
                    rates: self.answerable(request, found).await?,
                    position: flight.position,
                    policy: Arc::clone(&flight.policy),
                });
            }
        }
        unreachable!("the second read has all lines")
    }

    async fn resolve_as_of(
        &self,
        request: &EstimateRequest,
        as_of: DateTime<Utc>,
    ) -> Result<Resolved, EstimateError> {
        let mut transaction = snapshot(&self.pool, &self.engine).await?;
        let position = crate::ledger::head(&mut *transaction).await.map_err(PricingError::from)?;
        let policy = policy_as_of(&mut *transaction, Some(as_of)).await.map_err(PricingError::from)?;
        let mut first: HashMap<String, usize> = HashMap::new();
        let mut asked = Vec::new();
        for line in &request.lines {
            first.entry(line_key(line)).or_insert_with(|| {
                asked.push(line);
                asked.len() - 1
            });
        }
        let when = When { as_of, known_at: position };
        let choices = rate_choose(&mut transaction, &asked, Some(when)).await?;
        transaction.rollback().await.map_err(PricingError::from)?;
        let found = |line| (choices[first[&line_key(line)]].clone(), ServedFrom::Postgres);
        let found = request.lines.iter().map(found).collect();
        Ok(Resolved { rates: self.answerable(request, found).await?, position, policy: Arc::new(policy) })
    }

    /// The rates, if every line has one.
    async fn answerable(
        &self,
        request: &EstimateRequest,
        found: Vec<Found>,
    ) -> Result<Vec<Rate>, EstimateError> {
        let mut rates = Vec::with_capacity(found.len());
        let mut problems = Vec::new();
        let mut total = 0;
        for (index, (line, (choice, served_from))) in request.lines.iter().zip(found).enumerate() {
            match choice {
                Ok(selection) => rates.push((selection, served_from)),
                Err(error) => {
                    total += 1;
                    if problems.len() < MAX_PROBLEMS {
                        problems.push(self.selection_problem(index, line, &error, request.as_of).await?);
                    }
                }
            }
        }
        if total > 0 {
            return Err(EstimateError::Unanswerable(InvalidRequest { problems, total }));
        }
        Ok(rates)
    }

    async fn selection_problem(
        &self,
        index: usize,
        line: &RequestLine,
        error: &SelectionError,
        as_of: Option<DateTime<Utc>>,
    ) -> Result<Problem, PricingError> {
        let (field, remedy) = match error {
            SelectionError::NoCandidates { .. } => {
                ("resource", lookup::nearest(&mut *self.pool.acquire().await?, line, as_of).await?)
            }
            SelectionError::TooMany { .. } => {
                ("resource", "name the SKU, the rate code or the price id instead".to_owned())
            }
            SelectionError::UnknownAttribute { .. } | SelectionError::NoSuchValue { .. } => {
                ("attributes", "give one of those, or leave the attribute out".to_owned())
            }
            SelectionError::Ambiguous { candidates, .. } => {
                let ids: Vec<String> =
                    candidates.iter().map(|candidate| candidate.price_id.to_string()).collect();
                (
                    "resource",
                    format!(
                        "add an attribute that tells them apart, or give a price id ({})",
                        ids.join(", ")
                    ),
                )
            }
            _ => ("resource", "see `mercuriale prices search` for the prices there are".to_owned()),
        };
        Ok(Problem {
            place: format!("/lines/{index}/{field}"),
            label: Some(line.label.clone()),
            message: error.to_string(),
            remedy,
        })
    }
}

/// What each line means, in their order, in force now or as of a time.
pub(super) async fn rate_choose(
    connection: &mut PgConnection,
    lines: &[&RequestLine],
    at: Option<When>,
) -> Result<Vec<Choice>, PricingError> {
    let meant = lookup::candidates(connection, lines, at).await?;
    let choose = |(line, meant): (&&RequestLine, &lookup::Meant)| {
        if meant.candidates.len() >= MAX_CANDIDATES {
            let resource = line.resource.clone();
            return Err(Arc::new(SelectionError::TooMany { resource, limit: MAX_CANDIDATES }));
        }
        let mut attributes = Cow::Borrowed(&line.attributes);
        if let Some((name, value)) = &meant.identity {
            attributes.to_mut().insert((*name).to_owned(), value.clone());
        }
        let query = Query {
            resource: &line.resource,
            attributes: &attributes,
            pricing_model: line.pricing_model,
            pricing_basis: line.pricing_basis,
        };
        price_select(&meant.candidates, &query).map(Arc::new).map_err(Arc::new)
    };
    Ok(lines.iter().zip(&meant).map(choose).collect())
}

/// Counts where the rates of an estimate were read.
fn count_sources(rates: &[Rate]) {
    for (source, label) in
        [(ServedFrom::Memory, "memory"), (ServedFrom::Redis, "redis"), (ServedFrom::Postgres, "postgres")]
    {
        let count = rates.iter().filter(|(_, served_from)| *served_from == source).count();
        metrics::counter!("mercuriale_rates_total", "served_from" => label).increment(count as u64);
    }
}

/// What a line is cached under.
pub(super) fn rate_key(standing: &Standing, line: &RequestLine) -> RateKey {
    let place = place(line);
    RateKey { line: line_key(line), namespace: format!("{place}@{}", standing.moved(&place)) }
}

/// What is cached of each line and still holds.
fn valid_rates<'a>(
    standing: &'a Standing,
    request: &'a EstimateRequest,
    cached: &'a [Option<CachedRate>],
) -> impl Iterator<Item = Option<Rate>> + 'a {
    request.lines.iter().zip(cached).map(|(line, cached)| {
        let cached = cached.as_ref()?;
        standing
            .holds(&place(line), cached.read_at)
            .then(|| (Arc::clone(&cached.selection), cached.served_from))
    })
}

fn cost_problem(index: usize, line: &RequestLine, error: &CostError) -> Problem {
    let (field, remedy) = match error {
        CostError::UsageMissing { .. } => ("/usage_per_month", "add it, as a decimal in a string"),
        CostError::UsageNotWanted { .. } => ("/usage_per_month", "remove it"),
        CostError::BeyondLastTier { .. } => ("/usage_per_month", "split the usage over several lines"),
        CostError::Overflow { .. } | CostError::TotalOverflow(_) => ("", "use smaller quantities"),
    };
    Problem {
        place: format!("/lines/{index}{field}"),
        label: Some(line.label.clone()),
        message: error.to_string(),
        remedy: remedy.to_owned(),
    }
}

fn unanswerable(mut problems: Vec<Problem>) -> EstimateError {
    let total = problems.len();
    problems.truncate(MAX_PROBLEMS);
    EstimateError::Unanswerable(InvalidRequest { problems, total })
}
