//! Rows of `instances`: find and list. Writes are in `save`, counts and due work in `count`.

mod count;
mod save;

use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Scope, inconsistent, readable, word};
use crate::domain::{
    Database, DesiredState, Failure, Holds, Instance, Limits, Observed, OperationKind, Status,
};

pub use count::{
    Due, Live, Room, Subscribed, count_live, due, expired, live_after, live_of, live_page, lock_customer,
    room, unpaid,
};
pub use save::{
    RowUpdate, insert, mark_revealed, save_change, save_edit, save_holds, save_plan, save_reactivation,
    take_back,
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
    Ok((readable(rows), u64::try_from(total).unwrap_or(0)))
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

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn wildcards_of_the_reader_mean_themselves() {
        assert_eq!(like("50%_a\\b"), "%50\\%\\_a\\\\b%");
    }
}
