//! What plain mode does beside the talk: a rule in the operator's editor, a rule drafted from a hold, a hold or the record
//! in a file. Here it is decided what, as `outside` has it for the screen; the loop does it.

use super::talk::{Effect, Talk};
use crate::call::CallId;
use crate::console::draft::{self, Makes};
use crate::console::outside;
use crate::control::wire::HoldView;

impl Talk {
    /// `draft [ID] [edit]`.
    pub(super) fn draft_rule(&mut self, words: &[&str], asked: Option<CallId>) {
        let (words, edit) = match words {
            [words @ .., "edit"] => (words, true),
            words => (words, false),
        };
        let Some(hold) = self.meant(words, asked) else { return };
        match draft::draft(&hold, Makes::Hold) {
            Ok(draft) => {
                let loaded = draft::loaded(&hold);
                self.out.push(Effect::Draft { draft: Box::new(draft), loaded, edit });
            }
            Err(why) => self.say(format!("Nothing was written: {why}.")),
        }
    }

    /// `edit [ID | RULE]`.
    pub(super) fn edit(&mut self, words: &[&str], asked: Option<CallId>) {
        let named = match words {
            [name] => self.rules.iter().find(|rule| rule.rule == *name),
            _ => None,
        };
        let place = match named {
            Some(rule) => rule.file.clone().map(|file| (file, rule.line.unwrap_or(0) as usize)),
            None => {
                let Some(hold) = self.meant(words, asked) else { return };
                hold.rules.first().map(|hit| (hit.file.clone(), hit.line))
            }
        };
        let Some((file, line)) = place else { return self.say("That rule has no file.") };
        match outside::rule_file(&file) {
            Ok(file) => self.out.push(Effect::Edit { file, line }),
            Err(why) => self.say_shown(format!("{why}.")),
        }
    }

    /// `export [ID | history]`.
    pub(super) fn export(&mut self, words: &[&str], asked: Option<CallId>) {
        let made = match words {
            ["history"] => outside::of_records(&self.record, self.now.wall),
            words => {
                let Some(hold) = self.meant(words, asked) else { return };
                outside::of_hold(&hold)
            }
        };
        match made {
            Some((name, text)) => self.out.push(Effect::Export { name, text }),
            None => self.say("There is no record to export: type history first."),
        }
    }

    /// The hold that is named, else the one that is asked about; where there is none that is said.
    fn meant(&mut self, words: &[&str], asked: Option<CallId>) -> Option<HoldView> {
        let found = match words {
            [] => asked.ok_or("No call is asked about: name one by its id."),
            [id] => self.find(id),
            _ => Err("Name one call by its id."),
        };
        match found {
            Ok(id) => self.holds.get(&id).map(|entry| entry.view.clone()),
            Err(why) => {
                self.say(why);
                None
            }
        }
    }
}
