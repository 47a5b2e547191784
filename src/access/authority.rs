//! Bearer tokens: JWTs of this service or of an identity provider (RFC 7519, with the advice of RFC 8725).

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use super::crypto;
use super::jwks::{Jwks, KeyError, PAUSE};
use super::keys::{KEY_PREFIX, key_verify};
use super::principal::{Principal, Role};
use super::secret::TokenSecret;

/// Issuer and audience of the tokens that are issued here.
const OWN: &str = "mercuriale";
/// How far the clocks of two machines may be apart, in seconds.
const LEEWAY_SECONDS: u64 = 30;
/// The longest token that is looked at.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// How long a token issued here is valid at most.
pub const MAX_LIFETIME: Duration = Duration::from_hours(366 * 24);

/// Why a request is not taken to be anybody's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// The token is not valid, or no longer; what to do about it.
    #[error("{0}")]
    Refused(String),
    /// It cannot be told for the moment; the cause, for the log.
    #[error("tokens cannot be verified: {0}")]
    Unavailable(String),
}

/// How tokens of an identity provider are verified.
#[derive(Debug, Clone, Default)]
pub struct JwtSettings {
    /// Path or URL of its JWK set.
    pub jwks: Option<String>,
    /// What their `iss` has to be.
    pub issuer: Option<String>,
    /// What their `aud` has to be or hold.
    pub audience: Option<String>,
    /// The least time between two looks at the key set; 30 s unless set.
    pub jwks_pause: Option<Duration>,
}

/// Issues and verifies tokens, and verifies API keys; clones share it.
#[derive(Debug, Clone)]
pub struct Authority {
    inner: Arc<Inner>,
    keys: Option<PgPool>,
}

#[derive(Debug)]
struct Inner {
    signing: Signing,
    verifying: DecodingKey,
    own: Validation,
    jwks: Option<(Jwks, JwtSettings)>,
}

/// The key that tokens are signed with; never shown.
struct Signing(EncodingKey);

impl std::fmt::Debug for Signing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Signing")
    }
}

#[derive(Serialize)]
struct Issued<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    tenant: &'a str,
    role: Role,
    iat: i64,
    exp: i64,
    jti: Uuid,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    tenant: String,
    role: String,
    exp: i64,
}

impl Authority {
    /// Signs with a secret, and verifies what was signed with it or by an identity provider.
    ///
    /// # Errors
    /// The key set's URL cannot be used, or its file cannot be read; a sentence that says why.
    pub async fn open(secret: &TokenSecret, settings: JwtSettings) -> Result<Self, String> {
        crypto::install();
        let jwks = match &settings.jwks {
            None => None,
            Some(place) => {
                let name = |error: String| format!("MERCURIALE_JWKS: {error}");
                let jwks = Jwks::new(place, settings.jwks_pause.unwrap_or(PAUSE)).map_err(name)?;
                let looked = jwks.look().await;
                if jwks.is_file() {
                    looked.map_err(name)?;
                }
                Some((jwks, settings.clone()))
            }
        };
        Ok(Self {
            inner: Arc::new(Inner {
                signing: Signing(EncodingKey::from_secret(secret.expose())),
                verifying: DecodingKey::from_secret(secret.expose()),
                own: validation(
                    Algorithm::HS256,
                    settings.issuer.as_deref(),
                    settings.audience.as_deref(),
                    true,
                ),
                jwks,
            }),
            keys: None,
        })
    }

    /// The same, which also takes the API keys of a database.
    #[must_use]
    pub fn with_keys(self, pool: PgPool) -> Self {
        Self { keys: Some(pool), ..self }
    }

    /// A token of this service for `lifetime`, at most [`MAX_LIFETIME`], and when it ends.
    pub fn issue(&self, principal: &Principal, lifetime: Duration) -> (String, DateTime<Utc>) {
        let now = Utc::now();
        let lifetime = TimeDelta::from_std(lifetime.min(MAX_LIFETIME)).unwrap_or_default();
        let expires_at = now + lifetime;
        let claims = Issued {
            iss: OWN,
            aud: OWN,
            sub: &principal.subject,
            tenant: &principal.tenant,
            role: principal.role,
            iat: now.timestamp(),
            exp: expires_at.timestamp(),
            jti: Uuid::new_v4(),
        };
        let token = encode(&Header::new(Algorithm::HS256), &claims, &self.inner.signing.0)
            .expect("plain claims are signed with a key of the right kind");
        (token, expires_at)
    }

    /// Whose token or API key it is.
    ///
    /// # Errors
    /// See [`AccessError`].
    pub async fn verify(&self, token: &str) -> Result<Principal, AccessError> {
        let refused = |text: &str| AccessError::Refused(text.to_owned());
        if token.len() > MAX_TOKEN_BYTES {
            return Err(AccessError::Refused(format!("the token is longer than {MAX_TOKEN_BYTES} bytes")));
        }
        if let Some(pool) = self.keys.as_ref().filter(|_| token.starts_with(KEY_PREFIX)) {
            return key_verify(pool, token)
                .await
                .map_err(|error| AccessError::Unavailable(error.to_string()))?
                .ok_or_else(|| refused("the API key is not known, revoked or expired"));
        }
        let header = decode_header(token).map_err(|_| refused("the token is not a JWT of a known kind"))?;
        // RFC 7515, 4.1.11: extensions that must be understood, and are not.
        if header.crit.is_some() {
            return Err(refused("the token demands extensions (crit) that are not known here"));
        }
        let claims = match (header.alg, &self.inner.jwks) {
            (Algorithm::HS256, _) => claims_of(token, &self.inner.verifying, &self.inner.own)?,
            (algorithm @ (Algorithm::EdDSA | Algorithm::RS256), Some((jwks, settings))) => {
                let key = jwks.key(header.kid.as_deref(), algorithm).await.map_err(|error| match error {
                    KeyError::Unknown => refused("the token is signed with a key that is not in the key set"),
                    KeyError::Unavailable(cause) => AccessError::Unavailable(cause),
                })?;
                let (issuer, audience) = (settings.issuer.as_deref(), settings.audience.as_deref());
                claims_of(token, &key, &validation(algorithm, issuer, audience, false))?
            }
            _ => return Err(refused("tokens signed in this way are not taken here")),
        };
        let role = claims.role.parse::<Role>();
        let principal = role.and_then(|role| Principal::new(&claims.tenant, &claims.sub, role));
        let principal =
            principal.map_err(|error| AccessError::Refused(format!("the token's claims: {error}")))?;
        Ok(principal.until(DateTime::from_timestamp(claims.exp, 0)))
    }
}

/// What a token has to be. Tokens issued here are taken whatever is demanded of an identity provider's.
fn validation(
    algorithm: Algorithm,
    issuer: Option<&str>,
    audience: Option<&str>,
    is_own: bool,
) -> Validation {
    let mut validation = Validation::new(algorithm);
    validation.leeway = LEEWAY_SECONDS;
    validation.validate_nbf = true;
    let mut required = vec!["exp", "sub"];
    let own = is_own.then_some(OWN);
    if let Some(issuer) = issuer {
        validation.set_issuer(&own.into_iter().chain([issuer]).collect::<Vec<_>>());
        required.push("iss");
    }
    match audience {
        Some(audience) => {
            validation.set_audience(&own.into_iter().chain([audience]).collect::<Vec<_>>());
            required.push("aud");
        }
        None => validation.validate_aud = false,
    }
    validation.set_required_spec_claims(&required);
    validation
}

fn claims_of(token: &str, key: &DecodingKey, validation: &Validation) -> Result<Claims, AccessError> {
    decode::<Claims>(token, key, validation).map(|token| token.claims).map_err(|error| {
        AccessError::Refused(match error.kind() {
            ErrorKind::ExpiredSignature => "the token has expired; get a new one".to_owned(),
            ErrorKind::ImmatureSignature => "the token is not valid yet".to_owned(),
            ErrorKind::InvalidIssuer => "the token is of another issuer".to_owned(),
            ErrorKind::InvalidAudience => "the token is for another audience".to_owned(),
            ErrorKind::MissingRequiredClaim(claim) => format!("the token lacks the claim {claim}"),
            // Which claim is wrong is told only once the signature holds, so this gives nothing away.
            ErrorKind::Json(_) => {
                "the token's claims sub, tenant and role have to be texts, and exp whole seconds".to_owned()
            }
            _ => "the token's signature does not hold; get a token of this service".to_owned(),
        })
    })
}
