//! The clients: where each keeps its servers, in which format and shape, and how it fills in variables. One table, so
//! that a client more is a row more.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::tree::Format;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Client {
    ClaudeCode,
    ClaudeDesktop,
    Cursor,
    Vscode,
    Windsurf,
    Codex,
    Gemini,
    Zed,
    Goose,
    Opencode,
}

/// Whom an entry is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, ValueEnum)]
pub enum Scope {
    /// The user, everywhere
    User,
    /// Whoever has the project's folder: the file is shared
    Project,
    /// The user, in one project
    Local,
}

impl Scope {
    pub fn as_str(self) -> &'static str {
        match self {
            Scope::User => "user",
            Scope::Project => "project",
            Scope::Local => "local",
        }
    }
}

/// The members of an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// `command`, `args`, `env`, `cwd`, or an address in the member `url` names and `headers`.
    Usual {
        url: &'static str,
        http_type: Option<&'static str>,
    },
    Codex,
    Goose,
    Opencode,
}

/// How a client marks a variable that it fills in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Variables {
    None,
    /// `${VAR}`, `${VAR:-default}`.
    Braces,
    /// `${env:VAR}`, `${input:id}`, `${workspaceFolder}`.
    Named,
    /// `$VAR`, `${VAR}`.
    Dollar,
    /// `{env:VAR}`, `{file:PATH}`.
    Curly,
}

impl Client {
    pub const ALL: [Client; 10] = [
        Client::ClaudeCode,
        Client::ClaudeDesktop,
        Client::Cursor,
        Client::Vscode,
        Client::Windsurf,
        Client::Codex,
        Client::Gemini,
        Client::Zed,
        Client::Goose,
        Client::Opencode,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Client::ClaudeCode => "claude-code",
            Client::ClaudeDesktop => "claude-desktop",
            Client::Cursor => "cursor",
            Client::Vscode => "vscode",
            Client::Windsurf => "windsurf",
            Client::Codex => "codex",
            Client::Gemini => "gemini",
            Client::Zed => "zed",
            Client::Goose => "goose",
            Client::Opencode => "opencode",
        }
    }

    pub fn format(self) -> Format {
        match self {
            Client::Codex => Format::Toml,
            Client::Goose => Format::Yaml,
            _ => Format::Jsonc,
        }
    }

    pub fn shape(self) -> Shape {
        match self {
            Client::ClaudeCode | Client::Vscode => Shape::Usual { url: "url", http_type: Some("http") },
            Client::ClaudeDesktop | Client::Cursor | Client::Zed => Shape::Usual { url: "url", http_type: None },
            Client::Windsurf => Shape::Usual { url: "serverUrl", http_type: None },
            Client::Gemini => Shape::Usual { url: "httpUrl", http_type: None },
            Client::Codex => Shape::Codex,
            Client::Goose => Shape::Goose,
            Client::Opencode => Shape::Opencode,
        }
    }

    pub fn variables(self) -> Variables {
        match self {
            Client::ClaudeCode => Variables::Braces,
            Client::Cursor | Client::Vscode | Client::Windsurf => Variables::Named,
            Client::Gemini => Variables::Dollar,
            Client::Opencode => Variables::Curly,
            Client::ClaudeDesktop | Client::Codex | Client::Zed | Client::Goose => Variables::None,
        }
    }

    /// Whether it connects to an address that stands in its file.
    pub fn speaks_http(self) -> bool {
        self != Client::ClaudeDesktop
    }

    /// Its files in a project, as the project's folder sees them.
    fn of_projects(self) -> &'static [&'static str] {
        match self {
            Client::ClaudeCode => &[".mcp.json"],
            Client::Cursor => &[".cursor/mcp.json"],
            Client::Vscode => &[".vscode/mcp.json", ".vscode/settings.json"],
            Client::Codex => &[".codex/config.toml"],
            Client::Gemini => &[".gemini/settings.json"],
            Client::Zed => &[".zed/settings.json"],
            Client::Opencode => &["opencode.json", "opencode.jsonc"],
            Client::ClaudeDesktop | Client::Windsurf | Client::Goose => &[],
        }
    }

    /// The member that holds the entries.
    fn section(self) -> &'static str {
        match self {
            Client::Vscode => "servers",
            Client::Codex => "mcp_servers",
            Client::Zed => "context_servers",
            Client::Goose => "extensions",
            Client::Opencode => "mcp",
            _ => "mcpServers",
        }
    }
}

/// A file of a client, and where in it entries stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    pub client: Client,
    pub scope: Scope,
    pub file: PathBuf,
    /// The way to the entries. The second step of a local one is the project's folder; `*` stands for every one.
    pub section: Vec<String>,
    /// Where the client starts servers, as far as that is certain.
    pub folder: Option<PathBuf>,
}

/// What of the environment says where files are.
pub struct Surroundings {
    pub home: PathBuf,
    /// Where configuration lies that follows the desktop's rules.
    pub config: PathBuf,
    pub current: PathBuf,
    pub claude: Option<PathBuf>,
    pub codex: Option<PathBuf>,
}

impl Surroundings {
    pub fn of_process() -> anyhow::Result<Surroundings> {
        use anyhow::Context as _;
        let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let home = absolute("HOME").context("HOME is not set to an absolute path: the clients' files are below it")?;
        Ok(Surroundings {
            config: absolute("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
            home,
            current: std::env::current_dir().context("the current folder cannot be told")?,
            claude: absolute("CLAUDE_CONFIG_DIR"),
            codex: absolute("CODEX_HOME"),
        })
    }

    /// The folder of applications that keep theirs beside each other.
    fn applications(&self) -> PathBuf {
        if cfg!(target_os = "macos") { self.home.join("Library/Application Support") } else { self.config.clone() }
    }

    /// Where a project's file is: in the current folder or the nearest one above it, but not at home, where the user's
    /// own lies.
    fn project(&self, file: &str) -> PathBuf {
        let above = self.current.ancestors().take_while(|folder| *folder != self.home && *folder != Path::new("/"));
        let folder = above.into_iter().find(|folder| folder.join(file).symlink_metadata().is_ok());
        folder.unwrap_or(&self.current).join(file)
    }

    /// Every file of a client that may have entries.
    pub fn places(&self, client: Client) -> Vec<Place> {
        let (home, applications) = (&self.home, self.applications());
        let user: Vec<PathBuf> = match client {
            Client::ClaudeCode => vec![self.claude_json()],
            Client::ClaudeDesktop => vec![applications.join("Claude/claude_desktop_config.json")],
            Client::Cursor => vec![home.join(".cursor/mcp.json")],
            Client::Vscode => ["Code", "Code - Insiders"]
                .iter()
                .flat_map(|edition| profiles(&applications.join(edition).join("User")))
                .flat_map(|profile| [profile.join("mcp.json"), profile.join(SETTINGS)])
                .collect(),
            Client::Windsurf => vec![home.join(".codeium/windsurf/mcp_config.json")],
            Client::Codex => vec![self.codex.clone().unwrap_or_else(|| home.join(".codex")).join("config.toml")],
            Client::Gemini => vec![home.join(".gemini/settings.json")],
            Client::Zed => vec![self.config.join("zed/settings.json")],
            Client::Goose => vec![self.config.join("goose/config.yaml")],
            Client::Opencode => {
                ["opencode.jsonc", "opencode.json"].iter().map(|name| self.config.join("opencode").join(name)).collect()
            }
        };
        let mut places: Vec<Place> = user.into_iter().map(|file| self.place(client, Scope::User, file)).collect();
        if client == Client::ClaudeCode {
            places.push(self.place(client, Scope::Local, self.claude_json()));
        }
        for file in client.of_projects() {
            let file = self.project(file);
            if !places.iter().any(|place| place.file == file) {
                places.push(self.place(client, Scope::Project, file));
            }
        }
        places
    }

    /// A file that was named. A project's folder is the one that its client sees the file in, which is not always the
    /// one that the file lies in.
    pub fn place(&self, client: Client, scope: Scope, file: PathBuf) -> Place {
        let section = client.section().to_owned();
        let settings = client == Client::Vscode && file.file_name().is_some_and(|name| name == SETTINGS);
        let section = match scope {
            Scope::Local => vec!["projects".to_owned(), "*".to_owned(), section],
            Scope::User | Scope::Project if settings => vec!["mcp".to_owned(), section],
            Scope::User | Scope::Project => vec![section],
        };
        let folder = (scope == Scope::Project).then(|| {
            let whole = self.current.join(&file);
            let usual = client.of_projects().iter().map(Path::new).find(|usual| whole.ends_with(usual));
            let steps = usual.map_or(1, |usual| usual.components().count());
            whole.ancestors().nth(steps).unwrap_or(&self.current).to_owned()
        });
        Place { client, scope, file, section, folder }
    }

    fn claude_json(&self) -> PathBuf {
        self.claude.as_ref().unwrap_or(&self.home).join(".claude.json")
    }
}

/// Where VS Code had its servers before they had a file of their own. They are read there, and no new ones written.
pub const SETTINGS: &str = "settings.json";
/// More profiles than anybody has.
const MAX_PROFILES: usize = 100;

/// The folders of a user of VS Code: the usual one, and one for each profile.
fn profiles(user: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(user.join("profiles")).into_iter().flatten().flatten().take(MAX_PROFILES);
    let mut profiles: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    profiles.sort();
    profiles.insert(0, user.to_owned());
    profiles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_a_file_of_the_user() {
        let at = |path: &str| PathBuf::from(path);
        let surroundings = Surroundings {
            home: at("/home/op"),
            config: at("/home/op/.config"),
            current: at("/home/op/work/shop"),
            claude: None,
            codex: None,
        };
        for client in Client::ALL {
            let places = surroundings.places(client);
            assert!(places.iter().any(|place| place.scope == Scope::User && place.file.starts_with("/home/op")));
            for place in &places {
                assert_eq!(place.scope == Scope::Project, place.folder == Some(at("/home/op/work/shop")), "{place:?}");
            }
            assert_eq!(Client::from_str(client.as_str(), false), Ok(client));
        }
        // A file of a project that is named lies in the same folder.
        for (client, file, folder) in [
            (Client::Vscode, "/p/.vscode/mcp.json", "/p"),
            (Client::Cursor, "app/.cursor/mcp.json", "/home/op/work/shop/app"),
            (Client::ClaudeCode, "/p/.mcp.json", "/p"),
            (Client::Opencode, "opencode.json", "/home/op/work/shop"),
            (Client::Vscode, "/p/elsewhere.json", "/p"),
        ] {
            let place = surroundings.place(client, Scope::Project, at(file));
            assert_eq!(place.folder, Some(at(folder)), "{file}");
        }
        let moved =
            Surroundings { claude: Some(at("/c")), codex: Some(at("/x")), current: at("/home/op"), ..surroundings };
        assert_eq!(moved.places(Client::ClaudeCode)[0].file, at("/c/.claude.json"));
        assert_eq!(moved.places(Client::Codex)[0].file, at("/x/config.toml"));
        // At home the project's file of Cursor is the user's.
        assert_eq!(moved.places(Client::Cursor).len(), 1);
    }
}
