//! Observation segments: what refreshes saw, columnar, compressed, stored once under the hash of the content.

use std::collections::BTreeSet;
use std::io::Read as _;

use rust_decimal::Decimal;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

/// Segments are cut at multiples of this many price ids, so that a price listed or withdrawn changes one segment
/// and the others stay what they were in the run before, byte for byte.
pub const SEGMENT_PRICE_IDS: i64 = 1 << 14;
/// No honest segment is larger, uncompressed.
const MAX_CONTENT_BYTES: u64 = 256 << 20;
/// First byte of an observations segment.
const FORMAT: u8 = 1;
/// Fast, and within a few percent of the strongest on this content.
const COMPRESSION_LEVEL: i32 = 3;

/// One price as a source showed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// The price.
    pub price_id: i64,
    /// What the source asked.
    pub amount: Decimal,
}

/// What is in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Observations, see [`encode`].
    Observations,
    /// Prices not on record that a quarantined run saw: JSON lines of `domain::price::Listing` and amount.
    Listings,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Observations => "observations",
            Self::Listings => "listings",
        }
    }
}

/// Why a stored segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// An event names it, but it is not there.
    #[error("segment {0} is missing")]
    Missing(String),
    /// Its content is not what its hash says, or is not a segment.
    #[error("segment {0} is damaged: {1}")]
    Damaged(String, &'static str),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Content before compression, and its hash.
#[derive(Debug)]
pub struct Segment {
    /// Hash of `content`.
    pub sha256: [u8; 32],
    /// As [`encode`] made it.
    pub content: Vec<u8>,
}

impl Segment {
    /// Hashes content.
    pub fn new(content: Vec<u8>) -> Self {
        Self { sha256: Sha256::digest(&content).into(), content }
    }
}

/// Columnar form of observations sorted by price id, none twice: the format, the count, the first price id and the
/// distances between the following ones, the scales (one byte each), the mantissas. Integers but the scales are LEB128.
pub fn encode(observations: &[Observation]) -> Segment {
    let mut content = Vec::with_capacity(observations.len() * 6 + 16);
    content.push(FORMAT);
    put_varint(&mut content, observations.len() as u128);
    let mut previous = 0;
    for observation in observations {
        put_varint(&mut content, u128::from((observation.price_id - previous).unsigned_abs()));
        previous = observation.price_id;
    }
    content
        .extend(observations.iter().map(|o| u8::try_from(o.amount.scale()).expect("a scale is at most 28")));
    for observation in observations {
        put_varint(&mut content, observation.amount.mantissa().unsigned_abs());
    }
    Segment::new(content)
}

/// Observations of a segment's content.
///
/// # Errors
/// What is wrong with it.
pub fn decode(content: &[u8]) -> Result<Vec<Observation>, &'static str> {
    let mut rest = content;
    let (&format, tail) = rest.split_first().ok_or("it is empty")?;
    if format != FORMAT {
        return Err("its format is unknown");
    }
    rest = tail;
    let count = usize::try_from(take_varint(&mut rest)?).map_err(|_| "its count is too large")?;
    if count > content.len() {
        return Err("its count is too large");
    }
    let mut price_ids = Vec::with_capacity(count);
    let mut price_id = 0_i64;
    for _ in 0..count {
        let distance = i64::try_from(take_varint(&mut rest)?).map_err(|_| "a price id is too large")?;
        price_id = price_id.checked_add(distance).ok_or("a price id is too large")?;
        price_ids.push(price_id);
    }
    if rest.len() < count {
        return Err("it is cut off");
    }
    let (scales, mut rest) = rest.split_at(count);
    let mut observations = Vec::with_capacity(count);
    for (price_id, scale) in price_ids.into_iter().zip(scales) {
        let mantissa = i128::try_from(take_varint(&mut rest)?).map_err(|_| "an amount is too large")?;
        let amount = Decimal::try_from_i128_with_scale(mantissa, u32::from(*scale))
            .map_err(|_| "an amount is too large")?;
        observations.push(Observation { price_id, amount });
    }
    if rest.is_empty() { Ok(observations) } else { Err("bytes follow its end") }
}

fn put_varint(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

fn take_varint(rest: &mut &[u8]) -> Result<u128, &'static str> {
    let mut value = 0_u128;
    for shift in (0..126).step_by(7) {
        let (&byte, tail) = rest.split_first().ok_or("it is cut off")?;
        *rest = tail;
        value |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number is too long")
}

/// Stores the segments that are not there yet. Within the caller's transaction.
///
/// # Errors
/// The database failed.
pub async fn store(
    connection: &mut PgConnection,
    kind: Kind,
    segments: &[Segment],
) -> Result<(), sqlx::Error> {
    let hashes: Vec<&[u8]> = segments.iter().map(|segment| segment.sha256.as_slice()).collect();
    let known: Vec<Vec<u8>> = sqlx::query_scalar(include_str!("sql/segments_known.sql"))
        .bind(&hashes)
        .fetch_all(&mut *connection)
        .await?;
    let mut known: BTreeSet<Vec<u8>> = known.into_iter().collect();
    for segment in segments {
        if known.insert(segment.sha256.to_vec()) {
            let compressed =
                zstd::bulk::compress(&segment.content, COMPRESSION_LEVEL).map_err(sqlx::Error::Io)?;
            sqlx::query(include_str!("sql/segment_store.sql"))
                .bind(segment.sha256.as_slice())
                .bind(kind.name())
                .bind(compressed)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Content of a stored segment, checked against its hash.
///
/// # Errors
/// It is missing or damaged, or the database failed.
pub async fn load(connection: &mut PgConnection, sha256: &[u8]) -> Result<Vec<u8>, SegmentError> {
    let compressed: Option<Vec<u8>> = sqlx::query_scalar(include_str!("sql/segment_load.sql"))
        .bind(sha256)
        .fetch_optional(connection)
        .await?;
    let compressed = compressed.ok_or_else(|| SegmentError::Missing(hex::encode(sha256)))?;
    open(sha256, &compressed)
}

/// Decompresses content and checks its hash.
///
/// # Errors
/// It is damaged.
pub fn open(sha256: &[u8], compressed: &[u8]) -> Result<Vec<u8>, SegmentError> {
    let damaged = |what| SegmentError::Damaged(hex::encode(sha256), what);
    let mut content = Vec::new();
    zstd::Decoder::new(compressed)
        .and_then(|decoder| decoder.take(MAX_CONTENT_BYTES).read_to_end(&mut content))
        .map_err(|_| damaged("it cannot be decompressed"))?;
    if Sha256::digest(&content).as_slice() == sha256 { Ok(content) } else { Err(damaged("its hash differs")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn observations() -> impl Strategy<Value = Vec<Observation>> {
        proptest::collection::btree_map(1..i64::MAX, (0..1_i128 << 95, 0..=28_u32), 0..200).prop_map(|map| {
            map.into_iter()
                .map(|(price_id, (mantissa, scale))| Observation {
                    price_id,
                    amount: Decimal::from_i128_with_scale(mantissa, scale),
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(observations in observations()) {
            prop_assert_eq!(decode(&encode(&observations).content), Ok(observations));
        }

        #[test]
        fn any_bytes_are_refused_or_decoded(content in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&content);
        }

        #[test]
        fn a_cut_segment_is_refused(observations in observations(), cut in any::<prop::sample::Index>()) {
            let content = encode(&observations).content;
            prop_assert!(decode(&content[..cut.index(content.len())]).is_err());
        }
    }
}
