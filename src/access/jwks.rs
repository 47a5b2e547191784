//! Public keys of an identity provider: a JWK set (RFC 7517) in a file or behind a URL, read again now and then.

use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// How long a set is used without looking again.
const FRESH: Duration = Duration::from_mins(10);
/// How long a set is used if it cannot be had again.
const STALE: Duration = Duration::from_hours(24);
/// The least time between two looks, so that made-up key ids cannot make the service hammer the provider.
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// For a whole fetch.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The largest set.
const MAX_BYTES: usize = 1 << 20;
/// The most keys of a set.
const MAX_KEYS: usize = 100;

/// Why there is no key.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum KeyError {
    /// The set has none for this token.
    #[error("the key set has no key for it")]
    Unknown,
    /// There is no set to look in.
    #[error("{0}")]
    Unavailable(String),
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Url(Url, reqwest::Client),
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    verifying: DecodingKey,
}

#[derive(Debug, Clone)]
struct Loaded {
    keys: Arc<Vec<Key>>,
    at: Instant,
}

/// A key set that is kept up to date.
#[derive(Debug)]
pub(super) struct Jwks {
    source: Source,
    loaded: RwLock<Option<Loaded>>,
    /// When somebody looked last; held while looking.
    looked: Mutex<Option<Instant>>,
    pause: Duration,
}

impl Jwks {
    /// The set at a path or an HTTPS URL; plain HTTP only on this machine.
    ///
    /// # Errors
    /// The URL cannot be used; a sentence that says why.
    pub(super) fn new(place: &str, pause: Duration) -> Result<Self, String> {
        let source = if place.starts_with("https://") || place.starts_with("http://") {
            let url: Url = place.parse().map_err(|error| format!("{error}; give a URL or a path"))?;
            let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
            if url.scheme() == "http" && !is_local {
                return Err("keys are only fetched over https, or from this machine".to_owned());
            }
            // Whoever comes first installs it.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let client = reqwest::Client::builder()
                .user_agent(concat!("mercuriale/", env!("CARGO_PKG_VERSION")))
                .timeout(TIMEOUT)
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .map_err(|error| error.to_string())?;
            Source::Url(url, client)
        } else {
            Source::File(place.into())
        };
        Ok(Self { source, loaded: RwLock::new(None), looked: Mutex::new(None), pause })
    }

    /// Whether it is a file, which has to be right when the service starts; a server may come up later.
    pub(super) fn is_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// The key that a token with this header is verified with.
    pub(super) async fn key(&self, id: Option<&str>, algorithm: Algorithm) -> Result<DecodingKey, KeyError> {
        let present = self.present();
        let found = present.as_ref().and_then(|loaded| find(&loaded.keys, id, algorithm));
        let is_fresh = present.is_some_and(|loaded| loaded.at.elapsed() < FRESH);
        if let (Some(key), true) = (&found, is_fresh) {
            return Ok(key.clone());
        }
        match (self.look().await, found) {
            // A set that no longer has the key has withdrawn it.
            (Ok(()), _) => {
                self.present().and_then(|loaded| find(&loaded.keys, id, algorithm)).ok_or(KeyError::Unknown)
            }
            (Err(_), Some(found)) => Ok(found),
            (Err(error), None) if self.present().is_none() => Err(KeyError::Unavailable(error)),
            (Err(_), None) => Err(KeyError::Unknown),
        }
    }

    /// The set, unless it is too old.
    fn present(&self) -> Option<Loaded> {
        let loaded = self.loaded.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        loaded.filter(|loaded| loaded.at.elapsed() < STALE)
    }

    /// Reads the set again, unless somebody did a moment ago.
    ///
    /// # Errors
    /// It cannot be had; a sentence that says why.
    pub(super) async fn look(&self) -> Result<(), String> {
        let mut looked = self.looked.lock().await;
        if looked.is_some_and(|at| at.elapsed() < self.pause) {
            return match self.present() {
                Some(_) => Ok(()),
                None => Err("the key set could not be read a moment ago".to_owned()),
            };
        }
        *looked = Some(Instant::now());
        let keys = match self.fetch().await.and_then(|bytes| keys_of(&bytes)) {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(%error, "the key set cannot be read");
                return Err(error);
            }
        };
        let loaded = Loaded { keys: Arc::new(keys), at: Instant::now() };
        *self.loaded.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(loaded);
        Ok(())
    }

    async fn fetch(&self) -> Result<Vec<u8>, String> {
        match &self.source {
            Source::File(path) => {
                let at = |error: std::io::Error| format!("{}: {error}", path.display());
                let bytes = tokio::fs::metadata(path).await.map_err(at)?.len();
                if bytes > MAX_BYTES as u64 {
                    return Err(too_large());
                }
                tokio::fs::read(path).await.map_err(at)
            }
            Source::Url(url, client) => {
                let asked =
                    client.get(url.clone()).send().await.and_then(reqwest::Response::error_for_status);
                let mut response = asked.map_err(|error| error.without_url().to_string())?;
                if !response.status().is_success() {
                    return Err(format!("the server answered {}", response.status()));
                }
                let mut bytes = Vec::new();
                while let Some(chunk) =
                    response.chunk().await.map_err(|error| error.without_url().to_string())?
                {
                    if bytes.len() + chunk.len() > MAX_BYTES {
                        return Err(too_large());
                    }
                    bytes.extend_from_slice(&chunk);
                }
                Ok(bytes)
            }
        }
    }
}

fn too_large() -> String {
    format!("the key set is larger than the {MAX_BYTES} bytes that are read")
}

/// The keys of a set that tokens can be verified with; others, also ones of unknown kinds, are passed over.
fn keys_of(bytes: &[u8]) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let set: Set = serde_json::from_slice(bytes).map_err(|error| format!("it is no JWK set: {error}"))?;
    if set.keys.len() > MAX_KEYS {
        return Err(format!("the key set has {} keys; {MAX_KEYS} are read", set.keys.len()));
    }
    let keys: Vec<Key> = set.keys.into_iter().filter_map(key_of).collect();
    if keys.is_empty() {
        return Err("the key set has no Ed25519 or RSA key to verify with".to_owned());
    }
    Ok(keys)
}

fn key_of(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        _ => return None,
    };
    let expected = if algorithm == Algorithm::EdDSA { KeyAlgorithm::EdDSA } else { KeyAlgorithm::RS256 };
    let is_for_it = jwk.common.key_algorithm.is_none_or(|named| named == expected)
        && jwk.common.public_key_use.as_ref().is_none_or(|named| *named == PublicKeyUse::Signature);
    let verifying = DecodingKey::from_jwk(&jwk).ok()?;
    is_for_it.then_some(Key { id: jwk.common.key_id, algorithm, verifying })
}

/// The key with this id; without an id, the only one for the algorithm.
fn find(keys: &[Key], id: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = keys
        .iter()
        .filter(|key| key.algorithm == algorithm && id.is_none_or(|id| key.id.as_deref() == Some(id)));
    let first = fitting.next()?;
    fitting.next().is_none().then(|| first.verifying.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ED25519: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn only_keys_that_verify_are_taken() {
        let with = |more: &str| ED25519.replacen('{', &format!("{{{more},"), 1);
        for (key, is_taken) in [
            (ED25519.to_owned(), true),
            (with(r#""use":"sig","alg":"EdDSA","kid":"a""#), true),
            (with(r#""use":"enc""#), false),
            (with(r#""alg":"RS256""#), false),
            (r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(), false),
            (r#"{"kty":"OKP","crv":"X25519","x":"AAAA"}"#.to_owned(), false),
            (r#"{"kty":"new","x":1}"#.to_owned(), false),
            ("7".to_owned(), false),
        ] {
            let taken = keys_of(format!("{{\"keys\":[{key}]}}").as_bytes());
            assert_eq!(taken.is_ok(), is_taken, "{key}: {taken:?}");
        }
        assert!(keys_of(b"<html>").is_err());
        let many = vec![ED25519; MAX_KEYS + 1].join(",");
        assert!(keys_of(format!("{{\"keys\":[{many}]}}").as_bytes()).is_err());
    }

    #[test]
    fn a_token_without_a_key_id_needs_an_only_key() {
        let named = |id: &str| ED25519.replacen('{', &format!(r#"{{"kid":"{id}","#), 1);
        let one = keys_of(format!("{{\"keys\":[{}]}}", named("a")).as_bytes()).expect("a key");
        let two = keys_of(format!("{{\"keys\":[{},{}]}}", named("a"), named("b")).as_bytes()).expect("keys");
        assert!(find(&one, None, Algorithm::EdDSA).is_some());
        assert!(find(&one, None, Algorithm::RS256).is_none());
        assert!(find(&one, Some("b"), Algorithm::EdDSA).is_none());
        assert!(find(&two, None, Algorithm::EdDSA).is_none());
        assert!(find(&two, Some("b"), Algorithm::EdDSA).is_some());
    }

    #[test]
    fn keys_come_over_https_or_from_here() {
        assert!(Jwks::new("http://example.org/jwks", PAUSE).is_err());
        assert!(Jwks::new("https://", PAUSE).is_err());
        assert!(Jwks::new("http://127.0.0.1:1/jwks", PAUSE).is_ok_and(|set| !set.is_file()));
        assert!(Jwks::new("/etc/jwks.json", PAUSE).is_ok_and(|set| set.is_file()));
    }
}
