//! Estimates: every line resolved, validated at one position, and summed.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound as _, Utc};
use sqlx::PgConnection;

use super::lookup::{self, MAX_CANDIDATES, line_key, place};
use super::position::{Standing, policy_as_of};
use super::{Pricing, PricingError};
use crate::cache::{CachedRate, RateKey};
use crate::domain::arithmetic::{CostError, Estimate, ServedFrom, estimate_sum, line_cost};
use crate::domain::discounts::DiscountPolicy;
use crate::domain::estimate::{EstimateRequest, InvalidRequest, MAX_PROBLEMS, Problem, RequestLine};
use crate::domain::selection::{Query, Selection, SelectionError, price_select};

/// How far a client's clock may be ahead of ours.
const CLOCK_TOLERANCE: chrono::Duration = chrono::Duration::minutes(1);

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

/// Rates by line, and the position at which all of them hold.
struct Resolved {
    rates: Vec<Rate>,
    position: i64,
    policy: Arc<DiscountPolicy>,
}

impl Pricing {
    /// Prices a request at one position of the ledger, not before the one it had when the request arrived.
    ///
    /// `now` is the world time of the request.
    ///
    /// # Errors
    /// Lines that cannot be priced, or the database failed.
    pub async fn estimate_calculate(
        &self,
        request: &EstimateRequest,
        now: DateTime<Utc>,
    ) -> Result<Estimate, EstimateError> {
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
        let hours = request.hours();
        let mut costs = Vec::with_capacity(request.lines.len());
        let mut problems = Vec::new();
        for (index, (line, (selection, served_from))) in request.lines.iter().zip(&resolved.rates).enumerate()
        {
            match line_cost(selection, line, hours, &resolved.policy, *served_from) {
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

    async fn resolve_now(&self, request: &EstimateRequest) -> Result<Resolved, EstimateError> {
        self.positions.catch_up().await.map_err(PricingError::from)?;
        let keys = self.positions.with_standing(|standing| rate_keys(standing, request));
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
            None => self.resolve_missing(request, &keys, &cached).await,
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

    /// Some lines are not cached, or no longer valid: reads them, and validates the others, in one snapshot.
    async fn resolve_missing(
        &self,
        request: &EstimateRequest,
        keys: &[RateKey],
        cached: &[Option<CachedRate>],
    ) -> Result<Resolved, EstimateError> {
        let mut transaction = self.snapshot().await?;
        let (position, policy) = self.positions.learn(&mut transaction).await.map_err(PricingError::from)?;
        let mut rates: Vec<Option<Rate>> =
            self.positions.with_standing(|standing| valid_rates(standing, request, cached).collect());
        let lines: Vec<&str> = keys.iter().map(|key| key.line.as_str()).collect();
        let read = self.read_rates(&mut transaction, request, &lines, &mut rates, None).await?;
        transaction.rollback().await.map_err(PricingError::from)?;
        // An entry's namespace must be that of its snapshot: where prices have moved since, it is not kept.
        let entries: Vec<(RateKey, CachedRate)> = self.positions.with_standing(|standing| {
            let current = rate_keys(standing, request).into_iter().zip(&request.lines);
            let kept = current.filter(|(_, line)| standing.holds(&place(line), position));
            kept.filter_map(|(key, _)| {
                let selection = Arc::clone(read.get(key.line.as_str())?);
                Some((key, CachedRate { selection, read_at: position, served_from: ServedFrom::Postgres }))
            })
            .collect()
        });
        for cache in &self.caches {
            cache.put(&entries).await;
        }
        let rates = rates.into_iter().map(|rate| rate.expect("read_rates fills every line")).collect();
        Ok(Resolved { rates, position, policy: Arc::new(policy) })
    }

    async fn resolve_as_of(
        &self,
        request: &EstimateRequest,
        as_of: DateTime<Utc>,
    ) -> Result<Resolved, EstimateError> {
        let keys: Vec<String> = request.lines.iter().map(line_key).collect();
        let mut transaction = self.snapshot().await?;
        let position = crate::ledger::head(&mut *transaction).await.map_err(PricingError::from)?;
        let policy = policy_as_of(&mut *transaction, Some(as_of)).await.map_err(PricingError::from)?;
        let mut rates = vec![None; request.lines.len()];
        let lines: Vec<&str> = keys.iter().map(String::as_str).collect();
        self.read_rates(&mut transaction, request, &lines, &mut rates, Some(as_of)).await?;
        transaction.rollback().await.map_err(PricingError::from)?;
        let rates = rates.into_iter().map(|rate| rate.expect("read_rates fills every line")).collect();
        Ok(Resolved { rates, position, policy: Arc::new(policy) })
    }

    /// A snapshot in which the search model knows every price that the ledger lists.
    pub(super) async fn snapshot(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, PricingError> {
        loop {
            let mut transaction =
                self.pool.begin_with("begin isolation level repeatable read read only").await?;
            let behind: bool = sqlx::query_scalar(include_str!("sql/search_behind.sql"))
                .fetch_one(&mut *transaction)
                .await?;
            if !behind {
                return Ok(transaction);
            }
            transaction.rollback().await?;
            self.engine.catch_up("price_search", i64::MAX).await?;
        }
    }

    /// Fills the lines that have no rate yet, one query for all of them, and returns what was read, by key.
    async fn read_rates<'k>(
        &self,
        connection: &mut PgConnection,
        request: &EstimateRequest,
        keys: &[&'k str],
        rates: &mut [Option<Rate>],
        as_of: Option<DateTime<Utc>>,
    ) -> Result<HashMap<&'k str, Arc<Selection>>, EstimateError> {
        let mut first: HashMap<&str, usize> = HashMap::new();
        let mut asked = Vec::new();
        for (index, key) in keys.iter().enumerate().filter(|(index, _)| rates[*index].is_none()) {
            first.entry(key).or_insert_with(|| {
                asked.push(index);
                asked.len() - 1
            });
        }
        let lines: Vec<&RequestLine> = asked.iter().map(|&index| &request.lines[index]).collect();
        let meant = lookup::candidates(connection, &lines, as_of).await?;
        let chosen: Vec<Result<Arc<Selection>, SelectionError>> = lines
            .iter()
            .zip(&meant)
            .map(|(line, meant)| {
                if meant.candidates.len() >= MAX_CANDIDATES {
                    let resource = line.resource.clone();
                    return Err(SelectionError::TooMany { resource, limit: MAX_CANDIDATES });
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
                price_select(&meant.candidates, &query).map(Arc::new)
            })
            .collect();
        let mut problems = Vec::new();
        let mut total = 0;
        for (index, key) in keys.iter().enumerate() {
            if rates[index].is_some() {
                continue;
            }
            match &chosen[first[*key]] {
                Ok(selection) => rates[index] = Some((Arc::clone(selection), ServedFrom::Postgres)),
                Err(error) => {
                    total += 1;
                    if problems.len() < MAX_PROBLEMS {
                        let line = &request.lines[index];
                        problems.push(selection_problem(connection, index, line, error, as_of).await?);
                    }
                }
            }
        }
        if total > 0 {
            return Err(EstimateError::Unanswerable(InvalidRequest { problems, total }));
        }
        Ok(first
            .into_iter()
            .filter_map(|(key, place)| Some((key, chosen[place].as_ref().ok()?.clone())))
            .collect())
    }
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

/// What each line is cached under.
fn rate_keys(standing: &Standing, request: &EstimateRequest) -> Vec<RateKey> {
    let key = |line| {
        let place = place(line);
        RateKey { line: line_key(line), namespace: format!("{place}@{}", standing.moved(&place)) }
    };
    request.lines.iter().map(key).collect()
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

async fn selection_problem(
    connection: &mut PgConnection,
    index: usize,
    line: &RequestLine,
    error: &SelectionError,
    as_of: Option<DateTime<Utc>>,
) -> Result<Problem, PricingError> {
    let (field, remedy) = match error {
        SelectionError::NoCandidates { .. } => ("resource", lookup::nearest(connection, line, as_of).await?),
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
                format!("add an attribute that tells them apart, or give a price id ({})", ids.join(", ")),
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
