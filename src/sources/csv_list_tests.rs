use super::*;
use crate::sources::testing::Recorder;

const TIME: &str = "# observed_at: 2025-03-27T20:45:25Z\n";
const TITLES: &str =
    "provider,service,region,sku_id,sku_price_id,unit,currency,amount,tier_from,tier_to,source_url";
const ROW: &str = "acme,Compute,paris,S1,S1-hour,Hrs,EUR,0.25,,,https://acme.example/prices";

fn read_with(text: &str, overrides: &Overrides) -> Result<Recorder, String> {
    let mut recorder = Recorder::default();
    read(text.as_bytes(), "list.csv", overrides, &mut recorder).map_err(|error| error.to_string())?;
    Ok(recorder)
}

fn list(text: &str) -> Result<Recorder, String> {
    read_with(text, &Overrides::default())
}

/// Titles of this many attributes.
fn columns(count: usize) -> String {
    let titles: Vec<String> = (0..count).map(|number| format!(",attr:{number}")).collect();
    titles.concat()
}

fn refused(text: &str, expected: &str) {
    let error = list(text).expect_err(expected);
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

#[test]
fn a_row_becomes_a_price() {
    let read = list(&format!("{TIME}{TITLES},attr:cpu\n{ROW},4\n")).expect("a list");
    assert_eq!((&read.scope()[..], &read.observed_at()[..]), ("csv", "2025-03-27T20:45:25Z"));
    let row = &read.rows[0];
    assert_eq!(row.key, "acme/Compute/paris/S1-hour/0/EUR");
    assert_eq!((&row.amount[..], &row.tier_from[..], row.tier_to.as_deref()), ("0.25", "0", None));
    assert_eq!(row.line, 3);
    let attributes: Vec<_> = row.attributes.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    assert_eq!(attributes, [("cpu", "4"), ("sourceUrl", "https://acme.example/prices")]);
}

#[test]
fn scope_and_time_come_from_the_caller_or_from_comments() {
    let text = format!("# by hand\n# scope: acme/paris\n{TIME}{TITLES}\n{ROW}\n");
    let read = list(&text).expect("a list");
    assert_eq!((&read.scope()[..], read.rows[0].line), ("acme/paris", 5));
    let at = Some("2024-01-01T00:00:00Z".parse().expect("a time"));
    let read =
        read_with(&text, &Overrides { scope: Some("mine".to_owned()), observed_at: at }).expect("a list");
    assert_eq!((&read.scope()[..], &read.observed_at()[..]), ("mine", "2024-01-01T00:00:00Z"));
    let bare = format!("{TITLES}\n{ROW}\n");
    refused(&bare, "list.csv:1: the list does not say when these prices were seen");
    assert!(read_with(&bare, &Overrides { scope: None, observed_at: at }).is_ok());
}

#[test]
fn an_aws_price_has_the_key_and_terms_that_aws_gives_it() {
    let row = "aws,AmazonEC2,eu-west-3,SKU1,SKU1.JRT.6YS,Hrs,USD,0.0472,0,Inf,";
    let price = list(&format!("{TIME}{TITLES}\n{row}\n")).expect("a list").rows.remove(0);
    assert_eq!(price.key, "aws/AmazonEC2/SKU1.JRT.6YS/USD");
    assert_eq!(price.attributes["termType"], "OnDemand");
    assert_eq!(price.attributes["offerTermCode"], "JRT");
    let reserved = format!("{TIME}{TITLES},attr:termType\n{row},Reserved\n");
    assert_eq!(list(&reserved).expect("a list").rows[0].attributes["termType"], "Reserved");
    refused(
        &format!("{TIME}{TITLES}\n{}\n", row.replace(".6YS", "")),
        "column sku_price_id: is not a rate code",
    );
}

#[test]
fn an_azure_price_has_the_key_and_attributes_that_azure_gives_it() {
    let titles = format!("{TITLES},attr:productId,attr:type,attr:productName,attr:meterName");
    let row = "azure,Virtual Machines,,P1/0001,m-1,1 Hour,USD,0.1,,,,P1,Consumption,VM Windows,D2 Spot";
    let price = list(&format!("{TIME}{titles}\n{row}\n")).expect("a list").rows.remove(0);
    assert_eq!(price.key, "azure|m-1|P1/0001|P1|Consumption||0|global|USD");
    assert_eq!(price.attributes["termType"], "Spot");
    assert_eq!(price.attributes["operatingSystem"], "Windows");
    refused(
        &format!("{TIME}{titles}\n{}\n", row.replace(",Consumption", ",")),
        "column attr:type: is needed to identify an Azure price",
    );
}

#[test]
fn titles_that_are_not_ours_are_refused() {
    refused("", "the file is empty");
    refused("<html>", "HTML");
    refused(TIME, "ends before the row of column titles");
    let with = |titles: &str| format!("{TIME}{titles}\n");
    refused(&with(&TITLES.replace("tier_to", "colour")), "list.csv:2: column \"colour\" is not known");
    refused(&with(&TITLES.replace("tier_to", "tier_from")), "column \"tier_from\" stands twice");
    refused(&with(&format!("{TITLES},attr:a,attr:a")), "column \"attr:a\" stands twice");
    refused(&with(&format!("{TITLES},attr:")), "does not name an attribute");
    refused(&with(&TITLES.replace("amount,", "")), "has no \"amount\"");
    let many = columns(MAX_ATTRIBUTE_COLUMNS + 1);
    refused(&with(&format!("{TITLES}{many}")), "more than 2000 columns of attributes");
}

#[test]
fn a_list_may_have_more_attributes_than_a_price() {
    let titles = columns(MAX_ATTRIBUTES + 1);
    let with =
        |values: &[&str]| list(&format!("{TIME}{TITLES}{titles}\n{ROW}{}\n", values.concat())).map(|_| ());
    // Its source's URL is an attribute as well.
    let mut values = [",x"; MAX_ATTRIBUTES + 1];
    values[..2].fill(",");
    assert_eq!(with(&values), Ok(()));
    values[1] = ",x";
    let error = with(&values).expect_err("too many");
    assert!(error.contains("list.csv:3: S1-hour: the price has more than 200 attributes"), "{error}");
}

#[test]
fn guards_are_taken_away_where_the_list_says_that_it_has_them() {
    let titles = format!("{TITLES},attr:a,attr:b,attr:c,attr:d");
    let row = format!("{},'=1,''=1,'-5,it's", ROW.replace("S1,", "'@S1,"));
    let values = |head: &str| {
        let price = list(&format!("{TIME}{head}{titles}\n{row}\n")).expect("a list").rows.remove(0);
        let mut values = vec![price.sku_id];
        values.extend(["a", "b", "c", "d"].map(|name| price.attributes[name].clone()));
        values
    };
    assert_eq!(values(""), ["'@S1", "'=1", "''=1", "'-5", "it's"]);
    assert_eq!(values("# guarded: formulas\n"), ["@S1", "=1", "'=1", "'-5", "it's"]);
    refused(&format!("{TIME}# guarded: no\n{TITLES}\n"), "\"no\" is not guarded; formulas may be");
}

#[test]
fn comments_that_say_nothing_sure_are_refused() {
    refused(&format!("{TIME}{TIME}{TITLES}\n"), "list.csv:2: this is said twice");
    refused(&format!("# observed_at: yesterday\n{TITLES}\n"), "list.csv:1: \"yesterday\" is not a time");
    refused(&format!("# scope:\n{TITLES}\n"), "the scope is empty");
    refused(&format!("# {}\n{TITLES}\n", "x".repeat(5_000)), "a comment of more than 4096 bytes");
}

#[test]
fn rows_that_are_not_whole_are_refused_with_line_and_column() {
    let with = |from: &str, to: &str| format!("{TIME}{TITLES}\n{ROW}\n{}\n", ROW.replacen(from, to, 1));
    refused(
        &with(",https", ",x,https"),
        "list.csv:4: S1-hour: the row has 12 fields, the row of column titles 11",
    );
    let at = "list.csv:4: S1-hour: column";
    refused(&with("0.25", "free"), &format!("{at} amount: \"free\" is not a decimal number"));
    refused(&with("0.25", "-1"), &format!("{at} amount: -1 is negative"));
    refused(&with("EUR", "euro"), &format!("{at} currency"));
    refused(&with("acme", "Acme"), &format!("{at} provider"));
    refused(&with("Hrs", ""), &format!("{at} unit: is empty"));
    refused(&with(",,,", ",x,,"), &format!("{at} tier_from"));
    refused(&with(",,,", ",10,5,"), &format!("{at} tier_to: the tier ends at 5"));
    refused(&with("paris", &"x".repeat(2_001)), &format!("{at} region: a text of 2001 bytes"));
    refused(&with("paris", "p\0"), &format!("{at} region: a text holds a NUL"));
}
