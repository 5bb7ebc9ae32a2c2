//! Counts for operators (INS-38).

use sqlx::PgConnection;

/// Numbers of instances that are not purged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// All of them.
    pub total: u64,
    /// By status.
    pub by_status: Vec<(String, u64)>,
    /// By plan.
    pub by_plan: Vec<(String, u64)>,
    /// By Odoo version.
    pub by_version: Vec<(String, u64)>,
}

/// True counts, from one snapshot.
pub async fn stats(connection: &mut PgConnection) -> sqlx::Result<Stats> {
    let rows = sqlx::query!(
        r#"SELECT grouping(status, plan, odoo_version) AS "grouping!", status AS "status?", plan AS "plan?", odoo_version AS "odoo_version?", count(*) AS "count!"
           FROM instances WHERE status <> 'purged'
           GROUP BY GROUPING SETS ((), (status), (plan), (odoo_version)) ORDER BY status, plan, odoo_version"#
    )
    .fetch_all(connection)
    .await?;
    let mut stats = Stats::default();
    for row in rows {
        let count = u64::try_from(row.count).unwrap_or(0);
        // A bit is set for each column that is not grouped by: status 4, plan 2, version 1.
        match row.grouping {
            3 => stats.by_status.push((row.status.unwrap_or_default(), count)),
            5 => stats.by_plan.push((row.plan.unwrap_or_default(), count)),
            6 => stats.by_version.push((row.odoo_version.unwrap_or_default(), count)),
            _ => stats.total = count,
        }
    }
    Ok(stats)
}
