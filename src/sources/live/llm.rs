//! Prices that language models look up, recorded as any other list: one that is never whole.

use std::sync::Arc;

use reqwest::Url;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::{Live, Target, now};
use crate::sources::llm::{Assignment, Findings, Run};
use crate::sources::refresh::{Judged, RefreshError, Report, ResearchLog};
use crate::sources::text::malformed;
use crate::sources::{ListEnd, ListError, ListHeader, ListSink, Place, Price};

pub(super) async fn refresh(
    live: &Live,
    target: &Target,
    assignment: &Arc<Assignment>,
) -> Result<Report, RefreshError> {
    let log = ResearchLog::default();
    let run = Run {
        pool: live.refresher.pool.clone(),
        client: live.answers.clone(),
        base_url: target.base_url.clone(),
        assignment: Arc::clone(assignment),
        log: log.clone(),
        threshold: live.refresher.rules.change_threshold,
    };
    // Nothing is asked, and paid, before the run has its scope for itself. Dropping the set ends the asking with the run.
    let (start, begun) = oneshot::channel();
    let (ended, findings) = oneshot::channel();
    let mut asking = JoinSet::new();
    asking.spawn(async move {
        if begun.await.is_ok() {
            // A run that was refused does not want to know.
            let _ = ended.send(run.run().await);
        }
    });
    let (url, scope, assignment) = (target.base_url.clone(), target.scope.clone(), Arc::clone(assignment));
    let author: Arc<str> = format!("source:{}", target.source).into();
    let report = live
        .refresher
        .refresh_researched(live.origin(target, &target.base_url), log, move |sink| {
            sink.header(&ListHeader { scope, observed_at: now() })?;
            let failed = |message: &str| malformed(url.as_str(), 0, "", message);
            start.send(()).map_err(|()| failed("the run was stopped"))?;
            let findings = findings
                .blocking_recv()
                .map_err(|_| failed("the run was stopped"))?
                .map_err(|why| failed(&why))?;
            send(&assignment, &findings, &url, sink)?;
            let end = ListEnd { complete: false, content_sha256: findings.sha256 };
            let judged = Judged { author, max_move: assignment.max_move, proposals: findings.proposals };
            Ok((end, judged))
        })
        .await?;
    if let Some(research) = &report.research
        && (research.stopped.is_some() || !research.refused.is_empty())
    {
        let (source, scope) = (&target.source, &target.scope);
        let (refused, stopped) = (research.refused.len(), research.stopped.as_deref().unwrap_or_default());
        tracing::warn!(%source, scope, refused, stopped, "not every price could be confirmed; the run's event says why");
    }
    Ok(report)
}

/// Hands over what was observed.
fn send(
    assignment: &Assignment,
    findings: &Findings,
    url: &Url,
    sink: &mut dyn ListSink,
) -> Result<(), ListError> {
    for (place, amount, shown_at) in &findings.observed {
        let listing = &assignment.prices[*place].listing;
        let mut attributes: Vec<(&str, &str)> =
            listing.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        attributes.push(("sourceUrl", shown_at));
        let place = Place { file: url.as_str(), line: 0 };
        sink.price(&Price::of_listing(listing, *amount, &attributes, &place))?;
    }
    Ok(())
}
