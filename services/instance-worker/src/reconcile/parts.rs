//! The objects of a tenant one by one: each is compared and brought back by itself, so that one that cannot
//! be does not stop the others.

use instance::domain::Instance;
use instance::store::observe;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret};

use super::roll_out::wish_changed;
use crate::cluster::{Applied, Error, Kind, LookAt, Owner, Standing};
use crate::objects::deployment::{TEMPLATE, deployment, template_of};
use crate::objects::ingress::ingress;
use crate::objects::network_policy::network_policy;
use crate::objects::secret::is_untouched;
use crate::objects::service::service;
use crate::objects::volume::claim;
use crate::objects::{Name, Tenant};
use crate::operations::{Failure, claim_as_it_can_be, write_secret};
use crate::watch::facts;
use crate::worker::Worker;

/// One object of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Part {
    Secret,
    Claim,
    Service,
    Policy,
    Deployment,
    Ingress,
}

impl Part {
    /// In the order in which they are brought back: the policy before the pod that it confines.
    pub const ALL: [Self; 6] =
        [Self::Secret, Self::Claim, Self::Service, Self::Policy, Self::Deployment, Self::Ingress];

    pub fn kind(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::Claim => "PersistentVolumeClaim",
            Self::Service => "Service",
            Self::Policy => "NetworkPolicy",
            Self::Deployment => "Deployment",
            Self::Ingress => "Ingress",
        }
    }
}

/// How the volume of a tenant is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Volume {
    Stands,
    /// It goes as soon as no pod uses it.
    Deleting,
    /// It is gone: data is not configuration, and nothing is made in its place.
    Lost,
}

/// What came of a repair of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Repaired {
    /// It was as wanted after all.
    Nothing,
    /// Brought back; with the paths that differ still.
    Back(Vec<String>),
    /// What is wanted had changed, with the row or the release: nothing to tell the customer.
    Updated,
    /// Somebody else is at work, or something must end first.
    Later,
    /// Whoever had to be asked did not answer.
    Away,
    /// As many instances as may be are started anew already.
    Waits,
    /// Somebody changes it again and again: it is brought back after a pause.
    Slowed,
}

/// The objects of one tenant.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parts<'a> {
    pub worker: &'a Worker,
    pub instance: &'a Instance,
    pub tenant: &'a Tenant,
}

impl Parts<'_> {
    fn owner(&self) -> Owner<'static> {
        Owner::Instance(self.tenant.id)
    }

    /// From the watches; "lost" only when the server says so too.
    pub async fn volume(&self) -> Result<Volume, Error> {
        let (cluster, namespace) = (&self.worker.cluster, &self.worker.settings.tenants);
        let name = Name::volume(self.tenant.id);
        let seen = cluster.look_up::<PersistentVolumeClaim>(namespace, name.as_str()).await?;
        let fine = |claim: &PersistentVolumeClaim| {
            !facts::is_lost(claim) && claim.metadata.deletion_timestamp.is_none()
        };
        if seen.as_deref().is_some_and(fine) {
            return Ok(Volume::Stands);
        }
        let found = cluster.get::<PersistentVolumeClaim>(namespace, name.as_str()).await?;
        Ok(match found {
            None => Volume::Lost,
            Some(claim) if facts::is_lost(&claim) => Volume::Lost,
            Some(claim) if claim.metadata.deletion_timestamp.is_some() => Volume::Deleting,
            Some(_) => Volume::Stands,
        })
    }

    /// How one object stands to what is wanted, from the watches. `known`: this very Secret was read and
    /// found untouched.
    pub async fn standing(&self, part: Part, known: bool) -> Result<Standing, Error> {
        let (cluster, settings) = (&self.worker.cluster, &self.worker.settings);
        let (tenant, owner) = (self.tenant, self.owner());
        match part {
            Part::Secret => Box::pin(self.secret_standing(known)).await,
            Part::Claim => {
                let claim = claim_as_it_can_be(cluster, claim(tenant, settings)).await?;
                Box::pin(cluster.standing(&claim, owner)).await
            }
            Part::Service => Box::pin(cluster.standing(&service(tenant, settings), owner)).await,
            Part::Policy => Box::pin(cluster.standing(&network_policy(tenant, settings), owner)).await,
            Part::Deployment => Box::pin(self.deployment_standing()).await,
            Part::Ingress => Box::pin(cluster.standing(&ingress(tenant, settings), owner)).await,
        }
    }

    /// The data of a Secret is part of it: what it holds must be what was written.
    async fn secret_standing(&self, known: bool) -> Result<Standing, Error> {
        if known {
            return Ok(Standing::AsWanted);
        }
        let (cluster, namespace) = (&self.worker.cluster, &self.worker.settings.tenants);
        let name = Name::tenant(self.tenant.id);
        let found: Option<Secret> = cluster.get(namespace, name.as_str()).await?;
        Ok(match found {
            Some(secret) if !self.owner().owns(&secret.metadata) => {
                return Err(Error::OwnershipConflict(format!("Secret {name}")));
            }
            Some(secret) if is_untouched(self.tenant.id, &secret) => Standing::AsWanted,
            Some(_) => Standing::Differs(vec!["data".to_owned()]),
            None => Standing::Missing,
        })
    }

    /// One that a worker of a later release made is its to look after.
    async fn deployment_standing(&self) -> Result<Standing, Error> {
        let (cluster, settings) = (&self.worker.cluster, &self.worker.settings);
        let name = Name::tenant(self.tenant.id);
        let stored = cluster.look_up::<Deployment>(&settings.tenants, name.as_str()).await?;
        if stored.is_some_and(|stored| self.owner().owns(&stored.metadata) && template_of(&stored) > TEMPLATE)
        {
            return Ok(Standing::AsWanted);
        }
        cluster.standing(&deployment(self.tenant, settings), self.owner()).await
    }

    /// Brings one object back, while the instance is at rest and the object is as it was seen.
    pub async fn repair(&self, part: Part) -> anyhow::Result<Repaired> {
        let (cluster, settings) = (&self.worker.cluster, &self.worker.settings);
        let tenant = self.tenant;
        match part {
            Part::Secret => Box::pin(self.write_secret()).await,
            Part::Claim => {
                let claim = claim_as_it_can_be(cluster, claim(tenant, settings)).await?;
                Box::pin(self.bring_back(&claim, false)).await
            }
            Part::Service => Box::pin(self.bring_back(&service(tenant, settings), true)).await,
            Part::Policy => Box::pin(self.bring_back(&network_policy(tenant, settings), true)).await,
            Part::Deployment => {
                if tenant.running && self.must_wait_for_old_pod().await? {
                    return Ok(Repaired::Later);
                }
                Box::pin(self.bring_back(&deployment(tenant, settings), true)).await
            }
            Part::Ingress => Box::pin(self.bring_back(&ingress(tenant, settings), true)).await,
        }
    }

    /// `anew`: it may be made when it is not there.
    async fn bring_back<K: Kind>(&self, wanted: &K, anew: bool) -> anyhow::Result<Repaired> {
        let seen = self.worker.cluster.see(wanted, self.owner()).await?;
        if (!anew && !seen.is_there()) || !self.is_at_rest().await? {
            return Ok(Repaired::Later);
        }
        repaired(Box::pin(self.worker.cluster.apply_seen(wanted, seen)).await)
    }

    async fn write_secret(&self) -> anyhow::Result<Repaired> {
        if !self.is_at_rest().await? {
            return Ok(Repaired::Later);
        }
        let email = &self.instance.admin_email;
        match write_secret(self.worker, self.tenant, email, true, LookAt::Server).await {
            Ok(applied) => repaired(Ok(applied)),
            Err(Failure::Retry { internal, .. }) => Err(anyhow::anyhow!(internal)),
            // No other try will have another answer.
            Err(Failure::Permanent { reason, internal, .. }) => {
                tracing::warn!(instance.id = %self.tenant.id, reason, internal, "no Secret can be written");
                Ok(Repaired::Back(vec![reason]))
            }
        }
    }

    /// No operation, and nobody's decision, came since the row was read.
    async fn is_at_rest(&self) -> anyhow::Result<bool> {
        let mut connection = self.worker.database.acquire().await?;
        Ok(observe::lock_at_rest(&mut connection, self.instance.id, self.instance.version).await?)
    }

    /// Never two Odoos on one volume: a Deployment that is gone comes back when its pods are (K8S-31).
    async fn must_wait_for_old_pod(&self) -> Result<bool, Error> {
        let (cluster, settings) = (&self.worker.cluster, &self.worker.settings);
        let (id, name) = (self.tenant.id, Name::tenant(self.tenant.id));
        if cluster.get::<Deployment>(&settings.tenants, name.as_str()).await?.is_some() {
            return Ok(false);
        }
        let left = cluster.pods_at_server(&settings.tenants, id).await?.len();
        if left > 0 {
            tracing::info!(instance.id = %id, pods = left, "the Deployment waits for its former pods to go");
        }
        Ok(left > 0)
    }
}

fn repaired(applied: Result<Applied, Error>) -> anyhow::Result<Repaired> {
    match applied {
        Ok(Applied::Unchanged { .. }) => Ok(Repaired::Nothing),
        Ok(Applied::Created { .. }) => Ok(Repaired::Back(Vec::new())),
        Ok(Applied::Repaired { paths, left, .. }) if left.is_empty() && wish_changed(&paths) => {
            Ok(Repaired::Updated)
        }
        Ok(Applied::Repaired { left, .. }) => Ok(Repaired::Back(left)),
        Err(Error::Conflict(why)) => {
            tracing::info!(why, "repaired later");
            Ok(Repaired::Later)
        }
        Err(error) => Err(error.into()),
    }
}
