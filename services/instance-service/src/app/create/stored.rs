//! The transaction of a create: quota, host name, row, operation, event, announcements, key (INS-10).

use contracts::events::{InstanceFact, topics};
use instance::domain::{
    BillingStatus, DesiredState, Holds, Instance, Observed, Operation, OperationKind, ProvisioningStatus,
    Status, workload_name,
};
use instance::store::idempotency::Remembered;
use instance::store::instances::{Current, Found};
use instance::store::operations::NewOperation;
use instance::store::{audit, events, idempotency, instances, operations};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::checked::{Draft, HostName};
use super::{Created, Key, answer_again};
use crate::app::who::Who;
use crate::app::{App, Rules};
use crate::clients::billing::Placed;
use crate::error::Error;

/// The first credentials can be revealed for so long (INS-37).
const CREDENTIALS_LIFE: Duration = Duration::days(7);
/// Host names that are tried before we give up; a suffix has 1.6 million values.
const SUFFIXES: usize = 8;

/// Is there room for one more, and is the chosen host name free?
pub(super) async fn check_room(connection: &mut PgConnection, draft: &Draft) -> Result<(), Error> {
    let chosen = match &draft.subdomain {
        HostName::Chosen(subdomain) => subdomain.as_str(),
        HostName::Made => "",
    };
    let (live, taken) = instances::room(connection, draft.customer, chosen).await?;
    if live >= i64::from(draft.quota) {
        return Err(Error::QuotaExceeded(draft.quota));
    }
    if taken {
        return Err(Error::SubdomainTaken);
    }
    Ok(())
}

pub(super) async fn store(
    app: &App,
    who: &Who,
    draft: &Draft,
    id: Uuid,
    placed: &Placed,
    key: Option<&Key>,
) -> Result<Created, Error> {
    let now = runtime::clock::now();
    let mut tx = app.pool.begin().await?;
    instances::lock_customer(&mut tx, draft.customer).await?;
    if let Some(key) = key {
        if let Some(remembered) = idempotency::find(&mut tx, draft.customer, &key.text, now).await? {
            return answer_again(&mut tx, draft.customer, key, &remembered).await;
        }
        let remembered = Remembered { request_hash: key.hash.clone(), instance_id: id };
        idempotency::remember(&mut tx, draft.customer, &key.text, &remembered, now).await?;
    }
    check_room(&mut tx, draft).await?;
    let instance = insert(&mut tx, &app.rules, draft, id, placed, now).await?;
    let operation =
        if placed.provision_now { Some(begin(&mut tx, who, &instance, now).await?) } else { None };
    let message =
        if operation.is_some() { "ordered; it is being made" } else { "ordered; it waits for a payment" };
    let operation_id = operation.as_ref().map(|operation| operation.id);
    events::add(&mut tx, id, "created", who.cause(), message, operation_id, now).await?;
    if who.is_audited_for(draft.customer) {
        audit::add(&mut tx, &who.entry("create", Some(id), "ordered for a customer")).await?;
    }
    messaging::outbox::enqueue(&mut tx, topics::INSTANCE_CREATED, id, &fact(&instance, operation_id, now))
        .await?;
    tx.commit().await?;
    let current =
        operation.as_ref().map(|operation| Current { id: operation.id, kind: operation.kind, progress: 0 });
    Ok(Created { found: Found { instance, current }, operation })
}

/// Inserts the row under the first host name that is free.
async fn insert(
    connection: &mut PgConnection,
    rules: &Rules,
    draft: &Draft,
    id: Uuid,
    placed: &Placed,
    now: OffsetDateTime,
) -> Result<Instance, Error> {
    if let HostName::Chosen(subdomain) = &draft.subdomain {
        let instance = row(rules, draft, id, placed, subdomain.as_str(), now);
        let free = instances::insert(connection, &instance).await?;
        return if free { Ok(instance) } else { Err(Error::SubdomainTaken) };
    }
    if let Some(plain) = rules.subdomains.from_name(&draft.name) {
        let instance = row(rules, draft, id, placed, plain.as_str(), now);
        if instances::insert(connection, &instance).await? {
            return Ok(instance);
        }
    }
    for _ in 0..SUFFIXES {
        let subdomain = rules.subdomains.from_name_with_suffix(&draft.name, &suffix())?;
        let instance = row(rules, draft, id, placed, subdomain.as_str(), now);
        if instances::insert(connection, &instance).await? {
            return Ok(instance);
        }
    }
    Err(Error::SubdomainTaken)
}

/// Four random characters of a-z and 0-9.
fn suffix() -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let random: [u8; 4] = rand::random();
    random.iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

fn row(
    rules: &Rules,
    draft: &Draft,
    id: Uuid,
    placed: &Placed,
    subdomain: &str,
    now: OffsetDateTime,
) -> Instance {
    let name = workload_name(id);
    let standing = if placed.provision_now { Status::Creating } else { Status::PendingPayment };
    Instance {
        id,
        customer_id: draft.customer,
        subscription_id: Some(placed.subscription_id),
        plan: draft.plan.name.clone(),
        plan_tier: draft.plan.tier.clone(),
        db_tier: draft.plan.db_tier.clone(),
        name: draft.name.clone(),
        description: draft.description.clone(),
        odoo_version: draft.odoo_version.clone(),
        instance_type: draft.instance_type.clone(),
        status: standing,
        desired_state: DesiredState::Running,
        desired_before_suspend: None,
        holds: Holds::default(),
        suspended_reason: None,
        billing_status: placed.billing_status,
        provisioning_status: ProvisioningStatus::Pending,
        generation: 1,
        observed_generation: 0,
        observed: Observed {
            phase: "not_found".to_owned(),
            ready: false,
            restarts: 0,
            reason: String::new(),
            node: String::new(),
            pod_ip: String::new(),
            started_at: None,
            at: None,
        },
        limits: draft.limits,
        subdomain: subdomain.to_owned(),
        admin_email: draft.admin_email.clone(),
        demo_data: draft.demo_data,
        display_database_name: draft.database_label.clone(),
        db_type: draft.plan.db_type.clone(),
        database: None,
        deployment_name: name.to_string(),
        service_name: name.to_string(),
        internal_url: rules.addresses.internal_url(id),
        external_url: rules.addresses.external_url(subdomain),
        error: None,
        restarted_at: None,
        purge_after: None,
        last_health_check: None,
        labels: draft.labels.clone(),
        credentials_until: now + CREDENTIALS_LIFE,
        credentials_revealed_at: None,
        version: 1,
        created_at: now,
        updated_at: now,
        started_at: None,
    }
}

async fn begin(
    connection: &mut PgConnection,
    who: &Who,
    instance: &Instance,
    now: OffsetDateTime,
) -> Result<Operation, Error> {
    let new = NewOperation {
        kind: OperationKind::Create,
        requested_by: who.actor.clone(),
        parameters: serde_json::json!({}),
        request_id: who.request_id.clone(),
        can_be_taken_back: false,
    };
    Ok(operations::insert(connection, instance, new, now).await?)
}

fn fact(instance: &Instance, operation_id: Option<Uuid>, now: OffsetDateTime) -> InstanceFact {
    InstanceFact {
        instance_id: instance.id,
        customer_id: instance.customer_id,
        subscription_id: instance.subscription_id,
        name: instance.name.clone(),
        external_url: instance.external_url.clone(),
        admin_email: instance.admin_email.clone(),
        plan: instance.plan.clone(),
        operation_id,
        reason: (instance.billing_status == BillingStatus::PaymentRequired)
            .then(|| "payment_required".to_owned()),
        purge_after: None,
        occurred_at: now,
    }
}
