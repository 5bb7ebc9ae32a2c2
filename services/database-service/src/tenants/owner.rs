//! Who owns the tenants' databases: a role of the platform that nobody logs in as (ADR 20). An owner may shut
//! its database against everybody, make it a template, or give it settings that every session there starts
//! with, the administrator's too. A tenant may none of it: it has the rights that Odoo needs, and no more.

use sqlx::PgConnection;

use super::held;
use super::marks::MARK;
use super::statement::Statement;
use super::target::{Target, TenantError};

/// Its name; tenants' roles begin with `odoo_`.
pub(crate) const OWNER: &str = "platform_owner";

/// In a database that a tenant has no ownership of, its tables go where they always went. Whoever may connect
/// may create: that is the tenant.
const OPEN_PUBLIC: &str = "
DO $do$
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname OPERATOR(pg_catalog.=) 'public') THEN
        GRANT USAGE, CREATE ON SCHEMA public TO PUBLIC;
    END IF;
END
$do$";

/// In `postgres`, where Odoo asks for the databases that its role owns: a list that says so of the one that
/// has the role's name, or to the second role of a database while its password changes (`domain::names`).
/// Rights would not tell: a tenant may make another its member. Nothing else differs from PostgreSQL's own;
/// only tenants' sessions there look at it first.
///
/// The view is left alone when it is as it should be: who reads it in an open transaction would keep us from
/// it. After an upgrade of PostgreSQL its columns differ, and only another view can have others.
const ODOOS_LIST: &str = "
DO $do$
DECLARE
    columns text;
    version constant text := 'list 2';
    owner constant text := 'CASE WHEN pg_catalog.pg_get_userbyid(d.datdba) = ''platform_owner''
            AND (d.datname OPERATOR(pg_catalog.=) current_user
                OR (d.datname OPERATOR(pg_catalog.||) ''_2'') OPERATOR(pg_catalog.=) current_user::text)
        THEN (SELECT u.oid FROM pg_catalog.pg_authid AS u WHERE u.rolname = current_user)
        ELSE d.datdba END AS datdba';
BEGIN
    IF pg_catalog.obj_description(pg_catalog.to_regclass('platform_odoo.pg_database'), 'pg_class') = version
        AND (SELECT pg_catalog.array_agg(attname ORDER BY attnum) FROM pg_catalog.pg_attribute
            WHERE attrelid = pg_catalog.to_regclass('platform_odoo.pg_database') AND attnum > 0)
        = (SELECT pg_catalog.array_agg(attname ORDER BY attnum) FROM pg_catalog.pg_attribute
            WHERE attrelid = 'pg_catalog.pg_database'::pg_catalog.regclass
                AND attnum > 0 AND NOT attisdropped)
    THEN
        RETURN;
    END IF;
    SELECT pg_catalog.string_agg(
        CASE attname WHEN 'datdba' THEN owner ELSE pg_catalog.format('d.%I', attname) END,
        ', ' ORDER BY attnum)
    INTO columns
    FROM pg_catalog.pg_attribute
    WHERE attrelid = 'pg_catalog.pg_database'::pg_catalog.regclass AND attnum > 0 AND NOT attisdropped;
    EXECUTE 'CREATE SCHEMA IF NOT EXISTS platform_odoo';
    EXECUTE 'DROP VIEW IF EXISTS platform_odoo.pg_database';
    EXECUTE 'CREATE VIEW platform_odoo.pg_database AS SELECT ' || columns
        || ' FROM pg_catalog.pg_database AS d';
    EXECUTE 'GRANT USAGE ON SCHEMA platform_odoo TO PUBLIC';
    EXECUTE 'GRANT SELECT ON platform_odoo.pg_database TO PUBLIC';
    EXECUTE 'COMMENT ON VIEW platform_odoo.pg_database IS ' || pg_catalog.quote_literal(version);
END
$do$";

/// How a database stands.
#[derive(sqlx::FromRow)]
struct Standing {
    owner: String,
    /// Of the owner.
    mark: String,
    /// PostgreSQL died while it was dropped: nothing but another drop is possible.
    broken: bool,
    /// Nobody can connect, or nobody can drop it.
    shut: bool,
}

/// Makes the role when it is missing, and what Odoo needs to find databases that it does not own. The role's
/// flags are those of one that can do nothing. The session is one in `postgres`.
pub(crate) async fn ensure(target: &Target, connection: &mut PgConnection) -> Result<(), TenantError> {
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_catalog.pg_authid WHERE rolname = $1)")
            .bind(OWNER)
            .fetch_one(&mut *connection)
            .await?;
    if !exists {
        Statement::new("CREATE ROLE ").identifier(OWNER).execute(&mut *connection).await?;
    }
    Statement::new("ALTER ROLE ")
        .identifier(OWNER)
        .sql(" NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS")
        .execute(&mut *connection)
        .await?;
    let process = held::process(connection).await?;
    held::unheld(target, process, sqlx::raw_sql(ODOOS_LIST).execute(connection)).await?;
    Ok(())
}

/// Where a tenant's sessions in `postgres` look first.
pub(crate) fn odoos_list(statement: Statement, role: &str) -> Statement {
    statement
        .sql("ALTER ROLE ")
        .identifier(role)
        .sql(" IN DATABASE postgres SET search_path = platform_odoo, pg_catalog")
}

/// Before any work of the administrator in a database, or on it: it is the platform's and open to it. One of
/// before, which its tenant owns, is taken over; whatever its tenant set on it is reset. What belongs to
/// somebody else is left as it is. May be repeated.
pub(crate) async fn admit(
    target: &Target,
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), TenantError> {
    let found: Option<Standing> = sqlx::query_as(
        "SELECT pg_get_userbyid(datdba)::text AS owner, coalesce(shobj_description(datdba, 'pg_authid'), '')
            AS mark,
             datconnlimit = -2 AS broken, datistemplate OR NOT datallowconn AS shut
         FROM pg_database WHERE datname = $1",
    )
    .bind(name)
    .fetch_optional(&mut *connection)
    .await?;
    match found {
        Some(found) if found.broken => Ok(()),
        Some(found) if found.owner == OWNER && found.shut => Ok(unlock(name).execute(connection).await?),
        Some(found) if found.mark.starts_with(MARK) => {
            let process = held::process(connection).await?;
            let work = Box::pin(take_over(target, connection, name, &found.owner));
            held::unheld(target, process, work).await
        }
        _ => Ok(()),
    }
}

/// A session of the administrator in a tenant's database.
pub(crate) async fn enter(
    target: &Target,
    admin: &mut PgConnection,
    name: &str,
) -> Result<PgConnection, TenantError> {
    admit(target, admin, name).await?;
    target.connect(name).await
}

/// Its tenant may connect and create; nobody else may. Begins the statement that ends the making of a
/// database.
pub(crate) fn grant(name: &str, role: &str) -> Statement {
    Statement::new("GRANT CONNECT, TEMPORARY, CREATE ON DATABASE ")
        .identifier(name)
        .sql(" TO ")
        .identifier(role)
}

/// In a tenant's database, or in the template.
pub(crate) async fn open_public(inside: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(OPEN_PUBLIC).execute(inside).await.map(drop)
}

fn unlock(name: &str) -> Statement {
    Statement::new("ALTER DATABASE ").identifier(name).sql(" WITH IS_TEMPLATE false ALLOW_CONNECTIONS true")
}

/// From the tenant, which never misses a right meanwhile: it gets them before it loses the ownership.
async fn take_over(
    target: &Target,
    connection: &mut PgConnection,
    name: &str,
    tenant: &str,
) -> Result<(), TenantError> {
    ensure(target, connection).await?;
    unlock(name)
        .sql(" CONNECTION LIMIT -1; ALTER DATABASE ")
        .identifier(name)
        .sql(" RESET ALL")
        .execute(&mut *connection)
        .await?;
    let mut inside = target.connect(name).await?;
    let process = held::process(&mut inside).await?;
    held::unheld(target, process, open_public(&mut inside)).await?;
    sqlx::Connection::close(inside).await?;
    let others: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT rolname::text FROM pg_database, aclexplode(datacl) AS acl JOIN pg_authid r ON r.oid
            = acl.grantee
         WHERE datname = $1",
    )
    .bind(name)
    .fetch_all(&mut *connection)
    .await?;
    // One message, which is one transaction. The flags once more: until here the tenant could set them.
    let mut message = unlock(name)
        .sql(" CONNECTION LIMIT -1; ALTER DATABASE ")
        .identifier(name)
        .sql(" RESET ALL; ALTER DATABASE ")
        .identifier(name)
        .sql(" OWNER TO ")
        .identifier(OWNER)
        .sql("; REVOKE ALL ON DATABASE ")
        .identifier(name)
        .sql(" FROM PUBLIC");
    for other in others.iter().filter(|other| *other != OWNER) {
        message = message.sql(", ").identifier(other);
    }
    odoos_list(message.sql(" CASCADE; ").then(&grant(name, tenant)).sql("; "), tenant)
        .execute(connection)
        .await?;
    tracing::info!(server = target.name, "a tenant's database was taken over from its tenant");
    Ok(())
}
