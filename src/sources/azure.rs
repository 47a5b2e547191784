//! Azure Retail Prices API: a list is a chain of pages, each one JSON document with up to some thousand items.
//!
//! One page is held at a time. The chain is checked link by link, so that a missing or repeated page is an error
//! and not a list with a hole. Format: <https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices>.

use std::borrow::Cow;
use std::io::Read;

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::money::parse_price;
use crate::domain::price::{AzureKey, Validity, azure_key};

use super::read::count_lines;
use super::text::{check_currency, check_start, check_text, json_error, malformed, read_error, shown, time};
use super::{ListError, ListHeader, ListSink, Place, Price};

/// The largest page that is read, in bytes; Azure's have about 700 kB.
pub const MAX_PAGE_BYTES: u64 = 64 << 20;
/// The region of prices that hold everywhere, where Azure leaves `armRegionName` empty.
const NO_REGION: &str = "global";

/// Reads the pages of one list, in order, from files or as they are fetched.
pub struct Pages<'s> {
    scope: Option<String>,
    observed_at: DateTime<Utc>,
    sink: &'s mut dyn ListSink,
    /// Items in the pages so far.
    items: u64,
    header_sent: bool,
    /// The last page, and whether it links to a next one.
    last: Option<(String, bool)>,
}

impl<'s> Pages<'s> {
    /// Starts a list; `scope` is used in place of the `$filter` that the first page's link shows.
    pub fn new(scope: Option<String>, observed_at: DateTime<Utc>, sink: &'s mut dyn ListSink) -> Self {
        Self { scope, observed_at, sink, items: 0, header_sent: false, last: None }
    }

    /// Reads the next page and gives the link to the one after it, if there is one.
    ///
    /// # Errors
    /// As [`super::read_list`]; also for a page that does not continue the one before.
    pub fn page(&mut self, file: &str, reader: impl Read) -> Result<Option<String>, ListError> {
        if let Some((last, false)) = &self.last {
            let message = format!(
                "{last} says that it is the last page; this one belongs elsewhere or pages are mixed up"
            );
            return Err(malformed(file, 0, "", message));
        }
        let mut bytes = Vec::new();
        reader
            .take(MAX_PAGE_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| read_error(file, 0, "", error))?;
        if bytes.len() as u64 > MAX_PAGE_BYTES {
            return Err(malformed(file, 0, "", format!("a page of more than {MAX_PAGE_BYTES} bytes")));
        }
        let bytes = bytes.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(&bytes);
        check_start(file, bytes)?;
        let page: Page<'_> = parse_page(file, bytes)?;
        self.check_chain(file, &page)?;
        let next = page.next_page_link;
        if !self.header_sent {
            let filter = next.as_deref().and_then(|link| query_value(link, "$filter"));
            let scope = self.scope.take().or(filter).unwrap_or_else(|| "all".to_owned());
            check_text(&scope).map_err(|message| malformed(file, 0, "", format!("the scope: {message}")))?;
            self.sink.header(&ListHeader { scope, observed_at: self.observed_at })?;
            self.header_sent = true;
        }
        let mut counted = 0;
        let mut line: u64 = 1;
        for (index, raw) in page.items.iter().enumerate() {
            // Both point into `bytes`: their distance is where the item begins.
            let at = raw.get().as_ptr().addr() - bytes.as_ptr().addr();
            line += count_lines(&bytes[counted..at]);
            counted = at;
            self.item(file, line, index, raw.get())?;
        }
        self.last = Some((file.to_owned(), next.is_some()));
        Ok(next)
    }

    /// Items in the pages so far.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Ends the list: whether its last page was read.
    #[must_use]
    pub fn finish(self) -> bool {
        self.last.is_some_and(|(_, has_next)| !has_next)
    }

    fn check_chain(&mut self, file: &str, page: &Page<'_>) -> Result<(), ListError> {
        let items = page.items.len() as u64;
        if page.count != items {
            let message =
                format!("Count is {}, but the page has {items} items; it was cut or edited", page.count);
            return Err(malformed(file, 0, "", message));
        }
        self.items += items;
        let Some(skip) = page.next_page_link.as_deref().and_then(|link| query_value(link, "$skip")) else {
            return Ok(());
        };
        if skip.parse() == Ok(self.items) {
            return Ok(());
        }
        let message = format!(
            "the link to the next page skips {} items, but the pages up to this one hold {}: a page before this one \
             is missing, or this one is repeated",
            shown(&skip),
            self.items
        );
        Err(malformed(file, 0, "", message))
    }

    fn item(&mut self, file: &str, line: u64, index: usize, text: &str) -> Result<(), ListError> {
        let nameless = format!("item {} of the page", index + 1);
        let item: Item<'_> =
            serde_json::from_str(text).map_err(|error| json_error(file, line, &nameless, error))?;
        let name = format!("{nameless}, meter {}", item.meter_id.0);
        let failed =
            |field: &str, message: String| malformed(file, line, &name, format!("{field}: {message}"));

        for (field, text) in [
            ("meterId", &item.meter_id),
            ("skuId", &item.sku_id),
            ("productId", &item.product_id),
            ("type", &item.price_type),
            ("serviceName", &item.service_name),
            ("unitOfMeasure", &item.unit_of_measure),
        ] {
            if text.0.is_empty() {
                return Err(failed(field, "is empty".to_owned()));
            }
            check_text(&text.0).map_err(|message| failed(field, message))?;
        }
        check_currency(&item.currency_code.0).map_err(|message| failed("currencyCode", message))?;
        let amount =
            parse_price(item.retail_price.get()).map_err(|error| failed("retailPrice", error.to_string()))?;
        let tier_from = parse_price(item.tier_minimum_units.get())
            .map_err(|error| failed("tierMinimumUnits", error.to_string()))?;
        let validity = Validity {
            from: instant(item.effective_start_date.as_ref())
                .map_err(|error| failed("effectiveStartDate", error))?,
            to: instant(item.effective_end_date.as_ref())
                .and_then(|end| end.map(end_of_minute).transpose())
                .map_err(|error| failed("effectiveEndDate", error))?,
        };

        let reservation_term = optional(item.reservation_term.as_ref());
        let region = match optional(item.arm_region_name.as_ref()) {
            "" => NO_REGION,
            region => region,
        };
        check_text(region).map_err(|message| failed("armRegionName", message))?;
        let mut attributes = Vec::with_capacity(16);
        for (field, text) in [
            ("meterName", optional(item.meter_name.as_ref())),
            ("skuName", optional(item.sku_name.as_ref())),
            ("armSkuName", optional(item.arm_sku_name.as_ref())),
            ("productName", optional(item.product_name.as_ref())),
            ("productId", &item.product_id.0),
            ("serviceFamily", optional(item.service_family.as_ref())),
            ("type", &item.price_type.0),
            ("reservationTerm", reservation_term),
            ("location", optional(item.location.as_ref())),
            (
                "isPrimaryMeterRegion",
                item.is_primary_meter_region.map_or("", |is| if is { "true" } else { "false" }),
            ),
        ] {
            check_text(text).map_err(|message| failed(field, message))?;
            if !text.is_empty() {
                attributes.push((field, text));
            }
        }
        let value_of = |wanted: &str| {
            attributes.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| *value)
        };
        let derived = derived_attributes(&item.service_name.0, value_of);
        attributes.extend(derived.into_iter().flatten());

        let key = azure_key(&AzureKey {
            meter_id: &item.meter_id.0,
            sku_id: &item.sku_id.0,
            product_id: &item.product_id.0,
            price_type: &item.price_type.0,
            reservation_term,
            tier_minimum_units: tier_from,
            region,
            currency: &item.currency_code.0,
        });
        self.sink.price(&Price {
            key: &key,
            provider: "azure",
            service: &item.service_name.0,
            region: Some(region),
            sku_id: &item.sku_id.0,
            sku_price_id: &item.meter_id.0,
            unit: &item.unit_of_measure.0,
            currency: &item.currency_code.0,
            tier_from,
            tier_to: None,
            amount,
            validity,
            attributes: &attributes,
            place: &Place { file, line },
        })?;
        Ok(())
    }
}

/// The attributes that are ours and not Azure's, from Azure's: `termType`, and for virtual machines
/// `operatingSystem`, which Azure tells by the end of the product's name.
///
/// A type that is new to us is its own term type, so that it is never taken for an on-demand price.
pub(super) fn derived_attributes<'a>(
    service: &str,
    value_of: impl Fn(&str) -> &'a str,
) -> [Option<(&'static str, &'a str)>; 2] {
    let ends = |ending| value_of("meterName").ends_with(ending) || value_of("skuName").ends_with(ending);
    let term_type = match value_of("type") {
        "Consumption" if ends(" Spot") => "Spot",
        "Consumption" if ends(" Low Priority") => "LowPriority",
        "Consumption" => "OnDemand",
        "Reservation" => "Reserved",
        "DevTestConsumption" => "DevTest",
        other => other,
    };
    let windows = value_of("productName").ends_with(" Windows");
    let operating_system = if windows { "Windows" } else { "Linux" };
    [
        Some(("termType", term_type)),
        (service == "Virtual Machines").then_some(("operatingSystem", operating_system)),
    ]
}

fn instant(text: Option<&Text<'_>>) -> Result<Option<DateTime<Utc>>, String> {
    text.map(|text| time(&text.0)).transpose()
}

/// Azure ends a version at 23:59:00 (or 23:59:59) and starts its successor at 00:00:00. The minute named is still
/// part of the version, so that one ends where the other starts.
fn end_of_minute(end: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let minute = TimeDelta::minutes(1);
    end.duration_trunc(minute)
        .ok()
        .and_then(|start| start.checked_add_signed(minute))
        .ok_or_else(|| format!("{end} is out of range"))
}

/// A parameter of a link's query, decoded.
fn query_value(link: &str, name: &str) -> Option<String> {
    let decode =
        |text: &str| Some(percent_decode_str(&text.replace('+', " ")).decode_utf8().ok()?.into_owned());
    let (_, query) = link.split_once('?')?;
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        if decode(key)? == name { decode(value) } else { None }
    })
}

/// Text that borrows from the page unless it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn optional<'a>(text: Option<&'a Text<'_>>) -> &'a str {
    text.map(|text| &*text.0).unwrap_or_default()
}

struct Page<'a> {
    items: Vec<&'a RawValue>,
    next_page_link: Option<String>,
    count: u64,
}

/// What the API may send; an answer that reports an error has none of the first three.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "Items")]
    items: Option<Vec<&'a RawValue>>,
    /// Raw, to tell the null of the last page from a field that is missing.
    #[serde(borrow, rename = "NextPageLink", default, deserialize_with = "even_null")]
    next_page_link: Option<&'a RawValue>,
    #[serde(rename = "Count")]
    count: Option<u64>,
    #[serde(borrow, rename = "Error", alias = "error", alias = "Message", alias = "message")]
    error: Option<&'a RawValue>,
}

fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

fn parse_page<'a>(file: &str, bytes: &'a [u8]) -> Result<Page<'a>, ListError> {
    let envelope: Envelope<'a> =
        serde_json::from_slice(bytes).map_err(|error| json_error(file, 1, "", error))?;
    let missing = |field: &str| {
        let message = match envelope.error {
            Some(error) => format!("Azure answered with an error in place of prices: {}", shown(error.get())),
            None => {
                format!("the page has no {field:?}: this is not an answer of the Azure Retail Prices API")
            }
        };
        malformed(file, 0, "", message)
    };
    let link = envelope.next_page_link.ok_or_else(|| missing("NextPageLink"))?;
    let count = envelope.count.ok_or_else(|| missing("Count"))?;
    let items = envelope.items.as_ref().ok_or_else(|| missing("Items"))?.clone();
    let next_page_link = serde_json::from_str(link.get())
        .map_err(|_| malformed(file, 0, "", format!("NextPageLink is {}", shown(link.get()))))?;
    Ok(Page { items, next_page_link, count })
}

/// One price. `unitPrice` repeats `retailPrice`, save where a customer has a rate of their own.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    #[serde(borrow)]
    meter_id: Text<'a>,
    #[serde(borrow)]
    sku_id: Text<'a>,
    #[serde(borrow)]
    product_id: Text<'a>,
    #[serde(borrow, rename = "type")]
    price_type: Text<'a>,
    #[serde(borrow)]
    service_name: Text<'a>,
    #[serde(borrow)]
    unit_of_measure: Text<'a>,
    #[serde(borrow)]
    currency_code: Text<'a>,
    /// The text of a number: it must not pass through a float.
    #[serde(borrow)]
    retail_price: &'a RawValue,
    #[serde(borrow)]
    tier_minimum_units: &'a RawValue,
    #[serde(borrow)]
    reservation_term: Option<Text<'a>>,
    #[serde(borrow)]
    arm_region_name: Option<Text<'a>>,
    #[serde(borrow)]
    location: Option<Text<'a>>,
    #[serde(borrow)]
    effective_start_date: Option<Text<'a>>,
    #[serde(borrow)]
    effective_end_date: Option<Text<'a>>,
    #[serde(borrow)]
    meter_name: Option<Text<'a>>,
    #[serde(borrow)]
    sku_name: Option<Text<'a>>,
    #[serde(borrow)]
    arm_sku_name: Option<Text<'a>>,
    #[serde(borrow)]
    product_name: Option<Text<'a>>,
    #[serde(borrow)]
    service_family: Option<Text<'a>>,
    is_primary_meter_region: Option<bool>,
}

#[cfg(test)]
#[path = "azure_tests.rs"]
mod tests;
