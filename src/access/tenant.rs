//! The second wall between tenants: the database itself, by row-level security.

use sqlx::{PgPool, Postgres, Transaction};

/// Begins a transaction that sees and writes only rows of `tenant`, in tables that belong to tenants. Statements name the
/// tenant as well; this is for the one that forgets to.
///
/// # Errors
/// The database failed.
pub async fn tenant_transaction(
    pool: &PgPool,
    tenant: &str,
) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql("set local role mercuriale_tenant").execute(&mut *transaction).await?;
    sqlx::query(include_str!("sql/tenant_set.sql")).bind(tenant).execute(&mut *transaction).await?;
    Ok(transaction)
}
