//! A sink for the parsers' tests that keeps what it gets.

use std::collections::BTreeMap;

use chrono::SecondsFormat;

use super::{ListHeader, ListSink, Price, Product, SinkError};

/// One price, with the attributes of its product.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    pub(super) key: String,
    pub(super) provider: String,
    pub(super) service: String,
    pub(super) region: String,
    pub(super) sku_id: String,
    pub(super) sku_price_id: String,
    pub(super) unit: String,
    pub(super) currency: String,
    pub(super) tier_from: String,
    pub(super) tier_to: Option<String>,
    pub(super) amount: String,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) line: u64,
}

#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) header: Option<ListHeader>,
    pub(super) products: BTreeMap<String, (String, BTreeMap<String, String>)>,
    pub(super) rows: Vec<Row>,
    /// The calls in their order.
    pub(super) events: Vec<String>,
    /// Refuses the first price.
    pub(super) refuse: bool,
}

impl Recorder {
    pub(super) fn scope(&self) -> String {
        self.header.as_ref().expect("a header").scope.clone()
    }

    pub(super) fn observed_at(&self) -> String {
        self.header.as_ref().expect("a header").observed_at.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

impl ListSink for Recorder {
    fn header(&mut self, header: &ListHeader) -> Result<(), SinkError> {
        assert_eq!(self.header.replace(header.clone()), None, "one header");
        self.events.push("header".to_owned());
        Ok(())
    }

    fn product(&mut self, product: &Product<'_>) -> Result<(), SinkError> {
        self.events.push(format!("product {}", product.sku_id));
        let attributes = product.attributes.iter().cloned().collect();
        self.products.insert(product.sku_id.to_owned(), (product.region.to_owned(), attributes));
        Ok(())
    }

    fn price(&mut self, price: &Price<'_>) -> Result<(), SinkError> {
        assert!(self.header.is_some(), "the header comes first");
        if self.refuse {
            return Err(SinkError("no more".to_owned()));
        }
        self.events.push("price".to_owned());
        let (region, mut attributes) = match price.region {
            Some(region) => (region.to_owned(), BTreeMap::new()),
            None => self.products.get(price.sku_id).cloned().expect("a product"),
        };
        for (name, value) in price.attributes {
            assert_eq!(attributes.insert((*name).to_owned(), (*value).to_owned()), None, "{name} once");
        }
        let seconds = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        self.rows.push(Row {
            key: price.key.to_owned(),
            provider: price.provider.to_owned(),
            service: price.service.to_owned(),
            region,
            sku_id: price.sku_id.to_owned(),
            sku_price_id: price.sku_price_id.to_owned(),
            unit: price.unit.to_owned(),
            currency: price.currency.to_owned(),
            tier_from: price.tier_from.to_string(),
            tier_to: price.tier_to.map(|to| to.to_string()),
            amount: price.amount.to_string(),
            from: price.validity.from.map(seconds),
            to: price.validity.to.map(seconds),
            attributes,
            line: price.place.line,
        });
        Ok(())
    }
}
