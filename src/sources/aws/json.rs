//! The JSON form, streamed: one product or one term is held at a time, in buffers that are used again.
//!
//! AWS writes head, products and terms in this order, and this order alone is relied upon: the scope is known once
//! all products are read, and must be before the first price.

use std::io::Read;

use rust_decimal::Decimal;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess};

use crate::domain::money::parse_price;
use crate::domain::price::{Validity, aws_key};
use crate::sources::read::{Progress, Tracked};
use crate::sources::text::{check_currency, json_error, malformed, shown, tier};
use crate::sources::{ListError, ListSink, Overrides, Place, Price, Product};

use super::list::{
    MAX_PRODUCT_ATTRIBUTES, Offer, Regions, Term, check_rate_code, header, region, savings_plan, set_lease,
};
use super::walk::{AppliesTo, Entries, Object, Text, once};

/// The most rates of one term, and currencies of one rate.
const MAX_RATES: usize = 10_000;

pub(super) fn read(
    reader: impl Read,
    file: &str,
    overrides: &Overrides,
    sink: &mut dyn ListSink,
) -> Result<(), ListError> {
    let progress = Progress::new();
    let mut json = serde_json::Deserializer::from_reader(Tracked::new(reader, &progress));
    let mut list = List::new(file, &progress, overrides, sink);
    let result = Object(&mut Root(&mut list)).deserialize(&mut json).and_then(|()| json.end());
    match (list.failure.take(), result) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(json_error(file, 1, &list.item, error)),
        (None, Ok(())) => list.end(),
    }
}

/// The list so far, and buffers for the product or term at hand.
struct List<'a> {
    file: &'a str,
    progress: &'a Progress,
    overrides: &'a Overrides,
    sink: &'a mut dyn ListSink,
    /// serde carries no errors of ours: what really went wrong waits here.
    failure: Option<ListError>,

    offer: Offer,
    regions: Regions,
    products_read: bool,
    terms_read: bool,
    header_sent: bool,

    /// The SKU or rate code at hand, for messages.
    item: String,
    sku: String,
    family: String,
    attributes: Vec<(String, String)>,
    attribute_count: usize,
    term: Term,
    rates: Vec<Rate>,
    rate_count: usize,
    /// Keys of the objects that are open, innermost last; returned for use again.
    keys: Vec<String>,
}

/// One entry of `priceDimensions`.
#[derive(Default)]
#[expect(clippy::struct_field_names, reason = "rate code is AWS's own term")]
struct Rate {
    line: u64,
    rate_code: String,
    unit: String,
    begin: String,
    end: String,
    applies_to: String,
    prices: Vec<(String, Decimal)>,
}

impl Rate {
    fn clear(&mut self) {
        self.prices.clear();
        for text in
            [&mut self.rate_code, &mut self.unit, &mut self.begin, &mut self.end, &mut self.applies_to]
        {
            text.clear();
        }
    }
}

impl<'a> List<'a> {
    fn new(
        file: &'a str,
        progress: &'a Progress,
        overrides: &'a Overrides,
        sink: &'a mut dyn ListSink,
    ) -> Self {
        Self {
            file,
            progress,
            overrides,
            sink,
            failure: None,
            offer: Offer::default(),
            regions: Regions::default(),
            products_read: false,
            terms_read: false,
            header_sent: false,
            item: String::new(),
            sku: String::new(),
            family: String::new(),
            attributes: Vec::new(),
            attribute_count: 0,
            term: Term::default(),
            rates: Vec::new(),
            rate_count: 0,
            keys: Vec::new(),
        }
    }

    /// Turns an error of ours into one that ends serde's walk.
    fn stop<E: de::Error>(&mut self, failure: impl Into<ListError>) -> E {
        self.failure = Some(failure.into());
        E::custom("stopped")
    }

    fn set_item(&mut self, item: &str) {
        self.item.clear();
        self.item.push_str(item);
    }

    fn end(mut self) -> Result<(), ListError> {
        let missing = match (self.products_read, self.terms_read) {
            (false, _) => "products",
            (true, false) => "terms",
            (true, true) => return self.send_header(),
        };
        let message =
            self.offer.check().err().unwrap_or_else(|| format!("the document has no \"{missing}\""));
        Err(malformed(self.file, self.progress.line(), "", message))
    }

    fn send_header(&mut self) -> Result<(), ListError> {
        if !self.header_sent {
            let line = self.progress.line();
            let (code, published) =
                self.offer.check().map_err(|message| malformed(self.file, line, "", message))?;
            self.sink.header(&header(code, published, &self.regions, self.overrides))?;
            self.header_sent = true;
        }
        Ok(())
    }

    /// Hands on the product at hand. Empty attributes are left out: the CSV form does not have them.
    fn send_product(&mut self) -> Result<(), ListError> {
        if !self.family.is_empty() {
            let family = std::mem::take(&mut self.family);
            let (name, value) = self.next_attribute();
            name.push_str("productFamily");
            value.push_str(&family);
            self.attribute_count += 1;
            self.family = family;
        }
        let attributes = &self.attributes[..self.attribute_count];
        let value_of = |wanted| {
            attributes.iter().find(|(name, _)| name == wanted).map_or("", |(_, value)| value.as_str())
        };
        for (at, (name, _)) in attributes.iter().enumerate() {
            if attributes[..at].iter().any(|(earlier, _)| earlier == name) {
                let message = format!("attribute {} stands twice", shown(name));
                return Err(malformed(self.file, self.progress.line(), &self.item, message));
            }
        }
        let region = region(value_of("regionCode"), value_of("location"));
        self.regions.add(region);
        self.sink.product(&Product { sku_id: &self.item, region, attributes })?;
        Ok(())
    }

    fn next_attribute(&mut self) -> (&mut String, &mut String) {
        if self.attribute_count == self.attributes.len() {
            self.attributes.push((String::new(), String::new()));
        }
        let (name, value) = &mut self.attributes[self.attribute_count];
        name.clear();
        value.clear();
        (name, value)
    }

    fn rate(&mut self) -> &mut Rate {
        &mut self.rates[self.rate_count - 1]
    }

    /// Hands on the prices of the term at hand, once all of its parts are read: AWS may write them in any order.
    fn send_term(&mut self) -> Result<(), ListError> {
        self.send_header()?;
        let service = self.offer.code.as_deref().unwrap_or_default();
        let mut attributes = Vec::with_capacity(super::list::MAX_TERM_ATTRIBUTES);
        for rate in &self.rates[..self.rate_count] {
            let failed = |message: String| malformed(self.file, rate.line, &rate.rate_code, message);
            check_rate_code(&rate.rate_code, &self.sku, &self.term.offer_term_code).map_err(failed)?;
            let (tier_from, tier_to) = tier(&rate.begin, &rate.end).map_err(failed)?;
            if rate.unit.is_empty() {
                return Err(failed("the rate has no unit".to_owned()));
            }
            if rate.prices.is_empty() {
                return Err(failed("the rate has no price in pricePerUnit".to_owned()));
            }
            attributes.clear();
            self.term.attributes(&rate.applies_to, &mut attributes);
            for (currency, amount) in &rate.prices {
                self.sink.price(&Price {
                    key: &aws_key(service, &rate.rate_code, currency),
                    provider: "aws",
                    service,
                    region: None,
                    sku_id: &self.sku,
                    sku_price_id: &rate.rate_code,
                    unit: &rate.unit,
                    currency,
                    tier_from,
                    tier_to,
                    amount: *amount,
                    validity: Validity::default(),
                    attributes: &attributes,
                    place: &Place { file: self.file, line: rate.line },
                })?;
            }
        }
        Ok(())
    }
}

struct Root<'l, 'a>(&'l mut List<'a>);

impl Entries for Root<'_, '_> {
    const NAME: &'static str = "an offer file";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let list = &mut *self.0;
        list.progress.start_item();
        match key {
            "formatVersion" => once(&mut list.offer.format_version, key, map),
            "offerCode" => once(&mut list.offer.code, key, map),
            "publicationDate" => once(&mut list.offer.publication_date, key, map),
            "products" => {
                list.offer.check().map_err(de::Error::custom)?;
                if std::mem::replace(&mut list.products_read, true) {
                    return Err(de::Error::custom("\"products\" stands twice"));
                }
                map.next_value_seed(Object(&mut Products(list)))
            }
            "terms" => {
                list.offer.check().map_err(de::Error::custom)?;
                if !list.products_read {
                    return Err(de::Error::custom(
                        "\"terms\" stands before \"products\"; AWS writes products first",
                    ));
                }
                if std::mem::replace(&mut list.terms_read, true) {
                    return Err(de::Error::custom("\"terms\" stands twice"));
                }
                map.next_value_seed(Object(&mut Terms(list)))
            }
            "offers" | "regions" => Err(de::Error::custom(format!(
                "this is AWS's index of {key}, not a price list; take the file that its URLs point to"
            ))),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

struct Products<'l, 'a>(&'l mut List<'a>);

impl Entries for Products<'_, '_> {
    const NAME: &'static str = "products by SKU";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, sku: &str, map: &mut A) -> Result<(), A::Error> {
        let list = &mut *self.0;
        list.progress.start_item();
        list.set_item(sku);
        list.sku.clear();
        list.family.clear();
        list.attribute_count = 0;
        let mut body = ProductBody { list, attributes: false };
        map.next_value_seed(Object(&mut body))?;
        if sku.is_empty() || list.sku != sku {
            return Err(de::Error::custom(format!(
                "the product's \"sku\" is {}, not its key",
                shown(&list.sku)
            )));
        }
        if let Err(failure) = list.send_product() {
            return Err(list.stop(failure));
        }
        list.item.clear();
        Ok(())
    }
}

struct ProductBody<'l, 'a> {
    list: &'l mut List<'a>,
    attributes: bool,
}

impl Entries for ProductBody<'_, '_> {
    const NAME: &'static str = "a product";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.list.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "sku" => map.next_value_seed(Text(&mut self.list.sku)),
            "productFamily" => map.next_value_seed(Text(&mut self.list.family)),
            "attributes" => {
                self.attributes = true;
                map.next_value_seed(Object(&mut ProductAttributes(self.list)))
            }
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
    fn end<E: de::Error>(&mut self) -> Result<(), E> {
        if self.attributes { Ok(()) } else { Err(E::custom("the product has no \"attributes\"")) }
    }
}

struct ProductAttributes<'l, 'a>(&'l mut List<'a>);

impl Entries for ProductAttributes<'_, '_> {
    const NAME: &'static str = "attributes";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        // One is left for productFamily.
        if self.0.attribute_count + 1 >= MAX_PRODUCT_ATTRIBUTES {
            let message = format!("a product has more than {MAX_PRODUCT_ATTRIBUTES} attributes");
            return Err(de::Error::custom(message));
        }
        let (name, value) = self.0.next_attribute();
        map.next_value_seed(Text(value))?;
        name.push_str(key);
        if !value.is_empty() {
            self.0.attribute_count += 1;
        }
        Ok(())
    }
}

struct Terms<'l, 'a>(&'l mut List<'a>);

impl Entries for Terms<'_, '_> {
    const NAME: &'static str = "terms by type";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        self.0.term.reserved = match key {
            "OnDemand" => false,
            "Reserved" => true,
            "savingsPlan" => return Err(de::Error::custom(savings_plan())),
            other => {
                let message = format!("terms of type {}; OnDemand and Reserved are read", shown(other));
                return Err(de::Error::custom(message));
            }
        };
        map.next_value_seed(Object(&mut Skus(self.0)))
    }
}

struct Skus<'l, 'a>(&'l mut List<'a>);

impl Entries for Skus<'_, '_> {
    const NAME: &'static str = "terms by SKU";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, sku: &str, map: &mut A) -> Result<(), A::Error> {
        map.next_value_seed(Object(&mut TermsOfSku { list: self.0, sku }))
    }
}

struct TermsOfSku<'l, 'a> {
    list: &'l mut List<'a>,
    sku: &'l str,
}

impl Entries for TermsOfSku<'_, '_> {
    const NAME: &'static str = "the terms of a SKU";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.list.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let list = &mut *self.list;
        list.progress.start_item();
        list.set_item(key);
        list.sku.clear();
        list.term.clear();
        list.rate_count = 0;
        let mut body = TermBody { list, dimensions: false };
        map.next_value_seed(Object(&mut body))?;
        if list.sku != self.sku {
            let message = format!("the term's \"sku\" is {}, not {}", shown(&list.sku), shown(self.sku));
            return Err(de::Error::custom(message));
        }
        if list.term.offer_term_code.is_empty() {
            return Err(de::Error::custom("the term has no \"offerTermCode\""));
        }
        if let Err(failure) = list.send_term() {
            return Err(list.stop(failure));
        }
        list.item.clear();
        Ok(())
    }
}

struct TermBody<'l, 'a> {
    list: &'l mut List<'a>,
    dimensions: bool,
}

impl Entries for TermBody<'_, '_> {
    const NAME: &'static str = "a term";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.list.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "offerTermCode" => map.next_value_seed(Text(&mut self.list.term.offer_term_code)),
            "sku" => map.next_value_seed(Text(&mut self.list.sku)),
            "priceDimensions" => {
                self.dimensions = true;
                map.next_value_seed(Object(&mut Rates(self.list)))
            }
            "termAttributes" => map.next_value_seed(Object(&mut TermAttributes(self.list))),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
    fn end<E: de::Error>(&mut self) -> Result<(), E> {
        if self.dimensions { Ok(()) } else { Err(E::custom("the term has no \"priceDimensions\"")) }
    }
}

struct TermAttributes<'l, 'a>(&'l mut List<'a>);

impl Entries for TermAttributes<'_, '_> {
    const NAME: &'static str = "termAttributes";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let term = &mut self.0.term;
        match key {
            "LeaseContractLength" => {
                let mut lease = String::new();
                map.next_value_seed(Text(&mut lease))?;
                set_lease(&mut term.lease, &lease);
                Ok(())
            }
            "PurchaseOption" => map.next_value_seed(Text(&mut term.purchase_option)),
            "OfferingClass" => map.next_value_seed(Text(&mut term.offering_class)),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

struct Rates<'l, 'a>(&'l mut List<'a>);

impl Entries for Rates<'_, '_> {
    const NAME: &'static str = "priceDimensions by rate code";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, rate_code: &str, map: &mut A) -> Result<(), A::Error> {
        let list = &mut *self.0;
        list.set_item(rate_code);
        if list.rate_count == MAX_RATES {
            return Err(de::Error::custom(format!("a term has more than {MAX_RATES} rates")));
        }
        if list.rate_count == list.rates.len() {
            list.rates.push(Rate::default());
        }
        list.rate_count += 1;
        let line = list.progress.line();
        list.rate().clear();
        list.rate().line = line;
        map.next_value_seed(Object(&mut RateBody(list)))?;
        if list.rate().rate_code != rate_code {
            let message =
                format!("the rate's \"rateCode\" is {}, not its key", shown(&list.rate().rate_code));
            return Err(de::Error::custom(message));
        }
        Ok(())
    }
}

struct RateBody<'l, 'a>(&'l mut List<'a>);

impl Entries for RateBody<'_, '_> {
    const NAME: &'static str = "a rate";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let rate = self.0.rate();
        match key {
            "rateCode" => map.next_value_seed(Text(&mut rate.rate_code)),
            "unit" => map.next_value_seed(Text(&mut rate.unit)),
            "beginRange" => map.next_value_seed(Text(&mut rate.begin)),
            "endRange" => map.next_value_seed(Text(&mut rate.end)),
            "appliesTo" => map.next_value_seed(AppliesTo(&mut rate.applies_to)),
            "pricePerUnit" => map.next_value_seed(Object(&mut PricePerUnit(self.0))),
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }
}

struct PricePerUnit<'l, 'a>(&'l mut List<'a>);

impl Entries for PricePerUnit<'_, '_> {
    const NAME: &'static str = "pricePerUnit by currency";
    fn keys(&mut self) -> &mut Vec<String> {
        &mut self.0.keys
    }
    fn entry<'de, A: MapAccess<'de>>(&mut self, currency: &str, map: &mut A) -> Result<(), A::Error> {
        let mut text = self.0.keys.pop().unwrap_or_default();
        map.next_value_seed(Text(&mut text))?;
        check_currency(currency).map_err(de::Error::custom)?;
        let amount = parse_price(&text).map_err(de::Error::custom)?;
        self.0.keys.push(text);
        let prices = &mut self.0.rate().prices;
        if prices.len() == MAX_RATES {
            return Err(de::Error::custom(format!("a rate has more than {MAX_RATES} prices")));
        }
        prices.push((currency.to_owned(), amount));
        Ok(())
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
