//! Bencode (BEP 3) for serde out of bytes that lie in memory: copied is only what the value keeps.
//!
//! It takes what serde_bencode takes, which reads a stream byte by byte and copies every key: a start decodes two values
//! for each record that the ledger has.

use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use serde_bencode::Error;

/// Decodes the value at the begin of `bytes`, whose nesting was scanned.
pub(super) fn from_bytes<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    T::deserialize(&mut Reader { left: bytes })
}

/// What is left to be read.
struct Reader<'de> {
    left: &'de [u8],
}

impl<'de> Reader<'de> {
    /// Reads past the end of a list or dictionary, if it is here.
    fn ends(&mut self) -> bool {
        let rest = self.left.strip_prefix(b"e");
        self.left = rest.unwrap_or(self.left);
        rest.is_some()
    }

    /// What stands before the next `end`, which is read past.
    fn before(&mut self, end: u8) -> Result<&'de str, Error> {
        let length = self.left.iter().position(|byte| *byte == end).ok_or(Error::EndOfStream)?;
        let (text, rest) = self.left.split_at(length);
        self.left = &rest[1..];
        std::str::from_utf8(text).map_err(|_| Error::InvalidValue("a number is not ASCII".into()))
    }

    /// An integer, behind its `i`.
    fn integer(&mut self) -> Result<i64, Error> {
        let text = self.before(b'e')?;
        text.parse().map_err(|_| Error::InvalidValue(format!("'{text}' is no integer of 64 bits")))
    }

    fn string(&mut self) -> Result<&'de [u8], Error> {
        let text = self.before(b':')?;
        let length = text.parse().map_err(|_| Error::InvalidValue(format!("'{text}' is no length")))?;
        let (string, rest) = self.left.split_at_checked(length).ok_or(Error::EndOfStream)?;
        self.left = rest;
        Ok(string)
    }

    fn text(&mut self) -> Result<&'de str, Error> {
        let bytes = match self.left.first() {
            Some(b'0'..=b'9') => self.string()?,
            Some(b'i') => return Err(Error::invalid_type(Unexpected::Other("an integer"), &"a string")),
            _ => return Err(Error::invalid_type(Unexpected::Other("a list or dictionary"), &"a string")),
        };
        std::str::from_utf8(bytes).map_err(|_| Error::invalid_value(Unexpected::Bytes(bytes), &"UTF-8"))
    }
}

impl<'de> Deserializer<'de> for &mut Reader<'de> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let Some((first, rest)) = self.left.split_first() else { return Err(Error::EndOfStream) };
        if first.is_ascii_digit() {
            return visitor.visit_borrowed_bytes(self.string()?);
        }
        self.left = rest;
        match first {
            b'i' => visitor.visit_i64(self.integer()?),
            b'l' => visitor.visit_seq(Items { reader: self, left: None }),
            b'd' => visitor.visit_map(Items { reader: self, left: None }),
            b'e' => Err(Error::EndOfStream),
            _ => Err(Error::InvalidValue("it is not bencode".into())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        self.left = self.left.strip_prefix(b"l").ok_or_else(|| Error::InvalidType("it is no list".into()))?;
        visitor.visit_seq(Items { reader: self, left: Some(length) })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // Odd, but what one node takes all must: a dictionary's first key passes for its name too.
        self.left = self.left.strip_prefix(b"d").unwrap_or(self.left);
        visitor.visit_enum(self.text()?.into_deserializer())
    }

    forward_to_deserialize_any! {
        bool char i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 unit bytes byte_buf seq map unit_struct tuple_struct ignored_any
        struct
    }
}

/// The items of a list, or the keys and values of a dictionary.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    /// How many are to come, where that is known.
    left: Option<usize>,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        if self.left == Some(0) || self.reader.ends() {
            return Ok(None);
        }
        let item = seed.deserialize(&mut *self.reader)?;
        self.left = self.left.map(|left| left - 1);
        if self.left == Some(0) && !self.reader.ends() {
            return Err(Error::InvalidType("a list has too many items".into()));
        }
        Ok(Some(item))
    }
}

impl<'de> MapAccess<'de> for Items<'_, 'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        if self.reader.ends() { Ok(None) } else { seed.deserialize(&mut *self.reader).map(Some) }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(&mut *self.reader)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};
    use serde_bytes::ByteBuf;

    use super::*;

    #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
    struct Number(u64);

    #[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Choice {
        A,
        B,
    }

    #[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
    struct Value {
        #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
        inner: Option<Box<Value>>,
        #[serde(rename = "b")]
        bytes: ByteBuf,
        #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
        choice: Option<Choice>,
        #[serde(rename = "i", default)]
        integer: i64,
        #[serde(rename = "l", default)]
        list: Vec<Value>,
        #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
        number: Option<Number>,
        #[serde(rename = "p", default)]
        pairs: Vec<(u8, String)>,
    }

    fn values() -> impl Strategy<Value = Value> {
        let flat = (
            proptest::collection::vec(any::<u8>(), 0..12),
            any::<i64>(),
            proptest::option::of(0..=i64::MAX as u64),
            proptest::collection::vec((any::<u8>(), "[a-zü]{0,3}"), 0..3),
            prop_oneof![Just(None), Just(Some(Choice::A)), Just(Some(Choice::B))],
        );
        let flat = flat.prop_map(|(bytes, integer, number, pairs, choice)| Value {
            inner: None,
            choice,
            bytes: ByteBuf::from(bytes),
            integer,
            list: Vec::new(),
            number: number.map(Number),
            pairs,
        });
        flat.prop_recursive(3, 12, 3, |value| {
            let inner = (value.clone(), proptest::option::of(value.clone()), proptest::collection::vec(value, 0..3));
            inner.prop_map(|(value, inner, list)| Value { inner: inner.map(Box::new), list, ..value })
        })
    }

    /// As serde_bencode does it.
    fn theirs(bytes: &[u8]) -> Option<Value> {
        serde_bencode::from_bytes(bytes).ok()
    }

    fn ours(bytes: &[u8]) -> Option<Value> {
        from_bytes(bytes).ok()
    }

    #[test]
    fn what_is_odd_is_taken_and_refused_as_ever() {
        let taken: [&[u8]; 7] = [
            b"d1:b1:xe",
            b"d1:b1:x1:ed1:ai1eee",
            b"d1:b1:x1:i2:e",
            b"d1:b1:x1:zd1:yli1eeee",
            b"d1:i3:abc1:b0:e",
            b"l0:i1elei1elee",
            b"d1:bli1ei2ee1:ii+7e1:pll1:ae",
        ];
        for bytes in taken {
            assert_eq!(ours(bytes), theirs(bytes), "{}", String::from_utf8_lossy(bytes));
        }
        assert!(ours(b"d1:b1:xe").is_some() && ours(b"d1:b1:x1:zd1:yli1eeee").is_some());
        for bytes in [&b""[..], b"de", b"d1:be", b"d1:b1:x1:be", b"i1e", b"d1:b1:x1:ple", b"d1:b1:x1:plli1e1:ai2eeee"] {
            assert!(ours(bytes).is_none() && theirs(bytes).is_none(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn values_come_back(value in values()) {
            let bytes = serde_bencode::to_bytes(&value).unwrap();
            prop_assert_eq!(ours(&bytes), Some(value));
        }

        #[test]
        fn torn_values_are_taken_as_ever(
            value in values(),
            tears in proptest::collection::vec((any::<prop::sample::Index>(), "[dlie0-9:abnp-]"), 1..4),
        ) {
            let mut bytes = serde_bencode::to_bytes(&value).unwrap();
            for (at, with) in tears {
                let at = at.index(bytes.len());
                bytes[at] = with.as_bytes()[0];
            }
            prop_assert_eq!(ours(&bytes), theirs(&bytes));
        }

        #[test]
        fn garbage_is_taken_as_ever(garbage in "[dlie0-3:abnp-]{0,40}") {
            prop_assert_eq!(ours(garbage.as_bytes()), theirs(garbage.as_bytes()));
        }
    }
}
