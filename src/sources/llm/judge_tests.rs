use super::*;
use crate::domain::price::Listing;
use crate::sources::llm::config::Phase;

/// Makes an answer wrong in one way.
type Change<T> = fn(&mut T);

fn decimal(text: &str) -> Decimal {
    text.parse().expect("a decimal")
}

fn assignment() -> Assignment {
    let phase = Phase { model: "m".to_owned(), rates: None };
    Assignment {
        authorization: None,
        plan: phase.clone(),
        research: phase.clone(),
        validate: phase,
        sites: vec!["acme.example".to_owned()],
        max_tokens: 1,
        max_cost: None,
        max_move: decimal("0.2"),
        min_confidence: 80,
        prices: Vec::new(),
    }
}

fn wanted(reference: Option<&str>) -> Wanted {
    Wanted {
        listing: Listing {
            key: "k".to_owned(),
            provider: "acme".to_owned(),
            service: "Compute".to_owned(),
            region: "paris".to_owned(),
            sku_id: "S".to_owned(),
            sku_price_id: "R".to_owned(),
            attributes: std::collections::BTreeMap::new(),
            unit: "Hrs".to_owned(),
            currency: "EUR".to_owned(),
            tier_from: Decimal::ZERO,
            tier_to: None,
        },
        description: "an hour".to_owned(),
        reference: reference.map(decimal),
    }
}

fn found(change: impl FnOnce(&mut Found)) -> Found {
    let text = |text: &str| Some(text.to_owned());
    let mut found = Found {
        price: "k".to_owned(),
        shown: true,
        region: text("paris"),
        unit: text("Hrs"),
        currency: text("EUR"),
        amount: text("0.25"),
        quote: text("S1 costs 0.25 EUR an hour"),
        url: text("https://www.acme.example/prices"),
        confidence: 95,
    };
    change(&mut found);
    found
}

fn claim(amount: &str) -> Claim {
    Claim {
        amount: decimal(amount),
        quote: format!("it costs {amount} EUR"),
        url: "https://acme.example/".to_owned(),
        confidence: 95,
    }
}

fn checked(change: impl FnOnce(&mut Checked)) -> Checked {
    let text = |text: &str| Some(text.to_owned());
    let mut checked = Checked {
        price: "k".to_owned(),
        supported: true,
        region: text("paris"),
        unit: text("Hrs"),
        currency: text("EUR"),
        amount: text("0.250"),
        reason: "it says so".to_owned(),
    };
    change(&mut checked);
    checked
}

#[test]
fn pages_must_be_on_the_sites() {
    let sites = assignment().sites;
    for page in ["https://acme.example/prices", "https://docs.acme.example/?a=1", "https://acme.example:443/"]
    {
        assert!(is_on(&sites, page), "{page}");
    }
    for page in [
        "http://acme.example/",
        "https://acme.example.evil.test/",
        "https://notacme.example/",
        "https://acme.example@evil.test/",
        "https://user@acme.example/",
        "https://acme.example:8443/",
        "https://127.0.0.1/",
        "javascript:alert(1)",
        "acme.example",
        "",
    ] {
        assert!(!is_on(&sites, page), "{page}");
    }
    assert!(check_pages(&sites, &[]).is_err());
    let many = vec!["https://acme.example/".to_owned(); MAX_PAGES + 1];
    assert!(check_pages(&sites, &many).is_err());
    assert!(check_pages(&sites, &many[1..]).is_ok());
}

#[test]
fn a_claim_that_is_not_what_was_asked_for_is_refused() {
    let (assignment, wanted) = (assignment(), wanted(None));
    let claim = claim_of(&assignment, &wanted, found(|_| {})).expect("right").expect("found");
    assert_eq!((claim.amount, claim.confidence), (decimal("0.25"), 95));
    assert_eq!(claim_of(&assignment, &wanted, found(|f| f.shown = false)), Ok(None));
    let wrong: [(Change<Found>, &str); 10] = [
        (|f| f.price = "other".to_owned(), "which was not asked for"),
        (|f| f.region = Some("rome".to_owned()), "the region is \"rome\", not \"paris\""),
        (|f| f.unit = Some("Month".to_owned()), "the unit is"),
        (|f| f.currency = None, "the currency is nothing"),
        (|f| f.amount = Some("1e".to_owned()), "the amount cannot be read"),
        (|f| f.amount = Some("-1".to_owned()), "the amount cannot be read"),
        (|f| f.quote = Some(" ".to_owned()), "the quotation has 1 bytes"),
        (|f| f.quote = Some("x".repeat(MAX_QUOTE_BYTES + 1)), "the quotation has 2001 bytes"),
        (|f| f.url = Some("https://evil.test/".to_owned()), "on none of the sites"),
        (|f| f.confidence = 101, "the confidence is 101 %"),
    ];
    for (change, message) in wrong {
        let error = claim_of(&assignment, &wanted, found(change)).expect_err(message);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn the_validation_must_come_to_the_same_by_itself() {
    let (wanted, claim) = (wanted(None), claim("0.25"));
    assert_eq!(dissent(&wanted, &claim, &checked(|_| {})), None);
    let wrong: [(Change<Checked>, &str); 6] = [
        (|c| c.price = "other".to_owned(), "is about"),
        (|c| c.supported = false, "does not find it supported"),
        (|c| c.unit = Some("Month".to_owned()), "reads the unit as"),
        (|c| c.amount = Some("250".to_owned()), "reads 250"),
        (|c| c.amount = Some("a quarter".to_owned()), "reads no amount"),
        (|c| c.amount = None, "reads no amount"),
    ];
    for (change, message) in wrong {
        let why = dissent(&wanted, &claim, &checked(change)).expect(message);
        assert!(why.contains(message), "{why}");
    }
}

#[test]
fn what_is_agreed_and_moves_little_is_observed_and_all_else_is_for_the_administrator() {
    let assignment = assignment();
    let official =
        |amount: &str, in_force| OnRecord { price_id: 1, amount: decimal(amount), in_force, position: 5 };
    let judged = |known: Option<OnRecord>, reference: Option<&str>, claim: &Claim, dissent: Option<&str>| {
        let dissent = dissent.map(str::to_owned);
        let threshold = decimal("0.001");
        decide(&assignment, &wanted(reference), known.as_ref(), claim, dissent, threshold)
    };
    let is_proposal = |decision: Decision| matches!(decision, Decision::Propose(_));
    let is_refused = |decision: Decision| matches!(decision, Decision::Refuse(_));
    let known = Some(official("0.25", true));
    assert_eq!(judged(known, None, &claim("0.25"), None), Decision::Observe);
    assert_eq!(judged(known, None, &claim("0.30"), None), Decision::Observe);
    assert!(is_proposal(judged(known, None, &claim("0.3001"), None)));
    assert!(is_proposal(judged(known, None, &claim("250"), None)));
    assert!(is_proposal(judged(known, None, &claim("0.00025"), None)));
    assert!(is_proposal(judged(known, None, &claim("0.28"), Some("no"))));
    assert!(is_proposal(judged(known, None, &Claim { confidence: 79, ..claim("0.28") }, None)));
    let unquoted = Claim { quote: "twenty-eight cents".to_owned(), ..claim("0.28") };
    assert!(is_proposal(judged(known, None, &unquoted, None)));
    // The official price once more, in doubt: there is nothing to propose.
    assert!(is_refused(judged(known, None, &claim("0.25"), Some("no"))));
    // Withdrawn: its return may be proposed.
    assert!(is_proposal(judged(Some(official("0.25", false)), None, &claim("0.25"), Some("no"))));
    // From zero, any price is a change beyond any bound.
    assert!(is_proposal(judged(Some(official("0", true)), None, &claim("0.01"), None)));
    // Never listed: nothing to propose for.
    assert_eq!(judged(None, Some("0.24"), &claim("0.25"), None), Decision::Observe);
    assert!(is_refused(judged(None, Some("240"), &claim("0.25"), None)));
    assert!(is_refused(judged(None, None, &claim("0.25"), None)));
    // The official price counts, not the reference.
    assert!(is_proposal(judged(known, Some("250"), &claim("250"), None)));
}

#[test]
fn numbers_are_read_with_points_and_commas() {
    for (text, amount) in [
        ("$0.25/hour", "0.25"),
        ("0,25 €", "0.25"),
        ("USD 1,234.50.", "1234.5"),
        ("1.234,50 €", "1234.5"),
        ("(10)", "10"),
    ] {
        assert!(numbers(text).contains(&decimal(amount)), "{text}: {:?}", numbers(text));
    }
    assert!(!numbers("10.25").contains(&decimal("0.25")));
    assert!(numbers("no price, none at all ... ,").is_empty());
}
