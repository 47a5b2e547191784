//! Texts that a spreadsheet would take for formulas (OWASP, CSV Injection), and how they are kept from being run.

use std::borrow::Cow;

/// Whether a spreadsheet could take a text for a formula, also in the wide letters that some take for the narrow ones. A
/// plain number, also a negative one, is no formula.
pub fn is_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']) && !is_number(text)
}

fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (integer, fraction) = unsigned.split_once(['.', ',']).unwrap_or((unsigned, "0"));
    [integer, fraction].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a text is a formula, or one behind apostrophes: what [`guarded`] puts an apostrophe before.
fn is_guardable(text: &str) -> bool {
    is_formula(text.trim_start_matches('\''))
}

/// The text with an apostrophe in front where it could be a formula; [`unguarded`] gives every text back. So one that comes
/// with an apostrophe before a formula gets a second one.
pub fn guarded(text: &str) -> Cow<'_, str> {
    if is_guardable(text) { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) }
}

/// The text as it was before [`guarded`].
pub fn unguarded(text: &str) -> &str {
    text.strip_prefix('\'').filter(|_| is_guardable(text)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_be_a_formula_is_guarded_and_numbers_are_not() {
        for text in [
            "=1+1",
            "+cmd|' /C calc'!A0",
            "-2+3",
            "@SUM(A1)",
            "\tx",
            "\r=1",
            "\n=1",
            "-",
            "+",
            "--1",
            "-1e5",
            "-1.",
            "-1,2,3",
            "＝1",
            "－1",
        ] {
            assert!(is_formula(text), "{text:?}");
        }
        for text in ["", "web", "a=b", "-5", "+5", "-0.5", "-0,5", "5", "t3.medium", " =1", "'=1"] {
            assert!(!is_formula(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_guard_can_be_taken_away_again(text in "['=+@a1-]{0,6}") {
            let guarded = guarded(&text);
            prop_assert!(!is_formula(&guarded), "{}", guarded);
            prop_assert_eq!(unguarded(&guarded), &text);
        }
    }
}
