//! What is read, what is refused, and what views find.

use super::*;

fn read(text: &str) -> Result<String, Fault> {
    JsonText::parse(text, Rules::CLIENT).map(|json| json.as_str().to_owned()).map_err(|error| error.fault)
}

#[test]
fn tokens_are_the_text_cut_up() {
    for text in [r#"{"a":[1,-2.5e3,"x\",\"]}"],"b":{},"c":null}"#, "true", r#""\\""#, "[]"] {
        let json = JsonText::parse(text, Rules::CLIENT).unwrap();
        let tokens: Vec<_> = json.view().tokens().collect();
        let joined: String = tokens
            .iter()
            .map(|token| match token {
                Token::Mark(mark) => mark.to_string(),
                Token::Scalar(scalar) => scalar.text().to_owned(),
            })
            .collect();
        assert_eq!(joined, text);
        let nested = tokens.iter().any(|token| matches!(token, Token::Scalar(scalar) if scalar.kind() == Kind::Object));
        assert!(!nested);
    }
}

#[test]
fn spelling_and_order_survive_and_whitespace_goes() {
    let text = "{ \"b\" : [1.50e+01 , -0, 1E2],\n\t\"a\":\"\\u0061\\/é\" }";
    assert_eq!(read(text).unwrap(), r#"{"b":[1.50e+01,-0,1E2],"a":"\u0061\/é"}"#);
    assert_eq!(read("{\"a\":[]}").unwrap(), "{\"a\":[]}");
}

#[test]
fn line_separators_become_escapes() {
    assert_eq!(read("\"a\u{2028}b\u{2029}c\u{85}dé–\"").unwrap(), r#""a\u2028b\u2029c\u0085dé–""#);
}

#[test]
fn duplicates_are_refused_at_any_depth_and_in_any_spelling() {
    assert_eq!(read(r#"{"a":1,"a":2}"#), Err(Fault::DuplicateKey));
    assert_eq!(read(r#"{"x":[{"a":1,"\u0061":2}]}"#), Err(Fault::DuplicateKey));
    assert_eq!(read(r#"{"a":1,"A":2}"#), Err(Fault::CaseCollision));
    assert_eq!(read("{\"s\":1,\"ſ\":2}"), Err(Fault::CaseCollision));
    assert_eq!(read("{\"k\":1,\"\u{212A}\":2}"), Err(Fault::CaseCollision));
    let many: Vec<String> = (0..40).map(|n| format!("\"k{n}\":{n}")).collect();
    assert!(read(&format!("{{{}}}", many.join(","))).is_ok());
    assert_eq!(read(&format!("{{{},\"k3\":1}}", many.join(","))), Err(Fault::DuplicateKey));
    assert_eq!(read(&format!("{{{},\"K3\":1}}", many.join(","))), Err(Fault::CaseCollision));
}

/// The rules' reader makes the number 5 of `{"$serde_json::private::Number": "5"}`, and the server gets an object.
#[test]
fn keys_that_some_readers_take_for_their_value_are_refused() {
    assert_eq!(read(r#"{"amount":{"$serde_json::private::Number":"5"}}"#), Err(Fault::ReservedKey));
    assert_eq!(read(r#"[{"a":1,"\u0024serde_json::private::RawValue":"{}"}]"#), Err(Fault::ReservedKey));
    assert!(read(r#"{"$serde_json":1,"x":"$serde_json::private::Number"}"#).is_ok());
    assert!(Fault::ReservedKey.is_ambiguity());
}

#[test]
fn inexact_numbers_are_refused() {
    for ok in [
        "0",
        "-0",
        "9007199254740993",
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "1e2",
        "100.0",
        "1.50e+01",
        "0.0",
        "0e999",
    ] {
        assert!(read(ok).is_ok(), "{ok}");
    }
    for bad in ["1e400", "-1e400", "1e-400", "12345678901234567890123", "0.1000000000000000055", "18446744073709551616"]
    {
        assert_eq!(read(bad), Err(Fault::InexactNumber), "{bad}");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    for bad in [
        "",
        " ",
        "{",
        "[1,]",
        "{\"a\":1,}",
        "NaN",
        "'a'",
        "0x10",
        "01",
        "1.",
        ".5",
        "+1",
        "\"\u{1}\"",
        "\"\\x\"",
        "tru",
        "nulll",
        "{\"a\" 1}",
        "[1 2]",
        "\"a",
        "{\"a\":/*c*/1}",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
    assert_eq!(read("{}{}"), Err(Fault::Trailing));
    assert_eq!(read("\u{feff}{}"), Err(Fault::Syntax));
    assert_eq!(read(r#""\ud800""#), Err(Fault::Surrogate));
    assert_eq!(read(r#""\udc00\ud800""#), Err(Fault::Surrogate));
    assert!(read(r#""\ud83d\ude00""#).is_ok());
    assert_eq!(JsonText::parse(vec![b'"', 0xFF, b'"'], Rules::CLIENT).unwrap_err().fault, Fault::Utf8);
    assert_eq!(read(&"[".repeat(200_000)), Err(Fault::Depth));
}

#[test]
fn views_find_what_is_there() {
    let text =
        JsonText::parse(r#"{"a":{"b":[10,"x\ny",{"c/d":null}]},"e":true,"😀":"\ud83d\ude00"}"#, Rules::CLIENT).unwrap();
    let view = text.view();
    assert_eq!(view.pointer("/a/b/0").unwrap().as_i64(), Some(10));
    assert_eq!(view.pointer("/a/b/1").unwrap().as_str().unwrap(), "x\ny");
    assert_eq!(view.pointer("/a/b/2/c~1d").unwrap().kind(), Kind::Null);
    assert_eq!(view.get("e").unwrap().as_bool(), Some(true));
    assert_eq!(view.get("😀").unwrap().as_str().unwrap(), "😀");
    assert_eq!(view.members().count(), 3);
    assert!(view.pointer("/a/b/9").is_none());
    assert_eq!(JsonText::without(view, &["a", "😀"]).as_str(), r#"{"e":true}"#);
    let replaced = text.replaced(view.pointer("/a/b").unwrap(), "[]").unwrap();
    assert_eq!(replaced.as_str(), r#"{"a":{"b":[]},"e":true,"😀":"\ud83d\ude00"}"#);
    assert!(text.replaced(view.get("e").unwrap(), "tru").is_none());
    let empty = JsonText::parse("[{},[],\"\"]", Rules::CLIENT).unwrap();
    assert_eq!(empty.view().items().map(Json::text).collect::<Vec<_>>(), ["{}", "[]", "\"\""]);
}

#[test]
fn members_are_added_at_the_end_as_they_are_spelled() {
    let more = JsonText::parse(r#"[1.0,{"a":"\u0041"}]"#, Rules::CLIENT).unwrap();
    let with =
        |text: &str| JsonText::parse(text, Rules::CLIENT).unwrap().with(&[("b", more.view()), ("c", more.view())]);
    assert_eq!(with("{}").as_str(), r#"{"b":[1.0,{"a":"\u0041"}],"c":[1.0,{"a":"\u0041"}]}"#);
    let shared = JsonText::parse(r#"{"a":{}}"#, Rules::CLIENT).unwrap();
    assert_eq!(shared.clone().with(&[("b", more.view())]).as_str(), r#"{"a":{},"b":[1.0,{"a":"\u0041"}]}"#);
    assert_eq!(shared.as_str(), r#"{"a":{}}"#, "nobody else's text changes");
    assert_eq!(shared.clone().with(&[]), shared);
}

#[test]
fn the_sorted_form_ignores_order_and_keeps_spelling() {
    let sorted = |text: &str| {
        let mut out = String::new();
        JsonText::parse(text, Rules::CLIENT).unwrap().view().write_sorted(&mut out);
        out
    };
    assert_eq!(sorted(r#"{"b":1.0,"a":{"d":[],"c":"\u0041"}}"#), r#"{"a":{"c":"\u0041","d":[]},"b":1.0}"#);
    assert_ne!(sorted("{\"a\":1}"), sorted("{\"a\":1.0}"));
}

proptest::proptest! {
    #[test]
    fn parsing_its_own_output_changes_nothing(value in tree()) {
        let text = JsonText::of(&value).unwrap();
        let again = JsonText::parse(text.as_str(), Rules::UPSTREAM).unwrap();
        proptest::prop_assert_eq!(&again, &text);
        let back: serde_json::Value = serde_json::from_str(text.as_str()).unwrap();
        proptest::prop_assert_eq!(back, value);
    }

    #[test]
    fn what_is_accepted_reads_the_same_elsewhere(text in "[\\[\\]{}\",:\\\\ua0-9eE.+ \\-tfn]{0,24}") {
        if JsonText::parse(text.as_str(), Rules::CLIENT).is_ok() {
            proptest::prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
        }
    }
}

fn tree() -> impl proptest::strategy::Strategy<Value = serde_json::Value> {
    use proptest::prelude::*;
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}
