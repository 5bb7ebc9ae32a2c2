//! volume: the claim of the wanted size. It grows and never shrinks; only a purge removes one that held data (K8S-05, K8S-19).

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::cluster::{Cluster, Error, Owner};
use crate::objects::{Name, volume};

pub(super) async fn claim(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let tenant = context.tenant(context.wish())?;
    let wanted = volume::claim(&tenant, &context.worker.settings);
    let wanted = adapted(&context.worker.cluster, wanted).await?;
    context.worker.cluster.apply(&wanted, Owner::Instance(tenant.id), context.look_at()).await?;
    Ok(Outcome::Done)
}

/// The wanted claim as an existing one can become it: the class of a claim never changes, whatever the setting says by now.
pub(crate) async fn adapted(
    cluster: &Cluster,
    mut wanted: PersistentVolumeClaim,
) -> Result<PersistentVolumeClaim, Error> {
    let namespace = wanted.metadata.namespace.clone().unwrap_or_default();
    let name = wanted.metadata.name.clone().unwrap_or_default();
    let existing = cluster.look_up::<PersistentVolumeClaim>(&namespace, &name).await?;
    let class =
        existing.and_then(|existing| existing.spec.as_ref().and_then(|s| s.storage_class_name.clone()));
    if let (Some(class), Some(spec)) = (class, wanted.spec.as_mut()) {
        spec.storage_class_name = Some(class);
    }
    Ok(wanted)
}

pub(super) async fn delete(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let id = context.instance.id;
    let name = Name::volume(id);
    context
        .worker
        .cluster
        .delete::<PersistentVolumeClaim>(context.namespace(), name.as_str(), Owner::Instance(id), None)
        .await?;
    Ok(Outcome::Done)
}

pub(super) async fn delete_fresh(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    if context.instance.started_at.is_some() {
        return Ok(Outcome::Skipped("the volume held data before and is kept"));
    }
    delete(context).await
}
