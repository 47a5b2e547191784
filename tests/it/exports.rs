//! Exports, comparisons and reports of saved estimates, each figure worked out by hand.

use mercuriale::domain::event::{DISCOUNT_POLICY_SET, DISCOUNT_POLICY_STREAM, NewEvent};
use mercuriale::projections::Engine;
use mercuriale::sources::Format;
use reqwest::Method;
use rust_decimal::Decimal;
use serde_json::{Value, json};

use crate::live_real::{entries, lists};
use crate::program::run;
use crate::saved::{EC2, ask, create, path_of, update, web};
use crate::service::{Service, line, list, refused};
use crate::support::TENANT;

const GATEWAY: &str = include_str!("../../starter/amazonapigateway-eu-west-3.csv");
const ACME: [&str; 3] = ["acme", "Compute", "paris"];
const TITLES: &str =
    "provider,service,region,sku_id,sku_price_id,unit,currency,amount,tier_from,attr:instanceType";

/// A machine, another one of twice its price, and a storage of two tiers in another currency.
fn acme(observed_at: &str, hourly: &str) -> String {
    let twice = hourly.parse::<Decimal>().expect("a decimal") * Decimal::TWO;
    list(
        "acme/paris",
        observed_at,
        &[
            TITLES,
            &format!("acme,Compute,paris,S1,S1-hour,Hrs,EUR,{hourly},,S1"),
            &format!("acme,Compute,paris,S2,S2-hour,Hrs,EUR,{twice},,S2"),
            "acme,Compute,paris,D1,D1-a,10 GB-Mo,USD,0.50,0,D1",
            "acme,Compute,paris,D1,D1-b,10 GB-Mo,USD,0.40,10,D1",
        ],
    )
}

async fn policy(service: &Service, reserved: &str, spot: &str) {
    let rates = json!({"on-demand": "0", "reserved-1y": reserved, "reserved-3y": "0.60", "spot": spot});
    let event = NewEvent::new(
        DISCOUNT_POLICY_STREAM.to_owned(),
        DISCOUNT_POLICY_SET,
        &json!({"v": 1, "rates": rates}),
    );
    service.database.append(vec![event]).await.expect("appends");
}

async fn text(service: &Service, path: &str) -> String {
    let response = service.request(Method::GET, path).await;
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.expect("text")
}

async fn post(service: &Service, path: &str, body: &Value) -> Value {
    let response = ask(service, &service.client, Method::POST, path, body).send().await.expect("an answer");
    assert_eq!(response.status(), 200, "{:?}", response.text().await);
    response.json().await.expect("JSON")
}

/// Two lines, one of them with a hostile label.
fn two_lines() -> Value {
    web(json!({"tags": ["prod"], "month": "2026-02", "lines": [
        line(ACME, "S1", json!({"label": "=cmd|' /C calc'!A0", "quantity": "2.50", "pricing_model": "reserved-1y"})),
        line(ACME, "D1", json!({"label": "-5", "usage_per_month": "150"})),
    ]}))
}

#[tokio::test]
async fn a_version_is_a_table_for_spreadsheets_and_scripts() {
    let service = Service::new().await;
    service.load(acme("2026-01-01T00:00:00Z", "0.2501")).await;
    let saved = create(&service, &two_lines()).await;
    let path = format!("{}/versions/1", path_of(&saved));
    let ids: Vec<i64> = saved["estimate"]["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["price"]["price_id"].as_i64().expect("an id"))
        .collect();
    let positions: Vec<i64> = saved["estimate"]["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["price"]["position"].as_i64().expect("a position"))
        .collect();
    // 0.2501 x 0.6 = 0.15006; x 2.5 = 0.37515 an hour; x 672 = 252.1008 a month; x 12 = 3025.2096.
    // 100 GB x 0.05 = 5, then 50 x 0.04 = 2: 7 a month, 7 / 672 an hour, 84 a year. The last unit is in the second tier.
    let expected = format!(
        "label,provider,service,region,resource,attributes,quantity,usage_per_month,pricing_model,pricing_basis,currency,\
         unit,list_unit_price,unit_price,discount_rate,effective_unit_price,hourly_cost,monthly_cost,annual_cost,price_id,\
         price_key,sku_id,sku_price_id,price_observed_at,price_position\r\n\
         '=cmd|' /C calc'!A0,acme,Compute,paris,S1,,2.5,,reserved-1y,policy,EUR,Hrs,0.2501,0.2501,0.4,0.15006,0.37515,\
         252.10,3025.21,{},acme/Compute/paris/S1-hour/0/EUR,S1,S1-hour,2026-01-01T00:00:00Z,{}\r\n\
         -5,acme,Compute,paris,D1,,1,150,on-demand,policy,USD,10 GB-Mo,0.4,0.4,0,0.4,0.0104166666666666666666666667,\
         7.00,84.00,{},acme/Compute/paris/D1-b/10/USD,D1,D1-b,2026-01-01T00:00:00Z,{}\r\n",
        ids[0], positions[0], ids[1], positions[1]
    );
    assert_eq!(text(&service, &format!("{path}?format=csv")).await, expected);
    let french = text(&service, &format!("{path}?format=csv&locale=fr")).await;
    let rows: Vec<&str> = french.split("\r\n").collect();
    assert!(rows[0].starts_with("\u{feff}label;provider;"), "{french}");
    assert!(
        rows[1]
            .contains(";2,5;;reserved-1y;policy;EUR;Hrs;0,2501;0,2501;0,4;0,15006;0,37515;252,10;3025,21;")
    );
    assert_eq!(
        text(&service, &format!("{path}?format=csv&part=totals")).await,
        "of,provider,service,currency,hourly_cost,monthly_cost,annual_cost\r\n\
         service,acme,Compute,EUR,0.37515,252.10,3025.21\r\n\
         service,acme,Compute,USD,0.0104166666666666666666666667,7.00,84.00\r\n\
         estimate,,,EUR,0.37515,252.10,3025.21\r\n\
         estimate,,,USD,0.0104166666666666666666666667,7.00,84.00\r\n"
    );
    for (accept, content_type) in [
        ("text/csv", "text/csv; charset=utf-8; header=present"),
        ("text/html, text/csv;q=0.9, application/json", "text/csv; charset=utf-8; header=present"),
        ("application/json, text/csv", "application/json"),
        ("*/*", "application/json"),
    ] {
        let request = service.client.get(format!("{}{path}", service.url)).header("accept", accept);
        let response = request.send().await.expect("an answer");
        assert_eq!(response.headers()["content-type"], content_type, "{accept}");
        assert_eq!(response.headers()["vary"], "accept");
    }
    for wrong in [
        "format=xml",
        "format=csv&locale=de",
        "format=csv&part=all",
        "format=focus&part=totals",
        "format=json&locale=fr",
        "part=totals",
        "formats=csv",
    ] {
        assert_eq!(service.get_refused(&format!("{path}?{wrong}")).await.status, 400, "{wrong}");
    }
}

#[tokio::test]
async fn focus_columns_follow_its_rules() {
    let service = Service::new().await;
    service.load(acme("2026-01-01T00:00:00Z", "0.2501")).await;
    let saved = create(&service, &two_lines()).await;
    let body = text(&service, &format!("{}/versions/1?format=focus", path_of(&saved))).await;
    let mut reader = csv::Reader::from_reader(body.as_bytes());
    let titles = reader.headers().expect("titles").clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let cell = |row: usize, name: &str| {
        let column = titles.iter().position(|title| title == name).unwrap_or_else(|| panic!("no {name}"));
        rows[row][column].to_owned()
    };
    let number = |row: usize, name: &str| cell(row, name).parse::<Decimal>().expect("a decimal");
    // A machine, and a row for each of the two tiers.
    assert_eq!(rows.len(), 3);
    for row in 0..3 {
        assert_eq!(number(row, "ListCost"), number(row, "ListUnitPrice") * number(row, "PricingQuantity"));
        assert_eq!(
            number(row, "ContractedCost"),
            number(row, "ContractedUnitPrice") * number(row, "PricingQuantity")
        );
        for (name, value) in [
            ("ChargePeriodStart", "2026-02-01T00:00:00Z"),
            ("ChargePeriodEnd", "2026-03-01T00:00:00Z"),
            ("BillingPeriodStart", "2026-02-01T00:00:00Z"),
            ("ChargeCategory", "Usage"),
            ("ServiceCategory", "Other"),
            ("BillingAccountId", TENANT),
            ("Tags", r#"{"prod":true}"#),
            ("x_EstimateVersion", "1"),
        ] {
            assert_eq!(cell(row, name), value, "{name}");
        }
    }
    for (row, list_cost, effective, quantity, category, currency) in [
        // 2.5 x 672 hours x 0.2501
        (0, "420.168", "252.1008", "1680", "Committed", "EUR"),
        (1, "5", "5", "10", "Standard", "USD"),
        (2, "2", "2", "5", "Standard", "USD"),
    ] {
        assert_eq!(cell(row, "ListCost"), list_cost);
        assert_eq!(cell(row, "EffectiveCost"), effective);
        assert_eq!(cell(row, "BilledCost"), effective);
        assert_eq!(cell(row, "PricingQuantity"), quantity);
        assert_eq!(cell(row, "PricingCategory"), category);
        assert_eq!(cell(row, "BillingCurrency"), currency);
    }
    assert_eq!(cell(0, "ChargeDescription"), "'=cmd|' /C calc'!A0");
}

#[tokio::test]
async fn version_one_is_the_same_for_ever() {
    let service = Service::new().await;
    service.load(acme("2026-01-01T00:00:00Z", "0.25")).await;
    let saved = create(&service, &two_lines()).await;
    let path = path_of(&saved);
    let formats = ["", "?format=csv", "?format=csv&locale=fr", "?format=csv&part=totals", "?format=focus"];
    let exports = async || {
        let mut exports = Vec::new();
        for format in formats {
            exports.push(text(&service, &format!("{path}/versions/1{format}")).await);
        }
        exports
    };
    let before = exports().await;
    for (month, hourly) in [(2, "0.26"), (3, "0.30"), (4, "0.20")] {
        service.load(acme(&format!("2026-0{month}-01T00:00:00Z"), hourly)).await;
    }
    policy(&service, "0.55", "0.70").await;
    update(&service, &saved, 1, &two_lines()).await;
    let engine = Engine::new(service.database.pool.clone());
    for definition in mercuriale::projections::definitions() {
        engine.rebuild(definition.name).await.expect("rebuilds");
    }
    assert_eq!(exports().await, before);
    let two = service.get(&format!("{path}/versions/2")).await;
    assert_ne!(two["estimate"]["lines"], saved["estimate"]["lines"]);
    service.database.assert_sound().await;
}

#[tokio::test]
async fn what_has_changed_and_why() {
    let service = Service::new().await;
    service.load(acme("2026-01-01T00:00:00Z", "0.20")).await;
    let request = |quantity: &str, model: &str| {
        let asked = json!({"quantity": quantity, "pricing_model": model});
        web(json!({"hours_per_month": "100", "lines": [line(ACME, "S1", asked)]}))
    };
    let saved = create(&service, &request("1", "reserved-1y")).await;
    let path = path_of(&saved);
    let effects = |value: &Value| {
        let value = &value["totals"][0];
        ["configuration", "price", "discount_policy", "difference"]
            .map(|part| value[part].as_str().expect("text").to_owned())
    };
    // 0.20 x 100 x 0.6 = 12 a month. Now: nothing has moved.
    let now = service.get(&format!("{path}/diff?from=1&to=now")).await;
    assert_eq!(effects(&now), ["0", "0", "0", "0"]);
    assert_eq!((&now["to"]["version"], &now["lines"][0]["status"]), (&Value::Null, &json!("unchanged")));
    service.load(acme("2026-02-01T00:00:00Z", "0.25")).await;
    policy(&service, "0.50", "0.90").await;
    // 0.25 x 100 x 0.6 = 15, x 0.5 = 12.5.
    let now = service.get(&format!("{path}/diff?from=1&to=now")).await;
    assert_eq!(effects(&now), ["0", "3", "-2.5", "0.5"]);
    // Twice as many, on demand: 0.20 x 200 = 40; 0.25 x 200 = 50; on demand has no discount.
    let two = update(&service, &saved, 1, &request("2", "on-demand")).await;
    assert_eq!(two["estimate"]["total"]["monthly_cost"], "50");
    let diff = service.get(&format!("{path}/diff?from=1&to=2")).await;
    assert_eq!(effects(&diff), ["28", "10", "0", "38"]);
    assert_eq!(diff["lines"][0]["changed"], json!(["quantity", "pricing_model"]));
    assert_eq!((&diff["from"]["discount_policy"], &diff["to"]["discount_policy"]), (&json!(1), &json!(2)));
    // The other way round.
    let back = service.get(&format!("{path}/diff?from=2&to=1")).await;
    assert_eq!(back["totals"][0]["difference"], "-38");
    // A storage beside the machine is a line more, in another currency; what it reached of the tiers was not known before.
    let storage = line(ACME, "D1", json!({"label": "disk", "usage_per_month": "150"}));
    let mut more = request("2", "on-demand");
    more["lines"].as_array_mut().expect("lines").push(storage);
    update(&service, &saved, 2, &more).await;
    let diff = service.get(&format!("{path}/diff?from=2&to=3")).await;
    assert_eq!(
        (&diff["lines"][1]["status"], &diff["lines"][1]["difference"]),
        (&json!("added"), &json!("7"))
    );
    // Another resource is priced as it was known when version 1 was saved, though the dearer list is dated before that:
    // 0.40 x 100 x 0.6 = 24; now 0.50: 30; at the new rate 25.
    let mut other = request("1", "reserved-1y");
    other["lines"][0]["resource"] = "S2".into();
    update(&service, &saved, 3, &other).await;
    let diff = service.get(&format!("{path}/diff?from=1&to=4")).await;
    assert_eq!(effects(&diff), ["12", "6", "-5", "13"]);
    assert_eq!(diff["lines"][0]["changed"], json!(["resource"]));
    assert_eq!(diff["lines"][0]["old_price_unknown"], Value::Null);
    // One that was not on record then has no old price.
    let fresh = "acme,Compute,paris,S3,S3-hour,Hrs,EUR,0.30,,S3";
    service.load(list("acme/more", "2026-02-01T00:00:00Z", &[TITLES, fresh])).await;
    other["lines"][0]["resource"] = "S3".into();
    update(&service, &saved, 4, &other).await;
    let diff = service.get(&format!("{path}/diff?from=1&to=5")).await;
    assert_eq!(effects(&diff), ["6", "0", "-3", "3"]);
    assert_eq!(diff["lines"][0]["old_price_unknown"], true);
    for wrong in ["", "?from=1", "?from=1&to=now&x=1"] {
        assert_eq!(service.get_refused(&format!("{path}/diff{wrong}")).await.status, 400, "{wrong}");
    }
    for missing in ["?from=1&to=9", "?from=9&to=now", "?from=0&to=1"] {
        assert_eq!(service.get_refused(&format!("{path}/diff{missing}")).await.status, 404, "{missing}");
    }
}

#[tokio::test]
async fn what_if_and_reports_save_nothing() {
    let service = Service::new().await;
    service.load(acme("2026-01-01T00:00:00Z", "0.20")).await;
    let paris = "acme,Compute,lyon,S1,S1-lyon,Hrs,EUR,0.30,,S1";
    service.load(list("acme/lyon", "2026-01-01T00:00:00Z", &[TITLES, paris])).await;
    let one = create(&service, &two_lines()).await;
    let two = create(&service, &web(json!({"lines": [line(ACME, "S1", json!({}))]}))).await;
    let head = mercuriale::ledger::head(&service.database.pool).await.expect("reads");
    let what_if = format!("{}/versions/1/what-if", path_of(&one));
    // 2.5 x 672 x 0.6 x 0.20 = 201.6; in Lyon x 1.5 = 302.4; half of it 151.2.
    let asked = json!({"region": "lyon", "labels": ["=cmd|' /C calc'!A0"], "quantity_factor": "0.5"});
    let answer = post(&service, &what_if, &asked).await;
    assert_eq!(answer["estimate"]["lines"][0]["monthly_cost"], "151.2");
    assert_eq!(answer["request"]["lines"][0]["region"], "lyon");
    assert_eq!(answer["diff"]["totals"][0]["difference"], "-50.4");
    assert_eq!(answer["diff"]["lines"][0]["changed"], json!(["region", "quantity"]));
    for (asked, status) in [
        (json!({"region": "nice"}), 422),
        (json!({"labels": ["nobody"]}), 400),
        (json!({"colour": "red"}), 400),
        (json!({"quantity_factor": "0"}), 400),
    ] {
        let request = ask(&service, &service.client, Method::POST, &what_if, &asked);
        assert_eq!(refused(request.send().await.expect("an answer")).await.status, status, "{asked}");
    }

    let id = |estimate: &Value| estimate["estimate_id"].clone();
    let wanted = json!({"estimates": [{"id": id(&one), "version": 1}, {"id": id(&two)}]});
    let report = post(&service, "/v1/estimates/consolidate", &wanted).await;
    // 201.6 and 0.20 x 730 = 146 in euros; 7 in dollars.
    let euros = json!({"currency": "EUR", "monthly_cost": "347.6", "annual_cost": "4171.2"});
    let dollars = json!({"currency": "USD", "monthly_cost": "7", "annual_cost": "84"});
    assert_eq!(report["totals"], json!([euros, dollars]));
    let named = |mut sums: Value, names: Value| {
        let Value::Object(names) = names else { panic!("an object") };
        sums.as_object_mut().expect("an object").extend(names);
        sums
    };
    for (by, names) in [
        ("providers", json!({"provider": "acme"})),
        ("services", json!({"provider": "acme", "service": "Compute"})),
        ("regions", json!({"provider": "acme", "region": "paris"})),
    ] {
        let expected = json!([named(euros.clone(), names.clone()), named(dollars.clone(), names)]);
        assert_eq!(report[by], expected, "{by}");
    }
    assert_eq!(
        report["tags"],
        json!([
            {"currency": "EUR", "tag": "", "monthly_cost": "146", "annual_cost": "1752"},
            {"currency": "EUR", "tag": "prod", "monthly_cost": "201.6", "annual_cost": "2419.2"},
            {"currency": "USD", "tag": "prod", "monthly_cost": "7", "annual_cost": "84"},
        ])
    );
    for (wanted, status) in [
        (json!({"estimates": []}), 400),
        (json!({"estimates": [{"id": id(&one)}, {"id": id(&one)}]}), 400),
        (json!({"estimates": [{"id": "x"}]}), 400),
        (json!({"estimates": [{"id": id(&one), "version": 2}]}), 404),
    ] {
        let request = ask(&service, &service.client, Method::POST, "/v1/estimates/consolidate", &wanted);
        assert_eq!(refused(request.send().await.expect("an answer")).await.status, status, "{wanted}");
    }
    assert_eq!(mercuriale::ledger::head(&service.database.pool).await.expect("reads"), head);
}

/// A migration to AWS Paris.
fn migration(storage: &str) -> Value {
    let aws = |service: &'static str| ["aws", service, "eu-west-3"];
    let spot = |resource: &str, label: &str, quantity: &str| {
        line(
            aws("AmazonECS"),
            resource,
            json!({"label": label, "quantity": quantity, "pricing_model": "spot"}),
        )
    };
    let usage = |service: &'static str, resource: &str, usage: &str| {
        line(
            aws(service),
            resource,
            json!({"label": format!("{service} {resource}"), "usage_per_month": usage}),
        )
    };
    json!({"name": "migration to Paris", "tags": ["migration"], "lines": [
        // 2,000,000 x 0.0000002 = 0.4
        usage("AWSLambda", "EUW3-Request", "2000000"),
        // 2,000,000 x 0.2 s x 0.5 GB = 200,000 GB-s x 0.0000166667 = 3.33334
        usage("AWSLambda", "EUW3-Lambda-GB-Second", "200000"),
        // 0.0486 x 730 x 0.1 = 3.5478
        spot("EUW3-Fargate-vCPU-Hours:perCPU", "Fargate CPU", "1"),
        // 2 x 0.0053 x 730 x 0.1 = 0.7738
        spot("EUW3-Fargate-GB-Hours", "Fargate memory", "2"),
        // 500 x 0.024 = 12; 800 x 0.024 = 19.2
        usage("AmazonS3", "EUW3-TimedStorage-ByteHrs", storage),
        // 10,000,000 x 0.0000035 = 35
        usage("AmazonApiGateway", "EUW3-ApiGatewayRequest", "10000000"),
        // 1,000,000 x 0.0000007423 = 0.7423
        usage("AmazonDynamoDB", "EUW3-WriteRequestUnits", "1000000"),
        // 5,000,000 x 0.0000001487 = 0.7435
        usage("AmazonDynamoDB", "EUW3-ReadRequestUnits", "5000000"),
        // 25 of 100 GB are free; 75 x 0.29715 = 22.28625
        usage("AmazonDynamoDB", "EUW3-TimedStorage-ByteHrs", "100"),
        // 3 x 0.0472 x 0.6 x 730 = 62.0208
        line(EC2, "t3.medium", json!({"label": "rest", "quantity": "3", "pricing_model": "reserved-1y"})),
    ]})
}

#[tokio::test]
async fn a_migration_to_paris_is_saved_changed_compared_and_exported() {
    migrate(&Service::with_starter_lists().await).await;
}

#[tokio::test]
#[ignore = "needs MERCURIALE_PRICE_LISTS"]
async fn real_lists_give_the_same_migration_to_paris() {
    let service = Service::new().await;
    for offer in ["AWSLambda", "AmazonApiGateway", "AmazonDynamoDB", "AmazonEC2", "AmazonECS", "AmazonS3"] {
        let lists = entries(&lists().join("aws-bulk").join(offer).join("eu-west-3"));
        service.load_file(Format::AwsBulk, lists.last().expect("a list")).await;
    }
    migrate(&service).await;
}

/// Saves the migration, changes it and the prices, compares and exports it; the figures are those of the lists, by hand.
async fn migrate(service: &Service) {
    let saved = create(service, &migration("500")).await;
    let monthly: Vec<&str> = saved["estimate"]["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["monthly_cost"].as_str().expect("text"))
        .collect();
    assert_eq!(
        monthly,
        ["0.4", "3.33334", "3.5478", "0.7738", "12", "35", "0.7423", "0.7435", "22.28625", "62.0208"]
    );
    assert_eq!(saved["estimate"]["total"]["monthly_cost"], "140.84779");
    assert_eq!(saved["estimate"]["total"]["annual_cost"], "1690.17348");

    // API Gateway asks 0.0000036 for a request: 1 more. Spot is 80 % off: twice 4.3216. 300 GB more on S3: 7.2.
    let dearer =
        GATEWAY.replace("2025-10-20T13:22:36Z", "2026-01-01T00:00:00Z").replace(",0.0000035,", ",0.0000036,");
    assert_eq!(service.load(dearer).await.counts.changed, 1);
    policy(service, "0.40", "0.80").await;
    let two = update(service, &saved, 1, &migration("800")).await;
    assert_eq!(two["estimate"]["total"]["monthly_cost"], "153.36939");
    let path = path_of(&saved);
    let diff = service.get(&format!("{path}/diff?from=1&to=2")).await;
    assert_eq!(
        diff["totals"],
        json!([{
            "currency": "USD", "from_monthly_cost": "140.84779", "to_monthly_cost": "153.36939",
            "difference": "12.5216", "configuration": "7.2", "price": "1", "discount_policy": "4.3216",
        }])
    );
    let changed: Vec<&str> = diff["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .filter(|line| line["status"] == "changed")
        .map(|line| line["label"].as_str().expect("text"))
        .collect();
    let s3 = "AmazonS3 EUW3-TimedStorage-ByteHrs";
    let gateway = "AmazonApiGateway EUW3-ApiGatewayRequest";
    assert_eq!(changed, ["Fargate CPU", "Fargate memory", s3, gateway]);

    let totals = text(service, &format!("{path}/versions/2?format=csv&part=totals")).await;
    let monthly: Vec<(String, String)> = csv::Reader::from_reader(totals.as_bytes())
        .records()
        .map(|row| row.expect("a row"))
        .map(|row| (row[2].to_owned(), row[5].to_owned()))
        .collect();
    // 3.73334; 36; 19.2; 23.77205; 62.0208; 8.6432: to cents, half even. The total is rounded once.
    let expected = [
        ("AWSLambda", "3.73"),
        ("AmazonApiGateway", "36.00"),
        ("AmazonDynamoDB", "23.77"),
        ("AmazonEC2", "62.02"),
        ("AmazonECS", "8.64"),
        ("AmazonS3", "19.20"),
        ("", "153.37"),
    ];
    assert_eq!(monthly, expected.map(|(service, cost)| (service.to_owned(), cost.to_owned())));
}

#[tokio::test]
async fn operators_read_saved_estimates_on_the_command_line() {
    let service = Service::new().await;
    service.load(acme("2026-01-01T00:00:00Z", "0.20")).await;
    let saved = create(&service, &two_lines()).await;
    let id = saved["estimate_id"].as_str().expect("an id");
    let url = &service.database.url;
    let estimates = |arguments: &[&str]| {
        let mut all = vec!["estimates", "--tenant", TENANT];
        all.extend(arguments);
        run(url, &all)
    };
    let listed = estimates(&["list", "web", "--tag", "prod"]);
    assert!(listed.stdout.contains(id) && listed.stdout.contains("201.60 EUR + 7.00 USD"), "{listed:?}");
    let versions = estimates(&["versions", id]);
    assert!(
        versions.stdout.contains("user:tester") && versions.stdout.contains("201.60 EUR + 7.00 USD"),
        "{versions:?}"
    );
    let versions = estimates(&["versions", id, "--json", "--limit", "1"]);
    let served = service.get(&format!("{}/versions", path_of(&saved))).await;
    assert_eq!(
        serde_json::from_str::<Value>(&versions.stdout).expect("JSON"),
        served["items"][0],
        "{versions:?}"
    );
    let shown = estimates(&["show", id]);
    assert_eq!(serde_json::from_str::<Value>(&shown.stdout).expect("JSON"), saved, "{shown:?}");
    for (format, query) in
        [("csv", "format=csv"), ("totals", "format=csv&part=totals"), ("focus", "format=focus")]
    {
        let ran = estimates(&["export", id, "--format", format]);
        let served = text(&service, &format!("{}/versions/1?{query}", path_of(&saved))).await;
        assert_eq!(ran.stdout, served, "{format}: {ran:?}");
    }
    let diff = estimates(&["diff", id, "1", "now"]);
    assert!(diff.stdout.contains("unchanged") && diff.stdout.contains("201.6"), "{diff:?}");
    for (arguments, code, words) in [
        (&["show", id, "--version", "2"][..], 1, "acme has no version 2 of estimate"),
        (&["versions", "00000000-0000-0000-0000-000000000000"], 1, "acme has no estimate"),
        (&["diff", id, "1", "2"], 1, "there is no version 2"),
        (&["diff", id, "1", "then"], 2, "number of a version, or now"),
        (&["show", "x"], 2, "invalid value 'x'"),
    ] {
        let ran = estimates(arguments);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stderr.to_lowercase().contains(&words.to_lowercase()), "{ran:?}");
    }
    let other = run(url, &["estimates", "--tenant", "other", "show", id]);
    assert_eq!((other.code, &*other.stdout), (Some(1), ""), "{other:?}");
    // An estimate that is not saved has the same columns.
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("request.json");
    std::fs::write(&file, two_lines().to_string()).expect("written");
    let ran = run(url, &["estimate", file.to_str().expect("UTF-8"), "--csv"]);
    let served = text(&service, &format!("{}/versions/1?format=csv", path_of(&saved))).await;
    assert_eq!(ran.stdout, served, "{ran:?}");
}
