//! The discount policy: how much less than the list price each pricing model costs.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// Decimals a rate may have: a hundredth of a per cent.
pub const MAX_RATE_DECIMALS: usize = 4;

/// How a resource is bought.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
pub enum PricingModel {
    /// By the hour or by usage, without commitment.
    #[default]
    #[serde(rename = "on-demand")]
    OnDemand,
    /// Committed for one year.
    #[serde(rename = "reserved-1y")]
    ReservedOneYear,
    /// Committed for three years.
    #[serde(rename = "reserved-3y")]
    ReservedThreeYears,
    /// Spare capacity that may be taken back.
    #[serde(rename = "spot")]
    Spot,
}

impl PricingModel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::OnDemand, Self::ReservedOneYear, Self::ReservedThreeYears, Self::Spot];

    /// The name in requests and policies.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on-demand",
            Self::ReservedOneYear => "reserved-1y",
            Self::ReservedThreeYears => "reserved-3y",
            Self::Spot => "spot",
        }
    }

    /// The model of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|model| model.name() == name)
    }
}

/// Why rates are not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Not a plain decimal, or too many decimals.
    #[error(
        "rate {rate:?} of {}: write a fraction such as \"0.40\" with at most {MAX_RATE_DECIMALS} decimals",
        .model.name()
    )]
    NotRate {
        /// Whose rate.
        model: PricingModel,
        /// As given.
        rate: String,
    },
    /// Free, or dearer than the list price.
    #[error("rate {rate} of {}: a rate is at least 0 and below 1 (0.40 = 40 %)", .model.name())]
    OutOfRange {
        /// Whose rate.
        model: PricingModel,
        /// As given.
        rate: Decimal,
    },
}

/// Discount rates by pricing model, as fractions of the list price, in the spelling they were set in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "RatesText")]
pub struct Rates {
    #[serde(rename = "on-demand")]
    on_demand: Decimal,
    #[serde(rename = "reserved-1y")]
    reserved_one_year: Decimal,
    #[serde(rename = "reserved-3y")]
    reserved_three_years: Decimal,
    spot: Decimal,
}

impl Rates {
    /// The rate of a pricing model.
    pub fn of(&self, model: PricingModel) -> Decimal {
        match model {
            PricingModel::OnDemand => self.on_demand,
            PricingModel::ReservedOneYear => self.reserved_one_year,
            PricingModel::ReservedThreeYears => self.reserved_three_years,
            PricingModel::Spot => self.spot,
        }
    }
}

/// Rates as they arrive: all four, none twice, as text.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RatesText {
    #[serde(rename = "on-demand")]
    on_demand: String,
    #[serde(rename = "reserved-1y")]
    reserved_one_year: String,
    #[serde(rename = "reserved-3y")]
    reserved_three_years: String,
    spot: String,
}

impl TryFrom<RatesText> for Rates {
    type Error = PolicyError;

    fn try_from(text: RatesText) -> Result<Self, PolicyError> {
        Ok(Self {
            on_demand: parse_rate(PricingModel::OnDemand, &text.on_demand)?,
            reserved_one_year: parse_rate(PricingModel::ReservedOneYear, &text.reserved_one_year)?,
            reserved_three_years: parse_rate(PricingModel::ReservedThreeYears, &text.reserved_three_years)?,
            spot: parse_rate(PricingModel::Spot, &text.spot)?,
        })
    }
}

/// Reads a rate, keeping its spelling: `0.40` stays `0.40`.
fn parse_rate(model: PricingModel, text: &str) -> Result<Decimal, PolicyError> {
    let not_rate = || PolicyError::NotRate { model, rate: text.chars().take(40).collect() };
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (integer, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits =
        |part: &str, most| (1..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(integer, 9) || !digits(fraction, MAX_RATE_DECIMALS) {
        return Err(not_rate());
    }
    let rate: Decimal = text.parse().map_err(|_| not_rate())?;
    if rate.is_sign_negative() || rate >= Decimal::ONE {
        return Err(PolicyError::OutOfRange { model, rate });
    }
    Ok(rate)
}

/// The rates in force, and which version of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiscountPolicy {
    /// 1 is the built-in policy; each `discount_policy.set` adds one.
    pub version: u64,
    /// The rates.
    pub rates: Rates,
}

impl DiscountPolicy {
    /// Version 1: on demand 0 %, reserved for one year 40 %, for three years 60 %, spot 90 %.
    pub const fn built_in() -> Self {
        Self {
            version: 1,
            rates: Rates {
                on_demand: Decimal::ZERO,
                reserved_one_year: Decimal::from_parts(40, 0, 0, false, 2),
                reserved_three_years: Decimal::from_parts(60, 0, 0, false, 2),
                spot: Decimal::from_parts(90, 0, 0, false, 2),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_policy_keeps_its_spelling() {
        let json = serde_json::to_string(&DiscountPolicy::built_in()).expect("serialises");
        assert_eq!(
            json,
            r#"{"version":1,"rates":{"on-demand":"0","reserved-1y":"0.40","reserved-3y":"0.60","spot":"0.90"}}"#
        );
        let read: DiscountPolicy = serde_json::from_str(&json).expect("reads back");
        assert_eq!(serde_json::to_string(&read).expect("serialises"), json);
    }

    #[test]
    fn each_model_has_its_name_in_requests() {
        for model in PricingModel::ALL {
            assert_eq!(serde_json::to_string(&model).expect("serialises"), format!("\"{}\"", model.name()));
            assert_eq!(PricingModel::from_name(model.name()), Some(model));
        }
        assert_eq!(PricingModel::from_name("On-Demand"), None);
    }

    #[test]
    fn rates_that_are_no_policy_are_refused() {
        let read = |reserved: &str| {
            serde_json::from_str::<Rates>(&format!(
                r#"{{"on-demand":"0","reserved-1y":{reserved},"reserved-3y":"0.6","spot":"0.9999"}}"#
            ))
        };
        assert!(read(r#""0""#).is_ok());
        for (rate, message) in [
            (r#""1""#, "below 1"),
            (r#""-0.1""#, "at least 0"),
            (r#""0.12345""#, "at most 4 decimals"),
            (r#""NaN""#, "write a fraction"),
            (r#""""#, "write a fraction"),
            (r#"".5""#, "write a fraction"),
            (r#""0.4_0""#, "write a fraction"),
            (r#""40 %""#, "write a fraction"),
            ("0.4", "expected a string"),
        ] {
            let error = read(rate).expect_err(rate).to_string();
            assert!(error.contains(message), "{rate}: {error}");
        }
        for rates in [
            r#"{"on-demand":"0","reserved-1y":"0","reserved-3y":"0"}"#,
            r#"{"on-demand":"0","reserved-1y":"0","reserved-3y":"0","spot":"0","spot":"0.1"}"#,
            r#"{"on-demand":"0","reserved-1y":"0","reserved-3y":"0","spot":"0","gift":"0.1"}"#,
        ] {
            assert!(serde_json::from_str::<Rates>(rates).is_err(), "{rates}");
        }
    }
}
