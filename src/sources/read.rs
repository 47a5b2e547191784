//! From files to bytes: gzip, digests and limits; and the readers that the parsers stand on.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest, Sha256};

use super::text::{malformed, read_error};
use super::{Format, ListEnd, ListError, ListInput, ListSink, Overrides, aws, azure, csv_list, plan};

/// The largest list that is read, in bytes after decompression and over all its pages: 64 GiB. An offer
/// file of all regions may have several GB; what lies above the limit is taken for a decompression bomb.
pub const MAX_LIST_BYTES: u64 = 64 << 30;
/// The largest single row, product or term, in bytes: memory is bounded by this, not by the list.
pub(super) const MAX_ITEM_BYTES: u64 = 16 << 20;
const BUFFER_BYTES: usize = 256 << 10;

/// Reads a list from its files and hands what it says to `sink`; blocks, and holds one row, product, term or page at
/// a time. Gzip is recognised by its first bytes, whatever the name.
///
/// # Errors
/// [`ListError::Malformed`] with file, line and item for whatever is not as the format says; [`ListError::Io`] where
/// a file cannot be read; [`ListError::Sink`] as the sink returned it.
pub fn read_list(input: &ListInput, sink: &mut dyn ListSink) -> Result<ListEnd, ListError> {
    let overrides = Overrides { scope: input.scope.clone(), observed_at: input.observed_at };
    let mut stored = Stored::new(MAX_LIST_BYTES);
    let complete = match input.format {
        Format::AzureRetail => read_azure(input, overrides, &mut stored, sink)?,
        Format::AwsBulk | Format::Csv => {
            let [path] = &input.files[..] else {
                let names = input.files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>();
                return Err(malformed(&names.join(", "), 0, "", "a list of this format is exactly one file"));
            };
            let name = path.display().to_string();
            stored.read_file(path, |reader| match input.format {
                Format::Csv => csv_list::read(reader, &name, &overrides, sink),
                _ => aws::read(reader, &name, &overrides, sink),
            })?;
            !input.partial
        }
    };
    Ok(ListEnd { complete, content_sha256: stored.sha256() })
}

fn read_azure(
    input: &ListInput,
    mut overrides: Overrides,
    stored: &mut Stored,
    sink: &mut dyn ListSink,
) -> Result<bool, ListError> {
    let first = input.files.first().ok_or_else(|| malformed("azure-retail", 0, "", "no pages are given"))?;
    overrides.observed_at = overrides.observed_at.or_else(|| plan::time_in_name(first));
    let Some(observed_at) = overrides.observed_at else {
        let message = "the pages do not say when they were fetched; give --observed-at, or put a time such as \
                       20260820T091713Z or 2025-03-18 in the name of the file (of numbered pages: of their folder)";
        return Err(malformed(&first.display().to_string(), 0, "", message));
    };
    let mut pages = azure::Pages::new(overrides.scope, observed_at, sink);
    for path in &input.files {
        let name = path.display().to_string();
        stored.read_file(path, |reader| pages.page(&name, reader).map(drop))?;
    }
    Ok(pages.finish() && !input.partial)
}

/// The bytes of a list as they are stored or sent: file after file, perhaps compressed.
pub(super) struct Stored {
    hasher: Sha256,
    limit: u64,
    /// Bytes that may still come out of decompression.
    remaining: u64,
}

impl Stored {
    /// Nothing so far; `limit` is for all of it, after decompression.
    pub(super) fn new(limit: u64) -> Self {
        Self { hasher: Sha256::new(), limit, remaining: limit }
    }

    /// Digest of everything read.
    pub(super) fn sha256(self) -> [u8; 32] {
        self.hasher.finalize().into()
    }

    fn read_file(
        &mut self,
        path: &std::path::Path,
        parse: impl FnOnce(&mut dyn Read) -> Result<(), ListError>,
    ) -> Result<(), ListError> {
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| read_error(&name, 0, "", error))?;
        self.read(&name, file, parse)
    }

    /// Lets `parse` read what `reader` gives, decompressed, and makes sure that the digest covers all of it. `name` is
    /// a file name or URL, for messages.
    pub(super) fn read(
        &mut self,
        name: &str,
        reader: impl Read,
        parse: impl FnOnce(&mut dyn Read) -> Result<(), ListError>,
    ) -> Result<(), ListError> {
        let failed = |error| read_error(name, 0, "", error);
        let mut hashed =
            BufReader::with_capacity(BUFFER_BYTES, Hashed { inner: reader, hasher: &mut self.hasher });
        let (limit, remaining) = (self.limit, &mut self.remaining);
        if hashed.fill_buf().map_err(failed)?.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Limited { inner: Gunzip(MultiGzDecoder::new(hashed)), limit, remaining };
            parse(&mut plain)?;
            io::copy(&mut plain, &mut io::sink()).map_err(failed)?;
        } else {
            let mut plain = Limited { inner: hashed, limit, remaining };
            parse(&mut plain)?;
            io::copy(&mut plain, &mut io::sink()).map_err(failed)?;
        }
        Ok(())
    }
}

struct Hashed<'h, R> {
    inner: R,
    hasher: &'h mut Sha256,
}

impl<R: Read> Read for Hashed<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.hasher.update(&out[..count]);
        Ok(count)
    }
}

/// Says what is wrong with a gzip file in words that help.
struct Gunzip<R>(MultiGzDecoder<R>);

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.read(out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                invalid_data("the gzip file is cut off; download it again".to_owned())
            }
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                invalid_data(format!("the gzip file is damaged ({error}); download it again"))
            }
            _ => error,
        })
    }
}

struct Limited<'l, R> {
    inner: R,
    limit: u64,
    remaining: &'l mut u64,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        *self.remaining = self
            .remaining
            .checked_sub(count as u64)
            .ok_or_else(|| invalid_data(format!("larger than the {} bytes that are read", self.limit)))?;
        Ok(count)
    }
}

fn invalid_data(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Reads up to `count` bytes ahead; the returned reader gives them again. A byte order mark is left out.
pub(super) fn peek<R: Read>(mut reader: R, count: usize) -> io::Result<(Vec<u8>, impl Read)> {
    const BYTE_ORDER_MARK: &[u8] = &[0xef, 0xbb, 0xbf];
    let mut start = Vec::with_capacity(count);
    reader.by_ref().take(count as u64).read_to_end(&mut start)?;
    if start.starts_with(BYTE_ORDER_MARK) {
        start.drain(..BYTE_ORDER_MARK.len());
    }
    Ok((start.clone(), Cursor::new(start).chain(reader)))
}

#[expect(clippy::naive_bytecount, reason = "no hot path: bytecount would be one more dependency")]
pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Where a [`Tracked`] reader is.
#[derive(Debug)]
pub(super) struct Progress {
    line: Cell<u64>,
    item_bytes: Cell<u64>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { line: Cell::new(1), item_bytes: Cell::new(0) }
    }

    /// The line of the last byte taken, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line.get()
    }

    /// A new row, product or term begins, and with it its allowance of [`MAX_ITEM_BYTES`].
    pub(super) fn start_item(&self) {
        self.item_bytes.set(0);
    }
}

/// A buffered reader that counts lines and limits items. `serde_json` takes single bytes: that path must stay short.
pub(super) struct Tracked<'p, R> {
    inner: R,
    buffer: Box<[u8]>,
    next: usize,
    filled: usize,
    progress: &'p Progress,
}

impl<'p, R: Read> Tracked<'p, R> {
    pub(super) fn new(inner: R, progress: &'p Progress) -> Self {
        Self { inner, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), next: 0, filled: 0, progress }
    }

    #[cold]
    fn refill(&mut self) -> io::Result<()> {
        self.next = 0;
        self.filled = 0;
        self.filled = self.inner.read(&mut self.buffer)?;
        let item_bytes = self.progress.item_bytes.get() + self.filled as u64;
        if item_bytes > MAX_ITEM_BYTES {
            return Err(invalid_data(format!(
                "a row, product or term is larger than {MAX_ITEM_BYTES} bytes; a closing quote may be missing"
            )));
        }
        self.progress.item_bytes.set(item_bytes);
        Ok(())
    }
}

impl<R: Read> Read for Tracked<'_, R> {
    #[inline]
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.next == self.filled {
            self.refill()?;
        }
        let ready = &self.buffer[self.next..self.filled];
        if let ([slot], Some(byte)) = (&mut *out, ready.first()) {
            *slot = *byte;
            self.next += 1;
            if *byte == b'\n' {
                self.progress.line.set(self.progress.line.get() + 1);
            }
            return Ok(1);
        }
        let count = ready.len().min(out.len());
        out[..count].copy_from_slice(&ready[..count]);
        self.progress.line.set(self.progress.line.get() + count_lines(&ready[..count]));
        self.next += count;
        Ok(count)
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
