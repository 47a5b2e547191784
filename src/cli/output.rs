//! What the program prints.

use std::fmt::Display;
use std::io::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::Exit;
use crate::pricing::Page;

/// An error on stderr.
pub(super) fn error(error: &impl Display) {
    // Nowhere is left to tell that stderr is closed.
    let _ = writeln!(std::io::stderr(), "mercuriale: {error}");
}

/// An error with its causes, without those that it names already.
pub(super) fn failure(error: &anyhow::Error) {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    self::error(&text);
}

/// A line on stdout.
pub(super) fn line(text: &str) -> anyhow::Result<Exit> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(Exit::Done)
}

/// A value as one line of JSON on stdout.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<Exit> {
    line(&serde_json::to_string(value)?)
}

/// Rows under titles on stdout; columns from `numbers_from` on are aligned to the right.
pub(super) fn table(titles: &[&str], rows: Vec<Vec<String>>, numbers_from: usize) -> anyhow::Result<Exit> {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(titles);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut().skip(numbers_from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    line(&table.trim_fmt())
}

/// A page, as rows under titles or as one line of JSON an item, and on stderr how to go on.
pub(super) fn page<T: Serialize>(
    page: &Page<T>,
    as_json: bool,
    titles: &[&str],
    numbers_from: usize,
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<Exit> {
    if as_json {
        page.items.iter().try_for_each(|item| json(item).map(|_| ()))?;
    } else {
        table(titles, page.items.iter().map(row).collect(), numbers_from)?;
    }
    if let Some(after) = page.next_after {
        error(&format!("there are more: add --after {after}"));
    }
    Ok(Exit::Done)
}

/// A value or nothing.
pub(super) fn shown<T: Display>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A time to the second.
pub(super) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
