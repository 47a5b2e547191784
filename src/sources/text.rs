//! Checks of text and errors that the parsers share.

use std::io;

use chrono::{DateTime, Utc};
use rust_decimal::Decimal;

use crate::domain::money::parse_price;
use crate::domain::price::MAX_TEXT_BYTES;

use super::ListError;

/// Refuses text that no column of the ledger may hold.
pub(super) fn check_text(text: &str) -> Result<(), String> {
    if text.len() > MAX_TEXT_BYTES {
        return Err(format!(
            "a text of {} bytes is longer than the {MAX_TEXT_BYTES} that are read",
            text.len()
        ));
    }
    // PostgreSQL's text has no NUL.
    if text.contains('\0') {
        return Err("a text holds a NUL character".to_owned());
    }
    Ok(())
}

/// Refuses what is not an ISO 4217 code.
pub(super) fn check_currency(code: &str) -> Result<(), String> {
    if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_uppercase()) {
        Ok(())
    } else {
        Err(format!("{} is not a currency code of three capital letters", shown(code)))
    }
}

/// Reads the bounds of a tier: absent or empty starts at 0; absent, empty or `Inf` does not end.
pub(super) fn tier(from: &str, to: &str) -> Result<(Decimal, Option<Decimal>), String> {
    let bound = |text| parse_price(text).map_err(|error| format!("bound of a tier: {error}"));
    let from = if from.is_empty() { Decimal::ZERO } else { bound(from)? };
    let to = if to.is_empty() || to == "Inf" { None } else { Some(bound(to)?) };
    match to {
        Some(to) if to < from => Err(format!("the tier ends at {to}, before it starts at {from}")),
        _ => Ok((from, to)),
    }
}

/// Reads an RFC 3339 time.
pub(super) fn time(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| time.to_utc())
        .map_err(|_| format!("{} is not a time such as 2025-03-27T20:45:25Z", shown(text)))
}

/// Text from outside as messages show it: quoted, escaped, and short.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_CHARACTERS: usize = 200;
    let short: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if short.len() == text.len() { format!("{text:?}") } else { format!("{short:?}...") }
}

/// A [`ListError::Malformed`]; `item` is left out when empty.
pub(super) fn malformed(file: &str, line: u64, item: &str, message: impl Into<String>) -> ListError {
    let item = if item.is_empty() { None } else { Some(item.to_owned()) };
    ListError::Malformed { file: file.to_owned(), line, item, message: message.into() }
}

/// Tells a damaged or oversized list (our readers say `InvalidData`) from a failing disk or network.
pub(super) fn read_error(file: &str, line: u64, item: &str, source: io::Error) -> ListError {
    if source.kind() == io::ErrorKind::InvalidData {
        malformed(file, line, item, source.to_string())
    } else {
        ListError::Io { file: file.to_owned(), source }
    }
}

/// An error of `serde_json` as ours; `first_line` is the line in the file at which its text began.
pub(super) fn json_error(file: &str, first_line: u64, item: &str, error: serde_json::Error) -> ListError {
    let (line, column) = (error.line(), error.column());
    let in_file = first_line.saturating_sub(1).saturating_add(line.max(1) as u64);
    if error.is_io() {
        return read_error(file, in_file, item, error.into());
    }
    let mut message = error.to_string();
    // The library's own position; ours stands before the message.
    if let Some(at) = message.rfind(&format!(" at line {line} column {column}")) {
        message.truncate(at);
    }
    if error.is_eof() {
        message = format!("the JSON is cut off ({message})");
    } else if error.is_syntax() {
        message = format!("not JSON: {message} at column {column}");
    }
    malformed(file, in_file, item, message)
}

/// What the first bytes give away before any parser looks: nothing at all, or a web page in place of a list.
pub(super) fn check_start(file: &str, start: &[u8]) -> Result<(), ListError> {
    match start.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(malformed(file, 0, "", "the file is empty")),
        Some(b'<') => Err(malformed(file, 1, "", "this is HTML or XML, not a price list; download it again")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_may_be_open_but_not_reversed() {
        assert_eq!(tier("", ""), Ok((Decimal::ZERO, None)));
        assert_eq!(tier("0", "Inf"), Ok((Decimal::ZERO, None)));
        assert_eq!(tier("51200", "512000"), Ok((Decimal::from(51_200), Some(Decimal::from(512_000)))));
        assert!(tier("10", "9").expect_err("reversed").contains("before it starts"));
        assert!(tier("Inf", "").expect_err("no start").contains("not a decimal"));
    }

    #[test]
    fn text_that_the_ledger_cannot_hold_is_refused() {
        assert!(check_text(&"x".repeat(MAX_TEXT_BYTES)).is_ok());
        assert!(check_text(&"x".repeat(MAX_TEXT_BYTES + 1)).expect_err("long").contains("longer"));
        assert!(check_text("a\0b").expect_err("NUL").contains("NUL"));
        assert!(check_currency("USD").is_ok());
        for code in ["", "usd", "US", "USDT", "U1D"] {
            assert!(check_currency(code).is_err(), "{code}");
        }
    }
}
