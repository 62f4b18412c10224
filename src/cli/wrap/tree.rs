//! A client's file as a tree that knows where everything stands, whatever the format, and the ways to change it.
//!
//! Invariant: a change touches the text of one entry. Everything before and after it stays as it is, byte by byte, and
//! the changed text has been read again before anybody gets to see it.

use std::ops::Range;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::{jsonc, toml, yaml};

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// JSON, with comments and trailing commas.
    Jsonc,
    Toml,
    Yaml,
}

pub struct Node {
    /// In bytes of the text. Of a table of TOML that has a header: the header.
    pub span: Range<usize>,
    pub data: Data,
}

pub enum Data {
    Text(String),
    /// A number, a boolean, a date, null: as it is spelled.
    Other(String),
    List(Vec<Node>),
    Map(Vec<Member>),
}

pub struct Member {
    pub name: String,
    pub value: Node,
}

impl Node {
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.members().iter().find(|member| member.name == name).map(|member| &member.value)
    }

    pub fn at(&self, path: &[String]) -> Option<&Node> {
        path.iter().try_fold(self, |node, name| node.get(name))
    }

    /// Takes the members out of the mapping at a path.
    pub fn take(&mut self, path: &[String]) -> Vec<Member> {
        let found = path.iter().try_fold(self, |node, name| match &mut node.data {
            Data::Map(members) => {
                members.iter_mut().find(|member| member.name == *name).map(|member| &mut member.value)
            }
            Data::Text(_) | Data::Other(_) | Data::List(_) => None,
        });
        match found.map(|node| &mut node.data) {
            Some(Data::Map(members)) => std::mem::take(members),
            _ => Vec::new(),
        }
    }

    pub fn members(&self) -> &[Member] {
        match &self.data {
            Data::Map(members) => members,
            Data::Text(_) | Data::Other(_) | Data::List(_) => &[],
        }
    }

    pub fn items(&self) -> &[Node] {
        match &self.data {
            Data::List(items) => items,
            Data::Text(_) | Data::Other(_) | Data::Map(_) => &[],
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            Data::Other(_) | Data::List(_) | Data::Map(_) => None,
        }
    }

    /// Every text in it, names included.
    pub fn texts<'n>(&'n self, out: &mut Vec<&'n str>) {
        match &self.data {
            Data::Text(text) | Data::Other(text) => out.push(text),
            Data::List(items) => items.iter().for_each(|item| item.texts(out)),
            Data::Map(members) => members.iter().for_each(|member| {
                out.push(&member.name);
                member.value.texts(out);
            }),
        }
    }

    /// Of what it says, not of how that is spelled. The order of members says nothing.
    pub fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        self.feed(&mut hasher, &[]);
        hex(&hasher.finalize())
    }

    /// Of everything but the member that the path leads to.
    pub fn digest_without(&self, path: &[String]) -> String {
        let mut hasher = Sha256::new();
        self.feed(&mut hasher, path);
        hex(&hasher.finalize())
    }

    fn feed(&self, hasher: &mut Sha256, without: &[String]) {
        let mut put = |kind: u8, text: &str| {
            hasher.update([kind]);
            hasher.update(text.len().to_le_bytes());
            hasher.update(text);
        };
        match &self.data {
            Data::Text(text) => put(b't', text),
            Data::Other(text) => put(b'o', text),
            Data::List(items) => {
                put(b'l', &items.len().to_string());
                items.iter().for_each(|item| item.feed(hasher, &[]));
            }
            Data::Map(members) => {
                let (first, rest) = without.split_first().map_or((None, without), |(first, rest)| (Some(first), rest));
                let mut members: Vec<&Member> =
                    members.iter().filter(|member| !(rest.is_empty() && Some(&member.name) == first)).collect();
                members.sort_by(|one, other| one.name.cmp(&other.name));
                put(b'm', &members.len().to_string());
                for member in members {
                    hasher.update(member.name.len().to_le_bytes());
                    hasher.update(&member.name);
                    member.value.feed(hasher, if Some(&member.name) == first { rest } else { &[] });
                }
            }
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A value to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value {
    Text(String),
    Flag(bool),
    List(Vec<String>),
    Map(Vec<(String, String)>),
}

/// What is done to a member of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// It gets this value, or is added with it.
    Set(&'static str, Value),
    /// It goes, if it is there.
    Remove(&'static str),
}

impl Change {
    pub fn key(&self) -> &'static str {
        match self {
            Change::Set(key, _) | Change::Remove(key) => key,
        }
    }
}

impl Format {
    /// Reads a text. A name that stands twice in one place is an error: which one counts is the client's secret.
    pub fn read(self, text: &str) -> anyhow::Result<Node> {
        let root = match self {
            Format::Jsonc => jsonc::read(text)?,
            Format::Toml => toml::read(text)?,
            Format::Yaml => yaml::read(text)?,
        };
        once(&root)?;
        Ok(root)
    }

    /// Where the text of an entry stands: what a change may touch.
    pub fn region(self, text: &str, path: &[String]) -> anyhow::Result<Range<usize>> {
        match self {
            Format::Jsonc => Ok(self.read(text)?.at(path).context("the entry is not there")?.span.clone()),
            Format::Toml => toml::region(text, path),
            Format::Yaml => yaml::region(text, path),
        }
    }

    /// The text with an entry changed.
    pub fn change(self, text: &str, path: &[String], changes: &[Change]) -> anyhow::Result<String> {
        let changed = match self {
            Format::Jsonc => jsonc::change(text, path, changes),
            Format::Toml => toml::change(text, path, changes),
            Format::Yaml => yaml::change(text, path, changes),
        }?;
        self.verify(text, &changed, path)?;
        Ok(changed)
    }

    /// The text with an entry more.
    pub fn insert(self, text: &str, path: &[String], entry: &[(&'static str, Value)]) -> anyhow::Result<String> {
        let changed = match self {
            Format::Jsonc => jsonc::insert(text, path, entry),
            Format::Toml => toml::insert(text, path, entry),
            Format::Yaml => yaml::insert(text, path, entry),
        }?;
        let (before, after) = (self.read(text)?, self.read(&changed)?);
        if after.at(path).is_none() || !keeps(&before, &after, path) {
            bail!("the entry cannot be added in place: write it by hand");
        }
        Ok(changed)
    }

    /// The text without an entry; it has not been looked at whether the rest is as it was.
    pub fn remove(self, text: &str, path: &[String]) -> anyhow::Result<String> {
        match self {
            Format::Jsonc => jsonc::remove(text, path),
            Format::Toml => toml::remove(text, path),
            Format::Yaml => yaml::remove(text, path),
        }
    }

    /// The text with the text of an entry replaced.
    pub fn replace(self, text: &str, path: &[String], entry: &str) -> anyhow::Result<String> {
        let region = self.region(text, path)?;
        let before = text.get(..region.start).unwrap_or_default();
        let changed = format!("{before}{entry}{}", text.get(region.end..).unwrap_or_default());
        self.verify(text, &changed, path)?;
        Ok(changed)
    }

    /// Nothing outside the entry differs, neither in bytes nor in what it says.
    fn verify(self, text: &str, changed: &str, path: &[String]) -> anyhow::Result<()> {
        let (before, after) = (self.region(text, path)?, self.region(changed, path)?);
        let kept = text.get(..before.start) == changed.get(..after.start)
            && text.get(before.end..) == changed.get(after.end..)
            && self.read(text)?.digest_without(path) == self.read(changed)?.digest_without(path);
        if !kept {
            bail!("the entry cannot be changed without touching what stands around it: give it lines of its own");
        }
        Ok(())
    }
}

/// What was there is there still; what is new lies on the way to the entry.
fn keeps(before: &Node, after: &Node, path: &[String]) -> bool {
    let Some((first, rest)) = path.split_first() else { return true };
    let same = |member: &Member| after.get(&member.name).is_some_and(|now| now.digest() == member.value.digest());
    let others = before.members().iter().filter(|member| member.name != *first);
    let inside = match (before.get(first), after.get(first)) {
        (Some(before), Some(after)) => keeps(before, after, rest),
        (None, Some(after)) => rest
            .iter()
            .try_fold(after, |node, name| {
                let members = node.members();
                members.first().filter(|member| members.len() == 1 && member.name == *name).map(|member| &member.value)
            })
            .is_some(),
        _ => false,
    };
    let added = usize::from(before.get(first).is_none());
    others.into_iter().all(same) && inside && after.members().len() == before.members().len() + added
}

fn once(node: &Node) -> anyhow::Result<()> {
    match &node.data {
        Data::Text(_) | Data::Other(_) => Ok(()),
        Data::List(items) => items.iter().try_for_each(once),
        Data::Map(members) => {
            let mut names: Vec<&str> = members.iter().map(|member| member.name.as_str()).collect();
            names.sort_unstable();
            if let Some([name, _]) = names.windows(2).find(|pair| pair.first() == pair.last()) {
                bail!("the name `{name}` stands twice in one place: keep one of the two");
            }
            members.iter().try_for_each(|member| once(&member.value))
        }
    }
}

#[cfg(test)]
mod tests;
