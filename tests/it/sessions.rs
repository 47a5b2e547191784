//! Sessions and their overrides.

use std::time::Duration;

use chrono::{SubsecRound as _, Utc};
use mercuriale::access::{Principal, Role, tenant_transaction};
use mercuriale::domain::estimate::request_parse;
use mercuriale::domain::event::{NewEvent, OVERRIDE_SET, session_stream};
use mercuriale::ledger::{self, Append, EventFilter};
use mercuriale::people::{self, MAX_OVERRIDES, MAX_SESSIONS, NewOverride};
use mercuriale::pricing::{EstimateError, Pricing};
use reqwest::Method;
use serde_json::{Value, json};

use crate::people::{PLACE, Person, detail, json_of, override_path, prices, service, vm};
use crate::service::{Service, line, refused};
use crate::support::{TENANT, listed};

/// Types of the events on a stream.
async fn types(service: &Service, stream: &str) -> Vec<String> {
    let filter = EventFilter { stream: Some(stream.to_owned()), ..EventFilter::default() };
    let events = ledger::read(&service.database.pool, 0, &filter, 1_000).await.expect("reads");
    events.into_iter().map(|event| event.event_type).collect()
}

/// Lets a session end now.
async fn expire(service: &Service, session: &str) {
    let mut owner = service.database.owner().await;
    let changed = sqlx::query(
        "update sessions set created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour'
         where session_id = $1::uuid",
    )
    .bind(session)
    .execute(&mut owner)
    .await
    .expect("changes");
    assert_eq!(changed.rows_affected(), 1);
}

#[tokio::test]
async fn fifty_sessions_calculate_at_once_with_prices_of_their_own() {
    let service = service().await;
    let history = service.get("/v1/prices/1/history").await;
    let mut running = tokio::task::JoinSet::new();
    for number in 0..50 {
        // Several sessions of one person, and several persons.
        let person = Person::new(&service, TENANT, &format!("person-{}", number % 20), Role::Analyst);
        running.spawn(async move {
            let session = person.session().await;
            for round in 0..4 {
                let amount = format!("0.{}", 1_001 + number * 10 + round);
                let set = person.set(&session, 1, &amount).await;
                let estimate = person.estimate(Some(&session), &[vm()]).await;
                let line = &estimate["lines"][0];
                assert_eq!(line["unit_price"], amount);
                assert_eq!(line["price"]["list_unit_price"], "0.1");
                assert_eq!(
                    line["override"],
                    json!({
                        "amount": amount, "reason": "negotiated", "expires_at": null, "position": set["position"],
                    })
                );
                assert!(estimate["position"].as_i64() >= set["position"].as_i64(), "{estimate} {set}");
                assert_eq!(person.unit_price(None).await, "0.1");
            }
            session
        });
    }
    let sessions: Vec<String> = running.join_all().await;
    assert_eq!(sessions.len(), 50);
    assert_eq!(service.get("/v1/prices/1/history").await, history);
    assert_eq!(service.get("/v1/prices/1").await["list_unit_price"], "0.1");
    assert_eq!(types(&service, &format!("session/{}", sessions[0])).await, ["override.set"; 4]);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn an_override_is_of_one_price_until_it_is_cleared() {
    let service = service().await;
    let ada = Person::new(&service, TENANT, "ada", Role::Analyst);
    let session = ada.session().await;
    let path = override_path(&session, 1);
    let body = json!({"amount": "0.08", "reason": " a deal\nwith acme "});
    let set = ada.ok(Method::PUT, &path, Some(&body), 201).await;
    assert_eq!(
        [&set["amount"], &set["reason"], &set["list_unit_price"]],
        [&json!("0.08"), &json!("a deal\nwith acme"), &json!("0.1")]
    );
    // The same again is no news; another amount is.
    assert_eq!(ada.ok(Method::PUT, &path, Some(&body), 200).await, set);
    let other = ada.ok(Method::PUT, &path, Some(&json!({"amount": "0.0800", "reason": "b"})), 200).await;
    assert!(other["position"].as_i64() > set["position"].as_i64());
    ada.set(&session, 3, "0").await;
    let list = ada.ok(Method::GET, &format!("/v1/sessions/{session}/overrides"), None, 200).await;
    assert_eq!([&list["items"][0]["price_id"], &list["items"][1]["price_id"]], [1, 3]);
    let page = ada.send(Method::GET, &format!("/v1/sessions/{session}/overrides?limit=1"), None).await;
    assert!(page.headers()["link"].to_str().expect("text").contains("after=1>; rel=\"next\""));

    // 150 GB: 100 at the first tier, 50 at the second, which is the one that the line shows.
    let disk = line(PLACE, "storage", json!({"usage_per_month": "150"}));
    let cost = &ada.estimate(Some(&session), &[disk.clone(), vm()]).await["lines"];
    assert_eq!([&cost[0]["monthly_cost"], &cost[0]["unit_price"]], ["5", "0"]);
    assert_eq!([&cost[0]["price"]["list_unit_price"], &cost[0]["override"]["amount"]], ["0.04", "0"]);
    assert!(cost[0]["tiers"][0].get("override").is_none());
    assert_eq!(cost[0]["tiers"][1]["override"]["amount"], "0");
    // The discount of the pricing model applies to it.
    let reserved = line(PLACE, "machine", json!({"pricing_model": "reserved-1y"}));
    let cost = &ada.estimate(Some(&session), &[reserved]).await["lines"][0];
    assert_eq!([&cost["unit_price"], &cost["effective_unit_price"]], ["0.08", "0.048"]);

    // The official price moves: the override stays, and both are shown.
    prices(&service, "2026-01-02T00:00:00Z", "0.20").await;
    let cost = &ada.estimate(Some(&session), &[vm()]).await["lines"][0];
    assert_eq!([&cost["price"]["list_unit_price"], &cost["unit_price"]], ["0.2", "0.08"]);

    assert_eq!(ada.send(Method::DELETE, &path, None).await.status(), 204);
    assert_eq!(ada.unit_price(Some(&session)).await, "0.2");
    let again = ada.refused(Method::DELETE, &path, None).await;
    assert_eq!((again.status, again.kind()), (404, "not-found"));
    let stream = types(&service, &format!("session/{session}")).await;
    assert_eq!(stream, ["override.set", "override.set", "override.set", "override.cleared"]);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn a_session_is_of_one_person() {
    let service = service().await;
    let ada = Person::new(&service, TENANT, "ada", Role::Analyst);
    let session = ada.session().await;
    ada.set(&session, 1, "0.08").await;
    let unknown = "7d2f7a52-5f0c-4d5e-9d3c-0d0f6a5a8d11";
    for (tenant, subject, role) in
        [(TENANT, "bob", Role::Admin), ("other", "ada", Role::Admin), (TENANT, "bob", Role::Analyst)]
    {
        let other = Person::new(&service, tenant, subject, role);
        let body = json!({"amount": "1", "reason": "mine"});
        for (method, path, body) in [
            (Method::GET, "", None),
            (Method::GET, "/overrides", None),
            (Method::PUT, "/overrides/1", Some(&body)),
            (Method::DELETE, "/overrides/1", None),
        ] {
            // Not told apart from one that there is not.
            let mut answers = Vec::new();
            for id in [session.as_str(), unknown] {
                let refused = other.refused(method.clone(), &format!("/v1/sessions/{id}{path}"), body).await;
                assert_eq!((refused.status, refused.kind()), (404, "not-found"), "{method} {path}");
                answers.push(detail(&refused).replace(id, "ID"));
            }
            assert_eq!(answers[0], answers[1]);
        }
        let mut answers = Vec::new();
        for id in [session.as_str(), unknown] {
            let refused = other.estimate_refused(id).await;
            assert_eq!((refused.status, refused.kind()), (422, "unanswerable-estimate"));
            let [place, _, message, remedy] = refused.only_error();
            assert!(place == "/session" && remedy.contains("POST /v1/sessions"), "{remedy}");
            answers.push(message.replace(id, "ID"));
        }
        assert_eq!(answers[0], answers[1]);
        let proposal = json!({"price_id": 1, "session": session});
        assert_eq!(other.refused(Method::POST, "/v1/proposals", Some(&proposal)).await.status, 404);
        assert_eq!(other.unit_price(None).await, "0.1");
    }
    // The command line asks for nobody.
    let request = json!({"session": session, "lines": [vm()]}).to_string();
    let request = request_parse(request.as_bytes()).expect("a request");
    let pricing = Pricing::new(service.database.pool.clone(), Vec::new());
    let error = pricing.estimate_calculate(&request, Utc::now()).await.expect_err("nobody's session");
    assert!(matches!(error, EstimateError::Unanswerable(_)), "{error}");
    // Viewers and auditors open none; the second wall shows no row where no tenant is named.
    for role in [Role::Viewer, Role::Auditor] {
        let reader = Person::new(&service, TENANT, "ada", role);
        assert_eq!(reader.refused(Method::POST, "/v1/sessions", None).await.status, 403);
        assert_eq!(reader.refused(Method::DELETE, &override_path(&session, 1), None).await.status, 403);
        let body = json!({"amount": "1", "reason": "mine"});
        assert_eq!(reader.refused(Method::PUT, &override_path(&session, 1), Some(&body)).await.status, 403);
        assert_eq!(reader.unit_price(Some(&session)).await, "0.08");
    }
    let pool = &service.database.pool;
    let mut tenants = vec![(pool.begin().await.expect("begins"), 0)];
    for (tenant, count) in [("other", 0), (TENANT, 1)] {
        tenants.push((tenant_transaction(pool, tenant).await.expect("begins"), count));
    }
    for (place, (mut transaction, count)) in tenants.into_iter().enumerate() {
        let sessions: i64 = sqlx::query_scalar("select count(*) from sessions")
            .fetch_one(&mut *transaction)
            .await
            .expect("reads");
        assert_eq!(sessions, count);
        // The engine owns the read models, and sees all of them where no tenant's transaction is.
        let overrides: i64 = sqlx::query_scalar("select count(*) from overrides.overrides")
            .fetch_one(&mut *transaction)
            .await
            .expect("reads");
        assert_eq!(overrides, if place == 0 { 1 } else { count });
    }
    assert_eq!(ada.unit_price(Some(&session)).await, "0.08");
}

#[tokio::test]
async fn what_has_expired_does_not_apply() {
    let service = service().await;
    let ada = Person::new(&service, TENANT, "ada", Role::Analyst);
    let session = ada.session().await;
    let end = (Utc::now() + Duration::from_hours(1)).trunc_subsecs(6);
    let body = json!({"amount": "0.08", "reason": "today only", "expires_at": end});
    let set = ada.ok(Method::PUT, &override_path(&session, 1), Some(&body), 201).await;
    assert_eq!(set["expires_at"], json!(end));
    ada.set(&session, 2, "1").await;
    // At any moment one or the other, by the clock alone.
    let caller = Principal::new(TENANT, "ada", Role::Analyst).expect("a principal");
    let request = json!({"session": session, "lines": [vm()]}).to_string();
    let request = request_parse(request.as_bytes()).expect("a request");
    let pricing = Pricing::new(service.database.pool.clone(), Vec::new());
    for (now, unit_price) in
        [(end - Duration::from_micros(1), "0.08"), (end, "0.1"), (end + Duration::from_secs(1), "0.1")]
    {
        let estimate =
            pricing.estimate_calculate_for(Some(&caller), &request, now).await.expect("an estimate");
        assert_eq!(estimate.lines[0].unit_price.to_string(), unit_price, "{now}");
    }
    // One that is over, without the waiting.
    assert_eq!(ada.unit_price(Some(&session)).await, "0.08");
    let id = session.parse().expect("an id");
    let past = Utc::now() - Duration::from_secs(1);
    let data = json!({"v": 1, "price_id": 1, "amount": "0.07", "reason": "r", "expires_at": past});
    let event = NewEvent::new(session_stream(id), OVERRIDE_SET, &data);
    let append = Append { origin: caller.origin(id), events: vec![event], idempotency: None };
    service.database.appender.append(append).await.expect("appends");
    assert_eq!(ada.unit_price(Some(&session)).await, "0.1");
    assert_eq!(ada.refused(Method::DELETE, &override_path(&session, 1), None).await.status, 404);
    let list = ada.ok(Method::GET, &format!("/v1/sessions/{session}/overrides"), None, 200).await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");

    expire(&service, &session).await;
    let refused = ada.estimate_refused(&session).await;
    let [place, _, message, remedy] = refused.only_error();
    assert_eq!((refused.status, place), (422, "/session"));
    assert!(message.contains("expired at") && message.contains("POST /v1/sessions"), "{message}");
    assert!(remedy.contains("leave it out"), "{remedy}");
    let body = json!({"amount": "1", "reason": "late"});
    for (method, path, body) in [
        (Method::GET, format!("/v1/sessions/{session}/overrides"), None),
        (Method::PUT, override_path(&session, 2), Some(&body)),
        (Method::DELETE, override_path(&session, 2), None),
    ] {
        let refused = ada.refused(method, &path, body).await;
        assert_eq!((refused.status, refused.kind()), (409, "conflict"));
        assert!(detail(&refused).contains("expired at"), "{}", detail(&refused));
    }
    // That it was is still told.
    ada.ok(Method::GET, &format!("/v1/sessions/{session}"), None, 200).await;
}

#[tokio::test]
async fn an_estimate_as_of_a_time_has_the_overrides_of_that_time() {
    let service = service().await;
    let ada = Person::new(&service, TENANT, "ada", Role::Analyst);
    let session = ada.session().await;
    let mut times = Vec::new();
    for amount in ["0.07", "0.08"] {
        times.push(ada.set(&session, 1, amount).await["set_at"].clone());
    }
    ada.send(Method::DELETE, &override_path(&session, 1), None).await;
    let filter =
        EventFilter { event_types: Some(vec!["override.cleared".to_owned()]), ..EventFilter::default() };
    let cleared = ledger::read(&service.database.pool, 0, &filter, 1).await.expect("reads");
    times.push(json!(cleared[0].recorded_at));
    for (as_of, unit_price) in [
        ("2026-01-01T00:00:00Z", "0.1"),
        (text(&times[0]), "0.07"),
        (text(&times[1]), "0.08"),
        (text(&times[2]), "0.1"),
    ] {
        let body = json!({"session": session, "as_of": as_of, "lines": [vm()]});
        let estimate = ada.ok(Method::POST, "/v1/estimates/calculate", Some(&body), 200).await;
        assert_eq!(estimate["lines"][0]["unit_price"], unit_price, "{as_of}");
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_place() {
    let service = service().await;
    let ada = Person::new(&service, TENANT, "ada", Role::Analyst);
    let session = ada.session().await;
    let path = override_path(&session, 1);
    let past = Utc::now() - Duration::from_mins(1);
    let far = Utc::now() + Duration::from_hours(48);
    for (body, place, message) in [
        (json!({"amount": "-1", "reason": "r"}), "/amount", "negative"),
        (json!({"amount": "1,5", "reason": "r"}), "/amount", "not a decimal"),
        (json!({"amount": "1e-3", "reason": "r"}), "/amount", "exponent"),
        (json!({"amount": format!("0.{}", "1".repeat(28)), "reason": "r"}), "/amount", "digits"),
        (json!({"amount": "1000000001", "reason": "r"}), "/amount", "more than"),
        (json!({"amount": "1", "reason": " "}), "/reason", "empty"),
        (json!({"amount": "1", "reason": "a\u{0}b"}), "/reason", "control"),
        (json!({"amount": "1", "reason": "é".repeat(1_001)}), "/reason", "1001 characters"),
        (json!({"amount": "1", "reason": "r", "expires_at": past}), "/expires_at", "past"),
        (json!({"amount": "1", "reason": "r", "expires_at": far}), "/expires_at", "session itself ends"),
    ] {
        let refused = ada.refused(Method::PUT, &path, Some(&body)).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        let [at, _, text, _] = refused.only_error();
        assert!(at == place && text.contains(message), "{body}: {at} {text}");
    }
    for body in [
        json!({"amount": 1, "reason": "r"}),
        json!({"amount": "1"}),
        json!({"amount": "1", "reason": "r", "x": 1}),
    ] {
        let refused = ada.refused(Method::PUT, &path, Some(&body)).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        assert!(detail(&refused).contains("send {\"amount\""), "{}", detail(&refused));
    }
    let good = json!({"amount": "1", "reason": "r"});
    for path in
        [override_path(&session, 99), override_path("x", 1), format!("/v1/sessions/{session}/overrides/x")]
    {
        assert_eq!(ada.refused(Method::PUT, &path, Some(&good)).await.status, 404, "{path}");
    }
    for (body, message) in [
        (json!({"expires_at": past}), "past"),
        (json!({"expires_at": Utc::now() + Duration::from_hours(24 * 31)}), "longest session"),
        (json!({"expires_at": "tomorrow"}), "send {\"expires_at\""),
        (json!({"subject": "bob"}), "unknown field"),
    ] {
        let refused = ada.refused(Method::POST, "/v1/sessions", Some(&body)).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        assert!(refused.problem.to_string().replace("\\\"", "\"").contains(message), "{}", refused.problem);
    }
    assert_eq!(types(&service, &format!("session/{session}")).await, [""; 0]);
}

#[tokio::test]
async fn a_session_opens_once_under_its_key_and_is_one_of_a_limited_number() {
    let service = service().await;
    let ada = Person::new(&service, TENANT, "ada", Role::Analyst);
    let in_an_hour = (Utc::now() + Duration::from_hours(1)).trunc_subsecs(6);
    let body = json!({"expires_at": in_an_hour});
    let open = async |person: &Person, body: &Value| {
        person.send_with_key(Method::POST, "/v1/sessions", Some(body), Some("key-1")).await
    };
    let (one, two) = tokio::join!(open(&ada, &body), open(&ada, &body));
    let location = one.headers()["location"].to_str().expect("text").to_owned();
    let (one, two) = (json_of(one, 201).await, json_of(two, 201).await);
    assert_eq!(one, two);
    assert_eq!(one["expires_at"], json!(in_an_hour));
    assert_eq!(ada.ok(Method::GET, &location, None, 200).await, one);
    let other = refused(open(&ada, &json!({})).await).await;
    assert_eq!((other.status, other.kind()), (409, "conflict"));
    let bob = Person::new(&service, TENANT, "bob", Role::Analyst);
    assert_eq!(open(&bob, &body).await.status(), 409, "another's key");
    let stranger = Person::new(&service, "other", "ada", Role::Analyst);
    assert_ne!(json_of(open(&stranger, &body).await, 201).await["session_id"], one["session_id"]);

    // One was open before; four places are left for ten.
    for _ in 0..MAX_SESSIONS - 5 {
        ada.session().await;
    }
    let mut opening = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let ada = ada.clone();
        opening.spawn(async move { ada.send(Method::POST, "/v1/sessions", None).await.status().as_u16() });
    }
    let mut statuses = opening.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [[201; 4].as_slice(), &[409; 6]].concat());
    bob.session().await;
}

#[tokio::test]
async fn a_session_overrides_a_limited_number_of_prices_also_when_all_come_at_once() {
    let service = service().await;
    let count = MAX_OVERRIDES + 3;
    // Prices 1 to 3 are known.
    let events = (4..=count).map(|price_id| listed(price_id, "1")).collect();
    service.database.append(events).await.expect("appends");
    let ada = Person::new(&service, TENANT, "ada", Role::Analyst);
    let session = ada.session().await;
    let caller = Principal::new(TENANT, "ada", Role::Analyst).expect("a principal");
    let (pool, appender) = (&service.database.pool, &service.database.appender);
    let id = session.parse().expect("an id");
    let set = async |price_id| {
        let new = NewOverride { amount: "2".to_owned(), reason: "r".to_owned(), expires_at: None };
        people::override_set(pool, appender, &caller, id, price_id, &new).await
    };
    let events = (1..MAX_OVERRIDES).map(|price_id| {
        let data = json!({"v": 1, "price_id": price_id, "amount": "2", "reason": "r"});
        NewEvent::new(session_stream(id), OVERRIDE_SET, &data)
    });
    let append = Append { origin: caller.origin(id), events: events.collect(), idempotency: None };
    appender.append(append).await.expect("appends");
    // One place is left for four.
    let (a, b, c, d) = tokio::join!(set(count), set(count - 1), set(count - 2), set(count - 3));
    let refusals: Vec<String> =
        [a, b, c, d].into_iter().filter_map(|one| one.err().map(|error| error.to_string())).collect();
    assert_eq!(refusals.len(), 3, "{refusals:?}");
    assert!(refusals.iter().all(|text| text.contains("the most there can be")), "{refusals:?}");
    // One that is set already may change, and a place that is cleared is free.
    ada.set(&session, 1, "3").await;
    assert_eq!(ada.send(Method::DELETE, &override_path(&session, 1), None).await.status(), 204);
    ada.set(&session, 1, "4").await;
}
