//! DNS messages (RFC 1035) as multicast DNS uses them (RFC 6762): what DNS-SD needs, and nothing else.
//!
//! Written without compression; read with it, every pointer strictly backwards, so that no message can make a loop.
//! Sizes and numbers are bounded by [`DNS_MAX`] and [`DNS_RECORDS`] before anything is kept.

use core::net::Ipv4Addr;

use super::WireError;
use crate::base::limits::{DNS_MAX, DNS_RECORDS};

/// A name, as labels of 1 to 63 bytes; at most 255 bytes in all. Equal without regard to ASCII case.
#[derive(Clone, Debug, Eq)]
pub struct Name(Vec<Vec<u8>>);

impl Name {
    /// The name of these labels; those over 63 bytes are cut.
    pub fn new<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self(labels.into_iter().map(|label| label[..label.len().min(LABEL_MAX)].to_vec()).collect())
    }

    /// The name that is written so, with a dot between its labels.
    pub fn dotted(name: &str) -> Self {
        Self::new(name.split('.').map(str::as_bytes))
    }

    /// This name with a label before it.
    pub fn below(&self, label: &[u8]) -> Self {
        Self::new([label].into_iter().chain(self.0.iter().map(Vec::as_slice)))
    }

    /// The name without its first label.
    pub fn parent(&self) -> Self {
        Self(self.0.iter().skip(1).cloned().collect())
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.eq_ignore_ascii_case(b))
    }
}

/// What a question asks for, and what a record is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Type(pub u16);

impl Type {
    /// An IPv4 address.
    pub const A: Self = Self(1);
    /// A name.
    pub const PTR: Self = Self(12);
    /// Strings.
    pub const TXT: Self = Self(16);
    /// Where a service is.
    pub const SRV: Self = Self(33);
    /// In a question: everything.
    pub const ANY: Self = Self(255);
}

/// A question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// About what.
    pub name: Name,
    /// For what.
    pub kind: Type,
}

/// A resource record of class IN.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Of what.
    pub name: Name,
    /// The sender alone has records of this name and type (RFC 6762, section 10.2).
    pub unique: bool,
    /// Seconds that it holds; 0 takes it back.
    pub ttl: u32,
    /// What it says.
    pub data: Data,
}

/// What a record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Data {
    /// An address.
    A(Ipv4Addr),
    /// An instance of a service.
    Ptr(Name),
    /// Host and port; priority and weight are 0.
    Srv {
        /// The port.
        port: u16,
        /// The host.
        target: Name,
    },
    /// Strings of at most 255 bytes.
    Txt(Vec<Vec<u8>>),
    /// What is not needed here.
    Other(Type),
}

impl Data {
    /// Its type.
    pub fn kind(&self) -> Type {
        match self {
            Data::A(_) => Type::A,
            Data::Ptr(_) => Type::PTR,
            Data::Srv { .. } => Type::SRV,
            Data::Txt(_) => Type::TXT,
            Data::Other(kind) => *kind,
        }
    }
}

/// A query or a response.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Message {
    /// A response.
    pub response: bool,
    /// What is asked.
    pub questions: Vec<Question>,
    /// Answers and additional records; of a query, the answers that are known.
    pub records: Vec<Record>,
}

impl Message {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let count = |length: usize| u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
        let flags: u16 = if self.response { 0x8400 } else { 0 };
        let mut out = vec![0, 0];
        out.extend(flags.to_be_bytes());
        out.extend(count(self.questions.len()));
        out.extend(count(self.records.len()));
        out.extend([0; 4]);
        for question in &self.questions {
            put_name(&mut out, &question.name);
            out.extend(question.kind.0.to_be_bytes());
            out.extend(IN.to_be_bytes());
        }
        for record in &self.records {
            put_record(&mut out, record);
        }
        out
    }

    /// Reads a message. Records of other classes are left out.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > DNS_MAX {
            return Err(WireError::OverLimit(WHAT, bytes.len(), DNS_MAX));
        }
        let mut reader = Reader { bytes, at: 2 };
        let flags = reader.u16()?;
        if flags & 0x780f != 0 {
            return Err(WireError::Malformed(WHAT, "it is no plain query or response".into()));
        }
        let questions = usize::from(reader.u16()?);
        let mut records = 0;
        for _ in 0..3 {
            records += usize::from(reader.u16()?);
        }
        if questions + records > DNS_RECORDS {
            return Err(WireError::OverLimit("the records of a DNS message", questions + records, DNS_RECORDS));
        }
        let mut message = Self { response: flags & 0x8000 != 0, ..Self::default() };
        for _ in 0..questions {
            let (name, kind) = (reader.name()?, Type(reader.u16()?));
            let class = reader.u16()? & !UNIQUE;
            if class == IN || class == Type::ANY.0 {
                message.questions.push(Question { name, kind });
            }
        }
        for _ in 0..records {
            message.records.extend(reader.record()?);
        }
        Ok(message)
    }
}

fn put_name(out: &mut Vec<u8>, name: &Name) {
    for label in &name.0 {
        out.push(label.len() as u8);
        out.extend(label);
    }
    out.push(0);
}

fn put_record(out: &mut Vec<u8>, record: &Record) {
    put_name(out, &record.name);
    out.extend(record.data.kind().0.to_be_bytes());
    out.extend((if record.unique { IN | UNIQUE } else { IN }).to_be_bytes());
    out.extend(record.ttl.to_be_bytes());
    let length_at = out.len();
    out.extend([0; 2]);
    match &record.data {
        Data::A(address) => out.extend(address.octets()),
        Data::Ptr(name) => put_name(out, name),
        Data::Srv { port, target } => {
            out.extend([0; 4]);
            out.extend(port.to_be_bytes());
            put_name(out, target);
        }
        Data::Txt(strings) => {
            for string in strings {
                let string = &string[..string.len().min(255)];
                out.push(string.len() as u8);
                out.extend(string);
            }
            if strings.is_empty() {
                // RFC 6763, section 6.1: at least one string, which may be empty.
                out.push(0);
            }
        }
        Data::Other(_) => {}
    }
    let length = u16::try_from(out.len() - length_at - 2).unwrap_or(u16::MAX);
    out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
}

/// Reads on from a place in the message.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let taken = self.at.checked_add(length).and_then(|end| self.bytes.get(self.at..end));
        self.at = self.at.saturating_add(length);
        taken.ok_or_else(|| WireError::Malformed(WHAT, "it is cut short".into()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    fn name(&mut self) -> Result<Name, WireError> {
        let malformed = |why: &str| Err(WireError::Malformed(WHAT, why.into()));
        let (mut labels, mut length) = (Vec::new(), 1);
        let mut part = Reader { bytes: self.bytes, at: self.at };
        // A pointer leads to before where this part of the name began.
        let (mut began, mut after) = (self.at, None);
        let mut pointers = 0;
        loop {
            let [first] = part.array()?;
            match first {
                0 => break,
                1..=63 => {
                    length += usize::from(first) + 1;
                    if length > NAME_MAX {
                        return malformed("a name is longer than 255 bytes");
                    }
                    labels.push(part.take(usize::from(first))?.to_vec());
                }
                192.. => {
                    let [second] = part.array()?;
                    let to = usize::from(u16::from_be_bytes([first & 0x3f, second]));
                    if to >= began {
                        return malformed("a name points forwards");
                    }
                    pointers += 1;
                    if pointers > POINTERS_MAX {
                        return malformed("a name has more pointers than the limit");
                    }
                    after.get_or_insert(part.at);
                    (began, part.at) = (to, to);
                }
                64..192 => return malformed("a label is of an unknown kind"),
            }
        }
        self.at = after.unwrap_or(part.at);
        Ok(Name(labels))
    }

    fn record(&mut self) -> Result<Option<Record>, WireError> {
        let name = self.name()?;
        let (kind, class) = (Type(self.u16()?), self.u16()?);
        let ttl = u32::from_be_bytes(self.array()?);
        let length = usize::from(self.u16()?);
        let end = self.at + length;
        let rest = self.take(length)?;
        let mut inner = Reader { bytes: &self.bytes[..end], at: end - length };
        let data = match kind {
            Type::A => Data::A(Ipv4Addr::from(inner.array::<4>()?)),
            Type::PTR => Data::Ptr(inner.name()?),
            Type::SRV => {
                inner.take(4)?;
                Data::Srv { port: inner.u16()?, target: inner.name()? }
            }
            Type::TXT => Data::Txt(strings(rest)?),
            other => Data::Other(other),
        };
        let unique = class & UNIQUE != 0;
        Ok((class & !UNIQUE == IN).then_some(Record { name, unique, ttl, data }))
    }
}

fn strings(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, WireError> {
    let mut strings = Vec::new();
    while let Some((length, rest)) = bytes.split_first() {
        let Some((string, rest)) = rest.split_at_checked(usize::from(*length)) else {
            return Err(WireError::Malformed(WHAT, "a string is cut short".into()));
        };
        if !string.is_empty() {
            strings.push(string.to_vec());
        }
        bytes = rest;
    }
    Ok(strings)
}

const WHAT: &str = "a DNS message";
const LABEL_MAX: usize = 63;
const NAME_MAX: usize = 255;
/// Pointers in a name; without a limit a packet of nothing but pointers costs a million steps.
const POINTERS_MAX: usize = 16;
const IN: u16 = 1;
/// The highest bit of the class: of a record, that it is unique; of a question, that a unicast answer is welcome.
const UNIQUE: u16 = 0x8000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message() -> Message {
        let (kind, host) = (Name::dotted("_dustfs._tcp.local"), Name::dotted("box.local"));
        let instance = kind.below(b"an instance. \xc3\xa9");
        let record = |name: &Name, unique, data| Record { name: name.clone(), unique, ttl: 120, data };
        Message {
            response: true,
            questions: vec![Question { name: kind.clone(), kind: Type::PTR }],
            records: vec![
                record(&kind, false, Data::Ptr(instance.clone())),
                record(&instance, true, Data::Srv { port: 47_470, target: host.clone() }),
                record(&instance, true, Data::Txt(vec![b"v=1".to_vec(), vec![0xff; 255]])),
                record(&host, true, Data::A(Ipv4Addr::new(10, 0, 0, 7))),
            ],
        }
    }

    #[test]
    fn the_form_is_that_of_the_rfc() {
        let query = Message {
            questions: vec![Question { name: Name::dotted("_http._tcp.local"), kind: Type::PTR }],
            ..Message::default()
        };
        let bytes = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x05_http\x04_tcp\x05local\0\0\x0c\0\x01";
        assert_eq!(query.encode(), bytes);
        assert_eq!(Message::decode(bytes), Ok(query));
    }

    #[test]
    fn messages_read_back() {
        assert_eq!(Message::decode(&message().encode()), Ok(message()));
        let empty = Record { name: Name::dotted("a"), unique: false, ttl: 0, data: Data::Txt(Vec::new()) };
        let empty = Message { records: vec![empty], ..Message::default() };
        assert_eq!(Message::decode(&empty.encode()), Ok(empty));
    }

    #[test]
    fn names_are_compared_without_case_and_read_through_pointers() {
        assert_eq!(Name::dotted("A.Local"), Name::dotted("a.lOCAL"));
        assert_ne!(Name::dotted("a.local"), Name::dotted("a.b.local"));
        assert_eq!(Name::dotted("a.b.local").parent(), Name::dotted("b.local"));
        let mut bytes = b"\0\0\x84\0\0\0\0\x02\0\0\0\0".to_vec();
        bytes.extend(b"\x05_http\x04_tcp\x05local\0\0\x0c\0\x01\0\0\0\x78\0\x07\x04page\xc0\x0c");
        bytes.extend(b"\xc0\x28\0\x0c\x80\x01\0\0\0\x78\0\x02\xc0\x12");
        let read = Message::decode(&bytes).expect("compressed as others do");
        let page = Name::dotted("page._http._tcp.local");
        assert_eq!(read.records[0].data, Data::Ptr(page.clone()));
        assert_eq!((&read.records[1].name, read.records[1].unique), (&page, true));
        assert_eq!(read.records[1].data, Data::Ptr(Name::dotted("_tcp.local")));
    }

    #[test]
    fn loops_and_lies_are_refused() {
        let head = |records: u8| [b"\0\0\x84\0\0\0\0", &[records][..], b"\0\0\0\0"].concat();
        let record = |name: &[u8]| [&head(1)[..], name, b"\0\x01\0\x01\0\0\0\0\0\x04\x0a\0\0\x01"].concat();
        assert!(Message::decode(&record(b"\x01a\0")).is_ok());
        for bad in [&b"\xc0\x0c"[..], b"\x01a\xc0\x0c", b"\xc0\xff", b"\x40a\0", b"\x80\0", b"\x3fa\0", b"\xc0"] {
            assert!(Message::decode(&record(bad)).is_err(), "{bad:?}");
        }
        let long: Vec<u8> = (0..5).flat_map(|_| [&[63][..], &[b'a'; 63]].concat()).chain([0]).collect();
        assert!(Message::decode(&record(&long)).is_err());
        assert!(Message::decode(&[0; DNS_MAX + 1]).is_err());
        assert!(Message::decode(b"\0\0\0\0\xff\xff\0\0\0\0\0\0").is_err());
        for length in 0..message().encode().len() {
            assert!(Message::decode(&message().encode()[..length]).is_err(), "{length}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = Message::decode(&bytes);
            let mut changed = message().encode();
            let at = at.index(changed.len());
            changed[at] = byte;
            if let Ok(read) = Message::decode(&changed) {
                let _ = read.encode();
            }
        }

        #[test]
        fn what_is_written_is_read(labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..64), 1..3),
            port: u16, ttl: u32, strings in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..256), 0..5)) {
            let name = Name::new(labels.iter().map(Vec::as_slice));
            let records = vec![
                Record { name: name.clone(), unique: true, ttl, data: Data::Srv { port, target: name.clone() } },
                Record { name: name.clone(), unique: false, ttl, data: Data::Txt(strings) },
            ];
            let message = Message { response: true, questions: Vec::new(), records };
            prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
        }
    }
}
