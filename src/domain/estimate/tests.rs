//! Requests as clients send them, right and wrong.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn line() -> Value {
    json!({"label": "web", "provider": "aws", "service": "AmazonEC2", "region": "eu-west-3",
           "resource": "t3.medium", "attributes": {}, "quantity": "3", "usage_per_month": null,
           "pricing_model": "reserved-1y"})
}

fn request() -> Value {
    json!({"name": "web", "session": null, "hours_per_month": "730", "as_of": null, "lines": [line()]})
}

/// The request with one field replaced.
fn with(pointer: &str, value: Value) -> Value {
    let mut request = request();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    request.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").insert(name.into(), value);
    request
}

fn without(pointer: &str) -> Value {
    let mut request = request();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    request.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object").remove(name);
    request
}

fn parse(request: &Value) -> Result<EstimateRequest, InvalidRequest> {
    request_parse(request.to_string().as_bytes())
}

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

#[test]
fn the_documented_request_is_read() {
    let parsed = parse(&request()).expect("valid");
    assert_eq!(parsed.hours(), decimal("730"));
    assert_eq!(parsed.lines[0].quantity, decimal("3"));
    assert_eq!(parsed.lines[0].pricing_model, PricingModel::ReservedOneYear);
    assert_eq!(parsed.lines[0].pricing_basis, PricingBasis::Policy);
}

#[test]
fn what_is_left_out_has_its_default() {
    let body = br#"{"lines":[{"provider":"aws","service":"AmazonEC2","region":"eu-west-3",
        "resource":"t3.medium","quantity":"2.50"}]}"#;
    let parsed = request_parse(body).expect("valid");
    assert_eq!(parsed.hours(), DEFAULT_HOURS_PER_MONTH);
    assert_eq!(parsed.lines[0].label, "t3.medium");
    assert_eq!(parsed.lines[0].quantity.to_string(), "2.5");
    assert_eq!(parsed.lines[0].pricing_model, PricingModel::OnDemand);
}

#[test]
fn a_month_has_its_own_hours() {
    for (month, hours) in
        [("2026-02", "672"), ("2024-02", "696"), ("2100-02", "672"), ("2000-02", "696"), ("2026-01", "744")]
    {
        let mut request = without("/hours_per_month");
        request["month"] = json!(month);
        let parsed = parse(&request).expect("valid");
        assert_eq!(parsed.hours(), decimal(hours), "{month}");
    }
}

#[test]
fn a_written_request_reads_as_the_same() {
    let mut request = without("/hours_per_month");
    request["month"] = json!("2026-02");
    request["as_of"] = json!("2026-03-03T01:00:00.25+01:00");
    request["lines"][0]["attributes"] = json!({"operatingSystem": "Windows"});
    request["lines"][0]["pricing_basis"] = json!("market");
    let parsed = parse(&request).expect("valid");
    let written = serde_json::to_vec(&parsed).expect("serialises");
    assert_eq!(request_parse(&written), Ok(parsed));
    assert!(String::from_utf8(written).expect("text").contains("\"as_of\":\"2026-03-03T00:00:00.250Z\""));
}

#[test]
fn each_fault_names_its_place_and_a_remedy() {
    let quantity = |value| with("/lines/0/quantity", value);
    for (request, place, message, remedy) in [
        (quantity(json!(3)), "/lines/0/quantity", "the number 3", "in quotes: \"3\""),
        (quantity(json!("0")), "/lines/0/quantity", "zero", "more than zero"),
        (quantity(json!("-0")), "/lines/0/quantity", "zero", "more than zero"),
        (quantity(json!("-1")), "/lines/0/quantity", "-1 is negative", "more than zero"),
        (quantity(json!("1000000001")), "/lines/0/quantity", "more than 1000000000", "split"),
        (quantity(json!("1e40")), "/lines/0/quantity", "outside the range", "write digits"),
        (quantity(json!("0.00000000001")), "/lines/0/quantity", "too many digits", "10 decimals"),
        (
            quantity(json!("1.0000000000000000000000000001")),
            "/lines/0/quantity",
            "too many digits",
            "28 digits",
        ),
        (quantity(json!("NaN")), "/lines/0/quantity", "\"NaN\" is not a decimal", "write digits"),
        (quantity(json!("")), "/lines/0/quantity", "not a decimal", "write digits"),
        (quantity(json!("1".repeat(200))), "/lines/0/quantity", "200 characters", "write digits"),
        (quantity(json!([])), "/lines/0/quantity", "not an array", "in quotes"),
        (without("/lines/0/quantity"), "/lines/0/quantity", "is missing", "add it"),
        (with("/lines/0/usage_per_month", json!("0")), "/lines/0/usage_per_month", "zero", "leave it out"),
        (
            with("/lines/0/usage_per_month", json!("1000000000000000001")),
            "/lines/0/usage_per_month",
            "more than 1000000000000000000",
            "split",
        ),
        (with("/lines/0/qty", json!("1")), "/lines/0/qty", "unknown field \"qty\"", "label, provider"),
        (with("/a~b", json!(1)), "/a~0b", "unknown field", "hours_per_month"),
        (with("/session", json!("s")), "/session", "not the id of a session", "POST /v1/sessions"),
        (with("/hours_per_month", json!("744.5")), "/hours_per_month", "more than 744", "unit"),
        (with("/hours_per_month", json!(730)), "/hours_per_month", "the number 730", "\"730\""),
        (with("/month", json!("2026-02")), "/month", "both", "one of them"),
        (with("/as_of", json!("2026-03-03")), "/as_of", "not a time", "RFC 3339"),
        (with("/as_of", json!("2016-12-31T23:59:60Z")), "/as_of", "not a time", "RFC 3339"),
        (with("/as_of", json!("2026-03-03T00:00:00.0000001Z")), "/as_of", "not a time", "microseconds"),
        (with("/name", json!("a\u{0}b")), "/name", "U+0000", "remove"),
        (with("/name", json!("é".repeat(201))), "/name", "201 characters", "shorten"),
        (with("/lines", json!([])), "/lines", "no lines", "at least one"),
        (with("/lines", json!({})), "/lines", "not an object", "[...]"),
        (without("/lines"), "/lines", "is missing", "at least one"),
        (with("/lines", json!([7])), "/lines/0", "not a number", "provider"),
        (with("/lines/0/label", json!("x".repeat(201))), "/lines/0/label", "201", "shorten"),
        (with("/lines/0/label", json!("a\nb")), "/lines/0/label", "U+000A", "remove"),
        (with("/lines/0/region", json!(" ")), "/lines/0/region", "empty", "write"),
        (with("/lines/0/resource", json!("x".repeat(501))), "/lines/0/resource", "501", "shorten"),
        (with("/lines/0/pricing_model", json!("gift")), "/lines/0/pricing_model", "\"gift\"", "reserved-1y"),
        (with("/lines/0/pricing_basis", json!("x")), "/lines/0/pricing_basis", "\"x\"", "market"),
        (with("/lines/0/attributes", json!("x")), "/lines/0/attributes", "not a text", "Linux"),
        (with("/lines/0/attributes", json!({"a": null})), "/lines/0/attributes/a", "not null", "leave"),
        (with("/lines/0/attributes", json!({"a": 1})), "/lines/0/attributes/a", "number 1", "quotes"),
        (with("/lines/0/attributes", json!({"a": "x", "A": "y"})), "/lines/0/attributes/a", "twice", "once"),
        (json!([]), "", "an array", "`lines`"),
    ] {
        let invalid = parse(&request).expect_err(place);
        assert_eq!((invalid.total, invalid.problems.len()), (1, 1), "{invalid}");
        let problem = &invalid.problems[0];
        assert_eq!(problem.place, place, "{invalid}");
        assert!(problem.message.contains(message), "{invalid}");
        assert!(problem.remedy.contains(remedy), "{invalid}");
        let on_a_line = place.starts_with("/lines/0/") && !place.ends_with("label");
        assert!(!on_a_line || problem.label.as_deref() == Some("web"), "{invalid}");
    }
}

#[test]
fn a_month_is_four_digits_and_two() {
    for month in
        ["2026-13", "2026-00", "2026-2", "26-02", "2026-02-01", "1999-12", "2200-01", "+026-02", "20é-02"]
    {
        let mut request = without("/hours_per_month");
        request["month"] = json!(month);
        assert_eq!(parse(&request).expect_err(month).problems[0].place, "/month", "{month}");
    }
}

#[test]
fn what_is_no_json_or_says_a_thing_twice_is_refused() {
    for (body, message) in [
        (&b""[..], "not JSON"),
        (br#"{"lines": NaN}"#, "not JSON"),
        (b"\xff", "not JSON"),
        (br#"{"name":"a","name":"b"}"#, "duplicate field `name`"),
    ] {
        let invalid = request_parse(body).expect_err(message);
        assert!(invalid.problems[0].message.contains(message), "{invalid}");
    }
    let nested = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert!(request_parse(&nested).is_err());
    let twice = br#"{"lines":[{"provider":"aws","service":"s","region":"r","resource":"x","quantity":"1",
        "attributes":{"tenancy":"Shared","tenancy":"Dedicated"}}]}"#;
    assert_eq!(request_parse(twice).expect_err("twice").problems[0].place, "/lines/0/attributes/tenancy");
}

#[test]
fn all_faults_are_counted_and_the_first_are_told() {
    let mut bad = line();
    bad["quantity"] = json!("0");
    bad["region"] = json!(7);
    let request = json!({"lines": vec![bad; 15]});
    let invalid = parse(&request).expect_err("invalid");
    assert_eq!((invalid.total, invalid.problems.len()), (30, MAX_PROBLEMS));
    assert_eq!(invalid.problems[0].place, "/lines/0/region");
    assert_eq!(invalid.problems[15].place, "/lines/0/quantity");
}

#[test]
fn lines_and_attributes_are_limited() {
    let request = json!({"lines": vec![line(); MAX_LINES]});
    assert_eq!(parse(&request).expect("valid").lines.len(), MAX_LINES);
    let request = json!({"lines": vec![line(); MAX_LINES + 1]});
    assert_eq!(parse(&request).expect_err("too many").problems[0].place, "/lines");
    let attributes = |count: usize| {
        let pairs = (0..count).map(|index| (format!("a{index}"), json!("x"))).collect();
        with("/lines/0/attributes", Value::Object(pairs))
    };
    assert!(parse(&attributes(MAX_LINE_ATTRIBUTES)).is_ok());
    assert!(parse(&attributes(MAX_LINE_ATTRIBUTES + 1)).is_err());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        "-?[0-9]{1,30}(\\.[0-9]{1,30})?(e-?[0-9]{1,3})?".prop_map(Value::from),
    ];
    let names = prop_oneof![
        Just("lines".to_owned()),
        Just("quantity".to_owned()),
        Just("attributes".to_owned()),
        Just("month".to_owned()),
        ".{0,4}".prop_map(String::from),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(names.clone(), inner, 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_read_or_refused_with_reasons(
        body in any_json(), field in 0..10_usize, replacement in any_json(),
    ) {
        const FIELDS: [&str; 10] = ["/name", "/lines", "/month", "/as_of", "/hours_per_month", "/lines/0/quantity",
            "/lines/0/attributes", "/lines/0/usage_per_month", "/lines/0/pricing_model", "/lines/0/label"];
        for request in [body, with(FIELDS[field], replacement)] {
            if let Err(invalid) = parse(&request) {
                prop_assert!(!invalid.problems.is_empty());
                prop_assert!(invalid.problems.len() <= invalid.total.min(MAX_PROBLEMS));
            }
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(request_parse(&body).is_err());
    }
}
