use super::*;
use crate::sources::testing::{Recorder, Row};

const ITEM: &str = r#"{"currencyCode":"USD","tierMinimumUnits":0.0,"retailPrice":3.4e-05,"unitPrice":9.9,
"armRegionName":"francecentral","location":"FR Central","effectiveStartDate":"2025-03-01T00:00:00Z",
"effectiveEndDate":"2025-03-31T23:59:00Z","meterId":"m-1","meterName":"D2s v5","productId":"P1","skuId":"P1/0001",
"productName":"Virtual Machines Dsv5 Series","skuName":"D2s v5","serviceName":"Virtual Machines","serviceId":"S",
"serviceFamily":"Compute","unitOfMeasure":"1 Hour","type":"Consumption","isPrimaryMeterRegion":true,
"armSkuName":"Standard_D2s_v5","availabilityId":null}"#;

fn page(items: &[&str], next: Option<&str>) -> String {
    let next = next.map_or("null".to_owned(), |link| format!("{link:?}"));
    format!(
        "{{\"BillingCurrency\":\"USD\",\"Items\":[\n{}\n],\"NextPageLink\":{next},\"Count\":{}}}",
        items.join(",\n"),
        items.len()
    )
}

fn link(skip: u32) -> String {
    format!(
        "https://prices.azure.com/api/retail/prices?$filter=armRegionName%20eq%20%27francecentral%27&$skip={skip}"
    )
}

fn read_pages(pages: &[String]) -> Result<(Recorder, bool), String> {
    let mut recorder = Recorder::default();
    let at = "2025-03-18T00:00:00Z".parse().expect("a time");
    let mut reader = Pages::new(None, at, &mut recorder);
    for (number, page) in pages.iter().enumerate() {
        reader.page(&format!("page-{number}"), page.as_bytes()).map_err(|error| error.to_string())?;
    }
    let complete = reader.finish();
    Ok((recorder, complete))
}

fn refused(page: &str, expected: &str) {
    let error = read_pages(&[page.to_owned()]).expect_err(expected);
    assert!(error.starts_with("page-0:"), "{error}");
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

fn one(item: &str) -> Row {
    read_pages(&[page(&[item], None)]).expect("a page").0.rows.remove(0)
}

fn attribute(item: &str, name: &str) -> Option<String> {
    one(item).attributes.get(name).cloned()
}

#[test]
fn an_item_becomes_a_price() {
    let row = one(ITEM);
    assert_eq!(row.key, "azure|m-1|P1/0001|P1|Consumption||0|francecentral|USD");
    assert_eq!((&row.service[..], &row.region[..]), ("Virtual Machines", "francecentral"));
    assert_eq!((&row.sku_id[..], &row.sku_price_id[..]), ("P1/0001", "m-1"));
    assert_eq!((&row.amount[..], &row.unit[..], &row.tier_from[..]), ("0.000034", "1 Hour", "0"));
    assert_eq!(row.from.as_deref(), Some("2025-03-01T00:00:00Z"));
    assert_eq!(row.to.as_deref(), Some("2025-04-01T00:00:00Z"), "it ends where its successor starts");
    let expected = [
        ("armSkuName", "Standard_D2s_v5"),
        ("isPrimaryMeterRegion", "true"),
        ("location", "FR Central"),
        ("meterName", "D2s v5"),
        ("operatingSystem", "Linux"),
        ("productId", "P1"),
        ("productName", "Virtual Machines Dsv5 Series"),
        ("serviceFamily", "Compute"),
        ("skuName", "D2s v5"),
        ("termType", "OnDemand"),
        ("type", "Consumption"),
    ];
    assert_eq!(row.attributes, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[test]
fn term_types_and_operating_systems_are_derived() {
    for (from, to, expected) in [
        ("\"Consumption\"", "\"Reservation\"", "Reserved"),
        ("\"Consumption\"", "\"DevTestConsumption\"", "DevTest"),
        ("\"Consumption\"", "\"Barter\"", "Barter"),
        ("\"meterName\":\"D2s v5\"", "\"meterName\":\"D2s v5 Spot\"", "Spot"),
        ("\"skuName\":\"D2s v5\"", "\"skuName\":\"D2s v5 Low Priority\"", "LowPriority"),
        ("\"meterName\":\"D2s v5\"", "\"meterName\":\"Spotlight\"", "OnDemand"),
    ] {
        assert_eq!(attribute(&ITEM.replace(from, to), "termType").as_deref(), Some(expected), "{to}");
    }
    let windows = ITEM.replace("Dsv5 Series", "Dsv5 Series Windows");
    assert_eq!(attribute(&windows, "operatingSystem").as_deref(), Some("Windows"));
    let storage = ITEM.replace("\"serviceName\":\"Virtual Machines\"", "\"serviceName\":\"Storage\"");
    assert_eq!(attribute(&storage, "operatingSystem"), None);
}

#[test]
fn reservations_tiers_and_prices_without_region_have_their_own_keys() {
    let reservation = ITEM.replace("\"Consumption\"", "\"Reservation\",\"reservationTerm\":\"3 Years\"");
    assert_eq!(one(&reservation).key, "azure|m-1|P1/0001|P1|Reservation|3 Years|0|francecentral|USD");
    let tier = one(&ITEM.replace("\"tierMinimumUnits\":0.0", "\"tierMinimumUnits\":51200.0"));
    assert!(tier.key.contains("|51200|"), "{}", tier.key);
    assert_eq!((&tier.tier_from[..], tier.tier_to), ("51200", None));
    for nowhere in [ITEM.replace("\"francecentral\"", "\"\""), ITEM.replace("\"francecentral\"", "null")] {
        let row = one(&nowhere);
        assert_eq!((&row.region[..], row.key.ends_with("|global|USD")), ("global", true));
    }
}

#[test]
fn numbers_are_read_from_their_text() {
    let exact = "0.1000000000000000000000000010";
    assert_eq!(one(&ITEM.replace("3.4e-05", exact)).amount, "0.100000000000000000000000001");
    refused(&page(&[&ITEM.replace("3.4e-05", "\"0.5\"")], None), "retailPrice");
    refused(&page(&[&ITEM.replace("3.4e-05", "null")], None), "retailPrice");
    refused(&page(&[&ITEM.replace("3.4e-05", "-1")], None), "negative");
}

#[test]
fn pages_are_one_list_with_the_filter_as_scope() {
    let second = ITEM.replace("m-1", "m-2");
    let third = ITEM.replace("m-1", "m-3");
    let pages = [page(&[ITEM, &second], Some(&link(2))), page(&[&third], None)];
    let (list, complete) = read_pages(&pages).expect("two pages");
    assert!(complete);
    assert_eq!(list.scope(), "armRegionName eq 'francecentral'");
    assert_eq!(list.rows.len(), 3);
    let (_, complete) = read_pages(&pages[..1]).expect("one page");
    assert!(!complete, "there is a next page");
    let (list, complete) = read_pages(&[page(&[], None)]).expect("an empty list");
    assert_eq!((list.scope(), list.rows.len(), complete), ("all".to_owned(), 0, true));
}

#[test]
fn missing_repeated_and_mixed_up_pages_are_refused() {
    let first = page(&[ITEM], Some(&link(1)));
    let error = read_pages(&[first.clone(), first.clone()]).expect_err("repeated");
    assert!(error.starts_with("page-1: the link to the next page skips \"1\" items"), "{error}");
    let error = read_pages(&[first.clone(), page(&[ITEM], Some(&link(3)))]).expect_err("missing");
    assert!(error.starts_with("page-1: the link to the next page skips \"3\" items"), "{error}");
    let error = read_pages(&[page(&[ITEM], None), first]).expect_err("mixed up");
    assert!(error.starts_with("page-1: page-0 says that it is the last page"), "{error}");
}

#[test]
fn pages_that_are_not_prices_are_refused() {
    refused("", "the file is empty");
    refused("<html>", "HTML");
    refused("Too many requests", "not JSON");
    refused(r#"{"Error":{"Code":"BadRequest","Message":"Invalid OData"}}"#, "Azure answered with an error");
    refused("{}", "no \"NextPageLink\"");
    refused(&page(&[ITEM], None).replace("Link\":null", "Link\":7"), "NextPageLink is \"7\"");
    refused(&page(&[ITEM], None).replace("\"Items\"", "\"Things\""), "no \"Items\"");
    refused(
        &page(&[ITEM], None).replace("\"Count\":1", "\"Count\":2"),
        "Count is 2, but the page has 1 items",
    );
    refused(&page(&[ITEM], None)[..300], "page-0:");
}

#[test]
fn items_that_are_not_whole_are_refused_with_line_and_meter() {
    let broken = ITEM.replace("m-1", "m-2").replace("\"1 Hour\"", "\"\"");
    refused(
        &page(&[ITEM, &broken], None),
        "page-0:8: item 2 of the page, meter m-2: unitOfMeasure: is empty",
    );
    for (from, to, expected) in [
        ("\"meterId\":\"m-1\",", "", "missing field `meterId`"),
        ("\"retailPrice\":3.4e-05,", "", "missing field `retailPrice`"),
        ("\"tierMinimumUnits\":0.0,", "", "missing field `tierMinimumUnits`"),
        ("\"USD\"", "\"usd\"", "currencyCode"),
        ("2025-03-01T00:00:00Z", "March", "effectiveStartDate"),
        ("\"FR Central\"", "7", "expected a string"),
        ("FR Central", "\\u0000", "NUL"),
    ] {
        refused(&page(&[&ITEM.replace(from, to)], None), expected);
    }
}

#[test]
fn a_page_without_end_is_refused() {
    let mut recorder = Recorder::default();
    let at = "2025-03-18T00:00:00Z".parse().expect("a time");
    let error =
        Pages::new(None, at, &mut recorder).page("page-0", std::io::repeat(b' ')).expect_err("endless");
    assert!(error.to_string().contains("a page of more than"), "{error}");
}

proptest::proptest! {
    #[test]
    fn a_page_cut_anywhere_is_an_error(cut in 0..page(&[ITEM], None).len()) {
        let text = page(&[ITEM], None)[..cut].to_owned();
        proptest::prop_assert!(read_pages(&[text]).is_err());
    }
}
