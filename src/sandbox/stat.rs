//! What the system says about a process.

/// From `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct Stat {
    pub parent: i32,
    pub group: i32,
    pub session: i32,
    /// Ticks since the system's start: with its number it tells one process from all others.
    pub began: u64,
}

impl Stat {
    /// Nothing where there is no such process, or where `/proc` hides it.
    pub fn of(pid: i32) -> Option<Stat> {
        let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything; the fields begin after the last one.
        let end = text.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(text.get(end + 1..)?).ok()?.split_whitespace();
        // The state comes first.
        fields.next()?;
        let mut number = || fields.next()?.parse().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        let began = fields.nth(15)?.parse().ok()?;
        Some(Stat { parent, group, session, began })
    }
}
