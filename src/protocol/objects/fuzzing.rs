//! What must hold of whatever bytes come at a door: each function takes some and panics if it doesn't.
//!
//! `fuzz/` runs them for as long as one likes, the tests below for a moment each.

use hyper::Request;
use hyper::StatusCode;
use hyper::http::request::Parts;

use super::xml::{Element, Writer};

/// The head of a request as a person writes it: the method and target in a line, then a header in each. `None`: it is
/// nothing that the server would take.
pub(crate) fn head(bytes: &[u8]) -> Option<Parts> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.split('\n');
    let (method, target) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(target);
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        request = request.header(name, value);
    }
    request.body(()).ok().map(|request| request.into_parts().0)
}

/// A refusal is the client's doing, and in words that a terminal can show.
pub(crate) fn is_calm(status: StatusCode, code: &str, message: &str) {
    assert!(status.is_client_error(), "{status} {code}: {message}");
    assert!(!message.is_empty() && !message.contains(char::is_control), "{code}: {message:?}");
}

/// A document is refused in words, or read: without anything of its own making, to a bounded depth, and as it is
/// written again.
pub fn xml(bytes: &[u8]) {
    let element = match Element::parse(bytes) {
        Ok(element) => element,
        Err(error) => return is_calm(StatusCode::BAD_REQUEST, "", error.message()),
    };
    assert!(text_len(&element) <= bytes.len(), "there is more text than came");
    assert!(depth(&element) <= 16, "it is deeper than it may be");
    let mut writer = Writer::new();
    writer.open("a").text("b", element.whole_text());
    let again = Element::parse(writer.finish().as_bytes()).expect("what is written can be read");
    let text = again.child("b").map(Element::whole_text).unwrap_or_default();
    // XML can't say every character: what it can't is left out or changed, and never more than that.
    if element.whole_text().chars().all(|char| !char.is_control() && char != '\u{fffd}') {
        assert_eq!(text, element.whole_text());
    }
}

fn text_len(element: &Element) -> usize {
    element.whole_text().len() + element.children().iter().map(text_len).sum::<usize>()
}

fn depth(element: &Element) -> usize {
    1 + element.children().iter().map(depth).max().unwrap_or(0)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// One of `seeds`, with bytes put in, cut out and repeated.
    pub(crate) fn damaged(seeds: Vec<&'static [u8]>) -> impl Strategy<Value = Vec<u8>> {
        let damage = (any::<Index>(), any::<Index>(), 0..4_u8, any::<u8>());
        (proptest::sample::select(seeds), vec(damage, 0..4)).prop_map(|(seed, damages)| {
            let mut bytes = seed.to_vec();
            for (from, to, kind, byte) in damages {
                let (from, to) = (from.index(bytes.len() + 1), to.index(bytes.len() + 1));
                let (from, to) = (from.min(to), from.max(to));
                match kind {
                    0 => bytes.insert(from, byte),
                    1 => drop(bytes.drain(from..to)),
                    2 => bytes.extend_from_within(from..to),
                    _ => bytes.get_mut(from).into_iter().for_each(|place| *place = byte),
                }
            }
            bytes
        })
    }

    const LIST: &[u8] = b"<?xml version=\"1.0\"?><BlockList xmlns=\"urn:x\"><Latest>QUJD</Latest><!-- --><a:b>&lt;&#x41;</a:b></BlockList>";
    const DELETE: &[u8] = b"<Delete><Object><Key>a &amp; b</Key></Object><Quiet>true</Quiet></Delete>";
    const BOMB: &[u8] = b"<!DOCTYPE b [<!ENTITY a \"x\"><!ENTITY b \"&a;&a;\">]><b>&b;<![CDATA[<c>]]></b>";

    proptest! {
        #[test]
        fn documents(bytes in damaged(vec![LIST, DELETE, BOMB])) {
            xml(&bytes);
        }
    }
}
