//! The request of a version, asked differently.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::estimate::{EstimateRequest, InvalidRequest, Problem, request_parse};
use crate::domain::money::parse_decimal;
use crate::domain::precise::multiply;

/// What to ask differently; what is absent stays as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhatIf {
    /// Only lines of this provider.
    pub provider: Option<String>,
    /// Only lines with one of these labels.
    pub labels: Option<Vec<String>>,
    /// Region code.
    pub region: Option<String>,
    /// `on-demand`, `reserved-1y`, ...
    pub pricing_model: Option<String>,
    /// `policy` or `market`.
    pub pricing_basis: Option<String>,
    /// Quantities are multiplied by this decimal.
    pub quantity_factor: Option<String>,
    /// Hours of the month, of all lines.
    pub hours_per_month: Option<String>,
    /// World time of the prices, of all lines.
    pub as_of: Option<String>,
}

fn invalid(place: &str, message: String, remedy: &str) -> InvalidRequest {
    let problem = Problem { place: place.to_owned(), label: None, message, remedy: remedy.to_owned() };
    InvalidRequest { problems: vec![problem], total: 1 }
}

/// The JSON of a stored request as a value.
fn value_of(request: &str) -> Result<Value, InvalidRequest> {
    serde_json::from_str(request)
        .map_err(|error| invalid("", format!("the version cannot be read: {error}"), "use another version"))
}

/// The stored request, to be answered with the official prices of now: overrides end with their session.
///
/// # Errors
/// It is no request any more.
pub fn request_as_of_now(request: &str) -> Result<EstimateRequest, InvalidRequest> {
    let mut request = value_of(request)?;
    request["as_of"] = Value::Null;
    request["session"] = Value::Null;
    request_parse(request.to_string().as_bytes())
}

/// The stored request with some things asked differently, at official prices. It is checked as any other, so places of errors are those of
/// the request that results.
///
/// # Errors
/// No line is meant, or the request that results is none.
pub fn what_if(request: &str, what_if: &WhatIf) -> Result<EstimateRequest, InvalidRequest> {
    let mut request = value_of(request)?;
    request["session"] = Value::Null;
    let factor = what_if.quantity_factor.as_deref().map(|factor| {
        let parsed = parse_decimal(factor).map_err(|error| error.to_string());
        parsed.map_err(|message| invalid("/quantity_factor", message, "write a decimal, such as \"1.5\""))
    });
    let factor = factor.transpose()?;
    let mut is_meant = false;
    for line in request["lines"].as_array_mut().into_iter().flatten() {
        let is_provider =
            what_if.provider.as_ref().is_none_or(|provider| line["provider"] == provider.as_str());
        let is_label = what_if
            .labels
            .as_ref()
            .is_none_or(|labels| labels.iter().any(|label| line["label"] == label.as_str()));
        if !is_provider || !is_label {
            continue;
        }
        is_meant = true;
        for (field, text) in [
            ("region", &what_if.region),
            ("pricing_model", &what_if.pricing_model),
            ("pricing_basis", &what_if.pricing_basis),
        ] {
            if let Some(text) = text {
                line[field] = text.as_str().into();
            }
        }
        if let Some(factor) = factor {
            let quantity = line["quantity"].as_str().and_then(|quantity| parse_decimal(quantity).ok());
            let product = quantity.and_then(|quantity| multiply(quantity, factor).ok());
            let product = product.ok_or_else(|| {
                invalid("/quantity_factor", "a quantity gets too large".to_owned(), "use a smaller factor")
            })?;
            line["quantity"] = product.to_string().into();
        }
    }
    if !is_meant {
        let remedy = "name a provider and labels that the version has, or leave them out";
        return Err(invalid("/labels", "no line is meant".to_owned(), remedy));
    }
    if let Some(hours) = &what_if.hours_per_month {
        request["month"] = Value::Null;
        request["hours_per_month"] = hours.as_str().into();
    }
    if let Some(as_of) = &what_if.as_of {
        request["as_of"] = as_of.as_str().into();
    }
    request_parse(request.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: &str = r#"{"name":"n","hours_per_month":null,"month":"2026-02","as_of":"2026-01-01T00:00:00Z","lines":[
        {"label":"a","provider":"aws","service":"s","region":"r","resource":"x","attributes":{},"quantity":"2",
         "usage_per_month":null,"pricing_model":"on-demand","pricing_basis":"policy"},
        {"label":"b","provider":"azure","service":"s","region":"r","resource":"x","attributes":{},"quantity":"3",
         "usage_per_month":null,"pricing_model":"on-demand","pricing_basis":"policy"}]}"#;

    fn asked(text: &str) -> Result<EstimateRequest, InvalidRequest> {
        what_if(REQUEST, &serde_json::from_str(text).expect("a what-if"))
    }

    #[test]
    fn only_what_is_named_is_asked_differently() {
        let request =
            asked(r#"{"provider":"aws","region":"q","quantity_factor":"1.5","pricing_model":"spot"}"#)
                .expect("a request");
        assert_eq!(request.lines[0].region, "q");
        assert_eq!(request.lines[0].quantity.to_string(), "3");
        assert_eq!(request.lines[0].pricing_model.name(), "spot");
        let before = request_parse(REQUEST.as_bytes()).expect("a request");
        assert_eq!(request.lines[1], before.lines[1]);
        assert_eq!((request.month, request.as_of), (before.month, before.as_of));
        let longer = asked(r#"{"hours_per_month":"700","labels":["b"]}"#).expect("a request");
        assert_eq!((longer.month, longer.hours().to_string()), (None, "700".to_owned()));
        assert_eq!(request_as_of_now(REQUEST).expect("a request").as_of, None);
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_its_place() {
        for (text, place) in [
            (r#"{"labels":["c"]}"#, "/labels"),
            (r#"{"provider":"aws","labels":["b"]}"#, "/labels"),
            (r#"{"quantity_factor":"many"}"#, "/quantity_factor"),
            (r#"{"quantity_factor":"0"}"#, "/lines/0/quantity"),
            (r#"{"quantity_factor":"-1"}"#, "/lines/0/quantity"),
            (r#"{"quantity_factor":"9999999999999999999999999999"}"#, "/quantity_factor"),
            (r#"{"pricing_model":"gift"}"#, "/lines/0/pricing_model"),
            (r#"{"region":""}"#, "/lines/0/region"),
            (r#"{"as_of":"yesterday"}"#, "/as_of"),
        ] {
            assert_eq!(asked(text).expect_err(text).problems[0].place, place, "{text}");
        }
        assert!(serde_json::from_str::<WhatIf>(r#"{"regions":"q"}"#).is_err());
    }
}
