//! What a tenant may learn of its neighbours (DBS-37), and what it may leave behind in `postgres`. The views of the catalog that list roles and
//! sessions show a tenant its own; statistics of other databases are not for it. `pg_database` stays readable: `pg_dump` reads it in the
//! tenant's own name (ADR 17).

use sqlx::Connection as _;

use super::statement::Statement;
use super::{Target, TenantError, Tenants};

/// What a prepared server carries, with the number of PostgreSQL's release behind it. The first number counts up when anything below or in the
/// template changes: servers of before are brought to it by their next check.
const MARK: &str = "rights 1 on ";

/// In every database that tenants can connect to. May be repeated.
///
/// The views keep their identity, so that `pg_dump` takes them for what they are; it needs every owner of a system object in `pg_roles`, which are
/// the roles below 16384.
const IN_A_DATABASE: &str = "
BEGIN;
SET LOCAL allow_system_table_mods = on;
DO $do$
DECLARE
    one record;
    definition text;
BEGIN
    FOR one IN SELECT * FROM (VALUES
        ('pg_roles', 'every.oid < 16384 OR pg_catalog.pg_has_role(every.oid, ''MEMBER'')'),
        ('pg_user', 'every.usesysid < 16384 OR pg_catalog.pg_has_role(every.usesysid, ''MEMBER'')'),
        ('pg_group', 'every.grosysid < 16384 OR pg_catalog.pg_has_role(every.grosysid, ''MEMBER'')'),
        ('pg_stat_activity', 'pg_catalog.pg_has_role(''pg_read_all_stats'', ''MEMBER'') OR pg_catalog.pg_has_role(every.usesysid, ''MEMBER'')')
    ) AS views (name, visible) LOOP
        definition := rtrim(pg_catalog.pg_get_viewdef(('pg_catalog.' || one.name)::regclass), '; ');
        IF definition !~ 'pg_has_role' THEN
            EXECUTE 'CREATE OR REPLACE VIEW pg_catalog.' || quote_ident(one.name)
                || ' AS SELECT * FROM (' || definition || ') AS every WHERE ' || one.visible;
        END IF;
    END LOOP;
    FOR one IN SELECT relname FROM pg_catalog.pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'v' AND (relname LIKE 'pg\\_stat\\_progress\\_%' OR relname IN
            ('pg_stat_database', 'pg_stat_database_conflicts', 'pg_stat_replication', 'pg_replication_slots', 'pg_prepared_xacts'))
    LOOP
        EXECUTE 'REVOKE SELECT ON pg_catalog.' || quote_ident(one.relname) || ' FROM PUBLIC';
    END LOOP;
END
$do$;
COMMIT;
";

impl Tenants {
    /// Is the server as this release wants it?
    pub(super) async fn is_prepared(&self, target: &Target) -> sqlx::Result<bool> {
        sqlx::query_scalar(
            "SELECT coalesce(obj_description(to_regnamespace('platform'), 'pg_namespace') = $1 || current_setting('server_version_num')::int / 10000, false)",
        )
        .bind(MARK)
        .fetch_one(&self.admin(target))
        .await
    }

    /// Hides names and activity of others in `postgres` and in every tenant's database that is there; those to come are copied from the
    /// template, which has it. Notes at last that the server is as this release wants it.
    pub(super) async fn make_private(&self, target: &Target) -> Result<(), TenantError> {
        hide_others(target, "postgres").await?;
        let admin = self.admin(target);
        let tenants: Vec<String> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_database WHERE datname LIKE 'odoo\\_%' AND datallowconn ORDER BY 1",
        )
        .fetch_all(&admin)
        .await?;
        for database in tenants {
            match hide_others(target, &database).await {
                // It was dropped meanwhile.
                Err(TenantError::Server(sqlx::Error::Database(error)))
                    if error.code().as_deref() == Some("3D000") => {}
                outcome => outcome?,
            }
        }
        let release: String =
            sqlx::query_scalar("SELECT $1 || current_setting('server_version_num')::int / 10000")
                .bind(MARK)
                .fetch_one(&admin)
                .await?;
        Statement::new("COMMENT ON SCHEMA platform IS ").literal(&release).execute(&admin).await?;
        Ok(())
    }
}

/// In one database.
pub(super) async fn hide_others(target: &Target, database: &str) -> Result<(), TenantError> {
    let mut conn = target.connect(database).await?;
    sqlx::raw_sql(IN_A_DATABASE).execute(&mut conn).await?;
    conn.close().await?;
    Ok(())
}
