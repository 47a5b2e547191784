use std::collections::BTreeMap;

use crate::sources::Overrides;
use crate::sources::testing::Recorder;

use super::super::read as read_offer;
use super::{MAX_HELD_ROWS, attribute_name};

const PREAMBLE: &str = "\"FormatVersion\",\"v1.0\"
\"Disclaimer\",\"For information only, \"\"as is\"\"\"
\"Publication Date\",\"2025-03-27T20:45:25Z\"
\"Version\",\"20250327204525\"
\"OfferCode\",\"AmazonEC2\"
";
const TITLES: &str = "SKU,OfferTermCode,RateCode,TermType,PriceDescription,EffectiveDate,StartingRange,EndingRange,\
                      Unit,PricePerUnit,Currency,RelatedTo,LeaseContractLength,PurchaseOption,OfferingClass,\
                      Product Family,serviceCode,Location,Region Code,Instance Type,usageType,Pre Installed S/W";
const ON_DEMAND: &str = "SKU1,JRT,SKU1.JRT.6YS,OnDemand,\"d, d\",2025-03-01,0,Inf,Hrs,0.0472000000,USD,,,,,\
                         Compute Instance,AmazonEC2,EU (Paris),eu-west-3,t3.medium,EUW3-BoxUsage:t3.medium,NA";
const RESERVED: &str = "SKU1,NQ3,SKU1.NQ3.2TG,Reserved,Upfront Fee,2025-03-01,,,Quantity,294,USD,,1 yr,All Upfront,\
                        standard,Compute Instance,AmazonEC2,EU (Paris),eu-west-3,t3.medium,EUW3-BoxUsage:t3.medium,NA";
const FREE: &str = "SKU1,FRE,SKU1.FRE.AAA,OnDemand,free,2025-03-01,0,750,Hrs,0,USD,A B,,,,\
                    Compute Instance,AmazonEC2,EU (Paris),eu-west-3,t3.medium,EUW3-BoxUsage:t3.medium,NA";

fn list(rows: &[&str]) -> String {
    format!("{PREAMBLE}{TITLES}\n{}\n", rows.join("\n"))
}

fn read(text: &str) -> Result<Recorder, String> {
    read_with(text, None)
}

fn read_with(text: &str, scope: Option<&str>) -> Result<Recorder, String> {
    let mut recorder = Recorder::default();
    let overrides = Overrides { scope: scope.map(str::to_owned), observed_at: None };
    read_offer(text.as_bytes(), "list.csv", &overrides, &mut recorder).map_err(|error| error.to_string())?;
    Ok(recorder)
}

fn refused(text: &str, expected: &str) {
    let error = read(text).expect_err(expected);
    assert!(error.contains(expected), "{error:?} does not say {expected:?}");
}

#[test]
fn titles_become_the_names_that_json_uses() {
    for (title, name) in [
        ("Instance Type", "instanceType"),
        ("usageType", "usagetype"),
        ("serviceCode", "servicecode"),
        ("serviceName", "servicename"),
        ("operation", "operation"),
        ("vCPU", "vcpu"),
        ("ECU", "ecu"),
        ("GPU Memory", "gpuMemory"),
        ("CapacityStatus", "capacitystatus"),
        ("MarketOption", "marketoption"),
        ("instanceSKU", "instancesku"),
        ("Operating System", "operatingSystem"),
        ("License Model", "licenseModel"),
        ("Region Code", "regionCode"),
        ("From Location Type", "fromLocationType"),
        ("Product Family", "productFamily"),
        ("Pre Installed S/W", "preInstalledSw"),
        ("Max IOPS/volume", "maxIopsvolume"),
        ("Max IOPS Burst Performance", "maxIopsBurstPerformance"),
        ("Instance Capacity - 10xlarge", "instanceCapacity10xlarge"),
        ("Intel AVX2 Available", "intelAvx2Available"),
        ("Dedicated EBS Throughput", "dedicatedEbsThroughput"),
        ("Volume API Name", "volumeApiName"),
        ("Availability Zone", "availabilityzone"),
        ("VPC Networking Support", "vpcnetworkingsupport"),
    ] {
        assert_eq!(attribute_name(title), name);
    }
}

#[test]
fn a_list_reads_the_same_as_csv_and_as_json() {
    let json = r#"{"formatVersion":"v1.0","offerCode":"AmazonEC2","publicationDate":"2025-03-27T20:45:25Z",
"products":{"SKU1":{"sku":"SKU1","productFamily":"Compute Instance","attributes":{"servicecode":"AmazonEC2",
"location":"EU (Paris)","regionCode":"eu-west-3","instanceType":"t3.medium",
"usagetype":"EUW3-BoxUsage:t3.medium","preInstalledSw":"NA","operation":""}}},
"terms":{"OnDemand":{"SKU1":{
"SKU1.JRT":{"offerTermCode":"JRT","sku":"SKU1","priceDimensions":{"SKU1.JRT.6YS":{"rateCode":"SKU1.JRT.6YS",
"beginRange":"0","endRange":"Inf","unit":"Hrs","pricePerUnit":{"USD":"0.0472"},"appliesTo":[]}}},
"SKU1.FRE":{"offerTermCode":"FRE","sku":"SKU1","priceDimensions":{"SKU1.FRE.AAA":{"rateCode":"SKU1.FRE.AAA",
"beginRange":"0","endRange":"750","unit":"Hrs","pricePerUnit":{"USD":"0.0"},"appliesTo":["A","B"]}}}}},
"Reserved":{"SKU1":{"SKU1.NQ3":{"offerTermCode":"NQ3","sku":"SKU1","priceDimensions":{"SKU1.NQ3.2TG":{
"rateCode":"SKU1.NQ3.2TG","unit":"Quantity","pricePerUnit":{"USD":"294"}}},"termAttributes":{
"LeaseContractLength":"1yr","OfferingClass":"standard","PurchaseOption":"All Upfront"}}}}}}"#;
    let (json, csv) = (read(json).expect("JSON"), read(&list(&[ON_DEMAND, RESERVED, FREE])).expect("CSV"));
    assert_eq!(json.header, csv.header);
    let sorted = |list: Recorder| {
        list.rows
            .into_iter()
            .map(|row| (row.key.clone(), crate::sources::testing::Row { line: 0, ..row }))
            .collect::<BTreeMap<_, _>>()
    };
    let json = sorted(json);
    assert_eq!(json.len(), 3);
    assert_eq!(json, sorted(csv));
}

#[test]
fn places_are_lines_of_the_file() {
    let rows = read(&list(&[ON_DEMAND, RESERVED])).expect("a list").rows;
    assert_eq!((rows[0].line, rows[1].line), (7, 8));
}

#[test]
fn rows_without_a_region_wait_for_the_scope() {
    let transfer = ON_DEMAND.replace("EU (Paris),eu-west-3", ",").replace("SKU1", "SKU0");
    let read_rows = read(&list(&[&transfer, ON_DEMAND])).expect("a list");
    assert_eq!(read_rows.scope(), "AmazonEC2/eu-west-3");
    let regions: Vec<_> = read_rows.rows.iter().map(|row| (&row.sku_id[..], &row.region[..])).collect();
    assert_eq!(regions, [("SKU0", "global"), ("SKU1", "eu-west-3")]);

    assert_eq!(read(&list(&[&transfer])).expect("a list").scope(), "AmazonEC2/global");
    assert_eq!(read(&format!("{PREAMBLE}{TITLES}\n")).expect("an empty list").scope(), "AmazonEC2/all");
    let many = vec![&transfer[..]; MAX_HELD_ROWS + 1];
    refused(&list(&many), "none of the first 10000 rows names a region; give --scope");
    assert_eq!(read_with(&list(&many), Some("mine")).expect("a list").rows.len(), MAX_HELD_ROWS + 1);
}

#[test]
fn several_regions_need_a_scope() {
    let other = ON_DEMAND.replace("EU (Paris),eu-west-3", "US East (Ohio),us-east-2");
    let text = list(&[ON_DEMAND, &other]);
    refused(&text, "list.csv:8: SKU1.JRT.6YS: \"us-east-2\" is another region");
    refused(&text, "--scope AmazonEC2/all");
    assert_eq!(read_with(&text, Some("AmazonEC2/all")).expect("a list").rows.len(), 2);
}

#[test]
fn edited_files_are_refused_with_the_line() {
    let good = list(&[ON_DEMAND]);
    refused(
        &format!("sep=,\n{good}"),
        "list.csv:1: \"sep=\" stands where the line \"FormatVersion\" belongs",
    );
    refused("some text\n", "list.csv:1: \"some text\" stands where");
    refused(&good.replace("\"v1.0\"", "\"v1.0\",,,"), "list.csv:1: \"FormatVersion\" has 5 fields");
    refused(
        &good.replace("\"20250327204525\"", "202E+13"),
        "list.csv:4: Version \"202E+13\" is not digits only",
    );
    refused(&good.replace("v1.0", "v2.0"), "formatVersion is \"v2.0\"");
    refused(&good.replace("\"AmazonEC2\"\n", "\"AWSComputeSavingsPlan\"\n"), "savings plans");
    refused(PREAMBLE, "ends before the row of column titles");
    refused("\"FormatVersion\",\"v1.0\"\n", "the file ends where the line \"Disclaimer\" belongs");
    refused(&good.replace("RateCode,", ""), "list.csv:6: the row of column titles has no \"RateCode\"");
    refused(&good.replace("Location,", "SKU,"), "column \"SKU\" stands twice");
    refused(&good.replace("Location,", "Instance  Type,"), "stands twice");
    refused(&good.replace("Location,", ","), "column 18 has no title");
    refused(
        &list(&["INVALID ", ON_DEMAND]),
        "list.csv:7: INVALID : the row has 1 fields, the row of column titles 22",
    );
    refused(&list(&[ON_DEMAND, &format!("{ON_DEMAND},x")]), "list.csv:8: SKU1: the row has 23 fields");
}

#[test]
fn edited_rows_are_refused_with_line_rate_code_and_column() {
    let with = |from: &str, to: &str| list(&[&ON_DEMAND.replacen(from, to, 1)]);
    let at = "list.csv:7: SKU1.JRT.6YS: column";
    refused(&with("2025-03-01", "01/05/2017"), &format!("{at} EffectiveDate: \"01/05/2017\" is not a date"));
    refused(&with("0.0472000000", "0.0472 $"), &format!("{at} PricePerUnit: \"0.0472 $\" is not a decimal"));
    refused(&with("OnDemand", "Leased"), &format!("{at} TermType: \"Leased\""));
    refused(&with("USD", "$"), &format!("{at} Currency"));
    refused(&with("Inf", "lots"), &format!("{at} EndingRange"));
    refused(&with("Hrs", ""), &format!("{at} Unit: is empty"));
    refused(&with("t3.medium", &"x".repeat(2_001)), &format!("{at} Instance Type: a text of 2001 bytes"));
    refused(
        &with("SKU1,", "INVALID_OS______,"),
        "rate code \"SKU1.JRT.6YS\" is not INVALID_OS______.JRT.RATE",
    );
}

#[test]
fn a_quote_without_end_does_not_fill_the_memory() {
    let start = format!("{PREAMBLE}{TITLES}\n\"");
    let endless = std::io::Read::chain(start.as_bytes(), std::io::repeat(b'x'));
    let error = read_offer(endless, "list.csv", &Overrides::default(), &mut Recorder::default())
        .expect_err("too large");
    assert!(error.to_string().contains("a closing quote may be missing"), "{error}");
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let mut bytes = list(&[ON_DEMAND]).into_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'N').expect("NA");
    bytes[at] = 0xff;
    let error = read_offer(&bytes[..], "list.csv", &Overrides::default(), &mut Recorder::default())
        .expect_err("not UTF-8");
    assert_eq!(error.to_string(), "list.csv:7: field 22 is not UTF-8");
}
