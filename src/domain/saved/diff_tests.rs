use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::domain::money::parse_decimal;
use crate::domain::saved::{About, LineAnswer, PriceAnswer, Summary, Total};

fn decimal(text: &str) -> Decimal {
    parse_decimal(text).expect("a decimal")
}

fn policy(version: u64, reserved: &str) -> DiscountPolicy {
    let rates =
        format!(r#"{{"on-demand":"0","reserved-1y":"{reserved}","reserved-3y":"0.60","spot":"0.90"}}"#);
    DiscountPolicy { version, rates: serde_json::from_str(&rates).expect("rates") }
}

/// A line that pays `quantity` times a price of the month's 730 hours.
#[derive(Debug, Clone)]
struct Made {
    label: &'static str,
    quantity: Decimal,
    price_id: i64,
    unit_price: Decimal,
    factor: Decimal,
    model: PricingModel,
    currency: &'static str,
}

fn made(label: &'static str, quantity: &str, price_id: i64, unit_price: &str) -> Made {
    Made {
        label,
        quantity: decimal(quantity),
        price_id,
        unit_price: decimal(unit_price),
        factor: Decimal::ONE,
        model: PricingModel::ReservedOneYear,
        currency: "USD",
    }
}

fn line(made: &Made, policy: &DiscountPolicy) -> Line<'static> {
    let quantity = made.quantity * decimal("730");
    let kept = Decimal::ONE - policy.rates.of(made.model);
    let cost = charge_cost(made.unit_price, kept, quantity, made.factor).expect("fits");
    let text = serde_json::json!({
        "price": {
            "price_id": made.price_id, "key": "k", "sku_id": "s", "unit": "Hrs", "list_unit_price": made.unit_price,
            "observed_at": "2026-01-01T00:00:00Z", "position": 1,
        },
        "unit_price": made.unit_price, "discount_rate": "0", "effective_unit_price": "0", "hourly_cost": "0",
        "monthly_cost": cost, "annual_cost": "0", "pricing_basis": "policy",
    })
    .to_string();
    let cost: LineAnswer<'_> = serde_json::from_str(&text).expect("an answer");
    let price = PriceAnswer {
        key: Cow::Borrowed("k"),
        sku_id: Cow::Borrowed("s"),
        unit: Cow::Borrowed("Hrs"),
        ..cost.price.clone()
    };
    Line {
        asked: AskedLine {
            label: Cow::Borrowed(made.label),
            provider: Cow::Borrowed("aws"),
            service: Cow::Borrowed("AmazonEC2"),
            region: Cow::Borrowed("eu-west-3"),
            resource: Cow::Owned(format!("r{}", made.price_id)),
            attributes: BTreeMap::new(),
            quantity: made.quantity,
            usage_per_month: None,
            pricing_model: made.model,
            pricing_basis: PricingBasis::Policy,
        },
        currency: Cow::Borrowed(made.currency),
        charges: vec![StoredCharge {
            line: 0,
            price_id: made.price_id,
            sku_price_id: Cow::Borrowed("s.r"),
            unit: Cow::Borrowed("Hrs"),
            list_unit_price: made.unit_price,
            unit_price: made.unit_price,
            quantity,
            factor: made.factor,
            monthly_cost: cost.monthly_cost,
        }],
        cost: LineAnswer {
            price,
            currency: None,
            unit_price: cost.unit_price,
            discount_rate: cost.discount_rate,
            effective_unit_price: cost.effective_unit_price,
            hourly_cost: cost.hourly_cost,
            monthly_cost: cost.monthly_cost,
            annual_cost: cost.annual_cost,
            pricing_basis: cost.pricing_basis,
        },
    }
}

fn repriced(line: &Line<'_>) -> Repriced {
    Repriced {
        currency: line.currency.to_string(),
        basis: line.cost.pricing_basis,
        billed: billed(&line.charges),
    }
}

fn version(number: i64, policy: DiscountPolicy, lines: &[Made]) -> Version<'static> {
    Version {
        version: number,
        about: About { name: "n".into(), note: None, tags: Vec::new(), archived: false },
        month: None,
        hours_per_month: None,
        position: number,
        as_of: DateTime::UNIX_EPOCH,
        lines: lines.iter().map(|made| line(made, &policy)).collect(),
        discount_policy: policy,
        summary: Summary { lines: lines.len(), totals: Vec::<Total>::new() },
    }
}

fn compared(from: &Version<'_>, to: &Version<'_>) -> Diff {
    let matched = lines_match(from, to);
    diff(from, to, true, &matched, &BTreeMap::new()).expect("fits")
}

/// Configuration, price, policy, difference.
fn parts(effects: &Effects) -> [String; 4] {
    [&effects.configuration, &effects.price, &effects.discount_policy, &effects.difference]
        .map(ToString::to_string)
}

#[test]
fn each_cause_has_its_part() {
    // 1 x 0.10 x 730 x 0.6 = 43.8
    let from = version(1, policy(1, "0.40"), &[made("a", "1", 7, "0.10")]);
    for (to, expected, changed) in [
        (version(2, policy(1, "0.40"), &[made("a", "1", 7, "0.10")]), ["0", "0", "0", "0"], vec![]),
        // 2 x 0.10 x 730 x 0.6 = 87.6
        (
            version(2, policy(1, "0.40"), &[made("a", "2", 7, "0.10")]),
            ["43.8", "0", "0", "43.8"],
            vec!["quantity"],
        ),
        // 0.12 x 730 x 0.6 = 52.56
        (version(2, policy(1, "0.40"), &[made("a", "1", 7, "0.12")]), ["0", "8.76", "0", "8.76"], vec![]),
        // 0.10 x 730 x 0.5 = 36.5
        (version(2, policy(2, "0.50"), &[made("a", "1", 7, "0.10")]), ["0", "0", "-7.3", "-7.3"], vec![]),
        // All three: 87.6, then 2 x 0.12 x 730 x 0.6 = 105.12, then x 0.5 / 0.6 = 87.6
        (
            version(2, policy(2, "0.50"), &[made("a", "2", 7, "0.12")]),
            ["43.8", "17.52", "-17.52", "43.8"],
            vec!["quantity"],
        ),
    ] {
        let diff = compared(&from, &to);
        assert_eq!(parts(&diff.lines[0].effects), expected);
        assert_eq!(diff.lines[0].changed, changed);
        let is_changed = expected != ["0"; 4];
        assert_eq!(diff.lines[0].status, if is_changed { Status::Changed } else { Status::Unchanged });
        assert_eq!(parts(&diff.totals[0].effects), expected);
    }
}

#[test]
fn another_resource_is_priced_as_of_the_old_version() {
    let (old_policy, new_policy) = (policy(1, "0.40"), policy(2, "0.50"));
    let from = version(1, old_policy.clone(), &[made("a", "1", 7, "0.10")]);
    let to = version(2, new_policy, &[made("a", "1", 8, "0.30")]);
    let matched = lines_match(&from, &to);
    assert_eq!(matched.to_reprice(&from, &to), [0]);
    // Then 0.20: 0.20 x 730 x 0.6 = 87.6; now 0.30: 131.4; at the new rate 109.5.
    let then = BTreeMap::from([(0, repriced(&line(&made("a", "1", 8, "0.20"), &old_policy)))]);
    let priced = diff(&from, &to, true, &matched, &then).expect("fits");
    assert_eq!(parts(&priced.lines[0].effects), ["43.8", "43.8", "-21.9", "65.7"]);
    assert!(!priced.lines[0].old_price_unknown);
    // Not on record then: what the price did cannot be told from what the configuration did.
    let unknown = diff(&from, &to, true, &matched, &BTreeMap::new()).expect("fits");
    assert_eq!(parts(&unknown.lines[0].effects), ["87.6", "0", "-21.9", "65.7"]);
    assert!(unknown.lines[0].old_price_unknown);
    assert_eq!(unknown.lines[0].changed, ["resource"]);
}

#[test]
fn lines_are_matched_by_label_then_by_what_they_ask() {
    let rates = policy(1, "0.40");
    let from = version(
        1,
        rates.clone(),
        &[made("a", "1", 1, "1"), made("a", "2", 1, "1"), made("gone", "1", 2, "1"), made("b", "1", 3, "1")],
    );
    let euro = Made { currency: "EUR", ..made("b", "1", 3, "1") };
    let to =
        version(2, rates, &[made("a", "2", 1, "1"), made("a", "5", 1, "1"), made("new", "1", 2, "1"), euro]);
    let diff = compared(&from, &to);
    let seen: Vec<_> = diff
        .lines
        .iter()
        .map(|line| (&*line.label, line.status, &*line.currency, line.effects.difference.to_string()))
        .collect();
    assert_eq!(
        seen,
        [
            ("a", Status::Unchanged, "USD", "0".to_owned()),
            // Four more at 438.
            ("a", Status::Changed, "USD", "1752".to_owned()),
            ("new", Status::Added, "USD", "438".to_owned()),
            ("b", Status::Added, "EUR", "438".to_owned()),
            ("gone", Status::Removed, "USD", "-438".to_owned()),
            ("b", Status::Removed, "USD", "-438".to_owned()),
        ]
    );
    let totals: Vec<_> =
        diff.totals.iter().map(|total| (&*total.currency, total.effects.difference.to_string())).collect();
    assert_eq!(totals, [("EUR", "438".to_owned()), ("USD", "1314".to_owned())]);
}

fn any_line() -> impl Strategy<Value = Made> {
    let label = prop::sample::select(vec!["a", "b", "c"]);
    let model = prop::sample::select(PricingModel::ALL.to_vec());
    let currency = prop::sample::select(vec!["USD", "EUR"]);
    // Prices and factors whose costs need all 28 digits.
    let numbers = (1..1_000_000_000_i64, 0..3_i64, 0..i64::MAX, 0..28_u32, 1..10_000_i64);
    (label, model, currency, numbers).prop_map(
        |(label, model, currency, (quantity, id, price, scale, factor))| Made {
            label,
            quantity: Decimal::new(quantity, 3),
            price_id: id,
            unit_price: Decimal::new(price, scale),
            factor: Decimal::from(factor),
            model,
            currency,
        },
    )
}

proptest! {
    #[test]
    fn the_parts_add_up_exactly(
        before in prop::collection::vec(any_line(), 0..6),
        after in prop::collection::vec(any_line(), 0..6),
        rates in (0..10_000_u32, 0..10_000_u32),
        then in prop::collection::vec(any_line(), 6),
    ) {
        let rate = |rate: u32| Decimal::new(i64::from(rate), 4).to_string();
        let from = version(1, policy(1, &rate(rates.0)), &before);
        let to = version(2, policy(2, &rate(rates.1)), &after);
        let matched = lines_match(&from, &to);
        let to_reprice = matched.to_reprice(&from, &to);
        let on_record = to_reprice.iter().step_by(2);
        let then = on_record.map(|&index| (index, repriced(&line(&then[index], &from.discount_policy)))).collect();
        let diff = diff(&from, &to, true, &matched, &then).expect("fits");
        let all = diff.lines.iter().map(|line| &line.effects).chain(diff.totals.iter().map(|total| &total.effects));
        for effects in all {
            let sum = effects.configuration.clone() + effects.price.clone() + effects.discount_policy.clone();
            prop_assert_eq!(&sum, &effects.difference);
            prop_assert_eq!(
                effects.to_monthly_cost.clone() - effects.from_monthly_cost.clone(),
                effects.difference.clone()
            );
        }
        for (version, cost) in [
            (&from, (|effects: &Effects| effects.from_monthly_cost.clone()) as fn(&Effects) -> Exact),
            (&to, |effects: &Effects| effects.to_monthly_cost.clone()),
        ] {
            let lines: Exact = version.lines.iter().map(|line| Exact::from(line.cost.monthly_cost)).sum();
            let totals: Exact = diff.totals.iter().map(|total| cost(&total.effects)).sum();
            prop_assert_eq!(lines, totals);
        }
    }
}
