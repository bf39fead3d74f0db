//! Extended attributes of one object: a small table of names and values, kept whole in each version of its body.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::WireError;
use super::record::Bytes2;
use crate::base::limits::{XATTR_NAME_MAX, XATTRS_MAX};

/// See the module. Names are 1 to [`XATTR_NAME_MAX`] bytes without NUL; all together have [`XATTRS_MAX`] bytes at most.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<XattrWire>", into = "Vec<XattrWire>")]
pub struct Xattrs(BTreeMap<Box<[u8]>, Bytes>);

impl Xattrs {
    /// The value of a name.
    pub fn value(&self, name: &[u8]) -> Option<&Bytes> {
        self.0.get(name)
    }

    /// All names, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.0.keys().map(|name| &**name)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives a name a value, in place of the one that it has. What is refused changes nothing.
    pub fn set(&mut self, name: &[u8], value: Bytes) -> Result<(), WireError> {
        if name.is_empty() || name.contains(&0) {
            return Err(WireError::Malformed("an extended attribute", "its name is empty or has a NUL".into()));
        }
        if name.len() > XATTR_NAME_MAX {
            return Err(WireError::OverLimit("an extended attribute's name in bytes", name.len(), XATTR_NAME_MAX));
        }
        let others = self.0.iter().filter(|(other, _)| ***other != *name);
        let bytes = others.map(|(name, value)| name.len() + value.len()).sum::<usize>() + name.len() + value.len();
        if bytes > XATTRS_MAX {
            return Err(WireError::OverLimit("extended attributes in bytes", bytes, XATTRS_MAX));
        }
        self.0.insert(name.into(), value);
        Ok(())
    }

    /// Takes a name away; false when it is not there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.0.remove(name).is_some()
    }
}

#[derive(Serialize, Deserialize)]
struct XattrWire {
    #[serde(rename = "n")]
    name: Bytes2,
    #[serde(rename = "v")]
    value: Bytes2,
}

impl From<Xattrs> for Vec<XattrWire> {
    fn from(xattrs: Xattrs) -> Self {
        let wire = |(name, value): (Box<[u8]>, Bytes)| XattrWire {
            name: Bytes2::from(name.into_vec()),
            value: Bytes2::from(&value[..]),
        };
        xattrs.0.into_iter().map(wire).collect()
    }
}

impl TryFrom<Vec<XattrWire>> for Xattrs {
    type Error = WireError;

    /// Takes them in the order of their names alone, so that equal tables are equal bytes.
    fn try_from(wire: Vec<XattrWire>) -> Result<Self, WireError> {
        let mut xattrs = Self::default();
        for XattrWire { name, value } in wire {
            if xattrs.0.last_key_value().is_some_and(|(last, _)| **last >= name[..]) {
                return Err(WireError::Malformed("a body", "its extended attributes are not in order".into()));
            }
            xattrs.set(&name, value.into_vec().into())?;
        }
        Ok(xattrs)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Tables that are taken.
    pub(in super::super) fn tables() -> impl Strategy<Value = Xattrs> {
        let pair = (proptest::collection::vec(1..=u8::MAX, 1..20), proptest::collection::vec(any::<u8>(), 0..200));
        proptest::collection::vec(pair, 0..6).prop_map(|pairs| {
            let mut xattrs = Xattrs::default();
            for (name, value) in pairs {
                xattrs.set(&name, value.into()).unwrap();
            }
            xattrs
        })
    }

    #[test]
    fn a_table_is_bounded_and_a_refusal_changes_nothing() {
        let mut xattrs = Xattrs::default();
        let longest = [b'n'; XATTR_NAME_MAX];
        xattrs.set(&longest, vec![1; XATTRS_MAX - XATTR_NAME_MAX].into()).unwrap();
        let full = xattrs.clone();
        assert!(matches!(xattrs.set(b"a", Bytes::new()), Err(WireError::OverLimit(_, _, XATTRS_MAX))));
        assert!(matches!(xattrs.set(&[b'n'; 256], Bytes::new()), Err(WireError::OverLimit(_, 256, XATTR_NAME_MAX))));
        assert!(matches!(xattrs.set(b"", Bytes::new()), Err(WireError::Malformed(..))));
        assert!(matches!(xattrs.set(b"a\0b", Bytes::new()), Err(WireError::Malformed(..))));
        assert_eq!(xattrs, full);
        xattrs.set(&longest, Bytes::from_static(b"less")).unwrap();
        xattrs.set(b"a", Bytes::new()).unwrap();
        assert_eq!(xattrs.names().collect::<Vec<_>>(), [b"a".as_slice(), &longest]);
        assert_eq!(xattrs.value(&longest), Some(&Bytes::from_static(b"less")));
        assert!(xattrs.remove(b"a") && !xattrs.remove(b"a"));
    }

    #[test]
    fn twice_or_out_of_order_is_refused() {
        let line = |name: &[u8]| XattrWire { name: Bytes2::from(name), value: Bytes2::from(&b"v"[..]) };
        let taken = |lines: Vec<XattrWire>| {
            let bytes = super::super::bencode::encode(&lines);
            super::super::bencode::decode::<Xattrs>("a table", &bytes, bytes.len()).is_ok()
        };
        assert!(taken(vec![line(b"a"), line(b"b")]));
        for names in [[b"a", b"a"], [b"b", b"a"], [b"a", b"\0"]] {
            assert!(!taken(names.iter().map(|name| line(*name)).collect()), "{names:?}");
        }
        assert!(!taken(vec![line(b"")]));
        let long = |n: u8| XattrWire { value: Bytes2::from(vec![0; 70]), ..line(&[n]) };
        assert!(taken((1..=200).map(long).collect()) && !taken((1..=250).map(long).collect()));
    }

    proptest! {
        #[test]
        fn tables_come_back(xattrs in tables()) {
            prop_assert_eq!(Xattrs::try_from(Vec::from(xattrs.clone())), Ok(xattrs));
        }
    }
}
