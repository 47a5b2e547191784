//! AWS Price List over HTTP: which version is current, and, unless it is the one on record, the offer file.
//!
//! Index files: <https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-the-aws-price-list-bulk-api-fetching-price-list-files-manually.html>.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use reqwest::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::body::Body;
use super::http::{is_within, text_of, without_userinfo};
use super::{Live, Target, fetch_failed, now};
use crate::sources::read::Stored;
use crate::sources::refresh::{RefreshError, Report, SourceVersion, last_complete};
use crate::sources::text::{json_error, malformed, shown};
use crate::sources::{
    ListEnd, ListError, ListHeader, ListSink, MAX_LIST_BYTES, Overrides, Price, Product, SinkError, aws,
};

/// The largest index file; that of all offers has some 100 kB.
const MAX_INDEX_BYTES: u64 = 16 << 20;
/// The longest `ETag` that is kept.
const MAX_ETAG_BYTES: usize = 200;

#[derive(Deserialize)]
struct OfferIndex {
    offers: BTreeMap<String, OfferEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfferEntry {
    offer_code: String,
}

#[derive(Deserialize)]
struct RegionIndex {
    regions: BTreeMap<String, RegionEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RegionEntry {
    current_version_url: String,
}

/// Where the current offer file is.
struct Current {
    url: Url,
    version: Option<String>,
    /// When the index said so.
    said_at: DateTime<Utc>,
}

pub(super) async fn refresh(
    live: &Live,
    target: &Target,
    offer: &str,
    region: &str,
) -> Result<Report, RefreshError> {
    let deadline = live.client.deadline();
    let region_index = at(&target.base_url, &format!("/offers/v1.0/aws/{offer}/current/region_index.json"));
    let current = match current(live, target, &region_index, offer, region, deadline).await {
        Ok(current) => current,
        Err(error) => return live.fail(live.origin(target, &region_index), error).await,
    };
    let refresher = &live.refresher;
    let before = last_complete(&refresher.pool, &target.source, &target.scope).await?;
    if let Some(before) = &before
        && current.version.is_some()
        && before.version.version == current.version
    {
        let list = live.origin(target, &region_index);
        return refresher.refresh_unchanged(list, current.said_at, before, &before.version).await;
    }

    let list = live.origin(target, &current.url);
    let mut headers = HeaderMap::new();
    if let Some(etag) = before.as_ref().and_then(|before| before.version.etag.as_deref())
        && let Ok(etag) = HeaderValue::from_str(etag)
    {
        headers.insert(IF_NONE_MATCH, etag);
    }
    let response = match live.client.answer(&current.url, &headers).await {
        Ok(response) => response,
        Err(error) => return live.fail(list, fetch_failed(&current.url, error)).await,
    };
    let observed_at = now();
    let etag = text_of(&response, &ETAG).filter(|etag| etag.len() <= MAX_ETAG_BYTES).map(str::to_owned);
    let mut version = SourceVersion { version: current.version, etag };
    if let Some(before) = &before
        && response.status() == StatusCode::NOT_MODIFIED
    {
        // Sent again or not: it is what was asked for.
        version.etag.clone_from(&before.version.etag);
        return refresher.refresh_unchanged(list, observed_at, before, &version).await;
    }
    let file = current.url.to_string();
    let (offer, scope) = (offer.to_owned(), target.scope.clone());
    let body = Body::receive(live.client.clone(), current.url, response, deadline);
    refresher
        .refresh_versioned(list, move |sink| {
            let mut sink = OfOffer { sink, offer, scope };
            let overrides = Overrides { scope: None, observed_at: Some(observed_at) };
            let mut stored = Stored::new(MAX_LIST_BYTES);
            stored.read(&file, body, |reader| aws::read(reader, &file, &overrides, &mut sink))?;
            Ok((ListEnd { complete: true, content_sha256: stored.sha256() }, version))
        })
        .await
}

/// The base URL may have a path of its own, before the provider's.
fn at(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}{path}", base.path().trim_end_matches('/')));
    url
}

async fn current(
    live: &Live,
    target: &Target,
    region_index: &Url,
    offer: &str,
    region: &str,
    deadline: Instant,
) -> Result<Current, ListError> {
    let offer_index = at(&target.base_url, "/offers/v1.0/aws/index.json");
    let (_, index): (_, OfferIndex) = document(live, &offer_index, deadline).await?;
    if index.offers.get(offer).is_none_or(|entry| entry.offer_code != offer) {
        let nearest = index.offers.keys().min_by_key(|known| strsim::levenshtein(known, offer));
        let nearest =
            nearest.map(|nearest| format!("; the nearest is {}", shown(nearest))).unwrap_or_default();
        return Err(malformed(offer_index.as_str(), 0, "", format!("there is no offer {offer}{nearest}")));
    }
    let (said_at, index): (_, RegionIndex) = document(live, region_index, deadline).await?;
    let wrong = |message| malformed(region_index.as_str(), 0, region, message);
    let entry = index
        .regions
        .get(region)
        .ok_or_else(|| wrong(format!("{offer} is not offered in this region, or it is misspelt")))?;
    let link = &entry.current_version_url;
    let url = if link.starts_with('/') { Ok(at(&target.base_url, link)) } else { link.parse() };
    match url {
        Ok(url) if is_within(&url, &target.base_url) => {
            Ok(Current { version: version_of(&url, region), url, said_at })
        }
        other => {
            let link = other.map_or_else(|_| link.clone(), |url| without_userinfo(&url));
            Err(wrong(format!("currentVersionUrl {} is not a path within base_url", shown(&link))))
        }
    }
}

/// The version in `.../20250327204525/eu-west-3/index.json`: the time of publication. A mirror may have `current` in its
/// place, which says nothing.
fn version_of(url: &Url, region: &str) -> Option<String> {
    let before = url.path().rsplit_once(&format!("/{region}/"))?.0;
    let version = before.rsplit('/').next()?;
    let is_time =
        version.len() >= 8 && version.len() <= 20 && version.bytes().all(|byte| byte.is_ascii_digit());
    is_time.then(|| version.to_owned())
}

async fn document<T: DeserializeOwned>(
    live: &Live,
    url: &Url,
    deadline: Instant,
) -> Result<(DateTime<Utc>, T), ListError> {
    let (arrived, bytes) = live
        .client
        .document(url, MAX_INDEX_BYTES, deadline)
        .await
        .map_err(|error| fetch_failed(url, error))?;
    let mut parsed = None;
    Stored::new(MAX_INDEX_BYTES).read(url.as_str(), &*bytes, |reader| {
        parsed = serde_json::from_reader(std::io::BufReader::new(reader))
            .map(Some)
            .map_err(|error| json_error(url.as_str(), 1, "", error))?;
        Ok(())
    })?;
    Ok((arrived, parsed.ok_or_else(|| malformed(url.as_str(), 0, "", "the index is null"))?))
}

/// Makes sure that the list is of the offer that was asked for, and gives it the scope of the region, whatever other
/// regions its products name.
struct OfOffer<'s> {
    sink: &'s mut dyn ListSink,
    offer: String,
    scope: String,
}

impl ListSink for OfOffer<'_> {
    fn header(&mut self, header: &ListHeader) -> Result<(), SinkError> {
        if header.scope.split_once('/').is_none_or(|(offer, _)| offer != self.offer) {
            return Err(SinkError(format!(
                "the list is of {}, not of {}, which was asked for",
                header.scope, self.offer
            )));
        }
        self.sink.header(&ListHeader { scope: self.scope.clone(), observed_at: header.observed_at })
    }

    fn product(&mut self, product: &Product<'_>) -> Result<(), SinkError> {
        self.sink.product(product)
    }

    fn price(&mut self, price: &Price<'_>) -> Result<(), SinkError> {
        self.sink.price(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_time_in_the_path() {
        let version = |path: &str| version_of(&at(&"https://x/m".parse().expect("a URL"), path), "eu-west-3");
        assert_eq!(
            version("/offers/v1.0/aws/AmazonEC2/20250327204525/eu-west-3/index.json").as_deref(),
            Some("20250327204525")
        );
        assert_eq!(version("/offers/v1.0/aws/AmazonEC2/current/eu-west-3/index.json"), None);
        assert_eq!(version("/offers/v1.0/aws/AmazonEC2/20250327204525/eu-west-1/index.json"), None);
    }
}
