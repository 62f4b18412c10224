//! The calls of a session by the minute: as bars for a glance, as numbers for whoever reads.

use jiff::Timestamp;

use crate::control::wire::SessionView;

/// Minutes that are told.
pub const MINUTES: usize = 10;

/// Calls of each of the last minutes, the oldest first; nothing for a minute of which the daemon keeps no more.
pub fn minutes(session: &SessionView, now: Timestamp) -> [Option<usize>; MINUTES] {
    let ago = |at: &str| {
        let seconds = now.duration_since(at.parse::<Timestamp>().ok()?).as_secs();
        usize::try_from(seconds.max(0) / 60).ok()
    };
    let calls: Vec<_> = session.last.iter().filter_map(|call| ago(&call.at)).collect();
    // Of a busy session only the last calls are known: before the first of them nothing is.
    let whole = usize::try_from(session.calls).is_ok_and(|all| all <= session.last.len());
    let known = if whole { MINUTES } else { calls.iter().max().copied().unwrap_or(0) };
    std::array::from_fn(|n| {
        let minute = MINUTES - 1 - n;
        (whole || minute < known).then(|| calls.iter().filter(|ago| **ago == minute).count())
    })
}

/// One sign a minute: its share of the fullest, `.` for none, `?` for what is not known.
pub fn bars(minutes: &[Option<usize>], ascii: bool) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = minutes.iter().flatten().max().copied().unwrap_or(0).max(1);
    let bar = |minute: &Option<usize>| match *minute {
        None => '?',
        Some(0) => '.',
        Some(count) if ascii => char::from_digit(u32::try_from(count.min(9)).unwrap_or(9), 10).unwrap_or('9'),
        Some(count) => BARS.get((count * BARS.len()).div_ceil(most) - 1).copied().unwrap_or('█'),
    };
    minutes.iter().map(bar).collect()
}

/// The same in numbers.
pub fn words(minutes: &[Option<usize>]) -> String {
    let number = |minute: &Option<usize>| minute.map_or_else(|| "?".to_owned(), |count| count.to_string());
    let numbers: Vec<_> = minutes.iter().map(number).collect();
    format!("{} calls a minute, the last one now", numbers.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_shares_of_the_fullest_minute() {
        let minutes = [None, Some(0), Some(1), Some(4), Some(8), Some(16)];
        assert_eq!(bars(&minutes, false), "?.▁▂▄█");
        assert_eq!(bars(&minutes, true), "?.1489");
        assert_eq!(bars(&[Some(0); 3], false), "...");
        assert_eq!(words(&minutes), "? 0 1 4 8 16 calls a minute, the last one now");
    }
}
