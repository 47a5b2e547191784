//! Versions as CSV (RFC 4180, UTF-8, CRLF): our own columns, and FOCUS. docs/CSV.md says what they are and why.
//!
//! A cell is either text, which is guarded, or a number or a time that we write ourselves, which is not.

mod focus;
mod own;

pub use focus::focus;
pub use own::{lines, totals};

use rust_decimal::Decimal;

use crate::domain::formula::is_formula;
use crate::domain::precise::{Overflow, round_cents_half_even};

/// How numbers and cells are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Locale {
    /// Commas between cells, points in numbers.
    #[default]
    Plain,
    /// Semicolons between cells, commas in numbers, and a byte order mark: what Excel in French opens by itself.
    French,
}

impl Locale {
    /// The locale of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "en" => Some(Self::Plain),
            "fr" => Some(Self::French),
            _ => None,
        }
    }

    /// The name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "en",
            Self::French => "fr",
        }
    }
}

/// Why a version cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A cost that no decimal holds.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// Text could not be written; it is written to memory.
    #[error("CSV: {0}")]
    Csv(#[from] csv::Error),
}

/// Rows of cells.
struct Sheet {
    writer: csv::Writer<Vec<u8>>,
    locale: Locale,
}

impl Sheet {
    fn new(locale: Locale, titles: &[&str]) -> Result<Self, ExportError> {
        let (mark, delimiter) = match locale {
            Locale::Plain => ("", b','),
            Locale::French => ("\u{feff}", b';'),
        };
        let mut builder = csv::WriterBuilder::new();
        builder.delimiter(delimiter).terminator(csv::Terminator::CRLF);
        let mut writer = builder.from_writer(mark.as_bytes().to_vec());
        writer.write_record(titles)?;
        Ok(Self { writer, locale })
    }

    /// Text from outside.
    fn text(&mut self, text: &str) -> Result<(), ExportError> {
        if is_formula(text) {
            self.writer.write_field(format!("'{text}"))?;
        } else {
            self.writer.write_field(text)?;
        }
        Ok(())
    }

    /// Text of our own, such as a time, or nothing.
    fn plain(&mut self, text: &str) -> Result<(), ExportError> {
        Ok(self.writer.write_field(text)?)
    }

    fn number(&mut self, number: Decimal) -> Result<(), ExportError> {
        let text = number.to_string();
        match self.locale {
            Locale::Plain => self.plain(&text),
            Locale::French => self.plain(&text.replace('.', ",")),
        }
    }

    /// The number without trailing zeros.
    fn exact(&mut self, number: Decimal) -> Result<(), ExportError> {
        self.number(number.normalize())
    }

    fn cents(&mut self, amount: Decimal) -> Result<(), ExportError> {
        self.number(round_cents_half_even(amount))
    }

    fn end_row(&mut self) -> Result<(), ExportError> {
        Ok(self.writer.write_record(None::<&[u8]>)?)
    }

    fn finish(self) -> Result<Vec<u8>, ExportError> {
        self.writer.into_inner().map_err(|error| csv::Error::from(error.into_error()).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_have_to_be() {
        let decimal = |text: &str| crate::domain::money::parse_decimal(text).expect("a decimal");
        let sheet = |locale| {
            let mut sheet = Sheet::new(locale, &["a", "b"]).expect("titles");
            for text in ["=HYPERLINK(\"x\",\"y\")", "two; \"words\"", "l,1\nl2"] {
                sheet.text(text).expect("text");
                sheet.exact(decimal("-1.50")).expect("a number");
                sheet.end_row().expect("a row");
            }
            sheet.plain("").expect("nothing");
            sheet.cents(decimal("62.025")).expect("an amount");
            sheet.end_row().expect("a row");
            String::from_utf8(sheet.finish().expect("bytes")).expect("UTF-8")
        };
        assert_eq!(
            sheet(Locale::Plain),
            "a,b\r\n\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\",-1.5\r\n\"two; \"\"words\"\"\",-1.5\r\n\"l,1\nl2\",-1.5\r\n,62.02\r\n"
        );
        assert_eq!(
            sheet(Locale::French),
            "\u{feff}a;b\r\n\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\";-1,5\r\n\"two; \"\"words\"\"\";-1,5\r\n\
             \"l,1\nl2\";-1,5\r\n;62,02\r\n"
        );
    }
}
