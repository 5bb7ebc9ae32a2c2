//! The transaction of a create: quota, host name, row, operation, event, announcements, key (INS-10).

use contracts::events::{InstanceFact, topics};
use instance::domain::{
    BillingStatus, DesiredState, Holds, Instance, Observed, Operation, OperationKind, ProvisioningStatus,
    Status, names, workload_name,
};
use instance::store::claims::Claim;
use instance::store::idempotency::Remembered;
use instance::store::instances::{Current, Found};
use instance::store::operations::NewOperation;
use instance::store::{self, audit, claims, closed, events, idempotency, instances, operations};
use sqlx::PgConnection;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::checked::{Draft, HostName};
use super::request::{Created, answer_again};
use crate::app::App;
use crate::app::caller::Caller;
use crate::clients::billing::Placed;
use crate::error::Error;
use crate::rules::Rules;

/// The first credentials can be revealed for so long (INS-37).
const CREDENTIALS_LIFE: Duration = Duration::days(7);

/// Why there is no answer.
pub(super) enum Unstored {
    /// Nothing was written, for certain.
    Refused(Error),
    /// The answer to the commit was lost.
    Unknown(Error),
}

impl From<Error> for Unstored {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<sqlx::Error> for Unstored {
    fn from(error: sqlx::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Is there room for one more, and is the chosen host name free? The claim `own` is no hindrance.
pub(super) async fn check_room(
    connection: &mut PgConnection,
    rules: &Rules,
    draft: &Draft,
    own: Uuid,
) -> Result<(), Error> {
    let chosen = match &draft.subdomain {
        HostName::Chosen(subdomain) => subdomain.as_str(),
        HostName::Made => "",
    };
    let room = instances::room(connection, draft.customer, chosen, own).await?;
    if room.live >= i64::from(draft.quota) {
        return Err(Error::QuotaExceeded(draft.quota));
    }
    if room.kept >= i64::from(rules.max_kept) {
        return Err(Error::TooMuchKept(rules.max_kept));
    }
    if room.taken {
        return Err(Error::SubdomainTaken);
    }
    Ok(())
}

pub(super) async fn store(
    app: &App,
    caller: &Caller,
    draft: &Draft,
    claim: &Claim,
    placed: &Placed,
) -> Result<Created, Unstored> {
    let mut tx = app.pool.begin().await?;
    let now = store::now(&mut tx).await?;
    let stored = within(&mut tx, app, caller, draft, claim, placed, now).await?;
    tx.commit().await.map_err(|error| Unstored::Unknown(error.into()))?;
    Ok(stored)
}

async fn within(
    connection: &mut PgConnection,
    app: &App,
    caller: &Caller,
    draft: &Draft,
    claim: &Claim,
    placed: &Placed,
    now: OffsetDateTime,
) -> Result<Created, Error> {
    let id = claim.instance_id;
    instances::lock_customer(connection, draft.customer).await?;
    if let Some(key) = &claim.key {
        if let Some(remembered) = idempotency::find(connection, draft.customer, key, now).await? {
            return answer_again(connection, draft.customer, &claim.request_hash, &remembered).await;
        }
        let remembered = Remembered { request_hash: claim.request_hash.clone(), instance_id: id };
        idempotency::remember(connection, draft.customer, key, &remembered, now).await?;
    }
    if closed::is_closing(connection, draft.customer).await? {
        return Err(Error::Forbidden);
    }
    if !claims::release(connection, id, claim.token).await? {
        // It took longer than a claim lasts, and somebody else has the name.
        return Err(Error::SubdomainTaken);
    }
    check_room(connection, &app.rules, draft, id).await?;
    let instance = row(&app.rules, draft, id, placed, &claim.subdomain, now);
    if !instances::insert(connection, &instance).await? {
        return Err(Error::SubdomainTaken);
    }
    let operation =
        if placed.provision_now { Some(begin(connection, caller, &instance).await?) } else { None };
    let operation_id = operation.as_ref().map(|operation| operation.id);
    let message = message(draft, &instance, operation.is_some());
    events::add(connection, id, "created", caller.cause(draft.customer), &message, operation_id, now).await?;
    if caller.is_audited_for(draft.customer) {
        audit::add(connection, &caller.entry("create", Some(id), "ordered for a customer")).await?;
    }
    let fact = fact(&instance, operation_id, now);
    messaging::outbox::enqueue(connection, topics::INSTANCE_CREATED, id, &fact).await?;
    let current =
        operation.as_ref().map(|operation| Current { id: operation.id, kind: operation.kind, progress: 0 });
    Ok(Created { found: Found { instance, current }, operation })
}

/// What the timeline says. A host name that is not the display name's is told: nobody chose it.
fn message(draft: &Draft, instance: &Instance, begins: bool) -> String {
    let next = if begins { "it is being made" } else { "it waits for a payment" };
    if is_altered(draft, instance) {
        format!(
            "ordered; {next}; its host name is {}, because the one of its name cannot be had",
            instance.subdomain
        )
    } else {
        format!("ordered; {next}")
    }
}

fn is_altered(draft: &Draft, instance: &Instance) -> bool {
    matches!(draft.subdomain, HostName::Made) && names::slug(&draft.name) != instance.subdomain
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
    caller: &Caller,
    instance: &Instance,
) -> Result<Operation, Error> {
    let new = NewOperation {
        kind: OperationKind::Create,
        requested_by: caller.actor.clone(),
        parameters: serde_json::json!({}),
        request_id: caller.request_id.clone(),
        can_be_taken_back: false,
    };
    Ok(operations::insert(connection, instance, new).await?)
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
