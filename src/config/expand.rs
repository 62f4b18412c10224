//! `~` and `${NAME}` in path-like values; nowhere else does the environment reach into the configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Why a path cannot be expanded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    #[error("a path cannot be empty")]
    Empty,
    #[error("HOME is not set to an absolute path")]
    Home,
    #[error("the home of another user is not looked up")]
    OtherHome,
    #[error("a `$` here begins `${{NAME}}`")]
    Dollar,
    #[error("the environment variable {0} is not set, or empty")]
    Unset(String),
}

impl Fault {
    pub fn help(&self) -> String {
        match self {
            Fault::Empty => "write a path, or remove the key".to_owned(),
            Fault::Home => "set HOME, or write the path without `~`".to_owned(),
            Fault::OtherHome => "write the path without `~`, or as `~/...` for your own home".to_owned(),
            Fault::Dollar => "write `${NAME}`; a path with a `$` of its own cannot be used".to_owned(),
            Fault::Unset(name) => format!("export {name} before countersign starts, or write the path itself"),
        }
    }
}

/// The path with `~` at its beginning and every `${NAME}` replaced.
pub fn expand(text: &str, variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, Fault> {
    if text.is_empty() {
        return Err(Fault::Empty);
    }
    let mut out = OsString::new();
    let mut rest = text;
    if let Some(after) = text.strip_prefix('~') {
        if !after.is_empty() && !after.starts_with('/') {
            return Err(Fault::OtherHome);
        }
        out.push(variable("HOME").filter(|home| Path::new(home).is_absolute()).ok_or(Fault::Home)?);
        rest = after;
    }
    while let Some((before, after)) = rest.split_once('$') {
        let (name, after) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')).ok_or(Fault::Dollar)?;
        if !is_variable(name) {
            return Err(Fault::Dollar);
        }
        let value = variable(name).filter(|value| !value.is_empty());
        out.push(before);
        out.push(value.ok_or_else(|| Fault::Unset(name.to_owned()))?);
        rest = after;
    }
    out.push(rest);
    Ok(out.into())
}

/// Whether this can be the name of an environment variable.
pub fn is_variable(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.len() <= 256 && name.bytes().all(valid) && !name.starts_with(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<PathBuf, Fault> {
        expand(text, &|name| match name {
            "HOME" => Some("/home/op".into()),
            "RUN" => Some("/run/user/1000".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        })
    }

    #[test]
    fn homes_and_variables_are_replaced() {
        for (text, expected) in [
            ("~", "/home/op"),
            ("~/a/~b", "/home/op/a/~b"),
            ("${RUN}/countersign", "/run/user/1000/countersign"),
            ("a/${RUN}${RUN}", "a//run/user/1000/run/user/1000"),
            ("plain", "plain"),
        ] {
            assert_eq!(with(text), Ok(expected.into()), "{text}");
        }
    }

    #[test]
    fn everything_else_with_a_sign_is_refused() {
        for (text, fault) in [
            ("", Fault::Empty),
            ("~root/x", Fault::OtherHome),
            ("$HOME/x", Fault::Dollar),
            ("${HOME", Fault::Dollar),
            ("${}", Fault::Dollar),
            ("${HOME:-/x}", Fault::Dollar),
            ("a$", Fault::Dollar),
            ("${NOPE}/x", Fault::Unset("NOPE".to_owned())),
            ("${EMPTY}/x", Fault::Unset("EMPTY".to_owned())),
        ] {
            assert_eq!(with(text), Err(fault), "{text}");
        }
        assert_eq!(expand("~/x", &|_| None), Err(Fault::Home));
        assert_eq!(expand("~/x", &|_| Some("relative".into())), Err(Fault::Home));
    }
}
