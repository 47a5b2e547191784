//! What becomes of what a model says of one price. Pure: no model is asked here.

use reqwest::Url;
use rust_decimal::Decimal;

use super::config::{Assignment, Wanted};
use super::phases::{Checked, Found, MAX_PAGES};
use crate::domain::money::{is_change, parse_price};
use crate::sources::text::{check_text, shown};

/// The longest passage that is taken for evidence.
const MAX_QUOTE_BYTES: usize = 2_000;
/// The longest URL.
const MAX_URL_BYTES: usize = 1_000;

/// What research says of a price, as far as it can be checked without asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) amount: Decimal,
    pub(super) quote: String,
    pub(super) url: String,
    pub(super) confidence: u8,
}

/// The official price of what was looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnRecord {
    pub(super) price_id: i64,
    pub(super) amount: Decimal,
    pub(super) in_force: bool,
    /// The event that set it.
    pub(super) position: i64,
}

/// What becomes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is an observation.
    Observe,
    /// It is for the administrator to decide, for this reason.
    Propose(String),
    /// It is neither, for this reason.
    Refuse(String),
}

/// Whether a page is on one of the sites.
fn is_on(sites: &[String], url: &str) -> bool {
    let Ok(parsed) = Url::parse(url) else { return false };
    let Some(host) = parsed.host_str() else { return false };
    let on = |site: &String| {
        host == site || host.strip_suffix(site.as_str()).is_some_and(|sub| sub.ends_with('.'))
    };
    url.len() <= MAX_URL_BYTES
        && parsed.scheme() == "https"
        && parsed.port().is_none()
        && parsed.username().is_empty()
        && parsed.password().is_none()
        && sites.iter().any(on)
}

/// Checks the pages of a plan.
pub(super) fn check_pages(sites: &[String], pages: &[String]) -> Result<(), String> {
    if pages.is_empty() || pages.len() > MAX_PAGES {
        return Err(format!("the plan names {} pages; 1 to {MAX_PAGES} are possible", pages.len()));
    }
    match pages.iter().find(|page| !is_on(sites, page)) {
        Some(page) => Err(format!("the plan leads to {}, which is on none of the sites", shown(page))),
        None => Ok(()),
    }
}

/// Checks what research says; `None` if it found nothing.
pub(super) fn claim_of(
    assignment: &Assignment,
    wanted: &Wanted,
    found: Found,
) -> Result<Option<Claim>, String> {
    let listing = &wanted.listing;
    if found.price != listing.key {
        return Err(format!("the answer is about {}, which was not asked for", shown(&found.price)));
    }
    if !found.shown {
        return Ok(None);
    }
    for (name, given, expected) in [
        ("region", &found.region, &listing.region),
        ("unit", &found.unit, &listing.unit),
        ("currency", &found.currency, &listing.currency),
    ] {
        if given.as_ref() != Some(expected) {
            let given = given.as_deref().map_or("nothing".to_owned(), shown);
            return Err(format!("the {name} is {given}, not {}", shown(expected)));
        }
    }
    if found.confidence > 100 {
        return Err(format!("the confidence is {} %", found.confidence));
    }
    let amount = parse_price(found.amount.as_deref().unwrap_or_default())
        .map_err(|error| format!("the amount cannot be read: {}", shown(&error.to_string())))?;
    let quote = found.quote.unwrap_or_default();
    if quote.trim().is_empty() || quote.len() > MAX_QUOTE_BYTES {
        return Err(format!("the quotation has {} bytes; 1 to {MAX_QUOTE_BYTES} are possible", quote.len()));
    }
    check_text(&quote)?;
    let url = found.url.unwrap_or_default();
    if !is_on(&assignment.sites, &url) {
        return Err(format!("the evidence is from {}, which is on none of the sites", shown(&url)));
    }
    Ok(Some(Claim { amount, quote, url, confidence: found.confidence }))
}

/// Why the validation does not confirm a claim; `None` if it does. It must have come to the same amount by itself.
pub(super) fn dissent(wanted: &Wanted, claim: &Claim, checked: &Checked) -> Option<String> {
    let listing = &wanted.listing;
    if checked.price != listing.key {
        return Some(format!("the validation is about {}", shown(&checked.price)));
    }
    if !checked.supported {
        return Some(format!("the validation does not find it supported: {}", shown(&checked.reason)));
    }
    for (name, given, expected) in [
        ("region", &checked.region, &listing.region),
        ("unit", &checked.unit, &listing.unit),
        ("currency", &checked.currency, &listing.currency),
    ] {
        if given.as_ref() != Some(expected) {
            let given = given.as_deref().map_or("nothing".to_owned(), shown);
            return Some(format!("the validation reads the {name} as {given}"));
        }
    }
    match checked.amount.as_deref().map(parse_price) {
        Some(Ok(amount)) if amount == claim.amount => None,
        Some(Ok(amount)) => Some(format!("the validation reads {amount}")),
        Some(Err(_)) | None => Some("the validation reads no amount".to_owned()),
    }
}

/// Decides. `dissent` is what [`dissent`] says; `threshold` what counts as a change.
pub(super) fn decide(
    assignment: &Assignment,
    wanted: &Wanted,
    on_record: Option<&OnRecord>,
    claim: &Claim,
    dissent: Option<String>,
    threshold: Decimal,
) -> Decision {
    let mut doubts: Vec<String> = dissent.into_iter().collect();
    if claim.confidence < assignment.min_confidence {
        doubts.push(format!("the research is sure by {} % only", claim.confidence));
    }
    if !numbers(&claim.quote).contains(&claim.amount) {
        doubts.push("the quotation does not hold the amount".to_owned());
    }
    let known = on_record.map(|official| official.amount).or(wanted.reference);
    match known {
        Some(known) if is_change(known, claim.amount, assignment.max_move) => {
            let percent = (assignment.max_move * Decimal::ONE_HUNDRED).normalize();
            doubts.push(format!("it moves from {} by more than {percent} %", known.normalize()));
        }
        Some(_) => {}
        None => {
            doubts.push("there is neither an official price nor a reference to compare it with".to_owned());
        }
    }
    if doubts.is_empty() {
        return Decision::Observe;
    }
    let doubts = doubts.join("; ");
    match on_record {
        None => Decision::Refuse(format!(
            "{} is not taken: {doubts}; a proposal is possible once the price is on record",
            claim.amount
        )),
        Some(official) if official.in_force && !is_change(official.amount, claim.amount, threshold) => {
            Decision::Refuse(format!("the official price is not confirmed: {doubts}"))
        }
        Some(_) => Decision::Propose(doubts),
    }
}

/// The numbers in a text, in every reading: `1,234.50` and `0,25` write them with commas.
fn numbers(text: &str) -> Vec<Decimal> {
    let of_number = |character: char| character.is_ascii_digit() || character == '.' || character == ',';
    let mut numbers = Vec::new();
    for word in text.split(|character| !of_number(character)) {
        let word = word.trim_matches(['.', ',']);
        if !word.starts_with(|character: char| character.is_ascii_digit()) {
            continue;
        }
        let decimal_comma = word.replace('.', "").replace(',', ".");
        for reading in [word.replace(',', ""), decimal_comma] {
            numbers.extend(parse_price(&reading));
        }
    }
    numbers
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
