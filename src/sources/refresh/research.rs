//! Runs in which a language model was asked: each price is judged by itself, and what is not believed is proposed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{ListOrigin, Read, RefreshError, Refresher, Report, SourceVersion};
use crate::domain::event::{NewEvent, PROPOSAL_SUBMITTED, ProposalSubmitted, Research, proposal_stream};
use crate::ledger::{BulkAppend, Origin};
use crate::sources::{ListEnd, ListError, ListSink};

/// What a run spends and leaves out, as it goes; recorded however it ends. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct ResearchLog(Arc<Mutex<Research>>);

impl ResearchLog {
    /// As it stands.
    pub fn read(&self) -> Research {
        self.lock().clone()
    }

    /// Notes something.
    pub fn note<T>(&self, note: impl FnOnce(&mut Research) -> T) -> T {
        note(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Research> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was decided on the prices of a run before it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Who submits the proposals.
    pub author: Arc<str>,
    /// The part of its official amount that a price may move by in this run.
    pub max_move: Decimal,
    /// For the administrator.
    pub proposals: Vec<Proposal>,
}

/// A price that was found and is not believed without an administrator's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The price.
    pub price_id: i64,
    /// The event that set its official amount.
    pub official_position: i64,
    /// What it should be.
    pub amount: Decimal,
    /// See [`ProposalSubmitted`].
    pub justification: String,
    /// See [`ProposalSubmitted`].
    pub evidence: String,
}

impl Proposal {
    /// The same for the same author, amount and official price: what an administrator was asked once, and may have
    /// rejected, is not asked again every few hours.
    fn id(&self, author: &str) -> Uuid {
        let named =
            format!("{author}\n{}\n{}\n{}", self.price_id, self.official_position, self.amount.normalize());
        let digest: [u8; 32] = Sha256::digest(named).into();
        let mut half = [0; 16];
        half.copy_from_slice(&digest[..16]);
        // Version 8, RFC 9562, section 5.8: made by a rule of ours.
        uuid::Builder::from_custom_bytes(half).into_uuid()
    }
}

impl Judged {
    /// Submits the proposals that were not submitted before.
    pub(super) async fn propose(
        &self,
        bulk: &mut BulkAppend<'_>,
        log: &ResearchLog,
        observed_at: DateTime<Utc>,
    ) -> Result<(), RefreshError> {
        let streams: Vec<String> =
            self.proposals.iter().map(|proposal| proposal_stream(proposal.id(&self.author))).collect();
        let mut known: HashSet<String> = sqlx::query_scalar(include_str!("sql/proposals_known.sql"))
            .bind(&streams)
            .fetch_all(&mut *bulk.connection())
            .await?
            .into_iter()
            .collect();
        let mut events = Vec::new();
        for (proposal, stream) in self.proposals.iter().zip(streams) {
            if known.insert(stream.clone()) {
                let data = ProposalSubmitted {
                    v: 1,
                    price_id: proposal.price_id,
                    amount: proposal.amount,
                    justification: &proposal.justification,
                    evidence: std::slice::from_ref(&proposal.evidence),
                };
                let event = NewEvent::new(stream, PROPOSAL_SUBMITTED, &data).expecting(0);
                events.push(event.effective(observed_at));
            }
        }
        log.note(|research| research.proposed = events.len() as u64);
        let run = bulk.origin().clone();
        bulk.set_origin(Origin { actor: Arc::clone(&self.author), ..run.clone() });
        bulk.append(events).await?;
        bulk.set_origin(run);
        Ok(())
    }
}

impl Refresher {
    /// Records what a language model was asked for, under the rules of any other run but those for lists as a whole:
    /// `read` brings back what was decided price by price. `list.scope` must be given; `log` is recorded however the run
    /// ends.
    ///
    /// # Errors
    /// See [`RefreshError`].
    pub async fn refresh_researched<R>(
        &self,
        list: ListOrigin,
        log: ResearchLog,
        read: R,
    ) -> Result<Report, RefreshError>
    where
        R: FnOnce(&mut dyn ListSink) -> Result<(ListEnd, Judged), ListError> + Send + 'static,
    {
        let mut run = self.new_run(list);
        run.research = Some(log);
        self.refresh_run(run, move |sink| {
            let (end, judged) = read(sink)?;
            Ok(Read { end, version: SourceVersion::default(), judged: Some(judged) })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proposal_is_the_same_until_amount_or_official_price_change() {
        let proposal = |price_id, official_position, amount: &str| Proposal {
            price_id,
            official_position,
            amount: amount.parse().expect("a decimal"),
            justification: String::new(),
            evidence: String::new(),
        };
        let id = proposal(1, 5, "0.30").id("source:a");
        assert_eq!(id, proposal(1, 5, "0.3").id("source:a"));
        assert_eq!(id.get_version_num(), 8);
        for other in [proposal(2, 5, "0.3"), proposal(1, 6, "0.3"), proposal(1, 5, "0.31")] {
            assert_ne!(id, other.id("source:a"));
        }
        assert_ne!(id, proposal(1, 5, "0.3").id("source:b"));
    }
}
