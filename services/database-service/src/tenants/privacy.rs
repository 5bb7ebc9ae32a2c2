//! What a tenant may learn of its neighbours (DBS-37), and what it may leave behind in `postgres`. The views
//! of the catalog that list roles and sessions show a tenant its own; statistics of other databases are not
//! for it. `pg_database` stays readable: `pg_dump` reads it in the tenant's own name (ADR 17).

use sqlx::{Connection as _, PgConnection};

use super::connections::Tenants;
use super::held;
use super::marks;
use super::owner;
use super::statement::Statement;
use super::target::{Target, TenantError};

/// What a prepared server carries, with the number of PostgreSQL's release behind it. The first number counts
/// up when anything below or in the template changes: servers of before are brought to it by their next
/// check.
pub(crate) const MARK: &str = "rights 3 on ";

/// Does the server carry the mark that is the statement's argument of this name, and has no tenant a database
/// of its own? A replica of the release before makes such while this one is already at work.
macro_rules! is_prepared {
    ($mark:literal) => {
        concat!(
            "coalesce(obj_description(to_regnamespace('platform'), 'pg_namespace') = ",
            $mark,
            " || current_setting('server_version_num')::int / 10000, false)
            AND NOT EXISTS (SELECT FROM pg_database d JOIN pg_shdescription s ON s.objoid = d.datdba
                AND s.classoid = 'pg_authid'::regclass
            WHERE d.datname LIKE 'odoo\\_%' AND d.datconnlimit <> -2
                AND s.description LIKE 'saasodoo allocation %')"
        )
    };
}
pub(crate) use is_prepared;

/// In every database that tenants can connect to. May be repeated. Its names are PostgreSQL's own, whatever
/// the database holds.
///
/// The views keep their identity, so that `pg_dump` takes them for what they are; it needs every owner of a
/// system object in `pg_roles`, which are the roles below 16384, and the one that owns the database. Activity
/// comes by a function, which tenants could call past any view: in its place stands one that asks the
/// original with the administrator's rights and gives a tenant what is its own.
const IN_A_DATABASE: &str = "
BEGIN;
SET LOCAL allow_system_table_mods = on;
DO $do$
DECLARE
    one record;
    definition text;
    replaced text;
    columns text;
    system constant text := 'every.%1$I < 16384';
    owner constant text :=
        'every.%1$I = (SELECT oid FROM pg_catalog.pg_authid WHERE rolname = ''platform_owner'')';
    own constant text := 'pg_catalog.pg_has_role(every.%1$I, ''MEMBER'')';
BEGIN
    FOR one IN SELECT * FROM (VALUES
        ('pg_roles', 'oid'), ('pg_user', 'usesysid'), ('pg_group', 'grosysid')
    ) AS views (name, id) LOOP
        definition := pg_catalog.pg_get_viewdef(('pg_catalog.' || one.name)::pg_catalog.regclass);
        definition := pg_catalog.rtrim(definition, '; ');
        replaced := 'CREATE OR REPLACE VIEW pg_catalog.' || pg_catalog.quote_ident(one.name) || ' AS ';
        -- The release before hid the owner of the databases, which pg_dump asks for.
        IF definition ~ 'pg_has_role' AND definition !~ 'platform_owner' THEN
            EXECUTE replaced || pg_catalog.regexp_replace(
                definition, 'pg_has_role\\(every\\.', pg_catalog.format(owner, one.id) || ' OR pg_has_role(every.');
        ELSIF definition !~ 'pg_has_role' THEN
            EXECUTE replaced || 'SELECT * FROM (' || definition || ') AS every WHERE '
                || pg_catalog.format(system || ' OR ' || owner || ' OR ' || own, one.id);
        END IF;
    END LOOP;

    SELECT pg_catalog.string_agg(
        pg_catalog.format('OUT %I %s', part.name, part.kind::pg_catalog.regtype), ', ' ORDER BY part.place)
    INTO columns
    FROM pg_catalog.pg_proc AS f,
        unnest(f.proallargtypes, f.proargmodes, f.proargnames) WITH ORDINALITY AS part (kind, mode, name, place)
    WHERE f.oid = 'pg_catalog.pg_stat_get_activity(integer)'::pg_catalog.regprocedure AND part.mode = 'o';
    EXECUTE 'CREATE OR REPLACE FUNCTION pg_catalog.visible_activity(integer, ' || columns || ')
        RETURNS SETOF record LANGUAGE sql STABLE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp AS '
        || pg_catalog.quote_literal('SELECT every.* FROM pg_catalog.pg_stat_get_activity($1) AS every
            WHERE pg_catalog.pg_has_role(session_user, ''pg_read_all_stats'', ''MEMBER'')
                OR pg_catalog.pg_has_role(session_user, every.usesysid, ''MEMBER'')');
    FOR one IN SELECT oid, relname FROM pg_catalog.pg_class
        WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND relkind = 'v'
            AND pg_catalog.pg_get_viewdef(oid) ~ '\\mpg_stat_get_activity\\('
    LOOP
        definition := pg_catalog.rtrim(pg_catalog.pg_get_viewdef(one.oid), '; ');
        EXECUTE 'CREATE OR REPLACE VIEW pg_catalog.' || pg_catalog.quote_ident(one.relname) || ' AS '
            || pg_catalog.regexp_replace(definition, '\\mpg_stat_get_activity\\(',
                'pg_catalog.visible_activity(', 'g');
    END LOOP;

    FOR one IN SELECT relname FROM pg_catalog.pg_class
        WHERE relnamespace = 'pg_catalog'::pg_catalog.regnamespace AND relkind = 'v'
            AND (relname LIKE 'pg\\_stat\\_progress\\_%' OR relname IN (
                'pg_stat_database', 'pg_stat_database_conflicts', 'pg_stat_replication', 'pg_replication_slots',
                'pg_prepared_xacts'))
    LOOP
        EXECUTE 'REVOKE SELECT ON pg_catalog.' || pg_catalog.quote_ident(one.relname) || ' FROM PUBLIC';
    END LOOP;
    FOR one IN SELECT oid::pg_catalog.regprocedure AS signature FROM pg_catalog.pg_proc
        WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace
            AND (proname ~ '^pg_stat_get_(db|backend)_' OR proname IN (
                'pg_stat_get_activity', 'pg_stat_get_progress_info', 'pg_stat_get_wal_senders',
                'pg_get_replication_slots', 'pg_prepared_xact'))
    LOOP
        EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || one.signature || ' FROM PUBLIC';
    END LOOP;
END
$do$;
COMMIT;
";

/// In `postgres`, where all tenants meet: advisory locks of one would stand in the way of another. Odoo takes
/// none there.
const IN_COMMON: &str = "
DO $do$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT oid::pg_catalog.regprocedure AS signature FROM pg_catalog.pg_proc
        WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND proname ~ '^pg_(try_)?advisory_'
    LOOP
        EXECUTE 'REVOKE EXECUTE ON FUNCTION ' || one.signature || ' FROM PUBLIC';
    END LOOP;
END
$do$";

impl Tenants {
    /// Is the server as this release wants it?
    pub(crate) async fn is_prepared(&self, target: &Target) -> sqlx::Result<bool> {
        sqlx::query_scalar(concat!("SELECT ", is_prepared!("$1")))
            .bind(MARK)
            .fetch_one(&self.admin(target))
            .await
    }

    /// Takes every tenant's database that is there over (ADR 20), and hides names and activity of others in
    /// it and in `postgres`; those to come are copied from the template, which has it. Notes at last that the
    /// server is as this release wants it. A database that its tenant keeps shut at this moment holds up no
    /// other.
    pub(crate) async fn make_private(&self, target: &Target) -> Result<(), TenantError> {
        let mut admin = self.admin(target).acquire().await?;
        let mut shared = target.connect("postgres").await?;
        hide_others(target, &mut shared).await?;
        sqlx::raw_sql(IN_COMMON).execute(&mut shared).await?;
        shared.close().await?;
        let tenants: Vec<String> = sqlx::query_scalar(
            "SELECT datname::text FROM pg_database d LEFT JOIN pg_authid r ON r.oid = datdba
             WHERE datname LIKE 'odoo\\_%' AND datconnlimit <> -2 AND (datallowconn OR rolname = $1 OR
                 shobj_description(datdba, 'pg_authid') LIKE $2 || '%')
             ORDER BY 1",
        )
        .bind(owner::OWNER)
        .bind(marks::MARK)
        .fetch_all(&mut *admin)
        .await?;
        let mut failed = None;
        for database in tenants {
            match enter_private(target, &mut admin, &database).await {
                // It was dropped meanwhile.
                Err(TenantError::Server(sqlx::Error::Database(error)))
                    if error.code().as_deref() == Some("3D000") => {}
                Err(error) => {
                    let server = &target.name;
                    tracing::warn!(server, error = %error, "the rights in a tenant's database are not set");
                    failed = Some(error);
                }
                Ok(()) => {}
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let release: String =
            sqlx::query_scalar("SELECT $1 || current_setting('server_version_num')::int / 10000")
                .bind(MARK)
                .fetch_one(&mut *admin)
                .await?;
        Statement::new("COMMENT ON SCHEMA platform IS ").literal(&release).execute(&mut *admin).await?;
        Ok(())
    }
}

async fn enter_private(target: &Target, admin: &mut PgConnection, database: &str) -> Result<(), TenantError> {
    let mut inside = owner::enter(target, admin, database).await?;
    hide_others(target, &mut inside).await?;
    inside.close().await?;
    Ok(())
}

/// In the database of this session.
pub(crate) async fn hide_others(target: &Target, inside: &mut PgConnection) -> Result<(), TenantError> {
    let process = held::process(inside).await?;
    held::unheld(target, process, sqlx::raw_sql(IN_A_DATABASE).execute(inside)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_with_a_database_of_a_marked_role_is_not_prepared() {
        assert!(is_prepared!("$1").contains(&["LIKE '", marks::MARK, "%'"].concat()));
    }
}
