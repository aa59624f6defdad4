//! Measures from a client's place whether a service was there: sends on schedule whether or not
//! answers come, breaks things on schedule, and says how many requests and how much time were lost.
//!
//! ```text
//!  pace ──slot──▶ send ──outcome──▶ count ──┐
//!   (a thread)     (tasks)          (ledger) ├──▶ report
//!                  faults ─────────record───┘
//! ```
//!
//! The rooms know only what the arrows carry: [`pace`] does not know what a slot is used for, [`send`]
//! does not know when or how often, [`count`] does not know HTTP, [`faults`] does not know the load,
//! and [`report`] only reads what the others left. [`run`] joins them; [`options`] is the command line;
//! [`reread`] has the commands that read reports again.

pub mod count;
pub mod faults;
pub mod options;
pub mod outage;
pub mod pace;
pub mod report;
pub mod reread;
pub mod run;
pub mod send;
