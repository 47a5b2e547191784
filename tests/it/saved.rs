//! Saved estimates over HTTP: versions, lists, who sees them, and what happens at once.

use mercuriale::access::{Role, tenant_transaction};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::service::{Service, line, list, refused};
use crate::support::TENANT;

pub(crate) const EC2: [&str; 3] = ["aws", "AmazonEC2", "eu-west-3"];
const ACME: [&str; 3] = ["acme", "Compute", "paris"];

/// A request to save three t3.medium, or something else.
pub(crate) fn web(more: Value) -> Value {
    let mut request = json!({"name": "web", "lines": [line(EC2, "t3.medium", json!({"quantity": "3"}))]});
    let Value::Object(more) = more else { panic!("an object of fields") };
    request.as_object_mut().expect("an object").extend(more);
    request
}

/// A request of a client with a body.
pub(crate) fn ask(
    service: &Service,
    client: &Client,
    method: Method,
    path: &str,
    body: &Value,
) -> RequestBuilder {
    let request = client.request(method, format!("{}{path}", service.url));
    request.header("content-type", "application/json").body(body.to_string())
}

async fn sent(request: RequestBuilder) -> Response {
    request.send().await.expect("an answer")
}

/// Saves version 1 and returns it.
pub(crate) async fn create(service: &Service, body: &Value) -> Value {
    let response = sent(ask(service, &service.client, Method::POST, "/v1/estimates", body)).await;
    assert_eq!(response.status(), 201, "{:?}", response.text().await);
    response.json().await.expect("JSON")
}

/// Saves the version after `version` and returns it.
pub(crate) async fn update(service: &Service, estimate: &Value, version: u64, body: &Value) -> Value {
    let path = format!("{}/versions", path_of(estimate));
    let request = ask(service, &service.client, Method::POST, &path, body);
    let response = sent(request.header("if-match", format!("\"{version}\""))).await;
    assert_eq!(response.status(), 201, "{:?}", response.text().await);
    response.json().await.expect("JSON")
}

/// The path of an estimate.
pub(crate) fn path_of(estimate: &Value) -> String {
    format!("/v1/estimates/{}", estimate["estimate_id"].as_str().expect("an id"))
}

async fn events(service: &Service) -> i64 {
    let count = "select count(*) from events where event_type = 'estimate.saved'";
    sqlx::query_scalar(count).fetch_one(&service.database.pool).await.expect("reads")
}

#[tokio::test]
async fn versions_follow_each_other_and_never_change() {
    let service = Service::with_starter_lists().await;
    let first = web(json!({"note": "for approval", "tags": ["prod", "fr"]}));
    let response = sent(ask(&service, &service.client, Method::POST, "/v1/estimates", &first)).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["etag"]),
        (201, &"\"1\"".parse().expect("text"))
    );
    let location = response.headers()["location"].to_str().expect("text").to_owned();
    let saved = response.text().await.expect("text");
    let one: Value = serde_json::from_str(&saved).expect("JSON");
    // 3 x 0.0472 x 730
    assert_eq!(one["estimate"]["total"]["monthly_cost"], "103.368");
    for (field, value) in [
        ("version", json!(1)),
        ("name", json!("web")),
        ("note", json!("for approval")),
        ("tags", json!(["fr", "prod"])),
        ("archived", json!(false)),
        ("saved_by", json!("user:tester")),
        (
            "summary",
            json!({"lines": 1, "totals": [{"currency": "USD", "monthly_cost": "103.368", "annual_cost": "1240.416"}]}),
        ),
    ] {
        assert_eq!(one[field], value, "{field}");
    }
    assert_eq!(one["request"]["lines"][0]["pricing_model"], "on-demand");
    let path = path_of(&one);
    assert_eq!(location, format!("{path}/versions/1"));

    let (versions, second) = (format!("{path}/versions"), web(json!({"name": null})));
    let next = |if_match: Option<&'static str>| {
        let request = ask(&service, &service.client, Method::POST, &versions, &second);
        if_match.into_iter().fold(request, |request, tag| request.header("if-match", tag))
    };
    for (if_match, status, kind) in [
        (None, 428, "precondition-required"),
        (Some("\"2\""), 412, "precondition-failed"),
        (Some("1"), 400, "invalid-request"),
        (Some("W/\"1\""), 400, "invalid-request"),
        (Some("*"), 400, "invalid-request"),
    ] {
        let refused = refused(sent(next(if_match)).await).await;
        assert_eq!((refused.status, refused.kind()), (status, kind), "{if_match:?}");
    }
    let two: Value = sent(next(Some("\"1\""))).await.json().await.expect("JSON");
    // The name and the tags stay; the note is that of a version.
    assert_eq!((&two["version"], &two["name"], &two["note"]), (&json!(2), &json!("web"), &Value::Null));
    assert_eq!(two["tags"], json!(["fr", "prod"]));
    assert_eq!(refused(sent(next(Some("\"1\""))).await).await.status, 412);

    // Another name, and archived: the figures stay, byte for byte.
    let relabel = |body: Value, tag: &'static str| {
        sent(ask(&service, &service.client, Method::PATCH, &path, &body).header("if-match", tag))
    };
    let three: Value = relabel(json!({"name": "shop", "archived": true, "tags": []}), "\"2\"")
        .await
        .json()
        .await
        .expect("JSON");
    assert_eq!(
        (&three["name"], &three["archived"], &three["tags"]),
        (&json!("shop"), &json!(true), &json!([]))
    );
    assert_eq!((&three["version"], &three["figures_of"]), (&json!(3), &json!(2)));
    assert_eq!((&three["estimate"], &three["request"]), (&two["estimate"], &two["request"]));
    assert_eq!(refused(relabel(json!({"archived": false}), "\"2\"").await).await.status, 412);
    assert_eq!(refused(relabel(json!({}), "\"3\"").await).await.status, 400);
    let archived = refused(sent(next(Some("\"3\""))).await).await;
    assert_eq!((archived.status, archived.kind()), (409, "conflict"));
    let four: Value = relabel(json!({"archived": false}), "\"3\"").await.json().await.expect("JSON");
    assert_eq!(
        (&four["version"], &four["figures_of"], &four["archived"]),
        (&json!(4), &json!(2), &json!(false))
    );

    // What somebody has already is not sent again, in the form that they have it in.
    for (path, tag, status) in [
        (location.clone(), "\"1\"", 304),
        (location.clone(), "\"2\", W/\"1\"", 304),
        (location.clone(), "\"2\"", 200),
        (format!("{location}?format=csv"), "\"1\"", 200),
        (format!("{location}?format=csv"), "\"1-csv-en\"", 304),
        (format!("{path}/versions/9"), "*", 404),
    ] {
        let request = service.client.get(format!("{}{path}", service.url)).header("if-none-match", tag);
        let response = sent(request).await;
        assert_eq!(response.status(), status, "{path} {tag}");
        if status == 304 {
            assert!(response.headers().contains_key("etag") && response.headers().contains_key("vary"));
            assert!(!response.headers().contains_key("content-type"));
            assert_eq!(response.text().await.expect("text"), "");
        }
    }
    let shown = service.request(Method::GET, &location).await;
    assert_eq!(shown.headers()["etag"], "\"1\"");
    assert_eq!(shown.text().await.expect("text"), saved);
    assert_eq!(service.get(&path).await, four);
    for missing in [format!("{path}/versions/5"), format!("{path}/versions/0"), "/v1/estimates/x".to_owned()]
    {
        assert_eq!(service.get_refused(&missing).await.status, 404, "{missing}");
    }
    assert_eq!(events(&service).await, 4);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn lists_find_by_name_tag_and_archive_page_by_page() {
    let service = Service::with_starter_lists().await;
    for (name, tags) in
        [("Web shop", json!(["prod"])), ("web_admin", json!(["prod", "it"])), ("50% off", json!([]))]
    {
        create(&service, &web(json!({"name": name, "tags": tags}))).await;
    }
    let old = create(&service, &web(json!({"name": "old web"}))).await;
    let archive = ask(&service, &service.client, Method::PATCH, &path_of(&old), &json!({"archived": true}));
    assert_eq!(sent(archive.header("if-match", "\"1\"")).await.status(), 200);
    let names = async |query: &str| {
        let page = service.get(&format!("/v1/estimates{query}")).await;
        let items = page["items"].as_array().expect("items").clone();
        items.iter().map(|item| item["name"].as_str().expect("text").to_owned()).collect::<Vec<_>>()
    };
    for (query, expected) in [
        ("", &["Web shop", "web_admin", "50% off"][..]),
        ("?q=WEB", &["Web shop", "web_admin"]),
        ("?q=b_", &["web_admin"]),
        ("?q=%25", &["50% off"]),
        ("?q=%5C", &[]),
        ("?tag=prod", &["Web shop", "web_admin"]),
        ("?tag=prod&q=shop", &["Web shop"]),
        ("?tag=pro", &[]),
        ("?archived=true", &["old web"]),
        ("?archived=any&q=web", &["Web shop", "web_admin", "old web"]),
    ] {
        assert_eq!(names(query).await, expected, "{query}");
    }
    let page = service.request(Method::GET, "/v1/estimates?limit=2&tag=").await;
    let link = page.headers()["link"].to_str().expect("text").to_owned();
    let next = link.strip_prefix('<').and_then(|link| link.split_once('>')).expect("a link").0.to_owned();
    let page: Value = page.json().await.expect("JSON");
    assert_eq!(
        page["items"][0]["totals"],
        json!([{"currency": "USD", "monthly_cost": "103.368", "annual_cost": "1240.416"}])
    );
    let rest = service.request(Method::GET, &next).await;
    assert!(!rest.headers().contains_key("link"));
    let rest: Value = rest.json().await.expect("JSON");
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1));
    for wrong in ["?archived=yes", "?limit=0", "?after=x", "?name=web", "?q=%00"] {
        assert_eq!(service.get_refused(&format!("/v1/estimates{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn versions_are_listed_with_what_is_said_about_them() {
    let service = Service::with_starter_lists().await;
    let saved = create(&service, &web(json!({"note": "draft \"request\":{", "tags": ["prod"]}))).await;
    let path = path_of(&saved);
    // Hundreds of lines: what comes before the request is a small part of the whole.
    let lines: Vec<Value> = (0..300).map(|_| line(EC2, "t3.medium", json!({}))).collect();
    update(&service, &saved, 1, &web(json!({"lines": lines}))).await;
    let relabel = json!({"name": "shop", "archived": true});
    let relabel = ask(&service, &service.client, Method::PATCH, &path, &relabel).header("if-match", "\"2\"");
    assert_eq!(sent(relabel).await.status(), 200);
    let page = service.get(&format!("{path}/versions")).await;
    let items = page["items"].as_array().expect("items");
    assert_eq!(items.len(), 3);
    for (item, version) in items.iter().zip(1..) {
        // The version itself says the same, and more.
        let mut whole = service.get(&format!("{path}/versions/{version}")).await;
        let summary = whole["summary"].take();
        let whole = whole.as_object_mut().expect("an object");
        for name in ["estimate_id", "summary", "request", "estimate", "charges"] {
            whole.remove(name).expect(name);
        }
        for name in ["lines", "totals"] {
            whole.insert(name.to_owned(), summary[name].clone());
        }
        assert_eq!(item, &Value::Object(whole.clone()));
    }
    assert_eq!((&items[1]["lines"], items[1].get("figures_of")), (&json!(300), None));
    assert_eq!((&items[2]["figures_of"], &items[2]["archived"]), (&json!(2), &json!(true)));

    let page = service.request(Method::GET, &format!("{path}/versions?limit=2")).await;
    let link = page.headers()["link"].to_str().expect("text").to_owned();
    assert_eq!(link, format!("<{path}/versions?limit=2&after=2>; rel=\"next\""));
    let rest = service.request(Method::GET, &format!("{path}/versions?limit=2&after=2")).await;
    assert!(!rest.headers().contains_key("link"));
    assert_eq!(rest.json::<Value>().await.expect("JSON")["items"], json!([items[2]]));
    assert_eq!(service.get(&format!("{path}/versions?after=3")).await["items"], json!([]));
    for (path, status) in [
        (format!("{path}/versions?limit=0"), 400),
        (format!("{path}/versions?after=x"), 400),
        ("/v1/estimates/x/versions".to_owned(), 404),
        (format!("/v1/estimates/{}/versions", uuid::Uuid::nil()), 404),
    ] {
        assert_eq!(service.get_refused(&path).await.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_version_of_a_thousand_currencies_is_listed_whole() {
    let service = Service::new().await;
    let letter = |number: u32| char::from_u32(u32::from(b'A') + number % 26).expect("a letter");
    let currency =
        |number: u32| String::from_iter([letter(number / 676), letter(number / 26), letter(number)]);
    let mut rows = vec!["provider,service,region,sku_id,sku_price_id,unit,currency,amount".to_owned()];
    rows.extend((0..1_200).map(|n| format!("acme,Compute,paris,S{n},R{n},Hrs,{},0.25", currency(n))));
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    service.load(list("acme/paris", "2026-01-01T00:00:00Z", &rows)).await;
    let lines: Vec<Value> = (0..1_200).map(|n| line(ACME, &format!("S{n}"), json!({}))).collect();
    let saved = create(&service, &web(json!({"lines": lines}))).await;
    // More than is fetched of a payload at first.
    assert!(saved["summary"].to_string().len() > 65_536);
    let page = service.get(&format!("{}/versions", path_of(&saved))).await;
    assert_eq!(page["items"][0]["totals"], saved["summary"]["totals"]);
}

#[tokio::test]
async fn what_cannot_be_saved_is_refused_and_leaves_nothing() {
    let service = Service::with_starter_lists().await;
    for (body, status, place) in [
        (json!({"lines": []}), 400, "/name"),
        (web(json!({"name": "x".repeat(201)})), 400, "/name"),
        (web(json!({"note": "x".repeat(2_001)})), 400, "/note"),
        (web(json!({"tags": ["x".repeat(51)]})), 400, "/tags/0"),
        (web(json!({"tags": (0..21).map(|tag| tag.to_string()).collect::<Vec<_>>()})), 400, "/tags"),
        (web(json!({"lines": [line(EC2, "t9.medium", json!({}))]})), 422, "/lines/0/resource"),
        (web(json!({"archived": true})), 400, "/archived"),
    ] {
        let refused =
            refused(sent(ask(&service, &service.client, Method::POST, "/v1/estimates", &body)).await).await;
        assert_eq!(refused.status, status, "{}", refused.problem);
        assert_eq!(refused.problem["errors"][0]["place"], place, "{}", refused.problem);
    }
    for key in ["", &"k".repeat(256)] {
        let request = ask(&service, &service.client, Method::POST, "/v1/estimates", &web(json!({})));
        assert_eq!(refused(sent(request.header("idempotency-key", key)).await).await.status, 400, "{key}");
    }
    assert_eq!(events(&service).await, 0);
    assert_eq!(service.get("/v1/estimates").await["items"], json!([]));
}

#[tokio::test]
async fn of_two_at_once_one_loses() {
    let service = Service::with_starter_lists().await;
    let saved = create(&service, &web(json!({}))).await;
    let path = format!("{}/versions", path_of(&saved));
    let mut at_once = JoinSet::new();
    for quantity in 1..=8 {
        let lines = json!([line(EC2, "t3.medium", json!({"quantity": quantity.to_string()}))]);
        let request = ask(&service, &service.client, Method::POST, &path, &web(json!({"lines": lines})));
        at_once.spawn(sent(request.header("if-match", "\"1\"")));
    }
    let mut statuses: Vec<u16> =
        at_once.join_all().await.into_iter().map(|response| response.status().as_u16()).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(events(&service).await, 2);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn a_request_with_a_key_is_carried_out_once() {
    let service = Service::new().await;
    let price = "acme,Compute,paris,S1,S1-hour,Hrs,EUR,0.25,S1";
    let titles = "provider,service,region,sku_id,sku_price_id,unit,currency,amount,attr:instanceType";
    service.load(list("acme/paris", "2026-01-01T00:00:00Z", &[titles, price])).await;
    let body = json!({"name": "web", "lines": [line(ACME, "S1", json!({}))]});
    let with_key = |client: &Client, key: &str, body: &Value| {
        ask(&service, client, Method::POST, "/v1/estimates", body).header("idempotency-key", key)
    };
    let mut at_once = JoinSet::new();
    for _ in 0..8 {
        at_once.spawn(sent(with_key(&service.client, "k1", &body)));
    }
    let mut answers = Vec::new();
    for response in at_once.join_all().await {
        assert_eq!(response.status(), 201);
        let headers =
            ["etag", "location"].map(|name| response.headers()[name].to_str().expect("text").to_owned());
        answers.push((headers, response.text().await.expect("text")));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    assert_eq!(events(&service).await, 1);

    // The price is gone by now: the same request again is not calculated, and has the same answer.
    for month in 2..=4 {
        let other = "acme,Compute,paris,S2,S2-hour,Hrs,EUR,0.50,S2";
        service.load(list("acme/paris", &format!("2026-0{month}-01T00:00:00Z"), &[titles, other])).await;
    }
    let fresh = refused(sent(with_key(&service.client, "k2", &body)).await).await;
    assert_eq!((fresh.status, fresh.kind()), (422, "unanswerable-estimate"));
    let again = sent(with_key(&service.client, "k1", &body)).await;
    assert_eq!((again.status().as_u16(), again.text().await.expect("text")), (201, answers[0].1.clone()));
    // Another request under the key, the key of a colleague, and that of another tenant.
    let body = json!({"name": "web", "lines": [line(ACME, "S2", json!({}))]});
    let reused = refused(sent(with_key(&service.client, "k1", &body)).await).await;
    assert_eq!((reused.status, reused.kind()), (409, "conflict"));
    let colleague = service.client_as(TENANT, "colleague", Role::Analyst);
    assert_eq!(refused(sent(with_key(&colleague, "k1", &body)).await).await.status, 409);
    let other = service.client_of("other", Role::Analyst);
    assert_eq!(sent(with_key(&other, "k1", &body)).await.status(), 201);

    // The next version, sent twice with the same If-Match: the second is the answer of the first, not a conflict.
    let one: Value = serde_json::from_str(&answers[0].1).expect("JSON");
    let path = format!("{}/versions", path_of(&one));
    let next = || {
        let request = ask(&service, &service.client, Method::POST, &path, &body);
        sent(request.header("if-match", "\"1\"").header("idempotency-key", "k3"))
    };
    let (first, second) = (next().await, next().await);
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (201, 201));
    assert_eq!(first.text().await.expect("text"), second.text().await.expect("text"));
    assert_eq!(events(&service).await, 3);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn the_database_itself_keeps_the_estimates_of_tenants_apart() {
    let service = Service::with_starter_lists().await;
    for _ in 0..2 {
        create(&service, &web(json!({}))).await;
    }
    // Statements that forget to name their tenant.
    for (tenant, expected) in [(TENANT, 2), ("other", 0), ("", 0)] {
        let mut transaction = tenant_transaction(&service.database.pool, tenant).await.expect("begins");
        for statement in [
            "select count(*) from estimates.estimates",
            "select count(*) from tenant_events where event_type = 'estimate.saved'",
        ] {
            let count: i64 = sqlx::query_scalar(statement).fetch_one(&mut *transaction).await.expect("reads");
            assert_eq!(count, expected, "{tenant:?}: {statement}");
        }
        let refused = sqlx::query("select from events").execute(&mut *transaction).await;
        assert!(refused.expect_err("refused").to_string().contains("permission denied"));
    }
}

#[tokio::test]
async fn other_tenants_see_nothing_and_viewers_save_nothing() {
    let service = Service::with_starter_lists().await;
    let saved = create(&service, &web(json!({}))).await;
    let (path, id) = (path_of(&saved), saved["estimate_id"].clone());
    let report = json!({"estimates": [{"id": id}]});
    let routes = [
        (Method::GET, path.clone(), Value::Null, 200),
        (Method::GET, format!("{path}/versions"), Value::Null, 200),
        (Method::GET, format!("{path}/versions/1"), Value::Null, 200),
        (Method::GET, format!("{path}/versions/1?format=csv"), Value::Null, 200),
        (Method::GET, format!("{path}/diff?from=1&to=now"), Value::Null, 200),
        (Method::POST, format!("{path}/versions/1/what-if"), json!({"quantity_factor": "2"}), 200),
        (Method::POST, "/v1/estimates/consolidate".to_owned(), report, 200),
        (Method::PATCH, path.clone(), json!({"name": "mine"}), 403),
        (Method::POST, format!("{path}/versions"), web(json!({})), 403),
        (Method::POST, "/v1/estimates".to_owned(), web(json!({})), 403),
    ];
    for (method, path, body, of_viewer) in &routes {
        let asked = async |client: Client| {
            let request = ask(&service, &client, method.clone(), path, body).header("if-match", "\"1\"");
            sent(request).await.status().as_u16()
        };
        for role in [Role::Viewer, Role::Auditor] {
            assert_eq!(asked(service.client_of(TENANT, role)).await, *of_viewer, "{role} {method} {path}");
        }
        if path != "/v1/estimates" {
            assert_eq!(asked(service.client_of("other", Role::Admin)).await, 404, "{method} {path}");
        }
    }
    let other = service.client_of("other", Role::Admin);
    let foreign = other.get(format!("{}/v1/estimates?archived=any", service.url));
    assert_eq!(sent(foreign).await.json::<Value>().await.expect("JSON")["items"], json!([]));
    let foreign = other.get(format!("{}/v1/events?type=estimate.saved", service.url));
    assert_eq!(sent(foreign).await.json::<Value>().await.expect("JSON")["items"], json!([]));
    assert_eq!(events(&service).await, 1);
    assert_eq!(
        sent(ask(
            &service,
            &service.client_of(TENANT, Role::Analyst),
            Method::POST,
            "/v1/estimates",
            &web(json!({}))
        ))
        .await
        .status(),
        201
    );
}

#[tokio::test]
async fn ten_thousand_lines_are_saved_and_exported() {
    let service = Service::with_starter_lists().await;
    let lines: Vec<Value> = (0..10_000)
        .map(|number| line(EC2, "t3.medium", json!({"label": format!("line {number}")})))
        .collect();
    let saved = create(&service, &web(json!({"lines": lines}))).await;
    // 10,000 x 0.0472 x 730
    assert_eq!(saved["summary"]["totals"][0]["monthly_cost"], "344560");
    for format in ["csv", "focus"] {
        let path = format!("{}/versions/1?format={format}", path_of(&saved));
        let csv = service.request(Method::GET, &path).await.text().await.expect("text");
        assert_eq!(csv.lines().count(), 10_001, "{format}");
    }
    let mut too_many = lines;
    too_many.push(too_many[0].clone());
    let request =
        ask(&service, &service.client, Method::POST, "/v1/estimates", &web(json!({"lines": too_many})));
    assert_eq!(refused(sent(request).await).await.status, 400);
}
