//! The HTTP face: what is read, and how requests are refused.

use std::collections::BTreeSet;

use mercuriale::access::Role;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::service::{Service, line, list, refused};
use crate::support::{TENANT, token, url_of};

const EC2: [&str; 3] = ["aws", "AmazonEC2", "eu-west-3"];
const S3: [&str; 3] = ["aws", "AmazonS3", "eu-west-3"];

fn request(line: &Value) -> String {
    json!({"lines": [line]}).to_string()
}

#[tokio::test]
async fn lines_that_mean_no_price_are_refused_with_what_there_is() {
    let service = Service::with_starter_lists().await;
    let t3 = |more: Value| line(EC2, "t3.medium", more);
    for (asked, place, message, remedy) in [
        (line(EC2, "t3.mediun", json!({})), "resource", "no price is known for \"t3.mediun\"", "t3.medium"),
        (t3(json!({"region": "eu-west-33"})), "resource", "no price is known", "aws AmazonEC2 in eu-west-3"),
        (t3(json!({"service": "AmazonEC3"})), "resource", "no price is known", "aws AmazonEC2 in eu-west-3"),
        (t3(json!({"provider": "awz"})), "resource", "no price is known", "aws AmazonEC2 in eu-west-3"),
        (
            t3(json!({"attributes": {"colour": "red"}})),
            "attributes",
            "instanceType",
            "leave the attribute out",
        ),
        (
            t3(json!({"attributes": {"operatingSystem": "BeOS"}})),
            "attributes",
            "no price has operatingSystem = \"BeOS\"; with the other attributes, it can be Linux",
            "give one of those",
        ),
        (line(S3, "TimedStorage-ByteHrs", json!({})), "usage_per_month", "by usage, per \"GB-Mo\"", "add it"),
        (t3(json!({"usage_per_month": "5"})), "usage_per_month", "by time, per \"Hrs\"", "remove it"),
    ] {
        let refused = service.estimate_refused(request(&asked)).await;
        assert_eq!((refused.status, refused.kind()), (422, "unanswerable-estimate"), "{asked}");
        let error = refused.only_error();
        assert_eq!(error[0], format!("/lines/0/{place}"), "{asked}");
        assert_eq!(error[1], "web", "{asked}");
        assert!(error[2].contains(message), "{}", error[2]);
        assert!(error[3].contains(remedy), "{}", error[3]);
        let detail = refused.problem["detail"].as_str().expect("text");
        assert!(detail.contains(error[0]) && detail.contains(error[3]), "{detail}");
    }

    // The second line is at fault, and says so.
    let lines = json!({"lines": [t3(json!({})), line(EC2, "nothing-like-it", json!({"label": "db"}))]});
    let refused = service.estimate_refused(lines.to_string()).await;
    assert_eq!(refused.only_error()[..2], ["/lines/1/resource", "db"]);
    // All are counted, twenty are told.
    let many: Vec<Value> = (0..30).map(|number| line(EC2, &format!("x{number}"), json!({}))).collect();
    let refused = service.estimate_refused(json!({"lines": many}).to_string()).await;
    assert_eq!(refused.problem["errors"].as_array().map(Vec::len), Some(20));
    assert_eq!(refused.problem["errors_total"], 30);
}

#[tokio::test]
async fn an_ambiguous_line_is_refused_with_the_candidates_and_what_tells_them_apart() {
    let service = Service::new().await;
    let rows = list(
        "machines",
        "2026-01-01T00:00:00Z",
        &[
            "provider,service,region,sku_id,sku_price_id,unit,currency,amount,attr:instanceType,attr:disk,attr:cpus",
            "acme,Compute,north,a,a,Hrs,EUR,0.1,big,ssd,4",
            "acme,Compute,north,b,b,Hrs,EUR,0.2,big,none,4",
        ],
    );
    service.load(rows).await;
    let big =
        |attributes: Value| line(["acme", "Compute", "north"], "big", json!({"attributes": attributes}));
    let refused = service.estimate_refused(request(&big(json!({})))).await;
    assert_eq!((refused.status, refused.kind()), (422, "unanswerable-estimate"));
    assert_eq!(
        refused.only_error(),
        [
            "/lines/0/resource",
            "web",
            "2 prices match \"big\"; narrow with attributes: disk = none | ssd",
            "add an attribute that tells them apart, or give a price id (1, 2)"
        ]
    );
    for (disk, price) in [("ssd", "0.1"), ("NONE", "0.2")] {
        assert_eq!(service.estimate_line(&big(json!({"disk": disk}))).await["unit_price"], price);
    }
}

#[tokio::test]
async fn requests_that_are_not_well_formed_are_refused_with_the_place() {
    let service = Service::with_starter_lists().await;
    let with = |name: &str, value: Value| {
        let mut asked = line(EC2, "t3.medium", json!({}));
        asked[name] = value;
        request(&asked)
    };
    let whole = |name: &str, value: Value| {
        let mut asked = json!({"lines": [line(EC2, "t3.medium", json!({}))]});
        asked[name] = value;
        asked.to_string()
    };
    let without_quantity = {
        let mut asked = line(EC2, "t3.medium", json!({}));
        asked.as_object_mut().expect("an object").remove("quantity");
        request(&asked)
    };
    for (body, place, message) in [
        (with("quantity", json!("0")), "/lines/0/quantity", "zero is not estimated"),
        (with("quantity", json!("-1")), "/lines/0/quantity", "-1 is negative"),
        (with("quantity", json!("1000000001")), "/lines/0/quantity", "more than 1000000000"),
        (with("quantity", json!("1e400")), "/lines/0/quantity", "outside the range"),
        (with("quantity", json!("NaN")), "/lines/0/quantity", "\"NaN\" is not a decimal number"),
        (with("quantity", json!(3)), "/lines/0/quantity", "a text is needed, not the number 3"),
        (with("quantity", json!([])), "/lines/0/quantity", "a text is needed, not an array"),
        (without_quantity, "/lines/0/quantity", "is missing"),
        // The values of a line, or of a request, in the order of its fields.
        (
            json!({"lines": [["web", "aws", EC2[1], EC2[2], "t3.medium", null, "1", null, null, null]]})
                .to_string(),
            "/lines/0",
            "a line is an object, not an array",
        ),
        (
            json!([null, null, null, null, null, null, null, [line(EC2, "t3.medium", json!({}))]])
                .to_string(),
            "",
            "the request is an array",
        ),
        (with("usage_per_month", json!("-5")), "/lines/0/usage_per_month", "-5 is negative"),
        (with("region", json!("")), "/lines/0/region", "the text is empty"),
        (with("resource", json!("x\u{0}y")), "/lines/0/resource", "control character U+0000"),
        (with("label", json!("x".repeat(201))), "/lines/0/label", "201 characters are more than the 200"),
        (
            with("pricing_model", json!("reserved")),
            "/lines/0/pricing_model",
            "\"reserved\" is not a pricing model",
        ),
        (with("pricing_basis", json!("best")), "/lines/0/pricing_basis", "\"best\" is not a pricing basis"),
        (with("qty", json!("1")), "/lines/0/qty", "unknown field \"qty\""),
        (with("a/b~c", json!("1")), "/lines/0/a~1b~0c", "unknown field \"a/b~c\""),
        (with("attributes", json!({"vcpu": 2})), "/lines/0/attributes/vcpu", "not the number 2"),
        (whole("liness", json!([])), "/liness", "unknown field \"liness\""),
        (whole("lines", json!([])), "/lines", "there are no lines"),
        (whole("lines", json!({})), "/lines", "an array is needed, not an object"),
        (whole("lines", json!(["t3.medium"])), "/lines/0", "a line is an object, not a text"),
        (whole("month", json!("2026-13")), "/month", "\"2026-13\" is not a month"),
        (whole("hours_per_month", json!("745")), "/hours_per_month", "745 is more than 744"),
        (whole("as_of", json!("yesterday")), "/as_of", "\"yesterday\" is not a time"),
        (whole("session", json!("s")), "/session", "not the id of a session"),
        (r#"{"lines":[{"provider":NaN}]}"#.to_owned(), "", "not JSON: expected value at line 1 column 23"),
        ("{\"lines\": [".to_owned(), "", "not JSON: EOF"),
        (String::new(), "", "not JSON: EOF"),
        ("[]".to_owned(), "", "the request is an array"),
        ("null".to_owned(), "", "the request is null"),
        ("[".repeat(100_000), "", "not JSON: recursion limit exceeded"),
    ] {
        let shown: String = body.chars().take(200).collect();
        let refused = service.estimate_refused(body).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{shown}");
        let error = refused.only_error();
        assert_eq!(error[0], place, "{shown}");
        assert!(error[2].contains(message), "{shown}: {}", error[2]);
        if place != "/lines/0/label" {
            assert_eq!(error[1] == "web", place.starts_with("/lines/0/"), "{shown}: label {:?}", error[1]);
        }
    }
    let lines = vec![line(EC2, "t3.medium", json!({})); 10_001];
    let refused = service.estimate_refused(json!({"lines": lines}).to_string()).await;
    let [place, _, message, remedy] = refused.only_error();
    assert_eq!([place, remedy], ["/lines", "split the estimate"]);
    assert_eq!(message, "10001 lines are more than the 10000 that are read");
    // The last that are read: 10,000 x 0.0472 x 730.
    let lines = vec![line(EC2, "t3.medium", json!({})); 10_000];
    assert_eq!(service.estimate(&json!({"lines": lines})).await["total"]["monthly_cost"], "344560");
}

#[tokio::test]
async fn bodies_of_other_types_and_sizes_are_refused() {
    let service = Service::with_starter_lists().await;
    let path = format!("{}/v1/estimates/calculate", service.url);
    let body = request(&line(EC2, "t3.medium", json!({})));
    for (media_type, status) in [
        (Some("application/json"), 200),
        (Some("Application/JSON; charset=utf-8"), 200),
        (None, 200),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some(""), 415),
    ] {
        let asked = service.client.post(&path).body(body.clone());
        let asked = match media_type {
            Some(media_type) => asked.header("content-type", media_type),
            None => asked,
        };
        let response = asked.send().await.expect("an answer");
        assert_eq!(response.status(), status, "{media_type:?}");
        if status != 200 {
            assert_eq!(refused(response).await.kind(), "unsupported-media-type", "{media_type:?}");
        }
    }
    // The client sends all of it before it reads the answer.
    let refused = service.estimate_refused(vec![b' '; 100 << 20]).await;
    assert_eq!((refused.status, refused.kind()), (413, "body-too-large"));
    assert!(refused.problem["detail"].as_str().expect("text").contains("16777216 bytes; split"));

    // Chunks do not say beforehand how much they are.
    let address = service.url.strip_prefix("http://").expect("a URL");
    let start = format!(
        "POST /v1/estimates/calculate HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         authorization: Bearer {}\r\nconnection: close\r\n",
        token(&service.authority, TENANT, Role::Viewer)
    );
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("connects");
    let head = format!("{start}transfer-encoding: chunked\r\n\r\n");
    connection.write_all(head.as_bytes()).await.expect("writes");
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..20 {
        connection.write_all(&chunk).await.expect("the service reads on");
    }
    connection.write_all(b"0\r\n\r\n").await.expect("writes");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // Who waits for a word before sending is told at once.
    let mut connection = tokio::net::TcpStream::connect(address).await.expect("connects");
    let head = format!("{start}expect: 100-continue\r\ncontent-length: 1000000000000\r\n\r\n");
    connection.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn paths_methods_and_parameters_that_there_are_not() {
    let service = Service::with_starter_lists().await;
    for path in [
        "/",
        "/v1",
        "/v1/nothing",
        "/v1/prices/",
        "/v1/prices/0",
        "/v1/prices/99999999999999999999",
        "/v1/prices/t3.medium",
        "/v1/prices/999999/history",
        "/v1/prices/x/history",
        "/v1/prices/999999/observations",
        "/v1/refreshes/7",
        "/v1/refreshes/00000000-0000-0000-0000-000000000000",
    ] {
        let refused = service.get_refused(path).await;
        assert_eq!((refused.status, refused.kind()), (404, "not-found"), "{path}");
    }
    for (method, path, allowed) in [
        (Method::GET, "/v1/estimates/calculate", "POST"),
        (Method::POST, "/v1/prices", "GET,HEAD"),
        (Method::DELETE, "/v1/prices/21", "GET,HEAD"),
        (Method::DELETE, "/v1/discount-policy", "GET,HEAD,PUT"),
        (Method::PUT, "/v1/refreshes", "GET,HEAD,POST"),
    ] {
        let response = service.request(method.clone(), path).await;
        assert_eq!(response.headers()["allow"], allowed, "{method} {path}");
        let refused = refused(response).await;
        assert_eq!((refused.status, refused.kind()), (405, "method-not-allowed"), "{method} {path}");
    }
    let long = format!("/v1/prices?q={}", "x".repeat(501));
    for (path, text) in [
        ("/v1/prices?limit=0", "a page has 1 to 500 rows"),
        ("/v1/prices?limit=501", "a page has 1 to 500 rows"),
        ("/v1/prices?limit=ten", "limit"),
        ("/v1/prices?after=-1", "follow the Link header"),
        ("/v1/prices?after=x", "after"),
        ("/v1/prices?colour=red", "colour"),
        ("/v1/prices?limit=1&limit=2", "limit"),
        ("/v1/prices?as_of=yesterday", "as_of"),
        ("/v1/prices?as_of=%2B262142-01-01T00:00:00Z", "2000 to 2199"),
        ("/v1/prices?as_of=0001-01-01T00:00:00Z", "2000 to 2199"),
        ("/v1/prices?q=%00", "NUL"),
        (&long, "at most 500 bytes"),
        ("/v1/prices/%FF", "not readable text"),
        ("/v1/prices/21/history?limit=0", "a page has 1 to 500 rows"),
        ("/v1/prices/21/observations?after=-1", "follow the Link header"),
        ("/v1/refreshes?limit=501", "a page has 1 to 500 rows"),
        ("/v1/refreshes?state=done", "started, completed, failed, quarantined, released"),
    ] {
        let refused = service.get_refused(path).await;
        assert_eq!((refused.status, refused.kind()), (400, "invalid-request"), "{path}");
        let detail = refused.problem["detail"].as_str().expect("text");
        assert!(detail.contains(text), "{path}: {detail}");
    }
}

#[tokio::test]
async fn faults_of_the_service_say_nothing_of_its_inside() {
    async fn check(service: &Service, status: u16, kind: &str) {
        let body = request(&line(EC2, "t3.medium", json!({})));
        for refused in [
            service.estimate_refused(body.clone()).await,
            service.get_refused("/v1/prices").await,
            service.get_refused("/v1/prices/21").await,
        ] {
            assert_eq!((refused.status, refused.kind()), (status, kind), "{}", refused.problem);
            let text = refused.problem.to_string();
            for inside in ["test_", "postgres", "relation", "FATAL", "sqlx", "price_search", "127.0.0.1"] {
                assert!(!text.contains(inside), "{inside}: {text}");
            }
        }
        assert_eq!(service.request(Method::GET, "/healthz").await.status(), 200);
    }
    // A table is gone.
    let service = Service::with_starter_lists().await;
    let mut owner = service.database.owner().await;
    owner.execute("drop schema price_search cascade").await.expect("drops");
    check(&service, 500, "internal").await;
    // The database is gone, and with it every connection.
    let name = service.database.url.rsplit('/').next().expect("a name").to_owned();
    drop(owner);
    let mut administrator = sqlx::PgConnection::connect(&url_of("postgres")).await.expect("connects");
    administrator.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.expect("drops");
    check(&service, 503, "unavailable").await;
    assert_eq!(service.get_refused("/readyz").await.kind(), "unavailable");
    assert_eq!(service.get_refused("/v1/refreshes").await.kind(), "unavailable");
    assert_eq!(service.get_refused("/v1/discount-policy").await.kind(), "unavailable");
    // The service is stopping.
    let service = Service::new().await;
    service.database.pool.close().await;
    check(&service, 503, "unavailable").await;
}

/// The items of all pages from a path on, and how many pages there were.
async fn all_pages(service: &Service, path: &str) -> (Vec<Value>, usize) {
    let (mut items, mut pages, mut next) = (Vec::new(), 0, Some(path.to_owned()));
    while let Some(path) = next {
        let response = service.request(Method::GET, &path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        next = response.headers().get("link").map(|link| {
            let link = link.to_str().expect("text");
            let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\""));
            target.expect("a link to the next page").to_owned()
        });
        let Value::Array(page) = response.json::<Value>().await.expect("JSON")["items"].take() else {
            panic!("{path}: items")
        };
        items.extend(page);
        pages += 1;
        assert!(pages < 1_000, "{path}: the pages do not end");
    }
    (items, pages)
}

fn ids(items: &[Value], name: &str) -> Vec<String> {
    items.iter().map(|item| item[name].to_string()).collect()
}

#[tokio::test]
async fn prices_are_found_by_what_is_known_of_them() {
    let service = Service::with_starter_lists().await;
    let total: i64 = sqlx::query_scalar("select count(*) from current_prices.prices")
        .fetch_one(&service.database.pool)
        .await
        .expect("reads");
    for limit in [7, 100, 500] {
        let (items, _) = all_pages(&service, &format!("/v1/prices?limit={limit}")).await;
        let expected: Vec<String> = (1..=total).map(|id| id.to_string()).collect();
        assert_eq!(ids(&items, "price_id"), expected, "{limit}");
    }
    // A page that is exactly full is the last one.
    let (_, pages) = all_pages(&service, &format!("/v1/prices?limit={total}")).await;
    assert_eq!(pages, 1);

    let t3 = "aws/AmazonEC2/89YAB55PARJAUR5B.JRTCKXETXF.6YS6EN2CT7/USD";
    for (query, count, first) in [
        ("provider=azure", 36, None),
        ("region=francecentral&limit=10", 36, None),
        ("service=AmazonS3", 3, None),
        ("service=AmazonS3&region=us-east-1", 0, None),
        ("resource=t3.medium", 1, Some(t3)),
        ("resource=T3.MEDIUM&provider=aws&service=AmazonEC2&region=eu-west-3", 1, Some(t3)),
        ("resource=BoxUsage:t3.medium", 1, Some(t3)),
        ("resource=t3.mediu", 0, None),
        ("resource=%25", 0, None),
        ("resource=Standard_D2s_v3", 3, None),
        ("resource=Standard_D2s_v3&q=windows", 1, None),
        ("q=Lambda-GB-Second", 3, None),
        ("q=89YAB55PARJAUR5B", 1, Some(t3)),
        ("q=nothing+of+the+kind", 0, None),
        ("q=", total, None),
        // EC2's list is of March 2025, the next one of August.
        ("as_of=2025-03-27T20:45:24Z", 0, None),
        ("as_of=2025-04-01T00:00:00Z&service=AmazonS3", 0, None),
        ("as_of=2025-04-01T00:00:00%2B02:00&resource=t3.medium", 1, Some(t3)),
    ] {
        let (items, _) = all_pages(&service, &format!("/v1/prices?{query}")).await;
        assert_eq!(i64::try_from(items.len()), Ok(count), "{query}: {:?}", ids(&items, "key"));
        if let Some(key) = first {
            assert_eq!(items[0]["key"], key, "{query}");
        }
    }
    let (found, _) = all_pages(&service, "/v1/prices?q=t3.medium").await;
    assert!(found.iter().any(|price| price["key"] == t3), "{:?}", ids(&found, "key"));

    let mut price = service.get("/v1/prices/21").await;
    assert_eq!(price["attributes"]["instanceType"], "t3.medium");
    price["attributes"].take();
    assert_eq!(
        price,
        json!({
            "price_id": 21, "key": t3, "provider": "aws", "service": "AmazonEC2", "region": "eu-west-3",
            "sku_id": "89YAB55PARJAUR5B", "sku_price_id": "89YAB55PARJAUR5B.JRTCKXETXF.6YS6EN2CT7",
            "attributes": null, "unit": "Hrs", "currency": "USD", "tier_from": "0", "tier_to": null,
            "list_unit_price": "0.0472", "in_force": true, "observed_at": "2025-03-27T20:45:25Z", "position": 22
        })
    );
}

#[tokio::test]
async fn the_history_of_a_price_and_what_was_seen_of_it() {
    let service = Service::new().await;
    let titles = "provider,service,region,sku_id,sku_price_id,unit,currency,amount";
    // A drift of less than a thousandth is observed, and no change.
    let amounts = ["0.1", "0.1", "0.10005", "0.2", "", "", "", "0.3"];
    for (day, amount) in amounts.iter().enumerate() {
        let mut rows = vec![titles.to_owned(), "acme,Compute,north,two,two,Hrs,EUR,1".to_owned()];
        if !amount.is_empty() {
            rows.push(format!("acme,Compute,north,one,one,Hrs,EUR,{amount}"));
        }
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        service.load(list("compute", &format!("2026-01-{:02}T00:00:00Z", day + 1), &rows)).await;
    }
    let expected = [
        ("price.listed", Some("0.1"), "2026-01-01T00:00:00Z"),
        ("price.changed", Some("0.2"), "2026-01-04T00:00:00Z"),
        ("price.withdrawn", None, "2026-01-07T00:00:00Z"),
        ("price.relisted", Some("0.3"), "2026-01-08T00:00:00Z"),
    ];
    for limit in [1, 2, 4, 500] {
        let (history, _) = all_pages(&service, &format!("/v1/prices/1/history?limit={limit}")).await;
        let history: Vec<_> = history
            .iter()
            .map(|row| {
                let text = |name: &str| row[name].as_str();
                (
                    text("event_type").expect("text"),
                    text("list_unit_price"),
                    text("effective_at").expect("text"),
                )
            })
            .collect();
        assert_eq!(history, expected, "{limit}");

        let (seen, _) = all_pages(&service, &format!("/v1/prices/1/observations?limit={limit}")).await;
        let seen: Vec<_> = seen
            .iter()
            .map(|row| (&row["observed_at"], &row["amount"]))
            .map(|(at, amount)| {
                (at.as_str().expect("text")[8..10].to_owned(), amount.as_str().expect("text").to_owned())
            })
            .collect();
        let expected = [("01", "0.1"), ("02", "0.1"), ("03", "0.10005"), ("04", "0.2"), ("08", "0.3")];
        assert_eq!(seen, expected.map(|(day, amount)| (day.to_owned(), amount.to_owned())), "{limit}");
    }
    // Withdrawn at that time, and listed as such.
    let then = service.get("/v1/prices?as_of=2026-01-07T12:00:00Z").await;
    let of_one = &then["items"][0];
    assert_eq!((&of_one["list_unit_price"], &of_one["in_force"]), (&Value::Null, &json!(false)));

    let (refreshes, _) = all_pages(&service, "/v1/refreshes?limit=3").await;
    let distinct: BTreeSet<_> = ids(&refreshes, "refresh_id").into_iter().collect();
    assert_eq!((refreshes.len(), distinct.len()), (amounts.len(), amounts.len()));
    let last = &refreshes[amounts.len() - 1];
    let shown = service.get(&format!("/v1/refreshes/{}", last["refresh_id"].as_str().expect("text"))).await;
    assert_eq!(shown, *last);
    for (name, value) in [
        ("source", json!("starter")),
        ("scope", json!("compute")),
        ("state", json!("completed")),
        ("origin", json!(["list.csv"])),
        ("observed_at", json!("2026-01-08T00:00:00Z")),
        ("complete", json!(true)),
        ("observed", json!(2)),
        ("relisted", json!(1)),
        ("unchanged", json!(1)),
        ("changed", json!(0)),
    ] {
        assert_eq!(shown[name], value, "{name}");
    }
    assert_eq!(all_pages(&service, "/v1/refreshes?state=failed").await.0, Vec::<Value>::new());
    assert_eq!(all_pages(&service, "/v1/refreshes?state=completed&limit=3").await, (refreshes, 3));
}

#[tokio::test]
async fn policy_health_and_request_ids() {
    let service = Service::with_starter_lists().await;
    let rates = json!({"on-demand": "0", "reserved-1y": "0.40", "reserved-3y": "0.60", "spot": "0.90"});
    assert_eq!(service.get("/v1/discount-policy").await, json!({"version": 1, "rates": rates}));
    let response = service.request(Method::GET, "/healthz").await;
    assert_eq!((response.status(), response.text().await.expect("text")), (StatusCode::OK, "alive\n".into()));
    let head = mercuriale::ledger::head(&service.database.pool).await.expect("reads");
    assert_eq!(service.get("/readyz").await, json!({"position": head}));
    let response = service
        .client
        .get(format!("{}/v1/prices/0", service.url))
        .header("x-request-id", "of-the-caller")
        .send()
        .await
        .expect("an answer");
    assert_eq!(response.headers()["x-request-id"], "of-the-caller");
}

#[tokio::test]
async fn pages_of_named_origins_may_call_from_a_browser_and_no_others() {
    let service = Service::new().await;
    let send = async |method: Method, origin: &str| {
        let request = Client::new().request(method, format!("{}/v1/prices", service.url));
        let request = request.header("origin", origin).header("access-control-request-method", "GET");
        request.header("access-control-request-headers", "authorization").send().await.expect("an answer")
    };
    let text = |response: &Response, name: &str| {
        response.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
    };
    let allowed = "https://finops.example.org";
    let preflight = send(Method::OPTIONS, allowed).await;
    assert_eq!(preflight.status(), 200);
    assert_eq!(text(&preflight, "access-control-allow-origin").as_deref(), Some(allowed));
    assert!(text(&preflight, "access-control-allow-headers").expect("headers").contains("authorization"));
    assert_eq!(text(&preflight, "access-control-allow-credentials"), None);
    // Also an answer that refuses, or a page could not tell why.
    let refused = send(Method::GET, allowed).await;
    assert_eq!(refused.status(), 401);
    assert_eq!(text(&refused, "access-control-allow-origin").as_deref(), Some(allowed));
    assert!(text(&refused, "access-control-expose-headers").expect("headers").contains("etag"));
    for other in ["https://finops.example.org.evil.example", "http://finops.example.org", "null"] {
        for method in [Method::OPTIONS, Method::GET] {
            let response = send(method, other).await;
            assert_eq!(text(&response, "access-control-allow-origin"), None, "{other}");
        }
    }
}
