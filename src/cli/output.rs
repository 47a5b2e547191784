//! What the program prints.

use std::fmt::Display;
use std::io::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::Exit;

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

/// A value or nothing.
pub(super) fn shown<T: Display>(value: Option<T>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A time to the second.
pub(super) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
