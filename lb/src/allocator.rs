//! Where memory comes from: mimalloc, which is quicker than the C library with the many small things that a request makes
//! and drops on one thread.
#![allow(unsafe_code)]

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Gives back to the system what this thread has freed. It happens by itself while the thread goes on allocating, which one
/// that has only started something does not.
pub(crate) fn give_back() {
    // SAFETY: it takes no pointer and may be called at any time; it looks at the calling thread's own heap, of which
    // it gives back pages that nothing lives in.
    unsafe { libmimalloc_sys::mi_collect(true) };
}
