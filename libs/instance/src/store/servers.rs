//! The copy of database-service's servers (DBS-36). It is written from events only, and never from an older one
//! over a newer one.

use contracts::events::PoolFact;
use sqlx::PgConnection;

/// Stores a fact, unless a newer one is there. Returns whether it was stored.
pub async fn upsert(connection: &mut PgConnection, fact: &PoolFact) -> sqlx::Result<bool> {
    let stored = sqlx::query!(
        r#"INSERT INTO db_servers (id, name, server_type, status, health_status, host, port, admin_user, current_instances, max_instances,
               priority, allocation_strategy, postgres_version, health_check_failures, last_health_check, version)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
           ON CONFLICT (id) DO UPDATE SET name = excluded.name, server_type = excluded.server_type, status = excluded.status,
               health_status = excluded.health_status, host = excluded.host, port = excluded.port, admin_user = excluded.admin_user,
               current_instances = excluded.current_instances, max_instances = excluded.max_instances, priority = excluded.priority,
               allocation_strategy = excluded.allocation_strategy, postgres_version = excluded.postgres_version,
               health_check_failures = excluded.health_check_failures, last_health_check = excluded.last_health_check,
               version = excluded.version, updated_at = now()
           WHERE db_servers.version < excluded.version"#,
        fact.id,
        fact.name,
        fact.server_type,
        fact.status,
        fact.health_status,
        fact.host,
        fact.port,
        fact.admin_user,
        fact.current_instances,
        fact.max_instances,
        fact.priority,
        fact.allocation_strategy,
        fact.postgres_version,
        fact.health_check_failures,
        fact.last_health_check,
        fact.version,
    )
    .execute(connection)
    .await?;
    Ok(stored.rows_affected() == 1)
}
