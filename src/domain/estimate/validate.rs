//! The values of a request: limits, and what they mean.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDate, Timelike, Utc};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::wire::{AttributesText, LineText, RequestText};
use super::{
    DEFAULT_HOURS_PER_MONTH, EstimateRequest, InvalidRequest, MAX_ATTRIBUTE_NAME_CHARS,
    MAX_ATTRIBUTE_VALUE_CHARS, MAX_DECIMALS, MAX_HOURS_PER_MONTH, MAX_LABEL_CHARS, MAX_LINE_ATTRIBUTES,
    MAX_LINES, MAX_NAME_CHARS, MAX_PROBLEMS, MAX_QUANTITY, MAX_RESOURCE_CHARS, MAX_SCOPE_CHARS,
    MAX_USAGE_PER_MONTH, Month, PricingBasis, Problem, RequestLine, YEARS,
};
use crate::domain::discounts::PricingModel;
use crate::domain::money::{SIGNIFICANT_DIGITS, parse_decimal};
use crate::domain::object::Object;
use crate::domain::price::Attributes;

/// A place in the request; its pointer is only written out when something is wrong there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot<'a> {
    line: Option<usize>,
    label: Option<&'a str>,
    path: [Option<&'a str>; 2],
}

impl<'a> Spot<'a> {
    pub(super) const fn root() -> Self {
        Self { line: None, label: None, path: [None, None] }
    }

    pub(super) const fn line(index: usize, label: Option<&'a str>) -> Self {
        Self { line: Some(index), label, path: [None, None] }
    }

    pub(super) fn field(&self, name: &'a str) -> Self {
        match self.path {
            [None, _] => Self { path: [Some(name), None], ..*self },
            [first, _] => Self { path: [first, Some(name)], ..*self },
        }
    }

    fn pointer(&self) -> String {
        let mut pointer = self.line.map_or_else(String::new, |index| format!("/lines/{index}"));
        for name in self.path.into_iter().flatten() {
            pointer.push('/');
            pointer.extend(name.chars().take(MAX_ATTRIBUTE_NAME_CHARS).map(|character| match character {
                '~' => "~0".to_owned(),
                '/' => "~1".to_owned(),
                other => other.to_string(),
            }));
        }
        pointer
    }
}

/// What was found wrong so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    first: Vec<Problem>,
    total: usize,
    /// Pointers of fields that are there with a wrong type, hence not missing.
    mistyped: BTreeSet<String>,
}

impl Problems {
    pub(super) fn add(&mut self, spot: &Spot<'_>, message: String, remedy: &str) {
        self.total += 1;
        if self.first.len() < MAX_PROBLEMS {
            let label = spot.label.map(|label| label.chars().take(MAX_LABEL_CHARS).collect());
            self.first.push(Problem { place: spot.pointer(), label, message, remedy: remedy.to_owned() });
        }
    }

    /// As `add`, for a value of a wrong type: it is not reported as missing as well.
    pub(super) fn mistyped(&mut self, spot: &Spot<'_>, message: String, remedy: &str) {
        self.mistyped.insert(spot.pointer());
        self.add(spot, message, remedy);
    }

    pub(super) fn into_result<T>(self, request: Option<T>) -> Result<T, InvalidRequest> {
        match request {
            Some(request) if self.total == 0 => Ok(request),
            _ => Err(InvalidRequest { problems: self.first, total: self.total }),
        }
    }

    fn is_mistyped(&self, spot: &Spot<'_>) -> bool {
        !self.mistyped.is_empty() && self.mistyped.contains(&spot.pointer())
    }
}

/// Checks a request; `None` means that problems were added.
pub(super) fn request(text: RequestText, problems: &mut Problems) -> Option<EstimateRequest> {
    let root = Spot::root();
    let session = text.session.and_then(|text| session(&text, &root.field("session"), problems));
    if let Some(name) = &text.name {
        check_text(name, MAX_NAME_CHARS, &root.field("name"), problems);
    }
    if text.hours_per_month.is_some() && text.month.is_some() {
        let message = "both hours_per_month and month are given";
        problems.add(&root.field("month"), message.into(), "give one of them");
    }
    let hours = text
        .hours_per_month
        .and_then(|hours| number(&hours, MAX_HOURS_PER_MONTH, &root.field("hours_per_month"), problems));
    let month = text.month.and_then(|text| month(&text, &root.field("month"), problems));
    let as_of = text.as_of.and_then(|text| instant(&text, &root.field("as_of"), problems));
    let lines = lines(text.lines, problems)?;
    let hours_per_month = hours.or(month.is_none().then_some(DEFAULT_HOURS_PER_MONTH));
    Some(EstimateRequest { name: text.name, session, hours_per_month, month, as_of, lines })
}

fn lines(lines: Option<Vec<Object<LineText>>>, problems: &mut Problems) -> Option<Vec<RequestLine>> {
    let spot = Spot::root().field("lines");
    let Some(lines) = lines else {
        if !problems.is_mistyped(&spot) {
            problems.add(&spot, "is missing".into(), "give at least one line");
        }
        return None;
    };
    if lines.is_empty() {
        problems.add(&spot, "there are no lines".into(), "give at least one line");
        return None;
    }
    if lines.len() > MAX_LINES {
        let message = format!("{} lines are more than the {MAX_LINES} that are read", lines.len());
        problems.add(&spot, message, "split the estimate");
        return None;
    }
    let mut checked = Vec::with_capacity(lines.len());
    for (index, Object(text)) in lines.into_iter().enumerate() {
        checked.extend(line(index, text, problems));
    }
    Some(checked)
}

fn line(index: usize, text: LineText, problems: &mut Problems) -> Option<RequestLine> {
    let label = text.label;
    let spot = Spot::line(index, label.as_deref());
    if problems.is_mistyped(&spot) {
        return None;
    }
    if let Some(label) = &label {
        check_text(label, MAX_LABEL_CHARS, &spot.field("label"), problems);
    }
    let provider = required(text.provider, MAX_SCOPE_CHARS, &spot.field("provider"), problems);
    let service = required(text.service, MAX_SCOPE_CHARS, &spot.field("service"), problems);
    let region = required(text.region, MAX_SCOPE_CHARS, &spot.field("region"), problems);
    let resource = required(text.resource, MAX_RESOURCE_CHARS, &spot.field("resource"), problems);
    let quantity_spot = spot.field("quantity");
    if text.quantity.is_none() {
        missing(&quantity_spot, problems);
    }
    let quantity =
        text.quantity.and_then(|quantity| number(&quantity, MAX_QUANTITY, &quantity_spot, problems));
    let usage_per_month = text
        .usage_per_month
        .and_then(|usage| number(&usage, MAX_USAGE_PER_MONTH, &spot.field("usage_per_month"), problems));
    let attributes = attributes(text.attributes.unwrap_or_default(), &spot.field("attributes"), problems);
    let pricing_model = text.pricing_model.map_or(Some(PricingModel::default()), |name| {
        let model = PricingModel::from_name(&name);
        if model.is_none() {
            let message = format!("{:?} is not a pricing model", excerpt(&name));
            let remedy = "it is one of on-demand, reserved-1y, reserved-3y, spot";
            problems.add(&spot.field("pricing_model"), message, remedy);
        }
        model
    });
    let pricing_basis = match text.pricing_basis.as_deref() {
        None | Some("policy") => Some(PricingBasis::Policy),
        Some("market") => Some(PricingBasis::Market),
        Some(name) => {
            let message = format!("{:?} is not a pricing basis", excerpt(name));
            problems.add(&spot.field("pricing_basis"), message, "it is policy or market");
            None
        }
    };
    let resource = resource?;
    Some(RequestLine {
        label: label.unwrap_or_else(|| resource.clone()),
        provider: provider?,
        service: service?,
        region: region?,
        resource,
        attributes,
        quantity: quantity?,
        usage_per_month,
        pricing_model: pricing_model?,
        pricing_basis: pricing_basis?,
    })
}

fn attributes(AttributesText(pairs): AttributesText, spot: &Spot<'_>, problems: &mut Problems) -> Attributes {
    if pairs.len() > MAX_LINE_ATTRIBUTES {
        let message =
            format!("{} attributes are more than the {MAX_LINE_ATTRIBUTES} that are read", pairs.len());
        problems.add(spot, message, "give those that tell the prices apart");
        return Attributes::new();
    }
    let mut attributes = Attributes::new();
    for (name, value) in pairs {
        let spot = spot.field(&name);
        check_text(&name, MAX_ATTRIBUTE_NAME_CHARS, &spot, problems);
        check_text(&value, MAX_ATTRIBUTE_VALUE_CHARS, &spot, problems);
        if attributes.keys().any(|given| given.eq_ignore_ascii_case(&name)) {
            problems.add(&spot, "the attribute is given twice".into(), "give it once; case does not matter");
        }
        attributes.insert(name, value);
    }
    attributes
}

fn required(text: Option<String>, limit: usize, spot: &Spot<'_>, problems: &mut Problems) -> Option<String> {
    match &text {
        Some(text) => check_text(text, limit, spot, problems),
        None => missing(spot, problems),
    }
    text
}

pub(super) fn missing(spot: &Spot<'_>, problems: &mut Problems) {
    if !problems.is_mistyped(spot) {
        let remedy = if spot.line.is_some() { "add it to the line" } else { "add it to the request" };
        problems.add(spot, "is missing".into(), remedy);
    }
}

pub(super) fn check_text(text: &str, limit: usize, spot: &Spot<'_>, problems: &mut Problems) {
    if text.trim().is_empty() {
        problems.add(spot, "the text is empty".into(), "write something, or leave it out if it is optional");
    }
    // Bytes first: counting characters is needed for long texts only.
    if text.len() > limit && text.chars().count() > limit {
        let message = format!("{} characters are more than the {limit} that are read", text.chars().count());
        problems.add(spot, message, "shorten it");
    }
    if let Some(control) = text.chars().find(|character| character.is_control()) {
        let message = format!("the text holds the control character U+{:04X}", u32::from(control));
        problems.add(spot, message, "remove it");
    }
}

/// A decimal above zero, at most `limit`, exactly as written.
fn number(text: &str, limit: Decimal, spot: &Spot<'_>, problems: &mut Problems) -> Option<Decimal> {
    let parsed = match parse_decimal(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.add(spot, error.to_string(), "write digits with a point, such as \"2.5\"");
            return None;
        }
    };
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let (message, remedy) = if digits > SIGNIFICANT_DIGITS || parsed.scale() > MAX_DECIMALS {
        (
            format!("{text} has too many digits"),
            format!("use at most {SIGNIFICANT_DIGITS} digits and {MAX_DECIMALS} decimals"),
        )
    } else if parsed.is_zero() {
        ("zero is not estimated".to_owned(), "leave it out, or give more than zero".to_owned())
    } else if parsed.is_sign_negative() {
        (format!("{text} is negative"), "give more than zero".to_owned())
    } else if parsed > limit {
        (
            format!("{text} is more than {limit}, the most that is read"),
            "check the unit, or split it".to_owned(),
        )
    } else {
        return Some(parsed);
    };
    problems.add(spot, message, &remedy);
    None
}

fn session(text: &str, spot: &Spot<'_>, problems: &mut Problems) -> Option<Uuid> {
    let session = Uuid::try_parse(text).ok();
    if session.is_none() {
        let message = format!("{:?} is not the id of a session", excerpt(text));
        problems.add(spot, message, "open one with POST /v1/sessions, or leave it out");
    }
    session
}

fn month(text: &str, spot: &Spot<'_>, problems: &mut Problems) -> Option<Month> {
    let month = parse_month(text);
    if month.is_none() {
        let message = format!("{:?} is not a month", excerpt(text));
        let remedy = format!("write YYYY-MM, such as \"2026-02\", from {} to {}", YEARS.start(), YEARS.end());
        problems.add(spot, message, &remedy);
    }
    month
}

fn parse_month(text: &str) -> Option<Month> {
    let (year, month) = text.split_once('-')?;
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    if year.len() != 4 || month.len() != 2 || !all_digits {
        return None;
    }
    let first_day = NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)?;
    YEARS.contains(&first_day.year()).then_some(Month { first_day })
}

fn instant(text: &str, spot: &Spot<'_>, problems: &mut Problems) -> Option<DateTime<Utc>> {
    // A leap second is not in PostgreSQL's time line; digits below its microseconds would be lost.
    let instant = DateTime::parse_from_rfc3339(text)
        .map(|instant| instant.to_utc())
        .ok()
        .filter(|instant| YEARS.contains(&instant.year()))
        .filter(|instant| instant.nanosecond() < 1_000_000_000 && instant.nanosecond() % 1_000 == 0);
    if instant.is_none() {
        let message = format!("{:?} is not a time", excerpt(text));
        let remedy = format!(
            "write RFC 3339 with at most microseconds, such as \"2026-03-03T00:00:00Z\", from {} to {}",
            YEARS.start(),
            YEARS.end()
        );
        problems.add(spot, message, &remedy);
    }
    instant
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}
