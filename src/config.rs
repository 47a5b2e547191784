//! Configuration: flags or environment variables, checked once at start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::{HeaderValue, Uri};
use clap::Args;
use rust_decimal::Decimal;
use secrecy::{ExposeSecret as _, SecretString};

use crate::access::{JwtSettings, SecretError, TokenSecret};
use crate::domain::money::parse_decimal;
use crate::domain::refresh::Rules;

/// Settings of the program. A flag wins over its environment variable.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Settings")]
pub struct Config {
    /// Address to serve HTTP on
    #[arg(long, env = "MERCURIALE_LISTEN", default_value = "127.0.0.1:8080", value_parser = address, global = true)]
    pub listen: SocketAddr,

    /// PostgreSQL to use; without it, a private one is started under the data directory
    // Never shown: it may hold a password.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    pub database_url: Option<String>,

    /// Directory of the private PostgreSQL
    #[arg(long, env = "MERCURIALE_DATA_DIR", default_value = "./.mercuriale", global = true)]
    pub data_dir: PathBuf,

    /// Connections to PostgreSQL at most
    #[arg(long, env = "MERCURIALE_DATABASE_CONNECTIONS", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(4..=1000), global = true)]
    pub database_connections: u32,

    /// Part of the official price that a price must move by, exclusively, to count as changed
    #[arg(long, env = "MERCURIALE_CHANGE_THRESHOLD", default_value = "0.001", value_parser = fraction, global = true)]
    pub change_threshold: Decimal,

    /// Part of a scope's prices that may be missing before a list is quarantined
    #[arg(long, env = "MERCURIALE_MISSING_LIMIT", default_value = "0.10", value_parser = fraction, global = true)]
    pub missing_limit: Decimal,

    /// Part of a list's prices that may change before it is quarantined
    #[arg(long, env = "MERCURIALE_CHANGED_LIMIT", default_value = "0.20", value_parser = fraction, global = true)]
    pub changed_limit: Decimal,

    /// TOML file that says which price lists to fetch from where; see the README
    #[arg(long, env = "MERCURIALE_SOURCES", global = true)]
    pub sources: Option<PathBuf>,

    /// How long after its last refresh a list is fetched again by `serve`: 8h, 90m, 1d
    #[arg(long, env = "MERCURIALE_REFRESH_INTERVAL", default_value = "8h", value_parser = interval, global = true)]
    pub refresh_interval: Duration,

    /// Redis in which replicas share a cache; without it, each has its own
    #[arg(long, env = "REDIS_URL", hide_env_values = true, global = true)]
    pub redis_url: Option<String>,

    /// NATS with JetStream to publish events to; without it, they are only served over HTTP
    #[arg(long, env = "NATS_URL", hide_env_values = true, global = true)]
    pub nats_url: Option<String>,

    /// Secret of at least 32 bytes that tokens are signed with (HS256); without it, one is made in the data directory
    #[arg(long, env = "MERCURIALE_JWT_SECRET", hide_env_values = true, value_parser = secret, global = true)]
    pub jwt_secret: Option<SecretString>,

    /// File or https URL of a JWK set: tokens signed with its keys (EdDSA, RS256) are taken too
    #[expect(clippy::doc_markdown, reason = "shown on the command line")]
    #[arg(long, env = "MERCURIALE_JWKS", global = true)]
    pub jwks: Option<String>,

    /// Issuer (iss) that tokens must have, beside those issued here
    #[arg(long, env = "MERCURIALE_JWT_ISSUER", global = true)]
    pub jwt_issuer: Option<String>,

    /// Audience (aud) that tokens must be for, beside those issued here
    #[arg(long, env = "MERCURIALE_JWT_AUDIENCE", global = true)]
    pub jwt_audience: Option<String>,

    /// Let webhooks reach private addresses, and plain HTTP: on an intranet whose members may all reach it
    #[arg(long, env = "MERCURIALE_WEBHOOK_ALLOW_PRIVATE", default_value_t = false,
          action = clap::ArgAction::Set, value_parser = clap::value_parser!(bool), global = true)]
    pub webhook_allow_private: bool,

    /// Requests that a client may send in a minute, on average; 0: any number
    #[arg(long, env = "MERCURIALE_RATE_LIMIT", default_value_t = 1_000, global = true)]
    pub rate_limit: u32,

    /// Requests that a client may send at once, after it was silent
    #[arg(long, env = "MERCURIALE_RATE_BURST", default_value_t = 2_000,
          value_parser = clap::value_parser!(u32).range(1..), global = true)]
    pub rate_burst: u32,

    /// Origins whose pages may call the API from a browser, separated by commas; none unless they are named
    #[arg(long, env = "MERCURIALE_CORS_ORIGINS", value_delimiter = ',', value_parser = origin, global = true)]
    pub cors_origins: Vec<HeaderValue>,

    /// How long the shared cache keeps a rate
    #[arg(long, env = "MERCURIALE_CACHE_TTL", default_value = "8h", value_parser = duration, global = true)]
    pub cache_ttl: Duration,

    /// How long Redis may take to answer before PostgreSQL is asked instead
    #[arg(long, env = "MERCURIALE_REDIS_TIMEOUT", default_value = "100ms", value_parser = patience, global = true)]
    pub redis_timeout: Duration,

    /// Rates kept in memory for estimates, some 2 kB each
    #[arg(long, env = "MERCURIALE_CACHED_RATES", default_value_t = 50_000, global = true)]
    pub cached_rates: usize,

    /// What to log: a level, or targets with levels (info,sqlx=warn); without it, `serve` logs what it does and the
    /// other commands only what goes wrong
    #[arg(long, env = "MERCURIALE_LOG", global = true)]
    pub log: Option<String>,

    /// How to log
    #[arg(long, env = "MERCURIALE_LOG_FORMAT", default_value = "text", value_enum, global = true)]
    pub log_format: LogFormat,
}

/// Form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Variables that the program's own tests and benchmarks read.
const OF_TESTS: [&str; 6] = [
    "MERCURIALE_PRICE_LISTS",
    "MERCURIALE_MESSAGE_DB",
    "MERCURIALE_TEST_DATABASE_URL",
    "MERCURIALE_TEST_REDIS_URL",
    "MERCURIALE_TEST_NATS_URL",
    "MERCURIALE_PORT",
];

/// Takes any text: what is wrong with it is told without repeating it, which clap would.
#[expect(clippy::unnecessary_wraps, reason = "clap wants a result")]
fn secret(text: &str) -> Result<SecretString, String> {
    Ok(text.into())
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 8h or 90s"))?;
    if duration < Duration::from_secs(1) {
        return Err("at least a second is needed".to_owned());
    }
    Ok(duration)
}

fn patience(text: &str) -> Result<Duration, String> {
    let duration =
        humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 100ms or 2s"))?;
    if duration < Duration::from_millis(1) {
        return Err("at least a millisecond is needed".to_owned());
    }
    Ok(duration)
}

/// What a browser sends as `Origin` (RFC 6454, 6.2): scheme and host, a port that is not the scheme's own, and nothing else.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let wrong = || format!("{text:?} is no origin: write https://HOST or http://HOST:PORT, without a path");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    let (Some(scheme), Some(authority), true) = (uri.scheme_str(), uri.authority(), is_web) else {
        return Err(wrong());
    };
    let own_port = if scheme == "https" { ":443" } else { ":80" };
    if format!("{scheme}://{authority}") != text
        || authority.as_str().contains('@')
        || authority.as_str().ends_with(own_port)
        || text.bytes().any(|byte| byte.is_ascii_uppercase())
    {
        return Err(wrong());
    }
    HeaderValue::from_str(text).map_err(|_| wrong())
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "write an IP address and a port, such as 127.0.0.1:8080 or [::]:8080".to_owned())
}

fn fraction(text: &str) -> Result<Decimal, String> {
    let fraction = parse_decimal(text).map_err(|error| error.to_string())?;
    if fraction.is_sign_negative() || fraction > Decimal::ONE {
        return Err(format!("{fraction} is not between 0 and 1 (0.10 = 10 %)"));
    }
    Ok(fraction)
}

/// Intervals that make sense: the providers publish a few times a day.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(31 * 24);

fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if INTERVALS.contains(&interval) { Ok(interval) } else { Err("write 1m to 31d".to_owned()) }
}

impl Config {
    /// The secret that tokens are signed with: the configured one, or that of the data directory.
    ///
    /// # Errors
    /// It is too short, or its file cannot be used.
    pub fn token_secret(&self) -> Result<TokenSecret, SecretError> {
        match &self.jwt_secret {
            Some(secret) => TokenSecret::configured(secret.expose_secret()),
            None => TokenSecret::of_data_dir(&self.data_dir),
        }
    }

    /// How tokens of an identity provider are verified.
    pub fn jwt_settings(&self) -> JwtSettings {
        JwtSettings {
            jwks: self.jwks.clone(),
            issuer: self.jwt_issuer.clone(),
            audience: self.jwt_audience.clone(),
            ..JwtSettings::default()
        }
    }

    /// The rules of refreshes.
    pub fn rules(&self) -> Rules {
        Rules {
            change_threshold: self.change_threshold,
            missing_limit: self.missing_limit,
            changed_limit: self.changed_limit,
        }
    }
}

/// Refuses variables that look like settings but are none, since a misspelt setting would be a silent default.
///
/// # Errors
/// The first such variable and the nearest known one.
pub fn refuse_unknown_variables<'a>(
    names: impl Iterator<Item = String>,
    known: impl Iterator<Item = &'a str>,
) -> Result<(), String> {
    let known: Vec<&str> = known.chain(OF_TESTS).collect();
    for name in names {
        if name.starts_with("MERCURIALE_") && !known.contains(&name.as_str()) {
            let nearest = known.iter().min_by_key(|known| strsim::levenshtein(known, &name));
            let nearest = nearest.map(|nearest| format!("; did you mean {nearest}?")).unwrap_or_default();
            return Err(format!("{name} is not a setting{nearest}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_setting_is_refused_with_the_nearest_one() {
        let known = || ["MERCURIALE_LISTEN", "MERCURIALE_LOG"].into_iter();
        let names = |name: &str| [name.to_owned(), "PATH".to_owned()].into_iter();
        assert_eq!(refuse_unknown_variables(names("MERCURIALE_LISTEN"), known()), Ok(()));
        let error = refuse_unknown_variables(names("MERCURIALE_LISTENS"), known()).expect_err("refused");
        assert_eq!(error, "MERCURIALE_LISTENS is not a setting; did you mean MERCURIALE_LISTEN?");
    }

    #[test]
    fn an_origin_is_written_as_browsers_send_it() {
        for text in ["https://finops.example.org", "http://localhost:3000", "http://[::1]:3000"] {
            assert_eq!(origin(text), Ok(HeaderValue::from_str(text).expect("a header")), "{text}");
        }
        for text in [
            "",
            "*",
            "null",
            "finops.example.org",
            "https://a.example/",
            "https://a.example/path",
            "https://A.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://ada@a.example",
            "ftp://a.example",
            "https://a.example https://b.example",
        ] {
            assert!(origin(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_interval_is_neither_a_moment_nor_an_age() {
        for (text, hours) in [("8h", 8), ("90m 30m", 2), ("1d", 24), ("31d", 744)] {
            assert_eq!(interval(text), Ok(Duration::from_hours(hours)), "{text}");
        }
        for text in ["", "8", "h", "8w 1q", "-8h", "59s", "32d", "99999999999999999999d"] {
            assert!(interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_fraction_is_between_0_and_1() {
        assert!(fraction("0.001").is_ok());
        for text in ["1.1", "-0.1", "ten", ""] {
            assert!(fraction(text).is_err(), "{text}");
        }
    }
}
