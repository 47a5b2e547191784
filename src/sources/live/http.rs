//! Asking for documents: limits, retries, and nothing from another place than the configured one.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
    RETRY_AFTER,
};
use reqwest::{Response, StatusCode, Url, redirect};
use tokio::time::{Instant, timeout_at};

use super::now;

/// Redirects that are followed, all within one origin.
const MAX_REDIRECTS: usize = 5;

/// What a fetch may take. The defaults are for the providers' own servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Until a connection stands, TLS included. Default 10 s.
    pub connect_timeout: Duration,
    /// The longest silence of a server that has been asked. Default 60 s.
    pub idle_timeout: Duration,
    /// For a whole list, all its pages and retries included. Default 2 h.
    pub list_timeout: Duration,
    /// The longest wait for one answer of a language model. Default 5 min.
    pub answer_timeout: Duration,
    /// The largest list, as it is received. Default 16 GiB.
    pub max_list_bytes: u64,
    /// The most pages of one list. Default 20,000.
    pub max_pages: u32,
    /// How often in a row something is tried again. Default 4.
    pub retries: usize,
    /// Before the first retry; doubled each time, and up to as much again by chance. Default 0.5 s.
    pub first_delay: Duration,
    /// Between two tries at most. Default 30 s.
    pub max_delay: Duration,
    /// The longest `Retry-After` that is waited for; a server that asks for more is left alone. Default 2 min.
    pub max_retry_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_mins(1),
            list_timeout: Duration::from_hours(2),
            answer_timeout: Duration::from_mins(5),
            max_list_bytes: 16 << 30,
            max_pages: 20_000,
            retries: 4,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(30),
            max_retry_after: Duration::from_mins(2),
        }
    }
}

/// Why a document could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The server said no.
    #[error("the server answered {status}{}", retry_after.map(|after| format!(", try again after {} s", after.as_secs())).unwrap_or_default())]
    Status {
        /// Its answer.
        status: StatusCode,
        /// When it asks to be tried again.
        retry_after: Option<Duration>,
    },
    /// No connection, a silent server, or a connection that was cut.
    #[error("{0}")]
    Network(String),
    /// The server points to another place.
    #[error("{0}; only redirects within the origin of base_url are followed")]
    Redirect(String),
    /// The answer is too long.
    #[error("the answer is larger than the {0} bytes that are read")]
    TooLarge(u64),
    /// The whole took too long.
    #[error("not finished after {} s", .0.as_secs())]
    Deadline(Duration),
    /// The answer is encoded in a way that was not asked for.
    #[error("the answer is encoded as {0}, which was not asked for")]
    Encoding(String),
    /// What is sent now does not continue what was sent before the connection was cut.
    #[error("the list changed while it was fetched; the next run reads it anew")]
    Changed,
    /// The program cannot ask at all.
    #[error("cannot make requests: {0}")]
    Client(String),
}

impl FetchError {
    /// Whether there was no answer, as opposed to one that cannot be right.
    pub(super) fn is_absence(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Network(_) | Self::Deadline(_))
    }

    /// Whether the same request may succeed a moment later.
    fn is_transient(&self) -> bool {
        match self {
            Self::Network(_) => true,
            Self::Status { status, .. } => {
                status.is_server_error()
                    || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(status)
            }
            _ => false,
        }
    }
}

/// Makes requests. Clones share connections.
#[derive(Debug, Clone)]
pub(in crate::sources) struct Client {
    http: reqwest::Client,
    pub(in crate::sources) limits: Arc<Limits>,
}

impl Client {
    pub(super) fn new(limits: Limits) -> Result<Self, FetchError> {
        // Whoever comes first installs it; the private PostgreSQL's download installs the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let within_origin = redirect::Policy::custom(|attempt| {
            let same = attempt.previous().first().is_some_and(|first| is_within(attempt.url(), first));
            if !same {
                let message = format!("redirected to {}", without_userinfo(attempt.url()));
                attempt.error(message)
            } else if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error(format!("more than {MAX_REDIRECTS} redirects"))
            } else {
                attempt.follow()
            }
        });
        let http = reqwest::Client::builder()
            .user_agent(concat!("mercuriale/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.idle_timeout)
            .redirect(within_origin)
            // Retries are ours alone.
            .retry(reqwest::retry::never())
            .build()
            .map_err(|error| FetchError::Client(explained(error)))?;
        Ok(Self { http, limits: Arc::new(limits) })
    }

    /// Asks once. The answer is a success, or 304 where `headers` ask for that.
    pub(super) async fn send(&self, url: &Url, headers: &HeaderMap) -> Result<Response, FetchError> {
        let response = self
            .http
            .get(url.clone())
            .headers(headers.clone())
            // Decoded by the readers, as of files.
            .header(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))
            .send()
            .await
            .map_err(network)?;
        let unchanged = response.status() == StatusCode::NOT_MODIFIED && headers.contains_key(IF_NONE_MATCH);
        let response = if unchanged { response } else { successful(response)? };
        match text_of(&response, &CONTENT_ENCODING) {
            None | Some("" | "identity" | "gzip" | "x-gzip") => Ok(response),
            Some(other) => Err(FetchError::Encoding(other.chars().take(50).collect())),
        }
    }

    /// Asks until there is an answer.
    pub(super) async fn answer(&self, url: &Url, headers: &HeaderMap) -> Result<Response, FetchError> {
        let mut retries = self.retries();
        loop {
            match self.send(url, headers).await {
                Ok(response) => return Ok(response),
                Err(error) => retries.wait(url, error).await?,
            }
        }
    }

    /// A whole document as it is sent, and when it began to arrive.
    pub(super) async fn document(
        &self,
        url: &Url,
        max_bytes: u64,
        deadline: Instant,
    ) -> Result<(DateTime<Utc>, Bytes), FetchError> {
        let fetched = async {
            let mut retries = self.retries();
            loop {
                match self.document_once(url, max_bytes).await {
                    Ok(document) => return Ok(document),
                    Err(error) => retries.wait(url, error).await?,
                }
            }
        };
        timeout_at(deadline, fetched).await.unwrap_or(Err(FetchError::Deadline(self.limits.list_timeout)))
    }

    async fn document_once(&self, url: &Url, max_bytes: u64) -> Result<(DateTime<Utc>, Bytes), FetchError> {
        let response = self.send(url, &HeaderMap::new()).await?;
        let arrived = now();
        Ok((arrived, whole(response, max_bytes).await?))
    }

    /// Sends JSON once and takes in the whole answer, which must not be compressed.
    pub(in crate::sources) async fn post(
        &self,
        url: &Url,
        headers: &HeaderMap,
        body: Bytes,
        max_bytes: u64,
    ) -> Result<Bytes, FetchError> {
        let request = self.http.post(url.clone()).headers(headers.clone()).body(body);
        let response = request
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
            .timeout(self.limits.idle_timeout)
            .send()
            .await
            .map_err(network)?;
        let response = successful(response)?;
        match text_of(&response, &CONTENT_ENCODING) {
            None | Some("" | "identity") => whole(response, max_bytes).await,
            Some(other) => Err(FetchError::Encoding(other.chars().take(50).collect())),
        }
    }

    /// When a list that is begun now must be finished.
    pub(in crate::sources) fn deadline(&self) -> Instant {
        Instant::now() + self.limits.list_timeout
    }

    /// A fresh allowance.
    pub(in crate::sources) fn retries(&self) -> Retries {
        let delays = ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(self.limits.first_delay)
            .with_max_delay(self.limits.max_delay)
            .with_max_times(self.limits.retries)
            .build();
        Retries { delays, max_retry_after: self.limits.max_retry_after }
    }
}

/// What is left of an allowance.
#[derive(Debug)]
pub(in crate::sources) struct Retries {
    delays: ExponentialBackoff,
    max_retry_after: Duration,
}

impl Retries {
    /// Waits until it is time to try again, or gives the error back.
    pub(in crate::sources) async fn wait(&mut self, url: &Url, error: FetchError) -> Result<(), FetchError> {
        if !error.is_transient() {
            return Err(error);
        }
        let Some(delay) = self.delays.next() else { return Err(error) };
        let delay = match error {
            FetchError::Status { retry_after: Some(asked), .. } if asked > self.max_retry_after => {
                return Err(error);
            }
            FetchError::Status { retry_after: Some(asked), .. } => delay.max(asked),
            _ => delay,
        };
        tracing::debug!(%url, %error, delay_ms = delay.as_millis(), "trying again");
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// An answer that is none of success is an error; its body is not looked at.
fn successful(response: Response) -> Result<Response, FetchError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = text_of(&response, &RETRY_AFTER).and_then(parse_retry_after);
    Err(FetchError::Status { status, retry_after })
}

async fn whole(mut response: Response, max_bytes: u64) -> Result<Bytes, FetchError> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(network)? {
        if (bytes.len() + chunk.len()) as u64 > max_bytes {
            return Err(FetchError::TooLarge(max_bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Whether a link may be followed from `from`: same scheme, host and port, and no credentials.
pub(super) fn is_within(link: &Url, from: &Url) -> bool {
    link.origin() == from.origin() && link.username().is_empty() && link.password().is_none()
}

/// A URL for messages.
pub(super) fn without_userinfo(url: &Url) -> String {
    let mut url = url.clone();
    // Fails for URLs that can hold none.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.to_string()
}

/// A header's value, where it is plain text.
pub(super) fn text_of<'r>(response: &'r Response, name: &HeaderName) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

pub(super) fn network(error: reqwest::Error) -> FetchError {
    if error.is_redirect() {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        FetchError::Redirect(cause.unwrap_or_else(|| "redirected".to_owned()))
    } else if error.is_timeout() && !error.is_connect() {
        FetchError::Network("the server fell silent".to_owned())
    } else {
        FetchError::Network(explained(error))
    }
}

/// An error with its causes, without the URL, which stands before the message anyway.
fn explained(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Seconds, or an HTTP date (RFC 9110, section 10.2.3).
fn parse_retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.to_utc() - Utc::now()).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(parse_retry_after("120"), Some(Duration::from_mins(2)));
        assert_eq!(parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::ZERO));
        let soon = (Utc::now() + Duration::from_secs(100)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let wait = parse_retry_after(&soon).expect("a date").as_secs();
        assert!((95..=100).contains(&wait), "{wait}");
        assert_eq!(parse_retry_after("soon"), None);
    }

    #[test]
    fn links_stay_within_the_origin_and_without_credentials() {
        let url = |text: &str| Url::parse(text).expect("a URL");
        let base = url("https://prices.azure.com/api");
        assert!(is_within(&url("https://prices.azure.com:443/other?$skip=1000"), &base));
        for foreign in [
            "http://prices.azure.com/api",
            "https://prices.azure.com:8443/api",
            "https://prices.azure.com.example.org/api",
            "https://user@prices.azure.com/api",
        ] {
            assert!(!is_within(&url(foreign), &base), "{foreign}");
        }
        assert_eq!(without_userinfo(&url("https://user:secret@x/y")), "https://x/y");
    }
}
