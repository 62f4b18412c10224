//! Names and values as forms and queries spell them (`application/x-www-form-urlencoded`), as a JSON object and back.
//! Brackets are read as vendors of APIs read them: `a[b]=1` is `{"a":{"b":"1"}}`, `a[0]=1` and `a[]=1` are `{"a":["1"]}`.
//!
//! Invariant: what two readers could take differently is refused: a name that came twice, that is a value here and an
//! object or a list there, whose numbers do not count from 0, whose brackets are odd, or that is another where `.` is read
//! as `_`. What is written is made from
//! the object alone and reads as the same object. Every value is a text.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

use serde_json::json;

use crate::json::{Json, Kind};

/// Parts of one name, and its bytes. Readers that nest less deep than that are not known; `qs` nests as deep.
const DEEPEST: usize = 6;
const LONGEST_NAME: usize = 512;
/// Names by which some servers take a request for one of another method, or its text for one in another encoding.
const OVERRIDES: [&str; 5] = ["_method", "x-http-method-override", "x-http-method", "x-method-override", "_charset_"];

/// Where the text stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    Query,
    Body,
}

impl Place {
    fn named(self) -> &'static str {
        match self {
            Place::Query => "query",
            Place::Body => "form",
        }
    }

    /// Names with values. PHP and `qs` drop what is beyond 1000.
    fn most(self) -> usize {
        match self {
            Place::Query => 256,
            Place::Body => 512,
        }
    }
}

/// A text that was read.
#[derive(Debug)]
pub struct Read {
    /// A JSON object.
    pub object: String,
    /// Names of lists whose items came without numbers, as they were spelled: `a[b][]`.
    pub unnumbered: Vec<String>,
}

enum Node {
    Empty,
    Text(String),
    Object(Vec<(String, Node)>),
    Numbered(Vec<Node>),
    Unnumbered(Vec<String>),
}

enum Key {
    Name(String),
    Number(usize),
    Next,
}

/// Reads names and values.
///
/// # Errors
/// Why two readers could take it differently.
pub fn read(text: &str, place: Place) -> Result<Read, String> {
    let said = |what: &str| format!("the {} {what}", place.named());
    let (mut root, mut heads) = (Node::Object(Vec::new()), HashMap::new());
    for (n, pair) in text.split('&').enumerate() {
        if n >= place.most() {
            return Err(said("has too many names"));
        }
        let (name, value) = match pair.split_once('=') {
            Some(both) => both,
            None if place == Place::Query => (pair, ""),
            None => return Err(said("has a name without `=`, or an `&` too many")),
        };
        let (name, value) = plain(name, place)
            .and_then(|name| Some((name, plain(value, place)?)))
            .ok_or_else(|| said("has a character or an encoding that readers take differently"))?;
        if name.chars().any(char::is_control) || (place == Place::Query && value.chars().any(char::is_control)) {
            return Err(said("has a control character"));
        }
        if name.len() > LONGEST_NAME {
            return Err(said("has a name that is too long"));
        }
        let keys = keys(&name).map_err(said)?;
        if let Some(Key::Name(head)) = keys.first() {
            // As PHP names it.
            let one = heads.entry(head.replace(['.', ' '], "_")).or_insert_with(|| head.clone());
            if one != head {
                return Err(said(&format!("has names that are one where `.` counts as `_`: {one:?} and {head:?}")));
            }
        }
        put(&mut root, &keys, value).map_err(|why| said(&format!("{why}: {name:?}")))?;
    }
    let (mut object, mut unnumbered) = (String::new(), Vec::new());
    root.spell("", &mut object, &mut unnumbered);
    Ok(Read { object, unnumbered })
}

/// A text without its encoding.
fn plain(text: &str, place: Place) -> Option<String> {
    let fits = |c: char| match place {
        Place::Query => c.is_ascii_graphic() && c != '#',
        // Some clients encode no more than they have to.
        Place::Body => !c.is_control(),
    };
    if !text.chars().all(fits) {
        return None;
    }
    decoded(&text.replace('+', "%20"), |_, _| true)
}

/// Text without its percent-encoding, where that is whole, UTF-8, and each encoded byte with its digits may be so.
pub(super) fn decoded(text: &str, may: impl Fn(u8, &[u8]) -> bool) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            plain.push(*byte);
            continue;
        }
        let (digits, after) = after.split_at_checked(2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if !may(byte, digits) {
            return None;
        }
        plain.push(byte);
        rest = after;
    }
    String::from_utf8(plain).ok()
}

/// The parts of a name.
fn keys(name: &str) -> Result<Vec<Key>, &'static str> {
    let (head, rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    if head.is_empty() {
        return Err("has a value without a name");
    }
    if head.contains(']') || head.contains(char::is_whitespace) {
        return Err("has a name with a space or a bracket that closes nothing");
    }
    if OVERRIDES.contains(&head.to_ascii_lowercase().as_str()) {
        return Err("asks for another method or encoding than the request's");
    }
    let mut keys = vec![Key::Name(head.to_owned())];
    let odd = "has a name whose brackets readers take differently";
    let mut rest = rest;
    while !rest.is_empty() {
        if keys.len() >= DEEPEST || matches!(keys.last(), Some(Key::Next)) {
            return Err(if keys.len() >= DEEPEST { "has a name of too many parts" } else { odd });
        }
        let (key, after) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or(odd)?;
        if key.contains('[') || key.trim() != key {
            return Err(odd);
        }
        keys.push(match (key.is_empty(), key.bytes().all(|byte| byte.is_ascii_digit())) {
            (true, _) => Key::Next,
            (false, true) => Key::Number(key.parse().ok().filter(|n: &usize| n.to_string() == key).ok_or(odd)?),
            (false, false) => Key::Name(key.to_owned()),
        });
        rest = after;
    }
    Ok(keys)
}

fn put(node: &mut Node, keys: &[Key], value: String) -> Result<(), &'static str> {
    let Some((key, rest)) = keys.split_first() else {
        return match node {
            Node::Empty => {
                *node = Node::Text(value);
                Ok(())
            }
            Node::Text(_) => Err("has a name twice; lists are written `name[]`"),
            Node::Object(_) | Node::Numbered(_) | Node::Unnumbered(_) => Err(MIXED),
        };
    };
    if let Node::Empty = node {
        *node = match key {
            Key::Name(_) => Node::Object(Vec::new()),
            Key::Number(_) => Node::Numbered(Vec::new()),
            Key::Next => Node::Unnumbered(Vec::new()),
        };
    }
    match (node, key) {
        (Node::Object(members), Key::Name(name)) => match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, member)) => put(member, rest, value),
            None => {
                let mut member = Node::Empty;
                put(&mut member, rest, value)?;
                members.push((name.clone(), member));
                Ok(())
            }
        },
        (Node::Numbered(items), Key::Number(n)) => {
            if *n == items.len() {
                items.push(Node::Empty);
            }
            let item = items.get_mut(*n).ok_or("has a list whose numbers do not count from 0")?;
            put(item, rest, value)
        }
        (Node::Unnumbered(items), Key::Next) => {
            items.push(value);
            Ok(())
        }
        (Node::Object(_) | Node::Numbered(_) | Node::Unnumbered(_) | Node::Text(_) | Node::Empty, _) => Err(MIXED),
    }
}

const MIXED: &str = "has a name that stands for several of a value, a list and an object";

impl Node {
    /// As JSON. `name` is how the node is called.
    fn spell(&self, name: &str, out: &mut String, unnumbered: &mut Vec<String>) {
        match self {
            Node::Empty => out.push_str("null"),
            Node::Text(text) => {
                let _ = write!(out, "{}", json!(text));
            }
            Node::Object(members) => {
                let mut separator = '{';
                for (member, node) in members {
                    let _ = write!(out, "{separator}{}:", json!(member));
                    node.spell(&inner(name, member), out, unnumbered);
                    separator = ',';
                }
                out.push('}');
            }
            Node::Numbered(items) => {
                let mut separator = '[';
                for (n, node) in items.iter().enumerate() {
                    out.push(separator);
                    node.spell(&inner(name, &n.to_string()), out, unnumbered);
                    separator = ',';
                }
                out.push(']');
            }
            Node::Unnumbered(items) => {
                unnumbered.push(inner(name, ""));
                let _ = write!(out, "{}", json!(items));
            }
        }
    }
}

fn inner(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}[{key}]") }
}

/// An object as a form or a query. Nothing where it holds something that neither can say.
pub fn write(object: Json<'_>, unnumbered: &BTreeSet<String>) -> Option<String> {
    let mut out = String::with_capacity(object.text().len());
    for (name, value) in object.members() {
        pairs(&name.as_str()?, value, unnumbered, &mut out)?;
    }
    Some(out)
}

fn pairs(name: &str, value: Json<'_>, unnumbered: &BTreeSet<String>, out: &mut String) -> Option<()> {
    match value.kind() {
        Kind::String => {
            if !out.is_empty() {
                out.push('&');
            }
            encode(name, out);
            out.push('=');
            encode(&value.as_str()?, out);
            Some(())
        }
        Kind::Object => {
            value.members().try_for_each(|(key, value)| pairs(&inner(name, &key.as_str()?), value, unnumbered, out))
        }
        Kind::Array => {
            let next = inner(name, "");
            let plain = unnumbered.contains(&next);
            value.items().enumerate().try_for_each(|(n, item)| {
                let name = if plain { next.clone() } else { inner(name, &n.to_string()) };
                pairs(&name, item, unnumbered, out)
            })
        }
        Kind::Number | Kind::Bool | Kind::Null => None,
    }
}

pub(super) fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match is_unreserved(byte) {
            true => out.push(char::from(byte)),
            false => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::{JsonText, Rules};

    fn body(text: &str) -> Result<Read, String> {
        read(text, Place::Body)
    }

    fn written(read: &Read) -> String {
        let object = JsonText::parse(read.object.clone(), Rules::CLIENT).unwrap();
        write(object.view(), &read.unnumbered.iter().cloned().collect()).unwrap()
    }

    #[test]
    fn brackets_are_objects_and_lists() {
        for (text, object, unnumbered) in [
            ("amount=500", r#"{"amount":"500"}"#, ""),
            ("a[b][c]=1&x=&a[b][d]=2", r#"{"a":{"b":{"c":"1","d":"2"}},"x":""}"#, ""),
            (
                "items[0][price]=p&items[0][quantity]=2&items[1][price]=q",
                r#"{"items":[{"price":"p","quantity":"2"},{"price":"q"}]}"#,
                "",
            ),
            ("expand[]=a&expand[]=b&m[x][]=c", r#"{"expand":["a","b"],"m":{"x":["c"]}}"#, "expand[] m[x][]"),
            ("expand[0]=a&expand[1]=b", r#"{"expand":["a","b"]}"#, ""),
            ("a%5Bb%5D=1+2%2B3&c=%C3%A9%0A", r#"{"a":{"b":"1 2+3"},"c":"é\n"}"#, ""),
            ("d=two words&e=ü&f=a=b;c", r#"{"d":"two words","e":"ü","f":"a=b;c"}"#, ""),
            ("metadata[order id]=7&Twilio.Like.0=x", r#"{"metadata":{"order id":"7"},"Twilio.Like.0":"x"}"#, ""),
        ] {
            let read = body(text).unwrap();
            assert_eq!((read.object.as_str(), read.unnumbered.join(" ").as_str()), (object, unnumbered), "{text}");
        }
        let sent = |text: &str| written(&body(text).unwrap());
        assert_eq!(sent("a[x]=1&b=2&a[y][]=3&a[y][]=%26"), "a%5Bx%5D=1&a%5By%5D%5B%5D=3&a%5By%5D%5B%5D=%26&b=2");
        assert_eq!(sent("a[0]=x+y&a[1]=z"), "a%5B0%5D=x%20y&a%5B1%5D=z");
    }

    #[test]
    fn a_form_that_readers_take_differently_is_refused() {
        let deep = format!("a{}=1", "[b]".repeat(DEEPEST));
        let many = vec!["a[]=1"; Place::Body.most() + 1].join("&");
        let long = format!("{}=1", "a".repeat(LONGEST_NAME + 1));
        for bad in [
            "",
            "a",
            "a=1&",
            "&a=1",
            "a=1&&b=2",
            "=1",
            "[a]=1",
            "a=%",
            "a=%2",
            "a=%zz",
            "a=%FF",
            "%FF=1",
            "a=%C3",
            "a=1&a=2",
            "a=1&a=1",
            "a[b]=1&a[b]=1",
            "a=1&a[]=2",
            "a[]=1&a=2",
            "a=1&a[b]=2",
            "a[b]=1&a=2",
            "a[]=1&a[0]=2",
            "a[0]=1&a[]=2",
            "a[0]=1&a[b]=2",
            "a[b]=1&a[0]=2",
            "a[b]=1&a[]=2",
            "a[b]=1&a[b][c]=2",
            "a[1]=1",
            "a[0]=1&a[2]=2",
            "a[1]=1&a[0]=2",
            "a[00]=1",
            "a[01]=1",
            "a[0]=1&a[0]=2",
            "a[99999999999999999999999]=1",
            "a[][b]=1",
            "a[][]=1",
            "a[b=1",
            "a]=1",
            "a[b]c=1",
            "a.b=1&a_b=2",
            "a_b=1&a.b=2",
            "a.b[c]=1&a_b[d]=2",
            "a.b.c=1&a_b.c=2",
            "a%2Eb=1&a_b=2",
            "a[b]]=1",
            "a[[b]]=1",
            "a[b[c]]=1",
            "a[ b]=1",
            "a[b ]=1",
            "a[ ]=1",
            "a b=1",
            " a=1",
            "a%00=1",
            "a%0A=1",
            "a[%0D]=1",
            "a=1\n",
            "a=\u{85}",
            "_method=DELETE",
            "_Method=DELETE",
            "_method[x]=1",
            "_charset_=utf-7",
            "x-http-method-override=GET",
            deep.as_str(),
            many.as_str(),
            long.as_str(),
        ] {
            assert!(body(bad).is_err(), "{bad:?}: {:?}", body(bad));
        }
        for good in [
            format!("a{}=1", "[b]".repeat(DEEPEST - 1)),
            vec!["a[]=1"; Place::Body.most()].join("&"),
            "a.b=1&a.c=2&a_c_=3&m[a.b]=1&m[a_b]=2".to_owned(),
            "a.b[]=1&a.b[]=2".to_owned(),
        ] {
            assert!(body(&good).is_ok(), "{good}");
        }
        // What known readers keep, whatever they are.
        assert!(DEEPEST <= 6 && Place::Body.most() < 1000 && Place::Query.most() < 1000);
        for (bad, why) in [
            ("a=1&a=2", "the form has a name twice; lists are written `name[]`: \"a\""),
            ("a=1&a[b]=2", "the form has a name that stands for several of a value, a list and an object: \"a[b]\""),
            ("a[1]=2", "the form has a list whose numbers do not count from 0: \"a[1]\""),
        ] {
            assert_eq!(body(bad).unwrap_err(), why);
        }
    }

    proptest! {
        /// Whatever is taken is written so that it reads the same.
        #[test]
        fn what_is_written_reads_as_what_was_read(text in "([ab%&=+;é]|\\[|\\]|\\[\\]|\\[0\\]|\\[1\\]|\\[x\\]|%5B|%41|%C3%A9|a=|&){0,24}") {
            if let Ok(one) = body(&text)
                && JsonText::parse(one.object.clone(), Rules::CLIENT).is_ok()
            {
                let again = written(&one);
                let two = body(&again).unwrap();
                prop_assert_eq!((&one.object, &one.unnumbered), (&two.object, &two.unnumbered));
                prop_assert_eq!(written(&two), again);
            }
        }
    }
}
