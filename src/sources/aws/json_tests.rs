use std::fmt::Write as _;

use proptest::prelude::*;

use crate::domain::money::parse_decimal;
use crate::sources::Overrides;
use crate::sources::testing::{Recorder, Row};

use super::super::read as read_offer;

const HEAD: &str = r#""formatVersion":"v1.0","disclaimer":"","offerCode":"AmazonEC2","version":"20250327204525",
"publicationDate":"2025-03-27T20:45:25Z""#;

const PRODUCT: &str = r#""SKU1":{"sku":"SKU1","productFamily":"Compute Instance","attributes":{
"regionCode":"eu-west-3","instanceType":"t3.medium","operation":""}}"#;

fn rate(code: &str, rest: &str) -> String {
    format!(r#""{code}":{{"rateCode":"{code}","description":"d",{rest}}}"#)
}

fn hourly(code: &str, price: &str) -> String {
    rate(
        code,
        &format!(
            r#""beginRange":"0","endRange":"Inf","unit":"Hrs","pricePerUnit":{{"USD":"{price}"}},"appliesTo":[]"#
        ),
    )
}

fn term(code: &str, rates: &str, attributes: &str) -> String {
    format!(
        r#""SKU1.{code}":{{"offerTermCode":"{code}","sku":"SKU1","effectiveDate":"2025-03-01T00:00:00Z",
"priceDimensions":{{{rates}}},"termAttributes":{{{attributes}}}}}"#
    )
}

fn offer(products: &str, terms: &str) -> String {
    format!("{{{HEAD},\n\"products\":{{{products}}},\n\"terms\":{{{terms}}},\"attributesList\":{{}}}}")
}

fn on_demand(terms: &str) -> String {
    format!(r#""OnDemand":{{"SKU1":{{{terms}}}}}"#)
}

fn valid() -> String {
    let on_demand = on_demand(&term("JRT", &hourly("SKU1.JRT.6YS", "0.0472000000"), ""));
    let reserved = term(
        "NQ3",
        &format!(
            "{},{}",
            rate("SKU1.NQ3.2TG", r#""unit":"Quantity","pricePerUnit":{"USD":"294"},"appliesTo":[]"#),
            hourly("SKU1.NQ3.6YS", "0.0000000000")
        ),
        r#""LeaseContractLength":"1yr","PurchaseOption":"All Upfront","OfferingClass":"standard""#,
    );
    offer(PRODUCT, &format!(r#"{on_demand},"Reserved":{{"SKU1":{{{reserved}}}}}"#))
}

fn read(text: &str) -> Result<Recorder, String> {
    read_with(text, &Overrides::default())
}

fn read_with(text: &str, overrides: &Overrides) -> Result<Recorder, String> {
    let mut recorder = Recorder::default();
    read_offer(text.as_bytes(), "list.json", overrides, &mut recorder).map_err(|error| error.to_string())?;
    Ok(recorder)
}

fn refused(text: &str, expected: &str) {
    let error = read(text).expect_err(expected);
    assert!(error.starts_with("list.json:"), "{error}");
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

fn attribute<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row.attributes.get(name).map(String::as_str)
}

#[test]
fn products_and_prices_are_read() {
    let list = read(&valid()).expect("a list");
    assert_eq!(list.scope(), "AmazonEC2/eu-west-3");
    assert_eq!(list.observed_at(), "2025-03-27T20:45:25Z");
    assert_eq!(list.events, ["product SKU1", "header", "price", "price", "price"]);
    let [hourly, upfront, reserved] = &list.rows[..] else { panic!("three prices: {:?}", list.rows) };

    assert_eq!(hourly.key, "aws/AmazonEC2/SKU1.JRT.6YS/USD");
    assert_eq!((&hourly.region[..], &hourly.unit[..], &hourly.amount[..]), ("eu-west-3", "Hrs", "0.0472"));
    assert_eq!(attribute(hourly, "instanceType"), Some("t3.medium"));
    assert_eq!(attribute(hourly, "productFamily"), Some("Compute Instance"));
    assert_eq!(attribute(hourly, "operation"), None, "empty attributes are left out");
    assert_eq!(attribute(hourly, "termType"), Some("OnDemand"));
    assert_eq!(attribute(hourly, "offerTermCode"), Some("JRT"));
    assert_eq!(attribute(hourly, "LeaseContractLength"), None);

    assert_eq!((&upfront.unit[..], &upfront.amount[..]), ("Quantity", "294"));
    assert_eq!((&upfront.tier_from[..], upfront.tier_to.as_deref()), ("0", None));
    for row in [upfront, reserved] {
        assert_eq!(attribute(row, "termType"), Some("Reserved"));
        assert_eq!(attribute(row, "LeaseContractLength"), Some("1yr"));
        assert_eq!(attribute(row, "PurchaseOption"), Some("All Upfront"));
        assert_eq!(attribute(row, "OfferingClass"), Some("standard"));
    }
}

#[test]
fn the_order_of_keys_within_products_terms_and_rates_does_not_matter() {
    let text = offer(
        r#""SKU1":{"attributes":{"location":"EU (Paris)"},"sku":"SKU1"}"#,
        r#""OnDemand":{"SKU1":{"SKU1.JRT":{"termAttributes":{},"priceDimensions":{"SKU1.JRT.6YS":{
"pricePerUnit":{"USD":"6.55E-8"},"unit":"Hrs","rateCode":"SKU1.JRT.6YS"}},"sku":"SKU1","offerTermCode":"JRT"}}}"#,
    );
    let list = read(&text).expect("a list");
    assert_eq!(list.scope(), "AmazonEC2/eu-west-3");
    assert_eq!(list.rows[0].amount, "0.0000000655");
}

#[test]
fn free_tiers_currencies_and_tiers() {
    let free = rate(
        "SKU1.FRE.AAA",
        r#""beginRange":"0","endRange":"750","unit":"Hrs","pricePerUnit":{"USD":"0"},"appliesTo":["A","B"]"#,
    );
    let tiers = format!(
        "{},{}",
        rate("SKU1.JRT.T1", r#""beginRange":"0","endRange":"10","unit":"GB","pricePerUnit":{"CNY":"2"}"#),
        rate(
            "SKU1.JRT.T2",
            r#""beginRange":"10","endRange":"Inf","unit":"GB","pricePerUnit":{"CNY":"1","USD":"0.1"}"#
        )
    );
    let list =
        read(&offer(PRODUCT, &on_demand(&format!("{},{}", term("FRE", &free, ""), term("JRT", &tiers, "")))))
            .expect("a list");
    assert_eq!(attribute(&list.rows[0], "termType"), Some("FreeTier"));
    assert_eq!(attribute(&list.rows[0], "appliesTo"), Some("A B"));
    let tiers: Vec<_> = list.rows[1..]
        .iter()
        .map(|row| (&row.key[..], &row.tier_from[..], row.tier_to.as_deref(), &row.amount[..]))
        .collect();
    assert_eq!(
        tiers,
        [
            ("aws/AmazonEC2/SKU1.JRT.T1/CNY", "0", Some("10"), "2"),
            ("aws/AmazonEC2/SKU1.JRT.T2/CNY", "10", None, "1"),
            ("aws/AmazonEC2/SKU1.JRT.T2/USD", "10", None, "0.1"),
        ]
    );
    assert_eq!(attribute(&list.rows[1], "appliesTo"), None);
}

#[test]
fn long_upfront_fees_are_rounded_and_not_refused() {
    let fee = "1234.56789012345678901234567890123456789012345678901234";
    let list =
        read(&offer(PRODUCT, &on_demand(&term("JRT", &hourly("SKU1.JRT.6YS", fee), "")))).expect("a list");
    assert_eq!(list.rows[0].amount, "1234.567890123456789012345679");
}

#[test]
fn scope_and_time_may_be_overridden() {
    let overrides = Overrides {
        scope: Some("mine".to_owned()),
        observed_at: Some("2020-01-01T00:00:00Z".parse().expect("a time")),
    };
    let list = read_with(&valid(), &overrides).expect("a list");
    assert_eq!((&list.scope()[..], &list.observed_at()[..]), ("mine", "2020-01-01T00:00:00Z"));
}

#[test]
fn empty_lists_and_lists_of_several_regions_cover_all() {
    let list = read(&offer("", "")).expect("an empty list");
    assert_eq!((&list.scope()[..], &list.events[..]), ("AmazonEC2/all", &["header".to_owned()][..]));
    let second = PRODUCT.replace("SKU1", "SKU2").replace("eu-west-3", "us-east-1");
    assert_eq!(read(&offer(&format!("{PRODUCT},{second}"), "")).expect("a list").scope(), "AmazonEC2/all");
}

#[test]
fn heads_that_are_not_an_offer_file_are_refused() {
    refused("", "the file is empty");
    refused(" \n", "the file is empty");
    refused("<!DOCTYPE html><html>", "HTML");
    refused("{}", "no offerCode");
    refused("[]", "an offer file (an object)");
    refused(r#"{"product":{},"terms":{}}"#, "no offerCode");
    refused(&valid().replace("v1.0", "v2.0"), "formatVersion is \"v2.0\"");
    refused(&valid().replace("\"formatVersion\":\"v1.0\",", ""), "no formatVersion");
    refused(&valid().replace("publicationDate", "published"), "no publicationDate");
    refused(
        &valid().replace("2025-03-27T20:45:25Z", "27/03/2025"),
        "publicationDate: \"27/03/2025\" is not a time",
    );
    refused(&valid().replace("AmazonEC2\"", "Amazon EC2\""), "not a code of letters");
    refused(&valid().replace("AmazonEC2\"", "AWSComputeSavingsPlan\""), "savings plans");
    refused(&format!("{{{HEAD},\"offers\":{{}}}}"), "AWS's index of offers");
    refused(&format!("{{{HEAD},\"products\":{{}}}}"), "no \"terms\"");
    refused(&format!("{{{HEAD}}}"), "no \"products\"");
    refused(&format!("{{{HEAD},{HEAD}}}"), "\"formatVersion\" stands twice");
    refused(&format!("{{{HEAD},\"terms\":{{}},\"products\":{{}}}}"), "AWS writes products first");
    refused(&format!("{{{HEAD},\"products\":{{}},\"products\":{{}}}}"), "\"products\" stands twice");
    refused(&format!("{{{HEAD},\"products\":[]}}"), "products by SKU (an object)");
    refused(&format!("{}x", valid()), "trailing characters");
}

#[test]
fn products_that_are_not_whole_are_refused() {
    let with = |product: &str| offer(product, "");
    refused(&with(r#""SKU1":{"attributes":{}}"#), "SKU1: the product's \"sku\" is \"\", not its key");
    refused(&with(r#""SKU1":{"sku":"SKU2","attributes":{}}"#), "\"SKU2\", not its key");
    refused(&with(r#""SKU1":{"sku":"SKU1"}"#), "no \"attributes\"");
    refused(&with(r#""SKU1":{"sku":"SKU1","attributes":{"a":"1","a":"2"}}"#), "\"a\" stands twice");
    refused(&with(r#""SKU1":{"sku":"SKU1","attributes":{"a":null}}"#), "expected a text");
    refused(&with(r#""SKU1":{"sku":"SKU1","attributes":{"a":"\u0000"}}"#), "NUL");
    refused(&with(&PRODUCT.replace("t3.medium", &"x".repeat(2_001))), "longer than the 2000");
    let mut many = String::new();
    for at in 0..200 {
        write!(many, r#""a{at}":"x","#).expect("text");
    }
    refused(&with(&PRODUCT.replace("\"regionCode\"", &format!("{many}\"regionCode\""))), "attributes");
}

#[test]
fn terms_that_are_not_whole_are_refused_with_line_and_rate_code() {
    let with = |rates: &str| offer(PRODUCT, &on_demand(&term("JRT", rates, "")));
    let code = "SKU1.JRT.6YS";
    refused(&with(&hourly(code, "0,5")), "list.json:6: SKU1.JRT.6YS: \"0,5\" is not a decimal number");
    refused(&with(&hourly(code, "-1")), "negative");
    refused(&with(&hourly(code, "1").replace("\"1\"", "1.5")), "expected a text");
    refused(&with(&hourly(code, "1").replace("USD", "usd")), "\"usd\" is not a currency");
    refused(&with(&hourly(code, "1").replace("\"Hrs\"", "\"\"")), "no unit");
    refused(&with(&hourly(code, "1").replace("\"USD\":\"1\"", "")), "no price in pricePerUnit");
    refused(&with(&hourly(code, "1").replace("\"Inf\"", "\"lots\"")), "bound of a tier");
    refused(&with(&hourly("SKU2.JRT.6YS", "1")), "is not SKU1.JRT.RATE");
    refused(&with(&hourly("SKU1.JRT", "1")), "is not SKU1.JRT.RATE");
    refused(&with(&format!(r#""X":{{{}}}"#, r#""rateCode":"Y""#)), "\"Y\", not its key");
    refused(&valid().replace("\"Reserved\"", "\"Leased\""), "terms of type \"Leased\"");
    refused(&valid().replace("\"Reserved\"", "\"savingsPlan\""), "savings plans");
    refused(&valid().replace("\"offerTermCode\":\"NQ3\",", ""), "no \"offerTermCode\"");
    refused(&valid().replace("\"priceDimensions\"", "\"dimensions\""), "no \"priceDimensions\"");
    refused(&valid().replace("\"sku\":\"SKU1\",\"effective", "\"sku\":\"SKU9\",\"effective"), "not \"SKU1\"");
}

#[test]
fn what_the_sink_refuses_is_passed_on() {
    let mut recorder = Recorder { refuse: true, ..Recorder::default() };
    let error = read_offer(valid().as_bytes(), "list.json", &Overrides::default(), &mut recorder)
        .expect_err("the sink refuses");
    assert_eq!(error.to_string(), "no more");
}

#[test]
fn a_text_without_end_does_not_fill_the_memory() {
    let start = format!("{{{HEAD},\"products\":{{\"");
    let endless = std::io::Read::chain(start.as_bytes(), std::io::repeat(b'x'));
    let error = read_offer(endless, "list.json", &Overrides::default(), &mut Recorder::default())
        .expect_err("too large");
    assert!(error.to_string().contains("a closing quote may be missing"), "{error}");
}

#[test]
fn amounts_do_not_pass_through_floats() {
    // 0.1 + 1e-27 is not a float.
    let exact = "0.1000000000000000000000000010";
    let list =
        read(&offer(PRODUCT, &on_demand(&term("JRT", &hourly("SKU1.JRT.6YS", exact), "")))).expect("a list");
    assert_eq!(list.rows[0].amount, parse_decimal(exact).expect("a decimal").to_string());
}

proptest! {
    #[test]
    fn a_list_cut_anywhere_is_an_error(cut in 0..valid().len()) {
        let text = valid();
        let error = read_offer(
            &text.as_bytes()[..cut], "list.json", &Overrides::default(), &mut Recorder::default(),
        ).expect_err("cut");
        prop_assert!(matches!(error, crate::sources::ListError::Malformed { .. }), "{error}");
    }

    #[test]
    fn a_list_with_a_changed_byte_is_read_or_refused(at in 0..valid().len(), byte: u8) {
        let mut bytes = valid().into_bytes();
        bytes[at] = byte;
        let read = read_offer(&bytes[..], "list.json", &Overrides::default(), &mut Recorder::default());
        let malformed = matches!(read, Err(crate::sources::ListError::Malformed { .. }));
        prop_assert!(read.is_ok() || malformed, "{read:?}");
    }
}
