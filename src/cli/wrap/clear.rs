//! Keys that stand in an entry in the clear, wherever in it: whoever reads the client's file has them. This looks at the
//! whole entry, so that it also finds those of an entry that cannot be taken over.

use super::clients::Variables;
use super::entry::{Text, filled};
use super::keys::{after_scheme, has_login, hints_at_a_key, may_be_a_key};
use super::tree::{Data, Member, Node};
use crate::config;
use crate::credential::shape;

/// Members whose values are variables or headers.
pub(super) const ENVIRONMENTS: &[&str] = &["env", "envs", "environment", "headers", "http_headers"];
/// Members that have the names of variables in them, not their values.
const NAMES: &[&str] = &["env_http_headers", "bearer_token_env_var", "env_vars", "env_keys"];

/// What is said about a text before it is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    /// Its name says that it is a key.
    Key,
    /// Its name often means one.
    Perhaps,
    No,
}

/// Stands where a key has been cut out, and in no file.
pub const MARK: &str = "\u{e000}KEY\u{e000}";

/// How many keys there are. `ours`: the entry reaches countersign by its address, and the token for it is no key.
pub fn keys(entry: &Node, variables: Variables, ours: bool) -> usize {
    Look { variables, ours }.node(entry, Named::No, false)
}

/// The first member of an entry that has a key left when those that move out are cut.
pub fn left(entry: &Node, variables: Variables) -> Option<&str> {
    let look = Look { variables, ours: false };
    entry.members().iter().find(|member| look.member(member, false) > 0).map(|member| member.name.as_str())
}

struct Look {
    variables: Variables,
    ours: bool,
}

impl Look {
    fn node(&self, node: &Node, named: Named, environment: bool) -> usize {
        match &node.data {
            Data::Text(text) => usize::from(self.is_key(text, named)),
            Data::Other(text) => usize::from(!is_switch(text) && self.is_key(text, named)),
            Data::List(items) => self.list(items),
            Data::Map(members) => members.iter().map(|member| self.member(member, environment)).sum(),
        }
    }

    fn member(&self, member: &Member, environment: bool) -> usize {
        let (name, value) = (member.name.as_str(), &member.value);
        let ours = self.ours && name.eq_ignore_ascii_case("authorization") && value.text().is_some_and(own);
        if ours || NAMES.contains(&name) {
            return 0;
        }
        let named = match () {
            () if config::header_names_a_key(name) => Named::Key,
            () if environment && hints_at_a_key(name) => Named::Perhaps,
            () => Named::No,
        };
        self.node(value, named, ENVIRONMENTS.contains(&name))
    }

    /// `--token KEY`, `--token=KEY`, `TOKEN=KEY`, `Authorization: KEY`.
    fn list(&self, items: &[Node]) -> usize {
        let mut found = 0;
        let mut after_option = false;
        for item in items {
            let Some(text) = item.text() else {
                found += self.node(item, Named::No, false);
                continue;
            };
            let option = text.starts_with('-');
            let (name, value) = text.split_once(['=', ':']).map_or((text, None), |(name, value)| (name, Some(value)));
            let names = config::header_names_a_key(name.trim_start_matches('-'));
            let inline = names && value.is_some_and(|value| self.is_key(value.trim(), Named::Key));
            let named = if after_option && !option { Named::Key } else { Named::No };
            found += usize::from(inline || self.is_key(text, named));
            after_option = option && names && value.is_none();
        }
        found
    }

    fn is_key(&self, text: &str, named: Named) -> bool {
        let formed = shape::key_like(text).is_some();
        if formed
            || text.is_empty()
            || stands_for_one(text)
            || !matches!(filled(text, self.variables), Ok(Text::Plain(_)))
        {
            return formed;
        }
        has_login(text)
            || (text.contains("://") && config::parameters(text).any(|(name, value)| is_parameter(name, value)))
            || match named {
                Named::Key => true,
                Named::Perhaps => may_be_a_key(text),
                Named::No => false,
            }
    }
}

/// Whether a parameter of an address carries a key.
fn is_parameter(name: &str, value: &str) -> bool {
    !value.is_empty()
        && !stands_for_one(value)
        && (config::names_a_key(name) || (hints_at_a_key(name) && may_be_a_key(value)))
}

/// What has been cut out, or what a bridge fills in by itself: nothing that anybody could use.
fn stands_for_one(text: &str) -> bool {
    let (_, bare) = after_scheme(text);
    bare == MARK || matches!(filled(bare, Variables::Braces), Ok(Text::Variable { prefix, .. }) if prefix.is_empty())
}

fn is_switch(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "true" | "false" | "null" | "~")
}

/// A client's token for us, and nothing that looks like the key of somebody else.
fn own(authorization: &str) -> bool {
    let token = authorization.strip_prefix("Bearer ").unwrap_or(authorization);
    token.starts_with(shape::CLIENT_TOKEN) || shape::key_like(token).is_none()
}

#[cfg(test)]
mod tests {
    use super::super::tree::Format;
    use super::*;

    #[track_caller]
    fn found(entry: &str, variables: Variables) -> usize {
        keys(&Format::Jsonc.read(entry).unwrap(), variables, false)
    }

    #[test]
    fn keys_are_found_wherever_they_stand() {
        for (entry, keys) in [
            (r#"{"command": "x", "args": ["--api-key", "hunter2hunter2"]}"#, 1),
            (r#"{"command": "x", "args": ["--api-key=hunter2"]}"#, 1),
            (r#"{"command": "x", "args": ["-u", "sk_live_CANARY12345:"]}"#, 1),
            (r#"{"command": "x", "args": ["-e", "MY_TOKEN=hunter2", "-e", "PGPASSWORD=hunter2"]}"#, 2),
            (r#"{"command": "x", "args": ["--header", "Authorization: hunter2"]}"#, 1),
            (r#"{"command": "x", "args": ["postgres://u:hunter2@h/d"]}"#, 1),
            (r#"{"url": "https://x.example.com/mcp?api_key=hunter2"}"#, 1),
            (r#"{"url": "https://x.example.com/sk_live_CANARY12345"}"#, 1),
            (r#"{"url": "https://x", "oauth": {"clientId": "a", "clientSecret": "hunter2"}}"#, 1),
            (r#"{"command": "x", "envFile": ".env", "env": {"API_KEY": "hunter2", "DBPASS": "hunter2hunter2"}}"#, 2),
            (r#"{"url": "https://x", "headers": {"Authorization": "hunter2"}}"#, 1),
            // What is none.
            (r#"{"command": "npx", "args": ["-y", "@stripe/mcp", "--tools=all", "--token"], "cwd": "/x"}"#, 0),
            (r#"{"command": "x", "args": ["-e", "MY_TOKEN"], "env": {"PATH_KEY": "/x/y", "LEVEL": "debugging"}}"#, 0),
            (
                r#"{"url": "https://x", "token": false, "headers": null, "bearer_token_env_var": "MY_TOKEN", "env_http_headers": {"Cookie": "C"}}"#,
                0,
            ),
        ] {
            assert_eq!(found(entry, Variables::None), keys, "{entry}");
        }
        for (entry, keys) in [
            (r#"{"url": "https://x", "headers": {"Authorization": "Bearer ${TOKEN}", "Cookie": "${input:c}"}}"#, 0),
            (r#"{"command": "x", "args": ["--token", "${env:TOKEN}"], "env": {"A_KEY": "sk_live_CANARY1${B}"}}"#, 1),
        ] {
            assert_eq!(found(entry, Variables::Named), keys, "{entry}");
        }
    }

    #[test]
    fn a_key_that_has_been_cut_out_is_none_and_one_beside_it_is() {
        for (entry, member) in [
            (
                r#"{"headers": {"Authorization": "bearer KEY", "X-Api-Key": "KEY"}, "url": "https://x/?token=KEY"}"#,
                None,
            ),
            (r#"{"args": ["--header", "Authorization:Bearer ${A_TOKEN}"], "env": {"A_TOKEN": "KEY"}}"#, None),
            (r#"{"headers": {"Authorization": "Bearer KEY"}, "oauth": {"clientSecret": "hunter2"}}"#, Some("oauth")),
            (r#"{"command": "x", "auth": {"CLIENT_SECRET": "hunter2"}, "env": {"A_KEY": "KEY"}}"#, Some("auth")),
            (r#"{"command": "x", "env": {"A_TOKEN": "KEYhunter2"}}"#, Some("env")),
            (r#"{"command": "x", "headers": {"Authorization": "hunter2"}}"#, Some("headers")),
            (r#"{"url": "https://x", "password": "hunter2"}"#, Some("password")),
        ] {
            let entry =
                Format::Jsonc.read(&entry.replace("KEY\"", &format!("{MARK}\"")).replace("KEYh", &format!("{MARK}h")));
            assert_eq!(left(&entry.unwrap(), Variables::None), member);
        }
    }

    #[test]
    fn the_token_for_countersign_is_no_key() {
        let read = |text: &str| Format::Jsonc.read(text).unwrap();
        let entry = read(r#"{"url": "http://127.0.0.1:1/mcp/s", "headers": {"Authorization": "Bearer csgn_abcdef"}}"#);
        assert_eq!(keys(&entry, Variables::None, true), 0);
        assert_eq!(keys(&entry, Variables::None, false), 1);
        let entry =
            read(r#"{"url": "http://127.0.0.1:1/mcp/s", "headers": {"Authorization": "Bearer sk_live_abcdef"}}"#);
        assert_eq!(keys(&entry, Variables::None, true), 1);
    }
}
