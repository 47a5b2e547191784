//! Answers of the service are what its description says, and nothing that it does not say.

use jsonschema::Validator;
use mercuriale::access::Role;
use reqwest::Method;
use serde_json::{Value, json};

use crate::people::{self, Person};
use crate::saved::{ask, create, path_of, update, web};
use crate::service::{Service, line, list};
use crate::support::TENANT;

const ACME: [&str; 3] = ["acme", "Compute", "paris"];

/// The description, made stricter: an object has no other properties than those that are described.
struct Description(Value);

impl Description {
    async fn of(service: &Service) -> Self {
        let mut document = service.get("/openapi.json").await;
        let schemas = document["components"]["schemas"].as_object_mut().expect("schemas");
        // A part of another one describes only some of its properties.
        let mut parts = Vec::new();
        for schema in schemas.values() {
            let all_of = schema["allOf"].as_array().into_iter().flatten();
            parts.extend(all_of.filter_map(|part| part["$ref"].as_str()).map(str::to_owned));
        }
        let mut closed = 0;
        for (name, schema) in schemas {
            let is_object = schema.get("properties").is_some() || schema.get("allOf").is_some();
            if is_object && !parts.contains(&format!("#/components/schemas/{name}")) {
                schema["unevaluatedProperties"] = json!(false);
                closed += 1;
            }
        }
        assert!(closed > 20, "{closed}");
        Self(document)
    }

    /// What the JSON of an answer has to be.
    fn validator(&self, method: &Method, path: &str, status: u16) -> Validator {
        let operation = &self.0["paths"][path][method.as_str().to_lowercase()];
        let content = &operation["responses"][status.to_string()]["content"]["application/json"];
        let schema = content["schema"].as_object();
        let mut schema = schema.unwrap_or_else(|| panic!("{method} {path}: {status} has no schema")).clone();
        schema.insert("components".to_owned(), self.0["components"].clone());
        jsonschema::draft202012::options()
            .should_validate_formats(true)
            .build(&Value::Object(schema))
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    fn check(&self, method: &Method, path: &str, status: u16, answer: &Value) {
        let errors: Vec<String> = self
            .validator(method, path, status)
            .iter_errors(answer)
            .map(|error| format!("{} (at {:?})", error, error.instance_path().to_string()))
            .collect();
        assert!(errors.is_empty(), "{method} {path}: {errors:#?} in {answer:#}");
    }
}

/// Two currencies, tiers, attributes, and something to say about it.
fn rich() -> Value {
    web(json!({"note": "first", "tags": ["prod"], "month": "2026-02", "lines": [
        line(ACME, "S1", json!({"pricing_model": "reserved-1y", "attributes": {"instanceType": "S1"}})),
        line(ACME, "D1", json!({"label": "disk", "usage_per_month": "150"})),
    ]}))
}

#[tokio::test]
async fn answers_about_saved_estimates_are_as_described() {
    let service = Service::new().await;
    let acme = [
        "provider,service,region,sku_id,sku_price_id,unit,currency,amount,tier_from,attr:instanceType",
        "acme,Compute,paris,S1,S1-hour,Hrs,EUR,0.25,,S1",
        "acme,Compute,lyon,S1,S1-lyon,Hrs,EUR,0.30,,S1",
        "acme,Compute,paris,D1,D1-a,10 GB-Mo,USD,0.50,0,D1",
        "acme,Compute,paris,D1,D1-b,10 GB-Mo,USD,0.40,10,D1",
    ];
    service.load(list("acme", "2026-01-01T00:00:00Z", &acme)).await;
    let described = Description::of(&service).await;
    let post = async |path: &str, template: &str, status: u16, body: &Value| {
        let response =
            ask(&service, &service.client, Method::POST, path, body).send().await.expect("answers");
        assert_eq!(response.status(), status, "{path}");
        let answer: Value = response.json().await.expect("JSON");
        described.check(&Method::POST, template, status, &answer);
        answer
    };

    post("/v1/estimates/calculate", "/v1/estimates/calculate", 200, &rich()).await;
    let saved = post("/v1/estimates", "/v1/estimates", 201, &rich()).await;
    let path = path_of(&saved);
    let simple = web(json!({"lines": [line(ACME, "S1", json!({"quantity": "2"}))]}));
    let second = update(&service, &saved, 1, &simple).await;
    described.check(&Method::POST, "/v1/estimates/{estimate_id}/versions", 201, &second);
    let relabel = json!({"name": "shop", "note": null, "archived": true});
    let relabel = ask(&service, &service.client, Method::PATCH, &path, &relabel);
    let third = relabel.header("if-match", "\"2\"").send().await.expect("answers");
    let third: Value = third.json().await.expect("JSON");
    assert_eq!(third["figures_of"], 2, "{third}");
    described.check(&Method::PATCH, "/v1/estimates/{estimate_id}", 200, &third);
    let now = create(&service, &simple).await;

    let of_one = "/v1/estimates/{estimate_id}";
    for (asked, template) in [
        ("/v1/estimates?archived=any", "/v1/estimates".to_owned()),
        (&path, of_one.to_owned()),
        (&format!("{path}/versions"), format!("{of_one}/versions")),
        (&format!("{path}/versions/1"), format!("{of_one}/versions/{{version}}")),
        (&format!("{path}/diff?from=1&to=2"), format!("{of_one}/diff")),
        (&format!("{path}/diff?from=2&to=1"), format!("{of_one}/diff")),
        (&format!("{path}/diff?from=1&to=now"), format!("{of_one}/diff")),
    ] {
        let answer = service.get(asked).await;
        described.check(&Method::GET, &template, 200, &answer);
    }
    let asked = json!({"region": "lyon", "labels": ["web"]});
    let what_if = format!("{}/versions/1/what-if", path_of(&now));
    post(&what_if, "/v1/estimates/{estimate_id}/versions/{version}/what-if", 200, &asked).await;
    let wanted =
        json!({"estimates": [{"id": saved["estimate_id"], "version": 1}, {"id": now["estimate_id"]}]});
    let report = post("/v1/estimates/consolidate", "/v1/estimates/consolidate", 200, &wanted).await;

    // What is checked can fail: a number in place of a decimal, a field that is missing, one that is not described.
    let consolidate = described.validator(&Method::POST, "/v1/estimates/consolidate", 200);
    for (pointer, name, value) in [
        ("/totals/0", "monthly_cost", Some(json!(1.5))),
        ("/totals/0", "annual_cost", None),
        ("/totals/0", "colour", Some(json!("red"))),
        ("/estimates/0", "name", None),
        ("/estimates/0", "colour", Some(json!("red"))),
        ("", "tags", None),
    ] {
        let mut wrong = report.clone();
        let object = wrong.pointer_mut(pointer).and_then(Value::as_object_mut).expect("an object");
        match value {
            Some(value) => object.insert(name.to_owned(), value),
            None => object.remove(name),
        };
        assert!(!consolidate.is_valid(&wrong), "{pointer}: {name}");
    }
}

#[tokio::test]
async fn answers_about_prices_and_people_are_as_described() {
    let service = people::service().await;
    let described = Description::of(&service).await;
    let ada = Person::new(&service, TENANT, "ada", Role::Admin);
    let session = ada.session().await;
    ada.set(&session, 1, "0.05").await;
    ada.set(&session, 2, "0.03").await;
    let lines = json!([people::vm(), line(people::PLACE, "storage", json!({"usage_per_month": "150"}))]);
    let request = json!({"name": "mine", "session": session, "lines": lines});
    let calculated = ada.ok(Method::POST, "/v1/estimates/calculate", Some(&request), 200).await;
    assert_eq!(calculated["lines"][0]["override"]["amount"], "0.05", "{calculated}");
    described.check(&Method::POST, "/v1/estimates/calculate", 200, &calculated);
    let saved = ada.ok(Method::POST, "/v1/estimates", Some(&request), 201).await;
    described.check(&Method::POST, "/v1/estimates", 201, &saved);
    let proposal = json!({"price_id": 1, "amount": "0.2", "justification": "dearer", "evidence": []});
    let proposal = ada.ok(Method::POST, "/v1/proposals", Some(&proposal), 201).await;
    described.check(&Method::POST, "/v1/proposals", 201, &proposal);

    let overrides = format!("/v1/sessions/{session}/overrides");
    for (asked, template) in [
        ("/v1/prices", "/v1/prices"),
        ("/v1/prices?as_of=2026-02-01T00:00:00Z", "/v1/prices"),
        ("/v1/prices/2", "/v1/prices/{price_id}"),
        ("/v1/prices/1/history", "/v1/prices/{price_id}/history"),
        ("/v1/prices/1/observations", "/v1/prices/{price_id}/observations"),
        ("/v1/refreshes", "/v1/refreshes"),
        ("/v1/discount-policy", "/v1/discount-policy"),
        ("/v1/events", "/v1/events"),
        ("/v1/proposals", "/v1/proposals"),
        ("/v1/api-keys", "/v1/api-keys"),
        ("/v1/webhooks", "/v1/webhooks"),
        (&overrides, "/v1/sessions/{session_id}/overrides"),
    ] {
        described.check(&Method::GET, template, 200, &service_get(&ada, asked).await);
    }
    // Each line of an export is a price.
    let schema = &described.0["paths"]["/v1/prices/export"]["get"]["responses"]["200"]["content"];
    assert_eq!(
        schema["application/x-ndjson"]["schema"]["$ref"],
        described.0["paths"]["/v1/prices/{price_id}"]["get"]["responses"]["200"]["content"]["application/json"]
            ["schema"]["$ref"]
    );
    let lines = service.request(Method::GET, "/v1/prices/export?provider=acme&format=json").await;
    for line in lines.text().await.expect("text").lines() {
        let price = serde_json::from_str(line).expect("JSON");
        described.check(&Method::GET, "/v1/prices/{price_id}", 200, &price);
    }
}

async fn service_get(person: &Person, path: &str) -> Value {
    person.ok(Method::GET, path, None, 200).await
}
