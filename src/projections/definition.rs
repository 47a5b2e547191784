//! Read models as the program carries them.

use std::sync::LazyLock;

use include_dir::{Dir, include_dir};
use sha2::{Digest, Sha256};
use sqlx::{AssertSqlSafe, PgConnection};

static FOLDERS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/projections");
static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| {
    let mut definitions: Vec<Definition> = FOLDERS
        .dirs()
        .map(|folder| {
            let name = folder.path().file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let text =
                |file: &str| folder.get_file(folder.path().join(file)).and_then(|file| file.contents_utf8());
            Definition::parse(
                name,
                text("schema.sql").unwrap_or_default(),
                text("apply.sql").unwrap_or_default(),
            )
            .unwrap_or_else(|wrong| panic!("projections/{name}: {wrong}"))
        })
        .collect();
    definitions.sort_by_key(|definition| definition.name);
    definitions
});

/// Line of `schema.sql` that begins what a rebuild makes when the rows are in.
const WHEN_FILLED: &str = "\n-- when filled:";

/// The program's read models, by name.
pub fn definitions() -> &'static [Definition] {
    &DEFINITIONS
}

/// When events are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// In the append's transaction.
    Inline,
    /// After the commit.
    Following,
}

impl Mode {
    /// As in the directive and in the database.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inline => "inline",
            Self::Following => "following",
        }
    }
}

/// A read model's folder.
#[derive(Debug)]
pub struct Definition {
    /// Folder and schema.
    pub name: &'static str,
    /// When events are applied.
    pub mode: Mode,
    /// Types of events it looks at.
    pub event_types: Vec<&'static str>,
    /// Hash of the two files: another hash calls for a rebuild.
    pub sha256: [u8; 32],
    schema_sql: &'static str,
    filled_sql: &'static str,
    apply_sql: &'static str,
    apply_statement: &'static str,
}

impl Definition {
    fn parse(
        name: &'static str,
        schema_sql: &'static str,
        apply_sql: &'static str,
    ) -> Result<Self, &'static str> {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return Err("a name has lower-case letters and underscores");
        }
        if schema_sql.is_empty() || apply_sql.is_empty() {
            return Err("schema.sql or apply.sql is missing");
        }
        let directive = |key: &str| {
            apply_sql.lines().find_map(|line| line.strip_prefix("-- ")?.strip_prefix(key)).map(str::trim)
        };
        let mode = match directive("apply:") {
            Some("inline") => Mode::Inline,
            Some("following") => Mode::Following,
            _ => return Err("apply.sql needs a line `-- apply: inline` or `-- apply: following`"),
        };
        let event_types: Vec<_> = directive("events:").unwrap_or_default().split_whitespace().collect();
        if event_types.is_empty() {
            return Err("apply.sql needs a line `-- events: ` with the event types it looks at");
        }
        let mut hasher = Sha256::new();
        hasher.update(schema_sql);
        hasher.update([0]);
        hasher.update(apply_sql);
        let (schema_sql, filled_sql) = schema_sql.split_once(WHEN_FILLED).unwrap_or((schema_sql, ""));
        Ok(Self {
            name,
            mode,
            event_types,
            sha256: hasher.finalize().into(),
            schema_sql,
            filled_sql,
            apply_sql,
            apply_statement: Box::leak(format!("select {name}.apply($1, $2)").into_boxed_str()),
        })
    }

    /// Statement that applies the events in ($1, $2].
    pub(super) fn apply_statement(&self) -> &'static str {
        self.apply_statement
    }

    /// Makes what `schema.sql` keeps for the time after the rows are in.
    pub(super) async fn finish(
        &self,
        connection: &mut PgConnection,
        schema: &str,
    ) -> Result<(), sqlx::Error> {
        let sql = format!(
            "begin;
             set local search_path = {schema}, public;
             set local maintenance_work_mem = '256MB';
             {}
             commit",
            self.filled_sql
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
    }

    /// Makes the tables and the function in a fresh schema.
    pub(super) async fn install(
        &self,
        connection: &mut PgConnection,
        schema: &str,
    ) -> Result<(), sqlx::Error> {
        // What tenants' transactions may read in it, the schema's tables say themselves.
        // Batches are small beside the tables, and their size is not known when a plan is made: plans are made once,
        // and go by index. Without this, PostgreSQL plans anew for each append or reads whole tables. A
        // batch of a rebuild fits into that memory.
        let sql = format!(
            "drop schema if exists {schema} cascade;
             create schema {schema};
             grant usage on schema {schema} to mercuriale_tenant;
             set local search_path = {schema}, public;
             {}
             create function {schema}.apply(from_position bigint, to_position bigint) returns void language plpgsql
                 set search_path = {schema}, public
                 set plan_cache_mode = force_generic_plan
                 set work_mem = '32MB'
                 set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
                 as $apply$ begin\n{}\nend $apply$;
             set local search_path to default;",
            self.schema_sql, self.apply_sql
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_is_a_read_model() {
        assert_eq!(definitions().len(), FOLDERS.dirs().count());
    }

    #[test]
    fn a_folder_without_directives_is_refused() {
        assert!(Definition::parse("x", "create table t ();", "select 1;").is_err());
        assert!(Definition::parse("x", "create table t ();", "-- apply: inline\nselect 1;").is_err());
        assert!(Definition::parse("X", "a", "-- apply: inline\n-- events: a\n").is_err());
    }
}
