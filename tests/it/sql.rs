//! Every SQL file of the program is prepared and planned as the program's role, none is skipped.

use std::path::{Path, PathBuf};

use sqlx::postgres::PgPoolCopyExt as _;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::support::Database;

/// Files of several statements, which make the tables that others read, in this order.
const STAGING: [&str; 2] = ["sources/refresh/sql/staging.sql", "sources/refresh/sql/staged_choose.sql"];
/// What the owner runs, since it gives rights.
const OF_THE_OWNER: &str = "ledger/sql/grant.sql";

fn sql_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sql_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "sql") {
            files.push(path);
        }
    }
}

/// Name below `src` and text of each file, by name.
fn files() -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sql_files(&source, &mut paths);
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&source).expect("below src").to_str().expect("UTF-8").to_owned();
            (name, std::fs::read_to_string(path).expect("text"))
        })
        .collect()
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
}

/// Prepares a statement and plans it, which also checks the rights to what it touches; nothing is executed.
async fn prepare(connection: &mut PgConnection, sql: &str) -> Result<(), sqlx::Error> {
    run(connection, &format!("prepare checked as {sql}")).await?;
    let parameters: i32 = sqlx::query_scalar(
        "select cardinality(parameter_types) from pg_prepared_statements where name = 'checked'",
    )
    .fetch_one(&mut *connection)
    .await?;
    let nulls = vec!["null"; usize::try_from(parameters).expect("a length")].join(", ");
    let nulls = if nulls.is_empty() { nulls } else { format!("({nulls})") };
    run(connection, &format!("explain execute checked{nulls}")).await?;
    run(connection, "deallocate checked").await
}

#[tokio::test]
async fn every_file_is_valid_for_the_program_s_role() {
    let database = Database::new().await;
    let files = files();
    let text_of = |wanted: &str| {
        &files.iter().find(|(name, _)| name == wanted).unwrap_or_else(|| panic!("{wanted} is gone")).1
    };
    let mut connection = database.pool.acquire().await.expect("connects");
    let role: String =
        sqlx::query_scalar("select current_user::text").fetch_one(&mut *connection).await.expect("reads");
    assert_eq!(role, "mercuriale_app");
    run(&mut connection, "begin").await.expect("begins");
    for name in STAGING {
        run(&mut connection, text_of(name)).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut owner = database.owner().await;
    let mut checked = STAGING.len();
    for (name, sql) in &files {
        if STAGING.contains(&name.as_str()) {
            continue;
        }
        let outcome = if name == OF_THE_OWNER {
            run(&mut owner, sql).await
        } else if is_copy(sql) && sql.contains("staged_") {
            // In the connection that has the temporary tables: no rows.
            match connection.copy_in_raw(sql).await {
                Ok(copy) => copy.finish().await.map(|_| ()),
                Err(error) => Err(error),
            }
        } else if is_copy(sql) {
            match database.pool.copy_in_raw(sql).await {
                Ok(copy) => copy.abort("only a try").await,
                Err(error) => Err(error),
            }
        } else {
            prepare(&mut connection, sql).await
        };
        outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
        checked += 1;
    }
    assert_eq!(checked, files.len());
    assert!(checked > 40, "{checked} files");
    run(&mut connection, "rollback").await.expect("rolls back");
    // The check itself finds a column that there is not, and a right that the role has not.
    for (sql, expected) in [
        ("select colour from ledger_head", "column \"colour\" does not exist"),
        ("update events set actor = $1", "permission denied"),
    ] {
        let error = prepare(&mut connection, sql).await.expect_err(sql).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Whether the first line that is no comment begins a COPY.
fn is_copy(sql: &str) -> bool {
    sql.lines().find(|line| !line.starts_with("--")).is_some_and(|line| line.starts_with("copy "))
}

#[test]
fn every_file_begins_with_a_comment() {
    let without: Vec<_> =
        files().into_iter().filter(|(_, sql)| !sql.starts_with("-- ")).map(|(name, _)| name).collect();
    assert_eq!(without, Vec::<String>::new(), "files without a first line that says why");
}
