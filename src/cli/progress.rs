//! A line on stderr that says how far a long command has come. Nothing where stderr is no terminal.
#![allow(clippy::print_stderr)]

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

pub struct Progress {
    what: &'static str,
    total: u64,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    pub fn new(what: &'static str, total: u64) -> Progress {
        Progress { what, total, shown: None, terminal: std::io::stderr().is_terminal() }
    }

    pub fn at(&mut self, done: u64) {
        if !self.terminal || self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        eprint!("\r{}", bar(self.what, done, self.total));
        // What cannot be shown need not be.
        let _ = std::io::stderr().flush();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }
}

fn bar(what: &str, done: u64, total: u64) -> String {
    let done = done.min(total);
    let full = (done * WIDTH).checked_div(total).unwrap_or(WIDTH);
    let (full, left) = ("#".repeat(usize::try_from(full).unwrap_or(0)), WIDTH - full);
    format!("[{full}{}] {done} of {total} {what}", " ".repeat(usize::try_from(left).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!(bar("records", 0, 10), format!("[{}] 0 of 10 records", " ".repeat(30)));
        assert_eq!(bar("records", 5, 10), format!("[{}{}] 5 of 10 records", "#".repeat(15), " ".repeat(15)));
        assert_eq!(bar("records", 12, 10), format!("[{}] 10 of 10 records", "#".repeat(30)));
        assert_eq!(bar("records", 0, 0), format!("[{}] 0 of 0 records", "#".repeat(30)));
    }
}
