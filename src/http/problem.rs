//! Problem documents (RFC 9457).

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::domain::estimate::{InvalidRequest, Problem as Fault};
use crate::ledger::AppendError;
use crate::people::{Moved, PeopleError};
use crate::pricing::PricingError;

/// Media type of problem documents.
pub(super) const CONTENT_TYPE: &str = "application/problem+json";

/// Kinds of problems; their URNs never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemType {
    /// The request is not what the endpoint takes.
    InvalidRequest,
    /// The request is well formed, but cannot be answered from the ledger.
    UnanswerableEstimate,
    /// Nobody that is known asks.
    Unauthenticated,
    /// Who asks may not.
    Forbidden,
    /// Nothing here.
    NotFound,
    /// Not with this method.
    MethodNotAllowed,
    /// The state of things does not allow it.
    Conflict,
    /// Somebody else has changed it since.
    PreconditionFailed,
    /// Only with `If-Match`.
    PreconditionRequired,
    /// A larger body than is taken.
    BodyTooLarge,
    /// Not JSON.
    UnsupportedMediaType,
    /// More requests than a client may send.
    TooManyRequests,
    /// The service cannot answer now.
    Unavailable,
    /// A fault of the service.
    Internal,
}

impl ProblemType {
    /// All of them.
    pub(super) const ALL: [Self; 14] = [
        Self::InvalidRequest,
        Self::UnanswerableEstimate,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Conflict,
        Self::PreconditionFailed,
        Self::PreconditionRequired,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::TooManyRequests,
        Self::Unavailable,
        Self::Internal,
    ];

    /// The status of answers with it.
    pub(super) fn status(self) -> StatusCode {
        self.parts().2
    }

    fn parts(self) -> (&'static str, &'static str, StatusCode) {
        match self {
            Self::InvalidRequest => {
                ("urn:mercuriale:problem:invalid-request", "Invalid request", StatusCode::BAD_REQUEST)
            }
            Self::UnanswerableEstimate => (
                "urn:mercuriale:problem:unanswerable-estimate",
                "The estimate cannot be made",
                StatusCode::UNPROCESSABLE_ENTITY,
            ),
            Self::Unauthenticated => {
                ("urn:mercuriale:problem:unauthenticated", "Not authenticated", StatusCode::UNAUTHORIZED)
            }
            Self::Forbidden => ("urn:mercuriale:problem:forbidden", "Forbidden", StatusCode::FORBIDDEN),
            Self::NotFound => ("urn:mercuriale:problem:not-found", "Not found", StatusCode::NOT_FOUND),
            Self::MethodNotAllowed => (
                "urn:mercuriale:problem:method-not-allowed",
                "Method not allowed",
                StatusCode::METHOD_NOT_ALLOWED,
            ),
            Self::Conflict => ("urn:mercuriale:problem:conflict", "Conflict", StatusCode::CONFLICT),
            Self::PreconditionFailed => (
                "urn:mercuriale:problem:precondition-failed",
                "Changed meanwhile",
                StatusCode::PRECONDITION_FAILED,
            ),
            Self::PreconditionRequired => (
                "urn:mercuriale:problem:precondition-required",
                "If-Match is needed",
                StatusCode::PRECONDITION_REQUIRED,
            ),
            Self::BodyTooLarge => {
                ("urn:mercuriale:problem:body-too-large", "Body too large", StatusCode::PAYLOAD_TOO_LARGE)
            }
            Self::UnsupportedMediaType => (
                "urn:mercuriale:problem:unsupported-media-type",
                "Unsupported media type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            Self::TooManyRequests => (
                "urn:mercuriale:problem:too-many-requests",
                "Too many requests",
                StatusCode::TOO_MANY_REQUESTS,
            ),
            Self::Unavailable => {
                ("urn:mercuriale:problem:unavailable", "Unavailable", StatusCode::SERVICE_UNAVAILABLE)
            }
            Self::Internal => {
                ("urn:mercuriale:problem:internal", "Internal error", StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// A problem document.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// What kind of problem it is: a URN that never changes.
    #[serde(rename = "type")]
    #[schema(format = "uri", pattern = "^urn:mercuriale:problem:[a-z-]+$")]
    urn: &'static str,
    title: &'static str,
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// What to do.
    detail: String,
    /// What is wrong where, for requests with several parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    /// How many there are, where not all are listed.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors_total: Option<usize>,
    /// What a program needs to decide anew.
    // Left out of the schema, which would demand its fields of every problem; the route that answers it names them.
    #[serde(flatten)]
    #[schema(ignore)]
    moved: Option<Box<Moved>>,
    /// Headers that belong to it.
    #[serde(skip)]
    headers: Option<Box<HeaderMap>>,
}

impl Problem {
    /// A problem with a sentence that says what to do.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Self {
        let (urn, title, status) = kind.parts();
        Self {
            urn,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            errors_total: None,
            moved: None,
            headers: None,
        }
    }

    /// What kind of problem it is, for people.
    pub(super) fn title(&self) -> &'static str {
        self.title
    }

    /// Whether it is one of a kind.
    pub(super) fn is(&self, kind: ProblemType) -> bool {
        self.urn == kind.parts().0
    }

    /// The same with a header.
    #[must_use]
    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.get_or_insert_default().insert(name, value);
        self
    }

    /// A problem with the places at fault.
    pub fn with_faults(kind: ProblemType, invalid: InvalidRequest) -> Self {
        let detail = invalid.problems.first().map_or_else(String::new, ToString::to_string);
        let errors_total = (invalid.total > invalid.problems.len()).then_some(invalid.total);
        Self { errors: invalid.problems, errors_total, ..Self::new(kind, detail) }
    }

    /// A fault of the service, whose detail is in the log only.
    pub fn internal() -> Self {
        Self::new(
            ProblemType::Internal,
            "the service failed; the log has the detail under the x-request-id of this answer",
        )
    }
}

impl From<PricingError> for Problem {
    fn from(error: PricingError) -> Self {
        tracing::error!(%error, "a request failed");
        if error.is_unavailable() {
            Self::new(ProblemType::Unavailable, "the database cannot be reached; try again later")
        } else {
            Self::internal()
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Conflict { .. } | AppendError::KeyReused(_) => {
                Self::new(ProblemType::Conflict, error.to_string())
            }
            AppendError::Invalid(detail) => Self::new(ProblemType::InvalidRequest, detail),
            // Logged by the appender.
            AppendError::Database(error) => PricingError::Standing(error).into(),
            AppendError::Closed => {
                Self::new(ProblemType::Unavailable, "the service is stopping; try again later")
            }
        }
    }
}

impl From<PeopleError> for Problem {
    fn from(error: PeopleError) -> Self {
        match error {
            PeopleError::Invalid(invalid) => Self::with_faults(ProblemType::InvalidRequest, invalid),
            PeopleError::NotFound { .. } => Self::new(ProblemType::NotFound, error.to_string()),
            PeopleError::Forbidden(detail) => Self::new(ProblemType::Forbidden, detail),
            PeopleError::Conflict(detail) => Self::new(ProblemType::Conflict, detail),
            PeopleError::Moved(moved) => {
                Self { moved: Some(moved.clone()), ..Self::new(ProblemType::Conflict, moved.to_string()) }
            }
            PeopleError::Append(error) => error.into(),
            PeopleError::Database(error) => error.into(),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        PricingError::Database(error).into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).expect("a plain struct is JSON");
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.extend(self.headers.into_iter().flat_map(|headers| *headers));
        response
    }
}
