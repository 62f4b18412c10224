//! What schemas say, where they are understood and where not; and that nothing that is asked costs too much.

use std::time::{Duration, Instant};

use super::*;
use crate::json::Rules;

fn schema(text: &str) -> Result<Schema, Unusable> {
    Schema::read(JsonText::parse(text, Rules::UPSTREAM).unwrap().view())
}

fn verdict(text: &str, arguments: &str) -> Verdict {
    schema(text).unwrap().check(&JsonText::parse(arguments, Rules::UPSTREAM).unwrap())
}

/// `yes`, `maybe`, or what is said to be wrong.
fn said(text: &str, arguments: &str) -> String {
    match verdict(text, arguments) {
        Verdict::Fits => "yes".to_owned(),
        Verdict::Unsure => "maybe".to_owned(),
        Verdict::Wrong(mismatch) => mismatch.to_string(),
        Verdict::TooMuch => "too much".to_owned(),
    }
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_without_its_value() {
    let refund = r##"{"type":"object","required":["charge"],"additionalProperties":false,"properties":{
        "charge":{"type":"string","pattern":"^ch_","maxLength":8},"amount":{"type":"integer","minimum":1},
        "reason":{"enum":["duplicate","fraudulent"]},"note":{"anyOf":[{"type":"string"},{"type":"null"}]},
        "lines":{"type":"array","minItems":1,"items":{"$ref":"#/$defs/line"}}},
        "$defs":{"line":{"type":"object","required":["sku"],"properties":{"sku":{"type":"string"}}}}}"##;
    for (arguments, wanted) in [
        (r#"{"charge":"ch_1"}"#, "yes"),
        (r#"{"charge":"ch_1","amount":5.0,"note":null,"lines":[{"sku":"a","more":1}]}"#, "yes"),
        ("[]", "the arguments: expected object, got array"),
        ("{}", "the arguments: \"charge\" is required and missing"),
        (r#"{"charge":7}"#, "argument /charge: expected string, got integer"),
        (r#"{"charge":"pi_1"}"#, "argument /charge: does not match the pattern \"^ch_\""),
        (r#"{"charge":"ch_1234567"}"#, "argument /charge: expected at most 8 characters"),
        (r#"{"charge":"ch_1","amount":0}"#, "argument /amount: expected at least 1"),
        (r#"{"charge":"ch_1","amount":1.5}"#, "argument /amount: expected integer, got number"),
        (r#"{"charge":"ch_1","reason":"secret"}"#, "argument /reason: expected one of \"duplicate\", \"fraudulent\""),
        (r#"{"charge":"ch_1","note":[]}"#, "argument /note: expected string; or null"),
        (r#"{"charge":"ch_1","lines":[]}"#, "argument /lines: expected at least 1 items"),
        (r#"{"charge":"ch_1","lines":[{"sku":"a"},{}]}"#, "argument /lines/1: \"sku\" is required and missing"),
        (
            r#"{"charge":"ch_1","amuont":1}"#,
            "the arguments: \"amuont\" is not known here (known: \"amount\", \"charge\", \"lines\", \"note\", \"reason\")",
        ),
    ] {
        assert_eq!(said(refund, arguments), wanted, "{arguments}");
    }
}

#[test]
fn every_keyword_says_yes_and_no() {
    for (text, yes, no) in [
        ("true", "1", ""),
        ("false", "", "1"),
        (r#"{"type":["string","null"]}"#, "null", "1"),
        (r#"{"const":{"a":[1,2.0]}}"#, r#"{"a":[1.0,2]}"#, r#"{"a":[1,3]}"#),
        (r#"{"maximum":3}"#, "3", "4"),
        (r#"{"exclusiveMinimum":3}"#, "3.5", "3"),
        (r#"{"exclusiveMaximum":3}"#, "2", "3"),
        (r#"{"multipleOf":5}"#, "10", "11"),
        (r#"{"multipleOf":0.5}"#, "1.5", "1.25"),
        (r#"{"minLength":2}"#, r#""ab""#, r#""a""#),
        (r#"{"maxItems":1}"#, "[1]", "[1,2]"),
        (r#"{"prefixItems":[{"type":"string"}],"items":{"type":"null"}}"#, r#"["a",null]"#, r#"["a",1]"#),
        (r#"{"items":[{"type":"string"}],"additionalItems":false}"#, r#"["a"]"#, r#"["a",1]"#),
        (r#"{"contains":{"type":"null"}}"#, "[1,null]", "[1]"),
        (r#"{"contains":{"type":"null"},"minContains":2,"maxContains":2}"#, "[null,null]", "[null,null,null]"),
        (r#"{"contains":{"type":"null"},"minContains":0}"#, "[]", ""),
        (r#"{"uniqueItems":true}"#, "[1,2]", "[1,1.0]"),
        (r#"{"minProperties":1}"#, r#"{"a":1}"#, "{}"),
        (
            r#"{"patternProperties":{"^x":{"type":"null"}},"additionalProperties":{"type":"string"}}"#,
            r#"{"x":null,"y":""}"#,
            r#"{"y":1}"#,
        ),
        (r#"{"patternProperties":{"^x":{"type":"null"}}}"#, "{}", r#"{"xy":1}"#),
        (r#"{"propertyNames":{"pattern":"^[a-z]+$"}}"#, r#"{"a":1}"#, r#"{"A":1}"#),
        (r#"{"dependentRequired":{"a":["b"]}}"#, r#"{"a":1,"b":1}"#, r#"{"a":1}"#),
        (r#"{"dependencies":{"a":["b"]}}"#, r#"{"b":1}"#, r#"{"a":1}"#),
        (r#"{"allOf":[{"minimum":1},{"maximum":2}]}"#, "2", "3"),
        (r#"{"oneOf":[{"minimum":1},{"maximum":2}]}"#, "3", "2"),
        (r#"{"not":{"type":"null"}}"#, "1", "null"),
        (r#"{"if":{"type":"string"},"then":{"minLength":1},"else":{"type":"null"}}"#, r#""a""#, "1"),
        (r##"{"$defs":{"a":{"$anchor":"n","type":"null"}},"$ref":"#n"}"##, "null", "1"),
        (
            r##"{"$id":"https://x/s","$ref":"https://x/s#/definitions/a~1b","definitions":{"a/b":{"type":"null"}}}"##,
            "null",
            "1",
        ),
        (r##"{"properties":{"a":{"type":"null"},"b":{"$ref":"#/properties/a"}}}"##, r#"{"b":null}"#, r#"{"b":1}"#),
        (
            r##"{"type":["object","null"],"properties":{"next":{"$ref":"#"}}}"##,
            r#"{"next":{"next":null}}"#,
            r#"{"next":{"next":1}}"#,
        ),
    ] {
        if !yes.is_empty() {
            assert_eq!(said(text, yes), "yes", "{text} {yes}");
        }
        if !no.is_empty() {
            assert!(matches!(verdict(text, no), Verdict::Wrong(_)), "{text} {no}: {}", said(text, no));
        }
    }
}

#[test]
fn what_is_not_understood_refuses_nothing() {
    let look = r#"{"pattern":"^(?!a)"}"#;
    for (text, arguments) in [
        (look.to_owned(), r#""a""#),
        (format!(r#"{{"not":{look}}}"#), r#""a""#),
        (format!(r#"{{"oneOf":[{look},{{"type":"string"}}]}}"#), r#""a""#),
        (format!(r#"{{"anyOf":[{look},{{"type":"null"}}]}}"#), r#""a""#),
        (format!(r#"{{"if":{look},"then":false,"else":false}}"#), r#""a""#),
        (format!(r#"{{"contains":{look},"maxContains":0}}"#), r#"["a"]"#),
        (r#"{"patternProperties":{"(?!a)b":false},"additionalProperties":false}"#.to_owned(), r#"{"b":1}"#),
        (r##"{"$dynamicRef":"#x"}"##.to_owned(), "1"),
        (r#"{"unevaluatedProperties":false}"#.to_owned(), r#"{"a":1}"#),
        (r#"{"type":7}"#.to_owned(), "1"),
        (r#"{"type":"money"}"#.to_owned(), "1"),
        (r#"{"minimum":"1"}"#.to_owned(), "0"),
        (r#"{"exclusiveMinimum":true}"#.to_owned(), "0"),
        (r#"{"multipleOf":0}"#.to_owned(), "1"),
        (r#"{"multipleOf":0.1}"#.to_owned(), "0.3"),
        // Readers that take every number for a double see no difference.
        (r#"{"maximum":9007199254740992}"#.to_owned(), "9007199254740993"),
        (r#"{"const":9007199254740992}"#.to_owned(), "9007199254740993"),
        // One character, or two halves of one.
        (r#"{"minLength":2}"#.to_owned(), r#""😀""#),
        (r#"{"type":"string","nullable":true}"#.to_owned(), "null"),
        (r#"{"type":"boolean","x-mcp-header":"A"}"#.to_owned(), "null"),
        (r#"{"properties":{"a":7}}"#.to_owned(), r#"{"a":1}"#),
    ] {
        assert_eq!(said(&text, arguments), "maybe", "{text} {arguments}");
    }
    // Annotations, and whatever else has another name.
    let text =
        r#"{"format":"email","default":1,"examples":[2],"x-mcp-header":"A","$comment":"c","contentEncoding":"base64"}"#;
    assert_eq!(said(text, r#""no address""#), "yes");
    // Before 2019-09 nothing counts beside a reference.
    let text = r##"{"$schema":"http://json-schema.org/draft-07/schema#","definitions":{"a":{}},"properties":{"x":{"$ref":"#/definitions/a","type":"null"}}}"##;
    assert_eq!(said(text, r#"{"x":1}"#), "yes");
    assert_ne!(said(&text.replace("draft-07/schema#", "draft/2020-12/schema"), r#"{"x":1}"#), "yes");
}

#[test]
fn nothing_is_fetched_and_nothing_leads_out() {
    for reference in [
        "http://169.254.169.254/x",
        "file:///etc/passwd",
        "other.json",
        "other.json#/a",
        "#/nowhere",
        "#nothing",
        "#/%zz",
        "https://x/s#",
    ] {
        let text = format!(r#"{{"properties":{{"a":{{"$ref":"{reference}"}}}}}}"#);
        assert_eq!(schema(&text).unwrap_err(), Unusable::Reference(reference.to_owned()), "{reference}");
    }
    assert_eq!(schema(r#""x""#).unwrap_err(), Unusable::Form);
    assert!(matches!(schema(r#"{"$schema":"https://x/mine"}"#), Err(Unusable::Dialect(_))));
    // Where a reference is data, it is none.
    assert!(schema(r#"{"default":{"$ref":"http://x"},"enum":[{"$ref":"http://x"}]}"#).is_ok());
}

#[test]
fn what_costs_too_much_ends_soon() {
    let start = Instant::now();
    // Twice as much at each step.
    let bomb: Vec<String> = (0..40)
        .map(|n| format!(r##""a{n}":{{"anyOf":[{{"$ref":"#/$defs/a{m}"}},{{"$ref":"#/$defs/a{m}"}}]}}"##, m = n + 1))
        .collect();
    let bomb = format!(r##"{{"$ref":"#/$defs/a0","$defs":{{{},"a40":false}}}}"##, bomb.join(","));
    assert_eq!(said(&bomb, "1"), "too much");
    // For ever, on the same value.
    for text in [
        r##"{"$ref":"#"}"##,
        r##"{"allOf":[{"$ref":"#"}]}"##,
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}"##,
        r##"{"not":{"$ref":"#"}}"##,
    ] {
        assert_eq!(said(text, "1"), "too much", "{text}");
    }
    // Deep, as far as strict JSON goes.
    let deep = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
    assert_eq!(said(r##"{"items":{"$ref":"#"}}"##, &deep("[", "]", 60)), "yes");
    let nested = deep(r#"{"not":"#, "}", 120).replace('1', "true");
    assert!(schema(&nested).is_ok());
    // Each with each.
    let many: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    assert_eq!(said(r#"{"uniqueItems":true}"#, &format!("[{}]", many.join(","))), "too much");
    // Large, and one step for each part.
    let large = format!(r#"{{"a":[{}]}}"#, vec!["1"; 200_000].join(","));
    assert_eq!(said(r#"{"properties":{"a":{"items":{"type":"integer","minimum":0}}}}"#, &large), "yes");
    let patterns: Vec<String> = (0..=MAX_PATTERNS).map(|n| format!(r#"{{"pattern":"{n}"}}"#)).collect();
    assert_eq!(schema(&format!(r#"{{"allOf":[{}]}}"#, patterns.join(","))).unwrap_err(), Unusable::Size);
    let wide = vec!["{}"; MAX_SCHEMAS].join(",");
    assert_eq!(schema(&format!(r#"{{"allOf":[{wide}]}}"#)).unwrap_err(), Unusable::Size);
    assert_eq!(schema(&format!(r#"{{"title":"{}"}}"#, "x".repeat(MAX_BYTES))).unwrap_err(), Unusable::Size);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn messages_are_short_and_on_one_line() {
    let long = "é\n".repeat(1000);
    let long = serde_json::to_string(&long).unwrap();
    for (text, arguments) in [
        (format!(r#"{{"enum":[{long}]}}"#), "1".to_owned()),
        (format!(r#"{{"required":[{long}]}}"#), "{}".to_owned()),
        (r#"{"additionalProperties":false}"#.to_owned(), format!("{{{long}:1}}")),
        (r#"{"additionalProperties":{"type":"null"}}"#.to_owned(), format!("{{{long}:1}}")),
        (
            format!(r#"{{"type":"object","properties":{{{long}:{{}}}},"additionalProperties":false}}"#),
            r#"{"a":1}"#.to_owned(),
        ),
    ] {
        let said = said(&text, &arguments);
        assert!(said.chars().count() < 500 && !said.contains(char::is_control), "{said}");
    }
}

#[test]
fn a_long_name_is_not_kept_for_each_schema_below_it() {
    let name = "n".repeat(100_000);
    let below: Vec<String> = (0..8_000).map(|n| format!(r#""{n}":true"#)).collect();
    let below = format!(r#"{{"properties":{{{}}}}}"#, below.join(","));
    assert_eq!(schema(&format!(r#"{{"properties":{{"{name}":{below}}}}}"#)).unwrap_err(), Unusable::Size);
    assert!(schema(&format!(r#"{{"properties":{{"a":{below}}}}}"#)).is_ok());
    assert!(schema(&format!(r#"{{"properties":{{"{name}":true}}}}"#)).is_ok());
    // The names that lead to it are many, and it is one.
    let names: Vec<String> = (0..2_000).map(|n| format!(r##"{{"$ref":"#%2f%24defs/a{n}"}}"##)).collect();
    let text = format!(r#"{{"$defs":{{"{name}":{{"properties":{{"a":{{"$anchor":"a"}}}}}}}},"allOf":[{}]}}"#, {
        vec![r##"{"$ref":"#a"}"##; 5_000].join(",")
    });
    assert!(schema(&text).is_ok(), "one pointer for all");
    assert!(matches!(schema(&format!(r#"{{"allOf":[{}]}}"#, names.join(","))), Err(Unusable::Reference(_))));
}

#[test]
fn what_a_schema_weighs_is_no_less_than_what_it_holds() {
    let title = "x".repeat(200_000);
    assert!(schema(&format!(r#"{{"title":"{title}"}}"#)).unwrap().weight() > 200_000);
    let many = vec![r#"{"a":0}"#; 30_000].join(",");
    assert!(schema(&format!(r#"{{"default":[{many}]}}"#)).unwrap().weight() > 30_000 * 640);
    let plain = schema(r#"{"properties":{"a":{"type":"string"}}}"#).unwrap().weight();
    assert!(plain < 8_000, "{plain}");
    assert!(schema(r#"{"pattern":"^a$"}"#).unwrap().weight() > 256 << 10);
    let nested = format!(r#"{{"default":{}1{}}}"#, "[".repeat(60), "]".repeat(60));
    assert!(schema(&nested).unwrap().weight() < 16_000, "nothing doubles with depth");
}

/// A schema that asks the same of a text thousands of times.
fn again(what: &str) -> String {
    let many = vec![r##"{"$ref":"#/$defs/p"}"##; 9_000].join(",");
    format!(r##"{{"properties":{{"a":{{"allOf":[{many}]}}}},"$defs":{{"p":{what}}}}}"##)
}

#[test]
fn a_long_text_costs_as_much_as_it_takes() {
    let start = Instant::now();
    let large = r"(a|b)*a(a|b){300}c";
    let text = "ab".repeat(15_000);
    let value = format!(r#"{{"a":"{text}"}}"#);
    let as_key = format!(r#"{{"a":{{"{text}":1}}}}"#);
    assert!(pattern::read(large).is_some());
    for (what, arguments) in [
        (format!(r#"{{"pattern":"{large}"}}"#), &value),
        (r#"{"pattern":"c$"}"#.replace("c$", "b$"), &value),
        (r#"{"minLength":2}"#.to_owned(), &value),
        (format!(r#"{{"const":"{text}"}}"#), &value),
        (format!(r#"{{"enum":["{text}"]}}"#), &value),
        (r#"{"patternProperties":{"b$":true}}"#.to_owned(), &as_key),
        (r#"{"propertyNames":true}"#.to_owned(), &as_key),
        (format!(r#"{{"required":["{text}"]}}"#), &as_key),
    ] {
        let verdict = said(&again(&what), arguments);
        assert_eq!(verdict, "too much", "{}", what.chars().take(60).collect::<String>());
        assert_ne!(said(&format!(r#"{{"properties":{{"a":{what}}}}}"#), arguments), "too much");
    }
    // The same on short texts, which are what such rules are for.
    assert_eq!(said(&again(r#"{"minLength":2,"const":"ab"}"#), r#"{"a":"ab"}"#), "too much");
    let few = vec![r#"{"minLength":2,"maxLength":64,"pattern":"^[a-z]+$"}"#; 100].join(",");
    assert_eq!(said(&format!(r#"{{"allOf":[{few}]}}"#), &format!("\"{}\"", "ab".repeat(30))), "yes");
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn honest_calls_with_long_texts_are_checked() {
    let rules = r##"{"properties":{"a":{"type":"string","minLength":1,"maxLength":4000000,"pattern":"^[a-z ]*$",
        "anyOf":[{"pattern":"^a"},{"pattern":"x$"},{"const":"b"}],"not":{"pattern":"[0-9]"}}}}"##;
    let text = "ab ".repeat(350_000);
    assert_eq!(said(rules, &format!(r#"{{"a":"{text}"}}"#)), "yes");
    assert_eq!(said(rules, &format!(r#"{{"a":"{text}7"}}"#)), "argument /a: does not match the pattern \"^[a-z ]*$\"");
    // Many texts of the length that a large pattern is made for.
    let names = r#"{"items":{"type":"string","pattern":"^[\\w\\s-]{1,100}$"}}"#;
    assert!(pattern::read(r"^[\w\s-]{1,100}$").is_some());
    let many = vec![format!("\"{}\"", "a b-".repeat(24)); 200].join(",");
    assert_eq!(said(names, &format!("[{many}]")), "yes");
}
