//! A server that runs code of the agent gets a gate where it is known how its program finds its vendor's API: then the
//! program has a key of ours, and never the vendor's.
//!
//! Invariant: either the key is behind the gate and in no variable of the program, or it is said why it is not.

use super::assigned;
use super::keys::{From, Key, Reached, Val};
use crate::catalog::Catalog;
use crate::config::edit::Value;
use crate::config::{self, Upstream};
use crate::transport::http_upstream::is_this_machine;

/// How the programs of a vendor find its API, and the option that has code run where the gate can be reached.
struct Known {
    vendor: &'static str,
    api: &'static str,
    header: &'static str,
    url_env: &'static str,
    key_env: &'static str,
    mode: (&'static str, &'static str),
    /// Without this option it fetches something when it starts, and ends where it cannot.
    offline: &'static str,
}

const KNOWN: &[Known] = &[Known {
    vendor: "stigg",
    api: "https://api.stigg.io",
    header: "X-API-KEY",
    url_env: "STIGG_BASE_URL",
    key_env: "STIGG_API_KEY",
    mode: ("--code-execution-mode", "local"),
    offline: "--custom-instructions-path",
}];

/// Programs to which an argument at the end is none of the command that they run.
const SHELLS: [&str; 7] = ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish"];

/// A server behind a gate.
pub struct Gated {
    /// Without the key, and without what the gate says.
    pub reached: Reached,
    url: String,
    header: &'static str,
    /// Which of the keys.
    pub key: usize,
    url_env: &'static str,
    key_env: &'static str,
    /// The option that was added.
    added: Option<String>,
    /// It has to reach other hosts before it can start.
    fetches: bool,
    tool: String,
}

pub enum Code {
    /// It runs no code, or has no key.
    Without,
    Gated(Box<Gated>),
    /// It runs code beside the key: by which tool, and why it has no gate.
    Beside {
        tool: String,
        why: String,
    },
}

/// What can be done about a server that runs code and has a key.
pub fn gated(reached: &Reached, vendor: Option<&str>, catalog: &Catalog, keys: &[Key]) -> Code {
    let Reached::Stdio { env, .. } = reached else { return Code::Without };
    let Some(tool) = catalog.runs_code() else { return Code::Without };
    if !env.iter().any(|(_, value)| matches!(value, Val::Key { .. })) {
        return Code::Without;
    }
    match behind(reached, vendor, tool, keys) {
        Ok(gated) => Code::Gated(Box::new(gated)),
        Err(why) => Code::Beside { tool: tool.to_owned(), why },
    }
}

fn behind(reached: &Reached, vendor: Option<&str>, tool: &str, keys: &[Key]) -> Result<Gated, String> {
    let Reached::Stdio { command, args, env, inherit, cwd } = reached else { return Err(String::new()) };
    let known = KNOWN.iter().find(|known| Some(known.vendor) == vendor);
    let known = known.ok_or("by which variable its program finds the API is not known here")?;
    let Known { api, header, url_env, key_env, mode: (option, mode), offline, .. } = known;
    if assigned::CONTAINERS.contains(&assigned::program(command)) {
        return Err("a container has a network of its own, and does not reach a gate".to_owned());
    }
    let key = match env.iter().find(|(name, _)| name == key_env) {
        Some((_, Val::Key { index, prefix })) if prefix.is_empty() => *index,
        Some(_) | None => return Err(format!("its key is not in the variable {key_env}")),
    };
    let is_it = |index: usize| match (keys.get(index), keys.get(key)) {
        (Some(one), Some(other)) => one.is_same(other),
        _ => false,
    };
    let other = |(name, value): &&(String, Val)| name != key_env && matches!(value, Val::Key { .. });
    if let Some((name, value)) = env.iter().find(other) {
        return Err(match value {
            Val::Key { index, .. } if *index == key || is_it(*index) => {
                format!("its key is in the variable {name} too: take it out of there, and wrap again")
            }
            _ => format!(
                "there is a key in the variable {name} too, which its code could read: take it out where the server can do \
                 without, and wrap again"
            ),
        });
    }
    if let Some(Key { from: From::File(key), .. }) = keys.get(key) {
        let values = env.iter().filter_map(|(name, value)| match value {
            Val::Plain(text) => Some((format!("the variable {name}"), text)),
            Val::Key { .. } => None,
        });
        let others = args.iter().chain([command]).chain(cwd).map(|text| ("an argument".to_owned(), text));
        if let Some((place, _)) = values.chain(others).find(|(_, text)| text.contains(key.as_str())) {
            return Err(format!("its key stands in {place} too: take it out of there, and wrap again"));
        }
    }
    let url = match env.iter().find(|(name, _)| name == url_env) {
        None if inherit.iter().any(|name| name == url_env) => {
            return Err(format!("the address of its API is in a variable of the client's, {url_env}: write its value"));
        }
        None => (*api).to_owned(),
        Some((_, Val::Plain(url))) if is_origin(url) => url.clone(),
        Some(_) => {
            return Err(format!("the address of its API, in {url_env}, has more than a scheme, a host and a port"));
        }
    };
    let fetches = config::fetches(command, args) || !args.iter().any(|arg| is_option(arg, offline));
    let args = with_mode(command, args, option, mode)?;
    let added = (args.len() > self::args(reached).len()).then(|| format!("{option}={mode}"));
    let env = env.iter().filter(|(name, _)| name != key_env && name != url_env).cloned().collect();
    let reached = Reached::Stdio { command: command.clone(), args, env, inherit: inherit.clone(), cwd: cwd.clone() };
    Ok(Gated { reached, url, header, key, url_env, key_env, added, fetches, tool: tool.to_owned() })
}

fn args(reached: &Reached) -> &[String] {
    match reached {
        Reached::Stdio { args, .. } => args,
        Reached::Http { .. } => &[],
    }
}

fn is_option(arg: &str, option: &str) -> bool {
    arg.strip_prefix(option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

/// The arguments with the option that has code run on this machine.
fn with_mode(command: &str, args: &[String], option: &str, mode: &str) -> Result<Vec<String>, String> {
    let (mut rest, mut there) = (args.iter(), false);
    while let Some(arg) = rest.next() {
        let said = match arg.strip_prefix(option) {
            Some("") => rest.next().map(String::as_str),
            Some(inline) => inline.strip_prefix('='),
            None => None,
        };
        match said {
            // Of two the program may take the later one.
            Some(said) if said == mode => there = true,
            Some(_) => {
                return Err(format!(
                    "its code runs on a machine of somebody else, where the key goes with it and which reaches no gate; with \
                     {option}={mode} it would get one"
                ));
            }
            None => {}
        }
    }
    if there {
        return Ok(args.to_vec());
    }
    let runs_a_line = args.iter().any(|arg| arg == "-c" || is_option(arg, "--call"));
    if SHELLS.contains(&assigned::program(command)) || runs_a_line {
        return Err(format!(
            "it is started by a line of a shell, to which {option}={mode} cannot be added: name the program and its arguments \
             in the entry, and wrap again"
        ));
    }
    Ok(args.iter().cloned().chain([format!("{option}={mode}")]).collect())
}

/// `https://HOST[:PORT]`, or `http://` on this machine.
fn is_origin(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default();
    let scheme = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => is_this_machine(host),
        _ => false,
    };
    scheme && !host.is_empty() && matches!(uri.path(), "" | "/") && uri.query().is_none() && !url.contains(['@', '#'])
}

impl Gated {
    /// The variable that the daemon sets.
    pub fn url_env(&self) -> &str {
        self.url_env
    }

    /// The members of `stdio` that stand for it, and the sandbox's where there are any.
    pub fn written(&self, names: &[String], sandboxes: bool) -> Vec<(&'static str, Value)> {
        let secret = Value::map([("secret", Value::text(names.get(self.key).cloned().unwrap_or_default()))]);
        let plain = self.url.starts_with("http://").then_some(("allow_plain_http", Value::Flag(true)));
        let gate = [
            ("url", Value::text(&self.url)),
            ("headers", Value::map([(self.header, secret)])),
            ("url_env", Value::text(self.url_env)),
            ("key_env", Value::text(self.key_env)),
        ];
        let network = Value::map([("network", Value::List(vec![Value::Number(443)]))]);
        let sandbox = (sandboxes && self.fetches).then_some(("sandbox", network));
        sandbox.into_iter().chain([("gate", Value::map(gate.into_iter().chain(plain)))]).collect()
    }

    pub fn told(&self, sandboxes: bool) -> Vec<String> {
        let Gated { tool, url_env, key_env, url, .. } = self;
        let mut told = vec![format!(
            "gate: its tool {tool} runs code of the agent, so its program does not get the key: {key_env} is good at countersign alone, \
             {url_env} leads there, and what the code asks of {url} is judged request by request"
        )];
        if let Some(option) = &self.added {
            told.push(format!(
                "{option}: added, for the code would else run on a machine of somebody else, with the key and without the gate; \
                 it takes what the server needs to run code here (Stigg's: `deno`)"
            ));
        }
        if sandboxes && self.fetches {
            told.push(
                "sandbox: { network: [443] }: for what the server fetches when it starts; its code reaches every host by \
                 it, and by UDP on every port, without the key. docs/configuration.md, \"A gate for servers that run code\", says how to close it"
                    .to_owned(),
            );
        }
        told
    }

    /// Whether a server that is there has this gate.
    pub fn is_of(&self, there: &Upstream, names: &[String]) -> bool {
        there.gate().is_some_and(|gate| {
            let key = |(name, value): &(String, config::Value)| {
                name.eq_ignore_ascii_case(self.header)
                    && matches!(value, config::Value::Secret { name, prefix } if prefix.is_empty() && names.get(self.key) == Some(name))
            };
            gate.url.trim_end_matches('/') == self.url.trim_end_matches('/')
                && gate.headers.iter().any(key)
                && gate.url_env == self.url_env
                && gate.key_env == self.key_env
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(command: &str, args: &[&str], env: &[(&str, Val)], inherit: &[&str]) -> Reached {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Reached::Stdio {
            command: command.to_owned(),
            args: texts(args),
            env: env.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            inherit: texts(inherit),
            cwd: None,
        }
    }

    fn code(reached: &Reached, vendor: Option<&str>) -> Code {
        let keys: Vec<Key> =
            (0..2).map(|_| Key { label: "k".to_owned(), from: From::Variable("A_KEY".to_owned()) }).collect();
        gated(reached, vendor, &Catalog::builtin(vendor).unwrap(), &keys)
    }

    fn key(index: usize) -> Val {
        Val::Key { index, prefix: String::new() }
    }

    #[test]
    fn a_key_goes_behind_a_gate_where_it_is_known_how() {
        let env = [("STIGG_API_KEY", key(0)), ("STIGG_LOG", Val::Plain("debug".to_owned()))];
        let Code::Gated(gated) = code(&reached("npx", &["-y", "@stigg/typescript-mcp"], &env, &["A"]), Some("stigg"))
        else {
            panic!()
        };
        let left = [("STIGG_LOG", Val::Plain("debug".to_owned()))];
        let args = ["-y", "@stigg/typescript-mcp", "--code-execution-mode=local"];
        assert_eq!(gated.reached, reached("npx", &args, &left, &["A"]));
        assert_eq!((gated.url.as_str(), gated.key), ("https://api.stigg.io", 0));
        for said in [vec!["x", "--code-execution-mode=local"], vec!["--code-execution-mode", "local", "x"]] {
            let url = ("STIGG_BASE_URL", Val::Plain("http://127.0.0.1:4010".to_owned()));
            let env = [("STIGG_API_KEY", key(0)), url];
            let Code::Gated(gated) = code(&reached("node", &said, &env, &[]), Some("stigg")) else { panic!() };
            assert_eq!(gated.reached, reached("node", &said, &[], &[]));
            assert_eq!(gated.url, "http://127.0.0.1:4010");
        }
    }

    /// With the vendor's key in the file, whatever else the program would see.
    #[test]
    fn no_other_key_stays_with_a_program_behind_a_gate() {
        let of = |text: &str| Key { label: "k".to_owned(), from: From::File(text.to_owned().into()) };
        let keys = [of("server-CANARY1"), of("{\"X-API-KEY\": \"server-CANARY1\"}"), of("another")];
        let catalog = Catalog::builtin(Some("stigg")).unwrap();
        let said = |args: &[&str], name: &str, value: Val| {
            let env = [("STIGG_API_KEY", key(0)), (name, value)];
            match gated(&reached("x", args, &env, &[]), Some("stigg"), &catalog, &keys) {
                Code::Beside { why, .. } => why,
                Code::Gated(_) | Code::Without => String::new(),
            }
        };
        let debug = || Val::Plain("debug".to_owned());
        assert_eq!(said(&[], "LEVEL", debug()), "");
        for (args, name, value, why) in [
            (&[][..], "B_KEY", key(2), "there is a key in the variable B_KEY"),
            (&[], "HDRS", key(1), "there is a key in the variable HDRS"),
            (&[], "HDRS", Val::Plain("x: server-CANARY1".to_owned()), "its key stands in the variable HDRS"),
            (&["--header=x: server-CANARY1"], "LEVEL", debug(), "its key stands in an argument"),
        ] {
            let said = said(args, name, value);
            assert!(said.contains(why) && said.contains("wrap again") && !said.contains("CANARY"), "{said}");
        }
    }

    /// Only where it has to fetch something is the network open.
    #[test]
    fn a_program_that_fetches_nothing_gets_no_network() {
        for (command, args, open) in [
            ("npx", &["-y", "@stigg/typescript-mcp", "--custom-instructions-path=/i"][..], true),
            ("node", &["/opt/index.js"], true),
            ("node", &["/opt/index.js", "--custom-instructions-path", "/i"], false),
        ] {
            let Code::Gated(gated) = code(&reached(command, args, &[("STIGG_API_KEY", key(0))], &[]), Some("stigg"))
            else {
                panic!()
            };
            let written = gated.written(&["k".to_owned()], true);
            assert_eq!(written.iter().any(|(name, _)| *name == "sandbox"), open, "{command} {args:?}");
            assert_eq!(gated.told(true).iter().any(|line| line.contains("UDP")), open);
        }
    }

    #[test]
    fn where_it_is_not_known_how_it_is_said_why() {
        let plain = |text: &str| Val::Plain(text.to_owned());
        let own = ("STIGG_API_KEY", key(0));
        let prefixed = Val::Key { index: 0, prefix: "Bearer ".to_owned() };
        for (reached, why) in [
            (reached("docker", &["run", "x"], std::slice::from_ref(&own), &[]), "a container"),
            (reached("/usr/bin/podman", &["run", "x"], std::slice::from_ref(&own), &[]), "a container"),
            (reached("x", &[], &[("OTHER_KEY", key(0))], &[]), "not in the variable STIGG_API_KEY"),
            (reached("x", &[], &[("STIGG_API_KEY", prefixed)], &[]), "not in the variable STIGG_API_KEY"),
            (reached("x", &[], &[own.clone(), ("B_KEY", key(0))], &[]), "in the variable B_KEY too"),
            (reached("x", &[], &[own.clone(), ("B_KEY", key(1))], &[]), "in the variable B_KEY too"),
            (reached("sh", &["-c", "npx x"], std::slice::from_ref(&own), &[]), "cannot be added"),
            (reached("npx", &["-c", "stigg-mcp"], std::slice::from_ref(&own), &[]), "cannot be added"),
            (
                reached(
                    "x",
                    &["--code-execution-mode=local", "--code-execution-mode=x"],
                    std::slice::from_ref(&own),
                    &[],
                ),
                "of somebody else",
            ),
            (reached("x", &[], std::slice::from_ref(&own), &["STIGG_BASE_URL"]), "variable of the client's"),
            (reached("x", &[], &[own.clone(), ("STIGG_BASE_URL", plain("https://h/path"))], &[]), "has more than"),
            (reached("x", &[], &[own.clone(), ("STIGG_BASE_URL", plain("http://h.example"))], &[]), "has more than"),
            (reached("x", &[], &[own.clone(), ("STIGG_BASE_URL", plain("https://u:p@h"))], &[]), "has more than"),
            (
                reached("x", &["--code-execution-mode=stainless-sandbox"], std::slice::from_ref(&own), &[]),
                "of somebody else",
            ),
            (reached("x", &["--code-execution-mode", "x"], std::slice::from_ref(&own), &[]), "of somebody else"),
        ] {
            let Code::Beside { why: said, tool } = code(&reached, Some("stigg")) else { panic!("{reached:?}") };
            assert!(said.contains(why) && tool == "execute", "{reached:?}: {said}");
        }
        let keyless = reached("x", &[], &[("STIGG_LOG", plain("debug"))], &[]);
        assert!(matches!(code(&keyless, Some("stigg")), Code::Without));
        assert!(matches!(code(&reached("x", &[], &[own], &[]), Some("stripe")), Code::Without));
    }
}
