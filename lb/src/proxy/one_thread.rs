//! What one thread alone looks into, without the price of a lock.
//!
//! A client's connection and all that is made for its requests stay on the thread of the worker that accepted it. The
//! runtime still asks that tasks be [`Send`], and Pingora that sessions be [`Sync`]. A mutex would do; but each look into
//! one is two of the processor's locked operations, some 20 ns, and a request looks into its own thirty times.
#![allow(unsafe_code)]

use std::cell::{Cell, RefCell, RefMut};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts threads; none has zero.
static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// This thread's number, once it has one.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// A value that belongs to the thread that made it. Any thread may hold or drop it.
pub(crate) struct OneThread<T> {
    thread: u64,
    value: RefCell<T>,
}

// SAFETY: all that a shared reference leads to is `look`, which touches the cell on the thread that made it alone, and the
// guard that `look` returns, which holds a `RefMut`: that is neither `Send` nor, for the cell that it counts in, any use
// elsewhere. So no two threads touch the cell at a time, as long as no two have the same number: `NEXT` does not come round.
// As with a mutex, another thread may get at the value by owning or by `&mut`, for which `T: Send` is asked.
unsafe impl<T: Send> Sync for OneThread<T> {}

impl<T> OneThread<T> {
    pub(crate) fn new(value: T) -> Self {
        OneThread { thread: here(), value: RefCell::new(value) }
    }

    /// The value.
    ///
    /// # Panics
    ///
    /// On any other thread than the one that made it, and while it is looked into already: where a mutex would wait for ever.
    pub(crate) fn look(&self) -> RefMut<'_, T> {
        assert!(self.thread == here(), "another thread's value was looked into");
        self.value.borrow_mut()
    }

    /// The value, of which nobody else knows.
    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T: Default> Default for OneThread<T> {
    fn default() -> Self {
        OneThread::new(T::default())
    }
}

/// Says nothing of the value: another thread may ask.
impl<T> fmt::Debug for OneThread<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("OneThread").field("thread", &self.thread).finish_non_exhaustive()
    }
}

/// This thread's number.
fn here() -> u64 {
    HERE.with(|here| {
        if here.get() == 0 {
            here.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        here.get()
    })
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn its_thread_alone_looks_into_it_and_any_may_drop_it() {
        let value = Arc::new(OneThread::new(vec![1]));
        value.look().push(2);
        let other = value.clone();
        let looked = thread::spawn(move || other.look().len()).join();
        assert!(looked.is_err(), "another thread was let in");
        assert_eq!(*value.look(), [1, 2]);
        let mut owned = Arc::into_inner(value).expect("the other thread has ended");
        let left = thread::spawn(move || std::mem::take(owned.get_mut())).join().expect("an owner may");
        assert_eq!(left, [1, 2]);
    }

    #[test]
    fn it_is_looked_into_once_at_a_time_and_again_after_a_panic() {
        let value = OneThread::new(1);
        let twice = catch_unwind(AssertUnwindSafe(|| {
            let _first = value.look();
            drop(value.look());
        }));
        assert!(twice.is_err(), "two were let in");
        *value.look() += 1;
        assert_eq!(*value.look(), 2);
    }
}
