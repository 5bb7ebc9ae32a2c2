//! Brings a copy up to its source, table by table (DBS-33), while the instance is off.
//!
//! The source is read as administrator, the copy is written as its tenant: what a tenant defined (a default,
//! a check, an index over a function) runs with its own rights, never with ours. Its role ignores triggers
//! and foreign keys meanwhile, which [`Tenants::close_to_copies`] ends.

use futures::TryStreamExt as _;
use sqlx::{Connection as _, PgConnection};

use super::connections::Tenants;
use super::copy::reader;
use super::owner;
use super::roles;
use super::rows::{self, Sequence, columns, sequence};
use super::statement::Statement;
use super::target::{Target, TenantError};
use crate::domain::names::logins;
use crate::domain::trace::Table;

/// A copy as its tenant reaches it, and as administrator.
#[derive(Debug)]
pub struct Copy {
    /// As administrator.
    pub admin: Target,
    /// As tenant.
    pub tenant: Target,
    /// Database, and role.
    pub name: String,
}

/// A copy that is open for writing tables; see [`Tenants::open_copy`].
#[derive(Debug)]
pub struct Open(PgConnection);

impl Tenants {
    /// Ends all sessions of a tenant, and waits until they are gone: what they wrote is counted then.
    pub async fn end_sessions(&self, target: &Target, database: &str) -> Result<(), TenantError> {
        let mut connection = self.admin(target).acquire().await?;
        for role in logins(database) {
            roles::end_sessions(&mut connection, &role).await?;
            if self.sessions_of(target, &role).await? > 0 {
                return Err(TenantError::Internal(anyhow::anyhow!("a session of {role} does not end")));
            }
        }
        Ok(())
    }

    /// A session that writes tables past their triggers and foreign keys.
    pub async fn open_copy(&self, copy: &Copy) -> Result<Open, TenantError> {
        let mut admin = self.admin(&copy.admin).acquire().await?;
        owner::admit(&copy.admin, &mut admin, &copy.name).await?;
        Statement::new("ALTER ROLE ")
            .identifier(&copy.name)
            .sql(" IN DATABASE ")
            .identifier(&copy.name)
            .sql(" SET session_replication_role = replica")
            .execute(&mut *admin)
            .await?;
        drop(admin);
        let mut session = reader(&copy.tenant, &copy.name).await?;
        let role: String = sqlx::query_scalar("SELECT current_setting('session_replication_role')")
            .fetch_one(&mut session)
            .await?;
        if role != "replica" {
            return Err(TenantError::Internal(anyhow::anyhow!("{} does not get past triggers", copy.name)));
        }
        Ok(Open(session))
    }

    /// Nobody who writes to the copy is left, and its role is as every tenant's.
    pub async fn close_to_copies(&self, target: &Target, database: &str) -> Result<(), TenantError> {
        Statement::new("ALTER ROLE ")
            .identifier(database)
            .sql(" IN DATABASE ")
            .identifier(database)
            .sql(" RESET session_replication_role")
            .execute(&self.admin(target))
            .await?;
        self.end_sessions(target, database).await
    }

    /// Writes these tables anew, each in a transaction of its own, and sets the sequences. May be repeated.
    pub async fn refill(
        &self,
        source: &Target,
        copy: Open,
        database: &str,
        tables: &[&Table],
    ) -> Result<(), TenantError> {
        let Open(mut copy) = copy;
        let mut source = self.reader(source, database).await?;
        for table in tables {
            refill(&mut source, &mut copy, table).await?;
        }
        sequences(&mut source, &mut copy).await?;
        source.close().await?;
        copy.close().await?;
        Ok(())
    }

    /// Statistics for the planner, as the tenant: an index over a function is the tenant's program.
    pub async fn analyze(&self, copy: &Copy) -> Result<(), TenantError> {
        let mut session = reader(&copy.tenant, &copy.name).await?;
        // It says of each table of the catalogue that it is not the tenant's.
        sqlx::raw_sql("SET client_min_messages = error").execute(&mut session).await?;
        sqlx::raw_sql("ANALYZE").execute(&mut session).await?;
        session.close().await?;
        Ok(())
    }
}

fn named(statement: Statement, table: &Table) -> Statement {
    statement.identifier(&table.schema).sql(".").identifier(&table.name)
}

async fn refill(
    source: &mut PgConnection,
    copy: &mut PgConnection,
    table: &Table,
) -> Result<(), TenantError> {
    let mut tx = copy.begin().await?;
    // Another process at the same table: its rows are seen after it, and go.
    named(Statement::new("LOCK TABLE ONLY "), table).sql(" IN EXCLUSIVE MODE").execute(&mut *tx).await?;
    named(Statement::new("DELETE FROM ONLY "), table).execute(&mut *tx).await?;
    // By their names: a table that inherits may have its columns in another order at the other end.
    let columns = columns(source, &table.schema, &table.name).await?;
    let both = rows::copy(&table.schema, &table.name, &columns);
    let (out, into) = (both.clone().sql(" TO STDOUT").into_text(), both.sql(" FROM STDIN").into_text());
    let mut rows = source.copy_out_raw(&out).await?;
    let mut sink = tx.copy_in_raw(&into).await?;
    while let Some(chunk) = rows.try_next().await? {
        sink.send(chunk).await?;
    }
    let count = sink.finish().await?;
    tx.commit().await?;
    tracing::debug!(table = table.name, rows = count, "a table was copied again");
    Ok(())
}

async fn sequences(source: &mut PgConnection, copy: &mut PgConnection) -> Result<(), TenantError> {
    for Sequence { schema, name, value, .. } in rows::sequences(source).await? {
        if value != sequence(&mut *copy, &schema, &name).await? {
            sqlx::query("SELECT setval(format('%I.%I', $1::text, $2::text)::regclass, $3, $4)")
                .bind(&schema)
                .bind(&name)
                .bind(value.0)
                .bind(value.1)
                .execute(&mut *copy)
                .await?;
        }
    }
    Ok(())
}
