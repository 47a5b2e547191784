//! Sums and differences without any rounding, so that parts add up to the whole.

use std::iter::Sum;
use std::ops::{Add, Neg, Sub};

use num_bigint::BigInt;
use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};

/// The decimals that a [`Decimal`] can have.
const SCALE: usize = 28;

/// A sum of decimals, of any size: [`Decimal`]s hold 28 digits, and the difference of a large and a small one may need
/// twice as many.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exact {
    /// In units of 10^-28.
    units: BigInt,
}

impl Exact {
    /// Whether it is zero.
    pub fn is_zero(&self) -> bool {
        self.units == BigInt::default()
    }
}

impl From<Decimal> for Exact {
    fn from(value: Decimal) -> Self {
        let ten = BigInt::from(10_u8);
        let shift = u32::try_from(SCALE).unwrap_or_default() - value.scale();
        Self { units: BigInt::from(value.mantissa()) * ten.pow(shift) }
    }
}

impl Add for Exact {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { units: self.units + other.units }
    }
}

impl Sub for Exact {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { units: self.units - other.units }
    }
}

impl Neg for Exact {
    type Output = Self;

    fn neg(self) -> Self {
        Self { units: -self.units }
    }
}

impl std::ops::AddAssign for Exact {
    fn add_assign(&mut self, other: Self) {
        self.units += other.units;
    }
}

impl Sum for Exact {
    fn sum<I: Iterator<Item = Self>>(terms: I) -> Self {
        terms.fold(Self::default(), Add::add)
    }
}

/// Digits with a point, without trailing zeros.
impl std::fmt::Display for Exact {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = format!("{:0>width$}", self.units.magnitude().to_str_radix(10), width = SCALE + 1);
        let (integer, fraction) = digits.split_at(digits.len() - SCALE);
        let fraction = fraction.trim_end_matches('0');
        if self.units.sign() == num_bigint::Sign::Minus {
            formatter.write_str("-")?;
        }
        formatter.write_str(integer)?;
        if fraction.is_empty() { Ok(()) } else { write!(formatter, ".{fraction}") }
    }
}

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl utoipa::PartialSchema for Exact {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^-?[0-9]+(\.[0-9]+)?$"))
            .description(Some("A sum or a difference, exact whatever digits it takes."))
            .examples([serde_json::json!("-2.5")])
            .into()
    }
}

impl utoipa::ToSchema for Exact {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::money::parse_decimal;

    fn exact(text: &str) -> Exact {
        parse_decimal(text).expect("a decimal").into()
    }

    #[test]
    fn what_a_decimal_cannot_hold_is_not_rounded() {
        let difference = exact("9999999999999999999999999999") - exact("0.0000000000000000000000000001");
        assert_eq!(difference.to_string(), "9999999999999999999999999998.9999999999999999999999999999");
        assert_eq!((exact("1.5") - exact("2")).to_string(), "-0.5");
        assert_eq!((exact("1.5") - exact("1.50")).to_string(), "0");
        assert_eq!((-exact("12")).to_string(), "-12");
    }

    proptest! {
        #[test]
        fn the_text_of_a_decimal_stays_the_same(
            mantissa in -9_999_999_999_999_999_999_999_999_999_i128..=9_999_999_999_999_999_999_999_999_999,
            scale in 0..=28_u32,
        ) {
            let decimal = Decimal::from_i128_with_scale(mantissa, scale).normalize();
            prop_assert_eq!(Exact::from(decimal).to_string(), decimal.to_string());
        }
    }
}
