//! What the audit found, over all its runs (BIL-37).

use runtime::page::Page;
use sqlx::{PgConnection, PgExecutor, PgPool};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::domain::audit::{AuditRun, Finding, FindingFilter, FindingKind, KeptFinding};

/// Takes over what a run found: new ones open, known ones go on, and open ones of `looked` kinds that it did
/// not find are resolved. Who acknowledged one knew of what it said then: when it says something else, nobody
/// knows of that yet. The word of a run is not taken when one that began later has ended already.
pub async fn take(
    connection: &mut PgConnection,
    run: Uuid,
    found: &[Finding],
    looked: &[FindingKind],
    now: OffsetDateTime,
) -> sqlx::Result<()> {
    // Two runs that end at once, one after the other.
    sqlx::query("LOCK TABLE findings IN SHARE ROW EXCLUSIVE MODE").execute(&mut *connection).await?;
    let late = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM audit_runs WHERE state = 'done' AND started_at > (SELECT started_at FROM audit_runs WHERE id = $1)) AS "late!""#,
        run
    )
    .fetch_one(&mut *connection)
    .await?;
    if late {
        return Ok(());
    }
    for finding in found {
        sqlx::query!(
            "INSERT INTO findings (id, kind, subject_id, customer_id, scope, detail, first_seen_at, last_seen_at, last_run)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $7, $8)
             ON CONFLICT (kind, subject_id, customer_id, scope) WHERE resolved_at IS NULL
             DO UPDATE SET detail = excluded.detail, last_seen_at = excluded.last_seen_at, last_run = excluded.last_run,
                 acknowledged_at = CASE WHEN findings.detail = excluded.detail THEN findings.acknowledged_at END,
                 acknowledged_by = CASE WHEN findings.detail = excluded.detail THEN findings.acknowledged_by ELSE '' END,
                 acknowledge_reason = CASE WHEN findings.detail = excluded.detail THEN findings.acknowledge_reason ELSE '' END",
            Uuid::now_v7(),
            finding.kind.as_str(),
            finding.subject_id,
            finding.customer_id,
            finding.scope,
            finding.detail,
            now,
            run,
        )
        .execute(&mut *connection)
        .await?;
    }
    let looked: Vec<String> = looked.iter().map(|kind| kind.as_str().to_owned()).collect();
    sqlx::query!(
        "UPDATE findings SET resolved_at = $1 WHERE resolved_at IS NULL AND last_run <> $2 AND kind = ANY($3)",
        now,
        run,
        &looked,
    )
    .execute(connection)
    .await
    .map(drop)
}

/// Kind and subject of the open ones that nobody has acknowledged: these alert.
pub async fn unknown(db: impl PgExecutor<'_>) -> sqlx::Result<Vec<(String, Option<Uuid>)>> {
    let rows = sqlx::query!(
        "SELECT kind, subject_id FROM findings WHERE resolved_at IS NULL AND acknowledged_at IS NULL ORDER BY kind, id"
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(|row| (row.kind, row.subject_id)).collect())
}

/// A page of them, the last seen first, and how many there are.
pub async fn list(
    pool: &PgPool,
    filter: &FindingFilter,
    page: Page,
) -> sqlx::Result<(Vec<KeptFinding>, i64)> {
    let rows = sqlx::query_as!(
        KeptFinding,
        "SELECT id, kind, subject_id, customer_id, detail, first_seen_at, last_seen_at, resolved_at, acknowledged_at, acknowledged_by, acknowledge_reason
         FROM findings WHERE ($1::bool IS NULL OR (resolved_at IS NULL) = $1) AND ($2::text IS NULL OR kind = $2)
           AND ($3::uuid IS NULL OR customer_id = $3)
         ORDER BY last_seen_at DESC, id LIMIT $4 OFFSET $5",
        filter.open,
        filter.kind,
        filter.customer_id,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM findings WHERE ($1::bool IS NULL OR (resolved_at IS NULL) = $1) AND ($2::text IS NULL OR kind = $2)
             AND ($3::uuid IS NULL OR customer_id = $3)"#,
        filter.open,
        filter.kind,
        filter.customer_id,
    )
    .fetch_one(pool)
    .await?;
    Ok((rows, total))
}

/// One of them.
pub async fn find(db: impl PgExecutor<'_>, id: Uuid) -> sqlx::Result<Option<KeptFinding>> {
    sqlx::query_as!(
        KeptFinding,
        "SELECT id, kind, subject_id, customer_id, detail, first_seen_at, last_seen_at, resolved_at, acknowledged_at, acknowledged_by, acknowledge_reason
         FROM findings WHERE id = $1",
        id,
    )
    .fetch_optional(db)
    .await
}

/// Somebody knows of it. `false`: it is resolved, or somebody said so before.
pub async fn acknowledge(
    db: impl PgExecutor<'_>,
    id: Uuid,
    actor: &str,
    reason: &str,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let done = sqlx::query!(
        "UPDATE findings SET acknowledged_at = $4, acknowledged_by = $2, acknowledge_reason = $3
         WHERE id = $1 AND resolved_at IS NULL AND acknowledged_at IS NULL",
        id,
        actor,
        reason,
        now,
    )
    .execute(db)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// A page of the runs, newest first, and how many there are.
pub async fn runs(pool: &PgPool, cause: Option<String>, page: Page) -> sqlx::Result<(Vec<AuditRun>, i64)> {
    let rows = sqlx::query_as!(
        AuditRun,
        "SELECT id, cause, state, counts, reason, started_at, finished_at FROM audit_runs WHERE $1::text IS NULL OR cause = $1
         ORDER BY started_at DESC, id DESC LIMIT $2 OFFSET $3",
        cause,
        page.limit(),
        page.offset(),
    )
    .fetch_all(pool)
    .await?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM audit_runs WHERE $1::text IS NULL OR cause = $1"#,
        cause
    )
    .fetch_one(pool)
    .await?;
    Ok((rows, total))
}
