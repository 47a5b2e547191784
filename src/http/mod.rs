//! The HTTP face: thin handlers over [`Pricing`] and the refreshes; every error is a problem document (RFC 9457).
//!
//! A route cannot be added without saying who may use it: see `routes`.

mod access;
mod body;
mod compare;
mod conditional;
mod docs;
mod estimates;
mod events;
mod health;
mod keys;
mod limit;
mod logins;
mod openapi;
mod page;
mod policy;
mod price_list;
mod prices;
mod problem;
mod proposals;
mod refreshes;
mod saved;
mod scopes;
mod sessions;
mod users;
mod webhooks;

pub use limit::RateLimits;
pub use problem::{Problem, ProblemType};

use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse as _, Response};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use hyper_util::rt::TokioTimer;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::CorsLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use utoipa_axum::router::UtoipaMethodRouter;
use utoipa_axum::routes;

use crate::access::{Authority, Permission};
use crate::bus::Hub;
use crate::pricing::Pricing;
use crate::sources::live::OnDemand;
use crate::sources::refresh::Refresher;
use crate::webhooks::Webhooks;

/// The largest request body: 10,000 lines of ordinary length fit twice.
pub const MAX_BODY_BYTES: usize = 16 << 20;
/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a browser may remember what it may send.
const CORS_MAX_AGE: Duration = Duration::from_mins(10);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What handlers share.
#[derive(Debug, Clone)]
pub struct Http {
    /// Answers about prices.
    pub pricing: Pricing,
    /// For what is read without computing.
    pub pool: PgPool,
    /// For those who listen.
    pub hub: Hub,
    /// Writes to the ledger, and releases refreshes.
    pub refresher: Refresher,
    /// Fetches lists when asked to.
    pub on_demand: OnDemand,
    /// Webhooks of all tenants.
    pub webhooks: Webhooks,
    /// Knows whose a token is.
    pub authority: Authority,
    /// Counts requests of clients.
    pub limits: RateLimits,
    /// Whose pages may call this from a browser.
    pub cors_origins: Vec<HeaderValue>,
    /// Cancelled when the service stops, so that listeners let it.
    pub stopping: CancellationToken,
}

/// Who may use a route.
#[derive(Debug, Clone, Copy)]
enum Needs {
    /// Everybody, without a token.
    Nothing,
    /// Everybody who shows a password or another token in the body, but not too often.
    Credentials,
    /// Principals with this permission.
    A(Permission),
}

/// Every route, with what it needs. Path, method and documentation are those of its handler.
fn routes() -> Vec<(Needs, UtoipaMethodRouter<Http>)> {
    let (open, read) = (Needs::Nothing, Needs::A(Permission::Read));
    let (audit, admin) = (Needs::A(Permission::Audit), Needs::A(Permission::Administer));
    let work = Needs::A(Permission::Work);
    vec![
        (read, routes!(estimates::calculate)),
        (read, routes!(compare::consolidate)),
        (read, routes!(saved::list)),
        (work, routes!(saved::create)),
        (read, routes!(saved::show)),
        (work, routes!(saved::relabel)),
        (read, routes!(compare::diff)),
        (work, routes!(saved::update)),
        (read, routes!(saved::versions)),
        (read, routes!(saved::version)),
        (read, routes!(compare::what_if)),
        (read, routes!(prices::search)),
        (read, routes!(price_list::export)),
        (read, routes!(prices::show)),
        (read, routes!(prices::history)),
        (read, routes!(prices::observations)),
        (work, routes!(sessions::open)),
        (read, routes!(sessions::show)),
        (read, routes!(sessions::overrides)),
        (work, routes!(sessions::set, sessions::clear)),
        (work, routes!(proposals::submit)),
        (read, routes!(proposals::list)),
        (read, routes!(proposals::show)),
        (admin, routes!(proposals::approve)),
        (admin, routes!(proposals::reject)),
        (read, routes!(refreshes::list)),
        (admin, routes!(refreshes::start)),
        (read, routes!(refreshes::show)),
        (admin, routes!(refreshes::release)),
        (read, routes!(events::list)),
        (read, routes!(events::stream)),
        (read, routes!(policy::show)),
        (admin, routes!(policy::set)),
        (admin, routes!(keys::list, keys::create)),
        (admin, routes!(keys::revoke)),
        (admin, routes!(users::list, users::create)),
        (admin, routes!(users::change)),
        (admin, routes!(users::reset)),
        (Needs::Credentials, routes!(logins::set_password)),
        (Needs::Credentials, routes!(logins::issue)),
        (Needs::Credentials, routes!(logins::revoke)),
        (work, routes!(webhooks::list, webhooks::create)),
        (work, routes!(webhooks::show, webhooks::delete)),
        (work, routes!(webhooks::enable)),
        (work, routes!(webhooks::dead_letters)),
        (work, routes!(webhooks::replay)),
        (open, routes!(health::alive)),
        (open, routes!(health::ready)),
        (audit, routes!(health::metrics)),
        (open, routes!(docs::document)),
        (open, routes!(docs::page)),
        (open, routes!(docs::asset)),
    ]
}

/// How long a client may take to say what it wants.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// On a new connection.
    pub first_request: Duration,
    /// After the last answer. Gateways keep connections for a minute, and must not find them closed.
    pub next_request: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { first_request: Duration::from_secs(30), next_request: Duration::from_secs(75) }
    }
}

/// Serves until `stop`, then finishes what was accepted.
///
/// # Errors
/// The listener failed.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    patience: Patience,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let handle = Handle::new();
    // An event is a small packet, which the kernel would hold back until the listener has acknowledged the one before:
    // up to 40 ms.
    let mut server = axum_server::from_tcp(listener.into_std()?)?
        .acceptor(NoDelayAcceptor::new())
        .handle(handle.clone())
        .first_request_timeout(patience.first_request)
        .http1_only();
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(patience.next_request);
    let mut serving = pin!(server.serve(app.into_make_service_with_connect_info::<SocketAddr>()));
    tokio::select! {
        ended = &mut serving => return ended,
        () = stop => handle.graceful_shutdown(None),
    }
    serving.await
}

/// What pages of these origins may send and read. There are no cookies: a page has to have a token.
fn cors(origins: Vec<HeaderValue>) -> CorsLayer {
    let name = HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            name("idempotency-key"),
            name("last-event-id"),
        ])
        .expose_headers([
            header::CONTENT_DISPOSITION,
            header::CONTENT_LOCATION,
            header::ETAG,
            header::LINK,
            header::LOCATION,
            header::RETRY_AFTER,
            REQUEST_ID,
            limit::RATE_LIMIT,
            limit::RATE_LIMIT_POLICY,
        ])
        .max_age(CORS_MAX_AGE)
}

/// All routes, guarded.
pub fn router(state: Http) -> Router {
    let origins = state.cors_origins.clone();
    let router = routes()
        .into_iter()
        .fold(Router::new(), |router, (needs, (_, paths, methods))| {
            let path = paths.paths.keys().next().expect("the macro names one");
            let methods = match needs {
                Needs::Nothing => methods,
                Needs::Credentials => {
                    methods.route_layer(from_fn_with_state(state.limits.clone(), access::throttle))
                }
                Needs::A(permission) => {
                    let guard = access::Guard {
                        authority: state.authority.clone(),
                        limits: state.limits.clone(),
                        permission,
                        scope: scopes::scope_of(path, permission).into(),
                    };
                    methods.route_layer(from_fn_with_state(guard, access::guard))
                }
            };
            router.route(path, methods)
        })
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .with_state(state)
        .layer(from_fn(conditional::unless_known))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            tracing::error!("a handler panicked");
            Problem::internal().into_response()
        }))
        .layer(map_response(as_problem));
    let router = if origins.is_empty() { router } else { router.layer(cors(origins)) };
    router
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(TraceLayer::new_for_http().make_span_with(|request: &Request<_>| {
            let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
            tracing::info_span!("http", id, method = %request.method(), path = request.uri().path())
        }))
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
}

/// Turns errors of the layers and extractors that are not our own into problems.
async fn as_problem(response: Response) -> Response {
    let is_problem = response.headers().get(header::CONTENT_TYPE)
        == Some(&HeaderValue::from_static(problem::CONTENT_TYPE));
    match response.status() {
        status if is_problem || !(status.is_client_error() || status.is_server_error()) => response,
        StatusCode::SERVICE_UNAVAILABLE => {
            let detail = format!(
                "there was no answer within {} seconds; try again later, or ask for less at a time",
                REQUEST_TIMEOUT.as_secs()
            );
            Problem::new(ProblemType::Unavailable, detail).into_response()
        }
        status if status.is_client_error() => {
            Problem::new(ProblemType::InvalidRequest, "the path or a header is not readable text")
                .into_response()
        }
        _ => Problem::internal().into_response(),
    }
}

async fn no_such_route() -> Response {
    Problem::new(ProblemType::NotFound, "there is nothing at this path; see the README for those there are")
        .into_response()
}

async fn no_such_method() -> Response {
    Problem::new(
        ProblemType::MethodNotAllowed,
        "this path does not take that method; the Allow header lists those it does",
    )
    .into_response()
}
