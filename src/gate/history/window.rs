//! How much was let through in the last minute, hour and day: counted in slices of time, so that it stays small however
//! many calls there are. Pure.
//!
//! Invariant: nothing stops counting before its time is over. A slice counts as long as any moment of it does, so that
//! a call counts up to a second, a minute and half an hour longer.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use super::spend::{Amount, Spend};

/// Name, length, and length of a slice, in milliseconds.
const SPANS: [(&str, u64, u64); 3] =
    [("minute", 60_000, 1_000), ("hour", 3_600_000, 60_000), ("day", 86_400_000, 1_800_000)];
/// After so many milliseconds nothing counts any more.
pub const LONGEST: u64 = 86_400_000 + 1_800_000;
/// No more than these can count at one moment.
const SLICES: usize = 62;
/// Currencies of one span. What has more of them has an amount that is not known.
const CURRENCIES: usize = 16;

#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Tally {
    count: u64,
    unknown: u64,
    sums: BTreeMap<String, Amount>,
}

impl Tally {
    fn add(&mut self, spend: &Spend) {
        self.count += 1;
        let known = spend.money.as_ref().and_then(|(currency, amount)| {
            let before = self.sums.get(currency).copied();
            let room = before.is_some() || self.sums.len() < CURRENCIES;
            let sum = before.unwrap_or_default().plus(*amount).filter(|_| room)?;
            self.sums.insert(currency.clone(), sum);
            Some(())
        });
        self.unknown += u64::from(known.is_none());
    }

    fn merge(&mut self, other: Tally) {
        self.count += other.count;
        self.unknown += other.unknown;
        for (currency, amount) in other.sums {
            let before = self.sums.get(&currency).copied();
            let room = before.is_some() || self.sums.len() < CURRENCIES;
            match before.unwrap_or_default().plus(amount).filter(|_| room) {
                Some(sum) => {
                    self.sums.insert(currency, sum);
                }
                None => self.unknown += 1,
            }
        }
    }

    /// Undoes [`Tally::add`]. What was added as not known, for want of room, is taken back as that.
    fn take(&mut self, spend: &Spend) {
        self.count = self.count.saturating_sub(1);
        let left = spend.money.as_ref().and_then(|(currency, amount)| {
            let left = self.sums.get(currency)?.minus(*amount)?;
            Some((currency, left))
        });
        match left {
            Some((currency, left)) if left == Amount::default() => {
                self.sums.remove(currency);
            }
            Some((currency, left)) => {
                self.sums.insert(currency.clone(), left);
            }
            None => self.unknown = self.unknown.saturating_sub(1),
        }
    }
}

/// One span.
#[derive(Default, Debug)]
struct Window {
    /// By the number of the slice, ascending; none is empty.
    slices: VecDeque<(u64, Tally)>,
}

impl Window {
    fn slice(&mut self, number: u64) -> Option<&mut Tally> {
        let at = self.slices.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        self.slices.get_mut(at).map(|(_, tally)| tally)
    }

    fn add(&mut self, number: u64, spend: &Spend) {
        if let Err(at) = self.slices.binary_search_by_key(&number, |(number, _)| *number) {
            self.slices.insert(at, (number, Tally::default()));
        }
        if let Some(tally) = self.slice(number) {
            tally.add(spend);
        }
    }

    fn take(&mut self, number: u64, spend: &Spend) {
        // One that no longer counts has nothing to give back.
        if let Some(tally) = self.slice(number) {
            tally.take(spend);
        }
        self.slices.retain(|(_, tally)| tally.count > 0);
    }

    fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.slices.iter().for_each(|(_, tally)| total.merge(tally.clone()));
        total
    }
}

/// What one operation, or one class of operations, was let through.
#[derive(Default, Debug)]
pub struct Series([Window; 3]);

impl Series {
    /// At a moment of a clock in milliseconds that never goes back.
    pub fn add(&mut self, at: u64, spend: &Spend) {
        for (window, (_, length, slice)) in self.0.iter_mut().zip(SPANS) {
            window.add(at / slice, spend);
            if window.slices.len() > SLICES {
                window.slices.retain(|(number, _)| ends(*number, length, slice) > at);
            }
        }
    }

    /// Adds all that another one has.
    pub fn merge(&mut self, other: Series) {
        for (window, more) in self.0.iter_mut().zip(other.0) {
            for (number, tally) in more.slices {
                match window.slice(number) {
                    Some(own) => own.merge(tally),
                    None => {
                        let at = window.slices.partition_point(|(other, _)| *other < number);
                        window.slices.insert(at, (number, tally));
                    }
                }
            }
        }
    }

    /// Takes back what was added at this moment.
    pub fn take(&mut self, at: u64, spend: &Spend) {
        for (window, (_, _, slice)) in self.0.iter_mut().zip(SPANS) {
            window.take(at / slice, spend);
        }
    }

    /// Forgets what no longer counts. True where nothing is left.
    pub fn expire(&mut self, now: u64) -> bool {
        for (window, (_, length, slice)) in self.0.iter_mut().zip(SPANS) {
            window.slices.retain(|(number, _)| ends(*number, length, slice) > now);
        }
        self.0.iter().all(|window| window.slices.is_empty())
    }

    /// As rules see it; `wall` turns a moment into text. Call [`Series::expire`] first.
    pub fn write(&self, out: &mut String, wall: impl Fn(u64) -> String) {
        for (n, (window, (name, length, slice))) in self.0.iter().zip(SPANS).enumerate() {
            let Tally { count, unknown, sums } = window.total();
            // Writing to a string cannot fail.
            let _ = write!(
                out,
                "{}\"{name}\":{{\"count\":{count},\"unknown\":{unknown},\"sum\":",
                if n == 0 { "{" } else { "," }
            );
            sum(out, sums.iter());
            if let Some((oldest, _)) = window.slices.front() {
                let _ = write!(out, ",\"free\":\"{}\"", wall(ends(*oldest, length, slice)));
            }
            out.push('}');
        }
        out.push('}');
    }
}

/// When a slice no longer counts.
fn ends(number: u64, length: u64, slice: u64) -> u64 {
    (number + 1) * slice + length
}

/// `{"eur":10.5}`; the names need no escape.
pub fn sum<'a>(out: &mut String, sums: impl Iterator<Item = (&'a String, &'a Amount)>) {
    out.push('{');
    for (n, (currency, amount)) in sums.enumerate() {
        let _ = write!(out, "{}\"{currency}\":{amount}", if n == 0 { "" } else { "," });
    }
    out.push('}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(series: &mut Series, now: u64) -> [u64; 3] {
        series.expire(now);
        let [minute, hour, day] = &series.0;
        [minute, hour, day].map(|window| window.total().count)
    }

    fn spend(text: &str) -> Spend {
        Spend { money: Some(("eur".to_owned(), Amount::read(text).unwrap())) }
    }

    fn shown(series: &Series) -> serde_json::Value {
        let mut out = String::new();
        series.write(&mut out, |at| at.to_string());
        serde_json::from_str(&out).unwrap()
    }

    #[test]
    fn a_call_counts_until_its_time_is_over_and_no_slice_longer() {
        const START: u64 = 1_000_000_000 * 1800;
        for offset in [0, 1, 999, 1000, 59_999, 1_799_999] {
            let at = START + offset;
            let mut series = Series::default();
            series.add(at, &spend("1"));
            assert_eq!(counts(&mut series, at), [1, 1, 1]);
            assert_eq!(counts(&mut series, at + 59_999), [1, 1, 1], "{offset}");
            assert_eq!(counts(&mut series, at + 61_000), [0, 1, 1], "{offset}");
            assert_eq!(counts(&mut series, at + 3_599_999), [0, 1, 1], "{offset}");
            assert_eq!(counts(&mut series, at + 3_660_000), [0, 0, 1], "{offset}");
            assert_eq!(counts(&mut series, at + 86_399_999), [0, 0, 1], "{offset}");
            assert_eq!(counts(&mut series, at + LONGEST), [0, 0, 0], "{offset}");
        }
    }

    #[test]
    fn what_is_given_back_is_as_if_it_had_never_been() {
        let mut series = Series::default();
        series.add(5_000, &spend("10.50"));
        series.add(5_500, &spend("1e3"));
        series.add(90_000, &Spend { money: None });
        series.take(5_500, &spend("1e3"));
        let hour = &shown(&series)["hour"];
        assert_eq!((&hour["count"], &hour["unknown"], &hour["sum"]["eur"]), (&2.into(), &1.into(), &10.5.into()));
        series.take(5_000, &spend("10.50"));
        series.take(90_000, &Spend { money: None });
        assert_eq!(shown(&series)["day"], serde_json::json!({"count": 0, "unknown": 0, "sum": {}}));
        assert!(series.expire(90_000));
        // Too late, or twice: nothing happens.
        series.take(5_000, &spend("10.50"));
        assert!(series.expire(90_000));
    }

    #[test]
    fn it_says_when_the_oldest_is_free_again() {
        let mut series = Series::default();
        series.add(1_500, &spend("1"));
        series.add(200_000, &spend("1"));
        assert_eq!(shown(&series)["minute"]["free"], "62000");
        assert_eq!(shown(&series)["hour"]["free"], "3660000");
        series.expire(62_000);
        assert_eq!(shown(&series)["minute"]["free"], "261000");
    }

    #[test]
    fn the_past_may_be_added_in_any_order() {
        let (mut ascending, mut mixed) = (Series::default(), Series::default());
        let moments = [100_000, 3_000_000, 3_000_500, 9_000_000, 50_000_000];
        moments.iter().for_each(|at| ascending.add(*at, &spend("2")));
        [3, 0, 4, 2, 1].iter().for_each(|n: &usize| mixed.add(moments[*n], &spend("2")));
        ascending.expire(50_000_000);
        mixed.expire(50_000_000);
        assert_eq!(shown(&ascending), shown(&mixed));
    }

    #[test]
    fn it_stays_small_and_what_finds_no_room_is_not_known() {
        let mut series = Series::default();
        for n in 0..200_000_u64 {
            series.add(n * 1000, &spend("1"));
        }
        assert!(
            series.0.iter().all(|window| window.slices.len() <= 62),
            "{:?}",
            series.0.each_ref().map(|w| w.slices.len())
        );
        let mut series = Series::default();
        for n in 0..40_u8 {
            let money = Some((
                format!("x{}{}", char::from(b'a' + n / 26), char::from(b'a' + n % 26)),
                Amount::read("1").unwrap(),
            ));
            series.add(0, &Spend { money });
        }
        let day = &shown(&series)["day"];
        assert_eq!((day["count"].as_u64(), day["unknown"].as_u64()), (Some(40), Some(24)));
        assert_eq!(day["sum"].as_object().unwrap().len(), CURRENCIES);
    }
}
