//! Decimal amounts: reading them from text, and the rule of what counts as a change.

use num_bigint::BigInt;
use rust_decimal::Decimal;

/// Significant digits a stored amount keeps; longer ones are rounded half even.
pub const SIGNIFICANT_DIGITS: usize = 28;
/// The longest amount text that is read, in bytes (AWS has published 54 digits).
pub const MAX_AMOUNT_BYTES: usize = 128;

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits, with an optional sign, point and exponent.
    #[error("{0:?} is not a decimal number")]
    NotDecimal(String),
    /// Longer than [`MAX_AMOUNT_BYTES`].
    #[error("a number of {0} characters is longer than the {MAX_AMOUNT_BYTES} that are read")]
    TooLong(usize),
    /// Beyond 28 integer digits, or below what 28 decimals can show.
    #[error("{0} is outside the range of a decimal (28 digits)")]
    OutOfRange(String),
    /// Below zero.
    #[error("{0} is negative; a price is zero or more")]
    Negative(String),
}

/// Reads an amount such as `0.0472000000`, `6.55E-8` or `12`, keeping [`SIGNIFICANT_DIGITS`] digits, half even.
///
/// The value is exact up to that rounding, never goes through a float, and loses trailing zeros, so that equal
/// amounts have equal text.
///
/// # Errors
/// Text that is not a decimal, is too long, or does not fit.
pub fn parse_decimal(text: &str) -> Result<Decimal, AmountError> {
    if text.len() > MAX_AMOUNT_BYTES {
        return Err(AmountError::TooLong(text.len()));
    }
    let not_decimal = || AmountError::NotDecimal(text.to_owned());
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => {
            let exponent: i32 = unsigned[at + 1..].parse().map_err(|_| not_decimal())?;
            (&unsigned[..at], exponent)
        }
        None => (unsigned, 0),
    };
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (integer.is_empty() && fraction.is_empty()) || !all_digits(integer) || !all_digits(fraction) {
        return Err(not_decimal());
    }

    let mut digits: Vec<u8> = integer.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
    let mut scale = i32::try_from(fraction.len()).map_err(|_| not_decimal())?.saturating_sub(exponent);
    let leading = digits.iter().take_while(|digit| **digit == 0).count();
    digits.drain(..leading);
    // What a decimal can hold: 28 significant digits, and a scale of at most 28.
    let excess = i32::try_from(digits.len().saturating_sub(SIGNIFICANT_DIGITS)).unwrap_or(i32::MAX);
    let too_fine = scale.saturating_sub(28).max(0);
    let dropped = excess.max(too_fine);
    if dropped > 0 {
        round_half_even(&mut digits, usize::try_from(dropped).unwrap_or(usize::MAX));
        scale -= dropped;
    }
    let mut value: i128 = digits.iter().fold(0, |value, digit| value * 10 + i128::from(*digit));
    while scale < 0 && value != 0 {
        value = value.checked_mul(10).ok_or_else(|| AmountError::OutOfRange(text.to_owned()))?;
        scale += 1;
    }
    let scale = if value == 0 { 0 } else { scale.unsigned_abs() };
    let value = if negative { -value } else { value };
    Decimal::try_from_i128_with_scale(value, scale)
        .map(|amount| amount.normalize())
        .map_err(|_| AmountError::OutOfRange(text.to_owned()))
}

/// Drops the last `dropped` digits, rounding half to even.
fn round_half_even(digits: &mut Vec<u8>, dropped: usize) {
    let keep = digits.len().saturating_sub(dropped);
    let missing = dropped.saturating_sub(digits.len());
    let tail = digits.split_off(keep);
    let half = match tail.split_first() {
        // Zeros stand between the kept digits and the first dropped one: below half.
        _ if missing > 0 => std::cmp::Ordering::Less,
        Some((first, rest)) => first.cmp(&5).then_with(|| {
            if rest.iter().any(|digit| *digit != 0) {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        }),
        None => std::cmp::Ordering::Less,
    };
    let odd = digits.last().is_some_and(|digit| digit % 2 == 1);
    if half == std::cmp::Ordering::Greater || (half == std::cmp::Ordering::Equal && odd) {
        for digit in digits.iter_mut().rev() {
            if *digit == 9 {
                *digit = 0;
            } else {
                *digit += 1;
                return;
            }
        }
        digits.insert(0, 1);
    }
}

/// Reads a price: a decimal that is not negative.
///
/// # Errors
/// As [`parse_decimal`], and for a negative amount.
pub fn parse_price(text: &str) -> Result<Decimal, AmountError> {
    let amount = parse_decimal(text)?;
    if amount.is_sign_negative() && !amount.is_zero() {
        return Err(AmountError::Negative(text.to_owned()));
    }
    Ok(amount.abs())
}

/// Whether `observed` differs from `official` by more than `threshold` (0.001 = 0.1 %), exactly:
/// |observed - official| > threshold x |official|. From zero, any other price is a change.
pub fn is_change(official: Decimal, observed: Decimal, threshold: Decimal) -> bool {
    if official.scale() == observed.scale() {
        // The common case: differences of 97 bits times a small threshold mantissa fit in 128.
        let difference = (observed.mantissa() - official.mantissa()).abs();
        let left = difference.checked_mul(10_i128.pow(threshold.scale()));
        let right = official.mantissa().abs().checked_mul(threshold.mantissa());
        if let (Some(left), Some(right)) = (left, right) {
            return left > right;
        }
    }
    let scale = official.scale().max(observed.scale());
    let aligned =
        |amount: Decimal| BigInt::from(amount.mantissa()) * BigInt::from(10).pow(scale - amount.scale());
    let (official, observed) = (aligned(official), aligned(observed));
    let difference = BigInt::from((&observed - &official).magnitude().clone());
    let official = BigInt::from(official.magnitude().clone());
    difference * BigInt::from(10).pow(threshold.scale()) > official * BigInt::from(threshold.mantissa())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal {
        parse_decimal(text).expect("a decimal")
    }

    #[test]
    fn amounts_keep_their_value_and_lose_trailing_zeros() {
        for (text, expected) in [
            ("0.0472000000", "0.0472"),
            ("6.55E-8", "0.0000000655"),
            ("3.4e-05", "0.000034"),
            ("12", "12"),
            ("0.0000000000", "0"),
            ("1e3", "1000"),
            (".5", "0.5"),
            ("-0", "0"),
        ] {
            assert_eq!(decimal(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn long_amounts_are_rounded_to_28_digits_half_even() {
        for (text, expected) in [
            ("1234.56789012345678901234567890123456789012345678901234", "1234.567890123456789012345679"),
            ("1.0000000000000000000000000005", "1"),
            ("1.0000000000000000000000000015", "1.000000000000000000000000002"),
            ("1.00000000000000000000000000050000001", "1.000000000000000000000000001"),
            ("9.9999999999999999999999999995", "10"),
            ("0.00000000000000000000000000005", "0"),
            ("0.00000000000000000000000000006", "0.0000000000000000000000000001"),
            ("1e-60", "0"),
        ] {
            assert_eq!(decimal(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_not_a_price_is_refused() {
        for text in ["", "NaN", "Inf", "1,5", "0x10", "1e", "--1", ".", "1e99999999999", " 1"] {
            assert!(matches!(parse_decimal(text), Err(AmountError::NotDecimal(_))), "{text}");
        }
        assert!(matches!(parse_decimal("1e40"), Err(AmountError::OutOfRange(_))));
        assert!(matches!(parse_decimal(&"1".repeat(129)), Err(AmountError::TooLong(129))));
        assert!(matches!(parse_price("-0.01"), Err(AmountError::Negative(_))));
        assert_eq!(parse_price("-0.0"), Ok(Decimal::ZERO));
    }

    #[test]
    fn a_change_is_more_than_a_thousandth_of_the_official_price() {
        let threshold = decimal("0.001");
        for (official, observed, expected) in [
            ("1", "1.001", false),
            ("1", "1.001000000000000000000000001", true),
            ("1", "0.999", false),
            ("1", "0.9989", true),
            ("0", "0.0000000001", true),
            ("0", "0", false),
            ("5", "0", true),
            ("7922816251426433759354395033", "7922816251426433759354395033", false),
            ("7922816251426433759354395033", "0.0000000000000000000000000001", true),
        ] {
            assert_eq!(
                is_change(decimal(official), decimal(observed), threshold),
                expected,
                "{official} {observed}"
            );
        }
    }
}
