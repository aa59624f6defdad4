use std::fs;
use std::path::Path;

use redb::Database;
use serde::Deserialize;

use super::*;
use crate::engine::testing::config;

fn desired() -> Desired {
    Desired::reconcile(None, &config(2))
}

/// What a manager that starts in `directory` knows.
fn loaded(directory: &Path) -> Option<Desired> {
    Store::open(directory).expect("a store").load().expect("readable")
}

fn names(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).expect("readable");
    let mut names: Vec<String> =
        files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_is_saved_is_loaded() {
    let directory = tempfile::tempdir().expect("a directory");
    let below = directory.path().join("made/when/missing");
    assert_eq!(loaded(&below), None);
    Store::open(&below).expect("a store").save(&desired()).expect("writable");
    assert_eq!(loaded(&below), Some(desired()));
    assert_eq!(names(&below), ["store.redb"]);
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(below.join("store.redb")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_a_manager_before_this_one_kept_is_taken_over_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("desired.json");
    fs::write(&json, serde_json::to_vec_pretty(&desired()).expect("JSON")).expect("writable");
    assert_eq!(loaded(directory.path()), Some(desired()));
    assert_eq!(names(directory.path()), ["desired.json.imported", "store.redb"]);

    // Back to the one before for a while, and forward again: the later life counts.
    let mut later = Desired::reconcile(Some(desired()), &config(3));
    fs::write(&json, serde_json::to_vec(&later).expect("JSON")).expect("writable");
    assert_eq!(loaded(directory.path()), Some(later.clone()));
    // An older one that somebody found and put back does not.
    fs::write(&json, serde_json::to_vec(&desired()).expect("JSON")).expect("writable");
    assert_eq!(loaded(directory.path()), Some(later.clone()));
    later.epoch += 1;
    fs::write(&json, "{ half").expect("writable");
    later.epoch -= 1;
    assert_eq!(loaded(directory.path()), Some(later));
    assert_eq!(names(directory.path()), ["desired.json.broken", "desired.json.imported", "store.redb"]);
}

#[test]
fn a_desired_state_with_fields_of_the_next_version_is_understood() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut next = serde_json::to_value(desired()).expect("JSON");
    next["zones"] = serde_json::json!({ "rack": 7 });
    fs::write(directory.path().join("desired.json"), next.to_string()).expect("writable");
    assert_eq!(loaded(directory.path()), Some(desired()));
}

#[test]
fn a_file_that_is_damaged_is_kept_aside_wherever_the_damage_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    Store::open(directory.path()).expect("a store").save(&desired()).expect("writable");
    let whole = fs::read(&path).expect("readable");
    let mut aside = 0;
    let mut check = |bytes: &[u8]| {
        fs::write(&path, bytes).expect("writable");
        let _ = fs::remove_file(path.with_extension("redb.broken"));
        // Whatever is in the file, the manager starts, and either has what was saved or says that it was lost.
        let found = loaded(directory.path());
        let was_kept = path.with_extension("redb.broken").exists();
        assert_eq!(found, (!was_kept).then(desired), "lost without a word");
        aside += u32::from(was_kept);
        // And goes on with it.
        Store::open(directory.path()).expect("a store").save(&desired()).expect("writable");
        assert_eq!(loaded(directory.path()), Some(desired()));
    };
    check(b"");
    check(b"{ no database");
    check(&whole[..whole.len() / 2]);
    check(&whole[..100]);
    check(&vec![0; whole.len()]);
    for part in 0..16 {
        let mut bytes = whole.clone();
        let at = part * bytes.len() / 16;
        let end = at + bytes.len() / 16;
        bytes[at..end].iter_mut().for_each(|byte| *byte = !*byte);
        check(&bytes);
    }
    assert!(aside >= 7, "some of it is in use: {aside}");
}

#[test]
fn what_was_kept_aside_is_not_replaced_by_what_is_damaged_next() {
    let directory = tempfile::tempdir().expect("a directory");
    for damage in ["first", "second", "third", "4", "5", "6", "7"] {
        fs::write(directory.path().join("store.redb"), damage).expect("writable");
        assert_eq!(loaded(directory.path()), None);
    }
    let kept = |name: &str| fs::read_to_string(directory.path().join(name)).expect(name);
    assert_eq!(kept("store.redb.broken"), "first");
    assert_eq!(kept("store.redb.broken.2"), "second");
    assert_eq!(kept("store.redb.broken.5"), "7", "so many and no more");
    let all = names(directory.path());
    assert_eq!(all.iter().filter(|name| name.contains("broken")).count(), 5, "{all:?}");
}

#[test]
fn a_store_that_says_it_needs_a_later_manager_is_kept_aside_and_others_are_read() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("store.redb");
    Store::open(directory.path()).expect("a store").save(&desired()).expect("writable");
    let set = |schema, readable_from| {
        file::set_versions(&Database::open(&path).expect("a database"), schema, readable_from);
    };
    set(2, 1);
    assert_eq!(loaded(directory.path()), Some(desired()), "the next version that only added something");
    set(7, 7);
    assert_eq!(loaded(directory.path()), None);
    assert!(path.with_extension("redb.broken").exists());
}

#[test]
fn two_managers_do_not_share_a_store() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    store.save(&desired()).expect("writable");
    let error = Store::open(directory.path()).err().expect("refused");
    assert!(error.to_string().contains("another manager"), "{error}");
    assert_eq!(names(directory.path()), ["store.redb"], "and it is not taken for damaged");
}

#[test]
fn of_several_who_take_the_same_value_one_gets_it() {
    const ONCE: Table<u64> = Table::new("once");
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    assert_eq!(store.take(&ONCE, "join").expect("readable"), None);
    store.put(&ONCE, "join", &7).expect("writable");
    let taken: Vec<Option<u64>> = std::thread::scope(|scope| {
        let takers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| store.take(&ONCE, "join").expect("readable"))).collect();
        takers.into_iter().map(|taker| taker.join().expect("it ended")).collect()
    });
    assert_eq!(taken.iter().flatten().collect::<Vec<_>>(), [&7]);
    assert_eq!(store.get(&ONCE, "join").expect("readable"), None);
    assert!(!store.remove(&ONCE, "join").expect("writable"));
}

#[test]
fn a_value_that_cannot_be_understood_spoils_no_other() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        number: u64,
    }
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).expect("a store");
    let rows: Table<Row> = Table::new("rows");
    store.put(&rows, "good", &Row { number: 1 }).expect("writable");
    store.put(&Table::<String>::new("rows"), "odd", &"text".to_owned()).expect("writable");
    let all = store.all(&rows).expect("readable");
    assert_eq!(all, [("good".to_owned(), Row { number: 1 })].into());
    assert!(matches!(store.get(&rows, "odd"), Err(StoreError::Damaged(_))));
    assert!(store.take(&rows, "odd").is_err());
    assert!(store.remove(&rows, "odd").expect("writable"), "still there after it could not be taken");
}
