//! What `init` writes: texts with their comments. The rules, their tests and the data of each vendor are files of
//! `policies/init`, which the tests of the program run.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::PathBuf;

use super::{Planned, Tool, Vendor};
use crate::catalog::Catalog;
use crate::policy::builtin_names;

/// What was asked for.
pub struct Asked<'a> {
    pub vendor: Vendor,
    /// The server's name in the configuration.
    pub name: &'a str,
    /// Of a server that was asked for its tools: the program and its arguments.
    pub command: Option<(&'a String, &'a [String])>,
    /// Variables that the command needs.
    pub env: &'a [String],
    pub tools: Option<&'a [Tool]>,
    /// Whether this system has sandboxes for the programs of servers.
    pub sandboxes: bool,
}

/// A vendor's part of the files.
struct Texts {
    /// Name of the policy.
    policy: &'static str,
    rules: &'static str,
    tests: &'static str,
    data: &'static str,
    environment: &'static str,
    /// Why this environment.
    note: &'static str,
    /// The variable that holds the key, and the name that the secret gets.
    key: Option<(&'static str, &'static str)>,
    upstream: &'static str,
    /// What the principal may do, after the server's name.
    scopes: &'static [&'static str],
}

macro_rules! texts {
    ($vendor:literal, $policy:literal) => {
        (
            $policy,
            include_str!(concat!("../../../policies/init/", $vendor, "/", $policy, ".rego")),
            include_str!(concat!("../../../policies/init/", $vendor, "/", $policy, "_test.rego")),
        )
    };
}

fn texts(vendor: Vendor) -> Texts {
    match vendor {
        Vendor::Stripe => {
            let (policy, rules, tests) = texts!("stripe", "refunds");
            Texts {
                policy,
                rules,
                tests,
                data: include_str!("../../../policies/init/stripe/data.yaml"),
                environment: "sandbox",
                note: "begin with a sk_test_ key. For sk_live_ write production: the daemon does not start where they differ",
                key: Some(("STRIPE_SANDBOX_KEY", "stripe_key")),
                upstream: "      stdio:\n        command: npx\n        args: [-y, \"@stripe/mcp@0.2.5\", --tools=all]\n        \
                           env: { STRIPE_SECRET_KEY: { secret: stripe_key } }\n",
                scopes: &["read", "create_refund"],
            }
        }
        Vendor::Stigg => {
            let (policy, rules, tests) = texts!("stigg", "code");
            Texts {
                policy,
                rules,
                tests,
                data: include_str!("../../../policies/init/stigg/data.yaml"),
                environment: "sandbox",
                note: "Stigg's keys look alike in every environment: say which one the key is of",
                key: Some(("STIGG_SERVER_KEY", "stigg_key")),
                upstream: "      http:\n        url: https://mcp.stigg.io\n        headers: { X-API-KEY: { secret: stigg_key } }\n\
                           \x20     # Or on this machine, and no key where the agent's code runs (docs/configuration.md, \"A gate for servers\n\
                           \x20     # that run code\"). Each request of the code needs a scope then, and a person where it is dangerous: add\n\
                           \x20     # stigg/write to the scopes below for what it may change.\n\
                           \x20     # stdio:\n\
                           \x20     #   command: node\n\
                           \x20     #   args: [/opt/stigg-mcp/index.js, --code-execution-mode=local]   # installed: it has no way to npm\n\
                           \x20     #   # It fetches its instructions when it starts: give it --custom-instructions-path=FILE, or this network,\n\
                           \x20     #   # by which the code reaches every host, without the key: sandbox: { network: [443] }\n\
                           \x20     #   gate:\n\
                           \x20     #     url: https://api.stigg.io\n\
                           \x20     #     headers: { X-API-KEY: { secret: stigg_key } }\n\
                           \x20     #     url_env: STIGG_BASE_URL\n\
                           \x20     #     key_env: STIGG_API_KEY\n",
                scopes: &["read", "search_docs", "execute"],
            }
        }
        Vendor::Statsig => {
            let (policy, rules, tests) = texts!("statsig", "rollouts");
            Texts {
                policy,
                rules,
                tests,
                data: include_str!("../../../policies/init/statsig/data.yaml"),
                environment: "production",
                note: "a console key is for the whole project, production included",
                key: Some(("STATSIG_CONSOLE_KEY", "statsig_key")),
                upstream: "      http:\n        url: https://api.statsig.com/v1/mcp   # or .../v3/mcp: the scopes below are for both\n        \
                           headers: { statsig-api-key: { secret: statsig_key } }\n",
                // Gates by the tools of V1, by those of V3, and by operations that V3 gives handles for.
                scopes: &[
                    "read",
                    "write",
                    "Create_Gate",
                    "Update_Gate_Entirely",
                    "gate_create",
                    "gate_update",
                    "POST /console/v1/gates",
                    "POST /console/v1/gates/{id}/rule",
                    "POST /console/v1/gates/{id}/rules",
                    "PATCH /console/v1/gates/{id}",
                    "PATCH /console/v1/gates/{id}/rules/{ruleID}",
                ],
            }
        }
        Vendor::Custom => {
            let (policy, rules, tests) = texts!("custom", "listed");
            Texts {
                policy,
                rules,
                tests,
                data: "",
                environment: "sandbox",
                note: "sandbox, test, development and staging are taken for harmless; every other name is production",
                key: None,
                upstream: "      stdio:\n        command: my-mcp-server   # the program, found in PATH\n        args: []\n",
                scopes: &["read"],
            }
        }
    }
}

/// The variables that hold keys.
pub fn variables(vendor: Vendor, env: &[String]) -> Vec<String> {
    let own = texts(vendor).key.map(|(variable, _)| variable.to_owned());
    if env.is_empty() { own.into_iter().collect() } else { env.to_vec() }
}

/// Everything to write; the configuration is the first.
///
/// # Errors
/// None that the user can cause.
pub fn plan(asked: &Asked<'_>) -> anyhow::Result<Vec<Planned>> {
    let texts = texts(asked.vendor);
    let vendor = Some(asked.vendor.as_str()).filter(|vendor| Catalog::builtin(Some(vendor)).is_ok());
    let catalog = match (asked.tools, vendor) {
        (Some(tools), _) => Some(catalog(tools, vendor)?),
        (None, None) => Some(EMPTY_CATALOG.to_owned()),
        (None, Some(_)) => None,
    };
    let catalog = catalog.map(|text| (format!("catalog/{}.yaml", file_name(asked.name)), text));
    let config = config(asked, &texts, vendor, catalog.as_ref().map(|(path, _)| path.as_str()));
    let data = match asked.vendor {
        Vendor::Custom => listed(asked),
        Vendor::Stripe | Vendor::Stigg | Vendor::Statsig => texts.data.to_owned(),
    };
    let file = |path: String, text: String, about| Planned { path: PathBuf::from(path), text, about };
    let policy = texts.policy;
    let mut plan = vec![
        file("countersign.yaml".to_owned(), config, "where keys are, which server, who may connect"),
        file(format!("policies/{policy}.rego"), texts.rules.to_owned(), "a first rule of your own"),
        file(format!("policies/{policy}_test.rego"), texts.tests.to_owned(), "its tests"),
        file("policies/data.yaml".to_owned(), data, "the limits and lists that it reads"),
    ];
    plan.extend(catalog.map(|(path, text)| file(path, text, "what the server's tools do: for you to fill in")));
    Ok(plan)
}

fn config(asked: &Asked<'_>, texts: &Texts, vendor: Option<&str>, catalog: Option<&str>) -> String {
    let (name, uid) = (asked.name, rustix::process::geteuid().as_raw());
    let mut out = String::from(
        "# Written by `countersign init`. docs/configuration.md says what every key means. The daemon refuses this file\n\
         # where others can change it.\nversion: 1\n\n# state_dir: ~/.local/state/countersign   # the audit log\n\n",
    );
    let secrets: Vec<(String, String)> = match asked.command {
        Some(_) => asked.env.iter().map(|name| (name.to_lowercase(), name.clone())).collect(),
        None => texts.key.map(|(variable, secret)| (secret.to_owned(), variable.to_owned())).into_iter().collect(),
    };
    // Writing to a string cannot fail.
    if !secrets.is_empty() {
        out.push_str("# Keys are never written here, only where they are: env, file or command.\nsecrets:\n");
        for (secret, variable) in &secrets {
            let _ = writeln!(out, "  {secret}: {{ env: {variable} }}");
        }
        out.push('\n');
    }
    let _ = writeln!(out, "servers:\n  {}:", yaml(name));
    if let Some(vendor) = vendor {
        let _ =
            writeln!(out, "    vendor: {vendor}   # picks the catalog: what each tool does, how much money it moves");
    }
    if let Some(catalog) = catalog {
        let _ = writeln!(out, "    catalog: [{}]   # what tools do that no built-in catalog has", yaml(catalog));
    }
    let _ = writeln!(out, "    # {}\n    environment: {}", texts.note, texts.environment);
    if vendor.is_some() {
        out.push_str("    # probe: {}   # asks the server at start where its key works\n");
    }
    out.push_str("    upstream:\n");
    match asked.command {
        Some((program, args)) => {
            let args = args.iter().map(|arg| yaml(arg)).collect::<Vec<_>>().join(", ");
            let _ = write!(out, "      stdio:\n        command: {}\n        args: [{args}]\n", yaml(program));
            let env = secrets.iter().map(|(secret, variable)| format!("{variable}: {{ secret: {secret} }}"));
            let env = env.collect::<Vec<_>>().join(", ");
            if !env.is_empty() {
                let _ = writeln!(out, "        env: {{ {env} }}");
            }
        }
        None => out.push_str(texts.upstream),
    }
    if !asked.sandboxes && (asked.command.is_some() || texts.upstream.trim_start().starts_with("stdio:")) {
        out.push_str("        sandbox: off   # this system has none: the program may do whatever this account can\n");
    }
    let scopes = texts.scopes.iter().map(|scope| yaml(&format!("{name}/{scope}"))).collect::<Vec<_>>().join(", ");
    let builtin = builtin_names().collect::<Vec<_>>().join(", ");
    let _ = write!(
        out,
        "\n# Who may connect, and what rules may allow: SERVER/CLASS or SERVER/OPERATION. What no scope covers is denied.\n\
         principals:\n  - {{ name: local, match: {{ uid: {uid} }}, scopes: [{scopes}] }}\n\n\
         policy:\n  # The built-in policies are all on: {builtin}. policies/README.md says what they do.\n  \
         paths: [policies]\n\n\
         # A call that needs a person waits this long.\nholds: {{ ttl: 5m }}\n\n\
         # For production an approval has to be signed, unless this says otherwise.\n\
         # operators: {{ unsigned_rulings: accept }}\n"
    );
    out
}

const EMPTY_CATALOG: &str = "# What the server's tools do. A tool that is not listed is of class unknown, which is held or denied like the worst.\n\
     # policies/README.md has the whole form.\n\
     version: 1\n\
     # reads: [get_contact, list_deals]\n\
     # tools:\n\
     #   delete_contact: { class: destructive, reversible: false, targets: [/id] }\n\
     #   pay_invoice: { class: financial, money: { amount: /amount, unit: minor, currency: /currency } }\n";

/// Every tool that the built-in catalog does not have, as unknown: what the server says about a tool is no reason to
/// believe it.
fn catalog(tools: &[Tool], vendor: Option<&str>) -> anyhow::Result<String> {
    let known = Catalog::builtin(vendor)?;
    let mut out = String::from(
        "# What the server's tools do. Say for each of them read, write, financial, destructive; unknown is held or denied\n\
         # like the worst. What the server claims stands beside it, and proves nothing. policies/README.md has the whole form.\n\
         version: 1\n",
    );
    let tools: Vec<&Tool> = tools.iter().filter(|tool| known.arguments_of(vendor, &tool.name).is_none()).collect();
    if tools.is_empty() {
        out.push_str("# The built-in catalog has all of the server's tools.\n");
        return Ok(out);
    }
    out.push_str("tools:\n");
    for tool in tools {
        let _ = writeln!(out, "  {}: {{ class: unknown }}   # {}", yaml(&tool.name), suggestion(tool));
    }
    Ok(out)
}

fn suggestion(tool: &Tool) -> &'static str {
    match (tool.read_only, tool.destructive) {
        (Some(true), Some(true)) => "the server contradicts itself: readOnlyHint and destructiveHint",
        (Some(true), _) => "perhaps read: the server says readOnlyHint",
        (_, Some(true)) => "perhaps destructive: the server says destructiveHint",
        (_, Some(false)) => "perhaps write: the server says that it destroys nothing",
        (Some(false) | None, None) => "the server says nothing about it",
    }
}

fn listed(asked: &Asked<'_>) -> String {
    let mut out = String::from(
        "# Numbers and lists that the rules read as `data`. The daemon follows changes of this file.\nlisted:\n",
    );
    let names: BTreeSet<&str> = asked.tools.into_iter().flatten().map(|tool| tool.name.as_str()).collect();
    let about = if names.is_empty() {
        "Tools that somebody has looked at, by server."
    } else {
        "What the server listed when this was written: take out what no agent should call."
    };
    let _ = writeln!(out, "  # {about}\n  {}:", yaml(asked.name));
    if names.is_empty() {
        out.push_str("    - get_example\n");
    }
    for name in names {
        let _ = writeln!(out, "    - {}", yaml(name));
    }
    out
}

/// A name as it can stand in a path.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    name.chars().map(plain).collect()
}

/// A string of YAML in which every character is visible.
fn yaml(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\U{:08X}", u32::from(c));
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_without_sandboxes_gets_a_configuration_that_says_so() {
        let program = "server".to_owned();
        for (vendor, command, off) in [
            (Vendor::Stripe, None, true),
            (Vendor::Custom, None, true),
            (Vendor::Custom, Some((&program, [].as_slice())), true),
            (Vendor::Statsig, None, false),
        ] {
            for sandboxes in [true, false] {
                let env = ["A_KEY".to_owned()];
                let asked = Asked { vendor, name: "s", command, env: &env, tools: None, sandboxes };
                let text = plan(&asked).unwrap().remove(0).text;
                let config = crate::config::parse(&text, std::path::Path::new("/c/countersign.yaml")).unwrap();
                let open =
                    matches!(&config.servers["s"].upstream, crate::config::Upstream::Stdio { sandbox: None, .. });
                assert_eq!(open, off && !sandboxes, "{text}");
            }
        }
    }

    /// What stands there to be uncommented is a configuration.
    #[test]
    fn the_gate_of_a_server_that_runs_code_is_there_to_be_taken() {
        let env = [];
        let asked =
            Asked { vendor: Vendor::Stigg, name: "stigg", command: None, env: &env, tools: None, sandboxes: true };
        let text = plan(&asked).unwrap().remove(0).text;
        let (before, rest) = text.split_once("      http:\n").unwrap();
        let (_, gate) = rest.split_once("      # stdio:\n").unwrap();
        let text = format!("{before}      stdio:\n{}", gate.replace("      #   ", "        "));
        let config = crate::config::parse(&text, std::path::Path::new("/c/countersign.yaml")).unwrap();
        assert_eq!(config.servers["stigg"].upstream.gate().unwrap().key_env, "STIGG_API_KEY", "{text}");
    }

    #[test]
    fn a_name_is_written_so_that_yaml_reads_it_back_and_people_see_it() {
        for text in ["plain", "null", "a: b # c", "quote\" back\\slash", "\u{202e}\n\0", "größe 日本 \u{1f600}", ""]
        {
            let written = yaml(text);
            assert!(written.is_ascii() && !written.contains('\n'), "{written}");
            let read: String = serde_yaml::from_str(&written).unwrap();
            assert_eq!(read, text);
        }
        assert_eq!(file_name("../x y/é"), "___x_y__");
    }
}
