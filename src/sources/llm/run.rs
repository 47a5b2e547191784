//! The order of a run: plan once; then research and validate one price after the other, until done or stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reqwest::Url;
use rust_decimal::Decimal;
use sqlx::PgPool;

use super::chat::{Chat, NoAnswer};
use super::config::{Assignment, Wanted};
use super::judge::{Claim, Decision, OnRecord, check_pages, claim_of, decide, dissent};
use super::phases::{self, Checked, Found, Plan};
use crate::domain::event::RefusedPrice;
use crate::sources::live::http::Client;
use crate::sources::refresh::{Proposal, ResearchLog};
use crate::sources::text::shown;

/// Reasons that are recorded in one run; a model that answers nonsense shall not fill the log.
const MAX_REFUSED: usize = 500;

/// What a run came to.
#[derive(Debug)]
pub(in crate::sources) struct Findings {
    /// Place in [`Assignment::prices`], amount, and the URL that shows it.
    pub(in crate::sources) observed: Vec<(usize, Decimal, String)>,
    pub(in crate::sources) proposals: Vec<Proposal>,
    /// Of all answers.
    pub(in crate::sources) sha256: [u8; 32],
}

/// What a run needs.
#[derive(Debug, Clone)]
pub(in crate::sources) struct Run {
    pub(in crate::sources) pool: PgPool,
    pub(in crate::sources) client: Client,
    pub(in crate::sources) base_url: Url,
    pub(in crate::sources) assignment: Arc<Assignment>,
    pub(in crate::sources) log: ResearchLog,
    /// What counts as a change.
    pub(in crate::sources) threshold: Decimal,
}

impl Run {
    /// Looks up what is wanted; otherwise, why nothing came of it.
    pub(in crate::sources) async fn run(self) -> Result<Findings, String> {
        let on_record = self.on_record().await.map_err(|error| format!("the database failed: {error}"))?;
        let assignment = &*self.assignment;
        let mut chat = Chat::new(&self.client, &self.base_url, assignment, &self.log);
        let mut observed = Vec::new();
        let mut proposals = Vec::new();
        let lookups = match self.plan(&mut chat, &on_record).await {
            Ok(lookups) => lookups,
            Err(NoAnswer::Stop(why)) => {
                self.stop(why);
                Vec::new()
            }
            Err(error) => return Err(format!("plan: {error}")),
        };
        for (place, pages) in lookups {
            let wanted = &assignment.prices[place];
            let official = on_record.get(&wanted.listing.key);
            match self.look_up(&mut chat, wanted, &pages, official).await {
                Ok(None) => {}
                Ok(Some((claim, Decision::Observe))) => observed.push((place, claim.amount, claim.url)),
                Ok(Some((claim, Decision::Propose(doubts)))) => {
                    proposals
                        .extend(official.map(|official| proposal(assignment, official, &claim, &doubts)));
                }
                Ok(Some((_, Decision::Refuse(reason)))) | Err(NoAnswer::Unusable(reason)) => {
                    self.refuse(&wanted.listing.key, reason);
                }
                Err(NoAnswer::Stop(why)) => {
                    self.stop(why);
                    break;
                }
                Err(NoAnswer::Endpoint(error)) if observed.is_empty() && proposals.is_empty() => {
                    return Err(format!("{}: {error}", wanted.listing.key));
                }
                Err(NoAnswer::Endpoint(error)) => {
                    self.stop(error.to_string());
                    break;
                }
            }
        }
        Ok(Findings { observed, proposals, sha256: chat.sha256() })
    }

    async fn on_record(&self) -> Result<BTreeMap<String, OnRecord>, sqlx::Error> {
        let keys: Vec<&str> =
            self.assignment.prices.iter().map(|wanted| wanted.listing.key.as_str()).collect();
        let rows: Vec<(String, i64, Decimal, bool, i64)> =
            sqlx::query_as(include_str!("sql/officials.sql")).bind(keys).fetch_all(&self.pool).await?;
        let rows = rows.into_iter();
        Ok(rows
            .map(|(key, price_id, amount, in_force, position)| {
                (key, OnRecord { price_id, amount, in_force, position })
            })
            .collect())
    }

    /// Which prices to look up, by their place, and on which pages. What could not be compared with anything is not
    /// even asked for.
    async fn plan(
        &self,
        chat: &mut Chat<'_>,
        on_record: &BTreeMap<String, OnRecord>,
    ) -> Result<Vec<(usize, Vec<String>)>, NoAnswer> {
        let assignment = &*self.assignment;
        let mut places = BTreeMap::new();
        let mut askable = Vec::new();
        for (place, wanted) in assignment.prices.iter().enumerate() {
            let key = wanted.listing.key.as_str();
            if wanted.reference.is_some() || on_record.contains_key(key) {
                places.insert(key, place);
                askable.push(wanted);
            } else {
                let reason = "it is not on record, and no reference is configured to compare it with";
                self.refuse(key, reason.to_owned());
            }
        }
        if askable.is_empty() {
            return Ok(Vec::new());
        }
        let text = phases::plan_text(&assignment.sites, &askable);
        let plan: Plan = chat.ask(&assignment.plan, &phases::plan(&text)).await?;
        let mut planned = BTreeSet::new();
        let mut lookups = Vec::new();
        for lookup in plan.lookups {
            let checked = match places.get(lookup.price.as_str()) {
                None => Err("the plan names it, but it is not wanted".to_owned()),
                Some(place) if planned.contains(place) => Err("the plan names it twice".to_owned()),
                Some(place) => check_pages(&assignment.sites, &lookup.pages).map(|()| *place),
            };
            match checked {
                Ok(place) => {
                    planned.insert(place);
                    lookups.push((place, lookup.pages));
                }
                Err(reason) => self.refuse(&lookup.price, reason),
            }
        }
        self.log.note(|research| research.planned = lookups.len() as u64);
        Ok(lookups)
    }

    /// Research and validation of one price; `None` if it was not found.
    async fn look_up(
        &self,
        chat: &mut Chat<'_>,
        wanted: &Wanted,
        pages: &[String],
        official: Option<&OnRecord>,
    ) -> Result<Option<(Claim, Decision)>, NoAnswer> {
        let assignment = &*self.assignment;
        let text = phases::research_text(wanted, pages);
        let found: Found = chat.ask(&assignment.research, &phases::research(&text)).await?;
        let Some(claim) = claim_of(assignment, wanted, found).map_err(NoAnswer::Unusable)? else {
            self.log.note(|research| research.not_found += 1);
            return Ok(None);
        };
        let text = phases::validate_text(wanted, &claim.url, &claim.quote);
        let checked: Checked = chat.ask(&assignment.validate, &phases::validate(&text)).await?;
        let dissent = dissent(wanted, &claim, &checked);
        let decision = decide(assignment, wanted, official, &claim, dissent, self.threshold);
        Ok(Some((claim, decision)))
    }

    fn refuse(&self, key: &str, reason: String) {
        // A key from a model is text from outside.
        let known = self.assignment.prices.iter().any(|wanted| wanted.listing.key == key);
        let key = if known { key.to_owned() } else { shown(key) };
        self.log.note(|research| {
            if research.refused.len() < MAX_REFUSED {
                research.refused.push(RefusedPrice { key, reason });
            }
        });
    }

    fn stop(&self, why: String) {
        self.log.note(|research| research.stopped = Some(why));
    }
}

fn proposal(assignment: &Assignment, official: &OnRecord, claim: &Claim, doubts: &str) -> Proposal {
    Proposal {
        price_id: official.price_id,
        official_position: official.position,
        amount: claim.amount,
        justification: format!(
            "{} found {} (sure by {} %); not taken as observed: {doubts}",
            assignment.research.model, claim.amount, claim.confidence
        ),
        evidence: format!("{}\n{}", claim.url, claim.quote),
    }
}
