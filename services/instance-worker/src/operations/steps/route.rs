//! route: the Ingress, to the instance or to the page that says it is off.

use k8s_openapi::api::networking::v1::Ingress;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::cluster::Owner;
use crate::objects::ingress::ingress;
use crate::objects::{Name, Wish};

pub(super) async fn apply(context: &mut Context<'_>, routed: bool) -> Result<Outcome, Failure> {
    let tenant = context.tenant(Wish { routed, ..context.wish() })?;
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
