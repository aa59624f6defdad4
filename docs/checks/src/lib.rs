//! What tests of the documentation share: its pages with what stands in them, and the reference of settings that is made
//! of the types which read them.
//!
//! It knows nothing of the programs. Each of them has a test that hands its own types' schema to [`reference::made`],
//! and one that reads every [example](pages::Page::examples) of its own files.

#![allow(clippy::expect_used, clippy::missing_panics_doc)] // for tests alone, which fail by that

mod kind;
pub mod pages;
pub mod reference;
pub mod section;
