//! Subjects and messages.

use async_nats::HeaderMap;
use chrono::SecondsFormat;
use futures_util::StreamExt as _;
use uuid::Uuid;

use crate::ledger::Event;

/// The JetStream stream of events.
pub const STREAM: &str = "MERCURIALE";
/// Subjects of the stream.
pub const EVENT_SUBJECTS: &str = "mercuriale.event.>";
/// Subject that names the places in which prices moved.
pub const INVALIDATED_SUBJECT: &str = "mercuriale.cache.invalidated";

/// Places that caches should forget.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Invalidated {
    /// Position of the ledger up to which the moves are known.
    pub position: i64,
    /// `provider/service/region`.
    pub places: Vec<String>,
    /// Whether the discount policy changed.
    pub policy: bool,
}

/// Calls `forget` with the places that each notice names, as long as the client lives. Answers are validated without
/// notices; they free memory, so one that is lost does no harm.
pub async fn notices(client: async_nats::Client, forget: impl Fn(&[String])) {
    let Ok(mut notices) = client.subscribe(INVALIDATED_SUBJECT).await else { return };
    while let Some(notice) = notices.next().await {
        if let Ok(Invalidated { places, .. }) = serde_json::from_slice(&notice.payload) {
            forget(&places);
        }
    }
}

/// Subject of an event: `mercuriale.event.<event_type>`, for price events followed by provider, service and region.
/// What is no letter, digit, `-` or `_` in these becomes `_`, since NATS gives meaning to dots and spaces.
pub fn subject(event: &Event) -> String {
    #[derive(serde::Deserialize)]
    struct Place<'a> {
        #[serde(borrow)]
        provider: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        service: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        region: std::borrow::Cow<'a, str>,
    }
    let mut subject = format!("mercuriale.event.{}", event.event_type);
    if event.event_type.starts_with("price.")
        && let Ok(place) = serde_json::from_str::<Place<'_>>(&event.data)
    {
        for part in [place.provider, place.service, place.region] {
            subject.push('.');
            subject.extend(part.chars().map(|character| {
                if character.is_ascii_alphanumeric() || character == '-' || character == '_' {
                    character
                } else {
                    '_'
                }
            }));
            if part.is_empty() {
                subject.push('_');
            }
        }
    }
    subject
}

/// Headers of an event: CloudEvents 1.0 in binary mode (NATS protocol binding), and what JetStream needs to drop a
/// repetition and to refuse a message that would stand in the wrong place.
pub(super) fn headers(event: &Event, ledger_id: Uuid, expected_last_sequence: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let time = event.recorded_at.to_rfc3339_opts(SecondsFormat::Micros, true);
    headers.insert("ce-specversion", "1.0");
    headers.insert("ce-id", event.event_id.to_string().as_str());
    headers.insert("ce-source", format!("urn:uuid:{ledger_id}").as_str());
    headers.insert("ce-type", event.event_type.as_str());
    headers.insert("ce-subject", event.stream.as_str());
    headers.insert("ce-time", time.as_str());
    headers.insert("ce-sequence", sequence(event.position).as_str());
    headers.insert("content-type", "application/json");
    headers.insert(async_nats::header::NATS_MESSAGE_ID, event.event_id.to_string().as_str());
    headers
        .insert(async_nats::header::NATS_EXPECTED_LAST_SEQUENCE, expected_last_sequence.to_string().as_str());
    headers
}

/// A position whose order as text is its order as number.
fn sequence(position: i64) -> String {
    format!("{position:020}")
}

/// Position of a message of the stream.
pub(super) fn position_of(headers: &HeaderMap) -> Option<i64> {
    headers.get("ce-sequence")?.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: &str, data: &str) -> Event {
        Event {
            position: 17,
            event_id: Uuid::from_u128(1),
            stream: "price/1".to_owned(),
            stream_version: 1,
            event_type: event_type.to_owned(),
            recorded_at: chrono::DateTime::UNIX_EPOCH,
            effective_at: chrono::DateTime::UNIX_EPOCH,
            actor: "test".to_owned(),
            tenant: "shared".to_owned(),
            correlation_id: Uuid::nil(),
            causation_id: None,
            data: data.to_owned(),
            leaf_hash: Vec::new(),
        }
    }

    #[test]
    fn price_events_have_their_place_in_the_subject() {
        let data =
            r#"{"provider":"azure","service":"Virtual Machines","region":"francecentral","price_id":1}"#;
        assert_eq!(
            subject(&event("price.changed", data)),
            "mercuriale.event.price.changed.azure.Virtual_Machines.francecentral"
        );
        assert_eq!(subject(&event("refresh.started", "{}")), "mercuriale.event.refresh.started");
        let odd = r#"{"provider":"a.b","service":">","region":""}"#;
        assert_eq!(subject(&event("price.listed", odd)), "mercuriale.event.price.listed.a_b._._");
    }

    #[test]
    fn the_headers_are_a_cloud_event() {
        let headers = headers(&event("price.changed", "{}"), Uuid::from_u128(2), 16);
        for (name, value) in [
            ("ce-specversion", "1.0"),
            ("ce-id", "00000000-0000-0000-0000-000000000001"),
            ("ce-source", "urn:uuid:00000000-0000-0000-0000-000000000002"),
            ("ce-type", "price.changed"),
            ("ce-subject", "price/1"),
            ("ce-time", "1970-01-01T00:00:00.000000Z"),
            ("ce-sequence", "00000000000000000017"),
            ("content-type", "application/json"),
            ("Nats-Msg-Id", "00000000-0000-0000-0000-000000000001"),
            ("Nats-Expected-Last-Sequence", "16"),
        ] {
            assert_eq!(headers.get(name).map(async_nats::HeaderValue::as_str), Some(value), "{name}");
        }
        assert_eq!(position_of(&headers), Some(17));
    }
}
