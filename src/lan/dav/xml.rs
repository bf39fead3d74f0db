//! XML as WebDAV's requests use it: a small document becomes a tree whose names carry their namespaces, and a part of such
//! a tree becomes text again that means the same wherever it stands.
//!
//! A reader of our own, since that is less than what any crate adds: no document type is taken, so no entity but the five
//! of XML itself exists, and nothing can expand; bytes, nesting and the number of elements have limits.

use super::super::api::ApiError;
use crate::base::limits::{XML_DEPTH, XML_MAX, XML_NODES};

/// A name with its namespace, which is empty where there is none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Name {
    /// The namespace's URI.
    pub space: String,
    /// The name in it.
    pub local: String,
}

impl Name {
    /// A name in the namespace `DAV:`.
    pub fn dav(local: &str) -> Self {
        Self { space: DAV.into(), local: local.into() }
    }

    /// The local name of a name in the namespace `DAV:`.
    pub fn as_dav(&self) -> Option<&str> {
        (self.space == DAV).then_some(self.local.as_str())
    }

    /// The element of this name without content.
    pub fn write_empty(&self, out: &mut String) {
        Element { name: self.clone(), attributes: Vec::new(), content: Vec::new() }.write(out);
    }
}

/// An element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Element {
    /// Its name.
    pub name: Name,
    /// Its attributes, those that declare namespaces left out.
    pub attributes: Vec<(Name, String)>,
    /// What is in it, in order.
    pub content: Vec<Node>,
}

/// What is in an element.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Node {
    /// Another one.
    Element(Element),
    /// Text.
    Text(String),
}

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    /// 400 with the reason; 413 over [`XML_MAX`] bytes.
    pub fn parse(document: &[u8]) -> Result<Self, ApiError> {
        if document.len() > XML_MAX {
            return Err(ApiError::new(413, format!("the body is longer than {XML_MAX} bytes")));
        }
        let text = core::str::from_utf8(document).map_err(|_| bad("it is no UTF-8"))?;
        Reader::new(text, XML_NODES).document().map_err(bad)
    }

    /// The same for what was written here, of any length.
    #[cfg(test)]
    pub fn parse_any(document: &[u8]) -> Result<Self, ApiError> {
        let text = core::str::from_utf8(document).map_err(|_| bad("it is no UTF-8"))?;
        Reader::new(text, usize::MAX).document().map_err(bad)
    }

    /// The elements in it.
    pub fn elements(&self) -> impl Iterator<Item = &Element> {
        self.content.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first element in it of this name in the namespace `DAV:`.
    pub fn dav(&self, local: &str) -> Option<&Element> {
        self.elements().find(|element| element.name.as_dav() == Some(local))
    }

    /// The text that stands in it directly.
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter_map(|node| if let Node::Text(text) = node { Some(text.as_str()) } else { None })
            .collect()
    }

    /// Writes it so that it means the same in any place whose default namespace is none.
    pub fn write(&self, out: &mut String) {
        self.write_in("", out);
    }

    fn write_in(&self, default: &str, out: &mut String) {
        let Name { space, local } = &self.name;
        out.push('<');
        out.push_str(local);
        if space != default {
            out.push_str(" xmlns=\"");
            escape(space, out);
            out.push('"');
        }
        for (number, (name, value)) in self.attributes.iter().enumerate() {
            let prefix = match name.space.as_str() {
                "" => String::new(),
                XML => "xml:".into(),
                other => {
                    out.push_str(&format!(" xmlns:a{number}=\""));
                    escape(other, out);
                    out.push('"');
                    format!("a{number}:")
                }
            };
            out.push_str(&format!(" {prefix}{}=\"", name.local));
            escape(value, out);
            out.push('"');
        }
        if self.content.is_empty() {
            return out.push_str("/>");
        }
        out.push('>');
        for node in &self.content {
            match node {
                Node::Element(element) => element.write_in(space, out),
                Node::Text(text) => escape(text, out),
            }
        }
        out.push_str("</");
        out.push_str(local);
        out.push('>');
    }
}

/// Text as it stands between tags or in an attribute's quotes. What XML cannot hold becomes a replacement character.
pub fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            character if is_char(character) => out.push(character),
            _ => out.push('\u{fffd}'),
        }
    }
}

fn bad(why: &'static str) -> ApiError {
    ApiError::bad(format!("the body is not the XML that is expected: {why}"))
}

/// XML 1.0, production 2.
fn is_char(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

struct Reader<'a> {
    rest: &'a str,
    /// Prefixes and the namespaces that they stand for, inner ones last; the default's prefix is empty.
    bindings: Vec<(&'a str, String)>,
    open: Vec<Open<'a>>,
    /// Elements and attributes that may still come.
    left: usize,
}

/// An element whose end has not come.
struct Open<'a> {
    element: Element,
    /// As it was written, with its prefix.
    tag: &'a str,
    /// Bindings that were there before it.
    bindings: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, left: usize) -> Self {
        let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { rest, bindings: vec![("xml", XML.into())], open: Vec::new(), left }
    }

    fn document(mut self) -> Result<Element, &'static str> {
        self.between_elements()?;
        loop {
            if let Some(whole) = self.step()? {
                self.between_elements()?;
                return if self.rest.is_empty() { Ok(whole) } else { Err("something follows the document's element") };
            }
        }
    }

    /// What may stand before and after the document's element.
    fn between_elements(&mut self) -> Result<(), &'static str> {
        loop {
            self.rest = self.rest.trim_start_matches(WHITE);
            if !self.skip("<?", "?>")? && !self.skip("<!--", "-->")? {
                return Ok(());
            }
        }
    }

    fn skip(&mut self, begin: &str, end: &str) -> Result<bool, &'static str> {
        let Some(rest) = self.rest.strip_prefix(begin) else { return Ok(false) };
        self.rest = rest;
        self.until(end)?;
        Ok(true)
    }

    /// What stands before `end`, which is passed.
    fn until(&mut self, end: &str) -> Result<&'a str, &'static str> {
        let (before, after) = self.rest.split_once(end).ok_or("it breaks off")?;
        self.rest = after;
        Ok(before)
    }

    /// Reads one tag, or what stands before the next; the document's element when that has ended.
    fn step(&mut self) -> Result<Option<Element>, &'static str> {
        if self.skip("<!--", "-->")? || self.skip("<?", "?>")? {
            return Ok(None);
        }
        if let Some(rest) = self.rest.strip_prefix("<![CDATA[") {
            self.rest = rest;
            let text = self.until("]]>")?;
            self.text(text.to_owned())?;
            return Ok(None);
        }
        if let Some(rest) = self.rest.strip_prefix("</") {
            self.rest = rest;
            let tag = self.until(">")?.trim_end_matches(WHITE);
            let open = self.open.pop().filter(|open| open.tag == tag).ok_or("an end has no beginning")?;
            return Ok(self.close(open));
        }
        if self.rest.starts_with("<!") {
            return Err("a document type is not taken");
        }
        if let Some(rest) = self.rest.strip_prefix('<') {
            self.rest = rest;
            return self.start();
        }
        let end = self.rest.find('<').ok_or("it breaks off")?;
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let text = decode(text)?;
        self.text(text)?;
        Ok(None)
    }

    fn text(&mut self, text: String) -> Result<(), &'static str> {
        if !text.chars().all(is_char) {
            return Err("it has a character that XML has not");
        }
        let open = self.open.last_mut().ok_or("text stands outside of the document's element")?;
        match open.element.content.last_mut() {
            Some(Node::Text(before)) => before.push_str(&text),
            _ => open.element.content.push(Node::Text(text)),
        }
        Ok(())
    }

    fn start(&mut self) -> Result<Option<Element>, &'static str> {
        let tag = self.name()?;
        let bindings = self.bindings.len();
        let mut attributes: Vec<(&str, String)> = Vec::new();
        let is_empty = loop {
            let spaced = self.rest.starts_with(WHITE);
            self.rest = self.rest.trim_start_matches(WHITE);
            if let Some(rest) = self.rest.strip_prefix("/>") {
                self.rest = rest;
                break true;
            }
            if let Some(rest) = self.rest.strip_prefix('>') {
                self.rest = rest;
                break false;
            }
            if !spaced {
                return Err("a tag is not well formed");
            }
            self.attribute(&mut attributes)?;
        };
        self.count()?;
        if self.open.len() >= XML_DEPTH {
            return Err("its elements are nested too deep");
        }
        let name = self.resolve(tag, true)?;
        let mut named = Vec::with_capacity(attributes.len());
        for (attribute, value) in attributes {
            let name = self.resolve(attribute, false)?;
            if named.iter().any(|(known, _)| *known == name) {
                return Err("an attribute is there twice");
            }
            named.push((name, value));
        }
        let element = Element { name, attributes: named, content: Vec::new() };
        let open = Open { element, tag, bindings };
        if is_empty {
            return Ok(self.close(open));
        }
        self.open.push(open);
        Ok(None)
    }

    /// Reads one attribute; one that declares a namespace does so.
    fn attribute(&mut self, attributes: &mut Vec<(&'a str, String)>) -> Result<(), &'static str> {
        let name = self.name()?;
        self.rest = self.rest.trim_start_matches(WHITE);
        self.rest = self.rest.strip_prefix('=').ok_or("an attribute has no value")?.trim_start_matches(WHITE);
        let quote = if self.rest.starts_with('\'') { "'" } else { "\"" };
        self.rest = self.rest.strip_prefix(quote).ok_or("an attribute's value is not quoted")?;
        let value = self.until(quote)?;
        if value.contains('<') {
            return Err("an attribute's value has a '<' in it");
        }
        let value = decode(value)?;
        if !value.chars().all(is_char) {
            return Err("it has a character that XML has not");
        }
        self.count()?;
        let prefix = match name.split_once(':') {
            None if name == "xmlns" => "",
            Some(("xmlns", prefix)) => prefix,
            _ => {
                attributes.push((name, value));
                return Ok(());
            }
        };
        // Namespaces in XML 1.0, section 3 and 5: what has a prefix has a namespace.
        if matches!(prefix, "xml" | "xmlns") || value.is_empty() && !prefix.is_empty() || value.len() > SPACE_MAX {
            return Err("a namespace cannot be declared so");
        }
        self.bindings.push((prefix, value));
        Ok(())
    }

    fn close(&mut self, open: Open<'a>) -> Option<Element> {
        self.bindings.truncate(open.bindings);
        match self.open.last_mut() {
            Some(around) => {
                around.element.content.push(Node::Element(open.element));
                None
            }
            None => Some(open.element),
        }
    }

    fn count(&mut self) -> Result<(), &'static str> {
        self.left = self.left.checked_sub(1).ok_or("it has too many elements and attributes")?;
        Ok(())
    }

    fn name(&mut self) -> Result<&'a str, &'static str> {
        let end = self.rest.find(|c: char| !is_name(c) && c != ':').ok_or("it breaks off")?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (prefix, local) = name.split_once(':').unwrap_or(("a", name));
        let good = |part: &str| part.starts_with(|c| is_name(c) && !matches!(c, '0'..='9' | '-' | '.'));
        if good(prefix) && good(local) && !local.contains(':') { Ok(name) } else { Err("a name is none") }
    }

    fn resolve(&self, name: &str, is_element: bool) -> Result<Name, &'static str> {
        let (prefix, local) = match name.split_once(':') {
            Some((prefix, local)) => (prefix, local),
            // Attributes without a prefix are in no namespace.
            None if !is_element => return Ok(Name { space: String::new(), local: name.into() }),
            None => ("", name),
        };
        match self.bindings.iter().rev().find(|(known, _)| *known == prefix) {
            Some((_, space)) => Ok(Name { space: space.clone(), local: local.into() }),
            None if prefix.is_empty() => Ok(Name { space: String::new(), local: local.into() }),
            None => Err("a prefix has no namespace"),
        }
    }
}

/// What may stand in a name, as far as is needed to tell names from what stands around them.
fn is_name(character: char) -> bool {
    matches!(character, 'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' | '\u{b7}' | '\u{c0}'..='\u{d6}'
        | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{1fff}' | '\u{200c}' | '\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{fffd}' | '\u{10000}'..)
}

/// Text with its references in place.
fn decode(text: &str) -> Result<String, &'static str> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        decoded.push_str(before);
        let (reference, after) = after.split_once(';').ok_or("a reference does not end")?;
        decoded.push(match reference {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            other => numbered(other).ok_or("there is a reference to what is not there")?,
        });
        rest = after;
    }
    decoded.push_str(rest);
    Ok(decoded)
}

fn numbered(reference: &str) -> Option<char> {
    let digits = reference.strip_prefix('#')?;
    let (digits, radix) = digits.strip_prefix('x').map_or((digits, 10), |digits| (digits, 16));
    let good = !digits.is_empty() && digits.bytes().all(|digit| char::from(digit).is_digit(radix));
    char::from_u32(u32::from_str_radix(digits, radix).ok().filter(|_| good)?)
}

const DAV: &str = "DAV:";
const XML: &str = "http://www.w3.org/XML/1998/namespace";
const WHITE: [char; 4] = [' ', '\t', '\r', '\n'];
/// Bytes of a namespace's URI.
const SPACE_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Element {
        Element::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn names_carry_their_namespaces() {
        let element = parse(
            "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<!-- x --><D:propfind xmlns:D='DAV:'>\n<D:prop xmlns=\"urn:a\">\
             <getetag/><b xmlns='' c='1' D:d='&#x41;&amp;&quot;'>x<![CDATA[<&]]>y</b></D:prop ></D:propfind> <?pi?>",
        );
        assert_eq!(element.name.as_dav(), Some("propfind"));
        let prop = element.dav("prop").expect("a prop");
        let names: Vec<_> = prop.elements().map(|element| element.name.clone()).collect();
        assert_eq!(names[0], Name { space: "urn:a".into(), local: "getetag".into() });
        assert_eq!(names[1], Name { space: String::new(), local: "b".into() });
        let b = prop.elements().nth(1).expect("a second");
        assert_eq!(b.text(), "x<&y");
        assert_eq!(b.attributes[1], (Name::dav("d"), "A&\"".into()));
    }

    #[test]
    fn what_is_no_xml_is_refused() {
        for text in [
            "",
            " ",
            "x",
            "<a>",
            "<a></b>",
            "<a/><b/>",
            "<a/>x",
            "</a>",
            "<a b></a>",
            "<a b=c/>",
            "<a b='c'd='e'/>",
            "<a b='c' b='d'/>",
            "<a b='<'/>",
            "<a>&b;</a>",
            "<a>&#;</a>",
            "<a>&#x110000;</a>",
            "<a>&#0;</a>",
            "<a>&#+1;</a>",
            "<a>&amp</a>",
            "<a>\u{1}</a>",
            "<p:a/>",
            "<a p:b=''/>",
            "<a xmlns:p=''/>",
            "<a xmlns:xml='x'/>",
            "<1/>",
            "<a:/>",
            "<:a/>",
            "<a:b:c xmlns:a='x'/>",
            "<!DOCTYPE a><a/>",
            "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
            "<a><!ENTITY b 'c'></a>",
            "<a><!-- </a>",
            "<a><![CDATA[</a>",
            "<a",
            "<a b='",
        ] {
            assert_eq!(Element::parse(text.as_bytes()).expect_err(text).status, 400, "{text}");
        }
        assert_eq!(Element::parse(b"<a>\xff</a>").expect_err("no UTF-8").status, 400);
        assert_eq!(Element::parse(&vec![b' '; XML_MAX + 1]).expect_err("too long").status, 413);
        let nested = |depth: usize| "<a>".repeat(depth) + &"</a>".repeat(depth);
        assert!(Element::parse(nested(XML_DEPTH).as_bytes()).is_ok());
        assert!(Element::parse(nested(XML_DEPTH + 1).as_bytes()).is_err());
        let wide = |nodes: usize| format!("<a>{}</a>", "<b/>".repeat(nodes - 1));
        assert!(Element::parse(wide(XML_NODES).as_bytes()).is_ok());
        assert!(Element::parse(wide(XML_NODES + 1).as_bytes()).is_err());
        assert!(Element::parse(format!("<a xmlns='{}'/>", "x".repeat(SPACE_MAX + 1)).as_bytes()).is_err());
    }

    #[test]
    fn what_is_written_means_the_same() {
        for text in [
            "<a/>",
            "<p:a xmlns:p='urn:p' p:b='c' xml:lang='de'>x &lt; y<q xmlns='' r='&#10;'/><p:s><p:t/></p:s>\r</p:a>",
            "<a xmlns='x&amp;y'><b xmlns=''><c xmlns='x&amp;y'/></b></a>",
        ] {
            let element = parse(text);
            let mut written = String::new();
            element.write(&mut written);
            assert_eq!(parse(&written), element, "{written}");
            // As part of an answer.
            let around = parse(&format!("<D:multistatus xmlns:D='DAV:'>{written}</D:multistatus>"));
            assert_eq!(around.elements().next(), Some(&element), "{written}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "[<>/?!a:b='\"&;# x\\[\\]-]{0,60}") {
            if let Ok(element) = Element::parse(text.as_bytes()) {
                let mut written = String::new();
                element.write(&mut written);
                prop_assert_eq!(parse(&written), element);
            }
        }

        #[test]
        fn any_text_is_escaped(text in "\\PC{0,40}") {
            let mut escaped = String::new();
            escape(&text, &mut escaped);
            let element = parse(&format!("<a b=\"{escaped}\">{escaped}</a>"));
            prop_assert_eq!(&element.attributes[0].1, &text);
            prop_assert_eq!(element.text(), text);
        }
    }
}
