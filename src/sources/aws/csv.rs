//! The CSV form: five lines of preamble, a row of column titles, and a row for each rate with all its attributes.

use std::io::Read;

use chrono::{DateTime, NaiveDate, Utc};
use csv::StringRecord;

use crate::domain::money::parse_price;
use crate::domain::price::{Validity, aws_key};
use crate::sources::csv_list::{Rows, column_error};
use crate::sources::text::{check_currency, check_text, malformed, shown, tier};
use crate::sources::{ListError, ListSink, Overrides, Place, Price};

use super::list::{
    MAX_PRODUCT_ATTRIBUTES, MAX_TERM_ATTRIBUTES, Offer, Regions, Term, add_applies_to, check_rate_code,
    header, region, set_lease,
};

/// Rows without a region that are held until the first row with one tells the scope.
const MAX_HELD_ROWS: usize = 10_000;

const PREAMBLE: [&str; 5] = ["FormatVersion", "Disclaimer", "Publication Date", "Version", "OfferCode"];

/// The columns that are not attributes of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Sku,
    OfferTermCode,
    RateCode,
    TermType,
    EffectiveDate,
    StartingRange,
    EndingRange,
    Unit,
    PricePerUnit,
    Currency,
    RelatedTo,
    LeaseContractLength,
    PurchaseOption,
    OfferingClass,
}

/// Each with its title, and whether a list without it can be read.
const COLUMNS: [(Column, &str, bool); 14] = [
    (Column::Sku, "SKU", true),
    (Column::OfferTermCode, "OfferTermCode", true),
    (Column::RateCode, "RateCode", true),
    (Column::TermType, "TermType", true),
    (Column::EffectiveDate, "EffectiveDate", true),
    (Column::StartingRange, "StartingRange", true),
    (Column::EndingRange, "EndingRange", true),
    (Column::Unit, "Unit", true),
    (Column::PricePerUnit, "PricePerUnit", true),
    (Column::Currency, "Currency", true),
    (Column::RelatedTo, "RelatedTo", false),
    (Column::LeaseContractLength, "LeaseContractLength", false),
    (Column::PurchaseOption, "PurchaseOption", false),
    (Column::OfferingClass, "OfferingClass", false),
];

/// Titles whose name in JSON does not follow the rule of [`attribute_name`].
const EXCEPTIONS: [(&str, &str); 3] = [
    ("Availability Zone", "availabilityzone"),
    ("Classic Networking Support", "classicnetworkingsupport"),
    ("VPC Networking Support", "vpcnetworkingsupport"),
];

/// The name that JSON gives to the attribute with this column title. A single word is in lower case (`CapacityStatus`,
/// `usageType`: `capacitystatus`, `usagetype`); several are joined in camel case, without punctuation (`Pre Installed
/// S/W`, `Max IOPS/volume`: `preInstalledSw`, `maxIopsvolume`).
fn attribute_name(title: &str) -> String {
    if let Some((_, name)) = EXCEPTIONS.iter().find(|(exception, _)| *exception == title) {
        return (*name).to_owned();
    }
    let mut name = String::new();
    for word in title.split_whitespace() {
        let mut characters = word.chars().filter(char::is_ascii_alphanumeric);
        if let Some(first) = characters.next() {
            name.push(if name.is_empty() { first.to_ascii_lowercase() } else { first.to_ascii_uppercase() });
            name.extend(characters.map(|character| character.to_ascii_lowercase()));
        }
    }
    name
}

/// Where the columns stand.
struct Titles {
    fixed: [Option<usize>; COLUMNS.len()],
    /// Index, title and name in JSON of each attribute.
    attributes: Vec<(usize, String, String)>,
    region_code: Option<usize>,
    location: Option<usize>,
    count: usize,
}

impl Titles {
    fn parse(row: &StringRecord) -> Result<Self, String> {
        let mut titles = Self {
            fixed: [None; COLUMNS.len()],
            attributes: Vec::new(),
            region_code: None,
            location: None,
            count: row.len(),
        };
        for (index, title) in row.iter().enumerate() {
            if title == "PriceDescription" {
                continue;
            }
            if let Some((column, ..)) = COLUMNS.iter().find(|(_, fixed, _)| *fixed == title) {
                if titles.fixed[*column as usize].replace(index).is_some() {
                    return Err(format!("column {} stands twice", shown(title)));
                }
                continue;
            }
            let name = attribute_name(title);
            if name.is_empty() {
                return Err(format!("column {} has no title", index + 1));
            }
            check_text(&name)?;
            if titles.attributes.iter().any(|(_, _, earlier)| *earlier == name) {
                return Err(format!("column {} stands twice", shown(title)));
            }
            match &name[..] {
                "regionCode" => titles.region_code = Some(index),
                "location" => titles.location = Some(index),
                _ => {}
            }
            titles.attributes.push((index, title.to_owned(), name));
        }
        match COLUMNS.iter().find(|(column, _, needed)| *needed && titles.fixed[*column as usize].is_none()) {
            Some((_, missing, _)) => Err(format!("the row of column titles has no {missing:?}")),
            None => Ok(titles),
        }
    }

    fn get<'r>(&self, row: &'r StringRecord, column: Column) -> &'r str {
        self.fixed[column as usize].and_then(|index| row.get(index)).unwrap_or_default()
    }

    fn region<'r>(&self, row: &'r StringRecord) -> &'r str {
        let at = |index: Option<usize>| index.and_then(|index| row.get(index)).unwrap_or_default();
        region(at(self.region_code), at(self.location))
    }
}

pub(super) fn read(
    reader: impl Read,
    file: &str,
    overrides: &Overrides,
    sink: &mut dyn ListSink,
) -> Result<(), ListError> {
    let progress = crate::sources::read::Progress::new();
    let mut rows = Rows::new(reader, file, 1, &progress);
    let offer = read_preamble(&mut rows, file)?;
    let mut row = StringRecord::new();
    if !rows.read(&mut row)? {
        return Err(malformed(file, rows.line(), "", "the file ends before the row of column titles"));
    }
    let titles = Titles::parse(&row).map_err(|message| malformed(file, rows.line(), "", message))?;
    let (service, published) = offer.check().map_err(|message| malformed(file, 1, "", message))?;
    let mut list = List {
        file,
        overrides,
        service,
        published,
        titles,
        regions: Regions::default(),
        header_sent: false,
        sink,
        term: Term::default(),
        applies_to: String::new(),
    };
    let mut held: Vec<(u64, StringRecord)> = Vec::new();
    while rows.read(&mut row)? {
        let line = rows.line();
        list.check_shape(&row, line)?;
        list.add_region(&row, line)?;
        if list.header_sent || list.regions.is_known() || overrides.scope.is_some() {
            list.send_header()?;
            for (line, row) in held.drain(..) {
                list.send(&row, line)?;
            }
            list.send(&row, line)?;
        } else if held.len() < MAX_HELD_ROWS {
            held.push((line, row.clone()));
        } else {
            let message = format!("none of the first {MAX_HELD_ROWS} rows names a region; give --scope");
            return Err(malformed(file, line, "", message));
        }
    }
    list.send_header()?;
    held.iter().try_for_each(|(line, row)| list.send(row, *line))
}

fn read_preamble<R: Read>(rows: &mut Rows<'_, R>, file: &str) -> Result<Offer, ListError> {
    let mut offer = Offer::default();
    let mut row = StringRecord::new();
    for name in PREAMBLE {
        let found = rows.read(&mut row)?;
        let line = rows.line();
        let failed = |message: String| malformed(file, line, "", message);
        if !found {
            return Err(failed(format!("the file ends where the line {name:?} belongs")));
        }
        if &row[0] != name {
            return Err(failed(format!(
                "{} stands where the line {name:?} belongs; AWS's file begins with {}; take it as it was downloaded",
                shown(&row[0]),
                PREAMBLE.join(", ")
            )));
        }
        if row.len() != 2 {
            return Err(failed(format!("{name:?} has {} fields in place of a name and a value", row.len())));
        }
        let value = row[1].to_owned();
        match name {
            "FormatVersion" => offer.format_version = Some(value),
            "Publication Date" => offer.publication_date = Some(value),
            "OfferCode" => offer.code = Some(value),
            "Version" if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) => {
                return Err(failed(format!("Version {} is not digits only", shown(&value))));
            }
            _ => {}
        }
    }
    Ok(offer)
}

struct List<'a> {
    file: &'a str,
    overrides: &'a Overrides,
    service: &'a str,
    published: DateTime<Utc>,
    titles: Titles,
    regions: Regions,
    header_sent: bool,
    sink: &'a mut dyn ListSink,
    term: Term,
    applies_to: String,
}

impl List<'_> {
    fn check_shape(&self, row: &StringRecord, line: u64) -> Result<(), ListError> {
        if row.len() == self.titles.count {
            return Ok(());
        }
        let message =
            format!("the row has {} fields, the row of column titles {}", row.len(), self.titles.count);
        Err(malformed(self.file, line, row.get(0).unwrap_or_default(), message))
    }

    fn add_region(&mut self, row: &StringRecord, line: u64) -> Result<(), ListError> {
        let region = self.titles.region(row);
        self.regions.add(region);
        if self.overrides.scope.is_none() && self.regions.scope() == "all" {
            let message = format!(
                "{} is another region than that of the rows above; give --scope {}/all to read a list of several",
                shown(region),
                self.service
            );
            return Err(malformed(self.file, line, self.titles.get(row, Column::RateCode), message));
        }
        Ok(())
    }

    fn send_header(&mut self) -> Result<(), ListError> {
        if !self.header_sent {
            self.sink.header(&header(self.service, self.published, &self.regions, self.overrides))?;
            self.header_sent = true;
        }
        Ok(())
    }

    fn send(&mut self, row: &StringRecord, line: u64) -> Result<(), ListError> {
        let titles = &self.titles;
        let get = |column| titles.get(row, column);
        let (sku, rate_code) = (get(Column::Sku), get(Column::RateCode));
        let failed = |title: &str, message: String| {
            malformed(self.file, line, rate_code, column_error(title, &message))
        };
        for (title, text) in [("SKU", sku), ("Unit", get(Column::Unit))] {
            if text.is_empty() {
                return Err(failed(title, "is empty".to_owned()));
            }
            check_text(text).map_err(|message| failed(title, message))?;
        }
        check_rate_code(rate_code, sku, get(Column::OfferTermCode))
            .map_err(|message| failed("RateCode", message))?;
        let date = get(Column::EffectiveDate);
        if date.len() != 10 || NaiveDate::parse_from_str(date, "%Y-%m-%d").is_err() {
            let message = format!("{} is not a date such as 2025-03-01; was the file edited?", shown(date));
            return Err(failed("EffectiveDate", message));
        }
        self.term.reserved = match get(Column::TermType) {
            "OnDemand" => false,
            "Reserved" => true,
            other => {
                let message = format!("{}; OnDemand and Reserved are read", shown(other));
                return Err(failed("TermType", message));
            }
        };
        let currency = get(Column::Currency);
        check_currency(currency).map_err(|message| failed("Currency", message))?;
        let amount = parse_price(get(Column::PricePerUnit))
            .map_err(|error| failed("PricePerUnit", error.to_string()))?;
        let (tier_from, tier_to) = tier(get(Column::StartingRange), get(Column::EndingRange))
            .map_err(|message| failed("EndingRange", message))?;

        get(Column::OfferTermCode).clone_into(&mut self.term.offer_term_code);
        set_lease(&mut self.term.lease, get(Column::LeaseContractLength));
        get(Column::PurchaseOption).clone_into(&mut self.term.purchase_option);
        get(Column::OfferingClass).clone_into(&mut self.term.offering_class);
        self.applies_to.clear();
        for related in get(Column::RelatedTo).split([' ', ',', ';']) {
            add_applies_to(&mut self.applies_to, related);
        }
        let mut attributes = Vec::with_capacity(titles.attributes.len() + MAX_TERM_ATTRIBUTES);
        for (index, title, name) in &titles.attributes {
            let value = &row[*index];
            if !value.is_empty() {
                check_text(value).map_err(|message| failed(title, message))?;
                attributes.push((name.as_str(), value));
            }
        }
        if attributes.len() > MAX_PRODUCT_ATTRIBUTES {
            let message = format!("the row has more than {MAX_PRODUCT_ATTRIBUTES} attributes");
            return Err(malformed(self.file, line, rate_code, message));
        }
        self.term.attributes(&self.applies_to, &mut attributes);
        for (title, text) in [
            ("LeaseContractLength", &self.term.lease),
            ("PurchaseOption", &self.term.purchase_option),
            ("OfferingClass", &self.term.offering_class),
        ] {
            check_text(text).map_err(|message| failed(title, message))?;
        }
        self.sink.price(&Price {
            key: &aws_key(self.service, rate_code, currency),
            provider: "aws",
            service: self.service,
            region: Some(titles.region(row)),
            sku_id: sku,
            sku_price_id: rate_code,
            unit: get(Column::Unit),
            currency,
            tier_from,
            tier_to,
            amount,
            validity: Validity::default(),
            attributes: &attributes,
            place: &Place { file: self.file, line },
        })?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "csv_tests.rs"]
mod tests;
