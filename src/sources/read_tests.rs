use std::io::Write;
use std::path::PathBuf;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::sources::testing::Recorder;

const CSV: &str = "# observed_at: 2025-03-27T20:45:25Z\n\
                   provider,service,region,sku_id,sku_price_id,unit,currency,amount\n\
                   acme,Compute,paris,S1,S1-hour,Hrs,EUR,0.25\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn read_files(format: Format, files: &[(&str, &[u8])], partial: bool) -> Result<(ListEnd, Recorder), String> {
    let folder = tempfile::tempdir().expect("a folder");
    let files: Vec<PathBuf> = files
        .iter()
        .map(|(name, bytes)| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("a file");
            path
        })
        .collect();
    let input = ListInput { format, files, scope: None, observed_at: None, partial };
    let mut recorder = Recorder::default();
    let end = read_list(&input, &mut recorder).map_err(|error| error.to_string())?;
    Ok((end, recorder))
}

fn read_bytes(bytes: &[u8]) -> Result<(ListEnd, Recorder), String> {
    read_files(Format::Csv, &[("list.csv", bytes)], false)
}

fn digest(parts: &[&[u8]]) -> [u8; 32] {
    Sha256::digest(parts.concat()).into()
}

#[test]
fn gzip_is_recognised_by_its_bytes_and_the_digest_covers_the_file_as_stored() {
    let packed = gzip(CSV.as_bytes());
    let (first, second) = CSV.as_bytes().split_at(60);
    let members = [gzip(first), gzip(second)].concat();
    for stored in [CSV.as_bytes(), &packed, &members] {
        let (end, list) = read_bytes(stored).expect("a list");
        assert_eq!(end, ListEnd { complete: true, content_sha256: digest(&[stored]) });
        assert_eq!(list.rows.len(), 1);
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(read_bytes(&[&[0xef, 0xbb, 0xbf], CSV.as_bytes()].concat()).expect("a list").1.rows.len(), 1);
}

#[test]
fn damaged_gzip_files_are_refused() {
    let packed = gzip(CSV.as_bytes());
    for cut in [2, 5, 20, packed.len() - 8, packed.len() - 1] {
        let error = read_bytes(&packed[..cut]).expect_err("cut");
        assert!(error.contains("list.csv") && error.contains("cut off"), "{error}");
    }
    let mut flipped = packed.clone();
    let checksum = packed.len() - 6;
    flipped[checksum] ^= 1;
    assert!(read_bytes(&flipped).expect_err("damaged").contains("the gzip file is damaged"));
    let trailing = [&packed[..], b"more"].concat();
    assert!(read_bytes(&trailing).expect_err("trailing").contains("gzip file is"));
}

#[test]
fn empty_files_are_refused() {
    for (format, name) in
        [(Format::Csv, "a.csv"), (Format::AwsBulk, "a.json"), (Format::AzureRetail, "2025-03-18.json")]
    {
        for bytes in [Vec::new(), gzip(b"")] {
            let error = read_files(format, &[(name, &bytes)], false).map(drop).expect_err("empty");
            assert!(error.contains("the file is empty"), "{error}");
        }
    }
}

#[test]
fn partial_lists_are_not_complete() {
    assert!(!read_files(Format::Csv, &[("a.csv", CSV.as_bytes())], true).expect("a list").0.complete);
}

#[test]
fn the_pages_of_a_list_make_one_digest() {
    let next = "https://prices.azure.com/api/retail/prices?$skip=0";
    let first = format!(r#"{{"Items":[],"NextPageLink":"{next}","Count":0}}"#);
    let second = r#"{"Items":[],"NextPageLink":null,"Count":0}"#;
    let files = [("2025-03-18-page-0.json", first.as_bytes()), ("2025-03-18-page-1.json", second.as_bytes())];
    let (ended, list) = read_files(Format::AzureRetail, &files, false).expect("a list");
    assert_eq!(
        ended,
        ListEnd { complete: true, content_sha256: digest(&[first.as_bytes(), second.as_bytes()]) }
    );
    assert_eq!(list.observed_at(), "2025-03-18T00:00:00Z");
    assert!(!read_files(Format::AzureRetail, &files[..1], false).expect("a page").0.complete);
    assert!(!read_files(Format::AzureRetail, &files, true).expect("a list").0.complete);
}

#[test]
fn pages_without_a_time_name_the_remedy() {
    let error =
        read_files(Format::AzureRetail, &[("prices.json", b"{}")], false).map(drop).expect_err("no time");
    assert!(error.contains("give --observed-at"), "{error}");
}

#[test]
fn lists_beyond_the_limit_are_refused() {
    let mut remaining = 10;
    let mut limited = Limited { inner: std::io::repeat(0), limit: 100, remaining: &mut remaining };
    let mut buffer = [0; 6];
    assert_eq!(limited.read(&mut buffer).expect("within"), 6);
    let error = limited.read(&mut buffer).expect_err("beyond");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("larger than"), "{error}");
}

#[test]
fn a_folder_or_a_missing_file_is_an_input_error() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in [folder.path().to_path_buf(), folder.path().join("gone.csv")] {
        let name = path.display().to_string();
        let input = ListInput {
            format: Format::Csv,
            files: vec![path],
            scope: None,
            observed_at: None,
            partial: false,
        };
        let error = read_list(&input, &mut Recorder::default()).expect_err("no file");
        assert!(matches!(&error, ListError::Io { file, .. } if *file == name), "{error}");
    }
}
