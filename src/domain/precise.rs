//! Decimal arithmetic with one rounding rule: exact where 28 significant digits hold the result, otherwise
//! rounded to 28, half even.
//!
//! The operators of `rust_decimal` round where their 96 bits end, at 28 or 29 digits depending on the leading
//! digit. With one rule anybody can recompute an estimate, for example with Python's `decimal`, whose default
//! context is the same. A decimal holds 28 decimals at most, so results below 0.1 are rounded there. Results are
//! normalised: no trailing zeros.

use num_bigint::{BigInt, BigUint, Sign};
use rust_decimal::{Decimal, RoundingStrategy};

use crate::domain::money::SIGNIFICANT_DIGITS;

/// A result that no decimal holds: 29 or more integer digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the result has more than {SIGNIFICANT_DIGITS} integer digits")]
pub struct Overflow;

/// The decimals a [`Decimal`] can hold.
const MAX_SCALE: u32 = 28;
/// The first mantissa with more than [`SIGNIFICANT_DIGITS`] digits.
const MANTISSA_END: u128 = 10_u128.pow(28);

/// `left` x `right`.
///
/// # Errors
/// More than 28 integer digits.
pub fn multiply(left: Decimal, right: Decimal) -> Result<Decimal, Overflow> {
    let scale = left.scale() + right.scale();
    if let Some(product) = left.mantissa().checked_mul(right.mantissa())
        && let Some(exact) = exactly(product, scale)
    {
        return Ok(exact);
    }
    rounded(&(BigInt::from(left.mantissa()) * right.mantissa()), &BigUint::from(1_u8), i64::from(scale))
}

/// `left` + `right`.
///
/// # Errors
/// More than 28 integer digits.
pub fn add(left: Decimal, right: Decimal) -> Result<Decimal, Overflow> {
    let scale = left.scale().max(right.scale());
    let aligned = |term: Decimal| 10_i128.pow(scale - term.scale()).checked_mul(term.mantissa());
    if let (Some(left), Some(right)) = (aligned(left), aligned(right))
        && let Some(exact) = left.checked_add(right).and_then(|sum| exactly(sum, scale))
    {
        return Ok(exact);
    }
    let aligned = |term: Decimal| BigInt::from(10_i128.pow(scale - term.scale())) * term.mantissa();
    rounded(&(aligned(left) + aligned(right)), &BigUint::from(1_u8), i64::from(scale))
}

/// `left` - `right`.
///
/// # Errors
/// More than 28 integer digits.
pub fn subtract(left: Decimal, right: Decimal) -> Result<Decimal, Overflow> {
    add(left, -right)
}

/// `left` / `right`; `right` must not be zero.
///
/// # Errors
/// More than 28 integer digits, or a division by zero.
pub fn divide(left: Decimal, right: Decimal) -> Result<Decimal, Overflow> {
    if right.is_zero() {
        return Err(Overflow);
    }
    if right == Decimal::ONE {
        return multiply(left, right);
    }
    let sign = if right.is_sign_negative() { -1 } else { 1 };
    let scale = i64::from(left.scale()) - i64::from(right.scale());
    rounded(&(BigInt::from(left.mantissa()) * sign), &BigUint::from(right.mantissa().unsigned_abs()), scale)
}

/// An amount in cents: two decimals, half even. For display and CSV only; sums are taken before it.
///
/// ```
/// use mercuriale::domain::{money::parse_decimal, precise::round_cents_half_even};
/// assert_eq!(round_cents_half_even(parse_decimal("62.025")?).to_string(), "62.02");
/// assert_eq!(round_cents_half_even(parse_decimal("7")?).to_string(), "7.00");
/// # Ok::<(), mercuriale::domain::money::AmountError>(())
/// ```
pub fn round_cents_half_even(amount: Decimal) -> Decimal {
    let mut cents = amount.round_dp_with_strategy(2, RoundingStrategy::MidpointNearestEven);
    cents.rescale(2);
    cents
}

/// The decimal, if it needs no rounding.
fn exactly(mut mantissa: i128, mut scale: u32) -> Option<Decimal> {
    while mantissa % 10 == 0 && scale > 0 {
        mantissa /= 10;
        scale -= 1;
    }
    if scale > MAX_SCALE || mantissa.unsigned_abs() >= MANTISSA_END {
        return None;
    }
    Decimal::try_from_i128_with_scale(mantissa, scale).ok()
}

/// `numerator` / `denominator` / 10^`scale`, rounded half even to 28 significant digits and 28 decimals.
fn rounded(numerator: &BigInt, denominator: &BigUint, scale: i64) -> Result<Decimal, Overflow> {
    let (sign, magnitude) = (numerator.sign(), numerator.magnitude());
    if sign == Sign::NoSign {
        return Ok(Decimal::ZERO);
    }
    // The quotient lies in [10^(exponent - 1), 10^(exponent + 1)), so two tries find where 28 digits end.
    let exponent = digits(magnitude) - digits(denominator);
    let significant = i64::try_from(SIGNIFICANT_DIGITS).map_err(|_| Overflow)?;
    for kept_digits in [significant, significant - 1] {
        let shift = (kept_digits - exponent).min(i64::from(MAX_SCALE) - scale);
        let quotient = divide_half_even(magnitude, denominator, shift);
        let mut mantissa = i128::try_from(&quotient).map_err(|_| Overflow)?;
        if mantissa.unsigned_abs() > MANTISSA_END {
            continue;
        }
        let mut scale = scale + shift;
        while scale < 0 {
            mantissa = mantissa.checked_mul(10).ok_or(Overflow)?;
            scale += 1;
        }
        let mantissa = if sign == Sign::Minus { -mantissa } else { mantissa };
        let scale = u32::try_from(scale).map_err(|_| Overflow)?;
        return exactly(mantissa, scale).ok_or(Overflow);
    }
    Err(Overflow)
}

/// Number of decimal digits.
fn digits(value: &BigUint) -> i64 {
    i64::try_from(value.to_str_radix(10).len()).unwrap_or(i64::MAX)
}

/// `numerator` x 10^`shift` / `denominator`, to the nearest integer, half to even.
fn divide_half_even(numerator: &BigUint, denominator: &BigUint, shift: i64) -> BigUint {
    let ten = BigUint::from(10_u8).pow(u32::try_from(shift.unsigned_abs()).unwrap_or(u32::MAX));
    let (numerator, denominator) = if shift < 0 {
        (numerator.clone(), denominator * ten)
    } else {
        (numerator * ten, denominator.clone())
    };
    let quotient = &numerator / &denominator;
    let twice = (&numerator % &denominator) * 2_u8;
    match twice.cmp(&denominator) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal if !quotient.bit(0) => quotient,
        _ => quotient + 1_u8,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::money::parse_decimal;

    fn decimal(text: &str) -> Decimal {
        parse_decimal(text).expect("a decimal")
    }

    #[test]
    fn quotients_have_28_significant_digits_half_even() {
        for (left, right, expected) in [
            ("1", "3", "0.3333333333333333333333333333"),
            ("2", "3", "0.6666666666666666666666666667"),
            ("100", "3", "33.33333333333333333333333333"),
            ("1431.2", "730", "1.960547945205479452054794521"),
            ("10", "4", "2.5"),
            ("-7", "8", "-0.875"),
            ("7", "-8", "-0.875"),
            ("0", "3", "0"),
            ("1", "0.0001", "10000"),
            // 29 digits would fit in 96 bits here; the rule says 28.
            ("5", "7", "0.7142857142857142857142857143"),
            ("50", "7", "7.142857142857142857142857143"),
            // A mantissa of 9 in 28 places, rounded up to the next power of ten.
            ("9999999999999999999999999999", "1.000000000000000000000000001", "9999999999999999999999999989"),
            ("1", "9999999999999999999999999999", "0.0000000000000000000000000001"),
            ("0.0000000000000000000000000001", "2", "0"),
            ("0.0000000000000000000000000003", "2", "0.0000000000000000000000000002"),
        ] {
            assert_eq!(
                divide(decimal(left), decimal(right)).map(|quotient| quotient.to_string()),
                Ok(expected.to_owned()),
                "{left} / {right}"
            );
        }
    }

    #[test]
    fn products_and_sums_are_exact_or_rounded_once() {
        let product = |left, right| multiply(decimal(left), decimal(right)).expect("fits").to_string();
        assert_eq!(product("0.0472", "0.60"), "0.02832");
        assert_eq!(product("1.00000000000001", "1.00000000000001"), "1.00000000000002");
        assert_eq!(product("1.23456789012345678", "9.87654321098765432"), "12.19326311370217943225118122");
        assert_eq!(product("99999999999999.5", "99999999999999.5"), "9999999999999900000000000000");
        let sum = |left, right| add(decimal(left), decimal(right)).expect("fits").to_string();
        assert_eq!(sum("0.1", "0.2"), "0.3");
        assert_eq!(sum("9999999999999999999999999999", "0.4"), "9999999999999999999999999999");
        assert_eq!(sum("1000000000000000000000000001", "0.5"), "1000000000000000000000000002");
        assert_eq!(sum("1000000000000000000000000000", "0.5"), "1000000000000000000000000000");
        assert_eq!(subtract(decimal("1"), decimal("1")).expect("fits").to_string(), "0");
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let large = decimal("9999999999999999999999999999");
        assert_eq!(multiply(large, large), Err(Overflow));
        assert_eq!(multiply(large, decimal("10")), Err(Overflow));
        assert_eq!(add(large, Decimal::ONE), Err(Overflow));
        assert_eq!(divide(large, decimal("0.1")), Err(Overflow));
        assert_eq!(divide(Decimal::ONE, Decimal::ZERO), Err(Overflow));
    }

    fn amounts() -> impl Strategy<Value = Decimal> {
        (-9_999_999_999_999_999_999_999_999_999_i128..=9_999_999_999_999_999_999_999_999_999, 0..=28_u32)
            .prop_map(|(mantissa, scale)| Decimal::from_i128_with_scale(mantissa, scale))
    }

    proptest! {
        #[test]
        fn a_result_is_nearest_among_those_of_28_digits(left in amounts(), right in amounts()) {
            prop_assume!(!right.is_zero());
            if let Ok(quotient) = divide(left, right) {
                // |left - quotient x right| <= half a last place x |right|, in integers.
                let (scale, normal) = (quotient.scale(), quotient.normalize());
                prop_assert_eq!(quotient.to_string(), normal.to_string());
                let ten = |exponent: u32| BigInt::from(10).pow(exponent);
                let left_side = BigInt::from(left.mantissa()) * ten(28 + right.scale());
                let product = BigInt::from(quotient.mantissa()) * right.mantissa() * ten(28 - scale + left.scale());
                let error = (left_side - product).magnitude().clone();
                let wide = digits(&BigUint::from(quotient.mantissa().unsigned_abs()))
                    - i64::from(scale);
                let places = u32::try_from((28 - wide).clamp(0, 28)).expect("in range");
                let half = BigInt::from(right.mantissa()) * ten(28 - places + left.scale());
                prop_assert!(BigInt::from(error) * 2 <= BigInt::from(half.magnitude().clone()));
            }
        }

        #[test]
        fn addition_commutes(left in amounts(), right in amounts()) {
            prop_assert_eq!(add(left, right), add(right, left));
            prop_assert_eq!(multiply(left, right), multiply(right, left));
        }
    }
}
