//! Each server by itself: where it works and what proves it, and, where no daemon runs, whether it could be started.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::ground::Ground;
use crate::call::{Environment, EnvironmentSource};
use crate::catalog::Catalog;
use crate::config::{self, Config, Server, Upstream, Value};
use crate::credential::secret::SecretCell;
use crate::credential::trust;
use crate::proxy;
use crate::sandbox::{self, Support};

pub fn check(ground: &Ground) -> Vec<Finding> {
    let Some(config) = &ground.config else { return Vec::new() };
    let had = |(name, had): (&String, &Result<SecretCell, _>)| Some((name.clone(), had.as_ref().ok()?.clone()));
    let secrets: BTreeMap<String, SecretCell> = ground.secrets.iter().filter_map(had).collect();
    let (mut found, support) = (Vec::new(), sandbox::support());
    for (name, server) in &config.servers {
        let catalog = match Catalog::load(server.facts.vendor.as_deref(), &server.catalogs) {
            Ok(catalog) => catalog,
            Err(error) => {
                found.push(Finding::problem(name, error.to_string()).run("correct the catalog"));
                continue;
            }
        };
        let running = ground.daemon.as_ref().ok();
        let running = running.and_then(|seen| seen.daemon.servers.iter().find(|server| server.name == *name));
        found.push(match running {
            Some(running) => proved(name, &running.environment, !catalog.probes().is_empty()),
            None => declared(name, server, &catalog, config, &secrets),
        });
        if running.is_none() {
            found.extend(startable(name, server));
        }
        found.extend(boxed(name, server, support));
        found.extend(
            config::cannot_fetch(&server.upstream).map(|(problem, help)| Finding::warning(name, problem).run(help)),
        );
        found.extend(beside_the_key(name, server, &catalog));
    }
    let children = config.servers.values().any(|server| matches!(server.upstream, Upstream::Stdio { .. }));
    let level = if support.is_nothing() { Finding::note } else { Finding::ok };
    found.extend(children.then(|| level("sandboxes", support.to_string())));
    found
}

/// What nothing keeps the server's child from.
fn boxed(name: &str, server: &Server, support: Support) -> Option<Finding> {
    let Upstream::Stdio { sandbox: wishes, .. } = &server.upstream else { return None };
    let Some(wishes) = wishes else {
        let text = "sandbox: off; its child can do whatever this account can, with the server's key";
        let help = match support.is_nothing() {
            true => "this system has no sandboxes: run the daemon on Linux, or under an account of its own",
            false => "take `sandbox: off` out, and name in `sandbox.read` and `sandbox.write` what it needs",
        };
        return Some(Finding::warning(name, text).run(help));
    };
    if support.is_nothing() {
        let text = "the daemon does not start: this system has no sandbox for its child";
        let help =
            "run it on Linux, or say that the child may do whatever this account can: `sandbox: off` in its `stdio`";
        return Some(Finding::problem(name, text).run(help));
    }
    let missing = support.missing(wishes);
    let each: Vec<String> = missing.iter().map(ToString::to_string).collect();
    let text = format!("its sandbox cannot limit {}", each.join(", "));
    (!missing.is_empty()).then(|| Finding::warning(name, text).run("update the kernel, or run it on another machine"))
}

/// Code of the agent that runs where the key is.
fn beside_the_key(name: &str, server: &Server, catalog: &Catalog) -> Option<Finding> {
    let Upstream::Stdio { env, gate, .. } = &server.upstream else { return None };
    let tool = catalog.runs_code()?;
    let (variable, _) = env.iter().find(|(_, value)| matches!(value, Value::Secret { .. }))?;
    let help = match gate {
        None => "give it a `gate`: docs/configuration.md, A gate for servers that run code",
        Some(_) => "take it out of `env` where the server can do without: its `gate` guards the other key alone",
    };
    let text =
        format!("its tool {tool} runs code of the agent beside the key in {variable}: whoever may call it has the key");
    Some(Finding::warning(name, text).run(help))
}

/// By the keys alone: nobody has asked the server.
fn declared(
    name: &str,
    server: &Server,
    catalog: &Catalog,
    config: &Config,
    secrets: &BTreeMap<String, SecretCell>,
) -> Finding {
    match proxy::declared_environment(server, catalog, config, secrets) {
        Ok(environment) => proved(name, &environment, server.probe.is_none() && !catalog.probes().is_empty()),
        Err(contradiction) => {
            let text = format!(
                "{} is declared, and that is not where it works: {}",
                contradiction.declared,
                contradiction.found.join("; ")
            );
            Finding::problem(name, text).run(contradiction.help)
        }
    }
}

fn proved(name: &str, environment: &Environment, could_be_asked: bool) -> Finding {
    let Environment { name: environment, source, verified, conflict, .. } = environment;
    if let Some(conflict) = conflict {
        let text = format!("{environment} is declared, and the server contradicts it: {conflict}");
        return Finding::problem(name, text)
            .run("declare the environment that the key belongs to, and start the daemon again");
    }
    match (verified, source) {
        (true, EnvironmentSource::Key) => Finding::ok(name, format!("{environment}, proved by the form of its key")),
        (true, EnvironmentSource::Probe) => Finding::ok(name, format!("{environment}, proved by the server's answer")),
        (true, EnvironmentSource::Config) | (false, _) => {
            let found = Finding::note(name, format!("{environment} is declared, and nothing proves it"));
            if could_be_asked {
                found.run(format!("write into the configuration: servers: {name}: probe: {{}}"))
            } else {
                found
            }
        }
    }
}

/// What a start would stumble over, as far as that shows without one.
fn startable(name: &str, server: &Server) -> Option<Finding> {
    match &server.upstream {
        Upstream::Stdio { command, .. } => {
            let error = trust::find_command(command, std::env::var_os("PATH").as_deref()).err()?;
            Some(Finding::problem(name, error.to_string()).run(error.help()))
        }
        // The address was checked with the configuration.
        Upstream::Http { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn what_keeps_a_child_in_is_said() {
        let text = |sandbox: &str| {
            format!(
                "version: 1\nservers: {{ s: {{ environment: sandbox, upstream: {{ stdio: {{ command: a{sandbox} }} }} }} }}\n\
                 principals: [{{ name: a, match: {{ uid: 1 }}, scopes: [] }}]\n"
            )
        };
        let none = Support { landlock: 0, filter: false };
        let said = |sandbox, support| {
            let config = crate::config::parse(&text(sandbox), std::path::Path::new("/c.yaml")).unwrap();
            boxed("s", &config.servers["s"], support)
        };
        let refused = said("", none).unwrap();
        assert!(refused.level == Level::Problem && refused.command.unwrap().contains("`sandbox: off`"));
        let off = said(", sandbox: off", none).unwrap();
        assert!(off.level == Level::Warning && off.command.unwrap().contains("no sandboxes"));
        assert_eq!(said("", Support { landlock: 9, filter: true }), None);
        assert_eq!(said("", Support { landlock: 3, filter: true }).unwrap().level, Level::Warning);
    }

    #[test]
    fn code_that_runs_beside_a_key_is_said() {
        let said = |vendor: &str, more: &str| {
            let text = format!(
                "version: 1\nsecrets: {{ k: {{ env: K }}, k2: {{ env: K2 }} }}\nservers: {{ s: {{ vendor: {vendor}, environment: sandbox, \
                 upstream: {{ stdio: {{ command: a, {more} }} }} }} }}\n\
                 principals: [{{ name: a, match: {{ uid: 1 }}, scopes: [] }}]\n"
            );
            let config = crate::config::parse(&text, std::path::Path::new("/c.yaml")).unwrap();
            beside_the_key("s", &config.servers["s"], &Catalog::builtin(Some(vendor)).unwrap())
        };
        let held = said("stigg", "env: { STIGG_API_KEY: { secret: k } }").unwrap();
        assert!(held.level == Level::Warning && held.text.contains("execute") && held.command.is_some());
        let gate =
            "gate: { url: 'https://api.stigg.io', headers: { X-API-KEY: { secret: k } }, url_env: U, key_env: K }";
        for (vendor, more) in
            [("stigg", gate), ("stigg", "env: { LEVEL: debug }"), ("stripe", "env: { K: { secret: k } }")]
        {
            assert_eq!(said(vendor, more), None, "{vendor} {more}");
        }
        // A gate keeps one key away, and no other.
        let other = said("stigg", &format!("{}, env: {{ B: {{ secret: k2 }} }}", gate)).unwrap();
        assert!(other.level == Level::Warning && other.text.contains("the key in B"), "{other:?}");
    }

    #[test]
    fn a_program_behind_a_gate_that_cannot_fetch_its_server_is_said() {
        let gate =
            "gate: { url: 'https://api.stigg.io', headers: { X-API-KEY: { secret: k } }, url_env: U, key_env: K }";
        let said = |more: &str| {
            let text = format!(
                "version: 1\nsecrets: {{ k: {{ env: K }} }}\nservers: {{ s: {{ vendor: stigg, environment: sandbox, \
                 upstream: {{ stdio: {{ {more} }} }} }} }}\n\
                 principals: [{{ name: a, match: {{ uid: 1 }}, scopes: [] }}]\n"
            );
            let config = config::parse(&text, std::path::Path::new("/c.yaml")).unwrap();
            config::cannot_fetch(&config.servers["s"].upstream)
        };
        for command in ["npx", "/usr/bin/uvx", "pnpm, args: [dlx, x]", "pipx, args: [run, x]"] {
            let (problem, help) = said(&format!("command: {command}, {gate}")).unwrap();
            assert!(problem.contains("no network") && help.contains("network: [443]"), "{problem}");
            assert_eq!(said(&format!("command: {command}")), None);
            assert_eq!(said(&format!("command: {command}, sandbox: {{ network: [443] }}, {gate}")), None);
        }
        assert!(said(&format!("command: docker, {gate}")).unwrap().1.contains("container"));
        for command in ["node, args: [npx]", "pnpm, args: [start]"] {
            assert_eq!(said(&format!("command: {command}, {gate}")), None);
        }
    }

    #[test]
    fn what_an_environment_rests_on_is_said() {
        let environment = |source, verified, conflict: Option<&str>| Environment {
            source,
            verified,
            conflict: conflict.map(str::to_owned),
            ..Environment::declared("production")
        };
        let key = proved("s", &environment(EnvironmentSource::Key, true, None), true);
        assert_eq!((key.level, key.text.as_str()), (Level::Ok, "production, proved by the form of its key"));
        assert!(proved("s", &environment(EnvironmentSource::Probe, true, None), true).text.contains("answer"));
        let unproved = proved("s", &environment(EnvironmentSource::Config, false, None), true);
        assert_eq!(unproved.level, Level::Note);
        assert!(unproved.command.is_some_and(|command| command.contains("servers: s: probe")));
        let unproved = proved("s", &environment(EnvironmentSource::Config, false, None), false);
        assert_eq!(unproved.command, None);
        let conflict = proved("s", &environment(EnvironmentSource::Key, true, Some("livemode is false")), true);
        assert_eq!(conflict.level, Level::Problem);
        assert!(conflict.text.contains("livemode is false"));
    }
}
