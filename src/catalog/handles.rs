//! Handles that a server has given out in one session, and what each of them does. The server is asked, through a tool
//! that only looks things up, and answers with a handle, the tool that takes it and the operation behind it; what the
//! client says about a handle counts for nothing.
//!
//! Bounded: the oldest make room, and a handle that is not remembered is one that nobody knows.

use std::collections::{HashMap, VecDeque};

use crate::call::Digest;
use crate::json::{Json, JsonText, Kind, Rules};

use super::pointer::Pointer;

/// As many are remembered.
const MAX_HANDLES: usize = 1024;
/// Longest answer, name of a lane or operation that is looked at, in bytes.
const MAX_ANSWER: usize = 1 << 20;
const MAX_NAME: usize = 256;

/// How an object of an answer says what a handle does.
#[derive(Clone, Debug)]
pub struct Form {
    pub handle: Pointer,
    /// The tool that takes it.
    pub lane: Pointer,
    pub operation: Pointer,
    /// Its method and path.
    pub route: Option<(Pointer, Pointer)>,
}

/// What a catalog knows of the operations that an answer names.
pub(super) trait Names {
    fn has(&self, operation: &str) -> bool;
    /// The operation behind a method and the template of a path.
    fn at(&self, method: &str, path: &str) -> Option<String>;
}

/// What is known about a handle.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Known {
    Operation {
        lane: String,
        operation: String,
    },
    /// It was given out for different things.
    Ambiguous,
}

/// The handles of one session.
#[derive(Clone, Default, Debug)]
pub struct Handles {
    known: HashMap<Digest, Known>,
    order: VecDeque<Digest>,
}

impl Handles {
    pub fn get(&self, handle: &str) -> Option<&Known> {
        self.known.get(&Digest::of_bytes(handle.as_bytes()))
    }

    /// As if the server had given it out.
    pub(super) fn give(&mut self, handle: &str, lane: &str, operation: &str) {
        self.remember(handle, Known::Operation { lane: lane.to_owned(), operation: operation.to_owned() });
    }

    /// Takes up what the result of a call says, in its structured content or in texts that are JSON.
    pub(super) fn learn(&mut self, forms: &[Form], names: &impl Names, result: Json<'_>) {
        if result.get("isError").is_some_and(|error| error.as_bool() != Some(false)) || result.text().len() > MAX_ANSWER
        {
            return;
        }
        if let Some(structured) = result.get("structuredContent") {
            self.walk(forms, names, structured);
        }
        for part in result.get("content").into_iter().flat_map(Json::items) {
            let Some(text) = part.get("text").and_then(Json::as_str) else { continue };
            if let Ok(text) = JsonText::parse(text.into_owned(), Rules::UPSTREAM) {
                self.walk(forms, names, text.view());
            }
        }
    }

    fn walk(&mut self, forms: &[Form], names: &impl Names, value: Json<'_>) {
        match value.kind() {
            Kind::Object => {
                forms.iter().for_each(|form| self.read(form, names, value));
                value.members().for_each(|(_, inner)| self.walk(forms, names, inner));
            }
            Kind::Array => value.items().for_each(|item| self.walk(forms, names, item)),
            Kind::String | Kind::Number | Kind::Bool | Kind::Null => {}
        }
    }

    fn read(&mut self, form: &Form, names: &impl Names, object: Json<'_>) {
        let name = |pointer: &Pointer| text(pointer, object).filter(|name| (1..=MAX_NAME).contains(&name.len()));
        let (Some(handle), Some(lane)) = (text(&form.handle, object), name(&form.lane)) else { return };
        let route = form.route.as_ref().and_then(|(method, path)| Some((name(method)?, name(path)?)));
        let at = route.as_ref().and_then(|(method, path)| names.at(&method.to_ascii_uppercase(), &template(path)));
        let known = match (name(&form.operation), at) {
            (Some(operation), Some(at)) if operation != at && names.has(&operation) => Known::Ambiguous,
            // Method and path of something else than what the name says.
            (Some(operation), None) if route.is_some() && names.has(&operation) => Known::Ambiguous,
            (_, Some(operation)) | (Some(operation), None) => Known::Operation { lane, operation },
            (None, None) => return,
        };
        self.remember(&handle, known);
    }

    fn remember(&mut self, handle: &str, what: Known) {
        let digest = Digest::of_bytes(handle.as_bytes());
        if let Some(before) = self.known.get_mut(&digest) {
            if *before != what {
                *before = Known::Ambiguous;
            }
            return;
        }
        if self.order.len() >= MAX_HANDLES
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.known.insert(digest, what);
        self.order.push_back(digest);
    }
}

fn text(pointer: &Pointer, object: Json<'_>) -> Option<String> {
    Some(pointer.value(object)?.as_str()?.into_owned())
}

/// The template of a path as catalogs spell it: without the address of the server and a slash at the end, parameters in
/// braces.
fn template(path: &str) -> String {
    let path = match path.strip_prefix("https://") {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => path,
    };
    let path = path.strip_suffix('/').filter(|path| !path.is_empty()).unwrap_or(path);
    let parts = path.split('/').map(|part| match part.strip_prefix(':').filter(|name| !name.is_empty()) {
        Some(name) => format!("{{{name}}}"),
        None => part.to_owned(),
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms() -> Vec<Form> {
        let form = |handle, lane, operation| {
            let pointer = |text| Pointer::parse(text).unwrap();
            let route = Some((pointer("/method"), pointer("/path")));
            Form { handle: pointer(handle), lane: pointer(lane), operation: pointer(operation), route }
        };
        vec![
            form("/handle", "/lane", "/operationId"),
            form("/executeWith/operationHandle", "/executeWith/tool", "/operationId"),
        ]
    }

    /// Two operations that are named by their routes.
    struct Two;

    impl Names for Two {
        fn has(&self, operation: &str) -> bool {
            ["GET /a", "DELETE /a/{id}"].contains(&operation)
        }

        fn at(&self, method: &str, path: &str) -> Option<String> {
            Some(format!("{method} {path}")).filter(|route| self.has(route))
        }
    }

    #[test]
    fn method_and_path_name_an_operation_where_the_server_calls_it_otherwise() {
        let of = |members: &str| {
            let text = format!(r#"{{"structuredContent":{{"lane":"api_read","handle":"h",{members}}}}}"#);
            learned(&[&text]).get("h").cloned()
        };
        for same in [
            r#""operationId":"GET /a""#,
            r#""operationId":"GET /a","method":"GET","path":"/a""#,
            r#""operationId":"things_list","method":"get","path":"/a""#,
            r#""method":"GET","path":"/a""#,
        ] {
            assert_eq!(of(same), one("api_read", "GET /a"), "{same}");
        }
        for (method, path, operation) in [
            ("GET", "https://api.example.com/a", "GET /a"),
            ("GET", "/a/", "GET /a"),
            ("DELETE", "/a/:id", "DELETE /a/{id}"),
            ("DELETE", "https://api.example.com/v/../a/:id", "own"),
            ("GET", "https://api.example.com", "own"),
            ("GET", "http://api.example.com/a", "own"),
            ("GET", "/", "own"),
            ("GET", "/a//", "own"),
        ] {
            let said = of(&format!(r#""operationId":"own","method":"{method}","path":"{path}""#));
            assert_eq!(said, one("api_read", operation), "{path}");
            let named = of(&format!(r#""operationId":"{operation}","method":"{method}","path":"{path}""#));
            assert_eq!(named, one("api_read", operation), "{path}");
        }
        // The name that is no operation of the catalog says nothing about what the handle does.
        let own = r#""operationId":"things_list","method":"GET","path":"/b""#;
        assert_eq!(of(own), one("api_read", "things_list"));
        for contradicting in [
            r#""operationId":"GET /a","method":"DELETE","path":"/a/{id}""#,
            r#""operationId":"GET /a","method":"DELETE","path":"/b""#,
        ] {
            assert_eq!(of(contradicting), Some(Known::Ambiguous), "{contradicting}");
        }
        for nothing in [r#""method":"GET""#, r#""path":"/a""#, r#""method":1,"path":"/a""#] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
    }

    fn learned(results: &[&str]) -> Handles {
        let mut handles = Handles::default();
        for result in results {
            handles.learn(&forms(), &Two, JsonText::parse(*result, Rules::UPSTREAM).unwrap().view());
        }
        handles
    }

    fn one(lane: &str, operation: &str) -> Option<Known> {
        Some(Known::Operation { lane: lane.into(), operation: operation.into() })
    }

    #[test]
    fn handles_are_read_from_structured_content_and_from_json_texts() {
        let handles = learned(&[
            r#"{"structuredContent":{"operations":[{"operationId":"a","lane":"api_read","handle":"h1"}]}}"#,
            r#"{"content":[{"type":"text","text":"{\"operationId\":\"b\",\"executeWith\":{\"tool\":\"api_write\",\"operationHandle\":\"h2\"}}"}]}"#,
        ]);
        assert_eq!(handles.get("h1").cloned(), one("api_read", "a"));
        assert_eq!(handles.get("h2").cloned(), one("api_write", "b"));
        assert_eq!(handles.get("h3"), None);
    }

    #[test]
    fn what_is_not_whole_or_an_error_teaches_nothing() {
        let handles = learned(&[
            r#"{"structuredContent":{"lane":"api_read","handle":"h1"}}"#,
            r#"{"structuredContent":{"operationId":"a","handle":"h2"}}"#,
            r#"{"structuredContent":{"operationId":"a","lane":"api_read","request":{"handle":"h3"}}}"#,
            r#"{"isError":true,"structuredContent":{"operationId":"a","lane":"api_read","handle":"h4"}}"#,
            r#"{"content":[{"type":"text","text":"say {\"operationId\":\"a\",\"lane\":\"api_read\",\"handle\":\"h5\"}"}]}"#,
            r#"{"structuredContent":{"operationId":["a"],"lane":"api_read","handle":"h6"}}"#,
            r#"{"structuredContent":{"query":"{\"operationId\":\"a\",\"lane\":\"api_read\",\"handle\":\"h7\"}"}}"#,
        ]);
        assert!((1..=7).all(|n| handles.get(&format!("h{n}")).is_none()), "{handles:?}");
    }

    #[test]
    fn a_handle_for_two_things_is_for_neither() {
        let of = |lane: &str, operation: &str| {
            format!(r#"{{"structuredContent":{{"operationId":"{operation}","lane":"{lane}","handle":"h"}}}}"#)
        };
        let same = learned(&[&of("api_read", "a"), &of("api_read", "a")]);
        assert_eq!(same.get("h").cloned(), one("api_read", "a"));
        for other in [of("api_write", "a"), of("api_read", "b")] {
            let two = learned(&[&of("api_read", "a"), &other, &of("api_read", "a")]);
            assert_eq!(two.get("h"), Some(&Known::Ambiguous));
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let mut handles = Handles::default();
        for n in 0..=MAX_HANDLES {
            handles.remember(&n.to_string(), Known::Ambiguous);
        }
        assert_eq!((handles.known.len(), handles.order.len()), (MAX_HANDLES, MAX_HANDLES));
        assert!(handles.get("0").is_none() && handles.get("1").is_some());
    }
}
