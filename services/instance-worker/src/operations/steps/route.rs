//! route: the Ingress, to the instance or to the page that tells why it does not answer. An instance that comes
//! up is routed to only when it answers; one that goes down tells so before its pod ends.

use k8s_openapi::api::networking::v1::Ingress;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::cluster::Owner;
use crate::objects::ingress::ingress;
use crate::objects::{Name, Off, Route, Wish};

/// Where the desired state says; while its pod comes up, to the page that says so.
pub(super) async fn as_desired(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    match context.wish().route {
        Route::Instance => apply(context, Route::Page(Off::Starting)).await,
        page @ Route::Page(_) => apply(context, page).await,
    }
}

/// Before the pod of the instance ends: what visitors see from then on.
pub(super) async fn before_stop(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    match context.wish().route {
        Route::Instance => apply(context, Route::Page(Off::Maintenance)).await,
        page @ Route::Page(_) => apply(context, page).await,
    }
}

pub(super) async fn apply(context: &mut Context<'_>, route: Route) -> Result<Outcome, Failure> {
    let tenant = context.tenant(Wish { route, ..context.wish() })?;
    let wanted = ingress(&tenant, &context.worker.settings);
    context.worker.cluster.apply(&wanted, Owner::Instance(tenant.id), context.look_at()).await?;
    Ok(Outcome::Done)
}

pub(super) async fn delete(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let id = context.instance.id;
    let name = Name::tenant(id);
    let cluster = &context.worker.cluster;
    cluster.delete::<Ingress>(context.namespace(), name.as_str(), Owner::Instance(id), None).await?;
    Ok(Outcome::Done)
}
