//! What people write: amounts, reasons, times. Everything that is wrong is told at once.

use chrono::{DateTime, SubsecRound as _, Utc};
use rust_decimal::Decimal;

use crate::domain::estimate::{InvalidRequest, Problem};
use crate::domain::money::{SIGNIFICANT_DIGITS, parse_price};

/// The longest reason of an override and the longest note on a decision, in characters.
pub(super) const MAX_REASON_CHARS: usize = 1_000;
/// The longest justification of a proposal, in characters.
pub(super) const MAX_JUSTIFICATION_CHARS: usize = 4_000;
/// The most pieces of evidence of a proposal.
pub(super) const MAX_EVIDENCE: usize = 20;
/// The longest of them, in characters.
pub(super) const MAX_EVIDENCE_CHARS: usize = 4_000;
/// The largest amount that a person may give for one unit: a thousand million.
const MAX_AMOUNT: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);

/// What is wrong so far.
#[derive(Debug, Default)]
pub(super) struct Checks(Vec<Problem>);

impl Checks {
    pub(super) fn add(&mut self, place: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let (message, remedy) = (message.into(), remedy.into());
        self.0.push(Problem { place: place.to_owned(), label: None, message, remedy });
    }

    pub(super) fn finish(self) -> Result<(), InvalidRequest> {
        let total = self.0.len();
        if total == 0 { Ok(()) } else { Err(InvalidRequest { problems: self.0, total }) }
    }

    /// An amount of money for one unit of a price, exactly as it is written.
    pub(super) fn amount(&mut self, text: &str) -> Option<Decimal> {
        let place = "/amount";
        // What a price list has in excess is rounded; a person is asked to mean what is kept.
        let digits = text.bytes().filter(u8::is_ascii_digit).count();
        match parse_price(text) {
            Ok(_) if text.contains(['e', 'E']) => {
                let message = format!("{text:?} has an exponent");
                self.add(place, message, "write digits with a point, such as \"0.0472\"");
            }
            Err(error) => self.add(place, error.to_string(), "write digits with a point, such as \"0.0472\""),
            Ok(_) if digits > SIGNIFICANT_DIGITS => {
                let remedy = format!("use at most {SIGNIFICANT_DIGITS} digits");
                self.add(place, "the amount has more digits than are kept", remedy);
            }
            Ok(amount) if amount > MAX_AMOUNT => {
                let message = format!("{text} is more than {MAX_AMOUNT}, the most that is taken");
                self.add(place, message, "check the unit of the price");
            }
            // -0 is zero.
            Ok(amount) => return Some(if amount.is_zero() { Decimal::ZERO } else { amount }),
        }
        None
    }

    /// A text that somebody writes for others, of several lines perhaps.
    pub(super) fn text(&mut self, place: &str, text: &str, limit: usize) -> String {
        let text = text.trim();
        let is_odd = |character: &char| character.is_control() && !matches!(character, '\n' | '\r' | '\t');
        if text.is_empty() {
            self.add(place, "the text is empty", "write why");
        } else if text.len() > limit && text.chars().count() > limit {
            let message =
                format!("{} characters are more than the {limit} that are kept", text.chars().count());
            self.add(place, message, "shorten it");
        } else if let Some(control) = text.chars().find(is_odd) {
            let message = format!("the text holds the control character U+{:04X}", u32::from(control));
            self.add(place, message, "remove it");
        }
        text.to_owned()
    }

    /// A time to come, up to `last`.
    pub(super) fn end(
        &mut self,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
        last: DateTime<Utc>,
        why: &str,
    ) -> DateTime<Utc> {
        let at = at.trunc_subsecs(6);
        if at <= now {
            self.add("/expires_at", format!("{at} is past"), "give a time to come, or leave it out");
        } else if at > last {
            self.add("/expires_at", format!("{at} is later than {last}, {why}"), "give an earlier time");
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_taken_exactly_or_not_at_all() {
        for (text, amount) in [
            ("0.0472", "0.0472"),
            ("0", "0"),
            ("-0.0", "0"),
            ("0.100", "0.1"),
            ("1000000000", "1000000000"),
            ("0.000000000000000000000000001", "0.000000000000000000000000001"),
        ] {
            let mut checks = Checks::default();
            assert_eq!(checks.amount(text).map(|read| read.to_string()).as_deref(), Some(amount), "{text}");
            assert!(checks.finish().is_ok());
        }
        let long = "0.1000000000000000000000000000";
        for text in ["", "-1", "1,5", "NaN", "1e-2", "1000000001", long, "0x1", "1e400", &"1".repeat(200)] {
            let mut checks = Checks::default();
            assert_eq!(checks.amount(text), None, "{text}");
            assert_eq!(checks.finish().expect_err(text).problems[0].place, "/amount");
        }
    }

    #[test]
    fn texts_have_a_limit_in_characters() {
        let check = |text: &str| {
            let mut checks = Checks::default();
            let kept = checks.text("/reason", text, 5);
            checks.finish().map(|()| kept)
        };
        assert_eq!(check(" ééééé\n").as_deref(), Ok("ééééé"));
        assert_eq!(check("a\nb\tc").as_deref(), Ok("a\nb\tc"));
        for text in ["", " \n", "éééééé", "a\u{0}b", "\u{1b}[1m"] {
            assert!(check(text).is_err(), "{text:?}");
        }
    }
}
