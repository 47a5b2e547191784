//! Pricing units: what a provider's spelling of a unit says about how a price is billed.
//!
//! AWS writes `Hrs`, `hours`, `GB-Mo`, `Requests`, `Lambda-GB-Second`; Azure writes `1 Hour`, `1/Hour`,
//! `1 GiB/Hour`, `10K`, `1 GB/Month`, `100 Seconds`. The rules:
//!
//! | spelling | billing |
//! |---|---|
//! | ends in an hour (`Hrs`, `1 Hour`, `1 GiB/Hour`, `vCPU-Hours`) | for each hour that it runs |
//! | only a day, month or year, with a plain count (`1/Day`, `1/Month`, `1/Year`) | all the time |
//! | everything else, also per month or day of a quantity (`GB-Mo`, `1 GB/Month`, `1 MB/Day`, `10K/Month`) | by usage |
//!
//! A leading count is the *factor*: the price is for that many (`10K`: 10,000; `100 Seconds`: 100).

use rust_decimal::Decimal;

/// How a price becomes a monthly cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Billing {
    /// price x quantity x hours of the month.
    Hourly,
    /// price x quantity x hours of the month / 24.
    Daily,
    /// price x quantity.
    Monthly,
    /// price x quantity / 12.
    Yearly,
    /// price x usage per month x quantity.
    Usage,
}

/// A pricing unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// How it is billed.
    pub billing: Billing,
    /// How many units one price buys; 1 or more.
    pub factor: Decimal,
}

/// The largest factor that is read; a greater count is taken for a part of an unknown name.
const MAX_FACTOR: u64 = 1_000_000_000;

impl Unit {
    /// Classifies a provider's spelling; what is not known is billed by usage, one unit at a time.
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        let (count, rest) = leading_count(text);
        let factor = Decimal::from(count.map_or(1, |count| count.factor));
        let mut words = rest.split(['/', '-', ' ']).filter(|word| !word.is_empty());
        let period = words.next_back().and_then(period);
        let of_a_quantity = words.next().is_some() || count.is_some_and(|count| count.multiple);
        let billing = match period {
            Some(Billing::Hourly) => Billing::Hourly,
            Some(period) if !of_a_quantity => period,
            _ => Billing::Usage,
        };
        Self { billing, factor }
    }
}

/// The number in front of a unit.
#[derive(Debug, Clone, Copy)]
struct Count {
    factor: u64,
    /// Written with K, M or B.
    multiple: bool,
}

/// Splits `10K/Month` into its count and `/Month`; a number glued to a word (`2xlarge`) is no count.
fn leading_count(text: &str) -> (Option<Count>, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let Ok(number) = number.parse::<u64>() else {
        return (None, text);
    };
    let (thousands, after) = match rest.as_bytes().first() {
        Some(b'K' | b'k') => (1_000, &rest[1..]),
        Some(b'M' | b'm') => (1_000_000, &rest[1..]),
        Some(b'B' | b'b') => (1_000_000_000, &rest[1..]),
        _ => (1, rest),
    };
    let separated = after.is_empty() || after.starts_with(['/', ' ', '-']);
    match number.checked_mul(thousands) {
        Some(factor) if separated && (1..=MAX_FACTOR).contains(&factor) => {
            (Some(Count { factor, multiple: thousands > 1 }), after)
        }
        _ => (None, text),
    }
}

/// The period that a word names.
fn period(word: &str) -> Option<Billing> {
    const PERIODS: [(&str, Billing); 14] = [
        ("h", Billing::Hourly),
        ("hr", Billing::Hourly),
        ("hrs", Billing::Hourly),
        ("hour", Billing::Hourly),
        ("hours", Billing::Hourly),
        ("day", Billing::Daily),
        ("days", Billing::Daily),
        ("mo", Billing::Monthly),
        ("month", Billing::Monthly),
        ("months", Billing::Monthly),
        ("yr", Billing::Yearly),
        ("yrs", Billing::Yearly),
        ("year", Billing::Yearly),
        ("years", Billing::Yearly),
    ];
    PERIODS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, billing)| *billing)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_the_providers() {
        for (text, billing, factor) in [
            ("Hrs", Billing::Hourly, 1),
            ("hrs", Billing::Hourly, 1),
            ("hours", Billing::Hourly, 1),
            ("Hour", Billing::Hourly, 1),
            ("1 Hour", Billing::Hourly, 1),
            ("1/Hour", Billing::Hourly, 1),
            ("1 GiB/Hour", Billing::Hourly, 1),
            ("1 GiB Hour", Billing::Hourly, 1),
            ("vCPU-Hours", Billing::Hourly, 1),
            ("GB-Hours", Billing::Hourly, 1),
            ("LCU-Hrs", Billing::Hourly, 1),
            ("10 Hours", Billing::Hourly, 10),
            ("100 Hours", Billing::Hourly, 100),
            ("1/Day", Billing::Daily, 1),
            ("10/Day", Billing::Daily, 10),
            ("1/Month", Billing::Monthly, 1),
            ("1 Month", Billing::Monthly, 1),
            ("1/Year", Billing::Yearly, 1),
            ("GB-Mo", Billing::Usage, 1),
            ("GB-mo", Billing::Usage, 1),
            ("GB-month", Billing::Usage, 1),
            ("1 GB/Month", Billing::Usage, 1),
            ("1 GiB/Month", Billing::Usage, 1),
            ("100 GB/Month", Billing::Usage, 100),
            ("1 MB/Day", Billing::Usage, 1),
            ("Requests", Billing::Usage, 1),
            ("Request", Billing::Usage, 1),
            ("WriteRequestUnits", Billing::Usage, 1),
            ("Lambda-GB-Second", Billing::Usage, 1),
            ("Quantity", Billing::Usage, 1),
            ("1K", Billing::Usage, 1_000),
            ("10K", Billing::Usage, 10_000),
            ("25K", Billing::Usage, 25_000),
            ("1M", Billing::Usage, 1_000_000),
            ("10K/Month", Billing::Usage, 10_000),
            ("100 Seconds", Billing::Usage, 100),
            ("1 Second", Billing::Usage, 1),
            ("1 GB", Billing::Usage, 1),
            ("1", Billing::Usage, 1),
            // Unknown spellings.
            ("", Billing::Usage, 1),
            ("/", Billing::Usage, 1),
            ("furlongs", Billing::Usage, 1),
            ("0 Widgets", Billing::Usage, 1),
            ("2xlarge", Billing::Usage, 1),
            ("99999999999999999999", Billing::Usage, 1),
            ("10000000K", Billing::Usage, 1),
        ] {
            assert_eq!(Unit::parse(text), Unit { billing, factor: Decimal::from(factor) }, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_a_unit_with_a_positive_factor(text in ".{0,40}") {
            prop_assert!(Unit::parse(&text).factor >= Decimal::ONE);
        }
    }
}
