//! AWS Price List Bulk API: the offer files of one region or of all, as JSON or CSV.
//!
//! `json` streams products and terms through serde, `csv` maps column titles to the names that JSON uses, and `list`
//! holds what both agree on, so that a list gives the same keys, scope and attributes in either form.

mod csv;
mod json;
mod list;
mod locations;
mod walk;

use std::io::Read;

use super::text::{check_start, read_error};
use super::{ListError, ListSink, Overrides, read};

pub use list::offer_term_code;

/// Reads an offer file; JSON or CSV is told by its first byte. `file` is its name or URL, for messages.
///
/// # Errors
/// As [`super::read_list`].
pub fn read(
    reader: impl Read,
    file: &str,
    overrides: &Overrides,
    sink: &mut dyn ListSink,
) -> Result<(), ListError> {
    let (start, reader) = read::peek(reader, 512).map_err(|error| read_error(file, 0, "", error))?;
    check_start(file, &start)?;
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    if matches!(first, Some(b'{' | b'[')) {
        json::read(reader, file, overrides, sink)
    } else {
        csv::read(reader, file, overrides, sink)
    }
}
