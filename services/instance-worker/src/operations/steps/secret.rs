//! secret: database credentials and the generated password of the tenant's administrator, which is made once
//! and kept (INS-05).

use k8s_openapi::api::core::v1::Secret;
use rand::RngExt as _;
use secrecy::SecretString;

use super::super::context::Context;
use super::super::step::{Failure, Outcome};
use crate::cluster::{Applied, LookAt, Owner};
use crate::objects::secret::{Content, renewed, secret};
use crate::objects::{Name, Tenant};
use crate::worker::Worker;

/// Longer than any policy asks for; letters and digits only, so that it survives every form.
const PASSWORD_LENGTH: usize = 24;

pub(super) async fn ensure(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let tenant = context.tenant(context.wish())?;
    let instance = &context.instance;
    let ran = instance.is_provisioned();
    write(context.worker, &tenant, &instance.admin_email, ran, context.look_at()).await?;
    Ok(Outcome::Done)
}

/// Writes the Secret with the credentials of today; an existing password of the administrator stays. When it
/// is lost and the instance `ran` already, Odoo has another one than a new Secret could hold: it says so.
pub(crate) async fn write(
    worker: &Worker,
    tenant: &Tenant,
    admin_email: &str,
    ran: bool,
    look_at: LookAt,
) -> Result<Applied, Failure> {
    let owner = Owner::Instance(tenant.id);
    let name = Name::tenant(tenant.id);
    let namespace = &worker.settings.tenants;
    let secrets = &worker.cluster.cache().secrets;
    let surely_absent =
        look_at == LookAt::Watches && secrets.is_fresh() && secrets.get(name.as_str()).is_none();
    let existing: Option<Secret> =
        if surely_absent { None } else { worker.cluster.get(namespace, name.as_str()).await? };
    if let Some(existing) = &existing
        && !owner.owns(&existing.metadata)
    {
        return Err(crate::cluster::Error::OwnershipConflict(format!("Secret {name}")).into());
    }
    let credentials = worker.peers.credentials(tenant.id).await?;
    let database = (credentials.user, credentials.password);
    // The login is that of the first start; a later change of the contact does not rename it.
    let kept = existing.as_ref().and_then(|existing| renewed(tenant, existing, database.clone()));
    let content = kept.unwrap_or_else(|| Content {
        database_user: database.0,
        database_password: database.1,
        admin_email: admin_email.to_owned(),
        admin_password: generate(),
        admin_known: !ran,
    });
    Ok(worker.cluster.apply(&secret(tenant, &content, namespace), owner, look_at).await?)
}

fn generate() -> SecretString {
    let mut random = rand::rng();
    let text: String =
        (0..PASSWORD_LENGTH).map(|_| char::from(random.sample(rand::distr::Alphanumeric))).collect();
    SecretString::from(text)
}

pub(super) async fn delete(context: &mut Context<'_>) -> Result<Outcome, Failure> {
    let id = context.instance.id;
    let name = Name::tenant(id);
    context
        .worker
        .cluster
        .delete::<Secret>(context.namespace(), name.as_str(), Owner::Instance(id), None)
        .await?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    /// INS-05
    #[test]
    fn generated_passwords_are_long_and_differ() {
        let (first, second) = (generate(), generate());
        assert!(first.expose_secret().len() >= 20);
        assert!(first.expose_secret().chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(first.expose_secret(), second.expose_secret());
    }
}
