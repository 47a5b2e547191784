//! Figures from the providers' price lists, and rules that hold for all figures.

use std::sync::Arc;

use chrono::DateTime;
use proptest::prelude::*;

use super::*;
use crate::domain::discounts::PricingModel;
use crate::domain::money::parse_decimal;
use crate::domain::precise::round_cents_half_even;
use crate::domain::price::{Attributes, Listing};

fn decimal(text: &str) -> Decimal {
    parse_decimal(text).expect("a decimal")
}

fn tier(price_id: i64, unit: &str, from: &str, to: Option<&str>, amount: &str) -> Candidate {
    Candidate {
        price_id,
        listing: Arc::new(Listing {
            key: format!("aws/AmazonEC2/{price_id}/USD"),
            provider: "aws".into(),
            service: "AmazonEC2".into(),
            region: "eu-west-3".into(),
            sku_id: "SKU".into(),
            sku_price_id: format!("SKU.JRTCKXETXF.{price_id}"),
            attributes: Attributes::new(),
            unit: unit.into(),
            currency: "USD".into(),
            tier_from: decimal(from),
            tier_to: to.map(decimal),
        }),
        amount: decimal(amount),
        effective_at: DateTime::from_timestamp(1_740_787_200, 0).expect("a time"),
        position: price_id + 1,
    }
}

fn rate(tiers: Vec<Candidate>) -> Selection {
    Selection { rate: tiers, basis: PricingBasis::Policy, commitment: Commitment::None }
}

fn flat(unit: &str, amount: &str) -> Selection {
    rate(vec![tier(17, unit, "0", None, amount)])
}

/// Tiers as (start, amount), each ending where the next starts.
fn tiered(unit: &str, tiers: &[(&str, &str)]) -> Selection {
    let tiers = tiers.iter().enumerate().map(|(index, (from, amount))| {
        let price_id = i64::try_from(index).expect("small") + 1;
        tier(price_id, unit, from, tiers.get(index + 1).map(|(next, _)| *next), amount)
    });
    rate(tiers.collect())
}

fn line(quantity: &str, usage: Option<&str>) -> RequestLine {
    RequestLine {
        label: "web".into(),
        provider: "aws".into(),
        service: "AmazonEC2".into(),
        region: "eu-west-3".into(),
        resource: "it".into(),
        attributes: Attributes::new(),
        quantity: decimal(quantity),
        usage_per_month: usage.map(decimal),
        pricing_model: PricingModel::OnDemand,
        pricing_basis: PricingBasis::Policy,
    }
}

fn reserved(quantity: &str) -> RequestLine {
    RequestLine { pricing_model: PricingModel::ReservedOneYear, ..line(quantity, None) }
}

fn cost_in(selection: &Selection, line: &RequestLine, hours: &str) -> Result<LineCost, CostError> {
    cost_with(selection, line, hours, &Overrides::new())
}

fn cost_with(
    selection: &Selection,
    line: &RequestLine,
    hours: &str,
    overrides: &Overrides,
) -> Result<LineCost, CostError> {
    line_cost(selection, line, decimal(hours), &DiscountPolicy::built_in(), overrides, ServedFrom::Memory)
}

fn cost(selection: &Selection, line: &RequestLine) -> LineCost {
    cost_in(selection, line, "730").expect("a cost")
}

fn monthly(selection: &Selection, line: &RequestLine) -> String {
    cost(selection, line).costs.monthly_cost.to_string()
}

fn sum(lines: Vec<LineCost>) -> Estimate {
    let as_of = DateTime::from_timestamp(1_742_947_200, 0).expect("a time");
    estimate_sum(lines, 1234, as_of, &DiscountPolicy::built_in()).expect("sums")
}

#[test]
fn the_documented_answer_comes_out_to_the_byte() {
    let estimate = sum(vec![cost(&flat("Hrs", "0.0472000000"), &reserved("3"))]);
    let expected = concat!(
        r#"{"currency":"USD","position":1234,"as_of":"2025-03-26T00:00:00Z","discount_policy":{"version":1,"#,
        r#""rates":{"on-demand":"0","reserved-1y":"0.40","reserved-3y":"0.60","spot":"0.90"}},"#,
        r#""lines":[{"label":"web","price":{"price_id":17,"key":"aws/AmazonEC2/17/USD","sku_id":"SKU","#,
        r#""unit":"Hrs","list_unit_price":"0.0472","observed_at":"2025-03-01T00:00:00Z","position":18,"#,
        r#""served_from":"memory"},"override":null,"unit_price":"0.0472","discount_rate":"0.40","#,
        r#""effective_unit_price":"0.02832","hourly_cost":"0.08496","monthly_cost":"62.0208","#,
        r#""annual_cost":"744.2496","pricing_basis":"policy"}],"#,
        r#""services":[{"provider":"aws","service":"AmazonEC2","monthly_cost":"62.0208","#,
        r#""annual_cost":"744.2496"}],"#,
        r#""total":{"hourly_cost":"0.08496","monthly_cost":"62.0208","annual_cost":"744.2496"}}"#,
    );
    assert_eq!(serde_json::to_string(&estimate).expect("serialises"), expected);
}

#[test]
fn units_of_time_are_billed_all_the_time() {
    for (unit, amount, hours, expected) in [
        ("Hrs", "0.0472", "672", "95.1552"),
        ("1 Hour", "0.0472", "744", "105.3504"),
        ("100 Hours", "4.72", "730", "103.368"),
        ("1/Day", "1", "672", "84"),
        ("1/Day", "1", "730", "91.25"),
        ("1/Month", "5", "672", "15"),
        ("1/Year", "12", "730", "3"),
        ("1/Year", "100", "730", "25"),
    ] {
        let cost = cost_in(&flat(unit, amount), &line("3", None), hours).expect("a cost");
        assert_eq!(cost.costs.monthly_cost.to_string(), expected, "{unit} {hours}");
        assert_eq!(cost.tiers, None);
    }
}

#[test]
fn usage_is_counted_in_the_units_of_the_price() {
    for (unit, amount, usage, expected) in [
        ("Requests", "0.0000002", "1000000", "0.2"),
        ("10K", "0.05", "25000", "0.125"),
        ("1M", "10", "1500000", "15"),
        ("100 Seconds", "0.002", "250", "0.005"),
        ("GB-Mo", "0.024", "0.5", "0.012"),
    ] {
        assert_eq!(monthly(&flat(unit, amount), &line("1", Some(usage))), expected, "{unit}");
    }
    let hourly = cost(&flat("GB-Mo", "0.1"), &line("1", Some("1"))).costs.hourly_cost;
    assert_eq!(hourly.to_string(), "0.0001369863013698630136986301");
}

#[test]
fn tiers_are_graduated() {
    let s3 = tiered("GB-Mo", &[("0", "0.024"), ("51200", "0.023"), ("512000", "0.022")]);
    for (usage, expected) in [
        ("1", "0.024"),
        ("51200", "1228.8"),
        ("51201", "1228.823"),
        ("60000", "1431.2"),
        ("512000", "11827.2"),
        ("512001", "11827.222"),
    ] {
        assert_eq!(monthly(&s3, &line("1", Some(usage))), expected, "{usage}");
    }
    // The usage is that of one; the tiers are those of all together.
    assert_eq!(monthly(&s3, &line("3", Some("20000"))), "1431.2");

    let lambda = tiered(
        "Lambda-GB-Second",
        &[("0", "0.0000166667"), ("6000000000", "0.000015"), ("15000000000", "0.0000133334")],
    );
    assert_eq!(monthly(&lambda, &line("1", Some("400000"))), "6.66668");
    assert_eq!(monthly(&lambda, &line("1", Some("6000000000"))), "100000.2");
    assert_eq!(monthly(&lambda, &line("1", Some("15000000000"))), "235000.2");
    assert_eq!(monthly(&lambda, &line("1", Some("16000000000"))), "248333.6");

    let dynamo = tiered("GB-Mo", &[("0", "0"), ("25", "0.29715")]);
    assert_eq!(monthly(&dynamo, &line("1", Some("25"))), "0");
    assert_eq!(monthly(&dynamo, &line("1", Some("100"))), "22.28625");

    // Azure's Notification Hubs: bounds in millions. Its solver: hours with tiers.
    let pushes = tiered("1M", &[("0", "0"), ("10", "10"), ("100", "2.5")]);
    assert_eq!(monthly(&pushes, &line("1", Some("110000000"))), "925");
    let solver = tiered("1 Hour", &[("0", "0"), ("1", "90"), ("100", "80"), ("500", "70")]);
    assert_eq!(monthly(&solver, &line("1", None)), "57010");
}

#[test]
fn a_tiered_line_shows_the_tiers_it_reaches() {
    let s3 = tiered("GB-Mo", &[("0", "0.024"), ("51200", "0.023"), ("512000", "0.022")]);
    let cost = cost(&s3, &RequestLine { pricing_model: PricingModel::Spot, ..line("1", Some("60000")) });
    assert_eq!((cost.price.price_id, cost.unit_price), (2, decimal("0.023")));
    assert_eq!(cost.effective_unit_price, decimal("0.0023"));
    let tiers = serde_json::to_string(&cost.tiers).expect("serialises");
    assert_eq!(
        tiers,
        concat!(
            r#"[{"price_id":1,"tier_from":"0","tier_to":"51200","list_unit_price":"0.024","quantity":"51200","#,
            r#""monthly_cost":"122.88"},{"price_id":2,"tier_from":"51200","tier_to":"512000","#,
            r#""list_unit_price":"0.023","quantity":"8800","monthly_cost":"20.24"}]"#
        )
    );
    assert_eq!(cost.costs.monthly_cost, decimal("143.12"));
}

/// Overrides by price id.
fn overridden(amounts: &[(i64, &str)]) -> Overrides {
    let of = |amount| Override {
        amount: decimal(amount),
        reason: "negotiated".to_owned(),
        expires_at: None,
        position: 99,
    };
    amounts.iter().map(|(price_id, amount)| (*price_id, of(amount))).collect()
}

#[test]
fn an_override_takes_the_place_of_one_price_and_both_are_shown() {
    let overrides = overridden(&[(17, "0.04"), (4, "1000")]);
    let cost = cost_with(&flat("Hrs", "0.0472"), &reserved("3"), "730", &overrides).expect("a cost");
    assert_eq!((cost.price.list_unit_price, cost.unit_price), (decimal("0.0472"), decimal("0.04")));
    assert_eq!(cost.effective_unit_price, decimal("0.024"));
    assert_eq!((cost.costs.hourly_cost, cost.costs.monthly_cost), (decimal("0.072"), decimal("52.56")));
    assert_eq!(cost.overridden, overrides.get(&17).cloned());
    assert_eq!(
        serde_json::to_value(&cost).expect("JSON")["override"],
        serde_json::json!({"amount": "0.04", "reason": "negotiated", "expires_at": null, "position": 99})
    );
    // Nothing is a price as well.
    let free = overridden(&[(17, "0")]);
    let cost = cost_with(&flat("Hrs", "0.0472"), &reserved("3"), "730", &free).expect("a cost");
    assert_eq!((cost.unit_price, cost.costs.annual_cost), (Decimal::ZERO, Decimal::ZERO));

    // One tier of several: the line shows the tier that the last unit falls in.
    let s3 = tiered("GB-Mo", &[("0", "0.024"), ("51200", "0.023")]);
    let sixty = line("1", Some("60000"));
    let cost = cost_with(&s3, &sixty, "730", &overridden(&[(1, "0.02")])).expect("a cost");
    assert_eq!(cost.costs.monthly_cost, decimal("1226.4"));
    assert_eq!((cost.unit_price, cost.overridden), (decimal("0.023"), None));
    let tiers = cost.tiers.expect("tiers");
    assert_eq!(tiers[0].overridden.as_ref().map(|one| one.amount), Some(decimal("0.02")));
    assert_eq!((tiers[0].list_unit_price, tiers[0].monthly_cost), (decimal("0.024"), decimal("1024")));
    assert_eq!((&tiers[1].overridden, tiers[1].monthly_cost), (&None, decimal("202.4")));

    // The fee of a commitment.
    let mut aws = flat("Hrs", "0.034");
    aws.basis = PricingBasis::Market;
    aws.commitment = Commitment::Upfront { fee: tier(18, "Quantity", "0", None, "294"), term_hours: 8_760 };
    let cost = cost_with(&aws, &reserved("1"), "730", &overridden(&[(18, "87.6")])).expect("a cost");
    assert_eq!((cost.unit_price, cost.costs.monthly_cost), (decimal("0.044"), decimal("32.12")));
}

#[test]
fn commitments_spread_over_their_term() {
    let mut aws = flat("Hrs", "0.034");
    aws.basis = PricingBasis::Market;
    aws.commitment = Commitment::Upfront { fee: tier(18, "Quantity", "0", None, "294"), term_hours: 8_760 };
    let cost_of_two = cost(&aws, &reserved("2"));
    assert_eq!(cost_of_two.costs.monthly_cost, decimal("98.64"));
    assert_eq!(cost_of_two.costs.annual_cost, decimal("1183.68"));
    assert_eq!(cost_of_two.unit_price.to_string(), "0.0675616438356164383561643836");
    assert_eq!(cost_of_two.effective_unit_price, cost_of_two.unit_price);
    assert_eq!(cost_of_two.costs.hourly_cost.to_string(), "0.1351232876712328767123287671");
    assert_eq!(
        (cost_of_two.discount_rate.to_string().as_str(), cost_of_two.pricing_basis),
        ("0", PricingBasis::Market)
    );
    let parts: Vec<_> =
        cost_of_two.tiers.expect("parts").iter().map(|it| (it.price_id, it.monthly_cost)).collect();
    assert_eq!(parts, [(17, decimal("49.64")), (18, decimal("49"))]);

    let mut azure = flat("1 Hour", "569");
    azure.basis = PricingBasis::Market;
    azure.commitment = Commitment::WholeTerm { term_hours: 8_760 };
    let cost_of_three = cost(&azure, &reserved("3"));
    // Twelve months of 730 hours are the whole year.
    assert_eq!(cost_of_three.costs.monthly_cost, decimal("142.25"));
    assert_eq!(cost_of_three.costs.annual_cost, decimal("1707"));
    assert_eq!(cost_of_three.unit_price.to_string(), "0.06495433789954337899543379");
    assert_eq!(cost_of_three.price.list_unit_price, decimal("569"));
    azure.commitment = Commitment::WholeTerm { term_hours: 26_280 };
    assert_eq!(monthly(&azure, &reserved("9")), "142.25");
}

#[test]
fn what_cannot_be_computed_is_an_error_with_a_remedy() {
    let message = |selection: &Selection, line: &RequestLine| {
        cost_in(selection, line, "730").expect_err("no cost").to_string()
    };
    assert_eq!(
        message(&flat("10K", "1"), &line("1", None)),
        "line \"web\": the price is by usage, per \"10K\"; give usage_per_month in single units, of which one price \
         buys 10000"
    );
    assert!(message(&flat("GB-Mo", "1"), &line("1", None)).ends_with("give usage_per_month"));
    for unit in ["Hrs", "1/Day", "1/Month", "1/Year"] {
        assert!(
            message(&flat(unit, "1"), &line("1", Some("5"))).contains("leave usage_per_month out"),
            "{unit}"
        );
    }
    let ends = rate(vec![tier(1, "10K", "0", Some("2"), "1")]);
    assert_eq!(monthly(&ends, &line("1", Some("20000"))), "2");
    assert!(message(&ends, &line("1", Some("20001"))).contains("20001 units are more than 20000"));
    let dear = flat("GB-Mo", "9999999999999999999999999999");
    assert!(message(&dear, &line("1000000000", Some("1000"))).contains("28 integer digits"));
    assert!(message(&dear, &line("1", Some("1"))).contains("28 integer digits"));
    assert!(message(&rate(Vec::new()), &line("1", Some("1"))).contains("line \"web\""));
}

#[test]
fn several_currencies_have_a_total_each() {
    let mut yuan = cost(&flat("Hrs", "1"), &line("1", None));
    let mut listing = (*yuan.listing).clone();
    listing.currency = "CNY".into();
    yuan.listing = Arc::new(listing);
    let dollars = cost(&flat("Hrs", "0.1"), &line("1", None));
    let estimate = sum(vec![dollars.clone(), yuan, dollars]);
    let json = serde_json::to_value(&estimate).expect("serialises");
    assert_eq!((&json["currency"], &json["total"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    assert_eq!(json["totals"][0]["currency"], "CNY");
    assert_eq!(json["totals"][0]["monthly_cost"], "730");
    assert_eq!(json["totals"][1]["monthly_cost"], "146");
    assert_eq!(json["services"][1]["currency"], "USD");
    assert_eq!(json["services"][1]["monthly_cost"], "146");
    assert_eq!(json["lines"][1]["currency"], "CNY");
}

#[test]
fn cents_are_rounded_half_even_and_only_for_display() {
    for (amount, cents) in
        [("62.0208", "62.02"), ("0.005", "0.00"), ("0.015", "0.02"), ("0.025", "0.02"), ("7", "7.00")]
    {
        assert_eq!(round_cents_half_even(decimal(amount)).to_string(), cents);
    }
    let third = cost(&flat("Requests", "0.004"), &line("1", Some("1")));
    let estimate = sum(vec![third.clone(), third.clone(), third]);
    assert_eq!(estimate.total.expect("one currency").monthly_cost, decimal("0.012"));
}

/// A rate of up to four tiers whose amounts fall, as the providers' do.
fn falling_rates() -> impl Strategy<Value = Selection> {
    let steps = proptest::collection::vec((1..1_000_000_i64, 0..1_000_000_i64), 1..4);
    let unit = proptest::sample::select(vec!["GB-Mo", "10K", "1M"]);
    (steps, unit).prop_map(|(mut steps, unit)| {
        steps.sort_by_key(|(_, amount)| -amount);
        let mut from = 0;
        let mut tiers = Vec::new();
        for (index, (width, amount)) in steps.iter().enumerate() {
            let price_id = i64::try_from(index).expect("small");
            let mut tier = tier(price_id, unit, &from.to_string(), None, "0");
            tier.amount = Decimal::new(*amount, 10);
            tiers.push(tier);
            from += width;
        }
        rate(tiers)
    })
}

fn usages() -> impl Strategy<Value = Decimal> {
    (1..1_000_000_000_000_i64, 0..4_u32).prop_map(|(mantissa, scale)| Decimal::new(mantissa, scale))
}

fn usage_cost(rate: &Selection, usage: Decimal) -> Decimal {
    let line = RequestLine { usage_per_month: Some(usage), ..line("1", None) };
    cost(rate, &line).costs.monthly_cost
}

proptest! {
    #[test]
    fn more_usage_never_costs_less(rate in falling_rates(), usage in usages(), more in usages()) {
        prop_assert!(usage_cost(&rate, usage + more) >= usage_cost(&rate, usage));
    }

    #[test]
    fn there_is_no_jump_at_a_border(rate in falling_rates()) {
        let factor = Unit::parse(&rate.rate[0].listing.unit).factor;
        let step = Decimal::new(1, 4);
        let steepest = rate.rate[0].amount;
        for border in rate.rate.iter().skip(1).map(|tier| tier.listing.tier_from * factor) {
            let (before, at, after) =
                (usage_cost(&rate, border - step), usage_cost(&rate, border), usage_cost(&rate, border + step));
            prop_assert!(before <= at && at <= after);
            prop_assert!((after - before) * factor <= steepest * step * Decimal::TWO);
        }
    }

    #[test]
    fn split_usage_never_costs_less_where_amounts_fall(rate in falling_rates(), one in usages(), two in usages()) {
        let apart = usage_cost(&rate, one) + usage_cost(&rate, two);
        prop_assert!(usage_cost(&rate, one + two) <= apart);
    }

    #[test]
    fn tiers_sum_to_the_line_and_lines_to_the_total(
        // Small enough for sums of at most 28 digits, which are exact.
        lines in proptest::collection::vec((falling_rates(), 1..10_000_000_i64, 1..1000_i64), 1..12),
    ) {
        let costs: Vec<LineCost> = lines
            .iter()
            .map(|(rate, usage, quantity)| {
                let (usage_per_month, quantity) = (Some(Decimal::new(*usage, 3)), Decimal::from(*quantity));
                cost(rate, &RequestLine { quantity, usage_per_month, ..line("1", None) })
            })
            .collect();
        for cost in &costs {
            if let Some(tiers) = &cost.tiers {
                let parts: Decimal = tiers.iter().map(|tier| tier.monthly_cost).sum();
                prop_assert_eq!(parts, cost.costs.monthly_cost);
            }
        }
        let monthly: Decimal = costs.iter().map(|cost| cost.costs.monthly_cost).sum();
        let total = sum(costs.clone()).total.expect("one currency");
        prop_assert_eq!(total.monthly_cost, monthly);
        prop_assert_eq!(total.annual_cost, monthly * Decimal::from(12));
        prop_assert_eq!(serde_json::to_string(&sum(costs.clone())).ok(), serde_json::to_string(&sum(costs)).ok());
    }

    #[test]
    fn no_figures_panic(
        mantissa in 0..=9_999_999_999_999_999_999_999_999_999_i128, scale in 0..=28_u32,
        quantity in usages(), usage in usages(), hours in 1..=744_u32, unit in ".{0,8}",
        model in proptest::sample::select(PricingModel::ALL.to_vec()),
    ) {
        let mut selection = flat(&unit, "0");
        selection.rate[0].amount = Decimal::from_i128_with_scale(mantissa, scale);
        for usage_per_month in [None, Some(usage)] {
            let line = RequestLine { quantity, usage_per_month, pricing_model: model, ..line("1", None) };
            if let Ok(cost) = cost_in(&selection, &line, &hours.to_string()) {
                prop_assert!(!cost.costs.monthly_cost.is_sign_negative());
            }
        }
    }
}
