//! Rules of the source text: arrows between modules run one way, files stay small, no float touches a price.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What each module at the top of `src` may use of the others.
const ALLOWED: [(&str, &[&str]); 16] = [
    ("domain", &[]),
    ("cache", &["domain"]),
    ("embedded", &[]),
    ("telemetry", &[]),
    ("ledger", &["domain"]),
    ("access", &["domain", "ledger"]),
    ("config", &["access", "domain"]),
    ("bus", &["domain", "ledger"]),
    ("webhooks", &["access", "bus", "domain", "ledger"]),
    ("projections", &["domain", "ledger"]),
    ("people", &["access", "domain", "ledger"]),
    ("pricing", &["access", "cache", "domain", "ledger", "people", "projections"]),
    ("sources", &["domain", "ledger"]),
    (
        "app",
        &[
            "access",
            "bus",
            "cache",
            "config",
            "domain",
            "embedded",
            "ledger",
            "pricing",
            "projections",
            "sources",
            "telemetry",
        ],
    ),
    ("http", &["access", "bus", "domain", "ledger", "people", "pricing", "sources", "telemetry", "webhooks"]),
    (
        "cli",
        &[
            "access",
            "app",
            "bus",
            "config",
            "domain",
            "embedded",
            "http",
            "ledger",
            "pricing",
            "projections",
            "sources",
            "telemetry",
            "webhooks",
        ],
    ),
];
/// The most lines of a file that can be read in one sitting.
const MAX_LINES: usize = 600;
/// The one file that may measure seconds in a float.
const MAY_USE_FLOATS: &str = "src/sources/refresh/conclude.rs";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Path from the root, and text, of each file below a folder.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    rust_files(&root().join(folder), &mut paths);
    paths.sort();
    assert!(!paths.is_empty(), "{folder} has no files");
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root()).expect("below the root").to_str().expect("UTF-8").to_owned();
            (name, std::fs::read_to_string(&path).expect("text"))
        })
        .collect()
}

/// The text without comments and texts in quotes, so that words in them do not count.
fn code_of(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.find(['/', '"', '\'']) {
        code.push_str(&rest[..next]);
        rest = &rest[next..];
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(quoted) = rest.strip_prefix('"') {
            let hashes = code.len() - code.trim_end_matches('#').len();
            if code.trim_end_matches('#').ends_with('r') {
                let end = format!("\"{}", "#".repeat(hashes));
                quoted.find(&end).map_or(rest.len(), |at| 1 + at + end.len())
            } else {
                end_of_text(rest)
            }
        } else if let Some(literal) = ["'\"'", "'\\\"'", "'/'"].iter().find(|one| rest.starts_with(**one)) {
            literal.len()
        } else {
            code.push_str(&rest[..1]);
            1
        };
        rest = &rest[skipped..];
    }
    code.push_str(rest);
    code
}

fn end_of_text(quoted: &str) -> usize {
    let mut escaped = false;
    for (at, character) in quoted.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    quoted.len()
}

/// Modules at the top of the crate that the code names, as `crate::a`, `crate::{a, b::c}` or in a nested group.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, prefix) in code.match_indices("crate::") {
        if code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_') {
            continue;
        }
        let path = &code[at + prefix.len()..];
        match path.strip_prefix('{') {
            None => used.extend(first_name(path)),
            Some(group) => {
                let mut depth = 0;
                let mut starts = vec![0];
                for (at, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => starts.push(at + 1),
                        _ => {}
                    }
                }
                used.extend(starts.into_iter().filter_map(|start| first_name(group[start..].trim_start())));
            }
        }
    }
    used
}

fn first_name(path: &str) -> Option<String> {
    let is_of_name = |character: char| character.is_alphanumeric() || character == '_';
    let name: String = path.chars().take_while(|character| is_of_name(*character)).collect();
    (!name.is_empty()).then_some(name)
}

/// What a file uses that its module may not.
fn violations(file: &str, text: &str) -> Vec<String> {
    let below = file.strip_prefix("src/").expect("a file of src");
    let module = below.split('/').next().expect("a name").trim_end_matches(".rs");
    if ["lib", "main"].contains(&module) {
        return Vec::new();
    }
    let Some((_, allowed)) = ALLOWED.iter().find(|(known, _)| *known == module) else {
        return vec![format!("{file}: the module {module} is not in the list of this test")];
    };
    used_modules(&code_of(text))
        .into_iter()
        .filter(|used| used != module && !allowed.contains(&used.as_str()))
        .map(|used| format!("{file}: {module} uses {used}, it may use {allowed:?}"))
        .collect()
}

#[test]
fn arrows_between_modules_run_one_way() {
    let files = sources("src");
    let found: Vec<String> = files.iter().flat_map(|(file, text)| violations(file, text)).collect();
    assert_eq!(found, Vec::<String>::new());
    // The list names no module that is gone, and no arrow runs back within it.
    for (place, (module, allowed)) in ALLOWED.iter().enumerate() {
        assert!(
            files
                .iter()
                .any(|(file, _)| file == &format!("src/{module}.rs")
                    || file == &format!("src/{module}/mod.rs")),
            "{module} is gone"
        );
        for used in *allowed {
            let earlier = ALLOWED[..place].iter().any(|(name, _)| name == used);
            assert!(earlier, "{module} may use {used}, which comes later");
        }
    }
}

#[test]
fn an_arrow_that_runs_back_is_found() {
    for (file, text, expected) in [
        ("src/domain/money.rs", "use crate::ledger::read;", 1),
        ("src/domain/money.rs", "fn f() { crate::http::router() }", 1),
        ("src/ledger/mod.rs", "use crate::{domain::money, pricing::{Pricing, Page}, app};", 2),
        ("src/pricing/mod.rs", "pub(in crate::http) struct X;", 1),
        ("src/http/mod.rs", "use crate::{\n    pricing::Pricing,\n    cli,\n};", 1),
        ("src/fresh.rs", "", 1),
        // None of these is an arrow that runs back.
        ("src/domain/money.rs", "use crate::domain::price::Listing;", 0),
        ("src/domain/money.rs", "// use crate::ledger\nlet s = \"crate::ledger \\\" crate::http\";", 0),
        ("src/domain/money.rs", "let c = '\"'; // crate::ledger\nlet r = r#\"crate::\"http\"#;", 0),
        ("src/domain/money.rs", "my_crate::ledger::x(); pub(crate) fn f<'a>(x: &'a str) {}", 0),
        ("src/pricing/mod.rs", "use crate::{domain, ledger};", 0),
    ] {
        let found = violations(file, text);
        assert_eq!(found.len(), expected, "{file}: {text}: {found:?}");
    }
}

#[test]
fn files_are_small_and_folders_say_what_lives_there() {
    let mut found = Vec::new();
    for (file, text) in sources("src").into_iter().chain(sources("tests")) {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            found.push(format!("{file}: {lines} lines, more than {MAX_LINES}; split it"));
        }
        if file.starts_with("src/") && file.ends_with("/mod.rs") && !text.starts_with("//! ") {
            found.push(format!("{file}: does not begin with //! and what lives there"));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

/// Whether the code has a word.
fn has_word(code: &str, word: &str) -> bool {
    code.split(|character: char| !(character.is_alphanumeric() || character == '_')).any(|one| one == word)
}

#[test]
fn no_float_touches_a_price() {
    let with_floats: Vec<String> = sources("src")
        .into_iter()
        .filter(|(_, text)| ["f64", "f32"].iter().any(|float| has_word(&code_of(text), float)))
        .map(|(file, _)| file)
        .collect();
    assert!(with_floats.iter().all(|file| file == MAY_USE_FLOATS), "{with_floats:?}");
    assert!(has_word("let x: f64 = 1.0;", "f64") && !has_word("as_f64()", "f64"));
}
