//! How many requests a client may send.

use std::time::Duration;

use mercuriale::access::Role;
use mercuriale::http::{Patience, RateLimits, serve};
use reqwest::{Client, Response};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::service::{Service, refused};
use crate::users;

/// One request a minute comes back: none during the few that a test sends.
async fn service(burst: u32) -> Service {
    Service::with_limits(RateLimits::new(1, burst)).await
}

async fn get(service: &Service, client: &Client) -> Response {
    client.get(format!("{}/v1/discount-policy", service.url)).send().await.expect("answers")
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers()[name].to_str().expect("text")
}

#[tokio::test]
async fn a_client_that_sends_too_much_waits_and_others_do_not() {
    let service = service(3).await;
    let client = service.client_of("acme", Role::Viewer);
    for left in [2, 1, 0] {
        let response = get(&service, &client).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-policy"), "\"client\";q=3;w=180");
        let limit = header(&response, "ratelimit");
        assert!(limit.starts_with(&format!("\"client\";r={left};t=")), "{limit}");
    }
    let response = get(&service, &client).await;
    assert_eq!(header(&response, "ratelimit-policy"), "\"client\";q=3;w=180");
    let limit = header(&response, "ratelimit").to_owned();
    let seconds: u64 = header(&response, "retry-after").parse().expect("seconds");
    assert!(
        (1..=60).contains(&seconds) && limit == format!("\"client\";r=0;t={seconds}"),
        "{seconds}: {limit}"
    );
    let refused = refused(response).await;
    assert_eq!((refused.status, refused.kind()), (429, "too-many-requests"));
    // The same name in another tenant, and a program of this one, are other clients.
    assert_eq!(get(&service, &service.client_of("other", Role::Viewer)).await.status(), 200);
    let request = service.client_of("keys", Role::Admin).post(format!("{}/v1/api-keys", service.url));
    let made = request.json(&json!({"name": "limits", "role": "viewer"})).send().await.expect("answers");
    let made: serde_json::Value = made.json().await.expect("JSON");
    let request = Client::new().get(format!("{}/v1/discount-policy", service.url));
    let response = request.bearer_auth(made["key"].as_str().expect("a key")).send().await.expect("answers");
    assert!(header(&response, "ratelimit").contains(";r=2;"), "{response:?}");
    // Nobody is kept from looking whether the service lives.
    for _ in 0..5 {
        let alive = client.get(format!("{}/healthz", service.url)).send().await.expect("answers");
        assert_eq!(alive.status(), 200);
    }
}

#[tokio::test]
async fn bad_tokens_are_answered_a_few_times_only_and_good_ones_always() {
    let service = service(20).await;
    let send = async |token: &str| {
        let request = Client::new().get(format!("{}/v1/discount-policy", service.url));
        request.bearer_auth(token).send().await.expect("answers")
    };
    for status in [401, 401, 429, 429] {
        let response = send("broken").await;
        assert_eq!(response.headers().contains_key("retry-after"), status == 429);
        assert_eq!(refused(response).await.status, status);
    }
    assert_eq!(get(&service, &service.client).await.status(), 200);
}

#[tokio::test]
async fn passwords_are_tried_a_few_times_only_and_refresh_tokens_as_often_as_bad_ones() {
    // 20 requests with credentials from an address, 2 passwords for an account.
    let service = service(200).await;
    users::member(&service, "acme", "ada", "viewer").await;
    let attempt = async |name: &str, password: &str| {
        let body = json!({"grant_type": "password", "tenant": "acme", "name": name, "password": password});
        users::post(&service.url, "/v1/token", &body).await
    };
    let right = "correct horse battery";
    let response = attempt("ada", right).await;
    assert_eq!(header(&response, "ratelimit-policy"), "\"credentials\";q=20;w=1200");
    assert!(header(&response, "ratelimit").contains(";r=18;"), "{response:?}");
    let tokens: serde_json::Value = response.json().await.expect("JSON");
    assert_eq!(attempt("ada", "a wrong password").await.status(), 401);
    // No matter whether it is right: nobody learns that.
    for password in ["a wrong password", right] {
        let response = attempt("ada", password).await;
        assert_eq!(header(&response, "ratelimit-policy"), "\"passwords\";q=2;w=120");
        assert!(response.headers().contains_key("retry-after"));
        let refused = refused(response).await;
        assert_eq!((refused.status, refused.kind()), (429, "too-many-requests"));
    }
    let change =
        json!({"tenant": "acme", "name": "ada", "password": right, "new_password": "another password"});
    assert_eq!(users::post(&service.url, "/v1/password", &change).await.status(), 429);
    // Another account, also one that there is not, has its own count; who was let in goes on.
    for status in [401, 401, 429] {
        assert_eq!(attempt("nobody", right).await.status(), status);
    }
    let renew = json!({"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]});
    assert_eq!(users::post(&service.url, "/v1/token", &renew).await.status(), 200);
    // One request was for the setup token, nine since.
    let nothing = json!({"refresh_token": "mrr_"});
    for left in (0..10).rev() {
        let response = users::post(&service.url, "/v1/token/revoke", &nothing).await;
        assert_eq!(response.status(), 204);
        assert!(header(&response, "ratelimit").contains(&format!(";r={left};")), "{response:?}");
    }
    for path in ["/v1/token", "/v1/token/revoke", "/v1/password"] {
        let response = users::post(&service.url, path, &nothing).await;
        assert_eq!(header(&response, "ratelimit-policy"), "\"credentials\";q=20;w=1200");
        assert_eq!(refused(response).await.status, 429, "{path}");
    }
    assert_eq!(get(&service, &service.client).await.status(), 200);
}

#[tokio::test]
async fn a_limit_of_none_is_no_limit() {
    let service = Service::with_limits(RateLimits::new(0, 1)).await;
    for _ in 0..5 {
        let body = json!({"refresh_token": "mrr_"});
        assert_eq!(users::post(&service.url, "/v1/token/revoke", &body).await.status(), 204);
    }
    for _ in 0..5 {
        let response = get(&service, &service.client).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("ratelimit"));
    }
}

#[tokio::test]
async fn a_client_that_never_says_what_it_wants_is_not_waited_for() {
    let (soon, later) = (Duration::from_millis(100), Duration::from_secs(3));
    let asked = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    for (first_request, next_request, said, answers) in [
        (soon, later, "", 0),
        (soon, later, "GET / HTT", 0),
        (soon, later, &asked[..asked.len() - 2], 0),
        // Long enough to ask on a busy machine.
        (later, later, asked, 1),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let app = axum::Router::new().route("/", axum::routing::get(async || "here"));
        let patience = Patience { first_request, next_request };
        tokio::spawn(serve(listener, app, patience, std::future::pending()));
        let mut client = TcpStream::connect(address).await.expect("connects");
        client.write_all(said.as_bytes()).await.expect("sends");
        let mut heard = String::new();
        let closed = tokio::time::timeout(Duration::from_mins(1), client.read_to_string(&mut heard)).await;
        closed.expect("the connection ends").expect("reads");
        assert_eq!(heard.matches("here").count(), answers, "{said:?}: {heard}");
    }
}
