//! What is said about an estimate when it is saved, beside the request: name, note, tags, archived or not.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::validate::{Problems, Spot, check_text, missing, request};
use super::{EstimateRequest, InvalidRequest, MAX_NAME_CHARS, read};
use crate::domain::object::Object;

/// The longest note, in characters.
pub const MAX_NOTE_CHARS: usize = 2_000;
/// The most tags of an estimate.
pub const MAX_TAGS: usize = 20;
/// The longest tag, in characters.
pub const MAX_TAG_CHARS: usize = 50;

/// What a request to save says about the version, beside its name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Why this version.
    pub note: Option<String>,
    /// Sorted, none twice; `None`: those of the version before.
    pub tags: Option<Vec<String>>,
}

/// What to say differently about an estimate; `None`: as before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Relabel {
    /// What it is called.
    pub name: Option<String>,
    /// Why.
    pub note: Option<String>,
    /// All of them; sorted, none twice.
    pub tags: Option<Vec<String>>,
    /// Whether lists leave it out.
    pub archived: Option<bool>,
}

/// Reads and checks a request to save: as [`super::request_parse`], with `note` and `tags`. The first version of an
/// estimate, with `is_first`, needs a name.
///
/// # Errors
/// Everything that is wrong with it.
pub fn save_request_parse(body: &[u8], is_first: bool) -> Result<(EstimateRequest, Labels), InvalidRequest> {
    let mut problems = Problems::default();
    let request = read(body, &mut problems).and_then(|mut text| {
        if is_first && text.name.is_none() {
            missing(&Spot::root().field("name"), &mut problems);
        }
        let labels = Labels {
            note: note(text.note.take(), &mut problems),
            tags: tags(text.tags.take(), &mut problems),
        };
        Some((request(text, &mut problems)?, labels))
    });
    problems.into_result(request)
}

/// Reads and checks what to say differently about an estimate.
///
/// # Errors
/// Everything that is wrong with it, also that it says nothing.
pub fn relabel_parse(body: &[u8]) -> Result<Relabel, InvalidRequest> {
    let mut problems = Problems::default();
    let relabel = match serde_json::from_slice::<Object<Relabel>>(body) {
        Ok(Object(relabel)) if relabel == Relabel::default() => {
            let remedy = "give at least one of name, note, tags, archived";
            problems.add(&Spot::root(), "nothing is to change".into(), remedy);
            None
        }
        Ok(Object(relabel)) => {
            if let Some(name) = &relabel.name {
                check_text(name, MAX_NAME_CHARS, &Spot::root().field("name"), &mut problems);
            }
            Some(Relabel {
                note: note(relabel.note, &mut problems),
                tags: tags(relabel.tags, &mut problems),
                ..relabel
            })
        }
        Err(error) => {
            let remedy =
                r#"send {"name":"...","note":"...","tags":["..."],"archived":true}, or some of them"#;
            problems.add(&Spot::root(), error.to_string(), remedy);
            None
        }
    };
    problems.into_result(relabel)
}

/// A note may have several lines, nothing else of what controls a terminal.
fn note(note: Option<String>, problems: &mut Problems) -> Option<String> {
    let text = note.as_ref()?.replace(['\n', '\r', '\t'], " ");
    check_text(&text, MAX_NOTE_CHARS, &Spot::root().field("note"), problems);
    note
}

fn tags(tags: Option<Vec<String>>, problems: &mut Problems) -> Option<Vec<String>> {
    let mut tags = tags?;
    let spot = Spot::root().field("tags");
    if tags.len() > MAX_TAGS {
        let message = format!("{} tags are more than the {MAX_TAGS} that are kept", tags.len());
        problems.add(&spot, message, "leave some out");
        return None;
    }
    let mut seen = BTreeSet::new();
    for (index, tag) in tags.iter().enumerate() {
        let index = index.to_string();
        let spot = spot.field(&index);
        check_text(tag, MAX_TAG_CHARS, &spot, problems);
        if !seen.insert(tag) {
            problems.add(&spot, "the tag is given twice".into(), "give it once");
        }
    }
    tags.sort_unstable();
    Some(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(more: &str) -> Result<Labels, InvalidRequest> {
        let body = format!(
            r#"{{{more}"lines":[{{"provider":"aws","service":"s","region":"r","resource":"x","quantity":"1"}}]}}"#
        );
        save_request_parse(body.as_bytes(), true).map(|(_, labels)| labels)
    }

    #[test]
    fn labels_are_read_with_the_request() {
        let labels = saved(r#""name":"web","note":"two\nlines","tags":["b","a"],"#).expect("right");
        assert_eq!(labels.note.as_deref(), Some("two\nlines"));
        assert_eq!(labels.tags, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(saved(r#""name":"web","#), Ok(Labels::default()));
        // The other reading, which names the places of wrong types, knows the same fields.
        let wrong = saved(r#""name":"web","note":"x","tags":["a"],"hours_per_month":1,"#).expect_err("wrong");
        assert_eq!(wrong.total, 1, "{wrong}");
    }

    #[test]
    fn wrong_labels_are_named() {
        let long = |count: usize| "x".repeat(count);
        let many: Vec<String> = (0..=MAX_TAGS).map(|tag| format!("\"{tag}\"")).collect();
        for (more, place, text) in [
            (String::new(), "/name", "is missing"),
            (r#""name":"","#.to_owned(), "/name", "empty"),
            (format!(r#""name":"{}","#, long(201)), "/name", "more than the 200"),
            (r#""name":1,"#.to_owned(), "/name", "not the number"),
            (format!(r#""name":"n","note":"{}","#, long(2_001)), "/note", "more than the 2000"),
            (r#""name":"n","note":"\u0007","#.to_owned(), "/note", "U+0007"),
            (format!(r#""name":"n","tags":["a","{}"],"#, long(51)), "/tags/1", "more than the 50"),
            (r#""name":"n","tags":["a","a"],"#.to_owned(), "/tags/1", "twice"),
            (r#""name":"n","tags":["a",""],"#.to_owned(), "/tags/1", "empty"),
            (r#""name":"n","tags":["a",null],"#.to_owned(), "/tags/1", "not null"),
            (r#""name":"n","tags":["a",7],"#.to_owned(), "/tags/1", "not the number"),
            (r#""name":"n","tags":"a","#.to_owned(), "/tags", "array of texts"),
            (format!(r#""name":"n","tags":[{}],"#, many.join(",")), "/tags", "21 tags"),
        ] {
            let invalid = saved(&more).expect_err(&more);
            assert_eq!(invalid.total, 1, "{more}: {invalid}");
            assert_eq!(invalid.problems[0].place, place, "{more}");
            assert!(invalid.problems[0].message.contains(text), "{more}: {invalid}");
        }
    }

    #[test]
    fn a_new_label_says_something() {
        let relabel = relabel_parse(br#"{"archived":true,"tags":["b","a"]}"#).expect("right");
        assert_eq!(relabel.archived, Some(true));
        assert_eq!(relabel.tags, Some(vec!["a".to_owned(), "b".to_owned()]));
        for body in ["{}", "[]", "x", r#"{"name":""}"#, r#"{"tags":["a","a"]}"#, r#"{"lines":[]}"#] {
            assert!(relabel_parse(body.as_bytes()).is_err(), "{body}");
        }
    }
}
