//! Azure Retail Prices over HTTP: page after page, each linked from the one before.
//!
//! Nothing names a version of the list, so it is always fetched whole. API:
//! <https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices>.

use std::collections::BTreeSet;

use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::http::{Client, FetchError, is_within, without_userinfo};
use super::{Live, Target, fetch_failed};
use crate::sources::azure::{MAX_PAGE_BYTES, Pages};
use crate::sources::read::Stored;
use crate::sources::refresh::{RefreshError, Report, SourceVersion};
use crate::sources::text::{malformed, shown};
use crate::sources::{ListEnd, ListError, ListHeader, ListSink, MAX_LIST_BYTES, Price, Product, SinkError};

/// The longest link to a next page.
const MAX_LINK_BYTES: usize = 8 << 10;

pub(super) async fn refresh(
    live: &Live,
    target: &Target,
    filter: Option<&str>,
    currency: &str,
) -> Result<Report, RefreshError> {
    let first = first_url(&target.base_url, filter, currency);
    let list = live.origin(target, &first);
    let deadline = live.client.deadline();
    let (observed_at, page) = match live.client.document(&first, MAX_PAGE_BYTES, deadline).await {
        Ok(document) => document,
        Err(error) => return live.fail(list, fetch_failed(&first, error)).await,
    };
    let mut chain = Chain {
        max_pages: live.client.limits.max_pages,
        first: first.clone(),
        seen: BTreeSet::new(),
        fetcher: Fetcher::start(live.client.clone(), deadline),
    };
    let (scope, currency) = (target.scope.clone(), currency.to_owned());
    live.refresher
        .refresh_versioned(list, move |sink| {
            let mut sink = InCurrency { sink, currency };
            let mut stored = Stored::new(MAX_LIST_BYTES);
            let mut pages = Pages::new(Some(scope), observed_at, &mut sink);
            let complete = chain.read(first, page, &mut stored, &mut pages)?;
            let end = ListEnd { complete: pages.finish() && complete, content_sha256: stored.sha256() };
            Ok((end, SourceVersion::default()))
        })
        .await
}

fn first_url(base: &Url, filter: Option<&str>, currency: &str) -> Url {
    let mut url = base.clone();
    url.set_path(&format!("{}/api/retail/prices", base.path().trim_end_matches('/')));
    // Azure's own examples quote the currency.
    let mut query = format!("currencyCode=%27{currency}%27");
    if let Some(filter) = filter {
        query.push_str("&$filter=");
        query.extend(utf8_percent_encode(filter, NON_ALPHANUMERIC));
    }
    url.set_query(Some(&query));
    url
}

/// The pages of one answer, in order.
struct Chain {
    max_pages: u32,
    first: Url,
    seen: BTreeSet<Url>,
    fetcher: Fetcher,
}

impl Chain {
    /// Reads to the end; `false` if a page that was promised could not be had.
    fn read(
        &mut self,
        mut url: Url,
        mut page: Bytes,
        stored: &mut Stored,
        pages: &mut Pages<'_>,
    ) -> Result<bool, ListError> {
        loop {
            let name = url.to_string();
            let items_before = pages.items();
            let mut next = None;
            stored.read(&name, &*page, |reader| {
                next = pages.page(&name, reader)?;
                Ok(())
            })?;
            let Some(link) = next else {
                let promised = url != self.first && pages.items() == items_before;
                if promised {
                    tracing::warn!(
                        url = name,
                        "the last page is empty though it was linked to; the list is partial"
                    );
                }
                return Ok(!promised);
            };
            self.seen.insert(url);
            url = self.follow(&name, &link)?;
            page = match self.fetcher.fetch(&url) {
                Ok(page) => page,
                Err(error) if error.is_absence() => {
                    tracing::warn!(%url, %error, "a page could not be fetched; the list is partial");
                    return Ok(false);
                }
                Err(error) => return Err(fetch_failed(&url, error)),
            };
        }
    }

    /// Checks a link.
    fn follow(&self, page: &str, link: &str) -> Result<Url, ListError> {
        let wrong = |message: String| malformed(page, 0, "NextPageLink", message);
        if link.len() > MAX_LINK_BYTES {
            return Err(wrong(format!("is longer than {MAX_LINK_BYTES} bytes")));
        }
        let url: Url = link.parse().map_err(|_| wrong(format!("{} is not a URL", shown(link))))?;
        if !is_within(&url, &self.first) {
            return Err(wrong(format!(
                "{} leads away from {}; set base_url to where the pages are",
                shown(&without_userinfo(&url)),
                self.first.origin().ascii_serialization()
            )));
        }
        if self.seen.contains(&url) {
            return Err(wrong(format!("{} was read before: the pages go in a circle", shown(url.as_str()))));
        }
        if self.seen.len() >= self.max_pages as usize {
            return Err(wrong(format!("there are more than {} pages; use narrower filters", self.max_pages)));
        }
        Ok(url)
    }
}

/// Fetches for a thread that blocks.
struct Fetcher {
    wanted: mpsc::Sender<(Url, oneshot::Sender<Result<Bytes, FetchError>>)>,
}

impl Fetcher {
    fn start(client: Client, deadline: Instant) -> Self {
        let (wanted, mut requests) = mpsc::channel::<(Url, oneshot::Sender<_>)>(1);
        tokio::spawn(async move {
            while let Some((url, answer)) = requests.recv().await {
                let page = client.document(&url, MAX_PAGE_BYTES, deadline).await;
                // A parser that has stopped does not want to know.
                let _ = answer.send(page.map(|(_, bytes)| bytes));
            }
        });
        Self { wanted }
    }

    fn fetch(&self, url: &Url) -> Result<Bytes, FetchError> {
        let stopped = || FetchError::Client("the download was stopped".to_owned());
        let (answer, page) = oneshot::channel();
        self.wanted.blocking_send((url.clone(), answer)).map_err(|_| stopped())?;
        page.blocking_recv().map_err(|_| stopped())?
    }
}

/// Makes sure that prices are in the currency that was asked for: Azure answers in another one where it has none.
struct InCurrency<'s> {
    sink: &'s mut dyn ListSink,
    currency: String,
}

impl ListSink for InCurrency<'_> {
    fn header(&mut self, header: &ListHeader) -> Result<(), SinkError> {
        self.sink.header(header)
    }

    fn product(&mut self, product: &Product<'_>) -> Result<(), SinkError> {
        self.sink.product(product)
    }

    fn price(&mut self, price: &Price<'_>) -> Result<(), SinkError> {
        if price.currency != self.currency {
            return Err(SinkError(format!(
                "{}: {}: the price is in {}, not in {}, which was asked for",
                price.place.file, price.key, price.currency, self.currency
            )));
        }
        self.sink.price(price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_is_encoded() {
        let base: Url = "https://prices.azure.com".parse().expect("a URL");
        assert_eq!(
            first_url(&base, Some("serviceName eq 'A&B' and armRegionName eq 'francecentral'"), "EUR")
                .as_str(),
            "https://prices.azure.com/api/retail/prices?currencyCode=%27EUR%27&$filter=serviceName%20eq%20%27A%26B\
             %27%20and%20armRegionName%20eq%20%27francecentral%27"
        );
    }
}
