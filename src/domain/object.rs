//! JSON objects that are objects.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

/// What is read from an object only. serde's structs also take a list of their values in the order of their fields, which
/// nobody was promised and a later version may have in another order.
#[derive(Debug, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Fields(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair {
        one: Option<String>,
        other: Option<Vec<Object<Pair>>>,
    }

    #[test]
    fn a_list_is_no_object_at_any_depth() {
        let read = |text: &str| serde_json::from_str::<Object<Pair>>(text).map_err(|error| error.to_string());
        let Object(pair) = read(r#"{"other":[{"one":"1"}]}"#).expect("an object");
        let inner = &pair.other.expect("others")[0].0;
        assert_eq!((pair.one, inner.one.as_deref(), inner.other.is_none()), (None, Some("1"), true));
        assert!(serde_json::from_str::<Pair>("[null,null]").is_ok(), "what this is for");
        for (text, expected) in [
            ("[null,null]", "invalid type: sequence, expected an object at line 1 column 0"),
            (r#"{"other":[["1",null]]}"#, "invalid type: sequence, expected an object at line 1 column 10"),
            ("null", "invalid type: null, expected an object at line 1 column 4"),
            (r#"{"two":1}"#, "unknown field `two`, expected `one` or `other` at line 1 column 6"),
        ] {
            assert_eq!(read(text).expect_err("refused"), expected, "{text}");
        }
    }
}
