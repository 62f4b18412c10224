//! What the system can keep a child from, as a value: start-up and `doctor` say it, and `strict` goes by it.

use std::fmt;

use super::{Network, SandboxError, Wishes};

/// What is kept from a child, by its own mechanism of the kernel each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rule {
    /// Opening files.
    Files,
    /// Emptying files that it may not write.
    Truncation,
    /// TCP ports.
    Ports,
    /// Commands to devices.
    Devices,
    /// Signals, and abstract sockets of others.
    Signals,
    /// Sockets of others by path, where they are not allowed; kinds of sockets that no port rule knows.
    Sockets,
}

const RULES: [Rule; 6] = [Rule::Files, Rule::Truncation, Rule::Ports, Rule::Devices, Rule::Signals, Rule::Sockets];

impl Rule {
    /// The first version of Landlock's interface that has it, and the first Linux that has that.
    fn landlock(self) -> Option<(u8, &'static str)> {
        match self {
            Rule::Files => Some((1, "5.13")),
            Rule::Truncation => Some((3, "6.2")),
            Rule::Ports => Some((4, "6.7")),
            Rule::Devices => Some((5, "6.10")),
            Rule::Signals => Some((6, "6.12")),
            Rule::Sockets => None,
        }
    }

    fn needed(self, wishes: &Wishes) -> bool {
        match self {
            Rule::Files | Rule::Truncation | Rule::Devices | Rule::Signals => true,
            Rule::Ports => wishes.network != Network::Any,
            Rule::Sockets => !wishes.unix_sockets || wishes.network != Network::Any,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Rule::Files => "which files it opens",
            Rule::Truncation => "which files it empties",
            Rule::Ports => "which ports it connects to",
            Rule::Devices => "commands to devices",
            Rule::Signals => "signals and abstract sockets",
            Rule::Sockets => "unix sockets",
        };
        match self.landlock() {
            Some((_, linux)) => write!(f, "{what} (needs Linux {linux} with Landlock)"),
            None => write!(f, "{what} (needs seccomp filters)"),
        }
    }
}

/// What this system has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Support {
    /// The version of Landlock's interface, as far as we use it; 0 where there is none.
    pub landlock: u8,
    /// Filters of system calls.
    pub filter: bool,
}

impl Support {
    /// No rule at all can be kept.
    pub fn is_nothing(self) -> bool {
        self.landlock == 0 && !self.filter
    }

    /// Why a child would not be in a sandbox that deserves the name. Where some rules can be kept the missing ones are
    /// said, and refused where the sandbox is strict; where none can, only `sandbox: off` says the truth.
    pub(super) fn refuses(self, wishes: &Wishes) -> Option<SandboxError> {
        if self.is_nothing() {
            return Some(SandboxError::Nothing);
        }
        let missing = self.missing(wishes);
        (wishes.strict && !missing.is_empty()).then(|| SandboxError::Missing(list(&missing)))
    }

    fn has(self, rule: Rule) -> bool {
        match rule.landlock() {
            Some((abi, _)) => self.landlock >= abi,
            None => self.filter,
        }
    }

    /// Rules that a sandbox needs and that cannot be kept here.
    pub fn missing(self, wishes: &Wishes) -> Vec<Rule> {
        RULES.into_iter().filter(|rule| rule.needed(wishes) && !self.has(*rule)).collect()
    }

    /// Rules that no sandbox can have here.
    pub fn lacks(self) -> Vec<Rule> {
        RULES.into_iter().filter(|rule| !self.has(*rule)).collect()
    }
}

impl fmt::Display for Support {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if cfg!(not(target_os = "linux")) {
            return f.write_str("not available: they need Linux");
        }
        match self.landlock {
            0 => f.write_str("no Landlock (not built into this kernel, or not turned on: lsm=...,landlock)")?,
            abi => write!(f, "Landlock (rights of ABI {abi})")?,
        }
        f.write_str(if self.filter { ", filters of system calls" } else { ", no filters of system calls" })?;
        let lacks = self.lacks();
        if lacks.is_empty() { Ok(()) } else { write!(f, "; cannot limit {}", list(&lacks)) }
    }
}

fn list(rules: &[Rule]) -> String {
    rules.iter().map(Rule::to_string).collect::<Vec<_>>().join(", ")
}

/// Asks the kernel, and changes nothing.
pub fn support() -> Support {
    #[cfg(target_os = "linux")]
    {
        let filter =
            super::filter::ARCH.is_ok() && std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists();
        Support { landlock: super::landlocked::version(), filter }
    }
    #[cfg(not(target_os = "linux"))]
    Support { landlock: 0, filter: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_depends_on_what_is_wished_for() {
        let all = Support { landlock: 9, filter: true };
        let ports = Wishes { network: Network::Ports([443].into()), ..Wishes::default() };
        assert_eq!((all.missing(&Wishes::default()), all.missing(&ports)), (vec![], vec![]));
        let old = Support { landlock: 3, filter: true };
        assert_eq!(old.missing(&Wishes::default()), [Rule::Devices, Rule::Signals]);
        assert_eq!(old.missing(&ports), [Rule::Ports, Rule::Devices, Rule::Signals]);
        let none = Support { landlock: 0, filter: false };
        let sockets = Wishes { unix_sockets: true, ..Wishes::default() };
        assert!(none.missing(&Wishes::default()).contains(&Rule::Sockets));
        assert!(!none.missing(&sockets).contains(&Rule::Sockets) && none.missing(&sockets).contains(&Rule::Files));
    }

    #[test]
    fn where_there_are_no_sandboxes_none_is_promised() {
        let (none, some) = (Support { landlock: 0, filter: false }, Support { landlock: 0, filter: true });
        let strict = Wishes { strict: true, ..Wishes::default() };
        for wishes in [&Wishes::default(), &strict] {
            let refused = none.refuses(wishes).unwrap().to_string();
            assert!(refused.contains("sandbox: off"), "{refused}");
        }
        assert!(some.refuses(&Wishes::default()).is_none());
        assert!(matches!(some.refuses(&strict), Some(SandboxError::Missing(_))));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn it_says_in_words_what_there_is() {
        assert_eq!(
            Support { landlock: 7, filter: true }.to_string(),
            "Landlock (rights of ABI 7), filters of system calls"
        );
        let old = Support { landlock: 5, filter: false }.to_string();
        assert!(
            old.starts_with("Landlock (rights of ABI 5), no filters")
                && old.contains("signals")
                && old.contains("6.12"),
            "{old}"
        );
        assert!(Support { landlock: 0, filter: true }.to_string().contains("lsm="));
    }
}
