//! Saved estimates: save, list, read, export.

use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use chrono::Utc;
use serde::Deserialize;
use uuid::Uuid;

use super::Http;
use super::body::{IdempotencyKey, keyed, read_json};
use super::conditional::{version_expected, with_etag};
use super::page::{Paging, Parameters, not_found, page_of, paged, text_of};
use super::problem::{Problem, ProblemType};
use crate::access::Principal;
use crate::domain::estimate::{InvalidRequest, Relabel, RequestText, relabel_parse, save_request_parse};
use crate::domain::saved::export::{self, ExportError, Locale};
use crate::pricing::{
    EstimateFilter, EstimateRow, Page, PricingError, Save, SaveError, SavedVersion, ShownVersion, VersionRow,
};

impl From<SaveError> for Problem {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Estimate(error) => error.into(),
            SaveError::Unknown => Self::new(ProblemType::NotFound, error.to_string()),
            SaveError::Lost { .. } => Self::new(ProblemType::PreconditionFailed, error.to_string()),
            SaveError::Archived => Self::new(ProblemType::Conflict, error.to_string()),
            SaveError::Append(error) => error.into(),
        }
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Overflow(_) => {
                let detail = format!("{error}; take format=json, which has the lines as they are");
                Self::new(ProblemType::UnanswerableEstimate, detail)
            }
            ExportError::Csv(_) => PricingError::Inconsistent(error.to_string()).into(),
        }
    }
}

fn invalid(invalid: InvalidRequest) -> Problem {
    Problem::with_faults(ProblemType::InvalidRequest, invalid)
}

/// The id of an estimate in a path; what is no id names nothing.
pub(super) fn estimate_id_of(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| not_found("estimate", id))
}

/// The number of a version in a path or a parameter.
pub(super) fn version_of(version: &str) -> Result<i64, Problem> {
    let parsed = version.parse().ok().filter(|version| *version > 0);
    parsed.ok_or_else(|| not_found("version", version))
}

/// What the caller says about saving: the key, and the hash of everything that makes the request what it is.
fn save<'a>(
    http: &'a Http,
    principal: &'a Principal,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Save<'a>, Problem> {
    let if_match = headers.get(header::IF_MATCH).map_or(&b""[..], |value| value.as_bytes());
    let key = keyed(headers, principal, [uri.path().as_bytes(), if_match, body])?;
    Ok(Save { appender: &http.refresher.appender, caller: principal, key })
}

/// What a request needs after its body was read.
fn parts(request: &Request) -> (Uri, HeaderMap) {
    (request.uri().clone(), request.headers().clone())
}

/// Calculates an estimate and saves it as version 1.
#[utoipa::path(
    post,
    path = "/v1/estimates",
    params(IdempotencyKey),
    request_body(content = RequestText, example = json!({
        "name": "web", "note": "first version", "tags": ["team:web"],
        "lines": [{
            "label": "web", "provider": "aws", "service": "AmazonEC2", "region": "eu-west-3", "resource": "t3.medium",
            "quantity": "3", "pricing_model": "reserved-1y",
        }],
    })),
    responses(
        (status = 201, body = ShownVersion, description = "the version: what is said about it, its request, and its estimate as it was calculated", headers(
            ("location" = String, description = "of the version"), ("etag" = String, description = "of the version"),
        )),
        (status = 409, description = "the idempotency key was used for another request"),
        (status = 422, description = "a line means no price, or several"),
    ),
)]
pub(super) async fn create(
    State(http): State<Http>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let (uri, headers) = parts(&request);
    let body = read_json(request).await?;
    let save = save(&http, &principal, &uri, &headers, &body)?;
    let (request, labels) = save_request_parse(&body, true).map_err(invalid)?;
    created(&http.pricing.estimate_create(save, &request, labels, Utc::now()).await?)
}

/// Calculates the next version of an estimate and saves it.
///
/// The name and the tags stay as they were where the request has none.
#[utoipa::path(
    post,
    path = "/v1/estimates/{estimate_id}/versions",
    params(("estimate_id" = Uuid, Path, description = "Of the tenant."), ("if-match" = String, Header, description = "The `ETag` of the last version."), IdempotencyKey),
    request_body(content = RequestText, example = json!({
        "name": "web", "note": "first version", "tags": ["team:web"],
        "lines": [{
            "label": "web", "provider": "aws", "service": "AmazonEC2", "region": "eu-west-3", "resource": "t3.medium",
            "quantity": "3", "pricing_model": "reserved-1y",
        }],
    })),
    responses(
        (status = 201, body = ShownVersion, description = "the version: what is said about it, its request, and its estimate as it was calculated", headers(
            ("location" = String, description = "of the version"), ("etag" = String, description = "of the version"),
        )),
        (status = 409, description = "the estimate is archived, or the idempotency key was used for another request"),
        (status = 412, description = "`If-Match` names another version than the last one"),
        (status = 428, description = "there is no `If-Match`"),
        (status = 422, description = "a line means no price, or several"),
    ),
)]
pub(super) async fn update(
    State(http): State<Http>,
    Path(id): Path<String>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let estimate_id = estimate_id_of(&id)?;
    let (uri, headers) = parts(&request);
    let body = read_json(request).await?;
    let expected = expected(&headers)?;
    let save = save(&http, &principal, &uri, &headers, &body)?;
    let (request, labels) = save_request_parse(&body, false).map_err(invalid)?;
    let saved = http.pricing.estimate_update(save, estimate_id, expected, &request, labels, Utc::now()).await;
    created(&saved?)
}

/// Saves a version with the figures of the last one and something else said about it.
///
/// Another name, note, tags, or archived.
#[utoipa::path(
    patch,
    path = "/v1/estimates/{estimate_id}",
    params(("estimate_id" = Uuid, Path, description = "Of the tenant."), ("if-match" = String, Header, description = "The `ETag` of the last version."), IdempotencyKey),
    request_body(content = Relabel, example = json!({"archived": true, "note": "replaced"})),
    responses(
        (status = 200, body = ShownVersion, description = "the version: what is said about it, its request, and its estimate as it was calculated", headers(("etag" = String, description = "of the version"))),
        (status = 409, description = "the idempotency key was used for another request"),
        (status = 412, description = "`If-Match` names another version than the last one"),
        (status = 428, description = "there is no `If-Match`"),
    ),
)]
pub(super) async fn relabel(
    State(http): State<Http>,
    Path(id): Path<String>,
    principal: Principal,
    request: Request,
) -> Result<Response, Problem> {
    let estimate_id = estimate_id_of(&id)?;
    let (uri, headers) = parts(&request);
    let body = read_json(request).await?;
    let expected = expected(&headers)?;
    let save = save(&http, &principal, &uri, &headers, &body)?;
    let relabel = relabel_parse(&body).map_err(invalid)?;
    shown(&http.pricing.estimate_relabel(save, estimate_id, expected, relabel).await?)
}

fn expected(headers: &HeaderMap) -> Result<i64, Problem> {
    Ok(i64::try_from(version_expected(headers, "estimate")?).unwrap_or(i64::MAX))
}

fn created(saved: &SavedVersion) -> Result<Response, Problem> {
    let location = format!("/v1/estimates/{}/versions/{}", saved.estimate_id, saved.version);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], shown(saved)?).into_response())
}

fn shown(saved: &SavedVersion) -> Result<Response, Problem> {
    let response = ([(header::CONTENT_TYPE, "application/json")], saved.json()?).into_response();
    Ok(with_etag(response, &saved.version.to_string()))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Part of the name.
    #[param(max_length = 500)]
    q: Option<String>,
    /// A whole tag.
    #[param(max_length = 500)]
    tag: Option<String>,
    /// `false`, where it is left out; `true` or `any`.
    #[param(pattern = "^(false|true|any)$")]
    archived: Option<String>,
    /// Where the page before ended: follow its `Link` header.
    #[param(minimum = 0)]
    after: Option<i64>,
    /// Rows of the page; 100 where it is left out.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<i64>,
}

/// Estimates in the order in which they were last saved.
///
/// Those that are not archived, unless asked for.
#[utoipa::path(
    get,
    path = "/v1/estimates",
    params(List),
    responses((status = 200, body = Page<EstimateRow>)),
)]
pub(super) async fn list(
    State(http): State<Http>,
    principal: Principal,
    uri: Uri,
    Parameters(list): Parameters<List>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(list.limit, list.after)?;
    let archived = match list.archived.as_deref() {
        None | Some("false") => Some(false),
        Some("true") => Some(true),
        Some("any") => None,
        Some(_) => {
            let detail = "archived: it is false (the default), true or any";
            return Err(Problem::new(ProblemType::InvalidRequest, detail));
        }
    };
    let filter = EstimateFilter { q: text_of("q", list.q)?, tag: text_of("tag", list.tag)?, archived };
    Ok(paged(&uri, &http.pricing.estimates_find(&principal.tenant, &filter, after, limit).await?))
}

/// The last version of an estimate.
#[utoipa::path(
    get,
    path = "/v1/estimates/{estimate_id}",
    params(("estimate_id" = Uuid, Path, description = "Of the tenant.")),
    responses((status = 200, body = ShownVersion, description = "the version: what is said about it, its request, and its estimate as it was calculated", headers(("etag" = String, description = "of the version")))),
)]
pub(super) async fn show(
    State(http): State<Http>,
    Path(id): Path<String>,
    principal: Principal,
) -> Result<Response, Problem> {
    let saved = http.pricing.estimate_version(&principal.tenant, estimate_id_of(&id)?, None).await?;
    shown(&saved.ok_or_else(|| not_found("estimate", &id))?)
}

/// The versions of an estimate, oldest first.
///
/// What is said about each, and what it costs; the version itself has the breakdown.
#[utoipa::path(
    get,
    path = "/v1/estimates/{estimate_id}/versions",
    params(("estimate_id" = Uuid, Path, description = "Of the tenant."), Paging),
    responses((status = 200, body = Page<VersionRow>)),
)]
pub(super) async fn versions(
    State(http): State<Http>,
    Path(id): Path<String>,
    principal: Principal,
    uri: Uri,
    Parameters(paging): Parameters<Paging>,
) -> Result<Response, Problem> {
    let (limit, after) = page_of(paging.limit, paging.after)?;
    let estimate_id = estimate_id_of(&id)?;
    let page = http.pricing.estimate_versions(&principal.tenant, estimate_id, after, limit).await?;
    Ok(paged(&uri, &page.ok_or_else(|| not_found("estimate", &id))?))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Export {
    /// `json`, `csv` or `focus`; else what `Accept` names.
    #[param(pattern = "^(json|csv|focus)$")]
    format: Option<String>,
    /// Of CSV: `lines`, where it is left out, or `totals`.
    #[param(pattern = "^(lines|totals)$")]
    part: Option<String>,
    /// Of CSV: `en`, where it is left out, or `fr` (decimal comma, semicolon).
    #[param(pattern = "^(en|fr)$")]
    locale: Option<String>,
}

/// What a version is shown as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Lines(Locale),
    Totals(Locale),
    Focus(Locale),
}

impl Export {
    /// What the parameters ask for, or else the `Accept` header; else JSON.
    fn format(&self, headers: &HeaderMap) -> Result<Format, Problem> {
        let wrong = |detail: &str| Err(Problem::new(ProblemType::InvalidRequest, detail));
        let name = match self.format.as_deref() {
            Some(name) => name,
            None if prefers_csv(headers) => "csv",
            None => "json",
        };
        let Some(locale) = Locale::from_name(self.locale.as_deref().unwrap_or("en")) else {
            return wrong("locale: it is en (the default) or fr");
        };
        match (name, self.part.as_deref()) {
            ("json", None) if self.locale.is_none() => Ok(Format::Json),
            ("json", _) => wrong("part and locale are for format=csv and format=focus"),
            ("csv", None | Some("lines")) => Ok(Format::Lines(locale)),
            ("csv", Some("totals")) => Ok(Format::Totals(locale)),
            ("csv", Some(_)) => wrong("part: it is lines (the default) or totals"),
            ("focus", None) => Ok(Format::Focus(locale)),
            ("focus", Some(_)) => wrong("part is for format=csv"),
            _ => wrong("format: it is json (the default), csv or focus"),
        }
    }
}

/// Whether `Accept` names CSV and does not name JSON before it. Weights are not read: a client that has any sends `format`.
fn prefers_csv(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types = accepted
        .flat_map(|value| value.split(','))
        .map(|one| one.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    types.find(|one| one == "text/csv" || one == "application/json").as_deref() == Some("text/csv")
}

/// A version, as JSON, CSV or FOCUS.
///
/// The same bytes for ever.
#[utoipa::path(
    get,
    path = "/v1/estimates/{estimate_id}/versions/{version}",
    params(("estimate_id" = Uuid, Path, description = "Of the tenant."), ("version" = u32, Path, minimum = 1, description = "From 1."), Export),
    responses((
        status = 200,
        headers(("etag" = String, description = "of the version in this form")),
        content((ShownVersion = "application/json"), (String = "text/csv")),
    )),
)]
pub(super) async fn version(
    State(http): State<Http>,
    Path((id, version)): Path<(String, String)>,
    principal: Principal,
    headers: HeaderMap,
    Parameters(export): Parameters<Export>,
) -> Result<Response, Problem> {
    let (estimate_id, number) = (estimate_id_of(&id)?, version_of(&version)?);
    let format = export.format(&headers)?;
    let saved = http.pricing.estimate_version(&principal.tenant, estimate_id, Some(number)).await?;
    let saved = saved.ok_or_else(|| not_found("version", &version))?;
    let mut response = match format {
        Format::Json => shown(&saved)?,
        Format::Lines(locale) => csv(&saved, "csv", locale, export::lines(&saved.read()?, locale)?),
        Format::Totals(locale) => csv(&saved, "totals", locale, export::totals(&saved.read()?, locale)?),
        Format::Focus(locale) => {
            let body = export::focus(&saved.read()?, estimate_id, &principal.tenant, locale)?;
            csv(&saved, "focus", locale, body)
        }
    };
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("accept"));
    Ok(response)
}

fn csv(saved: &SavedVersion, format: &str, locale: Locale, body: Vec<u8>) -> Response {
    let (id, version, locale) = (saved.estimate_id, saved.version, locale.name());
    let disposition = format!("attachment; filename=\"estimate-{id}-v{version}-{format}.csv\"");
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
    ];
    with_etag((headers, body).into_response(), &format!("{version}-{format}-{locale}"))
}
