//! Variables that stand among the arguments of an entry: `env NAME=VALUE program`, `docker run -e NAME=VALUE image`. Where
//! one of them is a key it becomes a variable of the entry.
//!
//! Invariant: only what certainly is such an argument is changed. Behind an option that is not known here everything
//! stays, and is refused where it carries a key.

use std::path::Path;

/// An entry's program and arguments without such keys, and the variables that they became.
pub struct Taken<'a> {
    pub command: String,
    pub args: Vec<String>,
    pub variables: Vec<(&'a str, &'a str)>,
}

/// Nothing where nothing is to change.
pub fn taken<'a>(command: &str, args: &'a [String], is_key: impl Fn(&str, &str) -> bool) -> Option<Taken<'a>> {
    let assigns = |arg: &'a str| assignment(arg).filter(|(name, value)| is_key(name, value));
    let taken = match program(command) {
        "env" => of_env(args, &is_key)?,
        name if CONTAINERS.contains(&name) => Taken { command: command.to_owned(), ..of_container(args, &assigns)? },
        _ => return None,
    };
    (!taken.variables.is_empty()).then_some(taken)
}

/// Programs that start containers, and speak to their daemon by a socket.
pub const CONTAINERS: [&str; 3] = ["docker", "podman", "nerdctl"];

/// Options of `run` that stand alone.
const ALONE: [&str; 12] = [
    "-i",
    "-t",
    "-it",
    "-ti",
    "-d",
    "--rm",
    "--init",
    "--interactive",
    "--tty",
    "--detach",
    "--read-only",
    "--privileged",
];
/// Options of `run` whose value is the next argument.
const WITH_VALUE: [&str; 26] = [
    "-v",
    "--volume",
    "--mount",
    "--name",
    "--network",
    "--net",
    "-p",
    "--publish",
    "-w",
    "--workdir",
    "-u",
    "--user",
    "--platform",
    "--pull",
    "--entrypoint",
    "-l",
    "--label",
    "-m",
    "--memory",
    "--cpus",
    "--add-host",
    "--env-file",
    "--cap-add",
    "--cap-drop",
    "--security-opt",
    "--tmpfs",
];

/// What a program is called, wherever it lies.
pub fn program(command: &str) -> &str {
    Path::new(command).file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// `NAME=VALUE`, where the name is one that a shell takes.
fn assignment(arg: &str) -> Option<(&str, &str)> {
    let (name, value) = arg.split_once('=')?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let fits = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.bytes().all(valid);
    fits.then_some((name, value))
}

/// All of them, so that the program is what stands behind.
fn of_env<'a>(args: &'a [String], is_key: &impl Fn(&str, &str) -> bool) -> Option<Taken<'a>> {
    let variables: Vec<_> = args.iter().map_while(|arg| assignment(arg)).collect();
    let (command, rest) = args.get(variables.len()..)?.split_first()?;
    let fits = !command.starts_with('-') && variables.iter().any(|(name, value)| is_key(name, value));
    fits.then(|| Taken { command: command.clone(), args: rest.to_vec(), variables })
}

fn of_container<'a>(args: &'a [String], assigns: &impl Fn(&'a str) -> Option<(&'a str, &'a str)>) -> Option<Taken<'a>> {
    let (first, rest) = args.split_first().filter(|(first, _)| *first == "run")?;
    let (mut out, mut variables) = (vec![first.clone()], Vec::new());
    let mut rest = rest.iter();
    while let Some(arg) = rest.next() {
        let inline = arg.strip_prefix("--env=").or_else(|| arg.strip_prefix("-e").filter(|value| !value.is_empty()));
        if let Some(pair) = inline.and_then(assigns) {
            variables.push(pair);
            out.extend(["-e".to_owned(), pair.0.to_owned()]);
        } else if arg == "-e" || arg == "--env" {
            let Some(value) = rest.next() else { break };
            let pair = assigns(value);
            variables.extend(pair);
            out.extend([arg.clone(), pair.map_or_else(|| value.clone(), |(name, _)| name.to_owned())]);
        } else if WITH_VALUE.contains(&arg.as_str()) {
            out.push(arg.clone());
            out.extend(rest.next().cloned());
        } else if ALONE.contains(&arg.as_str()) || (arg.starts_with("--") && arg.contains('=')) || inline.is_some() {
            out.push(arg.clone());
        } else {
            // The image, or an option that may have a value: what follows is not ours to read.
            out.push(arg.clone());
            out.extend(rest.by_ref().cloned());
        }
    }
    Some(Taken { command: String::new(), args: out, variables })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_certainly_is_a_variable_is_taken() {
        let is_key = |name: &str, _: &str| name.ends_with("KEY");
        let of = |text: &str| {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            taken(&words[0], &words[1..], is_key).map(|Taken { command, args, variables }| {
                let variables: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
                format!("{} | {command} {}", variables.join(" "), args.join(" "))
            })
        };
        for (said, becomes) in [
            (
                "docker run -i --rm -e A_KEY=x image -e B_KEY=y",
                "A_KEY=x | docker run -i --rm -e A_KEY image -e B_KEY=y",
            ),
            (
                "/usr/bin/docker run --env=A_KEY=x -eB_KEY=y i",
                "A_KEY=x B_KEY=y | /usr/bin/docker run -e A_KEY -e B_KEY i",
            ),
            ("podman run -v a:b --env A_KEY=x -e LEVEL=1 i", "A_KEY=x | podman run -v a:b --env A_KEY -e LEVEL=1 i"),
            ("env LEVEL=1 A_KEY=x npx -y s", "LEVEL=1 A_KEY=x | npx -y s"),
        ] {
            assert_eq!(of(said).as_deref(), Some(becomes), "{said}");
        }
        for left in [
            "docker run image -e A_KEY=x",
            "docker run --odd -e A_KEY=x image",
            "docker run -e LEVEL=1 image",
            "docker run -e",
            "docker exec -e A_KEY=x c",
            "env -i A_KEY=x npx",
            "env LEVEL=1 npx",
            "env A_KEY=x",
            "npx -e A_KEY=x",
        ] {
            assert_eq!(of(left), None, "{left}");
        }
    }
}
