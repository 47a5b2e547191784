//! What the program says and records when a list is not what it should be, and its exit codes.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use crate::lists::{aws, azure_item, azure_page, csv, day};
use crate::program::{Ran, command, refresh, run};
use crate::support::Database;

const FAILED: [&str; 2] = ["refresh.started", "refresh.failed"];

struct Desk {
    database: Database,
    folder: tempfile::TempDir,
}

impl Desk {
    async fn new() -> Self {
        Self { database: Database::new().await, folder: tempfile::tempdir().expect("a folder") }
    }

    fn url(&self) -> &str {
        &self.database.url
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("creates");
        std::fs::write(&path, bytes).expect("writes");
        path
    }

    async fn events(&self) -> Vec<String> {
        sqlx::query_scalar("select event_type from events order by position")
            .fetch_all(&self.database.pool)
            .await
            .expect("reads")
    }

    /// Fails unless the files are refused with each of these words, and the ledger holds just these events of it.
    async fn assert_refused(&self, format: &str, files: &[&Path], words: &[&str], events: &[&str]) {
        let before = self.events().await.len();
        let ran = refresh(self.url(), format, files);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert_eq!(ran.stdout, "", "{ran:?}");
        for word in words {
            assert!(ran.stderr.contains(word), "{word:?} is not in {}", ran.stderr);
        }
        assert_eq!(self.events().await[before..], *events, "{ran:?}");
        let prices: i64 = sqlx::query_scalar("select count(*) from current_prices.prices")
            .fetch_one(&self.database.pool)
            .await
            .expect("reads");
        assert_eq!(prices, 0);
        if !events.is_empty() {
            let reason: String = sqlx::query_scalar(
                "select data->>'reason' from events where event_type = 'refresh.failed' order by position desc limit 1",
            )
            .fetch_one(&self.database.pool)
            .await
            .expect("reads");
            assert!(ran.stderr.contains(&reason), "the ledger says {reason:?}, the program {}", ran.stderr);
        }
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("compresses");
    encoder.finish().expect("compresses")
}

fn rates(count: usize) -> Vec<(String, String)> {
    (0..count).map(|sku| (format!("SKU{sku}"), "0.1".to_owned())).collect()
}

fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).expect("one object")
}

#[tokio::test]
async fn broken_offer_files_are_refused_whole() {
    let desk = Desk::new().await;
    let whole = aws(day(0), &rates(2_000));
    let packed = gzip(&whole);
    let cases: [(&str, Vec<u8>, &[&str]); 6] = [
        ("cut.json.gz", packed[..packed.len() / 2].to_vec(), &["cut.json.gz", "cut off; download it again"]),
        ("cut.json", whole.as_bytes()[..whole.len() - 100].to_vec(), &["cut.json:3", "the JSON is cut off"]),
        ("damaged.json.gz", [&packed[..50], &[0xff; 40], &packed[90..]].concat(), &["damaged.json.gz", "damaged"]),
        ("page.json", b"<!DOCTYPE html><html></html>".to_vec(), &["page.json:1", "this is HTML"]),
        ("empty.json", Vec::new(), &["empty.json", "the file is empty"]),
        (
            "sp.json",
            br#"{"formatVersion":"aws_v1","offerCode":"AWSComputeSavingsPlan","publicationDate":"2026-01-01T00:00:00Z",
                "products":[],"terms":{"savingsPlan":[]}}"#
                .to_vec(),
            &["sp.json", "savings plans", "take the offer file of the service itself"],
        ),
    ];
    for (name, bytes, words) in cases {
        let path = desk.write(name, bytes);
        desk.assert_refused("aws-bulk", &[&path], words, &FAILED).await;
    }
    desk.database.assert_sound().await;
}

#[tokio::test]
async fn one_bad_price_among_many_is_named() {
    let desk = Desk::new().await;
    let bad = aws(day(0), &rates(3)).replacen("\"USD\":\"0.1\"", "\"USD\":\"O.1\"", 1);
    let path = desk.write("bad.json", bad);
    let words = ["bad.json:3", "SKU0.JRTCKXETXF.6YS6EN2CT7", "\"O.1\" is not a decimal number"];
    desk.assert_refused("aws-bulk", &[&path], &words, &FAILED).await;

    let path = desk.write("bad.csv", csv("s", day(0), &[("a", "1"), ("b", "-2")]));
    desk.assert_refused("csv", &[&path], &["bad.csv:5: b", "column amount", "negative"], &FAILED).await;

    let items = [azure_item("m1", "1", 0, None), azure_item("m2", "\"free\"", 0, None)];
    let path = desk.write("2026-02-01.json", azure_page(&items, None));
    let words = ["2026-02-01.json:3", "item 2 of the page, meter m2", "retailPrice"];
    desk.assert_refused("azure-retail", &[&path], &words, &FAILED).await;
    desk.database.assert_sound().await;
}

const TITLES: &str = "SKU,OfferTermCode,RateCode,TermType,PriceDescription,EffectiveDate,StartingRange,EndingRange,\
                      Unit,PricePerUnit,Currency,Product Family,serviceCode,Location,Region Code";
const PREAMBLE: &str = "FormatVersion,v1.0\nDisclaimer,\nPublication Date,2026-01-01T00:00:00Z\nVersion,1\n\
                        OfferCode,AmazonEC2\n";
const ROW: &str = "SKU1,JRTCKXETXF,SKU1.JRTCKXETXF.6YS6EN2CT7,OnDemand,,2026-01-01,0,Inf,Hrs,0.1,USD,\
                   Compute Instance,AmazonEC2,EU (Paris),eu-west-3";

#[tokio::test]
async fn offer_files_that_somebody_edited_are_refused_at_the_line() {
    let desk = Desk::new().await;
    let cases: [(&str, String, &[&str]); 4] = [
        (
            "preamble.csv",
            format!("sep=,\nsome\nheader\nfrom\nAWS\n{TITLES}\n{ROW}\n"),
            &["preamble.csv:1", "stands where the line"],
        ),
        ("invalid.csv", format!("{PREAMBLE}{TITLES}\n{ROW}\nINVALID\n"), &["invalid.csv:8"]),
        ("ragged.csv", format!("{PREAMBLE}{TITLES}\n{ROW}\n{ROW},more\n"), &["ragged.csv:8"]),
        ("ours.csv", format!("{}test,compute\n", csv("s", day(0), &[("a", "1")])), &["ours.csv:5"]),
    ];
    for (name, text, words) in cases {
        let path = desk.write(name, text);
        let format = if name == "ours.csv" { "csv" } else { "aws-bulk" };
        desk.assert_refused(format, &[&path], words, &FAILED).await;
    }
    let path = desk.write("right.csv", format!("{PREAMBLE}{TITLES}\n{ROW}\n"));
    let ran = refresh(desk.url(), "aws-bulk", &[&path]);
    assert_eq!((ran.code, report(&ran)["listed"].as_u64()), (Some(0), Some(1)), "{ran:?}");
}

#[tokio::test]
async fn a_page_set_with_a_hole_is_refused() {
    let desk = Desk::new().await;
    let page = |from: usize, more: bool| {
        let items: Vec<String> =
            (from..from + 2).map(|meter| azure_item(&format!("m{meter}"), "1", 0, None)).collect();
        azure_page(&items, more.then_some(from + 2))
    };
    // Seen from the names, before anything is read.
    desk.write("20260201T000000Z/page-000.json", page(0, true));
    let last = desk.write("20260201T000000Z/page-002.json", page(4, false));
    let folder = last.parent().expect("a folder");
    desk.assert_refused("azure-retail", &[folder], &["page-001.json: this page is missing"], &[]).await;
    // Seen from the links.
    desk.write("20260202T000000Z/page-000.json", page(0, true));
    let second = desk.write("20260202T000000Z/page-001.json", page(4, true));
    let second = second.parent().expect("a folder");
    // Page 1 says that six items lie behind it, and there are four.
    desk.assert_refused("azure-retail", &[second], &["page-001.json", "is missing"], &FAILED).await;
    // Nowhere is said when the pages were fetched.
    let nameless = desk.write("prices.json", page(0, false));
    desk.assert_refused("azure-retail", &[&nameless], &["give --observed-at"], &FAILED).await;
    desk.assert_refused("azure-retail", &[&desk.folder.path().join("gone")], &["gone"], &[]).await;
    // Pages that end before the last are a partial list.
    let ran = refresh(desk.url(), "azure-retail", &[&folder.join("page-000.json")]);
    assert_eq!((ran.code, report(&ran)["complete"].as_bool()), (Some(0), Some(false)), "{ran:?}");
}

#[tokio::test]
async fn exit_codes_tell_what_to_do_next() {
    let desk = Desk::new().await;
    let good = desk.write("1.csv", csv("s", day(0), &[("a", "1"), ("b", "2")]));
    let empty = desk.write("2.csv", csv("s", day(1), &[]));
    let broken = desk.write("3.csv", "nonsense");
    let next = desk.write("4.csv", csv("s", day(2), &[("a", "1"), ("b", "2")]));

    let ran = refresh(desk.url(), "csv", &[&good]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.stderr, "", "nothing to say");
    // Wrong usage.
    assert_eq!(run(desk.url(), &["refresh", "--format", "xls", "x"]).code, Some(2));
    assert_eq!(run(desk.url(), &["refresh", "--format", "csv", "--scope", "", "x"]).code, Some(2));
    assert_eq!(run(desk.url(), &["refreshes", "release", "not-an-id"]).code, Some(2));
    // A list in quarantine, with the command that releases it.
    let ran = refresh(desk.url(), "csv", &[&empty]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let refresh_id = report(&ran)["refresh_id"].as_str().expect("an id").to_owned();
    assert!(ran.stderr.contains(&format!("mercuriale refreshes release {refresh_id}")), "{ran:?}");
    assert!(ran.stderr.contains("the list is empty"), "{ran:?}");
    assert_eq!(desk.events().await[5..], ["refresh.started", "refresh.quarantined"].map(str::to_owned));
    // A failure does not keep the lists after it from being read, and counts more than a quarantine.
    let ran = refresh(desk.url(), "csv", &[&broken, &next]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(report(&ran)["unchanged"].as_u64(), Some(2), "{ran:?}");
    // The same again is old.
    let before = desk.events().await.len();
    let ran = refresh(desk.url(), "csv", &[&good, &next]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert_eq!(ran.stderr.matches("older lists are refused").count(), 2, "{ran:?}");
    assert_eq!(desk.events().await.len(), before);
    // It is too late to release the empty list.
    let ran = run(desk.url(), &["refreshes", "release", &refresh_id]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("an older list cannot be applied after a newer one"), "{ran:?}");
    desk.database.assert_sound().await;
}

#[tokio::test]
async fn a_quarantined_list_is_released_by_command() {
    let desk = Desk::new().await;
    let first = desk.write("1.csv", csv("s", day(0), &[("a", "1"), ("b", "2")]));
    let second = desk.write("2.csv", csv("s", day(1), &[("a", "3"), ("b", "2"), ("c", "4")]));
    let ran = refresh(desk.url(), "csv", &[&first, &second]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let last = ran.stdout.lines().last().expect("two objects");
    let quarantined: Value = serde_json::from_str(last).expect("JSON");
    let refresh_id = quarantined["refresh_id"].as_str().expect("an id");
    let ran = run(desk.url(), &["refreshes", "release", "--json", refresh_id]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for count in ["observed", "listed", "changed", "unchanged", "not_observed"] {
        assert_eq!(report(&ran)[count], quarantined[count], "{count}");
    }
    let ran = run(desk.url(), &["refreshes", "show", refresh_id]);
    assert_eq!(report(&ran)["state"].as_str(), Some("released"), "{ran:?}");
    assert_eq!(run(desk.url(), &["ledger", "verify"]).code, Some(0));
    desk.database.assert_sound().await;
}

#[tokio::test]
async fn a_misspelt_setting_is_refused() {
    let desk = Desk::new().await;
    let output =
        command(desk.url(), &["check-config"]).env("MERCURIALE_MISING_LIMIT", "0.5").output().expect("runs");
    let ran = Ran::from(output);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("did you mean MERCURIALE_MISSING_LIMIT?"), "{ran:?}");
}
