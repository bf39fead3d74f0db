//! Properties (RFC 4918, section 15; RFC 4331): those that a file has by itself, and those that clients make up, of which
//! so many bytes are kept in memory.

use std::collections::BTreeMap;

use super::super::api::ApiError;
use super::super::date::{http_date, iso_date, parse_http_date};
use super::super::download::entity_tag;
use super::super::media::media_type;
use super::super::path::FilePath;
use super::href;
use super::lock::Locks;
use super::xml::{Element, Name, escape};
use crate::base::limits::{PROPERTIES, PROPERTIES_MEMORY};
use crate::base::{Instant, WallTime};
use crate::node::io::Attr;
use crate::wire::record::Kind;

/// What a `PROPFIND` asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// All, and these as well.
    All(Vec<Name>),
    /// The names of all.
    Names,
    /// These.
    These(Vec<Name>),
}

/// What a `PROPPATCH` asks for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Edits {
    /// In order: the property as XML, or `None` to take it away.
    pub edits: Vec<(Name, Option<String>)>,
    /// The file's time.
    pub mtime: Option<WallTime>,
    /// The file may be run, or may not.
    pub executable: Option<bool>,
    /// Names of those that nobody may change.
    refused: Vec<Name>,
}

/// One file or directory, as its properties see it.
pub struct Entry<'a> {
    /// Where it is.
    pub path: &'a FilePath,
    /// How it is.
    pub attr: &'a Attr,
    /// Bytes of the disk, and of them free.
    pub space: (u64, u64),
}

impl Wanted {
    /// Reads a `propfind`; no body asks for all.
    ///
    /// # Errors
    /// 400 with the reason.
    pub fn read(document: Option<&Element>) -> Result<Self, ApiError> {
        let Some(document) = document else { return Ok(Wanted::All(Vec::new())) };
        let names = |element: &Element| {
            let names: Vec<Name> = element.elements().map(|property| property.name.clone()).collect();
            if names.len() > PROPERTIES { Err(too_many()) } else { Ok(names) }
        };
        match document.name.as_dav() {
            Some("propfind") => {}
            _ => return Err(ApiError::bad("the body is no 'propfind'")),
        }
        if let Some(these) = document.dav("prop") {
            return Ok(Wanted::These(names(these)?));
        }
        if document.dav("propname").is_some() {
            return Ok(Wanted::Names);
        }
        if document.dav("allprop").is_none() {
            return Err(ApiError::bad("the 'propfind' asks for nothing"));
        }
        Ok(Wanted::All(document.dav("include").map(names).transpose()?.unwrap_or_default()))
    }

    /// Writes one `response` of a `multistatus`.
    pub fn write(&self, now: Instant, entry: &Entry<'_>, locks: &Locks, kept: &Kept, out: &mut String) {
        let (mut found, mut missing) = (String::new(), String::new());
        let mut tell = |name: &Name| match kept.xml(entry.path, name) {
            Some(xml) => found.push_str(xml),
            None => match live(now, name, entry, locks) {
                Some(value) => write_property(name, &value, &mut found),
                None => write_property(name, "", &mut missing),
            },
        };
        match self {
            Wanted::These(names) => names.iter().for_each(&mut tell),
            Wanted::All(more) => {
                LIVE.iter().map(|local| Name::dav(local)).filter(|name| has(name, entry)).for_each(|name| tell(&name));
                more.iter().filter(|name| !is_in_all(name)).for_each(&mut tell);
                kept.names(entry.path).filter(|name| !more.contains(name)).for_each(tell);
            }
            Wanted::Names => {
                for name in LIVE.iter().chain(&QUOTA).map(|local| Name::dav(local)).filter(|name| has(name, entry)) {
                    write_property(&name, "", &mut found);
                }
                kept.names(entry.path).for_each(|name| name.write_empty(&mut found));
            }
        }
        out.push_str("<D:response><D:href>");
        escape(&href(entry.path, entry.attr.kind == Kind::Directory), out);
        out.push_str("</D:href>");
        if !found.is_empty() || missing.is_empty() {
            write_status(&found, "200 OK", out);
        }
        if !missing.is_empty() {
            write_status(&missing, "404 Not Found", out);
        }
        out.push_str("</D:response>");
    }
}

fn write_status(properties: &str, status: &str, out: &mut String) {
    for part in ["<D:propstat><D:prop>", properties, "</D:prop><D:status>HTTP/1.1 ", status, "</D:status></D:propstat>"]
    {
        out.push_str(part);
    }
}

/// A property whose value is XML under the prefix `D`, or text that is escaped.
fn write_property(name: &Name, value: &str, out: &mut String) {
    let Some(local) = name.as_dav() else {
        let Some(value) = Some(value).filter(|value| !value.is_empty()) else { return name.write_empty(out) };
        let mut space = String::new();
        escape(&name.space, &mut space);
        return out.push_str(&format!("<{0} xmlns=\"{space}\">{value}</{0}>", name.local));
    };
    out.push_str(&match value {
        "" => format!("<D:{local}/>"),
        value => format!("<D:{local}>{value}</D:{local}>"),
    });
}

/// True when a file of this kind has such a property, so far as all of them are listed.
fn has(name: &Name, entry: &Entry<'_>) -> bool {
    let is_file = entry.attr.kind != Kind::Directory;
    match name.as_dav() {
        Some("getcontentlength" | "getcontenttype" | "getetag") => is_file,
        Some("getlastmodified" | "creationdate") => http_date(entry.attr.mtime).is_some(),
        Some(local) if QUOTA.contains(&local) => !is_file,
        _ => true,
    }
}

fn is_in_all(name: &Name) -> bool {
    name.as_dav().is_some_and(|local| LIVE.contains(&local))
}

/// The value of a property that the file has by itself.
fn live(now: Instant, name: &Name, entry: &Entry<'_>, locks: &Locks) -> Option<String> {
    let attr = entry.attr;
    match (name.space.as_str(), name.local.as_str()) {
        (APACHE, "executable") if attr.kind == Kind::File => {
            return Some(if attr.mode & 0o100 == 0 { "F" } else { "T" }.into());
        }
        (MICROSOFT, "Win32LastModifiedTime") => return http_date(attr.mtime),
        _ => {}
    }
    let local = name.as_dav().filter(|_| has(name, entry))?;
    let mut value = String::new();
    match local {
        "creationdate" => value = iso_date(attr.mtime)?,
        "getlastmodified" => value = http_date(attr.mtime)?,
        "displayname" if entry.path.name().is_empty() => value.push_str("DustFS"),
        "displayname" => escape(&String::from_utf8_lossy(entry.path.name()), &mut value),
        "getcontentlength" => value = attr.size.to_string(),
        "getcontenttype" => value.push_str(media_type(entry.path.name()).0),
        "getetag" => escape(&entity_tag(attr), &mut value),
        "resourcetype" if attr.kind == Kind::Directory => value.push_str("<D:collection/>"),
        "resourcetype" => {}
        "supportedlock" => value.push_str(SUPPORTED),
        "lockdiscovery" => locks.write(now, entry.path, &mut value),
        "quota-available-bytes" => value = entry.space.1.to_string(),
        "quota-used-bytes" => value = entry.space.0.saturating_sub(entry.space.1).to_string(),
        _ => return None,
    }
    Some(value)
}

impl Edits {
    /// Reads a `propertyupdate`.
    ///
    /// # Errors
    /// 400 with the reason.
    pub fn read(document: &Element) -> Result<Self, ApiError> {
        if document.name.as_dav() != Some("propertyupdate") {
            return Err(ApiError::bad("the body is no 'propertyupdate'"));
        }
        let mut edits = Edits::default();
        for step in document.elements() {
            let sets = match step.name.as_dav() {
                Some("set") => true,
                Some("remove") => false,
                _ => continue,
            };
            for property in
                step.elements().filter(|prop| prop.name.as_dav() == Some("prop")).flat_map(Element::elements)
            {
                edits.add(property, sets)?;
            }
        }
        Ok(edits)
    }

    fn add(&mut self, property: &Element, sets: bool) -> Result<(), ApiError> {
        if self.edits.len() >= PROPERTIES {
            return Err(too_many());
        }
        let name = property.name.clone();
        let text = property.text();
        let value = match (name.space.as_str(), name.local.as_str()) {
            (MICROSOFT, "Win32LastModifiedTime") => {
                let time = parse_http_date(&text).filter(|_| sets);
                self.mtime = time.or(self.mtime);
                if time.is_none() {
                    self.refused.push(name.clone());
                }
                None
            }
            (APACHE, "executable") => {
                self.executable = Some(sets && text.trim() == "T");
                None
            }
            (DAV, local) if LIVE.contains(&local) || QUOTA.contains(&local) => {
                self.refused.push(name.clone());
                None
            }
            _ if sets => {
                let mut xml = String::new();
                property.write(&mut xml);
                Some(xml)
            }
            _ => None,
        };
        self.edits.push((name, value));
        Ok(())
    }

    /// True when something of it is refused, and so all of it.
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }

    /// Writes the `multistatus` of what came of it.
    pub fn write(&self, path: &FilePath, is_directory: bool) -> String {
        let mut out = String::from(BEGIN);
        out.push_str("<D:response><D:href>");
        escape(&href(path, is_directory), &mut out);
        out.push_str("</D:href>");
        for (name, _) in &self.edits {
            let status = match (self.is_refused(), self.refused.contains(name)) {
                (false, _) => "200 OK",
                (true, true) => "403 Forbidden",
                (true, false) => "424 Failed Dependency",
            };
            let mut property = String::new();
            name.write_empty(&mut property);
            write_status(&property, status, &mut out);
        }
        out.push_str("</D:response>");
        out.push_str(END);
        out
    }
}

/// The properties that clients made up, by where the file is.
#[derive(Default)]
pub struct Kept {
    /// The number tells which was set last.
    properties: BTreeMap<(FilePath, Name), (u64, String)>,
    last: u64,
    bytes: usize,
}

impl Kept {
    fn xml(&self, path: &FilePath, name: &Name) -> Option<&str> {
        if self.properties.is_empty() {
            return None;
        }
        self.properties.get(&(path.clone(), name.clone())).map(|(_, xml)| xml.as_str())
    }

    fn names(&self, path: &FilePath) -> impl Iterator<Item = &Name> {
        self.below(path).take_while(move |((at, _), _)| at == path).map(|((_, name), _)| name)
    }

    fn below(&self, path: &FilePath) -> impl Iterator<Item = (&(FilePath, Name), &(u64, String))> {
        let first = (path.clone(), Name { space: String::new(), local: String::new() });
        self.properties.range(first..).take_while(move |((at, _), _)| at.is_in(path))
    }

    /// Carries out what a `PROPPATCH` asked for. Where there are too many, those that were set first go.
    pub fn edit(&mut self, path: &FilePath, edits: &Edits) {
        for (name, value) in &edits.edits {
            self.set((path.clone(), name.clone()), value.clone());
        }
    }

    fn set(&mut self, key: (FilePath, Name), value: Option<String>) {
        if let Some((_, old)) = self.properties.remove(&key) {
            self.bytes -= cost(&key, &old);
        }
        let Some(value) = value else { return };
        self.bytes += cost(&key, &value);
        self.last += 1;
        self.properties.insert(key, (self.last, value));
        while self.bytes > PROPERTIES_MEMORY {
            let oldest = self.properties.iter().min_by_key(|(_, (number, _))| *number).map(|(key, _)| key.clone());
            match oldest {
                Some(oldest) => self.set(oldest, None),
                None => return,
            }
        }
    }

    /// What was here is gone.
    pub fn removed(&mut self, path: &FilePath) {
        let keys: Vec<_> = self.below(path).map(|(key, _)| key.clone()).collect();
        keys.into_iter().for_each(|key| self.set(key, None));
    }

    /// What is here is there as well, in the place of what was.
    pub fn copied(&mut self, from: &FilePath, to: &FilePath) {
        self.removed(to);
        let copies: Vec<_> = self
            .below(from)
            .map(|((path, name), (_, xml))| ((path.moved(from, to), name.clone()), xml.clone()))
            .collect();
        copies.into_iter().for_each(|(key, xml)| self.set(key, Some(xml)));
    }
}

/// Bytes of memory, about.
fn cost((path, name): &(FilePath, Name), xml: &str) -> usize {
    path.encode().len() + name.space.len() + name.local.len() + xml.len() + 128
}

fn too_many() -> ApiError {
    ApiError::bad(format!("it names more than {PROPERTIES} properties"))
}

/// How a `multistatus` begins.
pub const BEGIN: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<D:multistatus xmlns:D=\"DAV:\">";
/// How it ends.
pub const END: &str = "</D:multistatus>\n";
/// Live properties that `allprop` tells.
const LIVE: [&str; 9] = [
    "creationdate",
    "displayname",
    "getcontentlength",
    "getcontenttype",
    "getetag",
    "getlastmodified",
    "resourcetype",
    "supportedlock",
    "lockdiscovery",
];
/// RFC 4331: told to those who ask for them by name.
const QUOTA: [&str; 2] = ["quota-available-bytes", "quota-used-bytes"];
const SUPPORTED: &str = "<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>\
                         <D:lockentry><D:lockscope><D:shared/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>";
const DAV: &str = "DAV:";
/// Explorer's.
const MICROSOFT: &str = "urn:schemas-microsoft-com:";
/// mod_dav's, which davfs2 uses.
const APACHE: &str = "http://apache.org/dav/props/";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::io::Inode;

    fn path(text: &str) -> FilePath {
        FilePath::parse(text).expect("a path")
    }

    fn attr(kind: Kind) -> Attr {
        Attr { inode: Inode(7), kind, size: 5, mode: 0o755, mtime: WallTime(784_111_777_000_000_000), links: 1 }
    }

    fn element(text: &str) -> Element {
        Element::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn wanted(inner: &str) -> Wanted {
        Wanted::read(Some(&element(&format!("<propfind xmlns='DAV:'>{inner}</propfind>")))).expect("wanted")
    }

    /// Names and texts by status.
    fn told(wanted: &Wanted, at: &str, kind: Kind, kept: &Kept) -> BTreeMap<String, Vec<(Name, String)>> {
        let mut out = String::from(BEGIN);
        let entry = Entry { path: &path(at), attr: &attr(kind), space: (100, 30) };
        wanted.write(Instant(1), &entry, &Locks::default(), kept, &mut out);
        let answer = element(&(out + END));
        let response = answer.dav("response").expect("a response");
        let stats = response.elements().filter(|element| element.name.as_dav() == Some("propstat"));
        stats
            .map(|stat| {
                let prop = stat.dav("prop").expect("a prop");
                let status = stat.dav("status").expect("a status").text();
                (status, prop.elements().map(|property| (property.name.clone(), property.text())).collect())
            })
            .collect()
    }

    const OK: &str = "HTTP/1.1 200 OK";
    const MISSING: &str = "HTTP/1.1 404 Not Found";

    fn value(told: &BTreeMap<String, Vec<(Name, String)>>, local: &str) -> Option<String> {
        told.get(OK)?.iter().find(|(name, _)| name.local == local).map(|(_, value)| value.clone())
    }

    #[test]
    fn files_and_directories_have_theirs() {
        let kept = Kept::default();
        let file = told(&Wanted::All(Vec::new()), "d/a%26b.jpg", Kind::File, &kept);
        for (local, expected) in [
            ("creationdate", "1994-11-06T08:49:37Z"),
            ("getlastmodified", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("displayname", "a&b.jpg"),
            ("getcontentlength", "5"),
            ("getcontenttype", "image/jpeg"),
            ("getetag", "\"7-ae1b981bc490a00-5\""),
            ("resourcetype", ""),
            ("lockdiscovery", ""),
        ] {
            assert_eq!(value(&file, local).as_deref(), Some(expected), "{local}");
        }
        assert!(!file.contains_key(MISSING));
        let directory = told(&Wanted::All(Vec::new()), "d", Kind::Directory, &kept);
        assert_eq!(value(&directory, "getcontentlength"), None);
        assert_eq!(value(&directory, "quota-used-bytes"), None);
        let these = wanted("<prop><quota-used-bytes/><quota-available-bytes/><getetag/><x xmlns='urn:y'/></prop>");
        let directory = told(&these, "d", Kind::Directory, &kept);
        assert_eq!(value(&directory, "quota-used-bytes").as_deref(), Some("70"));
        assert_eq!(value(&directory, "quota-available-bytes").as_deref(), Some("30"));
        assert_eq!(directory[MISSING].len(), 2);
        assert_eq!(directory[MISSING][1].0, Name { space: "urn:y".into(), local: "x".into() });
        let names = told(&Wanted::Names, "d", Kind::Directory, &kept);
        assert!(value(&names, "quota-used-bytes").is_some() && value(&names, "getetag").is_none());
        assert!(told(&wanted("<prop/>"), "d", Kind::Directory, &kept)[OK].is_empty());
        let others = wanted(
            "<prop><executable xmlns='http://apache.org/dav/props/'/>\
             <Win32LastModifiedTime xmlns='urn:schemas-microsoft-com:'/></prop>",
        );
        let others = told(&others, "a", Kind::File, &kept);
        assert_eq!(value(&others, "executable").as_deref(), Some("T"));
        assert_eq!(value(&others, "Win32LastModifiedTime").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    }

    fn edits(inner: &str) -> Edits {
        let update =
            format!("<D:propertyupdate xmlns:D='DAV:' xmlns:w='urn:schemas-microsoft-com:'>{inner}</D:propertyupdate>");
        Edits::read(&element(&update)).expect("edits")
    }

    #[test]
    fn properties_are_kept_moved_and_removed() {
        let mut kept = Kept::default();
        let set = edits("<D:set><D:prop><x xmlns='urn:y'>1<z/></x><y>2</y></D:prop></D:set>");
        kept.edit(&path("a/b"), &set);
        kept.edit(&path("ab"), &set);
        let all = told(&Wanted::All(Vec::new()), "a/b", Kind::File, &kept);
        assert_eq!((value(&all, "x").as_deref(), value(&all, "y").as_deref()), (Some("1"), Some("2")));
        assert_eq!(value(&told(&Wanted::All(Vec::new()), "a", Kind::Directory, &kept), "x"), None);
        kept.copied(&path("a"), &path("c"));
        kept.removed(&path("a"));
        let these = wanted("<prop><x xmlns='urn:y'/><y xmlns=''/></prop>");
        assert_eq!(value(&told(&these, "a/b", Kind::File, &kept), "x"), None);
        assert_eq!(value(&told(&these, "c/b", Kind::File, &kept), "x").as_deref(), Some("1"));
        assert!(value(&told(&these, "ab", Kind::File, &kept), "x").is_some());
        kept.edit(&path("c/b"), &edits("<D:remove><D:prop><x xmlns='urn:y'/></D:prop></D:remove>"));
        let left = told(&these, "c/b", Kind::File, &kept);
        assert_eq!((left[OK].len(), left[MISSING].len()), (1, 1));
        kept.removed(&path(""));
        assert_eq!((kept.properties.len(), kept.bytes), (0, 0));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut kept = Kept::default();
        for number in 0..1_000 {
            let set = format!("<D:set><D:prop><x xmlns='urn:y'>{}</x></D:prop></D:set>", "v".repeat(1_000));
            kept.edit(&path(&number.to_string()), &edits(&set));
            assert!(kept.bytes <= PROPERTIES_MEMORY);
        }
        let name = Name { space: "urn:y".into(), local: "x".into() };
        assert!(kept.xml(&path("999"), &name).is_some() && kept.xml(&path("0"), &name).is_none());
        assert!(kept.properties.len() > 100);
    }

    #[test]
    fn all_or_nothing_is_changed() {
        let time = "<w:Win32LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</w:Win32LastModifiedTime>";
        let good = edits(&format!("<D:set><D:prop>{time}<a/></D:prop></D:set>"));
        assert_eq!((good.mtime, good.is_refused()), (Some(WallTime(784_111_777_000_000_000)), false));
        let bad = edits("<D:set><D:prop><a/></D:prop></D:set><D:remove><D:prop><D:getetag/></D:prop></D:remove>");
        assert!(bad.is_refused());
        let answer = element(&bad.write(&path("a"), false));
        let told: Vec<String> = answer
            .dav("response")
            .expect("a response")
            .elements()
            .skip(1)
            .map(|stat| stat.dav("status").expect("a status").text())
            .collect();
        assert_eq!(told, ["HTTP/1.1 424 Failed Dependency", "HTTP/1.1 403 Forbidden"]);
        assert!(
            edits("<D:set><D:prop><w:Win32LastModifiedTime>now</w:Win32LastModifiedTime></D:prop></D:set>")
                .is_refused()
        );
        let many = "<a/>".repeat(PROPERTIES + 1);
        let update = element(&format!("<propertyupdate xmlns='DAV:'><set><prop>{many}</prop></set></propertyupdate>"));
        assert!(Edits::read(&update).is_err());
        let find = element(&format!("<propfind xmlns='DAV:'><prop>{many}</prop></propfind>"));
        assert!(Wanted::read(Some(&find)).is_err());
        for body in ["<propfind/>", "<propfind xmlns='DAV:'/>", "<x xmlns='DAV:'><allprop/></x>"] {
            assert!(Wanted::read(Some(&element(body))).is_err(), "{body}");
        }
    }
}
