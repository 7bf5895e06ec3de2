//! How often to try what may be in vain.

use std::cell::Cell;

/// After each time in vain more are let pass, twice as many every time, until it is worth it again.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// How often in a row it was in vain.
    misses: Cell<u32>,
    /// How many more times not to try.
    skip: Cell<u32>,
}

impl Attempts {
    /// So many doublings in all.
    const MOST: u32 = 6;

    pub(crate) fn is_due(&self) -> bool {
        let skip = self.skip.get();
        self.skip.set(skip.saturating_sub(1));
        skip == 0
    }

    /// How an attempt went.
    pub(crate) fn found(&self, something: bool) {
        if something {
            self.misses.set(0);
        } else {
            let misses = (self.misses.get() + 1).min(Self::MOST);
            self.misses.set(misses);
            self.skip.set(1 << misses);
        }
    }
}
