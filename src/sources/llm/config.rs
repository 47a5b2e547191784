//! The table `[source.llm]`: which prices are wanted, who is asked, and how far the answers are trusted.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::header::HeaderValue;
use rust_decimal::Decimal;
use serde::Deserialize;
use toml::Spanned;

use crate::domain::money::{parse_decimal, parse_price};
use crate::domain::price::{Listing, MAX_ATTRIBUTES};
use crate::sources::live::config::{Wrong, distinct};
use crate::sources::named::Named;
use crate::sources::text::{check_text, shown, tier};

/// The most prices of one source.
const MAX_PRICES: usize = 200;
/// The most sites of one source.
const MAX_SITES: usize = 50;
/// The most tokens of one run.
const MAX_TOKENS: u64 = 100_000_000;
/// By how much of itself a price may move without an administrator, where nothing else is said.
const MAX_MOVE: Decimal = Decimal::from_parts(20, 0, 0, false, 2);
/// Percent.
const MIN_CONFIDENCE: u8 = 80;

/// The table as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sources) struct Section {
    api_key_env: Option<Spanned<String>>,
    plan: PhaseSection,
    research: PhaseSection,
    validate: PhaseSection,
    sites: Spanned<Vec<Spanned<String>>>,
    max_tokens: Spanned<u64>,
    max_cost: Option<Spanned<String>>,
    max_move: Option<Spanned<String>>,
    min_confidence: Option<Spanned<u8>>,
    #[serde(default)]
    price: Vec<Spanned<PriceSection>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseSection {
    model: Spanned<String>,
    input_cost: Option<Spanned<String>>,
    output_cost: Option<Spanned<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceSection {
    description: Spanned<String>,
    provider: String,
    service: String,
    #[serde(default)]
    region: String,
    sku_id: String,
    sku_price_id: String,
    unit: String,
    currency: String,
    #[serde(default)]
    tier_from: String,
    #[serde(default)]
    tier_to: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    reference: Option<Spanned<String>>,
}

/// What a source looks up, and how.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::sources) struct Assignment {
    /// Value of the `Authorization` header; never shown.
    pub(super) authorization: Option<HeaderValue>,
    pub(super) plan: Phase,
    pub(super) research: Phase,
    pub(super) validate: Phase,
    /// Hosts that prices are taken from, and those below them.
    pub(super) sites: Vec<String>,
    /// Tokens after which a run asks no more.
    pub(super) max_tokens: u64,
    /// Cost at which a run asks no more.
    pub(super) max_cost: Option<Decimal>,
    /// Part of the official price that a price may move by.
    pub(in crate::sources) max_move: Decimal,
    /// Percent.
    pub(super) min_confidence: u8,
    pub(in crate::sources) prices: Vec<Wanted>,
}

/// Who is asked in a phase.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Phase {
    pub(super) model: String,
    /// Per million tokens sent, and received; for endpoints that do not say what an answer costs.
    pub(super) rates: Option<(Decimal, Decimal)>,
}

/// A price to look up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::sources) struct Wanted {
    /// Everything but its amount.
    pub(in crate::sources) listing: Listing,
    /// For the models.
    pub(super) description: String,
    /// What it is believed to be, as long as there is no official price to compare with.
    pub(super) reference: Option<Decimal>,
}

impl Section {
    /// Checks the table, which stands at byte `at`.
    pub(in crate::sources) fn assignment(&self, at: usize) -> Result<Assignment, Wrong> {
        if self.price.is_empty() || self.price.len() > MAX_PRICES {
            let message =
                format!("{} tables [[source.llm.price]]; 1 to {MAX_PRICES} are possible", self.price.len());
            return Err((at, message));
        }
        let mut prices = Vec::with_capacity(self.price.len());
        let mut keys = BTreeSet::new();
        for price in &self.price {
            let wanted = price.get_ref().wanted(price.span().start)?;
            if !keys.insert(wanted.listing.key.clone()) {
                return Err((price.span().start, format!("the price {} stands twice", wanted.listing.key)));
            }
            prices.push(wanted);
        }
        let max_move = match &self.max_move {
            None => MAX_MOVE,
            Some(text) => {
                let part = decimal("max_move", text)?;
                if part.is_zero() || part >= Decimal::ONE {
                    return Err((text.span().start, "max_move is not between 0 and 1 (0.20 = 20 %)".into()));
                }
                part
            }
        };
        if !(1..=MAX_TOKENS).contains(self.max_tokens.get_ref()) {
            let message = format!("max_tokens is not between 1 and {MAX_TOKENS}");
            return Err((self.max_tokens.span().start, message));
        }
        let min_confidence =
            self.min_confidence.as_ref().map_or(MIN_CONFIDENCE, |percent| *percent.get_ref());
        if min_confidence > 100 {
            let at = self.min_confidence.as_ref().map_or(at, |percent| percent.span().start);
            return Err((at, "min_confidence is a percentage, 0 to 100".to_owned()));
        }
        Ok(Assignment {
            authorization: self.api_key_env.as_ref().map(authorization).transpose()?,
            plan: self.plan.phase()?,
            research: self.research.phase()?,
            validate: self.validate.phase()?,
            sites: sites(&self.sites)?,
            max_tokens: *self.max_tokens.get_ref(),
            max_cost: self.max_cost.as_ref().map(|text| decimal("max_cost", text)).transpose()?,
            max_move,
            min_confidence,
            prices,
        })
    }
}

fn decimal(key: &str, text: &Spanned<String>) -> Result<Decimal, Wrong> {
    parse_price(text.get_ref()).map_err(|error| (text.span().start, format!("{key}: {error}")))
}

/// The header that the key in an environment variable makes.
fn authorization(variable: &Spanned<String>) -> Result<HeaderValue, Wrong> {
    let name = variable.get_ref();
    let wrong = |message: &str| (variable.span().start, format!("api_key_env: {message}"));
    let of_names = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    // Whoever writes the key itself here must not find it in a log.
    if name.is_empty() || name.len() > 100 || !name.bytes().all(of_names) {
        return Err(wrong("is not the name of an environment variable, which holds the key"));
    }
    if name.starts_with("MERCURIALE_") {
        return Err(wrong("names beginning with MERCURIALE_ are those of settings; take another name"));
    }
    let unset = || wrong("there is no such environment variable, or it is empty; set it to the key");
    let key = std::env::var(name).ok().filter(|key| !key.is_empty()).ok_or_else(unset)?;
    let mut header = HeaderValue::from_str(&format!("Bearer {key}"))
        .map_err(|_| wrong("the variable holds what no HTTP header may hold"))?;
    header.set_sensitive(true);
    Ok(header)
}

fn sites(sites: &Spanned<Vec<Spanned<String>>>) -> Result<Vec<String>, Wrong> {
    let list = sites.get_ref();
    if list.is_empty() || list.len() > MAX_SITES {
        let message =
            format!("sites: name 1 to {MAX_SITES} hosts that show the prices, such as [\"acme.example\"]");
        return Err((sites.span().start, message));
    }
    let names = distinct("sites", list, |text| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        let is_host = text.len() <= 253 && text.contains('.') && text.bytes().all(plain);
        let whole = !text.starts_with('.') && !text.ends_with('.');
        if is_host && whole { Ok(()) } else { Err("is not a host such as acme.example".to_owned()) }
    })?;
    Ok(names.into_iter().map(str::to_owned).collect())
}

impl PhaseSection {
    fn phase(&self) -> Result<Phase, Wrong> {
        let model = self.model.get_ref();
        let wrong = |message: &str| (self.model.span().start, format!("model: {message}"));
        check_text(model).map_err(|message| wrong(&message))?;
        if model.trim().is_empty() {
            return Err(wrong("is empty; write it as the endpoint does"));
        }
        let rates = match (&self.input_cost, &self.output_cost) {
            (None, None) => None,
            (Some(input), Some(output)) => {
                Some((decimal("input_cost", input)?, decimal("output_cost", output)?))
            }
            _ => return Err(wrong("give input_cost and output_cost, or neither")),
        };
        if rates.is_some_and(|(input, output)| input.max(output) > Decimal::from(1_000_000)) {
            return Err(wrong("costs are for a million tokens, and less than a million"));
        }
        Ok(Phase { model: model.clone(), rates })
    }
}

impl PriceSection {
    fn wanted(&self, at: usize) -> Result<Wanted, Wrong> {
        let wrong = |name: &str, message: &str| (at, format!("{name}: {message}"));
        let region = if self.region.is_empty() { "global" } else { &self.region };
        let description = self.description.get_ref();
        let texts = [
            ("description", description.as_str()),
            ("provider", &self.provider),
            ("service", &self.service),
            ("region", region),
            ("sku_id", &self.sku_id),
            ("sku_price_id", &self.sku_price_id),
            ("unit", &self.unit),
        ];
        let attributes =
            self.attributes.iter().flat_map(|(name, value)| [("attributes", name), ("attributes", value)]);
        for (name, text) in texts.into_iter().chain(attributes.map(|(name, text)| (name, text.as_str()))) {
            check_text(text).map_err(|message| wrong(name, &message))?;
        }
        if description.trim().is_empty() {
            return Err(wrong("description", "is empty; say what the price is for, as to a stranger"));
        }
        // Room for what is derived, and for the URL.
        if self.attributes.len() + 3 > MAX_ATTRIBUTES {
            return Err(wrong("attributes", &format!("there are more than {}", MAX_ATTRIBUTES - 3)));
        }
        let named = Named {
            provider: &self.provider,
            service: &self.service,
            region,
            sku_id: &self.sku_id,
            sku_price_id: &self.sku_price_id,
            unit: &self.unit,
            currency: &self.currency,
        };
        named.check().map_err(|(name, message)| wrong(name, &message))?;
        let (tier_from, tier_to) =
            tier(&self.tier_from, &self.tier_to).map_err(|message| wrong("tier_from, tier_to", &message))?;
        let value_of = |name: &str| self.attributes.get(name).map_or("", String::as_str);
        let (key, derived) =
            named.identify(tier_from, value_of).map_err(|(name, message)| wrong(&name, &message))?;
        let mut attributes = self.attributes.clone();
        for (name, value) in derived.into_iter().flatten() {
            attributes.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let reference = match &self.reference {
            None => None,
            Some(text) => {
                let reference = parse_decimal(text.get_ref())
                    .map_err(|error| (text.span().start, format!("reference: {error}")))?;
                if reference <= Decimal::ZERO {
                    let message = format!("reference: {} is not more than zero", shown(text.get_ref()));
                    return Err((text.span().start, message));
                }
                Some(reference)
            }
        };
        Ok(Wanted {
            listing: Listing {
                key,
                provider: self.provider.clone(),
                service: self.service.clone(),
                region: region.to_owned(),
                sku_id: self.sku_id.clone(),
                sku_price_id: self.sku_price_id.clone(),
                attributes,
                unit: self.unit.clone(),
                currency: self.currency.clone(),
                tier_from,
                tier_to,
            },
            description: description.clone(),
            reference,
        })
    }
}
