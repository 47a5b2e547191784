//! A list as it arrives: from the socket through a bounded channel into a parser that blocks.
//!
//! When the connection is cut, the rest is asked for: by `Range` where the server offers that and names the content by
//! a strong `ETag`, otherwise from the start, and the part that the parser has had already is compared and left out. So
//! the parser, and the run behind it, never learn of it.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use reqwest::header::{ACCEPT_RANGES, CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode, Url};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::http::{Client, FetchError, network, text_of};

/// Chunks on their way; the socket waits for a slower parser.
const CHUNKS: usize = 16;
/// A connection that brought this much before it was cut was worth it: the allowance of retries begins anew.
const WORTH_BYTES: u64 = 4 << 20;

/// `None` is the end.
type Chunk = Result<Option<Bytes>, FetchError>;

/// The reading end.
#[derive(Debug)]
pub(super) struct Body {
    chunks: mpsc::Receiver<Chunk>,
    rest: Bytes,
    ended: bool,
}

impl Body {
    /// Starts to receive the body of `response`, the answer to a request for `url`.
    pub(super) fn receive(client: Client, url: Url, response: Response, deadline: Instant) -> Self {
        let (sender, chunks) = mpsc::channel(CHUNKS);
        tokio::spawn(async move {
            let list_timeout = client.limits.list_timeout;
            let transfer = Transfer { client, url, delivered: 0, digest: Sha256::new(), chunks: &sender };
            let end = timeout_at(deadline, transfer.run(response))
                .await
                .unwrap_or(Err(FetchError::Deadline(list_timeout)));
            // A parser that has stopped does not want to know.
            let _ = sender.send(end.map(|()| None)).await;
        });
        Self { chunks, rest: Bytes::new(), ended: false }
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.rest.is_empty() && !self.ended {
            match self.chunks.blocking_recv() {
                Some(Ok(Some(chunk))) => self.rest = chunk,
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other("the download was stopped")),
            }
        }
        let count = out.len().min(self.rest.len());
        self.rest.copy_to_slice(&mut out[..count]);
        Ok(count)
    }
}

/// The sending end.
struct Transfer<'c> {
    client: Client,
    url: Url,
    /// Bytes that the parser has been given, and their digest.
    delivered: u64,
    digest: Sha256,
    chunks: &'c mpsc::Sender<Chunk>,
}

impl Transfer<'_> {
    async fn run(mut self, response: Response) -> Result<(), FetchError> {
        let accepts_ranges = text_of(&response, &ACCEPT_RANGES) == Some("bytes");
        let strong = |etag: &&HeaderValue| etag.as_bytes().starts_with(b"\"");
        let etag = response.headers().get(ETAG).filter(strong).filter(|_| accepts_ranges).cloned();
        let mut retries = self.client.retries();
        let mut next = Ok(response);
        loop {
            let before = self.delivered;
            let outcome = match next {
                Ok(response) => self.receive(response).await,
                Err(error) => Err(error),
            };
            let Err(error) = outcome else { return Ok(()) };
            if self.delivered - before >= WORTH_BYTES {
                retries = self.client.retries();
            }
            retries.wait(&self.url, error).await?;
            next = self.client.send(&self.url, &self.resume_headers(etag.as_ref())).await;
        }
    }

    fn resume_headers(&self, etag: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(etag) = etag
            && self.delivered > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.delivered))
        {
            headers.insert(RANGE, range);
            headers.insert(IF_RANGE, etag.clone());
        }
        headers
    }

    /// Hands on what follows the part that was delivered before.
    async fn receive(&mut self, mut response: Response) -> Result<(), FetchError> {
        let limit = self.client.limits.max_list_bytes;
        if response.status() == StatusCode::PARTIAL_CONTENT {
            let expected = format!("bytes {}-", self.delivered);
            if !text_of(&response, &CONTENT_RANGE).is_some_and(|range| range.starts_with(&expected)) {
                return Err(FetchError::Changed);
            }
        } else if response.content_length().is_some_and(|length| length > limit) {
            return Err(FetchError::TooLarge(limit));
        } else {
            let rest = self.leave_out_delivered(&mut response).await?;
            self.deliver(rest).await?;
        }
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            self.deliver(chunk).await?;
        }
        Ok(())
    }

    /// Reads what was delivered before once more, makes sure that it is the same, and gives what came with its end.
    async fn leave_out_delivered(&self, response: &mut Response) -> Result<Bytes, FetchError> {
        let mut left = self.delivered;
        let mut digest = Sha256::new();
        let mut rest = Bytes::new();
        while left > 0 {
            rest = response.chunk().await.map_err(network)?.ok_or(FetchError::Changed)?;
            let part = rest.split_to(rest.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            digest.update(&part);
            left -= part.len() as u64;
        }
        if digest.finalize() == self.digest.clone().finalize() { Ok(rest) } else { Err(FetchError::Changed) }
    }

    async fn deliver(&mut self, chunk: Bytes) -> Result<(), FetchError> {
        let limit = self.client.limits.max_list_bytes;
        self.delivered += chunk.len() as u64;
        if self.delivered > limit {
            return Err(FetchError::TooLarge(limit));
        }
        self.digest.update(&chunk);
        let gone = |_| FetchError::Client("the parser has stopped".to_owned());
        self.chunks.send(Ok(Some(chunk))).await.map_err(gone)
    }
}
