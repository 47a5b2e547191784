//! Proposals: submitted, decided, and what an approval does.

use std::time::Duration;

use futures_util::StreamExt as _;
use mercuriale::access::Role;
use mercuriale::bus::{INVALIDATED_SUBJECT, Invalidated, Relay};
use mercuriale::domain::event::{NewEvent, PROPOSAL_SUBMITTED, proposal_stream};
use mercuriale::ledger::{self, Append, Event, EventFilter, Origin};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::people::{Person, detail, json_of, override_path, prices, service, vm};
use crate::servers::Nats;
use crate::service::{Service, refused};
use crate::support::{TENANT, moved};

const PATH: &str = "/v1/proposals";

/// The events after a position.
async fn events(service: &Service, after: i64) -> Vec<Event> {
    ledger::read(&service.database.pool, after, &EventFilter::default(), 1_000).await.expect("reads")
}

async fn head(service: &Service) -> i64 {
    ledger::head(&service.database.pool).await.expect("reads")
}

/// An author and two administrators.
fn people(service: &Service) -> (Person, Person, Person) {
    (
        Person::new(service, TENANT, "ada", Role::Analyst),
        Person::new(service, TENANT, "bob", Role::Admin),
        Person::new(service, TENANT, "cyd", Role::Admin),
    )
}

#[tokio::test]
async fn an_approval_moves_the_official_price_in_the_same_append() {
    let service = service().await;
    let (ada, bob, _) = people(&service);
    assert_eq!(ada.unit_price(None).await, "0.1");
    let body = json!({
        "price_id": 1, "amount": "0.125", "justification": "the page says so",
        "evidence": ["https://acme.example/prices", "An hour: 0.125 EUR"],
    });
    let response = ada.send(Method::POST, PATH, Some(&body)).await;
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let submitted = json_of(response, 201).await;
    assert_eq!(ada.ok(Method::GET, &location, None, 200).await, submitted);
    let expected = json!({
        "proposal_id": submitted["proposal_id"], "shared": false, "price_id": 1, "amount": "0.125",
        "justification": "the page says so", "evidence": body["evidence"], "state": "pending",
        "submitted_by": "user:ada", "submitted_at": submitted["submitted_at"], "decided_by": null, "decided_at": null,
        "note": null, "position": submitted["position"], "list_unit_price_at_submission": "0.1",
        "list_unit_price": "0.1", "moved": false,
    });
    assert_eq!(submitted, expected);
    assert_eq!(ada.unit_price(None).await, "0.1", "a proposal alone moves nothing");

    let before = head(&service).await;
    let id = submitted["proposal_id"].as_str().expect("an id");
    let approved = json_of(bob.decide(id, "approve", &json!({"note": "checked"})).await, 200).await;
    assert_eq!(ada.ok(Method::GET, &location, None, 200).await, approved);
    assert_eq!(
        [&approved["state"], &approved["decided_by"], &approved["note"], &approved["list_unit_price"]],
        ["approved", "user:bob", "checked", "0.125"]
    );
    let after = events(&service, before).await;
    let [change, decision] = &after[..] else { panic!("{after:?}") };
    assert_eq!((change.event_type.as_str(), change.stream.as_str()), ("price.changed", "price/1"));
    assert_eq!((&*change.tenant, change.actor.as_str()), ("shared", "user:acme/bob"));
    let data: Value = serde_json::from_str(&change.data).expect("JSON");
    let expected = json!({
        "v": 1, "price_id": 1, "provider": "acme", "service": "Compute", "region": "north", "previous": "0.1",
        "amount": "0.125", "relative_change": "0.25", "cause": "proposal",
    });
    assert_eq!(data, expected);
    assert_eq!((decision.event_type.as_str(), &*decision.tenant), ("proposal.approved", TENANT));
    assert_eq!(decision.actor, "user:bob");
    let data: Value = serde_json::from_str(&decision.data).expect("JSON");
    let expected = json!({
        "v": 1, "price_id": 1, "amount": "0.125", "decision": "approved", "by": "user:bob", "note": "checked",
    });
    assert_eq!(data, expected);
    assert_eq!(change.recorded_at, decision.recorded_at);
    let submission = &events(&service, submitted["position"].as_i64().expect("a position") - 1).await[0];
    assert_eq!([change.causation_id, decision.causation_id], [Some(submission.event_id); 2]);

    // Every tenant calculates with it at once; it hears of the price, not of the proposal.
    let stranger = Person::new(&service, "other", "eve", Role::Admin);
    let estimate = stranger.estimate(None, &[vm()]).await;
    assert_eq!(estimate["lines"][0]["unit_price"], "0.125");
    assert_eq!(estimate["lines"][0]["price"]["position"], change.position);
    let seen = stranger.ok(Method::GET, &format!("/v1/events?after={before}"), None, 200).await;
    assert_eq!(seen["items"].as_array().map(Vec::len), Some(1), "{seen}");
    let again = refused(bob.decide(id, "reject", &json!({"note": "no"})).await).await;
    assert_eq!((again.status, again.kind()), (409, "conflict"));
    assert!(detail(&again).contains("was approved by user:bob"), "{}", detail(&again));
    service.database.assert_sound().await;
}

#[tokio::test]
async fn of_two_administrators_at_once_one_wins() {
    let service = service().await;
    let (ada, bob, cyd) = people(&service);
    for round in 0..8 {
        let id = ada.propose(&format!("0.2{round}")).await;
        let decision = if round % 2 == 0 { "approve" } else { "reject" };
        let (nothing, note) = (json!({}), json!({"note": "no"}));
        let body = if decision == "approve" { &nothing } else { &note };
        let (one, two) = tokio::join!(bob.decide(&id, "approve", &nothing), cyd.decide(&id, decision, body));
        let (first, second) = (one.status().as_u16(), two.status().as_u16());
        assert_eq!(first.min(second), 200, "{first} {second}");
        assert_eq!(first.max(second), 409, "{first} {second}");
        let lost = refused(if first == 409 { one } else { two }).await;
        assert!(detail(&lost).contains("by user:"), "{}", detail(&lost));
        let filter = EventFilter {
            stream: Some(proposal_stream(id.parse().expect("an id"))),
            ..EventFilter::default()
        };
        let decisions = ledger::read(&service.database.pool, 0, &filter, 10).await.expect("reads");
        assert_eq!(decisions.len(), 2, "submitted, and decided once");
        let by_approval = decisions[1].event_type == "proposal.approved";
        assert_eq!(ada.unit_price(None).await == format!("0.2{round}").trim_end_matches('0'), by_approval);
    }
    service.database.assert_sound().await;
}

#[tokio::test]
async fn a_price_that_moved_since_needs_a_confirmation_of_what_it_is_now() {
    let service = service().await;
    let (ada, bob, cyd) = people(&service);
    let (first, second) = (ada.propose("0.3").await, ada.propose("0.4").await);
    prices(&service, "2026-01-02T00:00:00Z", "0.15").await;
    let shown = ada.ok(Method::GET, &format!("{PATH}/{first}"), None, 200).await;
    assert_eq!(
        [&shown["moved"], &shown["list_unit_price_at_submission"], &shown["list_unit_price"]],
        [&json!(true), &json!("0.1"), &json!("0.15")]
    );
    let before = head(&service).await;
    let moved = refused(bob.decide(&first, "approve", &json!({})).await).await;
    assert_eq!((moved.status, moved.kind()), (409, "conflict"));
    assert!(detail(&moved).contains("0.1 ") && detail(&moved).contains("0.15"), "{}", detail(&moved));
    assert_eq!(
        [&moved.problem["list_unit_price_at_submission"], &moved.problem["list_unit_price"]],
        ["0.1", "0.15"]
    );
    let position = moved.problem["price_position"].as_i64().expect("a position");
    // Somebody else is faster, so the confirmation is of what is no more.
    let confirmed = json!({"confirm_position": position});
    assert_eq!(cyd.decide(&second, "approve", &confirmed).await.status(), 200);
    let stale = refused(bob.decide(&first, "approve", &confirmed).await).await;
    assert_eq!((stale.status, &stale.problem["list_unit_price"]), (409, &json!("0.4")));
    assert_eq!(head(&service).await, before + 2);
    let confirmed = json!({"confirm_position": stale.problem["price_position"]});
    let approved = json_of(bob.decide(&first, "approve", &confirmed).await, 200).await;
    assert_eq!([&approved["list_unit_price"], &approved["moved"]], [&json!("0.3"), &json!(false)]);
    assert_eq!(ada.unit_price(None).await, "0.3");

    // It moved to what was proposed: there is nothing to approve. A rejection confirms nothing.
    let third = ada.propose("0.5").await;
    // What is older than the approval would be no news.
    let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    prices(&service, &now, "0.5").await;
    let moved = refused(bob.decide(&third, "approve", &json!({})).await).await;
    let confirmed = json!({"confirm_position": moved.problem["price_position"]});
    let same = refused(bob.decide(&third, "approve", &confirmed).await).await;
    assert!(detail(&same).contains("already; reject"), "{}", detail(&same));
    let rejected = json_of(bob.decide(&third, "reject", &json!({"note": "done"})).await, 200).await;
    assert_eq!([&rejected["state"], &rejected["note"]], ["rejected", "done"]);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn a_withdrawn_price_is_listed_again_by_an_approval() {
    let service = service().await;
    let (ada, bob, _) = people(&service);
    service.database.append(vec![withdrawn()]).await.expect("appends");
    let id = ada.propose("0.1").await;
    let shown = ada.ok(Method::GET, &format!("{PATH}/{id}"), None, 200).await;
    assert_eq!((&shown["list_unit_price_at_submission"], &shown["moved"]), (&Value::Null, &json!(false)));
    assert_eq!(bob.decide(&id, "approve", &json!({})).await.status(), 200);
    assert_eq!(ada.unit_price(None).await, "0.1");
    let history = service.get("/v1/prices/1/history").await;
    let last = history["items"].as_array().and_then(|items| items.last()).expect("events").clone();
    assert_eq!([&last["event_type"], &last["cause"]], ["price.relisted", "proposal"]);
    // One that is withdrawn while the proposal waits has moved.
    let id = ada.propose("0.2").await;
    service.database.append(vec![withdrawn()]).await.expect("appends");
    let moved = refused(bob.decide(&id, "approve", &json!({})).await).await;
    assert!(moved.status == 409 && detail(&moved).contains("withdrawn"), "{}", detail(&moved));
    service.database.assert_sound().await;
}

/// A withdrawal of the flat price, in its own place.
fn withdrawn() -> NewEvent {
    let data = json!({
        "v": 1, "price_id": 1, "provider": "acme", "service": "Compute", "region": "north", "previous": "0.1",
        "missed_runs": 3, "cause": "refresh",
    });
    NewEvent { data: data.to_string(), ..moved(1, "price.withdrawn", None) }
}

#[tokio::test]
async fn nobody_decides_on_what_is_their_own_or_another_tenant_s() {
    let service = service().await;
    let (ada, bob, cyd) = people(&service);
    let before = head(&service).await;
    let own = bob.propose("0.3").await;
    for (decision, body) in [("approve", json!({})), ("reject", json!({"note": "n"}))] {
        let refused = refused(bob.decide(&own, decision, &body).await).await;
        assert_eq!((refused.status, refused.kind()), (403, "forbidden"), "{decision}");
        assert!(detail(&refused).contains("another administrator"), "{}", detail(&refused));
    }
    for role in [Role::Viewer, Role::Analyst, Role::Auditor] {
        let person = Person::new(&service, TENANT, "dee", role);
        let expected = if role == Role::Analyst { 201 } else { 403 };
        let body = json!({"price_id": 1, "amount": "0.9", "justification": "j"});
        assert_eq!(person.send(Method::POST, PATH, Some(&body)).await.status(), expected, "{role}");
        for decision in ["approve", "reject"] {
            assert_eq!(person.decide(&own, decision, &json!({"note": "n"})).await.status(), 403, "{role}");
        }
        person.ok(Method::GET, &format!("{PATH}/{own}"), None, 200).await;
    }
    // The same name in another tenant is another person, who sees nothing.
    let stranger = Person::new(&service, "other", "cyd", Role::Admin);
    let unknown = Uuid::now_v7().to_string();
    for id in [&own, &unknown] {
        assert_eq!(stranger.refused(Method::GET, &format!("{PATH}/{id}"), None).await.status, 404);
        assert_eq!(stranger.decide(id, "approve", &json!({})).await.status(), 404);
        assert_eq!(stranger.decide(id, "reject", &json!({"note": "n"})).await.status(), 404);
    }
    assert_eq!(stranger.ok(Method::GET, PATH, None, 200).await["items"], json!([]));
    assert_eq!(ada.ok(Method::GET, PATH, None, 200).await["items"].as_array().map(Vec::len), Some(2));
    assert_eq!(head(&service).await, before + 2);
    assert_eq!(cyd.decide(&own, "approve", &json!({})).await.status(), 200);
}

#[tokio::test]
async fn a_key_is_the_person_who_made_it_when_it_comes_to_deciding() {
    let service = service().await;
    let (_, bob, cyd) = people(&service);
    let admin = json!({"name": "k", "role": "admin"});
    let (one, two) = (bob.key(&service, &admin).await, bob.key(&service, &admin).await);
    // A key that a key made is of the same person.
    let three = one.key(&service, &admin).await;
    let of_cyd = cyd.key(&service, &admin).await;
    let before = head(&service).await;
    let (by_bob, by_key, by_its_key) =
        (bob.propose("0.3").await, one.propose("0.4").await, three.propose("0.5").await);
    for id in [&by_bob, &by_key, &by_its_key] {
        for person in [&bob, &one, &two, &three] {
            for (decision, body) in [("approve", json!({})), ("reject", json!({"note": "n"}))] {
                let refused = refused(person.decide(id, decision, &body).await).await;
                assert_eq!((refused.status, refused.kind()), (403, "forbidden"), "{decision}");
                assert!(detail(&refused).contains("another administrator"), "{}", detail(&refused));
            }
        }
    }
    assert_eq!(head(&service).await, before + 3);
    // A person of the same name in another tenant is another one; a revoked key still has its maker.
    let keys = bob.ok(Method::GET, "/v1/api-keys", None, 200).await;
    for key in keys["items"].as_array().expect("keys").iter().filter(|key| key["owner"] == "user:bob") {
        let path = format!("/v1/api-keys/{}", key["key_id"].as_str().expect("an id"));
        assert_eq!(cyd.send(Method::DELETE, &path, None).await.status(), 204);
    }
    assert_eq!(bob.decide(&by_key, "approve", &json!({})).await.status(), 403);
    let decided = json_of(of_cyd.decide(&by_bob, "reject", &json!({"note": "n"})).await, 200).await;
    assert!(decided["decided_by"].as_str().is_some_and(|by| by.starts_with("key:")), "{decided}");
    assert_eq!(cyd.decide(&by_key, "reject", &json!({"note": "n"})).await.status(), 200);
    assert_eq!(of_cyd.decide(&by_its_key, "approve", &json!({})).await.status(), 200);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn who_asked_a_source_for_a_shared_proposal_does_not_decide_on_it_either() {
    let service = service().await;
    let (_, bob, cyd) = people(&service);
    let admin = json!({"name": "k", "role": "admin"});
    let (key, other) = (bob.key(&service, &admin).await, bob.key(&service, &admin).await);
    let keys = bob.ok(Method::GET, "/v1/api-keys", None, 200).await;
    let key_id = keys["items"][1]["key_id"].as_str().expect("an id").to_owned();
    // The same person's name in another tenant.
    let namesake = Person::new(&service, "other", "bob", Role::Admin);
    for (round, actor) in [format!("user:{TENANT}/bob"), format!("key:{TENANT}/{key_id}")].iter().enumerate()
    {
        let id = Uuid::new_v4();
        let amount = format!("0.{}", round + 3);
        let data = json!({"v": 1, "price_id": 1, "amount": amount, "justification": "j", "evidence": []});
        let origin = Origin::shared(actor, Uuid::now_v7());
        let events = vec![NewEvent::new(proposal_stream(id), PROPOSAL_SUBMITTED, &data)];
        let append = Append { origin, events, idempotency: None };
        service.database.appender.append(append).await.expect("appends");
        let id = id.to_string();
        for person in [&bob, &key, &other] {
            assert_eq!(person.decide(&id, "approve", &json!({})).await.status(), 403, "{actor}");
            assert_eq!(person.decide(&id, "reject", &json!({"note": "n"})).await.status(), 403, "{actor}");
        }
        let decider = if round == 0 { &namesake } else { &cyd };
        assert_eq!(decider.decide(&id, "approve", &json!({})).await.status(), 200, "{actor}");
    }
}

#[tokio::test]
async fn what_a_source_proposes_is_for_the_administrators_of_all_tenants() {
    let service = service().await;
    let (ada, bob, _) = people(&service);
    let id = Uuid::new_v4();
    let data = json!({"v": 1, "price_id": 1, "amount": "0.3", "justification": "j", "evidence": ["e"]});
    let event = NewEvent::new(proposal_stream(id), PROPOSAL_SUBMITTED, &data);
    service.database.append(vec![event]).await.expect("appends");
    let stranger = Person::new(&service, "other", "eve", Role::Admin);
    let path = format!("{PATH}/{id}");
    for person in [&bob, &stranger] {
        assert_eq!(person.ok(Method::GET, &path, None, 200).await["shared"], true);
    }
    let auditor = Person::new(&service, TENANT, "aud", Role::Auditor);
    for person in [&ada, &auditor] {
        assert_eq!(person.refused(Method::GET, &path, None).await.status, 404);
        assert_eq!(person.ok(Method::GET, PATH, None, 200).await["items"], json!([]));
    }
    let before = head(&service).await;
    let approved = json_of(stranger.decide(&id.to_string(), "approve", &json!({})).await, 200).await;
    assert_eq!(approved["decided_by"], "user:other/eve");
    let after = events(&service, before).await;
    assert_eq!(after.len(), 2);
    for event in after {
        assert_eq!((&*event.tenant, event.actor.as_str()), ("shared", "user:other/eve"));
    }
    assert_eq!(bob.ok(Method::GET, &path, None, 200).await, approved);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn an_override_becomes_a_proposal() {
    let service = service().await;
    let (ada, bob, _) = people(&service);
    let session = ada.session().await;
    ada.set(&session, 1, "0.08").await;
    let body = json!({"price_id": 1, "session": session});
    let proposal = ada.ok(Method::POST, PATH, Some(&body), 201).await;
    assert_eq!([&proposal["amount"], &proposal["justification"]], ["0.08", "negotiated"]);
    let other = json!({"price_id": 1, "session": session, "amount": "0.07", "justification": "j"});
    assert_eq!(ada.ok(Method::POST, PATH, Some(&other), 201).await["amount"], "0.07");
    let id = proposal["proposal_id"].as_str().expect("an id");
    assert_eq!(bob.decide(id, "approve", &json!({})).await.status(), 200);
    assert_eq!(bob.unit_price(None).await, "0.08");
    // Nothing is left of the override once it is cleared.
    ada.send(Method::DELETE, &override_path(&session, 1), None).await;
    let refused = ada.refused(Method::POST, PATH, Some(&body)).await;
    assert!(refused.status == 404 && detail(&refused).contains("override of price"), "{}", detail(&refused));
}

#[tokio::test]
async fn a_request_that_is_sent_again_is_carried_out_once() {
    let service = service().await;
    let (ada, bob, cyd) = people(&service);
    let body = json!({"price_id": 1, "amount": "0.3", "justification": "j"});
    let submit =
        async |key: &str, body: &Value| ada.send_with_key(Method::POST, PATH, Some(body), Some(key)).await;
    let before = head(&service).await;
    let (one, two) = tokio::join!(submit("k1", &body), submit("k1", &body));
    let (one, two) = (one.text().await.expect("a body"), two.text().await.expect("a body"));
    assert_eq!(one, two);
    let three = submit("k1", &body).await;
    assert_eq!(three.status(), 201);
    let proposal: Value = serde_json::from_str(&one).expect("JSON");
    let id = proposal["proposal_id"].as_str().expect("an id");
    assert_eq!(three.headers()["location"], format!("{PATH}/{id}").as_str());
    assert_eq!(three.text().await.expect("a body"), one);
    assert_eq!(head(&service).await, before + 1);
    let path = format!("{PATH}/{id}/approve");
    let approve = async |person: &Person, key: &str| {
        person.send_with_key(Method::POST, &path, Some(&json!({})), Some(key)).await
    };
    let (one, two) = tokio::join!(approve(&bob, "k2"), approve(&bob, "k2"));
    let (one, two) = (json_of(one, 200).await, json_of(two, 200).await);
    assert_eq!(one, two);
    assert_eq!(json_of(approve(&bob, "k2").await, 200).await, one);
    assert_eq!(head(&service).await, before + 3);
    // Another request, or another person's, under the same key.
    for response in [
        submit("k1", &json!({"price_id": 1, "amount": "0.4", "justification": "j"})).await,
        approve(&cyd, "k2").await,
        approve(&bob, "k1").await,
    ] {
        let refused = refused(response).await;
        assert_eq!((refused.status, refused.kind()), (409, "conflict"));
        assert!(detail(&refused).contains("fresh key"), "{}", detail(&refused));
    }
    // A request that was refused may be sent again.
    let missing = json!({"price_id": 99, "amount": "0.4", "justification": "j"});
    assert_eq!(submit("k3", &missing).await.status(), 404);
    let good = json!({"price_id": 1, "amount": "0.4", "justification": "j"});
    assert_eq!(submit("k3", &good).await.status(), 201);
    assert_eq!(head(&service).await, before + 4);
}

#[tokio::test]
async fn what_cannot_be_proposed_or_decided_is_refused_with_its_place() {
    let service = service().await;
    let (ada, bob, _) = people(&service);
    let before = head(&service).await;
    let long = "x".repeat(4_001);
    for (body, place, message) in [
        (json!({"price_id": 1, "justification": "j"}), "/amount", "missing"),
        (json!({"price_id": 1, "amount": "-1", "justification": "j"}), "/amount", "negative"),
        (json!({"price_id": 1, "amount": "0.10", "justification": "j"}), "/amount", "official price already"),
        (json!({"price_id": 1, "amount": "1"}), "/justification", "missing"),
        (json!({"price_id": 1, "amount": "1", "justification": long}), "/justification", "4001 characters"),
        (
            json!({"price_id": 1, "amount": "1", "justification": "j", "evidence": vec!["e"; 21]}),
            "/evidence",
            "21 pieces",
        ),
        (
            json!({"price_id": 1, "amount": "1", "justification": "j", "evidence": ["e", ""]}),
            "/evidence/1",
            "empty",
        ),
    ] {
        let refused = ada.refused(Method::POST, PATH, Some(&body)).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        let [at, _, text, _] = refused.only_error();
        assert!(at == place && text.contains(message), "{body}: {at} {text}");
    }
    for body in
        [json!({"amount": "1"}), json!({"price_id": "1"}), json!({"price_id": 1, "session": "s"}), json!([])]
    {
        let refused = ada.refused(Method::POST, PATH, Some(&body)).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        assert!(detail(&refused).contains("send {\"price_id\""), "{}", detail(&refused));
    }
    let unknown = json!({"price_id": 99, "amount": "1", "justification": "j"});
    assert_eq!(ada.refused(Method::POST, PATH, Some(&unknown)).await.status, 404);
    assert_eq!(head(&service).await, before);

    let id = ada.propose("0.3").await;
    for (decision, body, text) in [
        ("reject", json!({}), "tell the author why"),
        ("approve", json!({"note": ""}), "/note"),
        ("approve", json!({"confirm": 1}), "unknown field"),
        ("reject", json!({"note": "n", "confirm_position": 1}), "unknown field"),
    ] {
        let refused = refused(bob.decide(&id, decision, &body).await).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{body}");
        assert!(refused.problem.to_string().contains(text), "{body}: {}", refused.problem);
    }
    assert_eq!(bob.decide("x", "approve", &json!({})).await.status(), 404);
    let second = ada.propose("0.4").await;
    bob.decide(&id, "reject", &json!({"note": "no"})).await;
    for (query, expected) in [
        ("?state=pending", vec![&second]),
        ("?state=rejected", vec![&id]),
        ("?state=approved", vec![]),
        ("", vec![&second, &id]),
        ("?limit=1", vec![&second]),
    ] {
        let page = ada.ok(Method::GET, &format!("{PATH}{query}"), None, 200).await;
        let ids: Vec<&str> = page["items"]
            .as_array()
            .expect("items")
            .iter()
            .map(|item| item["proposal_id"].as_str().expect("an id"))
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
    let refused = ada.refused(Method::GET, &format!("{PATH}?state=open"), None).await;
    assert!(detail(&refused).contains("pending, approved, rejected"), "{}", detail(&refused));
}

#[tokio::test]
async fn the_bus_names_the_place_of_an_approved_price() {
    let service = service().await;
    let nats = Nats::start().await;
    let client = nats.client().await;
    let mut notices = client.subscribe(INVALIDATED_SUBJECT).await.expect("subscribes");
    client.flush().await.expect("flushes");
    let ledger_id = ledger::id(&service.database.pool).await.expect("reads");
    let relay = tokio::spawn(Relay::new(service.database.pool.clone(), client, ledger_id).run());
    let (ada, bob, _) = people(&service);
    let id = ada.propose("0.3").await;
    let approved = json_of(bob.decide(&id, "approve", &json!({})).await, 200).await;
    let told = async {
        loop {
            let notice = notices.next().await.expect("a notice");
            let notice: Invalidated = serde_json::from_slice(&notice.payload).expect("JSON");
            if approved["position"] == notice.position {
                return notice;
            }
        }
    };
    let notice = tokio::time::timeout(Duration::from_mins(2), told).await.expect("in time");
    assert_eq!((notice.places, notice.policy), (vec!["acme/Compute/north".to_owned()], false));
    relay.abort();
}
