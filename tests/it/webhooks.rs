//! Webhooks against a real receiver that checks signatures, fails, hangs, redirects and goes away.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mercuriale::access::{Role, tenant_transaction};
use mercuriale::domain::event::NewEvent;
use mercuriale::ledger::{self, Append, Origin};
use mercuriale::webhooks::{Deliverer, NewWebhook, Pace, Reach, Webhooks};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::service::{Refused, Service, refused};
use crate::support::{Database, TENANT, listed, moved};

/// A request that a hook got.
#[derive(Debug, Clone)]
struct Got {
    hook: String,
    headers: HeaderMap,
    body: String,
}

impl Got {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Subject of the event, such as `price/1`.
    fn subject(&self) -> String {
        self.event()["subject"].as_str().expect("a subject").to_owned()
    }
}

/// `None`: no answer, ever.
type Script = Box<dyn FnMut(&Got, usize) -> Option<Response> + Send>;

struct Hooks {
    got: Vec<Got>,
    script: Script,
}

/// A server of any number of hooks; it ends with the test's runtime.
#[derive(Clone)]
struct Receiver {
    url: String,
    hooks: Arc<Mutex<Hooks>>,
}

impl Receiver {
    /// Answers as the script says, which gets each request and how many came for its hook before it.
    async fn start(script: impl FnMut(&Got, usize) -> Option<Response> + Send + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let hooks = Hooks { got: Vec::new(), script: Box::new(script) };
        let receiver = Self { url, hooks: Arc::new(Mutex::new(hooks)) };
        let receive = async |State(receiver): State<Self>,
                             Path(hook): Path<String>,
                             headers: HeaderMap,
                             body: Bytes| {
            let body = String::from_utf8(body.to_vec()).expect("UTF-8");
            match receiver.take(Got { hook, headers, body }) {
                Some(response) => response,
                None => std::future::pending().await,
            }
        };
        let app =
            axum::Router::new().route("/{hook}", axum::routing::any(receive)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    fn lock(&self) -> MutexGuard<'_, Hooks> {
        self.hooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, got: Got) -> Option<Response> {
        let mut hooks = self.lock();
        let before = hooks.got.iter().filter(|other| other.hook == got.hook).count();
        let response = (hooks.script)(&got, before);
        hooks.got.push(got);
        response
    }

    fn got(&self, hook: &str) -> Vec<Got> {
        self.lock().got.iter().filter(|got| got.hook == hook).cloned().collect()
    }

    fn subjects(&self, hook: &str) -> Vec<String> {
        self.got(hook).iter().map(Got::subject).collect()
    }

    /// Waits until a hook got so many requests.
    async fn wait_for(&self, hook: &str, count: usize) -> Vec<Got> {
        wait(format!("{count} requests for {hook}"), async || {
            let got = self.got(hook);
            (got.len() >= count).then_some(got)
        })
        .await
    }
}

/// Waits for a condition, for a minute.
async fn wait<T>(what: String, condition: impl AsyncFn() -> Option<T>) -> T {
    let met = async {
        loop {
            if let Some(met) = condition().await {
                return met;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), met)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

fn ok() -> Option<Response> {
    status(StatusCode::NO_CONTENT)
}

#[expect(clippy::unnecessary_wraps, reason = "as scripts answer")]
fn status(status: StatusCode) -> Option<Response> {
    Some(status.into_response())
}

/// Without long waits; nothing is given up within a test unless it says so.
fn pace() -> Pace {
    Pace {
        timeout: Duration::from_secs(20),
        first_delay: Duration::from_millis(20),
        max_delay: Duration::from_millis(200),
        give_up_after: Duration::from_hours(24),
    }
}

/// A deliverer; ends with the value.
struct Delivering(JoinHandle<()>);

impl Delivering {
    async fn start(database: &Database, reach: Reach, pace: Pace) -> Self {
        let ledger_id = ledger::id(&database.pool).await.expect("an id");
        let deliverer = Deliverer::new(database.pool.clone(), ledger_id, reach, pace).expect("a client");
        Self(tokio::spawn(deliverer.run()))
    }
}

impl Drop for Delivering {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn create(service: &Service, request: &Value) -> Value {
    let response = post(service, "/v1/webhooks", request).await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let place = response.headers()["location"].to_str().expect("text").to_owned();
    let created: Value = response.json().await.expect("JSON");
    assert_eq!(place, format!("/v1/webhooks/{}", created["webhook_id"].as_str().expect("an id")));
    created
}

async fn post(service: &Service, path: &str, request: &Value) -> reqwest::Response {
    service.client.post(format!("{}{path}", service.url)).json(request).send().await.expect("an answer")
}

async fn refused_webhook(service: &Service, request: &Value) -> Refused {
    refused(post(service, "/v1/webhooks", request).await).await
}

fn path_of(webhook: &Value) -> String {
    format!("/v1/webhooks/{}", webhook["webhook_id"].as_str().expect("an id"))
}

/// Checks a request as Standard Webhooks say.
fn assert_signed(got: &Got, webhook: &Value) {
    let header = |name: &str| got.headers[name].to_str().expect("text");
    let secret = webhook["secret"].as_str().expect("a secret").strip_prefix("whsec_").expect("its prefix");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &STANDARD.decode(secret).expect("base64"));
    let signed = format!("{}.{}.{}", header("webhook-id"), header("webhook-timestamp"), got.body);
    let tag =
        STANDARD.decode(header("webhook-signature").strip_prefix("v1,").expect("version 1")).expect("base64");
    ring::hmac::verify(&key, signed.as_bytes(), &tag).expect("the signature holds");
    let sent: i64 = header("webhook-timestamp").parse().expect("seconds");
    assert!((chrono::Utc::now().timestamp() - sent).abs() < 120);
    assert_eq!(header("content-type"), "application/cloudevents+json");
    assert_eq!(got.event()["id"], header("webhook-id"));
}

async fn append_of(database: &Database, tenant: &str, stream: &str) {
    let origin = Origin {
        actor: "user:ada".into(),
        tenant: tenant.into(),
        correlation_id: Uuid::now_v7(),
        causation_id: None,
    };
    let data = json!({"v": 1, "price_id": 1, "amount": "3", "reason": "ours"});
    let event = NewEvent::new(stream.to_owned(), "override.set", &data);
    let append = Append { origin, events: vec![event], idempotency: None };
    database.appender.append(append).await.expect("appended");
}

#[tokio::test]
async fn a_webhook_is_told_signed_and_in_order_what_its_tenant_may_see_and_it_wants() {
    let (service, receiver) = (Service::new().await, Receiver::start(|_, _| ok()).await);
    let database = &service.database;
    database.append(vec![listed(1, "1")]).await.expect("appended");
    let all = create(&service, &json!({"url": format!("{}/all", receiver.url)})).await;
    let some = create(
        &service,
        &json!({"url": format!("{}/some", receiver.url), "event_types": ["price.changed", "override.set"],
                "region": "region-2", "price_id": 2}),
    )
    .await;
    assert_ne!(all["secret"], some["secret"]);
    let _delivering = Delivering::start(database, Reach::Private, pace()).await;
    database.append(vec![listed(2, "1"), listed(3, "1")]).await.expect("appended");
    let own = format!("session/{}", Uuid::new_v4());
    append_of(database, "stranger", &format!("session/{}", Uuid::new_v4())).await;
    append_of(database, TENANT, &own).await;
    let change = |price_id| moved(price_id, "price.changed", Some("2"));
    let appended = database.append(vec![change(3), change(2), change(1)]).await.expect("appended");

    let got = receiver.wait_for("all", 6).await;
    assert_eq!(
        receiver.subjects("all"),
        ["price/2", "price/3", &own, "price/3", "price/2", "price/1"],
        "from when it was made, without what is another tenant's"
    );
    for got in &got {
        assert_signed(got, &all);
    }
    let last = got[5].event();
    assert_eq!(last["id"], appended[2].event_id.to_string());
    assert_eq!((&last["specversion"], &last["type"]), (&json!("1.0"), &json!("price.changed")));
    assert_eq!(last["sequence"], format!("{:020}", appended[2].position));
    assert_eq!(last["data"]["amount"], "2");
    let got = receiver.wait_for("some", 1).await;
    assert_signed(&got[0], &some);
    wait("both to be done".to_owned(), async || {
        let shown = service.get("/v1/webhooks").await;
        let done = |webhook: &Value| webhook["position"] == appended[2].position;
        shown["items"].as_array().expect("items").iter().all(done).then_some(())
    })
    .await;
    assert_eq!(receiver.subjects("some"), ["price/2"]);
    // The secret is not to be had again.
    assert!(!service.get("/v1/webhooks").await.to_string().contains("secret"));
    assert!(service.get(&path_of(&all)).await.get("secret").is_none());
}

#[tokio::test]
async fn one_that_fails_or_hangs_is_tried_again_in_order_and_holds_up_no_other() {
    let receiver = Receiver::start(|got, before| match (got.hook.as_str(), before) {
        ("hangs", _) => None,
        // A body without end is not waited for.
        ("endless", _) => {
            let body = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
            Some(Body::from_stream(body).into_response())
        }
        ("stumbles", 0 | 1 | 3) => status(StatusCode::INTERNAL_SERVER_ERROR),
        _ => ok(),
    })
    .await;
    let service = Service::new().await;
    let hangs = create(&service, &json!({"url": format!("{}/hangs", receiver.url)})).await;
    let stumbles = create(&service, &json!({"url": format!("{}/stumbles", receiver.url)})).await;
    create(&service, &json!({"url": format!("{}/endless", receiver.url)})).await;
    let slow = Pace { timeout: Duration::from_mins(5), ..pace() };
    let _delivering = Delivering::start(&service.database, Reach::Private, slow).await;
    service.database.append((1..=40).map(|id| listed(id, "1")).collect()).await.expect("appended");
    let expected: Vec<String> = (1..=40).map(|id| format!("price/{id}")).collect();
    receiver.wait_for("endless", 40).await;
    assert_eq!(receiver.subjects("endless"), expected);
    let got = receiver.wait_for("stumbles", 43).await;
    let mut tried = expected.clone();
    tried.splice(0..2, ["price/1", "price/1", "price/1", "price/2", "price/2"].map(str::to_owned));
    assert_eq!(receiver.subjects("stumbles"), tried);
    assert_eq!(got[0].headers["webhook-id"], got[2].headers["webhook-id"]);
    // Recovered, and the one that hangs still waits for its first answer.
    let recovered = wait("a recovery".to_owned(), async || {
        let shown = service.get(&path_of(&stumbles)).await;
        (shown["position"] == 40).then_some(shown)
    })
    .await;
    assert_eq!((&recovered["failing_since"], &recovered["last_error"]), (&Value::Null, &Value::Null));
    assert_eq!(receiver.subjects("hangs"), ["price/1"]);
    assert_eq!(service.get(&path_of(&hangs)).await["position"], 0);
}

#[tokio::test]
async fn what_cannot_be_delivered_is_given_up_kept_and_replayed() {
    let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_up = Arc::clone(&up);
    let receiver = Receiver::start(move |_, _| {
        if is_up.load(std::sync::atomic::Ordering::SeqCst) { ok() } else { status(StatusCode::BAD_GATEWAY) }
    })
    .await;
    let service = Service::new().await;
    let webhook = create(&service, &json!({"url": format!("{}/hook", receiver.url)})).await;
    let impatient = Pace { give_up_after: Duration::ZERO, ..pace() };
    let _delivering = Delivering::start(&service.database, Reach::Private, impatient).await;
    service.database.append((1..=3).map(|id| listed(id, "1")).collect()).await.expect("appended");
    let path = format!("{}/dead-letters", path_of(&webhook));
    let letters = wait("three dead letters".to_owned(), async || {
        let page = service.get(&path).await;
        (page["items"].as_array().expect("items").len() == 3).then_some(page)
    })
    .await;
    let first = &letters["items"][0];
    assert_eq!((&first["position"], &first["stream"]), (&json!(1), &json!("price/1")));
    assert_eq!(first["error"], "the target answered 502 Bad Gateway");
    assert_eq!(service.get(&format!("{path}?limit=2")).await["items"].as_array().expect("items").len(), 2);
    let shown = service.get(&path_of(&webhook)).await;
    assert_eq!((&shown["dead_letters"], &shown["position"]), (&json!(3), &json!(3)));

    // In vain first, then not.
    let before = receiver.got("hook").len();
    let replay = async || {
        let response = post(&service, &format!("{path}/replay"), &json!({})).await;
        assert_eq!(response.status(), 202);
        response.json::<Value>().await.expect("JSON")["replaying"].clone()
    };
    assert_eq!(replay().await, 3);
    receiver.wait_for("hook", before + 3).await;
    wait("the end of the replay".to_owned(), async || {
        let page = service.get(&path).await;
        let items = page["items"].as_array().expect("items");
        (items.len() == 3 && items.iter().all(|letter| letter["replaying"] == false)).then_some(())
    })
    .await;
    up.store(true, std::sync::atomic::Ordering::SeqCst);
    let before = receiver.got("hook").len();
    assert_eq!(replay().await, 3);
    let got = receiver.wait_for("hook", before + 3).await;
    let replayed: Vec<String> = got[before..].iter().map(Got::subject).collect();
    assert_eq!(replayed, ["price/1", "price/2", "price/3"]);
    for got in &got[before..] {
        assert_signed(got, &webhook);
    }
    wait("no dead letters".to_owned(), async || {
        (service.get(&path).await["items"] == json!([])).then_some(())
    })
    .await;
    service.database.append(vec![listed(4, "1")]).await.expect("appended");
    assert_eq!(receiver.wait_for("hook", before + 4).await[before + 3].subject(), "price/4");
}

#[tokio::test]
async fn a_target_that_is_gone_is_left_alone_and_a_redirect_leads_nowhere() {
    let receiver = Receiver::start(|got, before| match got.hook.as_str() {
        "gone" if before == 0 => status(StatusCode::GONE),
        "moved" => Some(axum::response::Redirect::permanent("/elsewhere").into_response()),
        _ => ok(),
    })
    .await;
    let service = Service::new().await;
    let gone = create(&service, &json!({"url": format!("{}/gone", receiver.url)})).await;
    let moved = create(&service, &json!({"url": format!("{}/moved", receiver.url)})).await;
    let _delivering = Delivering::start(&service.database, Reach::Private, pace()).await;
    service.database.append(vec![listed(1, "1"), listed(2, "1")]).await.expect("appended");
    receiver.wait_for("moved", 3).await;
    assert_eq!(receiver.subjects("moved")[..3], ["price/1", "price/1", "price/1"]);
    assert!(receiver.got("elsewhere").is_empty());
    let shown = service.get(&path_of(&moved)).await;
    let error = shown["last_error"].as_str().expect("an error");
    assert!(error.contains("308") && error.contains("not followed"), "{error}");
    let shown = wait("the webhook to be disabled".to_owned(), async || {
        let shown = service.get(&path_of(&gone)).await;
        shown["disabled_why"].is_string().then_some(shown)
    })
    .await;
    assert_eq!(shown["disabled_why"], "the target answered 410 Gone");
    assert_eq!(receiver.got("gone").len(), 1);
    let replay = post(&service, &format!("{}/dead-letters/replay", path_of(&gone)), &json!({})).await;
    assert_eq!(refused(replay).await.status, 400);
    // Until somebody enables it, and then nothing is missing.
    for _ in 0..2 {
        let enabled = post(&service, &format!("{}/enable", path_of(&gone)), &json!({})).await;
        assert_eq!(enabled.status(), 200);
        assert_eq!(enabled.json::<Value>().await.expect("JSON")["disabled_why"], Value::Null);
    }
    receiver.wait_for("gone", 3).await;
    assert_eq!(receiver.subjects("gone"), ["price/1", "price/1", "price/2"]);
}

#[tokio::test]
async fn deliverers_that_are_killed_lose_nothing() {
    const EVENTS: i64 = 60;
    let receiver = Receiver::start(|_, before| if [3, 11, 19].contains(&before) { None } else { ok() }).await;
    let service = Service::new().await;
    create(&service, &json!({"url": format!("{}/hook", receiver.url)})).await;
    let append = async |ids: std::ops::RangeInclusive<i64>| {
        service.database.append(ids.map(|id| listed(id, "1")).collect()).await.expect("appended");
    };
    append(1..=EVENTS / 2).await;
    // Each is killed after it has sent an event and before it knows what became of it.
    for reached in [4, 12, 20] {
        let delivering = Delivering::start(&service.database, Reach::Private, pace()).await;
        receiver.wait_for("hook", reached).await;
        drop(delivering);
    }
    append(EVENTS / 2 + 1..=EVENTS).await;
    let _delivering = Delivering::start(&service.database, Reach::Private, pace()).await;
    let last = format!("price/{EVENTS}");
    wait("the last event".to_owned(), async || receiver.subjects("hook").contains(&last).then_some(())).await;
    assert_eq!(receiver.got("hook").len(), usize::try_from(EVENTS).expect("a count") + 3);
    // At least once each, and in order but for what was sent again.
    let mut seen = std::collections::HashSet::new();
    let mut subjects = receiver.subjects("hook");
    subjects.retain(|subject| seen.insert(subject.clone()));
    assert_eq!(subjects, (1..=EVENTS).map(|id| format!("price/{id}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn private_addresses_are_refused_when_made_and_at_each_connection() {
    let database = Database::new().await;
    // Counts connections, whatever is said on them.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (public, private) = (
        Webhooks::new(database.pool.clone(), Reach::Public),
        Webhooks::new(database.pool.clone(), Reach::Private),
    );
    let new = |url: String| NewWebhook { url, ..NewWebhook::default() };
    for url in [
        format!("http://localhost:{port}/"),
        format!("https://127.0.0.1:{port}/"),
        "https://[::1]/".to_owned(),
    ] {
        let error = public.create(TENANT, "user:ada", &new(url)).await.expect_err("refused").to_string();
        assert!(error.starts_with("url: "), "{error}");
    }
    // A name may point anywhere; and the setting may have been another when these were made.
    let named =
        public.create(TENANT, "user:ada", &new(format!("https://localhost:{port}/"))).await.expect("made").0;
    let literal =
        private.create(TENANT, "user:ada", &new(format!("http://127.0.0.1:{port}/"))).await.expect("made").0;
    let mapped = format!("https://[::ffff:127.0.0.1]:{port}/");
    let mapped = private.create(TENANT, "user:ada", &new(mapped)).await.expect("made").0;
    let _delivering = Delivering::start(&database, Reach::Public, pace()).await;
    database.append(vec![listed(1, "1")]).await.expect("appended");
    for (webhook, expected) in [
        (named, "is not an address of the public internet"),
        (literal, "does not begin with https://"),
        (mapped, "is not an address of the public internet"),
    ] {
        let error = wait("an attempt".to_owned(), async || {
            let row = public.get(TENANT, webhook.webhook_id).await.expect("a query").expect("a webhook");
            (row.attempts > 0).then_some(row.last_error).flatten()
        })
        .await;
        assert!(error.contains(expected), "{error}");
    }
    let connected = tokio::time::timeout(Duration::from_millis(10), listener.accept()).await;
    assert!(connected.is_err(), "nobody may have connected");
}

#[tokio::test]
async fn webhooks_belong_to_their_tenant_and_bad_ones_are_refused() {
    let service = Service::new().await;
    let webhook = create(&service, &json!({"url": "https://example.org/hook", "provider": "aws"})).await;
    let own = path_of(&webhook);
    let stranger = service.client_of("stranger", Role::Admin);
    let answer = async |client: &reqwest::Client, method: Method, path: &str| {
        client
            .request(method, format!("{}{path}", service.url))
            .send()
            .await
            .expect("an answer")
            .status()
            .as_u16()
    };
    for (method, path) in [
        (Method::GET, own.clone()),
        (Method::DELETE, own.clone()),
        (Method::GET, format!("{own}/dead-letters")),
        (Method::POST, format!("{own}/dead-letters/replay")),
    ] {
        assert_eq!(answer(&stranger, method.clone(), &path).await, 404, "{method} {path}");
        let viewer = service.client_of(TENANT, Role::Viewer);
        assert_eq!(answer(&viewer, method.clone(), &path).await, 403, "{method} {path}");
    }
    let listed: Value = stranger
        .get(format!("{}/v1/webhooks", service.url))
        .send()
        .await
        .expect("an answer")
        .json()
        .await
        .expect("JSON");
    assert_eq!(listed["items"], json!([]));
    // The second wall: another tenant has no rows, and no tenant can read a secret.
    let count = async |tenant: &str| -> i64 {
        let mut transaction = tenant_transaction(&service.database.pool, tenant).await.expect("begins");
        sqlx::query_scalar("select count(webhook_id) from webhooks")
            .fetch_one(&mut *transaction)
            .await
            .expect("a count")
    };
    assert_eq!((count("stranger").await, count(TENANT).await), (0, 1));
    let mut transaction = tenant_transaction(&service.database.pool, TENANT).await.expect("begins");
    let secret = sqlx::query("select secret from webhooks").fetch_one(&mut *transaction).await;
    assert!(secret.is_err_and(|error| error.to_string().contains("permission denied")));

    for (request, expected) in [
        (json!({}), "missing field `url`"),
        (json!({"url": "example.org"}), "url: this is not a URL"),
        (json!({"url": "ftp://example.org/"}), "begins neither with https://"),
        (json!({"url": "https://u:p@example.org/"}), "user name or password"),
        (json!({"url": "https://example.org/", "event_types": []}), "event_types: name 1 to 50"),
        (json!({"url": "https://example.org/", "service": ""}), "service: a text has 1 to 500 bytes"),
        (json!({"url": "https://example.org/", "price_id": 0}), "price_id: 0 is no id"),
        (json!({"url": "https://example.org/", "secret": "mine"}), "unknown field `secret`"),
    ] {
        let refused = refused_webhook(&service, &request).await;
        let detail = refused.problem["detail"].as_str().expect("a text");
        assert!(refused.status == 400 && detail.contains(expected), "{request}: {detail}");
    }
    for _ in 1..20 {
        create(&service, &json!({"url": "https://example.org/hook"})).await;
    }
    let refused = refused_webhook(&service, &json!({"url": "https://example.org/hook"})).await;
    assert!(refused.problem["detail"].as_str().expect("a text").contains("delete one first"));
    assert_eq!(answer(&service.client, Method::DELETE, &own).await, 204);
    assert_eq!(answer(&service.client, Method::DELETE, &own).await, 404);
    create(&service, &json!({"url": "https://example.org/hook"})).await;
}
