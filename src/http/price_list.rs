//! Prices of a place, all of them, as a file.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::TryStreamExt as _;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::Http;
use super::conditional::with_etag;
use super::page::{Parameters, text_of};
use super::prices::year_checked;
use super::problem::{Problem, ProblemType};
use crate::pricing::{ListFormat, Place, PriceExport, PriceExportError, PriceRow};

/// What is escaped in a query: all but the unreserved characters of RFC 3986, and the colons of times.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

impl From<PriceExportError> for Problem {
    fn from(error: PriceExportError) -> Self {
        match error {
            PriceExportError::Nothing { .. } => Self::new(ProblemType::NotFound, error.to_string()),
            PriceExportError::Future(_)
            | PriceExportError::NoPosition { .. }
            | PriceExportError::TooManyAttributes => {
                Self::new(ProblemType::InvalidRequest, error.to_string())
            }
            PriceExportError::Pricing(error) => error.into(),
        }
    }
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Export {
    /// `aws`, `azure`, ...
    #[param(required, example = "aws", min_length = 1, max_length = 500)]
    provider: Option<String>,
    /// AWS offer code or Azure service name; all, where it is left out.
    #[param(example = "AmazonEC2", max_length = 500)]
    service: Option<String>,
    /// Region code; all, where it is left out.
    #[param(example = "eu-west-3", max_length = 500)]
    region: Option<String>,
    /// Prices in force at this time in the world, of the years 2000 to 2199; now, where it is left out.
    as_of: Option<DateTime<Utc>>,
    /// As far as was known at this position of the ledger; the last one, where it is left out.
    #[param(minimum = 1)]
    known_at: Option<i64>,
    /// `csv`, where it is left out, or `json`.
    #[param(pattern = "^(csv|json)$")]
    format: Option<String>,
}

/// Every price that was in force in a place as of a time.
///
/// As the CSV that `mercuriale refresh --format csv` reads, or as one JSON object a line. The URL in `Content-Location` has
/// the same bytes for ever. A body that ends before its last chunk is not whole.
#[utoipa::path(
    get,
    path = "/v1/prices/export",
    params(Export),
    responses(
        (
            status = 200,
            description = "a list as docs/CSV.md describes it, or a price a line",
            headers(
                ("content-location" = String, description = "where the same bytes are, for ever"),
                ("content-disposition" = String, description = "a name for the file"),
                ("etag" = String, description = "of the position, the time and the form"),
            ),
            content((String = "text/csv"), (PriceRow = "application/x-ndjson")),
        ),
        (status = 404, description = "no price was in force there"),
    ),
)]
pub(super) async fn export(
    State(http): State<Http>,
    Parameters(export): Parameters<Export>,
) -> Result<Response, Problem> {
    let wrong = |detail: &str| Problem::new(ProblemType::InvalidRequest, detail);
    let format = match export.format.as_deref() {
        None | Some("csv") => ListFormat::Csv,
        Some("json") => ListFormat::Json,
        Some(_) => return Err(wrong("format: it is csv (the default) or json")),
    };
    let provider = text_of("provider", export.provider)?;
    let place = Place {
        provider: provider.ok_or_else(|| wrong("provider: name one, such as ?provider=aws"))?,
        service: text_of("service", export.service)?,
        region: text_of("region", export.region)?,
    };
    let as_of = export.as_of.map(year_checked).transpose()?;
    if export.known_at.is_some_and(|known_at| known_at < 1) {
        return Err(wrong("known_at: positions of the ledger begin with 1"));
    }
    let export = http.pricing.prices_export(place, format, as_of, export.known_at, Utc::now()).await?;
    Ok(file(export, format))
}

fn file(export: PriceExport, format: ListFormat) -> Response {
    let (name, ending, media_type) = match format {
        ListFormat::Csv => ("csv", "csv", "text/csv; charset=utf-8"),
        ListFormat::Json => ("json", "ndjson", "application/x-ndjson"),
    };
    let (as_of, known_at) = (export.as_of(), export.known_at());
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    let scope = export.place().scope().replace(|letter: char| !plain(letter), "-");
    let disposition = format!(
        "attachment; filename=\"prices-{scope}-{}-{known_at}.{ending}\"",
        as_of.format("%Y%m%dT%H%M%SZ")
    );
    let tag = format!("{known_at}-{}-{name}", as_of.timestamp_micros());
    let headers = [
        (header::CONTENT_TYPE, media_type.to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CONTENT_LOCATION, location(&export, name)),
    ];
    // What has been sent cannot be taken back: the connection is cut, so that the client sees that there should be more.
    let chunks = export.chunks().inspect_err(|error| tracing::error!(%error, "an export was cut off"));
    with_etag((headers, Body::from_stream(chunks)).into_response(), &tag)
}

/// The path and query that name this export for ever.
fn location(export: &PriceExport, format: &str) -> String {
    let place = export.place();
    let as_of = export.as_of().to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let known_at = export.known_at().to_string();
    let parameters = [
        ("provider", Some(place.provider.as_str())),
        ("service", place.service.as_deref()),
        ("region", place.region.as_deref()),
        ("as_of", Some(&as_of)),
        ("known_at", Some(&known_at)),
        ("format", Some(format)),
    ];
    let query: Vec<String> = parameters
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", utf8_percent_encode(value?, ESCAPED))))
        .collect();
    format!("/v1/prices/export?{}", query.join("&"))
}
