//! A table of values of one type, stored as JSON by name.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use redb::{Database, ReadableTable, TableDefinition, TableError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;
use super::file::broken;

/// A table. Values of other versions are read as far as they are known here: fields that are not are left out,
/// so that a field may be added but must not change its meaning.
pub struct Table<V> {
    name: &'static str,
    values: PhantomData<fn() -> V>,
}

impl<V> Table<V> {
    /// The table `name`; it comes to be with its first value.
    pub const fn new(name: &'static str) -> Self {
        Table { name, values: PhantomData }
    }

    fn definition(&self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name)
    }

    pub(super) fn get(&self, database: &Database, key: &str) -> Result<Option<V>, StoreError>
    where
        V: DeserializeOwned,
    {
        let reading = database.begin_read().map_err(broken)?;
        let table = match reading.open_table(self.definition()) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(broken(error)),
        };
        let found = table.get(key).map_err(broken)?;
        found.map(|value| self.understood(key, value.value())).transpose()
    }

    pub(super) fn all(&self, database: &Database) -> Result<BTreeMap<String, V>, StoreError>
    where
        V: DeserializeOwned,
    {
        let reading = database.begin_read().map_err(broken)?;
        let table = match reading.open_table(self.definition()) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
            Err(error) => return Err(broken(error)),
        };
        let mut values = BTreeMap::new();
        for row in table.iter().map_err(broken)? {
            let (key, value) = row.map_err(broken)?;
            match self.understood(key.value(), value.value()) {
                Ok(value) => _ = values.insert(key.value().to_owned(), value),
                Err(error) => tracing::error!("left out: {error}"),
            }
        }
        Ok(values)
    }

    pub(super) fn put(&self, database: &Database, key: &str, value: &V) -> Result<(), StoreError>
    where
        V: Serialize,
    {
        let bytes = serde_json::to_vec(value).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let writing = database.begin_write().map_err(broken)?;
        writing
            .open_table(self.definition())
            .map_err(broken)?
            .insert(key, bytes.as_slice())
            .map_err(broken)?;
        writing.commit().map_err(broken)
    }

    pub(super) fn take(&self, database: &Database, key: &str) -> Result<Option<V>, StoreError>
    where
        V: DeserializeOwned,
    {
        let writing = database.begin_write().map_err(broken)?;
        let taken = {
            let mut table = writing.open_table(self.definition()).map_err(broken)?;
            let taken = table.remove(key).map_err(broken)?;
            taken.map(|value| self.understood(key, value.value())).transpose()?
        };
        writing.commit().map_err(broken)?;
        Ok(taken)
    }

    pub(super) fn remove(&self, database: &Database, key: &str) -> Result<bool, StoreError> {
        let writing = database.begin_write().map_err(broken)?;
        let removed = {
            let mut table = writing.open_table(self.definition()).map_err(broken)?;
            table.remove(key).map_err(broken)?.is_some()
        };
        writing.commit().map_err(broken)?;
        Ok(removed)
    }

    fn understood(&self, key: &str, bytes: &[u8]) -> Result<V, StoreError>
    where
        V: DeserializeOwned,
    {
        serde_json::from_slice(bytes).map_err(|error| {
            StoreError::Damaged(format!("{}/{key} in the store cannot be understood: {error}", self.name))
        })
    }
}
