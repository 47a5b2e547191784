//! Our own CSV, for prices of any provider; `docs/CSV.md` describes it. Also the rows that AWS's CSV is read by.

use std::io::{BufRead, BufReader, Read};

use chrono::{DateTime, Utc};
use csv::StringRecord;

use crate::domain::formula::unguarded;
use crate::domain::money::parse_price;
use crate::domain::price::{MAX_ATTRIBUTES, Validity};
use crate::domain::price_list::MAX_ATTRIBUTE_COLUMNS;

use super::named::Named;
use super::read::{Progress, Tracked, peek};
use super::text::{check_start, check_text, malformed, read_error, shown, tier, time};
use super::{ListError, ListHeader, ListSink, Overrides, Place, Price};

/// The scope of a list that names none.
const DEFAULT_SCOPE: &str = "csv";
/// The longest line of comment, in bytes.
const MAX_COMMENT_BYTES: u64 = 4_096;

/// Rows of a CSV file with their lines, limited in size.
pub(super) struct Rows<'p, R> {
    csv: csv::Reader<Tracked<'p, R>>,
    file: &'p str,
    /// The line at which the reader began.
    first_line: u64,
    /// The line of the last row.
    line: u64,
    progress: &'p Progress,
}

impl<'p, R: Read> Rows<'p, R> {
    pub(super) fn new(reader: R, file: &'p str, first_line: u64, progress: &'p Progress) -> Self {
        // The shape of rows is checked by the parsers: an AWS preamble is shaped unlike its rows.
        let csv = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(Tracked::new(reader, progress));
        Self { csv, file, first_line, line: first_line, progress }
    }

    /// Reads the next row; `false` at the end.
    pub(super) fn read(&mut self, row: &mut StringRecord) -> Result<bool, ListError> {
        self.progress.start_item();
        let found = self.csv.read_record(row);
        if let Some(position) = row.position() {
            self.line = self.first_line - 1 + position.line();
        }
        found.map_err(|error| {
            let line = error.position().map_or(self.line, |position| self.first_line - 1 + position.line());
            match error.into_kind() {
                csv::ErrorKind::Io(error) => read_error(self.file, line, "", error),
                csv::ErrorKind::Utf8 { err, .. } => {
                    malformed(self.file, line, "", format!("field {} is not UTF-8", err.field() + 1))
                }
                other => malformed(self.file, line, "", format!("not CSV: {other:?}")),
            }
        })
    }

    /// The line of the row that was read last, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }
}

/// Names the column in a message.
pub(super) fn column_error(title: &str, message: &str) -> String {
    format!("column {title}: {message}")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Provider,
    Service,
    Region,
    SkuId,
    SkuPriceId,
    Unit,
    Currency,
    Amount,
    TierFrom,
    TierTo,
    SourceUrl,
}

/// Each with its title, and whether a list without it can be read.
const COLUMNS: [(Column, &str, bool); 11] = [
    (Column::Provider, "provider", true),
    (Column::Service, "service", true),
    (Column::Region, "region", true),
    (Column::SkuId, "sku_id", true),
    (Column::SkuPriceId, "sku_price_id", true),
    (Column::Unit, "unit", true),
    (Column::Currency, "currency", true),
    (Column::Amount, "amount", true),
    (Column::TierFrom, "tier_from", false),
    (Column::TierTo, "tier_to", false),
    (Column::SourceUrl, "source_url", false),
];

fn title(column: Column) -> &'static str {
    COLUMNS[column as usize].1
}

struct Titles {
    fixed: [Option<usize>; COLUMNS.len()],
    attributes: Vec<(usize, String)>,
    count: usize,
}

impl Titles {
    fn parse(row: &StringRecord) -> Result<Self, String> {
        let mut titles = Self { fixed: [None; COLUMNS.len()], attributes: Vec::new(), count: row.len() };
        for (index, title) in row.iter().enumerate() {
            let repeated = if let Some(name) = title.strip_prefix("attr:") {
                check_text(name)?;
                if name.is_empty() || name == "sourceUrl" {
                    return Err(format!("column {} does not name an attribute", shown(title)));
                }
                let repeated = titles.attributes.iter().any(|(_, earlier)| earlier == name);
                titles.attributes.push((index, name.to_owned()));
                repeated
            } else if let Some((column, ..)) = COLUMNS.iter().find(|(_, known, _)| *known == title) {
                titles.fixed[*column as usize].replace(index).is_some()
            } else {
                let known: Vec<_> = COLUMNS.iter().map(|(_, known, _)| *known).collect();
                let known = known.join(", ");
                return Err(format!("column {} is not known; there are {known} and attr:NAME", shown(title)));
            };
            if repeated {
                return Err(format!("column {} stands twice", shown(title)));
            }
        }
        if titles.attributes.len() > MAX_ATTRIBUTE_COLUMNS {
            return Err(format!("there are more than {MAX_ATTRIBUTE_COLUMNS} columns of attributes"));
        }
        match COLUMNS.iter().find(|(column, _, needed)| *needed && titles.fixed[*column as usize].is_none()) {
            Some((_, missing, _)) => Err(format!("the row of column titles has no {missing:?}")),
            None => Ok(titles),
        }
    }

    fn get<'r>(&self, row: &'r StringRecord, column: Column) -> &'r str {
        self.fixed[column as usize].and_then(|index| row.get(index)).unwrap_or_default()
    }
}

/// Reads a list in our own CSV. `file` is its name or URL, for messages.
///
/// # Errors
/// As [`super::read_list`].
pub fn read(
    reader: impl Read,
    file: &str,
    overrides: &Overrides,
    sink: &mut dyn ListSink,
) -> Result<(), ListError> {
    let (start, reader) = peek(reader, 512).map_err(|error| read_error(file, 0, "", error))?;
    check_start(file, &start)?;
    let mut reader = BufReader::new(reader);
    let comments = Comments::read(&mut reader, file)?;
    let progress = Progress::new();
    let mut rows = Rows::new(reader, file, comments.lines + 1, &progress);
    let mut row = StringRecord::new();
    if !rows.read(&mut row)? {
        return Err(malformed(file, rows.line(), "", "the file ends before the row of column titles"));
    }
    let titles = Titles::parse(&row).map_err(|message| malformed(file, rows.line(), "", message))?;
    let Some(observed_at) = overrides.observed_at.or(comments.observed_at) else {
        let message = "the list does not say when these prices were seen; begin it with a line such as \
                       \"# observed_at: 2025-03-27T20:45:25Z\", or give --observed-at";
        return Err(malformed(file, 1, "", message));
    };
    let scope = overrides.scope.clone().or(comments.scope).unwrap_or_else(|| DEFAULT_SCOPE.to_owned());
    sink.header(&ListHeader { scope, observed_at })?;
    while rows.read(&mut row)? {
        let line = rows.line();
        let item = titles.get(&row, Column::SkuPriceId);
        if row.len() != titles.count {
            let message =
                format!("the row has {} fields, the row of column titles {}", row.len(), titles.count);
            return Err(malformed(file, line, item, message));
        }
        if comments.is_guarded {
            row = row.iter().map(unguarded).collect();
        }
        send(&titles, &row, &Place { file, line }, sink)?;
    }
    Ok(())
}

/// The lines before the titles that begin with `#`.
#[derive(Default)]
struct Comments {
    lines: u64,
    observed_at: Option<DateTime<Utc>>,
    scope: Option<String>,
    /// Texts that could be formulas have an apostrophe in front.
    is_guarded: bool,
}

impl Comments {
    fn read(reader: &mut impl BufRead, file: &str) -> Result<Self, ListError> {
        let mut comments = Self::default();
        loop {
            let line = comments.lines + 1;
            let failed = |message: String| malformed(file, line, "", message);
            let io = |error| read_error(file, line, "", error);
            if reader.fill_buf().map_err(io)?.first() != Some(&b'#') {
                return Ok(comments);
            }
            let mut bytes = Vec::new();
            reader.by_ref().take(MAX_COMMENT_BYTES).read_until(b'\n', &mut bytes).map_err(io)?;
            if bytes.len() as u64 == MAX_COMMENT_BYTES {
                return Err(failed(format!("a comment of more than {MAX_COMMENT_BYTES} bytes")));
            }
            let text = String::from_utf8(bytes).map_err(|_| failed("the comment is not UTF-8".to_owned()))?;
            let statement = text.trim_start_matches('#').trim();
            let repeated = if let Some(value) = statement.strip_prefix("observed_at:") {
                comments.observed_at.replace(time(value.trim()).map_err(failed)?).is_some()
            } else if let Some(value) = statement.strip_prefix("scope:") {
                let value = value.trim();
                check_text(value).map_err(failed)?;
                if value.is_empty() {
                    return Err(failed("the scope is empty".to_owned()));
                }
                comments.scope.replace(value.to_owned()).is_some()
            } else if let Some(value) = statement.strip_prefix("guarded:") {
                if value.trim() != "formulas" {
                    return Err(failed(format!("{} is not guarded; formulas may be", shown(value.trim()))));
                }
                std::mem::replace(&mut comments.is_guarded, true)
            } else {
                false
            };
            if repeated {
                return Err(failed("this is said twice".to_owned()));
            }
            comments.lines += 1;
        }
    }
}

fn send(
    titles: &Titles,
    row: &StringRecord,
    place: &Place<'_>,
    sink: &mut dyn ListSink,
) -> Result<(), ListError> {
    let get = |column| titles.get(row, column);
    let sku_price_id = get(Column::SkuPriceId);
    let failed = |title: &str, message: String| {
        malformed(place.file, place.line, sku_price_id, column_error(title, &message))
    };
    for (column, name, _) in COLUMNS {
        check_text(get(column)).map_err(|message| failed(name, message))?;
    }
    let region = match get(Column::Region) {
        "" => "global",
        region => region,
    };
    let named = Named {
        provider: get(Column::Provider),
        service: get(Column::Service),
        region,
        sku_id: get(Column::SkuId),
        sku_price_id,
        unit: get(Column::Unit),
        currency: get(Column::Currency),
    };
    named.check().map_err(|(title, message)| failed(title, message))?;
    let amount =
        parse_price(get(Column::Amount)).map_err(|error| failed(title(Column::Amount), error.to_string()))?;
    let (from, to) = (get(Column::TierFrom), get(Column::TierTo));
    let (tier_from, _) = tier(from, "").map_err(|message| failed(title(Column::TierFrom), message))?;
    let (_, tier_to) = tier(from, to).map_err(|message| failed(title(Column::TierTo), message))?;
    let mut attributes: Vec<(&str, &str)> = Vec::new();
    for (index, name) in &titles.attributes {
        check_text(&row[*index]).map_err(|message| failed(&format!("attr:{name}"), message))?;
        if !row[*index].is_empty() {
            attributes.push((name, &row[*index]));
        }
    }
    let value_of = |wanted: &str| {
        let found = titles.attributes.iter().find(|(_, name)| name == wanted);
        found.map_or("", |(index, _)| &row[*index])
    };
    let (key, derived) =
        named.identify(tier_from, value_of).map_err(|(title, message)| failed(&title, message))?;
    for (name, value) in derived.into_iter().flatten() {
        if value_of(name).is_empty() {
            attributes.push((name, value));
        }
    }
    if !get(Column::SourceUrl).is_empty() {
        attributes.push(("sourceUrl", get(Column::SourceUrl)));
    }
    if attributes.len() > MAX_ATTRIBUTES {
        let message = format!("the price has more than {MAX_ATTRIBUTES} attributes");
        return Err(malformed(place.file, place.line, sku_price_id, message));
    }
    sink.price(&Price {
        key: &key,
        provider: named.provider,
        service: named.service,
        region: Some(named.region),
        sku_id: named.sku_id,
        sku_price_id,
        unit: named.unit,
        currency: named.currency,
        tier_from,
        tier_to,
        amount,
        validity: Validity::default(),
        attributes: &attributes,
        place,
    })?;
    Ok(())
}

#[cfg(test)]
#[path = "csv_list_tests.rs"]
mod tests;
