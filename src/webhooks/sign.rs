//! What is sent: an event as a `CloudEvent` in JSON, signed as Standard Webhooks say.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use ring::hmac;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Bytes of a secret.
const BYTES: usize = 32;

/// The key of a webhook; never shown but once.
#[derive(Debug, Clone)]
pub struct Secret(SecretSlice<u8>);

impl Secret {
    /// At random.
    pub fn new() -> Self {
        Self(rand::random::<[u8; BYTES]>().to_vec().into())
    }

    pub(super) fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// As the receiver configures it: `whsec_` and base64.
    pub fn expose(&self) -> String {
        format!("whsec_{}", STANDARD.encode(self.bytes()))
    }

    /// Value of `webhook-signature` for a message.
    pub fn signature(&self, id: Uuid, timestamp: i64, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.bytes());
        let tag = hmac::sign(&key, format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::new()
    }
}

/// An event to be told.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct Told {
    pub(super) position: i64,
    pub(super) event_id: Uuid,
    pub(super) stream: String,
    pub(super) event_type: String,
    pub(super) recorded_at: DateTime<Utc>,
    /// `None` where it is too large.
    pub(super) data: Option<String>,
}

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: Uuid,
    source: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    subject: &'a str,
    time: String,
    sequence: String,
    datacontenttype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataref: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

impl Told {
    /// The body of the request.
    pub(super) fn body(&self, ledger_id: Uuid) -> String {
        let data = self.data.as_deref().and_then(|data| serde_json::from_str(data).ok());
        let event = CloudEvent {
            specversion: "1.0",
            id: self.event_id,
            source: format!("urn:uuid:{ledger_id}"),
            event_type: &self.event_type,
            subject: &self.stream,
            time: self.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true),
            // Its order as text is its order as number.
            sequence: format!("{:020}", self.position),
            datacontenttype: "application/json",
            dataref: data.is_none().then(|| format!("/v1/events?after={}&limit=1", self.position - 1)),
            data,
        };
        serde_json::to_string(&event).expect("a plain struct is JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_standard_webhooks() {
        // HMAC-SHA256 of "00000000-0000-0000-0000-000000000001.1674087231.{}" with 32 zero bytes, by `openssl dgst`.
        let secret = Secret::from_bytes(vec![0; BYTES]);
        assert_eq!(
            secret.signature(Uuid::from_u128(1), 1_674_087_231, "{}"),
            "v1,6dSwlkZme3KXgW1pHUh86+DJhRd4NB37CUzW8pcDqoQ="
        );
        assert_eq!(secret.expose(), format!("whsec_{}=", "A".repeat(43)));
        assert!(!format!("{secret:?}").contains("AAAA") && !format!("{secret:?}").contains("0, 0"));
        assert_ne!(Secret::new().expose(), Secret::new().expose());
    }

    #[test]
    fn data_goes_out_byte_for_byte_or_is_referred_to() {
        let mut told = Told {
            position: 17,
            event_id: Uuid::from_u128(1),
            stream: "price/1".to_owned(),
            event_type: "price.changed".to_owned(),
            recorded_at: DateTime::UNIX_EPOCH,
            data: Some(r#"{"v":1, "amount":"0.10"}"#.to_owned()),
        };
        let body = told.body(Uuid::from_u128(2));
        assert_eq!(
            body,
            r#"{"specversion":"1.0","id":"00000000-0000-0000-0000-000000000001","source":"urn:uuid:00000000-0000-0000-0000-000000000002","type":"price.changed","subject":"price/1","time":"1970-01-01T00:00:00.000000Z","sequence":"00000000000000000017","datacontenttype":"application/json","data":{"v":1, "amount":"0.10"}}"#
        );
        told.data = None;
        assert!(told.body(Uuid::nil()).contains(r#""dataref":"/v1/events?after=16&limit=1"}"#));
    }
}
