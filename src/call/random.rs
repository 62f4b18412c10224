//! Random bytes for names, fetched for many names at once: a call would else ask the kernel for a few. They are no
//! secrets, and each thread has its own; only a machine that is resumed twice from one image gives out the same ones.

use std::cell::RefCell;

/// Of one name.
const EACH: usize = 12;
/// Fetched at once.
const STOCK: usize = 32 * EACH;

thread_local! {
    /// What is fetched and not given out yet. Each byte is given out once.
    static LEFT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that were given to nobody else.
pub(super) fn bytes() -> Result<[u8; EACH], getrandom::Error> {
    LEFT.with_borrow_mut(|left| {
        loop {
            if let Some(taken) = left.last_chunk::<EACH>().copied() {
                left.truncate(left.len().saturating_sub(EACH));
                return Ok(taken);
            }
            let mut stock = vec![0; STOCK];
            getrandom::fill(&mut stock)?;
            *left = stock;
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn nothing_is_given_out_twice() {
        let names: HashSet<_> = (0..10 * STOCK / EACH).map(|_| bytes().unwrap()).collect();
        assert_eq!(names.len(), 10 * STOCK / EACH);
        assert!(names.iter().all(|name| name.iter().any(|byte| *byte != 0)));
    }
}
