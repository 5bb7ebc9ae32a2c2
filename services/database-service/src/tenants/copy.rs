//! Both ends of a moved database (DBS-33): an empty target, the comparison, and the closing of the source.
//!
//! The comparison reads rows of both ends as administrator, by `COPY` of tables alone, so that nothing that
//! a tenant defined runs.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::connections::Tenants;
use super::marks::role_mark;
use super::owner;
use super::roles;
use super::roles::Tenant;
use super::rows::{rows, sequences};
use super::statement::Statement;
use super::target::{Target, TenantError};
use crate::domain::names::logins;
use crate::domain::trace::Table;

/// Stands for a table that is not read, since it is known to be the same.
const KNOWN: (i64, String) = (0, String::new());

/// What one end holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Number of rows and sum of their hashes by table.
    pub tables: BTreeMap<String, (i64, String)>,
    /// Last value and whether it was given, by sequence.
    pub sequences: BTreeMap<String, (i64, bool)>,
    /// Indexes, constraints, views, functions and triggers.
    pub parts: Vec<(String, i64)>,
}

impl Content {
    /// All rows.
    pub fn rows(&self) -> i64 {
        self.tables.values().map(|(rows, _)| rows).sum()
    }

    /// The first thing that is not the same, by name; no data.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let of_tables = |name: &String| {
            (self.tables.get(name) != other.tables.get(name)).then(|| ["table ", name].concat())
        };
        let of_sequences = |name: &String| {
            (self.sequences.get(name) != other.sequences.get(name)).then(|| ["sequence ", name].concat())
        };
        self.tables
            .keys()
            .chain(other.tables.keys())
            .find_map(of_tables)
            .or_else(|| self.sequences.keys().chain(other.sequences.keys()).find_map(of_sequences))
            .or_else(|| {
                (self.parts != other.parts)
                    .then(|| "indexes, constraints, views, functions or triggers".to_owned())
            })
    }
}

impl Tenants {
    /// Size of a database.
    pub async fn size(&self, target: &Target, database: &str) -> Result<i64, TenantError> {
        let size: Option<i64> =
            sqlx::query_scalar("SELECT pg_database_size(oid) FROM pg_database WHERE datname = $1")
                .bind(database)
                .fetch_optional(&self.admin(target))
                .await?;
        size.ok_or_else(|| TenantError::Unsuited("the database is not there".into()))
    }

    /// An empty database and its role; what an earlier try left is dropped.
    pub async fn prepare_anew(&self, target: &Target, tenant: &Tenant) -> Result<(), TenantError> {
        self.drop_tenant(target, tenant.allocation, &tenant.name).await?;
        self.prepare(target, tenant).await
    }

    /// The tenant's role can log in to be copied, whatever library it told its own sessions to load.
    pub async fn let_in(&self, target: &Target, database: &str, role: &str) -> Result<(), TenantError> {
        let reset = " RESET local_preload_libraries";
        Statement::new("ALTER ROLE ")
            .identifier(role)
            .sql(reset)
            .sql("; ALTER ROLE ")
            .identifier(role)
            .sql(" IN DATABASE ")
            .identifier(database)
            .sql(reset)
            .execute(&self.admin(target))
            .await?;
        Ok(())
    }

    /// The administrator's [`reader`].
    pub(crate) async fn reader(&self, target: &Target, database: &str) -> Result<PgConnection, TenantError> {
        let mut admin = self.admin(target).acquire().await?;
        owner::admit(target, &mut admin, database).await?;
        drop(admin);
        reader(target, database).await
    }

    /// What a database holds; not of tables that are `known` to be the same.
    pub async fn content(
        &self,
        target: &Target,
        database: &str,
        known: &BTreeSet<String>,
    ) -> Result<Content, TenantError> {
        let mut connection = self.reader(target, database).await?;
        let content = content(&mut connection, known).await?;
        connection.close().await?;
        Ok(content)
    }

    /// Those of these tables, by their names in full, that are the same at both ends now, while the tenant
    /// may be at work: each is looked at by itself.
    pub async fn same(
        &self,
        source: &Target,
        copy: &Target,
        database: &str,
        tables: &[(&String, &Table)],
    ) -> Result<BTreeSet<String>, TenantError> {
        let mut source = self.reader(source, database).await?;
        let mut copy = self.reader(copy, database).await?;
        let mut same = BTreeSet::new();
        for (name, table) in tables {
            let (here, there) = tokio::join!(
                rows(&mut source, &table.schema, &table.name),
                rows(&mut copy, &table.schema, &table.name)
            );
            match (here, there) {
                (Ok(here), Ok(there)) if here == there => _ = same.insert((*name).clone()),
                (Ok(_), Ok(_)) => {}
                // Dropped or changed meanwhile: no table that is the same. The comparison at the end tells of
                // it.
                (Err(error), _) | (_, Err(error)) if error.as_database_error().is_some() => {
                    tracing::info!(table = name, error = %error, "a table cannot be compared while it is in use");
                }
                (Err(error), _) | (_, Err(error)) => return Err(error.into()),
            }
        }
        source.close().await?;
        copy.close().await?;
        Ok(same)
    }

    /// Nobody logs in as the tenant any more, and whoever else does finds it read-only. May be repeated.
    pub async fn close_tenant(&self, target: &Target, database: &str) -> Result<(), TenantError> {
        let mut connection = self.admin(target).acquire().await?;
        let there: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(database)
            .fetch_one(&mut *connection)
            .await?;
        if !there {
            return Ok(());
        }
        owner::admit(target, &mut connection, database).await?;
        Statement::new("ALTER DATABASE ")
            .identifier(database)
            .sql(" SET default_transaction_read_only = on")
            .execute(&mut *connection)
            .await?;
        // A database has one role, or two while its password changes.
        for role in logins(database) {
            if role_mark(&mut connection, &role).await?.is_some() {
                roles::close(&mut connection, &role).await?;
            }
        }
        Ok(())
    }

    /// Drops a copy or a kept source.
    pub async fn drop_copy(&self, target: &Target, allocation: Uuid, name: &str) -> Result<(), TenantError> {
        self.drop_tenant(target, allocation, name).await
    }
}

/// A session in which both ends write values alike, and that may take as long as it takes.
///
/// Tables are read by name, and while a tenant is at work it may put a view of its own in the place of one: a
/// server that would run it with our rights is refused.
pub(crate) async fn reader(target: &Target, database: &str) -> Result<PgConnection, TenantError> {
    let mut connection = target.connect(database).await?;
    sqlx::raw_sql(
        "SET statement_timeout = 0; SET extra_float_digits = 3; SET TimeZone = 'UTC'; SET DateStyle
        = 'ISO'; SET bytea_output = 'hex'; SET IntervalStyle = 'postgres'",
    )
    .execute(&mut connection)
    .await?;
    let restricted: i64 = sqlx::query_scalar(
        "SELECT count(set_config(name, 'view,foreign-table', false)) FROM pg_settings WHERE name =
            'restrict_nonsystem_relation_kind'",
    )
    .fetch_one(&mut connection)
    .await?;
    if restricted == 0 {
        let why = "a move needs PostgreSQL 15.8, 16.4 or newer, which reads tables without running views"
            .to_owned();
        return Err(TenantError::Unsuited(why));
    }
    Ok(connection)
}

async fn content(connection: &mut PgConnection, known: &BTreeSet<String>) -> Result<Content, TenantError> {
    let mut tx = connection.begin().await?;
    sqlx::raw_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *tx).await?;
    let tables: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT format('%I.%I', n.nspname, c.relname), n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1",
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut found = Content::default();
    for (full, schema, name) in tables {
        let value = if known.contains(&full) { KNOWN } else { rows(&mut tx, &schema, &name).await? };
        found.tables.insert(full, value);
    }
    found.parts = sqlx::query_as(
        "WITH own AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema')
         SELECT 'index ' || c.relkind::text, count(*) FROM pg_class c WHERE c.relnamespace IN (SELECT oid FROM own) AND c.relkind NOT IN ('r', 'S') GROUP BY 1
         UNION ALL SELECT 'constraint ' || k.contype::text, count(*) FROM pg_constraint k WHERE k.connamespace IN (SELECT oid FROM own) GROUP BY 1
         UNION ALL SELECT 'function', count(*) FROM pg_proc p WHERE p.pronamespace IN (SELECT oid FROM own)
         UNION ALL SELECT 'trigger', count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND c.relnamespace IN (SELECT oid FROM own)
         ORDER BY 1",
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    // Sequences are no part of any transaction.
    for one in sequences(connection).await? {
        found.sequences.insert(one.full, one.value);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// DBS-33
    #[test]
    fn a_lost_row_a_changed_row_and_a_missing_table_are_differences() {
        let mut source = Content::default();
        source.tables.insert("public.t".into(), (2, "7".into()));
        source.sequences.insert("public.s".into(), (5, true));
        assert_eq!(source.difference(&source.clone()), None);
        let changes: [fn(&mut Content); 6] = [
            |copy| _ = copy.tables.insert("public.t".into(), (1, "7".into())),
            |copy| _ = copy.tables.insert("public.t".into(), (2, "8".into())),
            |copy| copy.tables.clear(),
            |copy| _ = copy.tables.insert("public.more".into(), (0, "0".into())),
            |copy| _ = copy.sequences.insert("public.s".into(), (4, true)),
            |copy| copy.parts.push(("index i".into(), 1)),
        ];
        for change in changes {
            let mut copy = source.clone();
            change(&mut copy);
            assert!(source.difference(&copy).is_some() && copy.difference(&source).is_some());
        }
    }
}
