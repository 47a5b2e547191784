//! Price lists of a place: read back by another ledger, the same for ever, and never short in silence.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use mercuriale::access::Role;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::program::{refresh, run};
use crate::service::{Service, list};
use crate::support::{Database, TENANT, listed, moved};

/// Texts that need quotes or guards, numbers of all sizes, tiers, and prices without a region or a source.
const HARD: [&str; 4] = [
    "provider,service,region,sku_id,sku_price_id,unit,currency,amount,tier_from,tier_to,source_url,attr:name,attr:sum",
    "acme,Compute,,=S1,\"@rate,1\",Hrs,EUR,0.25,,,https://acme.example/1,\"two \"\"words\"\"\",=1+1",
    "acme,Compute,paris,'=S2,-5,10 GB-Mo,USD,6.55E-8,0,10,,\"a\nb\",-5",
    "acme,Compute,paris,'=S2,-6,10 GB-Mo,USD,1234.567890123456789012345679,10,,,,'+x",
];
const TITLES: &str = "provider,service,region,sku_id,sku_price_id,unit,currency,amount,attr:cpu";

async fn answer(service: &Service, query: &str) -> Response {
    let response = service.request(Method::GET, &format!("/v1/prices/export?{query}")).await;
    assert_eq!(response.status(), 200, "{query}");
    response
}

async fn text(service: &Service, query: &str) -> String {
    answer(service, query).await.text().await.expect("a whole body")
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers()[name].to_str().expect("text")
}

/// What a ledger says of the prices of a provider, by key, without what is its own: ids, positions and times.
async fn prices(service: &Service, provider: &str) -> BTreeMap<String, Value> {
    let page = service.get(&format!("/v1/prices?provider={provider}&limit=500")).await;
    let items = page["items"].as_array().expect("items").clone();
    let of_its_own = ["price_id", "position", "observed_at"];
    items
        .into_iter()
        .map(|mut price| {
            let fields = price.as_object_mut().expect("an object");
            fields.retain(|name, _| !of_its_own.contains(&name.as_str()));
            (price["key"].as_str().expect("a key").to_owned(), price)
        })
        .collect()
}

#[tokio::test]
async fn another_ledger_reads_the_same_prices() {
    let one = Service::with_starter_lists().await;
    one.load(list("acme", "2026-01-01T00:00:00Z", &HARD)).await;
    let two = Service::new().await;
    for (provider, count) in [("acme", 3), ("aws", 100), ("azure", 10)] {
        let exported = text(&one, &format!("provider={provider}")).await;
        let report = two.load(exported).await;
        assert_eq!(report.scope, provider);
        let (sent, read) = (prices(&one, provider).await, prices(&two, provider).await);
        assert_eq!(sent, read, "{provider}");
        assert!(sent.len() >= count, "{provider}: {}", sent.len());
    }
    // And back: nothing is new.
    let report = one.load(text(&two, "provider=acme").await.replace("scope: acme", "scope: back")).await;
    assert_eq!((report.counts.listed, report.counts.changed, report.counts.unchanged), (0, 0, 3));
    // By command, one place.
    let as_of = "provider=aws&service=AmazonEC2&region=eu-west-3&as_of=2026-06-01T00:00:00Z";
    let exported = text(&one, as_of).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("prices.csv");
    std::fs::write(&file, &exported).expect("written");
    let database = Database::new().await;
    let ran = refresh(&database.url, "csv", &[&file]);
    let report: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let lines = exported.lines().filter(|line| line.starts_with("aws,AmazonEC2,eu-west-3,")).count();
    assert_eq!(
        (&report["scope"], &report["observed_at"], &report["listed"]),
        (&json!("aws/AmazonEC2/eu-west-3"), &json!("2026-06-01T00:00:00Z"), &json!(lines)),
        "{ran:?}"
    );
    assert!(lines > 0, "{exported}");
    two.database.assert_sound().await;
}

#[tokio::test]
async fn a_list_says_what_it_is_of_and_stays_the_same_for_ever() {
    let service = Service::new().await;
    let load = async |observed_at: &str, rows: &[&str]| {
        let rows: Vec<&str> = std::iter::once(TITLES).chain(rows.iter().copied()).collect();
        service.load(list("acme/paris", observed_at, &rows)).await;
        mercuriale::ledger::head(&service.database.pool).await.expect("reads")
    };
    let (s1, s2) = ("acme,Compute,paris,S1,S1,Hrs,EUR,0.25,2", "acme,Compute,paris,S2,S2,Hrs,EUR,0.50,4");
    let known_at = load("2026-01-01T00:00:00Z", &[s1, s2]).await;
    let query = "provider=acme&service=Compute&region=paris&as_of=2026-01-15T00:00:00%2B00:00";
    let first = answer(&service, query).await;
    for (name, value) in [
        ("content-type", "text/csv; charset=utf-8".to_owned()),
        (
            "content-disposition",
            format!("attachment; filename=\"prices-acme-Compute-paris-20260115T000000Z-{known_at}.csv\""),
        ),
        ("etag", format!("\"{known_at}-1768435200000000-csv\"")),
        (
            "content-location",
            format!(
                "/v1/prices/export?provider=acme&service=Compute&region=paris&as_of=2026-01-15T00:00:00Z\
                 &known_at={known_at}&format=csv"
            ),
        ),
    ] {
        assert_eq!(header(&first, name), value);
    }
    let location = header(&first, "content-location").to_owned();
    let tag = header(&first, "etag").to_owned();
    let first = first.text().await.expect("text");
    assert_eq!(
        first,
        format!(
            "# observed_at: 2026-01-15T00:00:00Z\n# scope: acme/Compute/paris\n# known_at: {known_at}\n\
             # guarded: formulas\n\
             provider,service,region,sku_id,sku_price_id,unit,currency,amount,tier_from,tier_to,source_url,attr:cpu\n\
             acme,Compute,paris,S1,S1,Hrs,EUR,0.25,0,,,2\nacme,Compute,paris,S2,S2,Hrs,EUR,0.5,0,,,4\n"
        )
    );

    // Another price arrives late, S1 moves, S2 is withdrawn.
    let titles = TITLES.replace("cpu", "ram");
    let late = "acme,Compute,paris,S0,S0,Hrs,EUR,0.05,1";
    service.load(list("acme/late", "2025-12-01T00:00:00Z", &[&titles, late])).await;
    for month in 2..=4 {
        load(&format!("2026-0{month}-01T00:00:00Z"), &[&s1.replace("0.25", "0.30")]).await;
    }
    let known = service.client.get(format!("{}{location}", service.url)).header("if-none-match", &tag);
    assert_eq!(known.send().await.expect("an answer").status(), 304);
    let again = service.request(Method::GET, &location).await;
    assert_eq!(header(&again, "etag"), tag);
    assert_eq!(again.text().await.expect("text"), first);
    let amounts = async |query: &str| {
        let lines = text(&service, &format!("provider=acme&format=json{query}")).await;
        lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"))
            .map(|price| {
                assert_eq!(price["in_force"], true);
                format!("{} {}", price["sku_id"].as_str().expect("text"), price["list_unit_price"])
            })
            .collect::<Vec<_>>()
    };
    let then = "&as_of=2026-01-15T00:00:00Z";
    assert_eq!(amounts(&format!("{then}&known_at={known_at}")).await, ["S1 \"0.25\"", "S2 \"0.5\""]);
    assert_eq!(amounts(then).await, ["S1 \"0.25\"", "S2 \"0.5\"", "S0 \"0.05\""]);
    assert_eq!(amounts("&as_of=2025-12-15T00:00:00Z").await, ["S0 \"0.05\""]);
    assert_eq!(amounts("&as_of=2026-02-15T00:00:00Z").await, ["S1 \"0.3\"", "S2 \"0.5\"", "S0 \"0.05\""]);
    assert_eq!(amounts("").await, ["S1 \"0.3\"", "S0 \"0.05\""]);
    // A price as it is elsewhere.
    let line = text(&service, "provider=acme&format=json").await;
    let price: Value = serde_json::from_str(line.lines().next().expect("a line")).expect("JSON");
    assert_eq!(price, service.get(&format!("/v1/prices/{}", price["price_id"])).await);
}

#[tokio::test]
async fn what_cannot_be_exported_is_refused() {
    let service = Service::new().await;
    let row = "acme,Compute,paris,S1,S1,Hrs,EUR,0.25,2";
    service.load(list("acme/paris", "2026-01-01T00:00:00Z", &[TITLES, row])).await;
    let head = mercuriale::ledger::head(&service.database.pool).await.expect("reads");
    let beyond = format!("provider=acme&known_at={}", head + 1);
    for (query, status, words) in [
        ("", 400, "name one"),
        ("provider=", 400, "name one"),
        ("provider=acme&colour=red", 400, "colour"),
        ("provider=acme&format=xml", 400, "csv (the default) or json"),
        ("provider=acme&as_of=2999-01-01T00:00:00Z", 400, "years 2000 to 2199"),
        ("provider=acme&as_of=2199-01-01T00:00:00Z", 400, "in the future"),
        ("provider=acme&as_of=yesterday", 400, "as_of"),
        ("provider=acme&known_at=0", 400, "begin with 1"),
        (&beyond, 400, "the last one is"),
        ("provider=acne", 404, "prices are known of acme Compute in paris"),
        ("provider=acme&region=lyon", 404, "no price of acme in lyon"),
        ("provider=acme&known_at=1", 404, "of another time or position"),
        ("provider=acme&as_of=2025-12-31T00:00:00Z", 404, "as of 2025-12-31 00:00:00 UTC"),
    ] {
        let refused = service.get_refused(&format!("/v1/prices/export?{query}")).await;
        let detail = refused.problem["detail"].as_str().expect("text");
        assert_eq!(refused.status, status, "{query}: {detail}");
        assert!(detail.contains(words), "{query}: {detail}");
    }
    for role in Role::ALL {
        let client = service.client_of(TENANT, role);
        let request = client.get(format!("{}/v1/prices/export?provider=acme", service.url));
        assert_eq!(request.send().await.expect("an answer").status(), 200, "{role}");
    }
}

/// More prices than are read at a time.
const MANY: i64 = 2_500;

async fn with_many_prices() -> Service {
    let service = Service::new().await;
    let events = (1..=MANY).map(|price_id| listed(price_id, &format!("{price_id}.5"))).collect();
    service.database.append(events).await.expect("appends");
    service
}

#[tokio::test]
async fn a_long_list_is_whole_and_in_order_and_keeps_nobody_from_writing() {
    let service = with_many_prices().await;
    let response = answer(&service, "provider=test").await;
    let known_at = header(&response, "content-location").to_owned();
    assert!(known_at.contains(&format!("known_at={MANY}")), "{known_at}");
    let mut body = response.bytes_stream();
    let mut bytes = body.next().await.expect("a chunk").expect("a chunk").to_vec();
    // Half read, and somebody writes.
    service.database.append(vec![listed(MANY + 1, "1")]).await.expect("appends");
    while let Some(chunk) = body.next().await {
        bytes.extend(chunk.expect("a chunk"));
    }
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(&bytes[..]);
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    // By region, then in the order in which they were listed.
    let mut expected: Vec<i64> = (1..=MANY).collect();
    expected.sort_by_key(|price_id| (price_id % 3, *price_id));
    let found: Vec<(String, String)> =
        rows.iter().map(|row| (row[3].to_owned(), row[7].to_owned())).collect();
    let expected: Vec<(String, String)> =
        expected.iter().map(|price_id| (format!("sku-{price_id}"), format!("{price_id}.5"))).collect();
    assert_eq!(found, expected);
    let json = text(&service, "provider=test&format=json").await;
    assert_eq!(json.lines().count(), 2_501);
    // Whole pages of prices that are not offered any more.
    let is_gone = |price_id: &i64| price_id % 3 == 0 || (price_id % 3 == 1 && *price_id <= 600);
    let gone = (1..=MANY).filter(is_gone);
    let withdrawn: Vec<_> = gone.map(|price_id| moved(price_id, "price.withdrawn", None)).collect();
    assert!(withdrawn.len() > 1_000);
    service.database.append(withdrawn).await.expect("appends");
    let json = text(&service, "provider=test&format=json").await;
    assert_eq!(json.lines().count(), (1..=MANY + 1).filter(|price_id| !is_gone(price_id)).count());
    let nothing = service.get_refused("/v1/prices/export?provider=test&region=region-0").await;
    assert_eq!(nothing.status, 404);
}

#[tokio::test]
async fn a_list_that_cannot_be_read_to_its_end_is_cut_not_ended() {
    let service = with_many_prices().await;
    // The search model knows them by now.
    text(&service, "provider=test").await;
    let last = "update price_search.prices set attributes = '{\"instanceType\": 1}' where price_id = 2498";
    let mut owner = service.database.owner().await;
    sqlx::query(last).execute(&mut owner).await.expect("damages one of the last page");
    for format in ["csv", "json"] {
        let response = answer(&service, &format!("provider=test&format={format}")).await;
        let error = response.bytes().await.expect_err("cut");
        assert!(error.is_body() || error.is_decode() || error.is_request(), "{format}: {error:?}");
    }
    let ran = run(&service.database.url, &["prices", "export", "--provider", "test"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("attributes of price 2498"), "{}", ran.stderr);
    assert!(ran.stdout.lines().count() > 2_000);
}

#[tokio::test]
async fn the_command_writes_the_same_list() {
    let service = Service::new().await;
    service.load(list("acme", "2026-01-01T00:00:00Z", &HARD)).await;
    let url = &service.database.url;
    let export = |arguments: &[&str]| {
        let mut all = vec!["prices", "export"];
        all.extend(arguments);
        run(url, &all)
    };
    let ran = export(&["--provider", "acme", "--region", "paris"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (_, again) = ran.stderr.split_once("for the same again: ").expect("how to get it again");
    let mut arguments = vec!["--provider", "acme", "--region", "paris"];
    arguments.extend(again.split_whitespace());
    let same = export(&arguments);
    assert_eq!((&same.stdout, &*same.stderr), (&ran.stdout, ""), "{same:?}");
    let served = text(
        &service,
        &format!("provider=acme&region=paris&as_of={}&known_at={}", arguments[5], arguments[7]),
    )
    .await;
    assert_eq!(served, ran.stdout);
    arguments.push("--json");
    let lines = export(&arguments);
    assert_eq!(lines.stdout.lines().count(), 2, "{lines:?}");
    for (arguments, code, words) in [
        (&["--provider", "acne"][..], 1, "prices are known of acme Compute in"),
        (&["--provider", "acme", "--known-at", "0"], 2, "invalid value '0'"),
        (&["--region", "paris"], 2, "--provider"),
    ] {
        let ran = export(arguments);
        assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}
