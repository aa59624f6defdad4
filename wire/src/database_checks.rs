//! How databases are asked whether they are well, and whether they take writes: parts of a
//! [`Check`](crate::checks::Check), explained in `docs/databases.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::balancing::Secret;

/// How a server of MySQL or MariaDB is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MysqlAsk {
    /// Who logs in, by `mysql_native_password` or `caching_sha2_password`; none: nobody does, and the server's greeting is
    /// all that is looked at. One who is logged in asks whether the server takes writes (`read_only`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password; none: the account has none. It is not shown to anyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// Whether it has to be a node of a Galera cluster that is in step with the others (`wsrep_ready` and
    /// `wsrep_local_state` 4, Synced). Needs a `user`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub galera: bool,
}

/// How a server of PostgreSQL is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PostgresAsk {
    /// Who logs in, by SCRAM-SHA-256, MD5 or without a password; none: nobody does, and a server that would let somebody
    /// log in is well, as `pg_isready` has it. One who is logged in asks whether the server takes writes
    /// (`pg_is_in_recovery()`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password. It is not shown to anyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// The database that is opened; none: the one called as the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
}

/// How a server of Redis or Valkey is asked: `PING`, and whether it is a primary or a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisAsk {
    /// Who logs in; none: the default user. Needs a `password`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The password; none: nobody logs in. It is not shown to anyone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}
