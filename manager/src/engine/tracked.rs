//! A value that knows whether it changed.

use std::ops::{Deref, DerefMut};

/// Counts how often its value may have been changed.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone))]
pub(super) struct Tracked<T> {
    value: T,
    changes: u64,
}

impl<T> Tracked<T> {
    pub(super) fn new(value: T) -> Self {
        Tracked { value, changes: 0 }
    }

    /// As long as this is the same, so is the value.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }
}

impl<T> Deref for Tracked<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Tracked<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.changes += 1;
        &mut self.value
    }
}
