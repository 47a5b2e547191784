//! What administrators do over HTTP: the discount policy, refreshes on demand, releases.

use std::time::Duration;

use axum::http::StatusCode;
use mercuriale::access::Role;
use mercuriale::sources::{ListEnd, Overrides, csv_list};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;

use crate::program::run;
use crate::provider::{Provider, borrowed, cents, offer_file, refresher};
use crate::service::{Refused, Service, line, list, refused};
use crate::support::TENANT;

const POLICY: &str = "/v1/discount-policy";

/// A request with these headers.
async fn send(
    service: &Service,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let mut request = service.client.request(method, format!("{}{path}", service.url)).body(body.to_owned());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.expect("an answer")
}

async fn json_of(response: Response, status: u16) -> Value {
    assert_eq!(response.status(), status, "{:?}", response.text().await);
    response.json().await.expect("JSON")
}

fn detail(refused: &Refused) -> &str {
    refused.problem["detail"].as_str().expect("text")
}

fn rates(reserved: &str) -> Value {
    json!({"rates": {"on-demand": "0", "reserved-1y": reserved, "reserved-3y": "0.60", "spot": "0.90"}})
}

#[tokio::test]
async fn only_administrators_change_what_belongs_to_everybody() {
    let service = Service::new().await;
    for (method, path) in [
        (Method::PUT, POLICY),
        (Method::POST, "/v1/refreshes"),
        (Method::POST, "/v1/refreshes/00000000-0000-0000-0000-000000000000/release"),
    ] {
        for role in Role::ALL {
            let request =
                service.client_of(TENANT, role).request(method.clone(), format!("{}{path}", service.url));
            let refused = refused(request.send().await.expect("an answer")).await;
            assert_eq!(refused.status == 403, role != Role::Admin, "{method} {path} {role}: {refused:?}");
        }
    }
    assert_eq!(mercuriale::ledger::head(&service.database.pool).await.expect("reads"), 0);
}

#[tokio::test]
async fn a_policy_is_replaced_only_by_who_has_seen_it() {
    let service = Service::with_starter_lists().await;
    let response = send(&service, Method::GET, POLICY, &[], "").await;
    assert_eq!(response.headers()["etag"], "\"1\"");
    let put =
        async |tag: &str, body: &str| send(&service, Method::PUT, POLICY, &[("if-match", tag)], body).await;

    let response = put("\"1\"", &rates("0.35").to_string()).await;
    assert_eq!(response.headers()["etag"], "\"2\"");
    assert_eq!(json_of(response, 200).await["version"], 2);
    let shown = service.get(POLICY).await;
    assert_eq!((&shown["version"], &shown["rates"]["reserved-1y"]), (&2.into(), &"0.35".into()));
    let reserved =
        line(["aws", "AmazonEC2", "eu-west-3"], "t3.medium", json!({"pricing_model": "reserved-1y"}));
    assert_eq!(service.estimate_line(&reserved).await["discount_rate"], "0.35");
    let events = service.get("/v1/events?type=discount_policy.set").await;
    let event = &events["items"][0];
    assert_eq!((&event["actor"], &event["tenant"]), (&"user:acme/tester".into(), &"shared".into()));
    assert_eq!(event["data"], json!({"v": 1, "rates": rates("0.35")["rates"]}));

    for (tag, body, status, kind, text) in [
        (Some("\"1\""), rates("0.3").to_string(), 412, "precondition-failed", "version 2 is in force, not 1"),
        (Some("\"7\""), rates("0.3").to_string(), 412, "precondition-failed", "version 2 is in force, not 7"),
        (None, rates("0.3").to_string(), 428, "precondition-required", "If-Match"),
        (Some("2"), rates("0.3").to_string(), 400, "invalid-request", "with its quotes"),
        (Some("W/\"2\""), rates("0.3").to_string(), 400, "invalid-request", "with its quotes"),
        (Some("\"0\""), rates("0.3").to_string(), 400, "invalid-request", "with its quotes"),
        (Some("*"), rates("0.3").to_string(), 400, "invalid-request", "with its quotes"),
        (Some("\"2\""), rates("1").to_string(), 400, "invalid-request", "below 1"),
        (Some("\"2\""), rates("-0.1").to_string(), 400, "invalid-request", "at least 0"),
        (Some("\"2\""), rates("0.12345").to_string(), 400, "invalid-request", "at most 4 decimals"),
        (Some("\"2\""), json!({"rates": {"spot": "0.9"}}).to_string(), 400, "invalid-request", "on-demand"),
        (Some("\"2\""), json!({"rate": {}}).to_string(), 400, "invalid-request", "rate"),
        (Some("\"2\""), String::new(), 400, "invalid-request", "all four"),
    ] {
        let headers: Vec<(&str, &str)> = tag.into_iter().map(|tag| ("if-match", tag)).collect();
        let refused = refused(send(&service, Method::PUT, POLICY, &headers, &body).await).await;
        assert_eq!((refused.status, refused.kind()), (status, kind), "{tag:?} {body}");
        assert!(detail(&refused).contains(text), "{body}: {}", detail(&refused));
    }
    // Of two at once, one wins.
    let (a, b) = (rates("0.1").to_string(), rates("0.2").to_string());
    let (one, other) = tokio::join!(put("\"2\"", &a), put("\"2\"", &b));
    let mut statuses = [one.status().as_u16(), other.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    assert_eq!(service.get(POLICY).await["version"], 3);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn the_policy_on_the_command_line_keeps_what_is_not_given() {
    let service = Service::new().await;
    let ran = run(&service.database.url, &["policy", "set", "--spot", "0.8", "--reserved-1y", "0.4"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let policy: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let expected = json!({"on-demand": "0", "reserved-1y": "0.4", "reserved-3y": "0.60", "spot": "0.8"});
    assert_eq!(policy, json!({"version": 2, "rates": expected}));
    assert_eq!(service.get(POLICY).await, policy);
    let shown = run(&service.database.url, &["policy", "show"]);
    assert_eq!(serde_json::from_str::<Value>(&shown.stdout).expect("JSON"), policy);
    for (arguments, code, text) in [(&["--spot", "1"][..], 1, "below 1"), (&[], 2, "--spot")] {
        let ran = run(&service.database.url, &[&["policy", "set"], arguments].concat());
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.contains(text), "{ran:?}");
    }
    assert_eq!(service.get(POLICY).await["version"], 2);
}

const REFRESHES: &str = "/v1/refreshes";

/// Waits until a refresh is as wanted.
async fn wait_for(service: &Service, path: &str, state: &str) -> Value {
    let reached = async {
        loop {
            let shown = service.get(path).await;
            if shown["state"] == state {
                return shown;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(2), reached).await.expect("in time")
}

#[tokio::test]
async fn lists_are_fetched_on_demand() {
    let provider = Provider::start().await;
    provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&cents(3))));
    let source = |name: &str| {
        let text = format!("name=\"{name}\"\nkind=\"aws\"\noffers=[\"AmazonEC2\"]\nregions=[\"eu-west-3\"]");
        provider.targets(&text)
    };
    let service = Service::with_targets([source("a"), source("b")].concat()).await;
    let start = async |headers: &[(&str, &str)], body: &str| {
        send(&service, Method::POST, REFRESHES, headers, body).await
    };

    let response = start(&[("idempotency-key", "k1")], r#"{"source":"a"}"#).await;
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let accepted = json_of(response, 202).await;
    let id = accepted["refreshes"][0]["refresh_id"].as_str().expect("an id").to_owned();
    assert_eq!(location, format!("/v1/refreshes/{id}"));
    assert_eq!(accepted["refreshes"][0]["scope"], "AmazonEC2/eu-west-3");
    let done = wait_for(&service, &location, "completed").await;
    assert_eq!((&done["source"], &done["listed"]), (&"a".into(), &3.into()));
    let events = service.get(&format!("/v1/events?stream=refresh/{id}")).await;
    assert_eq!(events["items"][0]["actor"], "user:acme/tester");

    // The same key begins nothing new, and stands for nothing else.
    let again = json_of(start(&[("idempotency-key", "k1")], r#"{"source":"a"}"#).await, 202).await;
    assert_eq!(again, accepted);
    let conflict = refused(start(&[("idempotency-key", "k1")], r#"{"source":"b"}"#).await).await;
    assert_eq!((conflict.status, conflict.kind()), (409, "conflict"));
    // Of another tenant, it is another key.
    let others = service.client_of("other", Role::Admin).post(format!("{}{REFRESHES}", service.url));
    let response =
        others.header("idempotency-key", "k1").body(r#"{"source":"b"}"#).send().await.expect("answers");
    let others = json_of(response, 202).await;
    assert_ne!(others["refreshes"][0]["refresh_id"], accepted["refreshes"][0]["refresh_id"]);
    let path = format!("/v1/refreshes/{}", others["refreshes"][0]["refresh_id"].as_str().expect("an id"));
    wait_for(&service, &path, "completed").await;
    // No body: all of them.
    let response = start(&[], "").await;
    assert_eq!(response.headers()["location"], "/v1/refreshes");
    let all = json_of(response, 202).await;
    assert_eq!(all["refreshes"].as_array().map(Vec::len), Some(2));
    for one in all["refreshes"].as_array().expect("an array") {
        let path = format!("/v1/refreshes/{}", one["refresh_id"].as_str().expect("an id"));
        wait_for(&service, &path, "completed").await;
    }

    let long = "x".repeat(256);
    for (headers, body, text) in [
        (&[][..], r#"{"source":"c"}"#, "there are a, b"),
        (&[], r#"{"source":"a","scope":"x"}"#, "there are AmazonEC2/eu-west-3"),
        (&[], r#"{"sauce":"a"}"#, "unknown field"),
        (&[], "[", "send {"),
        (&[("idempotency-key", "")], "", "Idempotency-Key"),
        (&[("idempotency-key", "a b")], "", "Idempotency-Key"),
        (&[("idempotency-key", long.as_str())], "", "Idempotency-Key"),
    ] {
        let refused = refused(start(headers, body).await).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        assert!(detail(&refused).contains(text), "{body}: {}", detail(&refused));
    }
    let none = Service::new().await;
    let refused = refused(send(&none, Method::POST, REFRESHES, &[], "").await).await;
    assert!(detail(&refused).contains("MERCURIALE_SOURCES"), "{}", detail(&refused));
}

#[tokio::test]
async fn a_scope_is_fetched_once_at_a_time_and_a_list_that_fails_says_so() {
    let provider = Provider::start().await;
    provider.publish("20250327204525", "\"one\"", &offer_file(&borrowed(&cents(3))));
    // The provider does not answer before it may.
    let (let_go, may_go) = watch::channel(false);
    provider.on(crate::provider::REGION_INDEX, move |_| {
        let mut may_go = may_go.clone();
        let body = axum::body::Body::from_stream(futures_util::stream::once(async move {
            let _ = may_go.wait_for(|may| *may).await;
            Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(b"no index"))
        }));
        axum::response::Response::new(body)
    });
    let service = Service::with_targets(vec![provider.paris()]).await;
    let start = async || send(&service, Method::POST, REFRESHES, &[], "").await;
    let accepted = json_of(start().await, 202).await;
    let one = &accepted["refreshes"][0];
    let path = format!("/v1/refreshes/{}", one["refresh_id"].as_str().expect("an id"));
    // Not in the ledger yet, and known all the same.
    assert_eq!(service.get(&path).await, *one);
    let conflict = refused(start().await).await;
    assert_eq!((conflict.status, conflict.kind()), (409, "conflict"));
    assert!(detail(&conflict).contains("is under way"), "{}", detail(&conflict));
    let_go.send(true).expect("somebody waits");
    let failed = wait_for(&service, &path, "failed").await;
    assert!(failed["reason"].as_str().is_some_and(|reason| reason.contains("region_index.json")), "{failed}");
    // Another process is at it: it holds the scope's lock.
    let mut owner = service.database.owner().await;
    let lock = "select pg_advisory_lock(hashtextextended('mercuriale scope ' || $1 || ' ' || $2, 0))";
    sqlx::query(lock)
        .bind(one["source"].as_str())
        .bind(one["scope"].as_str())
        .execute(&mut owner)
        .await
        .expect("locks");
    assert_eq!(refused(start().await).await.status, 409);
    drop(owner);
}

#[tokio::test]
async fn a_quarantined_list_is_released_once() {
    let service = Service::new().await;
    let titles = "provider,service,region,sku_id,sku_price_id,unit,currency,amount";
    let rows = |amount: &str| {
        let rows = ["a", "b", "c"].map(|sku| format!("acme,Compute,north,{sku},{sku},Hrs,EUR,{amount}"));
        [titles.to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
    };
    service.load(list("compute", "2026-01-01T00:00:00Z", &[&rows("1")])).await;
    let text = list("compute", "2026-01-02T00:00:00Z", &[&rows("2")]);
    let strict = refresher(&service.database, "test");
    let report = strict
        .refresh("starter", vec!["list.csv".to_owned()], move |sink| {
            csv_list::read(text.as_bytes(), "list.csv", &Overrides::default(), sink)?;
            Ok(ListEnd { complete: true, content_sha256: Sha256::digest(&text).into() })
        })
        .await
        .expect("a list");
    assert!(report.quarantined);
    let price = async || service.get("/v1/prices/1").await["list_unit_price"].clone();
    assert_eq!(price().await, "1");

    let path = format!("/v1/refreshes/{}/release", report.refresh_id);
    let released = json_of(send(&service, Method::POST, &path, &[], "").await, 200).await;
    assert_eq!((&released["changed"], &released["quarantined"]), (&3.into(), &false.into()));
    assert_eq!(price().await, "2");
    let shown = service.get(&format!("/v1/refreshes/{}", report.refresh_id)).await;
    assert_eq!((&shown["state"], &shown["released_by"]), (&"released".into(), &"user:acme/tester".into()));
    let again = refused(send(&service, Method::POST, &path, &[], "").await).await;
    assert_eq!((again.status, again.kind()), (409, "conflict"));
    for unknown in ["7", "00000000-0000-0000-0000-000000000000"] {
        let path = format!("/v1/refreshes/{unknown}/release");
        let refused = refused(send(&service, Method::POST, &path, &[], "").await).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{unknown}");
    }
    service.database.assert_sound().await;
}
