//! The guard before each route, and who asks, for its handler.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::limit::RateLimits;
use super::problem::{Problem, ProblemType};
use crate::access::{AccessError, Authority, Permission, Principal, Role};

/// What a route is guarded with.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) authority: Authority,
    pub(super) limits: RateLimits,
    pub(super) permission: Permission,
    pub(super) scope: Arc<str>,
}

/// Lets a request pass if its token is good, its role has the permission, and its key the scope.
pub(super) async fn guard(
    State(Guard { authority, limits, permission, scope }): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let principal = match known(&authority, request.headers()).await {
        Ok(principal) => principal,
        Err(problem) if problem.is(ProblemType::Unauthenticated) => {
            return limits.bad_token_from(peer(&request)).err().unwrap_or(problem).into_response();
        }
        Err(problem) => return problem.into_response(),
    };
    let headers = match limits.request_of(&principal) {
        Ok(headers) => headers,
        Err(problem) => return problem.into_response(),
    };
    let mut response = match admitted(&principal, permission, &scope) {
        Ok(()) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    response.headers_mut().extend(headers);
    response
}

/// Lets a request pass that shows a password or a token in its body, if not too many came from its address.
pub(super) async fn throttle(State(limits): State<RateLimits>, request: Request, next: Next) -> Response {
    let headers = match limits.credentials_from(peer(&request)) {
        Ok(headers) => headers,
        Err(problem) => return problem.into_response(),
    };
    let mut response = next.run(request).await;
    for (name, value) in &headers {
        // Those of the account come first.
        response.headers_mut().entry(name).or_insert_with(|| value.clone());
    }
    response
}

fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip())
}

async fn known(authority: &Authority, headers: &HeaderMap) -> Result<Principal, Problem> {
    authority.verify(bearer(headers)?).await.map_err(|error| match error {
        AccessError::Refused(detail) => {
            unauthenticated(detail, r#"Bearer realm="mercuriale", error="invalid_token""#)
        }
        AccessError::Unavailable(cause) => {
            tracing::error!(%cause, "tokens cannot be verified");
            Problem::new(
                ProblemType::Unavailable,
                "tokens cannot be verified for the moment; try again later",
            )
        }
    })
}

fn admitted(principal: &Principal, permission: Permission, scope: &str) -> Result<(), Problem> {
    if principal.role.may(permission) {
        let Some(scopes) = principal.scopes() else { return Ok(()) };
        if scopes.iter().any(|own| own == scope) {
            return Ok(());
        }
        let detail = format!("this needs the scope {scope}; the key's are {}", scopes.join(", "));
        // A scope is made of the path of a route, so it can be in a header.
        let challenge =
            format!(r#"Bearer realm="mercuriale", error="insufficient_scope", scope="{scope}""#).try_into();
        let problem = Problem::new(ProblemType::Forbidden, detail);
        return Err(match challenge {
            Ok(challenge) => problem.with_header(header::WWW_AUTHENTICATE, challenge),
            Err(_) => problem,
        });
    }
    let able: Vec<&str> = Role::ALL.into_iter().filter(|role| role.may(permission)).map(Role::name).collect();
    let detail = format!("this needs the role {}; the token's is {}", able.join(" or "), principal.role);
    let challenge = r#"Bearer realm="mercuriale", error="insufficient_scope""#;
    Err(Problem::new(ProblemType::Forbidden, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge)))
}

/// The token of `Authorization: Bearer` (RFC 6750, 2.1); tokens in URLs end up in logs and are not read.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let missing = |detail: &str| unauthenticated(detail, r#"Bearer realm="mercuriale""#);
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(missing("send a token: Authorization: Bearer TOKEN; `mercuriale token issue` makes one"));
    };
    let token = value.to_str().ok().and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    match (token, values.next()) {
        (Some(token), None) if !token.is_empty() => Ok(token),
        _ => Err(missing("the Authorization header has to be one, of the form: Bearer TOKEN")),
    }
}

pub(super) fn unauthenticated(detail: impl Into<String>, challenge: &'static str) -> Problem {
    Problem::new(ProblemType::Unauthenticated, detail)
        .with_header(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
}

impl<S: Send + Sync> FromRequestParts<S> for Principal {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // Only a route that needs nothing could lack it, and there is nobody to ask for there.
        parts.extensions.get().cloned().ok_or_else(|| unauthenticated("send a token", "Bearer"))
    }
}
