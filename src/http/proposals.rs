//! Proposals: submitted, listed, decided.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use uuid::Uuid;

use super::Http;
use super::body::{IdempotencyKey, idempotent, json_of, read_json};
use super::page::{PagingByState, Parameters, not_found, page_of, paged, state_of};
use super::problem::Problem;
use crate::access::Principal;
use crate::people::{
    Decision, NewProposal, ProposalRow, STATES, proposal_decide, proposal_get, proposal_submit,
    proposals_list,
};
use crate::pricing::Page;

/// What `POST /v1/proposals` takes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewProposal)]
struct Submit {
    price_id: i64,
    amount: Option<String>,
    justification: Option<String>,
    #[serde(default)]
    evidence: Vec<String>,
    session: Option<Uuid>,
}

/// Proposes another official price.
///
/// With an amount of its own, or that of a session's override.
#[utoipa::path(
    post,
    path = "/v1/proposals",
    params(IdempotencyKey),
    request_body(content = Submit, example = json!({"price_id": 17, "amount": "0.0401", "justification": "the list is wrong", "evidence": []})),
    responses(
        (status = 201, body = ProposalRow, headers(("location" = String, description = "of the proposal"))),
        (status = 404, description = "there is no such price, session or override"),
        (status = 409, description = "too many wait for a decision, or the idempotency key was used otherwise"),
    ),
)]
pub(super) async fn submit(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let (headers, path) = (request.headers().clone(), request.uri().path().to_owned());
    let body = read_json(request).await?;
    let key = idempotent(&headers, &principal, &path, &body)?;
    let Submit { price_id, amount, justification, evidence, session } = json_of(
        &body,
        "{\"price_id\":17,\"amount\":\"0.0472\",\"justification\":TEXT,\"evidence\":[TEXT]}, or a session in place of \
         the amount",
    )?;
    let new = NewProposal { price_id, amount, justification, evidence, session };
    let answer =
        proposal_submit(&http.pool, &http.refresher.appender, &principal, &new, key.as_ref()).await?;
    let mut response = json(answer.clone());
    *response.status_mut() = StatusCode::CREATED;
    if let Some(location) = location_of(&answer) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Proposals in the order in which they last changed.
#[utoipa::path(
    get,
    path = "/v1/proposals",
    params(PagingByState),
    responses((status = 200, body = Page<ProposalRow>)),
)]
pub(super) async fn list(
    State(http): State<Http>,
    principal: Principal,
    uri: Uri,
    Parameters(list): Parameters<PagingByState>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(list.limit, list.after)?;
    let state = state_of("a proposal", list.state, &STATES)?;
    let rows = proposals_list(&http.pool, &principal, state.as_deref(), after, limit + 1).await?;
    Ok(paged(&uri, &Page::of(rows, limit, |row: &ProposalRow| row.position)))
}

/// One proposal.
#[utoipa::path(
    get,
    path = "/v1/proposals/{proposal_id}",
    params(("proposal_id" = Uuid, Path, description = "Of the tenant, or of everybody.")),
    responses((status = 200, body = ProposalRow)),
)]
pub(super) async fn show(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let row = proposal_get(&http.pool, &principal, proposal_id_of(&id)?).await?;
    Ok(axum::Json(row.ok_or_else(|| not_found("proposal", &id))?).into_response())
}

/// What an approval takes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Approval)]
struct Approve {
    note: Option<String>,
    confirm_position: Option<i64>,
}

/// Makes its amount the official price.
///
/// Only by another administrator than the author. A price that moved since it was submitted needs `confirm_position`.
#[utoipa::path(
    post,
    path = "/v1/proposals/{proposal_id}/approve",
    params(("proposal_id" = Uuid, Path, description = "Of the tenant, or of everybody."), IdempotencyKey),
    request_body(content = Option<Approve>, example = json!({"note": "checked with the provider", "confirm_position": null})),
    responses(
        (status = 200, body = ProposalRow),
        (status = 409, description = "it was decided before, or the price has moved: with both amounts, and `price_position`"),
    ),
)]
pub(super) async fn approve(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    decide(&http, &principal, &id, request, |body| {
        let Approve { note, confirm_position } =
            json_of(body, "{\"note\":TEXT,\"confirm_position\":POSITION}, or nothing")?;
        Ok(Decision { approved: true, note, confirm_position })
    })
    .await
}

/// What a rejection takes.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Rejection)]
struct Reject {
    note: Option<String>,
}

/// Leaves the official price as it is.
///
/// Only by another administrator than the author.
#[utoipa::path(
    post,
    path = "/v1/proposals/{proposal_id}/reject",
    params(("proposal_id" = Uuid, Path, description = "Of the tenant, or of everybody."), IdempotencyKey),
    request_body(content = Reject, example = json!({"note": "a promotion, not the list price"})),
    responses(
        (status = 200, body = ProposalRow),
        (status = 409, description = "it was decided before"),
    ),
)]
pub(super) async fn reject(
    State(http): State<Http>,
    principal: Principal,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    decide(&http, &principal, &id, request, |body| {
        let Reject { note } = json_of(body, "{\"note\":TEXT}")?;
        Ok(Decision { approved: false, note, confirm_position: None })
    })
    .await
}

async fn decide(
    http: &Http,
    principal: &Principal,
    id: &str,
    request: Request,
    decision: impl FnOnce(&[u8]) -> Result<Decision, Problem>,
) -> Result<Response, Problem> {
    let proposal_id = proposal_id_of(id)?;
    let (headers, path) = (request.headers().clone(), request.uri().path().to_owned());
    let body = read_json(request).await?;
    let key = idempotent(&headers, principal, &path, &body)?;
    let decision = decision(&body)?;
    let appender = &http.refresher.appender;
    let answer =
        proposal_decide(&http.pool, appender, principal, proposal_id, &decision, key.as_ref()).await?;
    Ok(json(answer))
}

fn proposal_id_of(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| not_found("proposal", id))
}

/// An answer that is JSON already.
fn json(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text).into_response()
}

/// Where the proposal of an answer is.
fn location_of(answer: &str) -> Option<HeaderValue> {
    #[derive(Deserialize)]
    struct Named {
        proposal_id: Uuid,
    }
    let Named { proposal_id } = serde_json::from_str(answer).ok()?;
    HeaderValue::from_str(&format!("/v1/proposals/{proposal_id}")).ok()
}
