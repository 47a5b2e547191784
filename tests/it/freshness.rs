//! No answer is older than the last commit before its request, wherever it comes from.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use mercuriale::domain::event::{
    DISCOUNT_POLICY_SET, DISCOUNT_POLICY_STREAM, NewEvent, PRICE_CHANGED, PriceMoved, price_stream,
    relative_change,
};
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::service::{Service, line, list};

const NORTH: [&str; 3] = ["acme", "Compute", "north"];
const SOUTH: [&str; 3] = ["acme", "Compute", "south"];

fn one_price(region: &str, observed_at: &str, amount: &str) -> String {
    list(
        region,
        observed_at,
        &[
            "provider,service,region,sku_id,sku_price_id,unit,currency,amount",
            &format!("acme,Compute,{region},one,one-{region},Hrs,EUR,{amount}"),
        ],
    )
}

#[tokio::test]
async fn the_answer_after_a_refresh_has_the_new_price_and_other_places_stay_cached() {
    let service = Service::new().await;
    service.load(one_price("north", "2026-01-01T00:00:00Z", "1")).await;
    service.load(one_price("south", "2026-01-01T00:00:00Z", "5")).await;
    let ask = async |place| service.estimate(&json!({"lines": [line(place, "one", json!({}))]})).await;
    let served = |answer: &Value| {
        let price = &answer["lines"][0]["price"];
        (
            price["list_unit_price"].as_str().expect("text").to_owned(),
            price["served_from"].as_str().expect("text").to_owned(),
        )
    };
    let expect = |amount: &str, from: &str| (amount.to_owned(), from.to_owned());
    assert_eq!(served(&ask(NORTH).await), expect("1", "postgres"));
    let before = ask(NORTH).await;
    assert_eq!(served(&before), expect("1", "memory"));
    assert_eq!(served(&ask(SOUTH).await), expect("5", "postgres"));

    service.load(one_price("north", "2026-01-02T00:00:00Z", "2")).await;
    let after = ask(NORTH).await;
    assert_eq!(served(&after), expect("2", "postgres"));
    let position = |answer: &Value| answer["lines"][0]["price"]["position"].as_i64().expect("a position");
    assert!(position(&after) > before["position"].as_i64().expect("a position"));
    assert_eq!(after["lines"][0]["price"]["observed_at"], "2026-01-02T00:00:00Z");
    assert_eq!(served(&ask(NORTH).await), expect("2", "memory"));
    // The south did not move, whatever the ledger's position; nor does an unchanged list move the north.
    assert_eq!(served(&ask(SOUTH).await), expect("5", "memory"));
    service.load(one_price("north", "2026-01-03T00:00:00Z", "2")).await;
    let unchanged = ask(NORTH).await;
    assert_eq!(served(&unchanged), expect("2", "memory"));
    assert!(unchanged["position"].as_i64() > after["position"].as_i64());

    // One line of two is cached: each says where it is from.
    service.load(one_price("south", "2026-01-03T00:00:00Z", "6")).await;
    let both = service
        .estimate(&json!({"lines": [line(NORTH, "one", json!({})), line(SOUTH, "one", json!({}))]}))
        .await;
    let from: Vec<_> = [0, 1].map(|index| both["lines"][index]["price"]["served_from"].clone()).into();
    assert_eq!(from, ["memory", "postgres"]);
    assert_eq!(both["lines"][1]["unit_price"], "6");

    // Another pricing model is another question; a policy set since holds in the very next answer.
    let reserved = line(NORTH, "one", json!({"pricing_model": "reserved-1y"}));
    assert_eq!(service.estimate_line(&reserved).await["price"]["served_from"], "postgres");
    service.database.append(vec![policy("0.25")]).await.expect("appends");
    let cost = service.estimate_line(&reserved).await;
    assert_eq!([&cost["price"]["served_from"], &cost["effective_unit_price"]], ["memory", "1.5"]);
}

fn policy(reserved: &str) -> NewEvent {
    let rates = json!({"on-demand": "0", "reserved-1y": reserved, "reserved-3y": "0.6", "spot": "0.9"});
    NewEvent::new(DISCOUNT_POLICY_STREAM.to_owned(), DISCOUNT_POLICY_SET, &json!({"v": 1, "rates": rates}))
}

fn change(previous: i64, amount: i64) -> NewEvent {
    let (previous, amount) = (Decimal::from(previous), Decimal::from(amount));
    NewEvent::new(
        price_stream(1),
        PRICE_CHANGED,
        &PriceMoved {
            v: 1,
            price_id: 1,
            provider: "acme",
            service: "Compute",
            region: "north",
            previous,
            amount: Some(amount),
            relative_change: relative_change(previous, amount),
            missed_runs: None,
            cause: "refresh",
        },
    )
}

/// What an answer claimed.
#[derive(Debug)]
struct Answer {
    /// The last position acknowledged before the request was sent.
    acknowledged: i64,
    position: i64,
    price_position: i64,
    amount: Decimal,
    policy_version: i64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_exact_for_the_position_it_claims_while_the_price_moves() {
    const CLIENTS: usize = 8;
    // What the run has to have met to say anything: moves, and both ways of answering.
    const MOVES: usize = 200;
    const ANSWERS_FROM_EACH: usize = 500;
    let service = Arc::new(Service::new().await);
    service.load(one_price("north", "2026-01-01T00:00:00Z", "1")).await;
    let acknowledged = Arc::new(AtomicI64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let count = || Arc::new(AtomicUsize::new(0));
    let (moves, from_memory, from_elsewhere) = (count(), count(), count());

    let writing = tokio::spawn({
        let (service, acknowledged, over) = (service.clone(), acknowledged.clone(), over.clone());
        let moves = moves.clone();
        async move {
            let mut amount = 1;
            while !over.load(Ordering::SeqCst) {
                let mut events = vec![change(amount, amount + 1)];
                amount += 1;
                if amount % 7 == 0 {
                    events.push(policy(&format!("0.{:02}", amount % 90)));
                }
                let appended = service.database.append(events).await.expect("appends");
                acknowledged.store(appended.last().map_or(0, |event| event.position), Ordering::SeqCst);
                moves.fetch_add(1, Ordering::SeqCst);
                // A pause now and then lets answers come from the cache.
                if amount % 3 == 0 {
                    tokio::time::sleep(Duration::from_millis(4)).await;
                }
            }
        }
    });
    let body = json!({"lines": [line(NORTH, "one", json!({"pricing_model": "reserved-1y"}))]}).to_string();
    let asking: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (service, acknowledged, body) = (service.clone(), acknowledged.clone(), body.clone());
            let (over, from_memory, from_elsewhere) =
                (over.clone(), from_memory.clone(), from_elsewhere.clone());
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !over.load(Ordering::SeqCst) {
                    let before = acknowledged.load(Ordering::SeqCst);
                    let response = service.calculate(body.clone()).await;
                    assert_eq!(response.status(), 200);
                    let answer: Value = response.json().await.expect("JSON");
                    let price = &answer["lines"][0]["price"];
                    let from = if price["served_from"] == "memory" { &from_memory } else { &from_elsewhere };
                    from.fetch_add(1, Ordering::SeqCst);
                    let number = |value: &Value| value.as_i64().expect("a number");
                    answers.push(Answer {
                        acknowledged: before,
                        position: number(&answer["position"]),
                        price_position: number(&price["position"]),
                        amount: price["list_unit_price"].as_str().expect("text").parse().expect("a decimal"),
                        policy_version: number(&answer["discount_policy"]["version"]),
                    });
                }
                answers
            })
        })
        .collect();
    let enough = async {
        for (counted, goal) in
            [(&moves, MOVES), (&from_memory, ANSWERS_FROM_EACH), (&from_elsewhere, ANSWERS_FROM_EACH)]
        {
            while counted.load(Ordering::SeqCst) < goal {
                assert!(!writing.is_finished() && !asking.iter().any(tokio::task::JoinHandle::is_finished));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(5), enough).await.expect("in time");
    over.store(true, Ordering::SeqCst);
    let mut answers = Vec::new();
    for client in asking {
        answers.extend(client.await.expect("no failed request"));
    }
    writing.await.expect("writes");

    let history: Vec<(i64, Decimal)> = sqlx::query_as(
        "select position, amount from price_history.price_events where price_id = 1 order by position",
    )
    .fetch_all(&service.database.pool)
    .await
    .expect("reads");
    let policies: Vec<i64> =
        sqlx::query_scalar("select position from discount_policies.policies order by position")
            .fetch_all(&service.database.pool)
            .await
            .expect("reads");
    for answer in &answers {
        assert!(answer.position >= answer.acknowledged, "older than the last commit: {answer:?}");
        let in_force = history.iter().rev().find(|(position, _)| *position <= answer.position);
        assert_eq!(in_force, Some(&(answer.price_position, answer.amount)), "{answer:?}");
        let set = policies.iter().filter(|position| **position <= answer.position).count();
        assert_eq!(answer.policy_version, 1 + i64::try_from(set).expect("a number"), "{answer:?}");
    }
}
