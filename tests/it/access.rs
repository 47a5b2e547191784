//! Who is let in, to what, and what tokens have to be.

use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mercuriale::access::{Authority, JwtSettings, Principal, Role, TokenSecret};
use mercuriale::ledger::{Append, Origin};
use reqwest::RequestBuilder;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::program::{Ran, Started, command, serve};
use crate::service::{Refused, Service, refused};
use crate::support::{JWT_SECRET, TENANT, listed, token};

/// 2100-01-01.
const FAR: i64 = 4_102_444_800;
/// A key and a token that `openssl` made with it, for the issuer `https://id.example.org` and the audience `prices`.
const RSA_KEY: &str = include_str!("../fixtures/access/rs256.jwk.json");
const RSA_TOKEN: &str = include_str!("../fixtures/access/rs256.jwt");

fn signed(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(sign(message.as_bytes())))
}

fn hs256(secret: &[u8], header: &Value, claims: &Value) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    signed(header, claims, |message| hmac::sign(&key, message).as_ref().to_vec())
}

fn claims() -> Value {
    json!({"sub": "ada", "tenant": TENANT, "role": "viewer", "exp": FAR})
}

fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

/// An Ed25519 key of an identity provider.
struct Provider(Ed25519KeyPair);

impl Provider {
    fn new() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self(Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("a key"))
    }

    fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn jwk(&self, id: &str) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": URL_SAFE_NO_PAD.encode(self.public())})
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        let header = json!({"alg": "EdDSA", "kid": id});
        signed(&header, claims, |message| self.0.sign(message).as_ref().to_vec())
    }
}

async fn sent(request: RequestBuilder) -> Refused {
    let response = request.send().await.expect("an answer");
    let challenge =
        response.headers().get("www-authenticate").map(|value| value.to_str().expect("text").to_owned());
    let refused = refused(response).await;
    assert_eq!(challenge.is_some(), matches!(refused.status, 401 | 403), "{refused:?}");
    if let Some(challenge) = challenge {
        assert!(challenge.starts_with("Bearer realm=\"mercuriale\""), "{challenge}");
        assert_eq!(refused.kind(), if refused.status == 401 { "unauthenticated" } else { "forbidden" });
    }
    refused
}

/// How a token is refused, if it is.
async fn refusal(service: &Service, token: &str) -> Option<Refused> {
    let request =
        reqwest::Client::new().get(format!("{}/v1/discount-policy", service.url)).bearer_auth(token);
    let response = request.try_clone().expect("no body").send().await.expect("an answer");
    if response.status() == 200 { None } else { Some(sent(request).await) }
}

#[tokio::test]
async fn nobody_gets_in_without_a_good_token() {
    let service = Service::new().await;
    let anonymous = reqwest::Client::new();
    let head = anonymous.head(format!("{}/v1/prices", service.url)).send().await.expect("an answer");
    assert_eq!(head.status(), 401);
    let get = || anonymous.get(format!("{}/v1/prices", service.url));
    for header in ["Basic YTpi", "Bearer", "Bearer ", "bearer\u{9}x", "Token x"] {
        let refused = sent(get().header("authorization", header)).await;
        assert_eq!(refused.status, 401, "{header}");
    }
    let good = token(&service.authority, TENANT, Role::Viewer);
    let twice = get().bearer_auth(&good).header("authorization", format!("Bearer {good}"));
    assert_eq!(sent(twice).await.status, 401);
    // The scheme has no case (RFC 9110, 11.1).
    let response = get().header("authorization", format!("bEARER {good}")).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_token_is_taken_only_if_all_of_it_holds() {
    let service = Service::new().await;
    let secret = JWT_SECRET.as_bytes();
    let header = json!({"alg": "HS256", "typ": "JWT"});
    let with = |name: &str, value: Value| hs256(secret, &header, &claims_with(name, value));
    let without = |name: &str| {
        let mut claims = claims();
        claims.as_object_mut().expect("an object").remove(name);
        hs256(secret, &header, &claims)
    };
    let now = chrono::Utc::now().timestamp();
    assert!(refusal(&service, &hs256(secret, &header, &claims())).await.is_none());
    // Clocks may be a little apart.
    assert!(refusal(&service, &with("exp", json!(now - 5))).await.is_none());
    let good = hs256(secret, &header, &claims());
    let (message, signature) = good.rsplit_once('.').expect("three parts");
    let other_claims = with("role", json!("admin"));
    let (other_message, _) = other_claims.rsplit_once('.').expect("three parts");
    for (bad, text) in [
        ("x".to_owned(), "not a JWT"),
        ("a.b.c".to_owned(), "not a JWT"),
        (format!("{message}."), "does not hold"),
        (message.to_owned(), "not a JWT"),
        (format!("{other_message}.{signature}"), "does not hold"),
        (hs256(b"another secret of thirty-two bytes", &header, &claims()), "does not hold"),
        (signed(&json!({"alg": "none"}), &claims(), |_| Vec::new()), "not a JWT"),
        (hs256(secret, &json!({"alg": "HS512"}), &claims()), "not taken here"),
        (hs256(secret, &json!({"alg": "RS256"}), &claims()), "not taken here"),
        (RSA_TOKEN.to_owned(), "not taken here"),
        (hs256(secret, &json!({"alg": "HS256", "crit": ["b64"], "b64": false}), &claims()), "crit"),
        (with("exp", json!(now - 3_600)), "has expired"),
        (with("nbf", json!(now + 3_600)), "not valid yet"),
        (without("exp"), "exp"),
        (without("sub"), "sub"),
        (without("tenant"), "tenant"),
        (without("role"), "role"),
        (with("role", json!("root")), "not a role"),
        (with("role", json!(["admin"])), "role"),
        (with("tenant", json!("shared")), "means everybody"),
        (with("tenant", json!("a/b")), "the tenant needs"),
        (with("sub", json!("")), "the subject needs"),
        (with("more", json!("x".repeat(9_000))), "longer than"),
    ] {
        let shown: String = bad.chars().take(300).collect();
        let refused = refusal(&service, &bad).await.unwrap_or_else(|| panic!("{shown} was taken"));
        assert_eq!(refused.status, 401, "{shown}");
        let detail = refused.problem["detail"].as_str().expect("text");
        assert!(detail.contains(text), "{shown}: {detail}");
        assert!(!detail.contains(JWT_SECRET) && !detail.contains(signature), "{detail}");
    }
}

#[tokio::test]
async fn what_is_about_the_whole_service_is_for_auditors_and_administrators() {
    let service = Service::new().await;
    for (role, status) in
        [(Role::Viewer, 403), (Role::Analyst, 403), (Role::Admin, 200), (Role::Auditor, 200)]
    {
        let request = service.client_of(TENANT, role).get(format!("{}/metrics", service.url));
        let response = request.try_clone().expect("no body").send().await.expect("an answer");
        assert_eq!(response.status(), status, "{role}");
        if status == 403 {
            let detail = sent(request).await.problem["detail"].as_str().expect("text").to_owned();
            assert!(detail.contains("admin or auditor") && detail.contains(role.name()), "{detail}");
        }
    }
}

#[tokio::test]
async fn events_of_other_tenants_are_not_seen() {
    let service = Service::new().await;
    let append = async |tenant: &str, price_id: i64| {
        let origin = Origin { tenant: tenant.into(), ..Origin::shared("test", Uuid::now_v7()) };
        let append = Append { origin, events: vec![listed(price_id, "1")], idempotency: None };
        service.database.appender.append(append).await.expect("appends");
    };
    for (price_id, tenant) in [(1, "shared"), (2, "acme"), (3, "other"), (4, "acme"), (5, "shared")] {
        append(tenant, price_id).await;
    }
    for (tenant, expected, after_two) in
        [("acme", &[1, 2, 4, 5][..], &[4, 5][..]), ("other", &[1, 3, 5], &[3, 5]), ("third", &[1, 5], &[5])]
    {
        for role in Role::ALL {
            let client = service.client_of(tenant, role);
            let get = async |query: &str| {
                let url = format!("{}/v1/events{query}", service.url);
                let page: Value = client.get(url).send().await.expect("answers").json().await.expect("JSON");
                let items = page["items"].as_array().expect("items");
                items.iter().map(|event| event["position"].as_i64().expect("a position")).collect::<Vec<_>>()
            };
            assert_eq!(get("").await, expected, "{tenant} {role}");
            assert_eq!(get("?type=price.listed&after=2").await, after_two, "{tenant} {role}");
            assert_eq!(get("?stream=price/3").await.len(), usize::from(tenant == "other"), "{tenant} {role}");
        }
    }
    for tenant in ["acme", "other", "third"] {
        // What was recorded, and what is recorded meanwhile.
        let url = format!("{}/v1/events/stream?after=0", service.url);
        let mut stream = service.client_of(tenant, Role::Viewer).get(url).send().await.expect("answers");
        let last = mercuriale::ledger::head(&service.database.pool).await.expect("reads");
        append("fourth", last + 1).await;
        append("shared", last + 2).await;
        let mut text = String::new();
        while !text.contains(&format!("id: {}\n", last + 2)) {
            let chunk = tokio::time::timeout(Duration::from_mins(1), stream.chunk()).await.expect("in time");
            text.push_str(std::str::from_utf8(&chunk.expect("reads").expect("goes on")).expect("UTF-8"));
        }
        for foreign in ["acme", "other", "fourth"].into_iter().filter(|foreign| *foreign != tenant) {
            assert!(!text.contains(&format!("\"tenant\":\"{foreign}\"")), "{tenant}: {text}");
        }
        assert_eq!(text.contains(&format!("\"tenant\":\"{tenant}\"")), tenant != "third");
    }
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let service = Service::new().await;
    let principal = Principal::new(TENANT, "ada", Role::Viewer).expect("a principal");
    let (token, _) = service.authority.issue(&principal, Duration::from_secs(1));
    let request = reqwest::Client::new().get(format!("{}/v1/events/stream", service.url)).bearer_auth(token);
    let mut stream = request.send().await.expect("answers");
    assert_eq!(stream.status(), 200);
    let to_the_end = async { while stream.chunk().await.expect("reads").is_some() {} };
    tokio::time::timeout(Duration::from_mins(1), to_the_end).await.expect("it ends");
}

#[tokio::test]
async fn tokens_of_an_identity_provider_are_taken_by_its_keys() {
    let (old, new) = (Provider::new(), Provider::new());
    let rsa: Value = serde_json::from_str(RSA_KEY).expect("JSON");
    let published = std::sync::Arc::new(std::sync::Mutex::new(Some(json!({"keys": [old.jwk("1"), rsa]}))));
    let answering = published.clone();
    let keys = axum::Router::new().route(
        "/keys",
        axum::routing::get(async move || {
            let set = answering.lock().expect("not poisoned").clone();
            set.map(axum::Json).ok_or(axum::http::StatusCode::INTERNAL_SERVER_ERROR)
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let place = format!("http://{}/keys", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, keys).await.expect("serves") });
    let settings = JwtSettings {
        jwks: Some(place),
        issuer: Some("https://id.example.org".to_owned()),
        audience: Some("prices".to_owned()),
        jwks_pause: Some(Duration::ZERO),
    };
    let secret = TokenSecret::configured(JWT_SECRET).expect("a secret");
    let authority = Authority::open(&secret, settings).await.expect("an authority");
    let service = Service::with_authority(authority).await;
    let mut full = claims();
    full["iss"] = json!("https://id.example.org");
    full["aud"] = json!(["prices"]);
    let with = |name: &str, value: Value| {
        let mut claims = full.clone();
        claims[name] = value;
        claims
    };

    assert!(refusal(&service, RSA_TOKEN).await.is_none());
    assert!(refusal(&service, &old.token("1", &full)).await.is_none());
    let own = token(&service.authority, TENANT, Role::Viewer);
    assert!(refusal(&service, &own).await.is_none(), "the service's own tokens are taken as well");
    let header = |algorithm: &str, id: &str| json!({"alg": algorithm, "kid": id});
    for (bad, text) in [
        (old.token("1", &with("iss", json!("https://evil.example.org"))), "another issuer"),
        (old.token("1", &with("aud", json!("other"))), "another audience"),
        (old.token("1", &claims()), "lacks the claim"),
        // Issued elsewhere, it may not claim to be of this service.
        (old.token("1", &with("iss", json!("mercuriale"))), "another issuer"),
        (new.token("1", &full), "does not hold"),
        (new.token("2", &full), "not in the key set"),
        // The public key as a secret (RFC 8725, 2.1), and a key of one kind under the id of another.
        (hs256(old.public(), &header("HS256", "1"), &full), "does not hold"),
        (hs256(rsa.to_string().as_bytes(), &header("HS256", "rsa-1"), &full), "does not hold"),
        (old.token("rsa-1", &full), "not in the key set"),
        (
            signed(&header("RS256", "1"), &full, |message| old.0.sign(message).as_ref().to_vec()),
            "not in the key set",
        ),
    ] {
        let refused = refusal(&service, &bad).await.unwrap_or_else(|| panic!("{bad} was taken"));
        let detail = refused.problem["detail"].as_str().expect("text");
        assert_eq!(refused.status, 401, "{detail}");
        assert!(detail.contains(text), "{bad}: {detail}");
    }
    // The provider's server is down: its known keys still hold, unknown ones are unknown.
    *published.lock().expect("not poisoned") = None;
    assert!(refusal(&service, &old.token("1", &full)).await.is_none());
    assert_eq!(refusal(&service, &new.token("2", &full)).await.expect("refused").status, 401);
    // It comes back with another key.
    *published.lock().expect("not poisoned") = Some(json!({"keys": [new.jwk("2")]}));
    assert!(refusal(&service, &new.token("2", &full)).await.is_none());
    assert_eq!(refusal(&service, &old.token("1", &full)).await.expect("refused").status, 401);
}

#[tokio::test]
async fn without_any_key_set_nobody_is_told_to_be_an_impostor() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = TokenSecret::configured(JWT_SECRET).expect("a secret");
    let open = async |place: String| {
        let settings =
            JwtSettings { jwks: Some(place), jwks_pause: Some(Duration::ZERO), ..JwtSettings::default() };
        Authority::open(&secret, settings).await
    };
    // A file has to be there and right at the start.
    let path = folder.path().join("keys.json");
    let error = open(path.display().to_string()).await.expect_err("no file");
    assert!(error.starts_with("MERCURIALE_JWKS: ") && error.contains("keys.json"), "{error}");
    std::fs::write(&path, "{\"keys\":[]}").expect("written");
    assert!(open(path.display().to_string()).await.expect_err("no keys").contains("no Ed25519 or RSA key"));
    let provider = Provider::new();
    std::fs::write(&path, json!({"keys": [provider.jwk("1")]}).to_string()).expect("written");
    let service = Service::with_authority(open(path.display().to_string()).await.expect("keys")).await;
    assert!(refusal(&service, &provider.token("1", &claims())).await.is_none());
    // A server may be down.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let authority = open(format!("http://{address}/keys")).await.expect("tried again later");
    let service = Service::with_authority(authority).await;
    let refused = refusal(&service, &provider.token("1", &claims())).await.expect("refused");
    assert_eq!((refused.status, refused.kind()), (503, "unavailable"));
    assert!(!refused.problem.to_string().contains(&address.to_string()));
    assert!(refusal(&service, &token(&service.authority, TENANT, Role::Viewer)).await.is_none());
}

#[tokio::test]
async fn operators_issue_tokens_on_the_command_line() {
    let service = Service::new().await;
    let issue = |arguments: &[&str]| {
        let mut all = vec!["token", "issue"];
        all.extend(arguments);
        Ran::from(command("postgres://nowhere", &all).output().expect("runs"))
    };
    let ran = issue(&["--role", "auditor", "--tenant", TENANT, "--subject", "ada", "--expires", "15m"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let principal = service.authority.verify(ran.stdout.trim()).await.expect("a good token");
    assert_eq!((&*principal.tenant, &*principal.subject, principal.role), (TENANT, "ada", Role::Auditor));
    let left = principal.expires_at.expect("an end") - chrono::Utc::now();
    assert!(left.num_minutes() <= 15 && left.num_minutes() >= 10, "{left}");
    for (arguments, code, text) in [
        (&["--role", "root", "--tenant", "a"][..], 2, "not a role: viewer, analyst, admin or auditor"),
        (&["--role", "admin"], 2, "--tenant"),
        (&["--role", "admin", "--tenant", "shared"], 1, "means everybody"),
        (&["--role", "admin", "--tenant", "a", "--expires", "0s"], 2, "1s to 366d"),
        (&["--role", "admin", "--tenant", "a", "--expires", "367d"], 2, "1s to 366d"),
    ] {
        let ran = issue(arguments);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(text) && ran.stdout.is_empty(), "{ran:?}");
    }
    let short = command("postgres://nowhere", &["token", "issue", "--role", "admin", "--tenant", "a"])
        .env("MERCURIALE_JWT_SECRET", "hunter2")
        .output();
    let ran = Ran::from(short.expect("runs"));
    assert!(
        ran.stderr.contains("MERCURIALE_JWT_SECRET has 7 bytes") && !ran.stderr.contains("hunter2"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn the_first_start_prints_a_token_once_and_every_start_a_request_that_works() {
    let service = Service::with_starter_lists().await;
    let folder = tempfile::tempdir().expect("a folder");
    let data_dir = folder.path().join("it's \"here\"");
    let client = reqwest::Client::new();
    for is_first in [true, false] {
        let mut start = serve(&service.database.url, &data_dir);
        start.env_remove("MERCURIALE_JWT_SECRET");
        let mut start = Started::new(start);
        let url = start.url().await;
        let curl = start.line_with("  curl -s ").await;
        if is_first {
            let token = start.line_with("  eyJ").await;
            let get = async |path: &str| {
                let asked = client.get(format!("{url}{path}")).bearer_auth(token.trim()).send().await;
                asked.expect("answers").status().as_u16()
            };
            assert_eq!((get("/v1/prices").await, get("/metrics").await), (200, 200));
        }
        // A shell makes of it the arguments that curl would get.
        let script = format!("curl() {{ for one in \"$@\"; do printf '%s\\n' \"$one\"; done; }}\n{curl}");
        let shell =
            Command::new("sh").args(["-c", &script]).env("DATABASE_URL", "").output().expect("a shell");
        let shell = Ran::from(shell);
        let arguments: Vec<&str> = shell.stdout.lines().collect();
        let ["-s", target, "-H", authorization, "-H", content_type, "-d", body] = arguments[..] else {
            panic!("{curl}: {shell:?}")
        };
        assert!(target.starts_with(&url), "{target}");
        let mut request = client.post(target).body(body.to_owned());
        for header in [authorization, content_type] {
            let (name, value) = header.split_once(": ").expect("a header");
            request = request.header(name, value);
        }
        let answer: Value = request.send().await.expect("answers").json().await.expect("JSON");
        assert_eq!(answer["total"]["annual_cost"], "744.2496", "{answer}");
        let rest = start.stopped().await;
        assert!(!rest.contains("eyJ"), "{rest}");
    }
}
