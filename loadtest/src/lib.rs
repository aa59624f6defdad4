//! Measures from a client's place whether a service was there: sends on schedule whether or not
//! answers come, breaks things on schedule, and says how many requests and how much time were lost.
//!
//! ```text
//!  schedule ─▶ load ──slot──▶ send ──outcome──▶ count ──┐
//!             (workers)      (tasks)           (ledger) ├─▶ verdict ─▶ report
//!                            faults ────────record──────┘
//! ```
//!
//! The rooms know only what the arrows carry: [`schedule`] does not know what a slot is used for, [`send`]
//! does not know when or how often, [`count`] does not know HTTP, [`faults`] does not know the load,
//! and [`report`] only reads what the others left. [`run`] joins them; [`options`] is the command line,
//! [`scenario`] the file, and [`settings`] what both of them mean; [`reread`] has the commands that read reports again.

pub mod check;
pub mod count;
pub mod faults;
pub mod load;
pub mod options;
pub mod origin;
pub mod outage;
pub mod pace;
pub mod report;
pub mod require;
pub mod reread;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod send;
pub mod settings;
pub mod target;
pub mod timer;
pub mod verdict;
