//! Given candidates as the parsers list them, when a line asks, then one rate or a telling error.

use chrono::DateTime;
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;
use crate::domain::money::parse_decimal;
use crate::domain::price::Listing;

fn decimal(text: &str) -> Decimal {
    parse_decimal(text).expect("a decimal")
}

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn candidate(price_id: i64, provider: &str, service: &str, sku_id: &str, amount: &str) -> Candidate {
    Candidate {
        price_id,
        listing: Listing {
            key: format!("{provider}/{service}/{sku_id}/{price_id}"),
            provider: provider.to_owned(),
            service: service.to_owned(),
            region: "somewhere".to_owned(),
            sku_id: sku_id.to_owned(),
            sku_price_id: format!("{sku_id}.{price_id}"),
            attributes: Attributes::new(),
            unit: "Hrs".to_owned(),
            currency: "USD".to_owned(),
            tier_from: Decimal::ZERO,
            tier_to: None,
        }
        .into(),
        amount: decimal(amount),
        effective_at: DateTime::UNIX_EPOCH,
        position: price_id,
    }
}

fn change(mut candidate: Candidate, change: impl FnOnce(&mut Listing)) -> Candidate {
    let mut listing = (*candidate.listing).clone();
    change(&mut listing);
    candidate.listing = listing.into();
    candidate
}

/// An EC2 instance; `also` replaces the attributes of a Linux box on shared hardware.
fn ec2(price_id: i64, sku_id: &str, amount: &str, also: &[(&str, &str)]) -> Candidate {
    change(candidate(price_id, "aws", "AmazonEC2", sku_id, amount), |listing| {
        listing.attributes = attributes(&[
            ("instanceType", "m5.large"),
            ("operatingSystem", "Linux"),
            ("tenancy", "Shared"),
            ("capacitystatus", "Used"),
            ("licenseModel", "No License required"),
            ("preInstalledSw", "NA"),
            ("operation", "RunInstances"),
            ("usagetype", "EUW3-BoxUsage:m5.large"),
            ("offerTermCode", "JRTCKXETXF"),
            ("termType", "OnDemand"),
        ]);
        listing.attributes.extend(attributes(also));
    })
}

fn m5_large() -> Vec<Candidate> {
    let reserved = |code, length, class, option| {
        [
            ("termType", "Reserved"),
            ("offerTermCode", code),
            ("LeaseContractLength", length),
            ("OfferingClass", class),
            ("PurchaseOption", option),
        ]
    };
    let fee = |fee: Candidate| change(fee, |listing| listing.unit = "Quantity".into());
    vec![
        ec2(1, "LINUX", "0.112", &[]),
        ec2(2, "WINDOWS", "0.204", &[("operatingSystem", "Windows"), ("operation", "RunInstances:0002")]),
        ec2(
            3,
            "DEDICATED",
            "0.119",
            &[("tenancy", "Dedicated"), ("usagetype", "EUW3-DedicatedUsage:m5.large")],
        ),
        ec2(4, "UNUSED", "0.112", &[("capacitystatus", "UnusedCapacityReservation")]),
        ec2(5, "LINUX", "0.071", &reserved("4NA7Y494T4", "1yr", "standard", "No Upfront")),
        ec2(6, "LINUX", "0.081", &reserved("7NE97W5U4E", "1 yr", "convertible", "No Upfront")),
        ec2(7, "LINUX", "0.034", &reserved("HU7G6KETJZ", "1yr", "standard", "Partial Upfront")),
        fee(ec2(8, "LINUX", "294", &reserved("HU7G6KETJZ", "1yr", "standard", "Partial Upfront"))),
        ec2(9, "LINUX", "0.047", &reserved("BPH4J8HBKS", "3yr", "standard", "No Upfront")),
        ec2(10, "LINUX", "0", &[("termType", "FreeTier"), ("offerTermCode", "FREE")]),
    ]
}

fn azure_vm(price_id: i64, sku: &str, product: &str, amount: &str, also: &[(&str, &str)]) -> Candidate {
    change(candidate(price_id, "azure", "Virtual Machines", sku, amount), |listing| {
        listing.unit = "1 Hour".into();
        listing.sku_price_id = format!("meter-{sku}");
        listing.attributes = attributes(&[
            ("armSkuName", "Standard_D2s_v3"),
            ("skuName", "D2s v3"),
            ("meterName", "D2s v3"),
            ("productName", product),
            ("type", "Consumption"),
            ("isPrimaryMeterRegion", "true"),
        ]);
        listing.attributes.extend(attributes(also));
    })
}

fn d2s_v3() -> Vec<Candidate> {
    let linux = "Virtual Machines DSv3 Series";
    let windows = "Virtual Machines DSv3 Series Windows";
    let reservation = |term| {
        [
            ("type", "Reservation"),
            ("termType", "Reserved"),
            ("reservationTerm", term),
            ("isPrimaryMeterRegion", "false"),
        ]
    };
    vec![
        azure_vm(1, "0BQ50/00VK", linux, "0.112", &[]),
        azure_vm(2, "0BPWD/00DN", windows, "0.204", &[]),
        azure_vm(3, "0BQ50/02NR", linux, "0.020698", &[("termType", "Spot"), ("skuName", "D2s v3 Spot")]),
        azure_vm(4, "0BQ50/00WC", linux, "0.0224", &[("termType", "LowPriority")]),
        azure_vm(
            5,
            "0BPWD/00DN",
            windows,
            "0.112",
            &[("type", "DevTestConsumption"), ("termType", "DevTest")],
        ),
        azure_vm(6, "0BQ50/00VK", linux, "569", &reservation("1 Year")),
        azure_vm(7, "0BQ50/00VK", linux, "1098", &reservation("3 Years")),
        azure_vm(8, "0CLOUD/0001", "DSv3 Series Cloud Services", "0.2", &[]),
        azure_vm(9, "0BQ50/00VK", linux, "0.112", &[("isPrimaryMeterRegion", "false")]),
    ]
}

fn select(
    candidates: &[Candidate],
    given: &[(&str, &str)],
    pricing_model: PricingModel,
    pricing_basis: PricingBasis,
) -> Result<Selection, SelectionError> {
    let given = attributes(given);
    price_select(candidates, &Query { resource: "it", attributes: &given, pricing_model, pricing_basis })
}

fn on_demand(candidates: &[Candidate], given: &[(&str, &str)]) -> Result<Selection, SelectionError> {
    select(candidates, given, PricingModel::OnDemand, PricingBasis::Policy)
}

fn price_ids(selection: &Selection) -> Vec<i64> {
    selection.rate.iter().map(|tier| tier.price_id).collect()
}

#[test]
fn without_attributes_the_calculators_defaults_decide() {
    assert_eq!(on_demand(&m5_large(), &[]).map(|selection| price_ids(&selection)), Ok(vec![1]));
    // Meter 9 differs from 1 in a mark of its row only: one rate would have two prices, so the mark decides.
    let azure: Vec<_> = d2s_v3().into_iter().filter(|candidate| candidate.price_id != 9).collect();
    assert_eq!(on_demand(&azure, &[]).map(|selection| price_ids(&selection)), Ok(vec![1]));
    assert_eq!(on_demand(&d2s_v3(), &[]).map(|selection| price_ids(&selection)), Ok(vec![1]));
}

#[test]
fn attributes_narrow_in_any_case() {
    for (given, expected) in [
        (&[("operatingSystem", "windows")][..], 2),
        (&[("OPERATINGSYSTEM", "Windows")], 2),
        (&[("tenancy", "Dedicated")], 3),
        (&[("capacitystatus", "unusedcapacityreservation")], 4),
        (&[("sku_id", "dedicated")], 3),
        (&[("price_id", "2")], 2),
        (&[("termType", "FreeTier")], 10),
        (&[("termType", "Reserved"), ("LeaseContractLength", "3yr")], 9),
    ] {
        let selection = on_demand(&m5_large(), given).map(|selection| price_ids(&selection));
        assert_eq!(selection, Ok(vec![expected]), "{given:?}");
    }
    for (given, expected) in [
        (&[("productName", "virtual machines dsv3 series windows")][..], 2),
        (&[("termType", "Spot")], 3),
        (&[("type", "DevTestConsumption")], 5),
        (&[("key", "azure/Virtual Machines/0BQ50/00WC/4")], 4),
    ] {
        let selection = on_demand(&d2s_v3(), given).map(|selection| price_ids(&selection));
        assert_eq!(selection, Ok(vec![expected]), "{given:?}");
    }
}

#[test]
fn azures_cloud_services_count_as_windows() {
    let error = on_demand(&d2s_v3(), &[("operatingSystem", "Windows")]).expect_err("two products");
    let SelectionError::Ambiguous { count, candidates, differences, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(count, 2);
    assert_eq!(candidates.iter().map(|candidate| candidate.price_id).collect::<Vec<_>>(), [2, 8]);
    assert_eq!(differences.len(), 1);
    assert_eq!(
        differences[0].to_string(),
        "productName = DSv3 Series Cloud Services | Virtual Machines DSv3 Series Windows"
    );
}

#[test]
fn all_tiers_of_the_rate_are_taken_in_order() {
    let tier = |price_id, from: &str, to: Option<&str>| {
        change(candidate(price_id, "aws", "AmazonS3", "S3", "0.02"), |listing| {
            listing.tier_from = decimal(from);
            listing.tier_to = to.map(decimal);
            listing.attributes = attributes(&[("offerTermCode", "JRTCKXETXF")]);
        })
    };
    let tiers = [tier(3, "512000", None), tier(1, "0", Some("51200")), tier(2, "51200", Some("512000"))];
    assert_eq!(on_demand(&tiers, &[]).map(|selection| price_ids(&selection)), Ok(vec![1, 2, 3]));
    // Naming one tier means its rate.
    assert_eq!(on_demand(&tiers, &[("price_id", "2")]).map(|it| price_ids(&it)), Ok(vec![1, 2, 3]));
    let missing = on_demand(&[tiers[0].clone(), tiers[2].clone()], &[]);
    assert_eq!(missing, Err(SelectionError::FirstTierMissing { price_id: 2, tier_from: decimal("51200") }));
}

#[test]
fn two_prices_for_one_tier_are_told_apart_by_id_only() {
    let twins = [candidate(1, "ovh", "vps", "A", "1"), candidate(2, "ovh", "vps", "A", "2")];
    let error = on_demand(&twins, &[]).expect_err("two prices");
    assert!(error.to_string().contains("2 prices match \"it\""), "{error}");
    assert!(error.to_string().contains("sku_price_id = A.1 | A.2"), "{error}");
    assert_eq!(on_demand(&twins, &[("sku_price_id", "A.2")]).map(|it| price_ids(&it)), Ok(vec![2]));
}

#[test]
fn errors_say_how_to_get_on() {
    assert_eq!(on_demand(&[], &[]), Err(SelectionError::NoCandidates { resource: "it".into() }));

    let error = on_demand(&m5_large(), &[("os", "Linux")]).expect_err("unknown");
    assert!(matches!(&error, SelectionError::UnknownAttribute { known, .. }
        if known.contains(&"operatingSystem".to_owned()) && known.contains(&"currency".to_owned())));

    let error = on_demand(&m5_large(), &[("operatingSystem", "Lniux")]).expect_err("no such value");
    assert!(error.to_string().ends_with("it can be Linux | Windows"), "{error}");

    let spot: Vec<_> = d2s_v3().into_iter().filter(|price| [3, 4].contains(&price.price_id)).collect();
    let error = on_demand(&spot, &[]).expect_err("never by silence");
    assert!(error.to_string().contains("only Spot, LowPriority"), "{error}");

    let error = on_demand(&m5_large(), &[("capacitystatus", "Used"), ("termType", "Reserved")]);
    let error = error.expect_err("two lengths");
    assert!(error.to_string().contains("LeaseContractLength = 1yr | 3yr"), "{error}");

    let fee = [("price_id", "8"), ("termType", "Reserved")];
    assert_eq!(on_demand(&m5_large(), &fee), Err(SelectionError::FeeAlone { price_id: 8 }));

    let mut euro = m5_large();
    euro.push(change(ec2(11, "LINUX", "0.1", &[]), |listing| listing.currency = "EUR".into()));
    let error = on_demand(&euro, &[]).expect_err("two currencies");
    assert!(error.to_string().ends_with("attributes: currency = EUR | USD"), "{error}");
    assert_eq!(on_demand(&euro, &[("currency", "eur")]).map(|it| price_ids(&it)), Ok(vec![11]));
}

#[test]
fn an_error_lists_ten_and_counts_all() {
    let many: Vec<_> =
        (0..25).map(|id| ec2(id, &format!("SKU{id}"), "1", &[("node", &id.to_string())])).collect();
    let SelectionError::Ambiguous { count, candidates, differences, .. } =
        on_demand(&many, &[]).expect_err("many")
    else {
        panic!("ambiguous is expected");
    };
    assert_eq!((count, candidates.len()), (25, 10));
    assert_eq!(
        (differences[0].name.as_str(), differences[0].count, differences[0].values.len()),
        ("node", 25, 10)
    );
}

#[test]
fn the_market_basis_takes_the_providers_own_price() {
    use PricingModel::{OnDemand, ReservedOneYear, ReservedThreeYears, Spot};
    let market = |candidates: &[Candidate], given: &[(&str, &str)], model| {
        let selection = select(candidates, given, model, PricingBasis::Market).expect("selected");
        (price_ids(&selection), selection.basis, selection.commitment)
    };
    let (is_market, is_policy) = (PricingBasis::Market, PricingBasis::Policy);
    let aws = m5_large();
    assert_eq!(market(&aws, &[], OnDemand), (vec![1], is_market, Commitment::None));
    assert_eq!(market(&aws, &[], ReservedOneYear), (vec![5], is_market, Commitment::None));
    assert_eq!(market(&aws, &[], ReservedThreeYears), (vec![9], is_market, Commitment::None));
    assert_eq!(
        market(&aws, &[("OfferingClass", "convertible")], ReservedOneYear),
        (vec![6], is_market, Commitment::None)
    );
    let upfront = Commitment::Upfront { fee: aws[7].clone(), term_hours: 8_760 };
    for given in
        [&[("PurchaseOption", "Partial Upfront")][..], &[("offerTermCode", "HU7G6KETJZ"), ("unit", "Hrs")]]
    {
        assert_eq!(market(&aws, given, ReservedOneYear), (vec![7], is_market, upfront.clone()), "{given:?}");
    }
    // AWS lists no spot prices, and no reserved Windows here: the policy applies to the price on demand.
    assert_eq!(market(&aws, &[], Spot), (vec![1], is_policy, Commitment::None));
    let windows = [("operatingSystem", "Windows")];
    assert_eq!(market(&aws, &windows, ReservedOneYear), (vec![2], is_policy, Commitment::None));

    let azure = d2s_v3();
    assert_eq!(market(&azure, &[], Spot), (vec![3], is_market, Commitment::None));
    let term_hours = |term_hours| Commitment::WholeTerm { term_hours };
    assert_eq!(market(&azure, &[], ReservedOneYear), (vec![6], is_market, term_hours(8_760)));
    assert_eq!(market(&azure, &[], ReservedThreeYears), (vec![7], is_market, term_hours(26_280)));
}

#[test]
fn a_reserved_product_of_another_system_is_no_substitute() {
    // Only Windows is reserved: the default of Linux must hold for both sides of the choice.
    let candidates = [
        ec2(1, "LINUX", "0.112", &[]),
        ec2(2, "WINDOWS", "0.204", &[("operatingSystem", "Windows")]),
        ec2(
            3,
            "WINDOWS",
            "0.1",
            &[
                ("operatingSystem", "Windows"),
                ("termType", "Reserved"),
                ("offerTermCode", "R"),
                ("LeaseContractLength", "1yr"),
            ],
        ),
    ];
    let selection = select(&candidates, &[], PricingModel::ReservedOneYear, PricingBasis::Market);
    let selection = selection.expect("selected");
    assert_eq!((price_ids(&selection), selection.basis), (vec![1], PricingBasis::Policy));
}

#[test]
fn a_reserved_price_is_not_discounted_again() {
    let given = [("termType", "Reserved"), ("LeaseContractLength", "3yr")];
    let error = select(&m5_large(), &given, PricingModel::ReservedThreeYears, PricingBasis::Policy);
    assert_eq!(error, Err(SelectionError::DiscountedTwice { price_id: 9, term_type: "Reserved".into() }));
    let spot = select(&d2s_v3(), &[("termType", "Spot")], PricingModel::Spot, PricingBasis::Policy);
    assert!(matches!(spot, Err(SelectionError::DiscountedTwice { price_id: 3, .. })));
}

proptest! {
    #[test]
    fn the_order_of_candidates_does_not_matter(
        order in Just(m5_large()).prop_shuffle(),
        azure in Just(d2s_v3()).prop_shuffle(),
        model in proptest::sample::select(PricingModel::ALL.to_vec()),
        basis in proptest::sample::select(vec![PricingBasis::Policy, PricingBasis::Market]),
        given in proptest::sample::select(vec![
            vec![], vec![("operatingSystem", "Windows")], vec![("termType", "Reserved")], vec![("unit", "Hrs")],
        ]),
    ) {
        prop_assert_eq!(select(&order, &given, model, basis), select(&m5_large(), &given, model, basis));
        prop_assert_eq!(select(&azure, &given, model, basis), select(&d2s_v3(), &given, model, basis));
    }
}
