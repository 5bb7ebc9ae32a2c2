//! workload: Service, network policy and Deployment. Never two Odoos on one volume: a Deployment is made anew
//! only when no pod is left (K8S-31).

use std::time::Duration;

use instance::domain::{OperationKind, ParkedFor};
use instance::store::observe;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::cluster::{LookAt, Owner};
use crate::objects::deployment::deployment;
use crate::objects::network_policy::network_policy;
use crate::objects::service::service;
use crate::objects::{Name, Wish};

/// K8S-31
const OLD_POD: Duration = Duration::from_secs(90);

pub(super) async fn apply(context: &mut Context<'_>, running: bool) -> Result<Outcome, Failure> {
    if running {
        super::volume::must_stand(context).await?;
    }
    let tenant = context.tenant(Wish { running, ..context.wish() })?;
    let (id, cluster, settings) = (tenant.id, &context.worker.cluster, &context.worker.settings);
    let owner = Owner::Instance(id);
    let wanted = deployment(&tenant, settings);
    let look_at = context.look_at();
    if running && look_at == LookAt::Server && cluster.compare(&wanted, owner).await?.is_none() {
        let left = context.pods().await?;
        if !left.is_empty() {
            if context.waited_longer_than(OLD_POD) {
                return Err(Failure::permanent(
                    "old_pod_remains",
                    "a former pod of the instance did not end in time",
                    format!("{} pods left", left.len()),
                ));
            }
            return Ok(Outcome::Wait(ParkedFor::Gone, Duration::from_secs(5)));
        }
    }
    let (service, policy) = (service(&tenant, settings), network_policy(&tenant, settings));
    futures::try_join!(cluster.apply(&service, owner, look_at), cluster.apply(&policy, owner, look_at))?;
    // Last: no pod starts before the policy that confines it stands.
    cluster.apply(&wanted, owner, look_at).await?;
    if matches!(context.operation.kind, OperationKind::Create | OperationKind::Undelete) && running {
        let mut connection = context.worker.database.acquire().await?;
        observe::workload_stands(&mut connection, id).await?;
    }
    Ok(Outcome::Done)
}

pub(super) async fn delete_deployment(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let id = context.instance.id;
    let name = Name::tenant(id);
    let cluster = &context.worker.cluster;
    cluster.delete::<Deployment>(context.namespace(), name.as_str(), Owner::Instance(id), None).await?;
    Ok(Outcome::Done)
}

pub(super) async fn delete_service(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let id = context.instance.id;
    let name = Name::tenant(id);
    let cluster = &context.worker.cluster;
    cluster.delete::<Service>(context.namespace(), name.as_str(), Owner::Instance(id), None).await?;
    Ok(Outcome::Done)
}

pub(super) async fn delete_policy(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let id = context.instance.id;
    let name = Name::tenant(id);
    let cluster = &context.worker.cluster;
    cluster.delete::<NetworkPolicy>(context.namespace(), name.as_str(), Owner::Instance(id), None).await?;
    Ok(Outcome::Done)
}
