//! volume: the claim of the wanted size. It grows and never shrinks; only a purge removes one that held data
//! (K8S-05, K8S-19).

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::cluster::{Cluster, Error, Owner};
use crate::objects::{Name, volume};
use crate::watch::facts;

pub(super) async fn claim(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    must_stand(context).await?;
    let tenant = context.tenant(context.wish())?;
    let wanted = volume::claim(&tenant, &context.worker.settings);
    let wanted = adapted(&context.worker.cluster, wanted).await?;
    context.worker.cluster.apply(&wanted, Owner::Instance(tenant.id), context.look_at()).await?;
    Ok(Outcome::Done)
}

/// Data is not configuration: where there was a volume, none is made in its place, and no pod is started or
/// ended that would cost the last of it. A person decides.
pub(super) async fn must_stand(context: &Context<'_>) -> Result<(), Failure> {
    let instance = &context.instance;
    if !instance.is_provisioned() {
        return Ok(());
    }
    let name = Name::volume(instance.id);
    let found: Option<PersistentVolumeClaim> =
        context.worker.cluster.get(context.namespace(), name.as_str()).await?;
    let (message, internal) = match found {
        None => ("the volume of the instance is gone; please ask support", "the claim is gone"),
        Some(claim) if facts::is_lost(&claim) => {
            ("the volume of the instance is gone; please ask support", "the volume behind the claim is gone")
        }
        Some(claim) if claim.metadata.deletion_timestamp.is_some() => (
            "the volume of the instance is being deleted; please ask support before it is stopped",
            "the claim is being deleted",
        ),
        Some(_) => return Ok(()),
    };
    Err(Failure::permanent("volume_lost", message, internal))
}

/// The wanted claim as an existing one can become it: the class of a claim never changes, whatever the
/// setting says by now, and a larger one never shrinks.
pub(crate) async fn adapted(
    cluster: &Cluster,
    mut wanted: PersistentVolumeClaim,
) -> Result<PersistentVolumeClaim, Error> {
    let namespace = wanted.metadata.namespace.clone().unwrap_or_default();
    let name = wanted.metadata.name.clone().unwrap_or_default();
    let existing = cluster.look_up::<PersistentVolumeClaim>(&namespace, &name).await?;
    if let Some(existing) = existing.as_ref().and_then(|existing| existing.spec.as_ref()) {
        volume::keep(&mut wanted, existing);
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
