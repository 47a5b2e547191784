//! The log over HTTP: page by page, and as it grows (server-sent events).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::sse::{Event as Sent, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::PgPool;
use tokio::sync::broadcast::error::RecvError;

use super::Http;
use super::page::{Parameters, page_of, paged, text_of};
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::bus::{Announced, Wanted};
use crate::ledger::{self, Event, EventFilter};
use crate::pricing::Page;

/// A comment is sent this often where nothing happens, so that proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Events read at a time by a listener that catches up.
const BATCH: i64 = 500;
/// The most types that one request may name.
const MAX_TYPES: usize = 50;

/// An event as it is shown: its data is JSON within JSON, byte for byte.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Event)]
struct Shown<'a> {
    position: i64,
    event_id: uuid::Uuid,
    stream: &'a str,
    stream_version: i64,
    event_type: &'a str,
    recorded_at: chrono::DateTime<chrono::Utc>,
    effective_at: chrono::DateTime<chrono::Utc>,
    actor: &'a str,
    tenant: &'a str,
    correlation_id: uuid::Uuid,
    causation_id: Option<uuid::Uuid>,
    /// By type; see the README.
    #[schema(value_type = Object)]
    data: &'a RawValue,
    leaf_hash: String,
}

impl<'a> Shown<'a> {
    fn new(event: &'a Event) -> Result<Self, Problem> {
        let data = serde_json::from_str(&event.data).map_err(|error| {
            tracing::error!(position = event.position, %error, "an event's data is no JSON");
            Problem::internal()
        })?;
        Ok(Self {
            position: event.position,
            event_id: event.event_id,
            stream: &event.stream,
            stream_version: event.stream_version,
            event_type: &event.event_type,
            recorded_at: event.recorded_at,
            effective_at: event.effective_at,
            actor: &event.actor,
            tenant: &event.tenant,
            correlation_id: event.correlation_id,
            causation_id: event.causation_id,
            data,
            leaf_hash: hex::encode(&event.leaf_hash),
        })
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only these types, separated by commas; at most 50.
    #[serde(rename = "type")]
    #[param(example = "price.changed,price.listed", max_length = 500)]
    event_type: Option<String>,
    /// Only this stream.
    #[param(example = "price/17", max_length = 500)]
    stream: Option<String>,
    /// Where the page before ended: follow its `Link` header.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Rows of the page; 100 where it is left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
}

/// Types separated by commas.
fn types_of(text: Option<String>) -> Result<Option<Vec<String>>, Problem> {
    let Some(text) = text_of("type", text)? else { return Ok(None) };
    let types: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
    if types.len() > MAX_TYPES {
        let detail = format!("type: {} types are named; {MAX_TYPES} are possible", types.len());
        return Err(Problem::new(ProblemType::InvalidRequest, detail));
    }
    Ok(Some(types))
}

/// Events after a position, in order.
#[utoipa::path(get, path = "/v1/events", params(List), responses((status = 200, body = Page<Shown>)))]
pub(super) async fn list(
    State(http): State<Http>,
    principal: Principal,
    uri: Uri,
    Parameters(list): Parameters<List>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(list.limit, list.after)?;
    let filter = EventFilter {
        event_types: types_of(list.event_type)?,
        stream: text_of("stream", list.stream)?,
        tenant: Some(principal.tenant),
    };
    let (events, is_cut) = ledger::read_some(&http.pool, after, &filter, limit + 1).await?;
    let shown = events.iter().map(Shown::new).collect::<Result<Vec<_>, _>>()?;
    let mut page = Page::of(shown, limit, |event| event.position);
    // A page of large events is shorter than was asked for.
    if is_cut {
        page.next_after = page.items.last().map(|event| event.position);
    }
    Ok(paged(&uri, &page))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Listen {
    /// Only these types, separated by commas; at most 50.
    #[serde(rename = "type")]
    #[param(example = "price.changed", max_length = 500)]
    event_type: Option<String>,
    /// Only events that name this provider.
    #[param(max_length = 500)]
    provider: Option<String>,
    /// Only events that name this service.
    #[param(max_length = 500)]
    service: Option<String>,
    /// Only events that name this region.
    #[param(max_length = 500)]
    region: Option<String>,
    /// Only events of this price.
    price_id: Option<i64>,
    /// The position to go on after; `Last-Event-ID` wins.
    #[param(minimum = 0)]
    after: Option<i64>,
}

/// Events as they are recorded; from `Last-Event-ID` or `after`, else from now.
///
/// A listener that falls behind by more than the process keeps is cut off, and goes on where it was by its
/// `Last-Event-ID`. So is one whose token ends.
#[utoipa::path(
    get,
    path = "/v1/events/stream",
    params(
        Listen,
        ("last-event-id" = Option<i64>, Header, description = "the position to go on after", minimum = 0),
    ),
    responses((status = 200, body = str, content_type = "text/event-stream")),
)]
pub(super) async fn stream(
    State(http): State<Http>,
    principal: Principal,
    headers: HeaderMap,
    Parameters(listen): Parameters<Listen>,
) -> Result<Response, Problem> {
    let wanted = Wanted {
        event_types: types_of(listen.event_type)?,
        provider: text_of("provider", listen.provider)?,
        service: text_of("service", listen.service)?,
        region: text_of("region", listen.region)?,
        price_id: listen.price_id,
        tenant: Some(Arc::clone(&principal.tenant)),
    };
    let (_, after) = page_of(None, listen.after)?;
    let last_id = headers.get("last-event-id").map(|id| id.to_str().ok().and_then(|id| id.parse().ok()));
    let after = match (last_id, listen.after) {
        (Some(Some(position)), _) => position,
        (Some(None), _) => {
            let detail = "Last-Event-ID is not a position: send the id of the last event that arrived";
            return Err(Problem::new(ProblemType::InvalidRequest, detail));
        }
        (None, Some(_)) => after,
        (None, None) => ledger::head(&http.pool).await?,
    };
    let allowed = principal.expires_at.map(|at| (at - Utc::now()).to_std().unwrap_or_default());
    let events = follow(http, wanted, after).take_until(async move {
        match allowed {
            Some(allowed) => tokio::time::sleep(allowed).await,
            None => std::future::pending().await,
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)).into_response())
}

/// What a listener still has to be sent.
enum Stage {
    /// From the log.
    CatchingUp,
    /// As it is announced.
    Live,
    Ended,
}

fn follow(http: Http, wanted: Wanted, after: i64) -> impl Stream<Item = Result<Sent, Infallible>> {
    // Listening starts before the log is read: nothing falls in between.
    let listening = http.hub.listen();
    let start = (http, wanted, after, listening, Vec::new().into_iter(), Stage::CatchingUp);
    futures_util::stream::unfold(start, |so_far| async move {
        let (http, wanted, mut after, mut listening, mut read, mut stage) = so_far;
        loop {
            if let Some(event) = read.next() {
                let announced = Announced::from(event);
                after = announced.event.position;
                if wanted.matches(&announced) {
                    return Some((Ok(sent(&announced.event)), (http, wanted, after, listening, read, stage)));
                }
                continue;
            }
            match stage {
                Stage::CatchingUp => {
                    let filter = EventFilter {
                        event_types: wanted.event_types.clone(),
                        stream: None,
                        tenant: wanted.tenant.clone(),
                    };
                    match ledger::read(&http.pool, after, &filter, BATCH).await {
                        Ok(events) if events.is_empty() => stage = Stage::Live,
                        Ok(events) => read = events.into_iter(),
                        Err(error) => {
                            tracing::warn!(%error, "a listener is cut off");
                            stage = Stage::Ended;
                        }
                    }
                }
                Stage::Live => {
                    let announced = tokio::select! {
                        announced = listening.recv() => announced,
                        () = http.stopping.cancelled() => Err(RecvError::Closed),
                    };
                    match announced {
                        Ok(announced) if announced.event.position <= after => {}
                        Ok(announced) => {
                            after = announced.event.position;
                            if wanted.matches(&announced) {
                                match whole(&http.pool, &announced).await {
                                    Ok(sent) => {
                                        let so_far = (http, wanted, after, listening, read, stage);
                                        return Some((Ok(sent), so_far));
                                    }
                                    Err(error) => {
                                        tracing::warn!(%error, "a listener is cut off");
                                        stage = Stage::Ended;
                                    }
                                }
                            }
                        }
                        Err(RecvError::Lagged(_)) => {
                            metrics::counter!("mercuriale_listeners_cut_off_total").increment(1);
                            stage = Stage::Ended;
                        }
                        Err(RecvError::Closed) => stage = Stage::Ended,
                    }
                }
                Stage::Ended => return None,
            }
        }
    })
}

/// What was announced, with its data.
async fn whole(pool: &PgPool, announced: &Announced) -> Result<Sent, sqlx::Error> {
    if announced.is_whole {
        return Ok(sent(&announced.event));
    }
    let before = announced.event.position - 1;
    let read = ledger::read(pool, before, &EventFilter::default(), 1).await?;
    read.first().map(sent).ok_or(sqlx::Error::RowNotFound)
}

fn sent(event: &Event) -> Sent {
    let shown = Shown::new(event).ok().and_then(|shown| serde_json::to_string(&shown).ok());
    Sent::default().id(event.position.to_string()).event(&event.event_type).data(shown.unwrap_or_default())
}
