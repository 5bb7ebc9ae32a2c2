//! Rows of `instances`: insert, read, list, and the one kind of write that a decision makes.

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Scope, inconsistent, json, word};
use crate::domain::{
    BillingStatus, Change, Database, DesiredState, Failure, Holds, Instance, Limits, Observed, OperationKind,
    Status,
};

const TABLE: &str = "instances";

/// The active operation of an instance, as lists show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current {
    /// Identifier.
    pub id: Uuid,
    /// What it does.
    pub kind: OperationKind,
    /// Percent.
    pub progress: i16,
}

/// An instance and its active operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The row.
    pub instance: Instance,
    /// Queued or running.
    pub current: Option<Current>,
}

#[expect(clippy::struct_excessive_bools, reason = "it mirrors the table")]
struct Row {
    current_id: Option<Uuid>,
    current_kind: Option<String>,
    current_progress: Option<i16>,
    id: Uuid,
    customer_id: Uuid,
    subscription_id: Option<Uuid>,
    plan: String,
    plan_tier: String,
    db_tier: String,
    name: String,
    description: String,
    odoo_version: String,
    instance_type: String,
    status: String,
    desired_state: String,
    desired_before_suspend: Option<String>,
    billing_hold: bool,
    operator_hold: bool,
    suspended_reason: Option<String>,
    billing_status: String,
    provisioning_status: String,
    generation: i64,
    observed_generation: i64,
    observed_phase: String,
    observed_ready: bool,
    observed_restarts: i32,
    observed_reason: String,
    observed_node: String,
    observed_pod_ip: String,
    observed_started_at: Option<OffsetDateTime>,
    observed_at: Option<OffsetDateTime>,
    cpu_millis: i32,
    memory_mib: i64,
    storage_mib: i64,
    subdomain: String,
    admin_email: String,
    demo_data: bool,
    display_database_name: String,
    db_type: String,
    db_name: Option<String>,
    db_host: Option<String>,
    db_port: Option<i32>,
    db_server_id: Option<Uuid>,
    deployment_name: String,
    service_name: String,
    internal_url: String,
    external_url: String,
    error_reason: Option<String>,
    error_message: Option<String>,
    error_at: Option<OffsetDateTime>,
    restarted_at: Option<OffsetDateTime>,
    purge_after: Option<OffsetDateTime>,
    last_health_check: Option<OffsetDateTime>,
    labels: serde_json::Value,
    credentials_until: OffsetDateTime,
    credentials_revealed_at: Option<OffsetDateTime>,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
    started_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for Found {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> sqlx::Result<Self> {
        let id = row.id;
        let number = |column: &'static str, value: i64| {
            u64::try_from(value).map_err(|error| inconsistent(TABLE, column, id, &error))
        };
        let current = match (row.current_id, &row.current_kind, row.current_progress) {
            (Some(current), Some(kind), Some(progress)) => {
                Some(Current { id: current, kind: word("operations", "kind", current, kind)?, progress })
            }
            _ => None,
        };
        let before: Option<DesiredState> = row
            .desired_before_suspend
            .as_deref()
            .map(|text| word(TABLE, "desired_before_suspend", id, text))
            .transpose()?;
        let database = match (row.db_name, row.db_host, row.db_port, row.db_server_id) {
            (Some(name), Some(host), Some(port), Some(server_id)) => {
                Some(Database { name, host, port, server_id })
            }
            _ => None,
        };
        let error = row.error_reason.map(|reason| Failure {
            reason,
            message: row.error_message.unwrap_or_default(),
            at: row.error_at,
        });
        let instance = Instance {
            id,
            customer_id: row.customer_id,
            subscription_id: row.subscription_id,
            plan: row.plan,
            plan_tier: row.plan_tier,
            db_tier: row.db_tier,
            name: row.name,
            description: row.description,
            odoo_version: row.odoo_version,
            instance_type: row.instance_type,
            status: word(TABLE, "status", id, &row.status)?,
            desired_state: word(TABLE, "desired_state", id, &row.desired_state)?,
            desired_before_suspend: before,
            holds: Holds { billing: row.billing_hold, operator: row.operator_hold },
            suspended_reason: row.suspended_reason,
            billing_status: word(TABLE, "billing_status", id, &row.billing_status)?,
            provisioning_status: word(TABLE, "provisioning_status", id, &row.provisioning_status)?,
            generation: row.generation,
            observed_generation: row.observed_generation,
            observed: Observed {
                phase: row.observed_phase,
                ready: row.observed_ready,
                restarts: row.observed_restarts,
                reason: row.observed_reason,
                node: row.observed_node,
                pod_ip: row.observed_pod_ip,
                started_at: row.observed_started_at,
                at: row.observed_at,
            },
            limits: Limits {
                cpu_millis: u32::try_from(row.cpu_millis)
                    .map_err(|error| inconsistent(TABLE, "cpu_millis", id, &error))?,
                memory_mib: number("memory_mib", row.memory_mib)?,
                storage_mib: number("storage_mib", row.storage_mib)?,
            },
            subdomain: row.subdomain,
            admin_email: row.admin_email,
            demo_data: row.demo_data,
            display_database_name: row.display_database_name,
            db_type: row.db_type,
            database,
            deployment_name: row.deployment_name,
            service_name: row.service_name,
            internal_url: row.internal_url,
            external_url: row.external_url,
            error,
            restarted_at: row.restarted_at,
            purge_after: row.purge_after,
            last_health_check: row.last_health_check,
            labels: serde_json::from_value(row.labels)
                .map_err(|error| inconsistent(TABLE, "labels", id, &error))?,
            credentials_until: row.credentials_until,
            credentials_revealed_at: row.credentials_revealed_at,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            started_at: row.started_at,
        };
        Ok(Self { instance, current })
    }
}

/// Inserts a new instance. False: its host name is taken (the transaction goes on).
pub async fn insert(connection: &mut PgConnection, instance: &Instance) -> sqlx::Result<bool> {
    let labels = json(&instance.labels)?;
    let inserted = sqlx::query!(
        r#"INSERT INTO instances (id, customer_id, subscription_id, plan, plan_tier, db_tier, name, description, odoo_version, instance_type,
               status, desired_state, billing_status, provisioning_status, cpu_millis, memory_mib, storage_mib, subdomain, admin_email,
               demo_data, display_database_name, db_type, deployment_name, service_name, internal_url, external_url, labels,
               credentials_until, created_at, updated_at)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26,
               $27, $28, $29, $29)
           ON CONFLICT (subdomain) WHERE status <> 'purged' DO NOTHING"#,
        instance.id,
        instance.customer_id,
        instance.subscription_id,
        instance.plan,
        instance.plan_tier,
        instance.db_tier,
        instance.name,
        instance.description,
        instance.odoo_version,
        instance.instance_type,
        instance.status.as_str(),
        instance.desired_state.as_str(),
        instance.billing_status.as_str(),
        instance.provisioning_status.as_str(),
        i32::try_from(instance.limits.cpu_millis).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(instance.limits.memory_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(instance.limits.storage_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        instance.subdomain,
        instance.admin_email,
        instance.demo_data,
        instance.display_database_name,
        instance.db_type,
        instance.deployment_name,
        instance.service_name,
        instance.internal_url,
        instance.external_url,
        labels,
        instance.credentials_until,
        instance.created_at,
    )
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected() == 1)
}

/// One instance with its active operation.
pub async fn find(connection: &mut PgConnection, id: Uuid, scope: Scope) -> sqlx::Result<Option<Found>> {
    sqlx::query_as!(
        Row,
        r#"SELECT o.id AS "current_id?", o.kind AS "current_kind?", o.progress AS "current_progress?", i.*
           FROM instances i LEFT JOIN operations o ON o.instance_id = i.id AND o.state IN ('queued', 'running')
           WHERE i.id = $1 AND ($2::uuid IS NULL OR i.customer_id = $2)"#,
        id,
        scope.customer(),
    )
    .fetch_optional(connection)
    .await?
    .map(Found::try_from)
    .transpose()
}

/// The instance of a subscription; the live one if there are several.
pub async fn find_by_subscription(
    connection: &mut PgConnection,
    subscription: Uuid,
    scope: Scope,
) -> sqlx::Result<Option<Found>> {
    sqlx::query_as!(
        Row,
        r#"SELECT o.id AS "current_id?", o.kind AS "current_kind?", o.progress AS "current_progress?", i.*
           FROM instances i LEFT JOIN operations o ON o.instance_id = i.id AND o.state IN ('queued', 'running')
           WHERE i.subscription_id = $1 AND ($2::uuid IS NULL OR i.customer_id = $2)
           ORDER BY i.status IN ('terminated', 'purged'), i.created_at DESC
           LIMIT 1"#,
        subscription,
        scope.customer(),
    )
    .fetch_optional(connection)
    .await?
    .map(Found::try_from)
    .transpose()
}

/// Order of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sort {
    /// Oldest first.
    CreatedAt,
    /// Newest first.
    NewestFirst,
    /// By display name.
    Name,
}

impl Sort {
    /// Reads the words of the HTTP API; newest first when absent.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "-created_at" => Some(Self::NewestFirst),
            "created_at" => Some(Self::CreatedAt),
            "name" => Some(Self::Name),
            _ => None,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::CreatedAt => "created_at",
            Self::NewestFirst => "-created_at",
            Self::Name => "name",
        }
    }
}

/// What a list shows.
#[derive(Debug, Clone)]
pub struct Filter {
    /// Whose.
    pub scope: Scope,
    /// Empty: every status but `purged`.
    pub status: Vec<Status>,
    /// Part of name or host name; empty: all.
    pub query: String,
    /// Order.
    pub sort: Sort,
    /// Rows of a page.
    pub limit: i64,
    /// Rows before it.
    pub offset: i64,
}

/// A page and the number of all rows that pass the filter.
pub async fn list(connection: &mut PgConnection, filter: &Filter) -> sqlx::Result<(Vec<Found>, u64)> {
    let status: Vec<String> = filter.status.iter().map(ToString::to_string).collect();
    let pattern = (!filter.query.is_empty()).then(|| like(&filter.query));
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM instances
           WHERE ($1::uuid IS NULL OR customer_id = $1)
             AND (CASE WHEN cardinality($2::text[]) = 0 THEN status <> 'purged' ELSE status = ANY($2) END)
             AND ($3::text IS NULL OR name ILIKE $3 OR subdomain ILIKE $3)"#,
        filter.scope.customer(),
        &status,
        pattern,
    )
    .fetch_one(&mut *connection)
    .await?;
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT o.id AS "current_id?", o.kind AS "current_kind?", o.progress AS "current_progress?", i.*
           FROM instances i LEFT JOIN operations o ON o.instance_id = i.id AND o.state IN ('queued', 'running')
           WHERE ($1::uuid IS NULL OR i.customer_id = $1)
             AND (CASE WHEN cardinality($2::text[]) = 0 THEN i.status <> 'purged' ELSE i.status = ANY($2) END)
             AND ($3::text IS NULL OR i.name ILIKE $3 OR i.subdomain ILIKE $3)
           ORDER BY CASE $4 WHEN 'name' THEN lower(i.name) END, CASE $4 WHEN 'created_at' THEN i.created_at END,
             CASE $4 WHEN '-created_at' THEN i.created_at END DESC, i.id
           LIMIT $5 OFFSET $6"#,
        filter.scope.customer(),
        &status,
        pattern,
        filter.sort.word(),
        filter.limit,
        filter.offset,
    )
    .fetch_all(connection)
    .await?;
    let found = rows.into_iter().map(Found::try_from).collect::<sqlx::Result<_>>()?;
    Ok((found, u64::try_from(total).unwrap_or(0)))
}

/// A LIKE pattern that finds `text` anywhere; its own wildcards mean themselves.
fn like(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

/// What a decision writes besides the [`Change`].
#[derive(Debug, Clone, Default)]
pub struct Extra {
    /// New text for `suspended_reason`; `None` leaves it.
    pub suspended_reason: Option<String>,
    /// New end of the retention.
    pub purge_after: Option<OffsetDateTime>,
    /// New value of the restart annotation.
    pub restarted_at: Option<OffsetDateTime>,
    /// New standing of the subscription.
    pub billing_status: Option<BillingStatus>,
}

/// Saves a decision on the version that it was made on. False: somebody was faster; load and decide again.
pub async fn save_change(
    connection: &mut PgConnection,
    before: &Instance,
    change: &Change,
    extra: &Extra,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    // Only what leads to other objects counts as a new generation; a purge has none left to want.
    let grows = !matches!(change.kind, OperationKind::Purge | OperationKind::ApplyResources);
    let keeps_retention = change.desired == DesiredState::Terminated;
    let saved = sqlx::query!(
        r#"UPDATE instances SET status = $3, desired_state = $4, desired_before_suspend = $5, billing_hold = $6, operator_hold = $7,
               suspended_reason = CASE WHEN $6 OR $7 THEN coalesce($8, suspended_reason) END,
               purge_after = CASE WHEN $9 THEN coalesce($10, purge_after) END,
               restarted_at = coalesce($11, restarted_at), billing_status = coalesce($12, billing_status),
               provisioning_status = CASE WHEN $13 = 'create' THEN 'pending' ELSE provisioning_status END,
               generation = generation + CASE WHEN $14 THEN 1 ELSE 0 END, version = version + 1, updated_at = $15
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        change.status.as_str(),
        change.desired.as_str(),
        change.desired_before_suspend.map(DesiredState::as_str),
        change.holds.billing,
        change.holds.operator,
        extra.suspended_reason,
        keeps_retention,
        extra.purge_after,
        extra.restarted_at,
        extra.billing_status.map(BillingStatus::as_str),
        change.kind.as_str(),
        grows,
        now,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// Saves holds and billing's standing alone. False: lost race.
pub async fn save_holds(
    connection: &mut PgConnection,
    before: &Instance,
    holds: Holds,
    extra: &Extra,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let saved = sqlx::query!(
        r#"UPDATE instances SET billing_hold = $3, operator_hold = $4, suspended_reason = CASE WHEN $3 OR $4 THEN coalesce($5, suspended_reason) END,
               billing_status = coalesce($6, billing_status), version = version + 1, updated_at = $7
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        holds.billing,
        holds.operator,
        extra.suspended_reason,
        extra.billing_status.map(BillingStatus::as_str),
        now,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// Puts an instance back to where it stood before an operation that was taken back. False: lost race.
pub async fn take_back(
    connection: &mut PgConnection,
    before: &Instance,
    status: Status,
    desired: DesiredState,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let saved = sqlx::query!(
        r#"UPDATE instances SET status = $3, desired_state = $4, generation = generation + 1, version = version + 1, updated_at = $5
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        status.as_str(),
        desired.as_str(),
        now,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// Saves what the owner may edit (INS-17). `status` differs when the new limits are rolled out. False: lost race.
pub async fn save_edit(
    connection: &mut PgConnection,
    before: &Instance,
    edited: &Instance,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let labels = json(&edited.labels)?;
    // The display name stands in an annotation of the objects.
    let grows = before.limits != edited.limits || before.name != edited.name;
    let saved = sqlx::query!(
        r#"UPDATE instances SET name = $3, description = $4, admin_email = $5, labels = $6, cpu_millis = $7, memory_mib = $8, storage_mib = $9,
               status = $10, generation = generation + CASE WHEN $11 THEN 1 ELSE 0 END, version = version + 1, updated_at = $12
           WHERE id = $1 AND version = $2"#,
        before.id,
        before.version,
        edited.name,
        edited.description,
        edited.admin_email,
        labels,
        i32::try_from(edited.limits.cpu_millis).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(edited.limits.memory_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        i64::try_from(edited.limits.storage_mib).map_err(|error| sqlx::Error::Encode(error.into()))?,
        edited.status.as_str(),
        grows,
        now,
    )
    .execute(connection)
    .await?;
    Ok(saved.rows_affected() == 1)
}

/// Marks the first credentials as shown, unless they are already. The version stays: nothing that anybody decides on has changed.
pub async fn mark_revealed(
    connection: &mut PgConnection,
    id: Uuid,
    now: OffsetDateTime,
) -> sqlx::Result<bool> {
    let marked = sqlx::query!(
        "UPDATE instances SET credentials_revealed_at = $2 WHERE id = $1 AND credentials_revealed_at IS NULL",
        id,
        now,
    )
    .execute(connection)
    .await?;
    Ok(marked.rows_affected() == 1)
}

/// Lets one create of a customer decide at a time, until the transaction ends (INS-13).
pub async fn lock_customer(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<()> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended('customer:' || $1::text, 0))",
        customer.to_string()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Live instances of a customer, and whether a host name is taken.
pub async fn room(
    connection: &mut PgConnection,
    customer: Uuid,
    subdomain: &str,
) -> sqlx::Result<(i64, bool)> {
    let room = sqlx::query!(
        r#"SELECT (SELECT count(*) FROM instances WHERE customer_id = $1 AND status NOT IN ('terminated', 'purged')) AS "live!",
               EXISTS (SELECT 1 FROM instances WHERE subdomain = $2 AND status <> 'purged') AS "taken!""#,
        customer,
        subdomain,
    )
    .fetch_one(connection)
    .await?;
    Ok((room.live, room.taken))
}

/// Live instances by customer; customers without any are missing.
pub async fn count_live(connection: &mut PgConnection, customers: &[Uuid]) -> sqlx::Result<Vec<(Uuid, i64)>> {
    let rows = sqlx::query!(
        r#"SELECT customer_id, count(*) AS "count!" FROM instances
           WHERE customer_id = ANY($1) AND status NOT IN ('terminated', 'purged') GROUP BY customer_id"#,
        customers,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.customer_id, row.count)).collect())
}

/// Ids of a customer's live instances.
pub async fn live_of(connection: &mut PgConnection, customer: Uuid) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM instances WHERE customer_id = $1 AND status NOT IN ('terminated', 'purged') ORDER BY created_at",
        customer,
    )
    .fetch_all(connection)
    .await
}

/// Work of the sweeps: which action is due for which instance, without anybody asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Terminated, and the retention has passed. After a failure it rests for an hour.
    pub purge: Vec<Uuid>,
    /// Held, but not suspended, and at rest.
    pub suspend: Vec<Uuid>,
    /// Suspended, but nobody holds it any more, and at rest.
    pub unsuspend: Vec<Uuid>,
}

/// What is due now, at most `limit` of each.
pub async fn due(connection: &mut PgConnection, now: OffsetDateTime, limit: i64) -> sqlx::Result<Due> {
    let rows = sqlx::query!(
        r#"WITH resting AS (
               SELECT i.* FROM instances i
               WHERE NOT EXISTS (SELECT 1 FROM operations o WHERE o.instance_id = i.id AND o.state IN ('queued', 'running')))
           (SELECT id AS "id!", 'purge' AS "what!" FROM resting WHERE status = 'terminated' AND purge_after <= $1
               AND NOT EXISTS (SELECT 1 FROM operations f WHERE f.instance_id = resting.id AND f.kind = 'purge' AND f.state = 'failed'
                   AND f.finished_at > $1::timestamptz - interval '1 hour')
               ORDER BY purge_after LIMIT $2)
           UNION ALL
           (SELECT id, 'suspend' FROM resting WHERE (billing_hold OR operator_hold) AND desired_state <> 'suspended'
               AND status IN ('running', 'stopped', 'error') AND provisioning_status = 'completed' LIMIT $2)
           UNION ALL
           (SELECT id, 'unsuspend' FROM resting WHERE NOT billing_hold AND NOT operator_hold AND status = 'suspended' LIMIT $2)"#,
        now,
        limit,
    )
    .fetch_all(connection)
    .await?;
    let of = |what: &str| rows.iter().filter(|row| row.what == what).map(|row| row.id).collect();
    Ok(Due { purge: of("purge"), suspend: of("suspend"), unsuspend: of("unsuspend") })
}

/// Instances that wait for a payment, with their subscriptions, oldest first.
pub async fn unpaid(connection: &mut PgConnection, limit: i64) -> sqlx::Result<Vec<(Uuid, Uuid)>> {
    let rows = sqlx::query!(
        r#"SELECT id, subscription_id AS "subscription_id!" FROM instances
           WHERE status = 'pending_payment' AND subscription_id IS NOT NULL ORDER BY created_at LIMIT $1"#,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.subscription_id)).collect())
}

/// Terminated instances whose retention has passed, oldest first (dry run of a purge).
pub async fn expired(
    connection: &mut PgConnection,
    now: OffsetDateTime,
    limit: i64,
) -> sqlx::Result<Vec<Uuid>> {
    sqlx::query_scalar!(
        "SELECT id FROM instances WHERE status = 'terminated' AND purge_after <= $1 ORDER BY purge_after LIMIT $2",
        now,
        limit,
    )
    .fetch_all(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn wildcards_of_the_reader_mean_themselves() {
        assert_eq!(like("50%_a\\b"), "%50\\%\\_a\\\\b%");
    }
}
