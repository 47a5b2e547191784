//! The JSON of a request: texts only, before any check of their values.
//!
//! Two readings: serde's, which is fast and stops at the first fault, and a walk through the whole JSON, which
//! names every fault with its place.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::validate::{Problems, Spot};
use crate::domain::object::Object;

/// A request as texts.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EstimateRequest)]
pub struct RequestText {
    pub(super) name: Option<String>,
    pub(super) note: Option<String>,
    pub(super) tags: Option<Vec<String>>,
    pub(super) session: Option<String>,
    pub(super) hours_per_month: Option<String>,
    pub(super) month: Option<String>,
    pub(super) as_of: Option<String>,
    #[schema(value_type = Option<Vec<LineText>>)]
    pub(super) lines: Option<Vec<Object<LineText>>>,
}

const REQUEST_FIELDS: &str = "name, note, tags, session, hours_per_month, month, as_of, lines";

/// A line as texts.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = EstimateRequestLine)]
pub struct LineText {
    pub(super) label: Option<String>,
    pub(super) provider: Option<String>,
    pub(super) service: Option<String>,
    pub(super) region: Option<String>,
    pub(super) resource: Option<String>,
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub(super) attributes: Option<AttributesText>,
    pub(super) quantity: Option<String>,
    pub(super) usage_per_month: Option<String>,
    pub(super) pricing_model: Option<String>,
    pub(super) pricing_basis: Option<String>,
}

const LINE_FIELDS: &str = "label, provider, service, region, resource, attributes, quantity, usage_per_month, \
                           pricing_model, pricing_basis";

/// Attributes in the order given, doubles included, so that they can be refused.
#[derive(Debug, Default)]
pub(super) struct AttributesText(pub(super) Vec<(String, String)>);

impl<'de> Deserialize<'de> for AttributesText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = AttributesText;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AttributesText, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(AttributesText(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// Reads what serde refused with `error`, noting each wrong type and unknown field.
pub(super) fn read_slowly(
    body: &[u8],
    error: &serde_json::Error,
    problems: &mut Problems,
) -> Option<RequestText> {
    let value = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => Value::Object(fields),
        Ok(other) => {
            let message = format!("the request is {}", kind(&other));
            problems.add(&Spot::root(), message, "send an object with the field `lines`");
            return None;
        }
        Err(error) => {
            let remedy = "send one JSON object in UTF-8; JSON has no NaN, comments or trailing commas";
            problems.add(&Spot::root(), format!("not JSON: {error}"), remedy);
            return None;
        }
    };
    // A `Value` keeps the last of two equal names, so only serde can tell.
    let duplicate = error.to_string();
    if duplicate.starts_with("duplicate field") {
        problems.add(&Spot::root(), duplicate, "give each field once");
    }
    Some(request(value, problems))
}

fn request(value: Value, problems: &mut Problems) -> RequestText {
    let mut text = RequestText::default();
    for (name, value) in into_fields(value) {
        let spot = Spot::root().field(&name);
        match name.as_str() {
            "name" => text.name = string(value, &spot, problems),
            "note" => text.note = string(value, &spot, problems),
            "tags" => text.tags = strings(value, &spot, problems),
            "hours_per_month" => text.hours_per_month = string(value, &spot, problems),
            "month" => text.month = string(value, &spot, problems),
            "as_of" => text.as_of = string(value, &spot, problems),
            "session" => text.session = string(value, &spot, problems),
            "lines" => match value {
                Value::Null => {}
                Value::Array(lines) => {
                    let lines = lines.into_iter().enumerate();
                    text.lines =
                        Some(lines.map(|(index, value)| Object(line(index, value, problems))).collect());
                }
                other => {
                    problems.mistyped(
                        &spot,
                        format!("an array is needed, not {}", kind(&other)),
                        "write [...]",
                    );
                }
            },
            _ => unknown_field(&name, REQUEST_FIELDS, &spot, problems),
        }
    }
    text
}

fn line(index: usize, value: Value, problems: &mut Problems) -> LineText {
    let mut text = LineText::default();
    let label = value.get("label").and_then(Value::as_str).map(str::to_owned);
    let spot = Spot::line(index, label.as_deref());
    if !value.is_object() {
        let message = format!("a line is an object, not {}", kind(&value));
        problems.mistyped(&spot, message, "write {\"provider\": ...}");
        return text;
    }
    for (name, value) in into_fields(value) {
        let spot = spot.field(&name);
        let field = match name.as_str() {
            "label" => &mut text.label,
            "provider" => &mut text.provider,
            "service" => &mut text.service,
            "region" => &mut text.region,
            "resource" => &mut text.resource,
            "quantity" => &mut text.quantity,
            "usage_per_month" => &mut text.usage_per_month,
            "pricing_model" => &mut text.pricing_model,
            "pricing_basis" => &mut text.pricing_basis,
            "attributes" => {
                text.attributes = Some(attributes(value, &spot, problems));
                continue;
            }
            _ => {
                unknown_field(&name, LINE_FIELDS, &spot, problems);
                continue;
            }
        };
        *field = string(value, &spot, problems);
    }
    text
}

fn attributes(value: Value, spot: &Spot<'_>, problems: &mut Problems) -> AttributesText {
    if !value.is_object() && !value.is_null() {
        let message = format!("an object of texts is needed, not {}", kind(&value));
        problems.mistyped(spot, message, "write {\"operatingSystem\": \"Linux\"}, or leave it out");
        return AttributesText::default();
    }
    let pairs = into_fields(value).filter_map(|(name, value)| {
        let spot = spot.field(&name);
        if value.is_null() {
            problems.mistyped(&spot, "a text is needed, not null".into(), "leave the attribute out");
            return None;
        }
        let text = string(value, &spot, problems)?;
        Some((name, text))
    });
    AttributesText(pairs.collect())
}

/// The texts of an array; `None` for null, and for other types after noting them.
fn strings(value: Value, spot: &Spot<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let items = match value {
        Value::Null => return None,
        Value::Array(items) => items,
        other => {
            let message = format!("an array of texts is needed, not {}", kind(&other));
            problems.mistyped(spot, message, "write [\"a\", \"b\"]");
            return None;
        }
    };
    let texts = items.into_iter().enumerate().filter_map(|(index, item)| {
        let index = index.to_string();
        let spot = spot.field(&index);
        if item.is_null() {
            problems.mistyped(&spot, "a text is needed, not null".into(), "leave it out");
        }
        string(item, &spot, problems)
    });
    Some(texts.collect())
}

/// The text; `None` for null, and for other types after noting them.
fn string(value: Value, spot: &Spot<'_>, problems: &mut Problems) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        Value::Null => None,
        Value::Number(number) => {
            let message = format!("a text is needed, not the number {number}");
            problems.mistyped(spot, message, &format!("write it in quotes: \"{number}\""));
            None
        }
        other => {
            problems.mistyped(spot, format!("a text is needed, not {}", kind(&other)), "write it in quotes");
            None
        }
    }
}

fn unknown_field(name: &str, known: &str, spot: &Spot<'_>, problems: &mut Problems) {
    let name: Cow<'_, str> =
        if name.chars().count() > 60 { name.chars().take(60).collect() } else { name.into() };
    problems.add(spot, format!("unknown field {name:?}"), &format!("the fields here are {known}"));
}

fn into_fields(value: Value) -> impl Iterator<Item = (String, Value)> {
    match value {
        Value::Object(fields) => Some(fields.into_iter()),
        _ => None,
    }
    .into_iter()
    .flatten()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
