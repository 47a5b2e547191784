//! How `json` walks a document: object by object, entry by entry, into buffers that are used again.

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::sources::text::check_text;

use super::list::add_applies_to;

/// What to do with the entries of one kind of object.
pub(super) trait Entries {
    /// What the object is called in messages.
    const NAME: &'static str;
    /// Keys of the objects that are open, innermost last; returned for use again.
    fn keys(&mut self) -> &mut Vec<String>;
    /// Reads the value of `key`.
    fn entry<'de, A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;
    /// After the last entry.
    fn end<E: de::Error>(&mut self) -> Result<(), E> {
        Ok(())
    }
}

/// Reads an object entry by entry.
pub(super) struct Object<'t, T>(pub(super) &'t mut T);

impl<'de, T: Entries> DeserializeSeed<'de> for Object<'_, T> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, T: Entries> Visitor<'de> for Object<'_, T> {
    type Value = ();
    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} (an object)", T::NAME)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut key = self.0.keys().pop().unwrap_or_default();
        while map.next_key_seed(Text(&mut key))?.is_some() {
            self.0.entry(&key, &mut map)?;
        }
        self.0.keys().push(key);
        self.0.end()
    }
}

/// Reads a text into a buffer.
pub(super) struct Text<'t>(pub(super) &'t mut String);

impl<'de> DeserializeSeed<'de> for Text<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Text<'_> {
    type Value = ();
    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a text")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        check_text(text).map_err(E::custom)?;
        self.0.clear();
        self.0.push_str(text);
        Ok(())
    }
}

/// Reads a text that may stand once.
pub(super) fn once<'de, A: MapAccess<'de>>(
    slot: &mut Option<String>,
    key: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    let mut text = String::new();
    map.next_value_seed(Text(&mut text))?;
    match slot.replace(text) {
        None => Ok(()),
        Some(_) => Err(de::Error::custom(format!("\"{key}\" stands twice"))),
    }
}

/// Reads the SKUs to which a free tier applies, joined with spaces.
pub(super) struct AppliesTo<'t>(pub(super) &'t mut String);

impl<'de> DeserializeSeed<'de> for AppliesTo<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for AppliesTo<'_> {
    type Value = ();
    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a list of SKUs")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut skus: A) -> Result<(), A::Error> {
        let mut sku = String::new();
        while skus.next_element_seed(Text(&mut sku))?.is_some() {
            add_applies_to(self.0, &sku);
        }
        Ok(())
    }
}
