//! The entries that clients have.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::clients::{Client, Place, Scope, Surroundings};
use super::entry::{self, Kind};
use super::files::{Files, Opened};
use super::tree::{Member, Node};

pub struct Entry {
    /// With the project's folder, for a local one.
    pub place: Place,
    /// The way to it in the file.
    pub path: Vec<String>,
    pub name: String,
    pub node: Node,
    /// What reaches the HTTP front is a [server](Kind::Server) here: only the configuration shows whose it is.
    pub kind: Kind,
    /// Of what it says.
    pub digest: String,
}

impl Entry {
    /// What stands at a way in a place.
    pub fn new(place: Place, path: Vec<String>, node: Node) -> Entry {
        let kind = entry::kind(place.client.shape(), &node);
        let name = path.last().cloned().unwrap_or_default();
        let digest = node.digest();
        Entry { place, path, name, node, kind, digest }
    }

    pub fn shown(&self) -> String {
        let name = crate::console::visible::line(&self.name);
        let (client, scope) = (self.place.client.as_str(), self.place.scope.as_str());
        format!(
            "{client} ({scope}) {name} in {}",
            crate::console::visible::line(&self.place.file.display().to_string())
        )
    }

    /// False for entries of projects in other folders.
    pub fn is_near(&self, current: &Path) -> bool {
        let folder = self.place.folder.as_ref().filter(|_| self.place.scope == Scope::Local);
        folder.is_none_or(|folder| current.starts_with(folder))
    }
}

/// The places of a client that are meant.
pub fn places(around: &Surroundings, client: Client, scope: Option<Scope>, file: Option<&Path>) -> Vec<Place> {
    if let Some(file) = file {
        return vec![around.place(client, scope.unwrap_or(Scope::User), file.to_owned())];
    }
    let mut places = around.places(client);
    places.retain(|place| scope.is_none_or(|scope| scope == place.scope));
    places
}

impl Place {
    /// A local place for one project.
    pub fn of_project(&self, folder: &Path) -> Place {
        let mut place = self.clone();
        if place.scope == Scope::Local {
            let name = folder.display().to_string();
            place.section.iter_mut().filter(|step| *step == "*").for_each(|step| step.clone_from(&name));
            place.folder = Some(folder.to_owned());
        }
        place
    }

    pub fn open(&self, files: &Files) -> anyhow::Result<Opened> {
        files.read(&self.file, self.folder.as_deref().filter(|_| self.scope == Scope::Project))
    }

    pub fn read(&self, opened: &Opened) -> anyhow::Result<Node> {
        let (_, text) = marked(opened.text());
        let read = self.client.format().read(text);
        read.map_err(|error| anyhow!("{error:#}")).with_context(|| format!("{}", self.file.display()))
    }
}

/// A text without the mark that some editors begin it with, and the mark.
pub fn marked(text: &str) -> (&str, &str) {
    const MARK: &str = "\u{feff}";
    text.strip_prefix(MARK).map_or(("", text), |rest| (MARK, rest))
}

/// Every entry of a place, in the order of the file.
pub fn entries(files: &Files, place: &Place) -> anyhow::Result<Vec<Entry>> {
    let opened = place.open(files)?;
    if !opened.exists() {
        return Ok(Vec::new());
    }
    let mut root = place.read(&opened)?;
    let places = match place.scope {
        Scope::Local => {
            let projects = root.get("projects").map(Node::members).unwrap_or_default();
            projects.iter().map(|project| place.of_project(&PathBuf::from(&project.name))).collect()
        }
        Scope::User | Scope::Project => vec![place.clone()],
    };
    let mut entries = Vec::new();
    for place in places {
        for Member { name, value } in root.take(&place.section) {
            let path = place.section.iter().chain([&name]).cloned().collect();
            let entry = Entry::new(place.clone(), path, value);
            entries.extend((entry.kind != Kind::Other).then_some(entry));
        }
    }
    Ok(entries)
}
