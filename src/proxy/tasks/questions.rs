//! What the server of a call asks the client of our task, and what has been answered so far.
//!
//! Invariant: over the life of a task a name of ours stands for one question. Answers leave here all together, under
//! the server's names, and once.

use std::collections::BTreeSet;

use serde_json::json;

use crate::json::{Json, JsonText, Rules};

/// Questions at once, and the bytes of their names.
const COUNT: usize = 64;
const KEY_BYTES: usize = 4096;
/// Names that one task uses up.
const NAMES: usize = 1024;

#[derive(Clone, Debug)]
struct Question {
    /// Its name for the client.
    ours: String,
    theirs: String,
    text: JsonText,
    answer: Option<JsonText>,
}

/// The questions that are open.
#[derive(Clone, Debug, Default)]
pub struct Questions {
    all: Vec<Question>,
    /// Bytes that are kept elsewhere until they are answered.
    beside: usize,
}

/// Names that a task has used.
#[derive(Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// The server's own name where it is new. One that it uses for another question gets a number.
    fn choose(&mut self, theirs: &str, reserved: &BTreeSet<&str>) -> Option<String> {
        if self.0.len() >= NAMES {
            return None;
        }
        let mut name = theirs.to_owned();
        let mut number = 1;
        while self.0.contains(&name) || (number > 1 && reserved.contains(name.as_str())) {
            number += 1;
            name = format!("{theirs}-{number}");
        }
        self.0.insert(name.clone());
        Some(name)
    }
}

impl Questions {
    /// What a server asks now: `before` are the questions that were open, of which those that it still asks stay as
    /// they are. Nothing where it asks too much.
    pub fn asked(before: &Questions, requests: Json<'_>, beside: usize, names: &mut Names) -> Option<Questions> {
        let mut theirs = Vec::new();
        for (key, text) in requests.members() {
            theirs.push((key.as_str()?.into_owned(), text));
        }
        let bytes: usize = theirs.iter().map(|(key, _)| key.len()).sum();
        if theirs.is_empty() || theirs.len() > COUNT || bytes > KEY_BYTES {
            return None;
        }
        let reserved: BTreeSet<&str> = theirs.iter().map(|(key, _)| key.as_str()).collect();
        let mut all = Vec::with_capacity(theirs.len());
        for (key, text) in &theirs {
            let known = before.all.iter().find(|question| question.theirs == *key);
            all.push(match known {
                Some(question) => question.clone(),
                None => Question {
                    ours: names.choose(key, &reserved)?,
                    theirs: key.clone(),
                    text: JsonText::owned(*text),
                    answer: None,
                },
            });
        }
        Some(Questions { all, beside })
    }

    /// True where nothing is left to be asked.
    pub fn are_answered(&self) -> bool {
        self.all.iter().all(|question| question.answer.is_some())
    }

    /// With the answers that are to open questions; nothing where none is. What nobody asks for is left out, and an
    /// answer stays as it was given first.
    pub fn with(&self, responses: Json<'_>) -> Option<Questions> {
        let mut answered = self.clone();
        let mut any = false;
        for question in answered.all.iter_mut().filter(|question| question.answer.is_none()) {
            if let Some(response) = responses.get(&question.ours) {
                question.answer = Some(JsonText::owned(response));
                any = true;
            }
        }
        any.then_some(answered)
    }

    pub fn bytes(&self) -> usize {
        let answer = |question: &Question| question.answer.as_ref().map_or(0, |text| text.as_str().len());
        let all = self.all.iter().map(|question| question.text.as_str().len() + answer(question));
        self.beside + all.sum::<usize>()
    }

    /// Those that are not answered, under our names.
    pub fn open(&self) -> Option<JsonText> {
        let open = self.all.iter().filter(|question| question.answer.is_none());
        object(open.map(|question| (question.ours.as_str(), &question.text)))
    }

    /// All answers, under the server's names.
    pub fn answers(&self) -> Option<JsonText> {
        object(self.all.iter().filter_map(|question| Some((question.theirs.as_str(), question.answer.as_ref()?))))
    }
}

fn object<'a>(members: impl Iterator<Item = (&'a str, &'a JsonText)>) -> Option<JsonText> {
    let members: Vec<_> = members.map(|(key, text)| format!("{}:{}", json!(key), text.as_str())).collect();
    JsonText::parse(format!("{{{}}}", members.join(",")), Rules::UPSTREAM).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> JsonText {
        JsonText::parse(text, Rules::UPSTREAM).unwrap()
    }

    fn ask(before: &Questions, requests: &str, names: &mut Names) -> Option<Questions> {
        Questions::asked(before, text(requests).view(), 0, names)
    }

    #[test]
    fn answers_are_kept_until_all_have_come_and_spelled_as_they_were() {
        let mut names = Names::default();
        let asked = ask(&Questions::default(), r#"{"a":{"n":1.0},"b":{}}"#, &mut names).unwrap();
        assert_eq!(asked.open().unwrap().as_str(), r#"{"a":{"n":1.0},"b":{}}"#);
        assert!(asked.with(text(r#"{"c":{},"A":{}}"#).view()).is_none(), "nobody asked");
        let half = asked.with(text(r#"{"b":{"x":1e2},"c":{}}"#).view()).unwrap();
        assert!(!half.are_answered());
        assert_eq!(half.open().unwrap().as_str(), r#"{"a":{"n":1.0}}"#);
        assert!(half.with(text(r#"{"b":{"x":2}}"#).view()).is_none(), "the first answer counts");
        let whole = half.with(text(r#"{"a":{},"b":{"x":2}}"#).view()).unwrap();
        assert!(whole.are_answered());
        assert_eq!(whole.answers().unwrap().as_str(), r#"{"a":{},"b":{"x":1e2}}"#);
        assert!(whole.bytes() > asked.bytes());
    }

    #[test]
    fn a_name_stands_for_one_question() {
        let mut names = Names::default();
        let first = ask(&Questions::default(), r#"{"step":{}}"#, &mut names).unwrap();
        assert_eq!(
            ask(&first, r#"{"step":{},"more":{}}"#, &mut names).unwrap().open().unwrap().as_str(),
            r#"{"step":{},"more":{}}"#
        );
        // Another round, in which the server uses the names again, and one that ours could be.
        let again = ask(&Questions::default(), r#"{"step":{},"step-2":{}}"#, &mut names).unwrap();
        assert_eq!(again.open().unwrap().as_str(), r#"{"step-3":{},"step-2":{}}"#);
        let answered = again.with(text(r#"{"step-3":1,"step-2":2}"#).view()).unwrap();
        assert_eq!(answered.answers().unwrap().as_str(), r#"{"step":1,"step-2":2}"#);
    }

    #[test]
    fn questions_are_bounded() {
        let many = |count: usize| {
            let all: Vec<_> = (0..count).map(|n| format!(r#""{n}":{{}}"#)).collect();
            format!("{{{}}}", all.join(","))
        };
        let mut names = Names::default();
        let none = Questions::default();
        assert!(ask(&none, "{}", &mut names).is_none());
        assert!(ask(&none, &many(COUNT + 1), &mut names).is_none());
        assert!(ask(&none, &format!(r#"{{"{}":{{}}}}"#, "x".repeat(KEY_BYTES + 1)), &mut names).is_none());
        for _ in 0..NAMES / COUNT {
            assert!(ask(&none, &many(COUNT), &mut names).is_some());
        }
        assert!(ask(&none, &many(1), &mut names).is_none(), "every name is used up");
    }

    use proptest::prelude::*;

    proptest! {
        /// Rounds of a server that uses few names: whatever is answered, an answer reaches the question that was shown
        /// under its name, and no name is ever shown for a second question.
        #[test]
        fn answers_find_their_questions(rounds in prop::collection::vec(prop::collection::btree_set("a(-[23]){0,2}", 1..5), 1..12)) {
            let (mut names, mut shown) = (Names::default(), BTreeSet::new());
            for (round, theirs) in rounds.iter().enumerate() {
                let members: Vec<_> = theirs.iter().map(|key| format!(r#"{}:"{round} {key}""#, json!(key))).collect();
                let asked = ask(&Questions::default(), &format!("{{{}}}", members.join(",")), &mut names).unwrap();
                let open = asked.open().unwrap();
                for (key, _) in open.view().members() {
                    prop_assert!(shown.insert(key.as_str().unwrap().into_owned()), "{key:?} again");
                }
                // Each question is answered with itself.
                let answered = asked.with(open.view()).unwrap();
                prop_assert!(answered.are_answered());
                let expected = text(&format!("{{{}}}", members.join(",")));
                prop_assert_eq!(answered.answers().unwrap(), expected);
            }
        }
    }
}
