//! Facts about processes, from `/proc`.

use std::collections::BTreeMap;

/// The command line of every process below `root`, itself included.
pub fn command_lines(root: u32) -> Vec<String> {
    let mut parents = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name in parentheses may hold anything; the fields begin after the last one.
        let Some((_, fields)) = stat.rsplit_once(')') else { continue };
        let parent = fields.split_whitespace().nth(1).and_then(|field| field.parse::<u32>().ok());
        parents.insert(pid, parent.unwrap_or(0));
    }
    let below = |mut pid: u32| {
        while pid != root {
            match parents.get(&pid) {
                Some(parent) if *parent != pid => pid = *parent,
                _ => return false,
            }
        }
        true
    };
    let of = |pid: &u32| std::fs::read(format!("/proc/{pid}/cmdline")).ok();
    parents.keys().filter(|pid| below(**pid)).filter_map(of).map(|text| String::from_utf8_lossy(&text).into()).collect()
}

/// How much memory a process has come to use since a moment.
pub struct Growth {
    pid: u32,
    before: u64,
}

impl Growth {
    pub fn since_now(pid: u32) -> Growth {
        Growth { pid, before: memory(pid, "VmRSS:") }
    }

    /// From what was resident then to the peak so far, in bytes. A peak from before that moment counts as well, so the
    /// figure errs upwards only; the kernel's own two figures may differ by a few pages, so it is never below nothing.
    pub fn bytes(&self) -> u64 {
        memory(self.pid, "VmHWM:").saturating_sub(self.before)
    }
}

fn memory(pid: u32, figure: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(figure)).expect("a process with memory");
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Whether a process still runs (a zombie does not).
pub fn is_running(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(')').map(|(_, fields)| !fields.trim_start().starts_with(['Z', 'X'])))
        .unwrap_or(false)
}
