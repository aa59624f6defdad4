//! Maintenance as it is stored: it outlives the manager, by the clock on the wall.

use serde::{Deserialize, Serialize};
use wire::access::MaintenanceView;

use crate::engine::{Maintenance, Time};
use crate::store::{Store, StoreError, Table};

/// The one row.
const MAINTENANCE: Table<Maintained> = Table::new("maintenance");
const HOST: &str = "host";

/// That the manager only watches. Times in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintained {
    /// Since when.
    pub since_unix_ms: u64,
    /// Until when; none means until somebody ends it.
    pub until_unix_ms: Option<u64>,
    /// Who began it.
    pub by: String,
}

impl Maintained {
    /// The same for the engine, whose clock shows `now` at `unix_ms`; none when its time is over.
    pub fn for_engine(&self, now: Time, unix_ms: u64) -> Option<Maintenance> {
        let left = match self.until_unix_ms {
            None => None,
            Some(until) => Some(until.checked_sub(unix_ms).filter(|left| *left > 0)?),
        };
        let end = self.until_unix_ms.map_or_else(String::new, |until| format!(" until {}", date(until)));
        Some(Maintenance {
            until: left.map(|left| now + Time::from_millis(left)),
            note: format!("maintenance is on since {}{end}, by {}", date(self.since_unix_ms), self.by),
        })
    }

    /// The same for people, at `unix_ms`.
    pub fn view(self, unix_ms: u64) -> MaintenanceView {
        if self.until_unix_ms.is_some_and(|until| until <= unix_ms) {
            return MaintenanceView::default();
        }
        MaintenanceView {
            on: true,
            since_unix_ms: Some(self.since_unix_ms),
            until_unix_ms: self.until_unix_ms,
            by: Some(self.by),
        }
    }
}

fn date(unix_ms: u64) -> String {
    let time = std::time::UNIX_EPOCH + Time::from_secs(unix_ms / 1000);
    humantime::format_rfc3339_seconds(time).to_string()
}

/// What was stored; nothing where the store cannot be read, which was said when it was opened.
pub fn stored(store: &Store) -> Option<Maintained> {
    store.get(&MAINTENANCE, HOST).unwrap_or_else(|error| {
        tracing::error!("whether maintenance is on cannot be read: {error}");
        None
    })
}

/// Stores that maintenance is on, or that it is not. Blocks while the disk does.
///
/// # Errors
///
/// When it cannot be written; then it is as it was.
pub fn store(store: &Store, maintained: Option<&Maintained>) -> Result<(), StoreError> {
    match maintained {
        Some(maintained) => store.put(&MAINTENANCE, HOST, maintained),
        None => store.remove(&MAINTENANCE, HOST).map(|_| ()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_by_the_clock_on_the_wall() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = Store::open(directory.path()).expect("a store");
        assert_eq!(stored(&kept), None);
        let hour = Maintained { since_unix_ms: 0, until_unix_ms: Some(3_600_000), by: "uid 0".to_owned() };
        store(&kept, Some(&hour)).expect("stored");
        let read = stored(&kept).expect("stored");
        let now = Time::from_secs(7);
        let engine = read.for_engine(now, 3_000_000).expect("not over yet");
        assert_eq!(engine.until, Some(now + Time::from_secs(600)));
        assert_eq!(
            engine.note,
            "maintenance is on since 1970-01-01T00:00:00Z until 1970-01-01T01:00:00Z, by uid 0"
        );
        assert_eq!(read.for_engine(now, 3_600_000), None);
        assert!(read.clone().view(3_599_999).on && !read.view(3_600_000).on);
        let endless = Maintained { until_unix_ms: None, ..hour };
        assert_eq!(endless.for_engine(now, u64::MAX).expect("on").until, None);
        store(&kept, None).expect("stored");
        store(&kept, None).expect("again is no error");
        assert_eq!(stored(&kept), None);
    }
}
