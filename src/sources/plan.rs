//! From command line arguments to lists: folders into files, and numbered pages into one run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};

use super::text::malformed;
use super::{Format, ListError, ListInput};

/// Turns files and folders into lists to read, in the order given; the files of a folder are sorted by name.
///
/// For [`Format::AzureRetail`], files of one folder whose names differ only in the number after `page`
/// (`page-000.json.gz`, `page_1.json`) are the pages of one list, in the order of their numbers. Every other file
/// is a list of its own. Folders within a folder are not entered.
///
/// # Errors
/// A path that does not exist, a folder without lists, a page missing or given twice.
pub fn plan(
    format: Format,
    paths: &[PathBuf],
    scope: Option<&str>,
    observed_at: Option<DateTime<Utc>>,
    partial: bool,
) -> Result<Vec<ListInput>, ListError> {
    let mut files = Vec::new();
    for path in paths {
        let kind = fs::metadata(path)
            .map_err(|source| ListError::Io { file: path.display().to_string(), source })?
            .file_type();
        if kind.is_dir() {
            files.extend(list_folder(format, path)?);
        } else {
            files.push(path.clone());
        }
    }
    let groups = if format == Format::AzureRetail {
        group_pages(files)?
    } else {
        files.into_iter().map(|file| vec![file]).collect()
    };
    Ok(groups
        .into_iter()
        .map(|files| ListInput { format, files, scope: scope.map(str::to_owned), observed_at, partial })
        .collect())
}

fn list_folder(format: Format, folder: &Path) -> Result<Vec<PathBuf>, ListError> {
    let endings: &[&str] = match format {
        Format::AwsBulk => &[".json", ".json.gz", ".csv", ".csv.gz"],
        Format::AzureRetail => &[".json", ".json.gz"],
        Format::Csv => &[".csv", ".csv.gz"],
    };
    let io = |source| ListError::Io { file: folder.display().to_string(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let name = file_name(&path).to_ascii_lowercase();
        if endings.iter().any(|ending| name.ends_with(ending)) && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        let message = format!(
            "the folder holds no file that ends in {}; folders within it are not read, name them one by one",
            endings.join(", ")
        );
        return Err(malformed(&folder.display().to_string(), 0, "", message));
    }
    files.sort();
    Ok(files)
}

/// A file name such as `page-012.json.gz`, cut around its number.
struct PageName<'a> {
    before: &'a str,
    number: u32,
    width: usize,
    after: &'a str,
}

impl<'a> PageName<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        // ASCII lower case keeps byte positions.
        let page = name.to_ascii_lowercase().rfind("page")? + "page".len();
        let digits = page + usize::from(name[page..].starts_with(['-', '_']));
        let width = name[digits..].bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = name[digits..].split_at(width);
        Some(Self { before: &name[..digits], number: number.parse().ok()?, width, after })
    }
}

type PageSet = BTreeMap<u32, (PathBuf, usize)>;

/// Brings the pages of one list together, at the place of the first.
fn group_pages(files: Vec<PathBuf>) -> Result<Vec<Vec<PathBuf>>, ListError> {
    enum Slot {
        Single(PathBuf),
        Pages(PathBuf, String, String),
    }
    let mut slots = Vec::new();
    // By folder and the name around the number: each page with the width of its number.
    let mut sets: BTreeMap<(PathBuf, String, String), PageSet> = BTreeMap::new();
    for file in files {
        let name = file_name(&file);
        let Some(page) = PageName::parse(&name) else {
            slots.push(Slot::Single(file));
            continue;
        };
        let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
        let key = (folder, page.before.to_owned(), page.after.to_owned());
        let set = sets.entry(key.clone()).or_insert_with(|| {
            slots.push(Slot::Pages(key.0, key.1, key.2));
            BTreeMap::new()
        });
        if set.insert(page.number, (file.clone(), page.width)).is_some() {
            let message = format!("page {} is given twice", page.number);
            return Err(malformed(&file.display().to_string(), 0, "", message));
        }
    }
    slots
        .into_iter()
        .map(|slot| match slot {
            Slot::Single(file) => Ok(vec![file]),
            Slot::Pages(folder, before, after) => {
                let set = sets.remove(&(folder.clone(), before.clone(), after.clone())).unwrap_or_default();
                // Some number from 0, some from 1.
                let first = set.keys().next().map_or(0, |first| (*first).min(1));
                let mut files = Vec::with_capacity(set.len());
                for (expected, (number, (file, width))) in (first..).zip(set) {
                    if number != expected {
                        let missing = folder.join(format!("{before}{expected:0width$}{after}"));
                        let message = format!(
                            "this page is missing: {} comes instead; a list is read with all its pages, from 0 or 1",
                            file_name(&file)
                        );
                        return Err(malformed(&missing.display().to_string(), 0, "", message));
                    }
                    files.push(file);
                }
                Ok(files)
            },
        })
        .collect()
}

/// The time in the name of a list's file, or, for numbered pages, of their folder: `20260820T091713Z`, or
/// `2025-03-18` for midnight UTC.
pub(super) fn time_in_name(file: &Path) -> Option<DateTime<Utc>> {
    let name = file_name(file);
    time_in(&name).or_else(|| {
        PageName::parse(&name)?;
        // `page-0.json` has no parent in its text; the folder's name is wanted all the same.
        let absolute = std::path::absolute(file).ok()?;
        time_in(&file_name(absolute.parent()?))
    })
}

fn time_in(name: &str) -> Option<DateTime<Utc>> {
    let bytes = name.as_bytes();
    (0..bytes.len()).find_map(|start| {
        let rest = name.get(start..)?;
        if start > 0 && bytes[start - 1].is_ascii_digit() {
            return None;
        }
        let basic = rest.get(.."20260820T091713Z".len()).and_then(|text| {
            NaiveDateTime::parse_from_str(text, "%Y%m%dT%H%M%SZ").ok().map(|time| time.and_utc())
        });
        let date = || {
            let text = rest.get(.."2025-03-18".len())?;
            let ends = rest.as_bytes().get(text.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric());
            let shaped = text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
            if !ends || !shaped {
                return None;
            }
            Some(NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0)?.and_utc())
        };
        basic.or_else(date)
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            fs::write(folder.path().join(name), "x").expect("a file");
        }
        folder
    }

    fn planned(format: Format, paths: &[PathBuf]) -> Result<Vec<Vec<String>>, String> {
        plan(format, paths, None, None, false)
            .map(|lists| {
                lists.iter().map(|list| list.files.iter().map(|file| file_name(file)).collect()).collect()
            })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn pages_are_one_list_in_the_order_of_their_numbers_and_other_files_stand_alone() {
        let folder = folder(&[
            "page_10.json",
            "page_9.json",
            "page_8.json.gz",
            "2025-03-18.json.gz",
            "notes.txt",
            "a.csv",
        ]);
        fs::rename(folder.path().join("page_8.json.gz"), folder.path().join("page_8.json")).expect("renamed");
        for number in 1..8 {
            fs::write(folder.path().join(format!("page_{number}.json")), "x").expect("a file");
        }
        let expected: Vec<String> = (1..=10).map(|number| format!("page_{number}.json")).collect();
        assert_eq!(
            planned(Format::AzureRetail, &[folder.path().to_path_buf()]),
            Ok(vec![vec!["2025-03-18.json.gz".to_owned()], expected])
        );
        assert_eq!(planned(Format::Csv, &[folder.path().to_path_buf()]), Ok(vec![vec!["a.csv".to_owned()]]));
    }

    #[test]
    fn folders_and_files_keep_the_order_given() {
        let (first, second) = (folder(&["page-000.json.gz"]), folder(&["page1.json", "page2.json"]));
        let files =
            [second.path().join("page2.json"), first.path().to_path_buf(), second.path().join("page1.json")];
        assert_eq!(
            planned(Format::AzureRetail, &files),
            Ok(vec![
                vec!["page1.json".to_owned(), "page2.json".to_owned()],
                vec!["page-000.json.gz".to_owned()]
            ])
        );
        let one_each = planned(Format::AwsBulk, &[second.path().to_path_buf()]).expect("a plan");
        assert_eq!(one_each.len(), 2);
    }

    #[test]
    fn missing_and_repeated_pages_are_named() {
        let gap = folder(&["page-000.json", "page-002.json"]);
        let error = planned(Format::AzureRetail, &[gap.path().to_path_buf()]).expect_err("a gap");
        assert!(
            error.contains("page-001.json: this page is missing: page-002.json comes instead"),
            "{error}"
        );
        let late = folder(&["page-002.json"]);
        let error = planned(Format::AzureRetail, &[late.path().to_path_buf()]).expect_err("no start");
        assert!(error.contains("page-001.json: this page is missing"), "{error}");
        let page = gap.path().join("page-000.json");
        let error = planned(Format::AzureRetail, &[page.clone(), page]).expect_err("twice");
        assert!(error.contains("page 0 is given twice"), "{error}");
    }

    #[test]
    fn missing_paths_and_folders_without_lists_are_errors() {
        let empty = folder(&["notes.txt"]);
        let error = planned(Format::Csv, &[empty.path().to_path_buf()]).expect_err("nothing");
        assert!(error.contains("no file that ends in .csv, .csv.gz"), "{error}");
        let error = planned(Format::Csv, &[empty.path().join("gone.csv")]).expect_err("missing");
        assert!(error.contains("gone.csv"), "{error}");
    }

    #[test]
    fn the_time_is_found_in_names() {
        for (name, expected) in [
            ("a/20260820T091713Z/page-000.json.gz", Some("2026-08-20T09:17:13Z")),
            ("a/2025-03-18/page-1.json", Some("2025-03-18T00:00:00Z")),
            ("a/2025-03-18.json.gz", Some("2025-03-18T00:00:00Z")),
            ("a/list-20260820T091713Z.json", Some("2026-08-20T09:17:13Z")),
            ("2025-03-18/prices.json", None),
            ("2025-03-181.json", None),
            ("2025-02-30.json", None),
            ("2025-03-18T10.json", None),
            ("é2025.json", None),
        ] {
            let expected = expected.map(|text| text.parse::<DateTime<Utc>>().expect("a time"));
            assert_eq!(time_in_name(Path::new(name)), expected, "{name}");
        }
    }
}
