//! Compares a value with a schema, in steps that are counted.
//!
//! Invariant: no recursion deeper than [`MAX_DEPTH`], no more steps than the budget, whatever schema and value are. What
//! takes time in proportion to a text or a list costs steps in proportion to it; messages are cut before they are made.

use std::cmp::Ordering;

use serde_json::{Map, Number, Value};

use super::truth::Truth;
use super::words::{LONG, clip, none_of, quoted, values, word};
use super::{Mismatch, Schema, Verdict, number, pattern};

/// Schemas within schemas, and values within values, together.
const MAX_DEPTH: usize = 192;
/// Steps that every call may take, and more for each byte of its arguments.
const STEPS: usize = 20_000;
const STEPS_A_BYTE: usize = 4;
/// Bytes of a text that are counted or compared in the time of a step.
const BYTES_A_STEP: usize = 16;
/// What matching patterns may cost every call, for each byte of its arguments, and at most. A byte may be matched once by
/// the largest pattern, or as many times by small ones as the largest weighs.
const MATCHING: usize = 100_000;
const MATCHING_A_BYTE: usize = 32;
const MATCHING_AT_MOST: usize = 16_000_000;

/// The budget or the depth is used up.
struct TooMuch;

type Answer = Result<Truth, TooMuch>;

pub fn check(schema: &Schema, value: &Value, bytes: usize) -> Verdict {
    let steps = STEPS.saturating_add(bytes.saturating_mul(STEPS_A_BYTE));
    let matching = MATCHING.saturating_add(bytes.saturating_mul(MATCHING_A_BYTE)).min(MATCHING_AT_MOST);
    let mut walk = Walk { schema, steps, matching, depth: 0, path: Vec::new(), wrong: None };
    match walk.fits(&schema.root, value) {
        Ok(Truth::Yes) => Verdict::Fits,
        Ok(Truth::Maybe) => Verdict::Unsure,
        Ok(Truth::No) => {
            let unnamed = || Mismatch { at: String::new(), problem: "they are not what the tool takes".to_owned() };
            Verdict::Wrong(walk.wrong.unwrap_or_else(unnamed))
        }
        Err(TooMuch) => Verdict::TooMuch,
    }
}

enum Step<'v> {
    Key(&'v str),
    Item(usize),
}

struct Walk<'s, 'v> {
    schema: &'s Schema,
    steps: usize,
    /// What may still be spent on patterns.
    matching: usize,
    depth: usize,
    path: Vec<Step<'v>>,
    /// What was found first.
    wrong: Option<Mismatch>,
}

impl<'s, 'v> Walk<'s, 'v> {
    fn step(&mut self, cost: usize) -> Result<(), TooMuch> {
        self.steps = self.steps.checked_sub(cost).ok_or(TooMuch)?;
        Ok(())
    }

    /// A step, and more for a long text.
    fn read(&mut self, text: &str) -> Result<(), TooMuch> {
        self.step(1 + text.len() / BYTES_A_STEP)
    }

    /// Says no, and why where nothing has been said yet.
    fn no(&mut self, problem: impl FnOnce() -> String) -> Truth {
        if self.wrong.is_none() {
            let mut at = String::new();
            for step in &self.path {
                // No more than is shown: a byte is no more than a character.
                if at.len() > 4 * LONG {
                    break;
                }
                at.push('/');
                match step {
                    Step::Key(key) => {
                        let key: String = key.chars().take(LONG + 1).collect();
                        at.extend(key.replace('~', "~0").replace('/', "~1").chars().flat_map(char::escape_debug))
                    }
                    Step::Item(n) => at.push_str(&n.to_string()),
                }
            }
            self.wrong = Some(Mismatch { at: clip(&at), problem: problem() });
        }
        Truth::No
    }

    fn demand(&mut self, known: Option<bool>, problem: impl FnOnce() -> String) -> Truth {
        match Truth::of(known) {
            Truth::No => self.no(problem),
            truth @ (Truth::Yes | Truth::Maybe) => truth,
        }
    }

    fn within(&mut self, step: Step<'v>, schema: &'s Value, value: &'v Value) -> Answer {
        self.path.push(step);
        let answer = self.fits(schema, value);
        self.path.pop();
        answer
    }

    /// The answer without its reasons, which are given back.
    fn quietly(&mut self, schema: &'s Value, value: &'v Value) -> Result<(Truth, Option<Mismatch>), TooMuch> {
        let before = self.wrong.take();
        let truth = self.fits(schema, value);
        let found = std::mem::replace(&mut self.wrong, before);
        Ok((truth?, found))
    }

    fn fits(&mut self, schema: &'s Value, value: &'v Value) -> Answer {
        self.step(1)?;
        let members = match schema {
            Value::Bool(true) => return Ok(Truth::Yes),
            Value::Bool(false) => return Ok(self.no(|| "nothing may be here".to_owned())),
            Value::Object(members) => members,
            Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => return Ok(Truth::Maybe),
        };
        if self.depth >= MAX_DEPTH {
            return Err(TooMuch);
        }
        self.depth += 1;
        let answer = self.members(members, value);
        self.depth -= 1;
        answer
    }

    fn members(&mut self, schema: &'s Map<String, Value>, value: &'v Value) -> Answer {
        let mut truth = Truth::Yes;
        // What a header field repeats may be null, which the protocol takes for left out.
        if value.is_null() && schema.contains_key("x-mcp-header") {
            return Ok(Truth::Maybe);
        }
        if let Some(reference) = schema.get("$ref") {
            truth = self.reference(reference, value)?;
            if self.schema.references_stand_alone || truth == Truth::No {
                return Ok(truth);
            }
        }
        let unread = ["$dynamicRef", "$recursiveRef", "unevaluatedItems", "unevaluatedProperties"];
        if unread.iter().any(|name| schema.contains_key(*name)) {
            truth = truth.and(Truth::Maybe);
        }
        truth = truth.and(self.kind(schema, value)?).and(self.values(schema, value)?);
        if truth == Truth::No {
            return Ok(truth);
        }
        truth = truth.and(match value {
            Value::Number(number) => self.number(schema, number),
            Value::String(text) => self.text(schema, text)?,
            Value::Array(items) => self.array(schema, items)?,
            Value::Object(members) => self.object(schema, members)?,
            Value::Null | Value::Bool(_) => Truth::Yes,
        });
        if truth == Truth::No {
            return Ok(truth);
        }
        Ok(truth.and(self.logic(schema, value)?))
    }

    fn reference(&mut self, reference: &'s Value, value: &'v Value) -> Answer {
        let schema = self.schema;
        let at = reference.as_str().and_then(|reference| schema.references.get(reference));
        if let Some(at) = at {
            self.read(at)?;
        }
        match at.and_then(|at| schema.root.pointer(at)) {
            Some(target) => self.fits(target, value),
            None => Ok(Truth::Maybe),
        }
    }

    fn kind(&mut self, schema: &Map<String, Value>, value: &Value) -> Answer {
        let Some(wanted) = schema.get("type") else { return Ok(Truth::Yes) };
        // A word of OpenAPI that some readers know.
        if value.is_null() && schema.get("nullable") == Some(&Value::Bool(true)) {
            return Ok(Truth::Maybe);
        }
        if let Value::Array(words) = wanted {
            self.step(words.len())?;
        }
        let is = |word: &Value| is_of(word.as_str()?, value);
        let found = match wanted {
            Value::String(_) => is(wanted),
            Value::Array(words) => {
                let answers: Vec<_> = words.iter().map(is).collect();
                if answers.contains(&Some(true)) { Some(true) } else { (!answers.contains(&None)).then_some(false) }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
        };
        Ok(self.demand(found, || {
            let words: Vec<&str> = match wanted {
                Value::Array(words) => words.iter().filter_map(Value::as_str).collect(),
                one => one.as_str().into_iter().collect(),
            };
            format!("expected {}, got {}", clip(&words.join(" or ")), word(value))
        }))
    }

    /// `enum` and `const`.
    fn values(&mut self, schema: &Map<String, Value>, value: &Value) -> Answer {
        let mut truth = Truth::Yes;
        if let Some(Value::Array(wanted)) = schema.get("enum") {
            self.step(wanted.len())?;
            let mut found = Some(false);
            for one in wanted {
                match self.equal(one, value)? {
                    Some(true) => {
                        found = Some(true);
                        break;
                    }
                    None => found = None,
                    Some(false) => {}
                }
            }
            truth = self.demand(found, || format!("expected one of {}", values(wanted)));
        }
        if let Some(wanted) = schema.get("const") {
            let same = self.equal(wanted, value)?;
            truth = truth.and(self.demand(same, || format!("expected {}", values(std::slice::from_ref(wanted)))));
        }
        Ok(truth)
    }

    /// `None`: readers of numbers disagree.
    fn equal(&mut self, one: &Value, other: &Value) -> Result<Option<bool>, TooMuch> {
        self.step(1)?;
        Ok(match (one, other) {
            (Value::Number(one), Value::Number(other)) => {
                number::compare(one, other).map(|order| order == Ordering::Equal)
            }
            (Value::Array(one), Value::Array(other)) => {
                if one.len() != other.len() {
                    return Ok(Some(false));
                }
                let mut truth = Some(true);
                for (one, other) in one.iter().zip(other) {
                    match self.equal(one, other)? {
                        Some(true) => {}
                        Some(false) => return Ok(Some(false)),
                        None => truth = None,
                    }
                }
                truth
            }
            (Value::Object(one), Value::Object(other)) => {
                if one.len() != other.len() {
                    return Ok(Some(false));
                }
                let mut truth = Some(true);
                for (key, one) in one {
                    self.read(key)?;
                    let Some(other) = other.get(key) else { return Ok(Some(false)) };
                    match self.equal(one, other)? {
                        Some(true) => {}
                        Some(false) => return Ok(Some(false)),
                        None => truth = None,
                    }
                }
                truth
            }
            (Value::String(one), Value::String(other)) => {
                if one.len() != other.len() {
                    return Ok(Some(false));
                }
                self.read(one)?;
                Some(one == other)
            }
            // Of two kinds, or of one that has no parts.
            (one, other) => Some(one == other),
        })
    }

    fn number(&mut self, schema: &Map<String, Value>, value: &Number) -> Truth {
        let mut truth = Truth::Yes;
        for (name, bad, words) in [
            ("minimum", &[Ordering::Less][..], "at least"),
            ("maximum", &[Ordering::Greater][..], "at most"),
            ("exclusiveMinimum", &[Ordering::Less, Ordering::Equal][..], "more than"),
            ("exclusiveMaximum", &[Ordering::Greater, Ordering::Equal][..], "less than"),
        ] {
            let Some(limit) = schema.get(name) else { continue };
            // Draft 4 has a boolean here.
            let fits = match limit {
                Value::Number(limit) => number::compare(value, limit).map(|order| !bad.contains(&order)),
                _ => None,
            };
            truth = truth.and(self.demand(fits, || format!("expected {words} {limit}")));
        }
        if let Some(divisor) = schema.get("multipleOf") {
            let fits = divisor.as_number().and_then(|divisor| number::is_multiple(value, divisor));
            truth = truth.and(self.demand(fits, || format!("expected a multiple of {divisor}")));
        }
        truth
    }

    fn text(&mut self, schema: &Map<String, Value>, text: &str) -> Answer {
        let mut truth = Truth::Yes;
        if schema.contains_key("minLength") || schema.contains_key("maxLength") {
            self.read(text)?;
            // Some count characters and some count halves of them.
            let lengths = [text.chars().count(), text.encode_utf16().count()];
            truth = self.counted(schema, ["minLength", "maxLength"], "characters", &lengths);
        }
        if let Some(wanted) = schema.get("pattern") {
            let fits = match wanted.as_str() {
                Some(wanted) => self.matches(wanted, text)?,
                None => None,
            };
            truth =
                truth.and(self.demand(fits, || format!("does not match the pattern {}", clip(&wanted.to_string()))));
        }
        Ok(truth)
    }

    fn matches(&mut self, wanted: &str, text: &str) -> Result<Option<bool>, TooMuch> {
        self.read(wanted)?;
        let Some(Some(pattern)) = self.schema.patterns.get(wanted) else { return Ok(None) };
        self.matching = self.matching.checked_sub(pattern::cost(pattern, text)).ok_or(TooMuch)?;
        Ok(pattern::matches(pattern, text))
    }

    /// A least and a most number of something, where all of the counts agree.
    fn counted(&mut self, schema: &Map<String, Value>, names: [&str; 2], of: &str, counts: &[usize]) -> Truth {
        let mut truth = Truth::Yes;
        let [least, most] = names;
        for (name, words, bad) in [(least, "at least", Ordering::Less), (most, "at most", Ordering::Greater)] {
            let Some(limit) = schema.get(name) else { continue };
            let fits = |count: &usize| {
                let limit = limit.as_number()?;
                number::compare(&Number::from(*count), limit).map(|order| order != bad)
            };
            let answers: Vec<_> = counts.iter().map(fits).collect();
            let fits =
                answers.first().copied().flatten().filter(|first| answers.iter().all(|one| *one == Some(*first)));
            truth = truth.and(self.demand(fits, || format!("expected {words} {limit} {of}")));
        }
        truth
    }

    fn array(&mut self, schema: &'s Map<String, Value>, items: &'v [Value]) -> Answer {
        let mut truth = self.counted(schema, ["minItems", "maxItems"], "items", &[items.len()]);
        // A list under `items` is the older spelling of `prefixItems`.
        let (first, rest) = match (schema.get("prefixItems"), schema.get("items")) {
            (Some(Value::Array(first)), rest) => (&first[..], rest),
            (None, Some(Value::Array(first))) => (&first[..], schema.get("additionalItems")),
            (None, rest) => (&[][..], rest),
            (Some(_), _) => return Ok(truth.and(Truth::Maybe)),
        };
        for (n, item) in items.iter().enumerate() {
            let Some(schema) = first.get(n).or(rest) else { break };
            truth = truth.and(self.within(Step::Item(n), schema, item)?);
            if truth == Truth::No {
                return Ok(truth);
            }
        }
        if let Some(wanted) = schema.get("contains") {
            truth = truth.and(self.contains(schema, wanted, items)?);
        }
        if schema.get("uniqueItems") == Some(&Value::Bool(true)) {
            truth = truth.and(self.unique(items)?);
        }
        Ok(truth)
    }

    fn contains(&mut self, schema: &Map<String, Value>, wanted: &'s Value, items: &'v [Value]) -> Answer {
        let (mut sure, mut perhaps) = (0_usize, 0_usize);
        for item in items {
            match self.quietly(wanted, item)?.0 {
                Truth::Yes => sure += 1,
                Truth::Maybe => perhaps += 1,
                Truth::No => {}
            }
        }
        let limit =
            |name: &str| schema.get(name).map(|limit| limit.as_u64().and_then(|limit| usize::try_from(limit).ok()));
        let (least, most) = (limit("minContains").unwrap_or(Some(1)), limit("maxContains"));
        let enough =
            least.and_then(|least| if sure >= least { Some(true) } else { (sure + perhaps < least).then_some(false) });
        let few = match most {
            None => Some(true),
            Some(most) => {
                most.and_then(|most| if sure > most { Some(false) } else { (sure + perhaps <= most).then_some(true) })
            }
        };
        let problem = "the items are not what the tool takes (contains)";
        Ok(self.demand(enough, || problem.to_owned()).and(self.demand(few, || problem.to_owned())))
    }

    fn unique(&mut self, items: &[Value]) -> Answer {
        let mut truth = Truth::Yes;
        for (n, one) in items.iter().enumerate() {
            for other in items.iter().skip(n + 1) {
                match self.equal(one, other)? {
                    Some(false) => {}
                    Some(true) => return Ok(self.no(|| "an item stands here twice".to_owned())),
                    None => truth = Truth::Maybe,
                }
            }
        }
        Ok(truth)
    }

    fn object(&mut self, schema: &'s Map<String, Value>, members: &'v Map<String, Value>) -> Answer {
        let mut truth = self.counted(schema, ["minProperties", "maxProperties"], "members", &[members.len()]);
        if let Some(Value::Array(names)) = schema.get("required") {
            truth = truth.and(self.required(names, members)?);
        }
        truth = truth.and(self.dependencies(schema, members)?);
        if truth == Truth::No {
            return Ok(truth);
        }
        let properties = schema.get("properties").and_then(Value::as_object);
        let patterns = schema.get("patternProperties").and_then(Value::as_object);
        for (key, value) in members {
            self.read(key)?;
            let own = properties.and_then(|properties| properties.get(key));
            // Whether any other keyword speaks of this member.
            let mut named = if own.is_some() { Truth::Yes } else { Truth::No };
            if let Some(own) = own {
                truth = truth.and(self.within(Step::Key(key), own, value)?);
            }
            for (wanted, schema) in patterns.into_iter().flatten() {
                self.step(1)?;
                match Truth::of(self.matches(wanted, key)?) {
                    Truth::Yes => {
                        named = Truth::Yes;
                        truth = truth.and(self.within(Step::Key(key), schema, value)?);
                    }
                    Truth::Maybe => {
                        named = if named == Truth::Yes { named } else { Truth::Maybe };
                        if self.quietly(schema, value)?.0 != Truth::Yes {
                            truth = truth.and(Truth::Maybe);
                        }
                    }
                    Truth::No => {}
                }
            }
            if let Some(others) = schema.get("additionalProperties") {
                truth = truth.and(self.additional(others, named, key, value, properties)?);
            }
            if let Some(names) = schema.get("propertyNames") {
                truth = truth.and(self.name(names, key)?);
            }
            if truth == Truth::No {
                return Ok(truth);
            }
        }
        Ok(truth)
    }

    fn required(&mut self, names: &'s [Value], members: &Map<String, Value>) -> Answer {
        self.step(names.iter().map(|name| 1 + name.as_str().map_or(0, str::len) / BYTES_A_STEP).sum())?;
        let missing = names.iter().filter_map(Value::as_str).find(|name| !members.contains_key(*name));
        Ok(match missing {
            Some(name) => self.no(|| format!("{} is required and missing", quoted(name))),
            None => Truth::Yes,
        })
    }

    fn additional(
        &mut self,
        others: &'s Value,
        named: Truth,
        key: &'v str,
        value: &'v Value,
        properties: Option<&Map<String, Value>>,
    ) -> Answer {
        match (named, others) {
            (Truth::Yes, _) => Ok(Truth::Yes),
            (Truth::Maybe, others) => {
                Ok(if self.quietly(others, value)?.0 == Truth::Yes { Truth::Yes } else { Truth::Maybe })
            }
            (Truth::No, Value::Bool(false)) => Ok(self.no(|| {
                // More names than are shown.
                let names = properties.into_iter().flat_map(Map::keys).take(LONG);
                let known: Vec<String> = names.map(|name| quoted(name)).collect();
                let known = if known.is_empty() { "nothing".to_owned() } else { clip(&known.join(", ")) };
                format!("{} is not known here (known: {known})", quoted(key))
            })),
            (Truth::No, others) => self.within(Step::Key(key), others, value),
        }
    }

    /// `propertyNames`: the name, as if it were a value.
    fn name(&mut self, names: &'s Value, key: &str) -> Answer {
        self.read(key)?;
        let name = Value::String(key.to_owned());
        // A walk of its own: the name does not live as long as the arguments.
        let Walk { schema, steps, matching, depth, .. } = *self;
        let mut walk = Walk { schema, steps, matching, depth, path: Vec::new(), wrong: None };
        let found = walk.fits(names, &name);
        (self.steps, self.matching) = (walk.steps, walk.matching);
        Ok(match found? {
            Truth::No => self.no(|| format!("the name {} may not be used here", quoted(key))),
            truth @ (Truth::Yes | Truth::Maybe) => truth,
        })
    }

    fn dependencies(&mut self, schema: &'s Map<String, Value>, members: &'v Map<String, Value>) -> Answer {
        let mut truth = Truth::Yes;
        for keyword in ["dependentRequired", "dependentSchemas", "dependencies"] {
            let Some(Value::Object(all)) = schema.get(keyword) else { continue };
            for (key, wanted) in all {
                self.read(key)?;
                if !members.contains_key(key) {
                    continue;
                }
                truth = truth.and(match wanted {
                    Value::Array(names) => self.required(names, members)?,
                    // Rare, and the value would have to be looked at as a whole again.
                    _ => Truth::Maybe,
                });
            }
        }
        Ok(truth)
    }

    fn logic(&mut self, schema: &'s Map<String, Value>, value: &'v Value) -> Answer {
        let mut truth = Truth::Yes;
        for one in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
            truth = truth.and(self.fits(one, value)?);
        }
        if let Some(Value::Array(all)) = schema.get("anyOf") {
            truth = truth.and(self.alternatives(all, value, false)?);
        }
        if let Some(Value::Array(all)) = schema.get("oneOf") {
            truth = truth.and(self.alternatives(all, value, true)?);
        }
        if let Some(other) = schema.get("not") {
            let found = self.quietly(other, value)?.0.not();
            truth = truth.and(match found {
                Truth::No => self.no(|| "it is one of those that the tool does not take".to_owned()),
                found @ (Truth::Yes | Truth::Maybe) => found,
            });
        }
        if let Some(condition) = schema.get("if") {
            truth = truth.and(match (schema.get("then"), schema.get("else")) {
                (None, None) => Truth::Yes,
                (_, _) => match self.quietly(condition, value)?.0 {
                    Truth::Yes => self.branch(schema, "then", value)?,
                    Truth::No => self.branch(schema, "else", value)?,
                    Truth::Maybe => Truth::Maybe,
                },
            });
        }
        Ok(truth)
    }

    fn branch(&mut self, schema: &'s Map<String, Value>, name: &str, value: &'v Value) -> Answer {
        schema.get(name).map_or(Ok(Truth::Yes), |then| self.fits(then, value))
    }

    /// `anyOf`, and `oneOf` where exactly one has to fit.
    fn alternatives(&mut self, all: &'s [Value], value: &'v Value, exactly: bool) -> Answer {
        let (mut sure, mut perhaps) = (0_usize, 0_usize);
        let mut demands = Vec::new();
        for one in all {
            let (truth, wrong) = self.quietly(one, value)?;
            match truth {
                Truth::Yes => sure += 1,
                Truth::Maybe => perhaps += 1,
                Truth::No => demands.extend(wrong),
            }
            if sure > usize::from(exactly) {
                break;
            }
        }
        Ok(match (sure, perhaps) {
            (1, 0) => Truth::Yes,
            (1.., _) if !exactly => Truth::Yes,
            (2.., _) => self.no(|| "it fits more than one of the alternatives".to_owned()),
            (_, 1..) => Truth::Maybe,
            (0, 0) => self.no(|| none_of(&demands)),
        })
    }
}

fn is_of(word: &str, value: &Value) -> Option<bool> {
    Some(match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "number" => value.is_number(),
        "integer" => value.as_number().is_some_and(number::is_whole),
        _ => return None,
    })
}
