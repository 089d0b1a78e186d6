//! The small XML documents of object stores, read and written.
//!
//! What is read is bounded and plain: no document type (so no entities of its own and no bombs), no entities but the
//! five and character references, 16 levels. Name spaces are looked over: clients differ in whether they say one.

use quick_xml::Reader;
use quick_xml::escape::{escape, resolve_predefined_entity};
use quick_xml::events::{BytesStart, Event};

use crate::error::{Error, Result};

/// An element, with all that is in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Element {
    /// Without a name space.
    pub(crate) name: String,
    text: String,
    children: Vec<Element>,
}

/// Writes a document.
#[derive(Debug)]
pub(crate) struct Writer {
    text: String,
    open: Vec<&'static str>,
}

const DEPTH_MAX: usize = 16;

// === impl Element ===

impl Element {
    /// Reads a document.
    ///
    /// # Errors
    /// `Invalid`, in words, for what isn't well-formed, has a document type, or is too deep.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}'));
        let mut open: Vec<Self> = Vec::new();
        let mut root = None;
        loop {
            match reader.read_event().map_err(|error| malformed(&error.to_string()))? {
                Event::Start(_) | Event::Empty(_) if open.len() >= DEPTH_MAX || root.is_some() => {
                    return Err(malformed("it is too deep, or more than one document"));
                }
                Event::Start(start) => open.push(Self::begun(&start)?),
                Event::Empty(start) => Self::ended(Self::begun(&start)?, &mut open, &mut root),
                Event::End(_) => match open.pop() {
                    Some(element) => element.ended(&mut open, &mut root),
                    None => return Err(malformed("an element ends that didn't begin")),
                },
                Event::Text(piece) => {
                    let piece = piece.decode().map_err(|error| malformed(&error.to_string()))?;
                    Self::say(&piece, &mut open)?;
                }
                Event::CData(piece) => {
                    let piece = piece.decode().map_err(|error| malformed(&error.to_string()))?;
                    Self::say(&piece, &mut open)?;
                }
                Event::GeneralRef(entity) => {
                    let char = entity.resolve_char_ref().map_err(|error| malformed(&error.to_string()))?;
                    match char {
                        Some(char) => Self::say(char.encode_utf8(&mut [0; 4]), &mut open)?,
                        None => {
                            let name = entity.decode().map_err(|error| malformed(&error.to_string()))?;
                            let known = resolve_predefined_entity(&name)
                                .ok_or_else(|| malformed("it has an entity that is not one of XML's five"))?;
                            Self::say(known, &mut open)?;
                        }
                    }
                }
                Event::DocType(_) => {
                    return Err(malformed("it has a document type, which is not read; leave it out"));
                }
                Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
                Event::Eof if open.is_empty() => return root.ok_or_else(|| malformed("it is empty")),
                Event::Eof => return Err(malformed("it ends within an element")),
            }
        }
    }

    /// All text directly in it, without space around it.
    pub(crate) fn text(&self) -> &str {
        self.text.trim()
    }

    /// The same with the space around it: names may begin and end so.
    pub(crate) fn whole_text(&self) -> &str {
        &self.text
    }

    /// Its first child of this name.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Its children, in order.
    pub(crate) fn children(&self) -> &[Self] {
        &self.children
    }

    fn begun(start: &BytesStart<'_>) -> Result<Self> {
        let name = start.local_name();
        let name = std::str::from_utf8(name.as_ref()).map_err(|_| malformed("a name is not UTF-8"))?;
        Ok(Self { name: name.to_owned(), ..Self::default() })
    }

    fn ended(self, open: &mut [Self], root: &mut Option<Self>) {
        match open.last_mut() {
            Some(parent) => parent.children.push(self),
            None => *root = Some(self),
        }
    }

    fn say(piece: &str, open: &mut [Self]) -> Result<()> {
        match open.last_mut() {
            Some(element) => element.text.push_str(piece),
            None if piece.trim().is_empty() => {}
            None => return Err(malformed("there is text outside of its element")),
        }
        Ok(())
    }
}

/// `why` may have names of the document in it: what of them is said again is short, and can be shown.
fn malformed(why: &str) -> Error {
    let why: String = why.chars().take(200).map(|char| if char.is_control() { '?' } else { char }).collect();
    Error::invalid(format!("the XML of the request can't be read: {why}"))
}

// === impl Writer ===

impl Writer {
    /// Begins a document.
    pub(crate) fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".into(), open: Vec::new() }
    }

    /// Begins an element.
    pub(crate) fn open(&mut self, name: &'static str) -> &mut Self {
        self.open_with(name, &[])
    }

    /// The same with attributes.
    pub(crate) fn open_with(&mut self, name: &'static str, attributes: &[(&str, &str)]) -> &mut Self {
        self.text.push('<');
        self.text.push_str(name);
        for (attribute, value) in attributes {
            self.text.push_str(&format!(" {attribute}=\"{}\"", escape(*value)));
        }
        self.text.push('>');
        self.open.push(name);
        self
    }

    /// Ends the element that was begun last.
    pub(crate) fn close(&mut self) -> &mut Self {
        if let Some(name) = self.open.pop() {
            self.text.push_str(&format!("</{name}>"));
        }
        self
    }

    /// An element with text alone.
    pub(crate) fn text(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.text_with(name, &[], text)
    }

    /// The same with attributes.
    pub(crate) fn text_with(
        &mut self,
        name: &'static str,
        attributes: &[(&str, &str)],
        text: &str,
    ) -> &mut Self {
        self.open_with(name, attributes);
        // What XML has no way to write stands in as what Unicode has for it.
        let written =
            text.replace(|char: char| char < ' ' && !matches!(char, '\t' | '\n' | '\r'), "\u{fffd}");
        self.text.push_str(&escape(&*written));
        self.close()
    }

    /// The document, all of whose elements are closed by it.
    pub(crate) fn finish(mut self) -> String {
        while !self.open.is_empty() {
            self.close();
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_read() {
        let root = Element::parse(
            b"\xef\xbb\xbf<?xml version=\"1.0\"?><!-- c --><x:List xmlns:x='n'>\n <Latest>a&amp;b&#x41;</Latest>\
              <Latest><![CDATA[<c>]]></Latest><Empty/></x:List>\n",
        )
        .expect("well-formed");
        assert_eq!(root.name, "List");
        let texts: Vec<_> = root.children().iter().map(|child| (&*child.name, child.text())).collect();
        assert_eq!(texts, [("Latest", "a&bA"), ("Latest", "<c>"), ("Empty", "")]);
        assert!(root.child("Empty").is_some() && root.child("List").is_none());
    }

    #[test]
    fn bombs_and_broken_ones_are_refused() {
        let deep = "<a>".repeat(DEPTH_MAX + 1);
        let bomb = "<!DOCTYPE l [<!ENTITY a \"aa\"><!ENTITY b \"&a;&a;\">]><l>&b;</l>";
        for bad in [
            "",
            " ",
            "x",
            "<a>",
            "<a></b>",
            "</a>",
            "<a/><b/>",
            "<a>&b;</a>",
            "<a/>x",
            &deep,
            bomb,
            "<a b=\"c\"",
            "<a>&#0;</a>",
        ] {
            let error = Element::parse(bad.as_bytes()).expect_err(bad);
            assert!(error.message().contains("XML"), "{bad}: {error}");
        }
        assert!(Element::parse(b"<a>\xff</a>").is_err());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut writer = Writer::new();
        writer.open_with("List", &[("xmlns", "http://a/\"b\"")]).text("Name", "a<b>&\"c'\u{1}").open("Rest");
        let root = Element::parse(writer.finish().as_bytes()).expect("ours");
        assert_eq!(root.child("Name").map(Element::text), Some("a<b>&\"c'\u{fffd}"));
        assert!(root.child("Rest").is_some());
    }
}
