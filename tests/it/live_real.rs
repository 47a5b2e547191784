//! Real lists, and the same over HTTP. Not part of `make test`: set `MERCURIALE_PRICE_LISTS` to a folder with `aws-bulk/OFFER/REGION/`
//! and `azure-retail/LIST/TIME/page-NNN.json.gz`, and run `make test ARGS="--test it -- --ignored real_"`.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use axum::response::IntoResponse as _;
use mercuriale::domain::event::RefreshCounts;
use mercuriale::sources::refresh::{Refresher, Report};
use mercuriale::sources::{Format, plan, read_list};

use crate::provider::{Provider, json, limits, live, refresher};
use crate::support::Database;

pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

fn name(path: &Path) -> String {
    path.file_name().expect("a name").to_string_lossy().into_owned()
}

pub(crate) fn lists() -> PathBuf {
    std::env::var_os("MERCURIALE_PRICE_LISTS").expect("MERCURIALE_PRICE_LISTS is set").into()
}

/// Refreshes from the one list of a file or folder.
pub(crate) async fn from_files(refresher: &Refresher, format: Format, path: &Path) -> Report {
    let mut inputs = plan(format, &[path.to_path_buf()], None, None, false).expect("a list");
    let input = inputs.remove(0);
    assert!(inputs.is_empty(), "{}", path.display());
    let report = refresher.refresh("files", Vec::new(), move |sink| read_list(&input, sink)).await;
    report.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn outcome(report: Report) -> (RefreshCounts, bool, bool) {
    (report.counts, report.complete, report.quarantined)
}

#[tokio::test]
#[ignore = "needs MERCURIALE_PRICE_LISTS"]
async fn real_lists_of_aws_are_the_same_over_http() {
    let (by_file, by_http) = (Database::new().await, Database::new().await);
    let by_file = refresher(&by_file, "test");
    let provider = Provider::start().await;
    let live = live(&by_http, limits());
    let mut compared = 0;
    for offer_folder in entries(&lists().join("aws-bulk")) {
        let offer = name(&offer_folder);
        for region_folder in entries(&offer_folder) {
            let region = name(&region_folder);
            let source = format!(
                "name=\"{offer}-{region}\"\nkind=\"aws\"\noffers=[\"{offer}\"]\nregions=[\"{region}\"]"
            );
            let target = provider.targets(&source).remove(0);
            let mut last = None;
            for (number, file) in entries(&region_folder).iter().enumerate() {
                let path = format!("/offers/v1.0/aws/{offer}/{:08}/{region}/index.json", number + 20_200_101);
                let offers = format!(r#"{{"offers":{{"{offer}":{{"offerCode":"{offer}"}}}}}}"#);
                provider.on("/offers/v1.0/aws/index.json", move |_| json(&offers));
                let regions = format!(r#"{{"regions":{{"{region}":{{"currentVersionUrl":"{path}"}}}}}}"#);
                provider.on(&format!("/offers/v1.0/aws/{offer}/current/region_index.json"), move |_| {
                    json(&regions)
                });
                let content = axum::body::Bytes::from(fs::read(file).expect("a list"));
                provider.on(&path, move |_| content.clone().into_response());

                let expected = outcome(from_files(&by_file, Format::AwsBulk, file).await);
                let report = live.refresh(&target).await.expect("recorded");
                assert!(report.counts.observed > 0);
                assert_eq!(outcome(report), expected, "{}", file.display());
                last = Some((path, expected.0.observed));
                compared += 1;
            }
            // Only now: a repetition counts as a run that missed what it misses.
            let (path, observed) = last.expect("a list");
            let again = live.refresh(&target).await.expect("recorded");
            assert_eq!(provider.asked(&path), 1, "downloads of an unchanged version");
            assert_eq!((again.counts.observed, again.counts.listed, again.counts.changed), (observed, 0, 0));
        }
    }
    assert!(compared > 0);
    by_http.assert_sound().await;
}

#[tokio::test]
#[ignore = "needs MERCURIALE_PRICE_LISTS"]
async fn real_pages_of_azure_are_the_same_over_http() {
    let (by_file, by_http) = (Database::new().await, Database::new().await);
    let by_file = refresher(&by_file, "test");
    let provider = Provider::start().await;
    let target = provider
        .targets("name=\"azure\"\nkind=\"azure\"\nfilters=[\"armRegionName eq 'francecentral'\"]")
        .remove(0);
    let live = live(&by_http, limits());
    let mut compared = 0;
    for folder in entries(&lists().join("azure-retail/francecentral-virtual-machines")) {
        let pages: Vec<String> = entries(&folder)
            .iter()
            .map(|page| {
                let mut text = String::new();
                let file = fs::File::open(page).expect("a page");
                flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).expect("text");
                text.replace("https://prices.azure.com", &provider.url)
            })
            .collect();
        let count = pages.len();
        let first = provider.asked("/api/retail/prices");
        provider.on("/api/retail/prices", move |asked| json(&pages[asked.before - first]));
        let expected = outcome(from_files(&by_file, Format::AzureRetail, &folder).await);
        let report = live.refresh(&target).await.expect("recorded");
        assert_eq!(provider.asked("/api/retail/prices") - first, count);
        assert_eq!(outcome(report), expected, "{}", folder.display());
        compared += 1;
    }
    assert!(compared > 0);
    by_http.assert_sound().await;
}
