//! A dry run (MON-05): everything that a repair would change, from a fresh list; and what belongs to nobody.
//! Writes nothing.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use instance::domain::Instance;
use instance::store::{Scope, instances, observe};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, NetworkPolicy};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use super::wanted::{Wanted, wanted};
use crate::cluster::{Cache, Error, Kind, wanted_json};
use crate::objects::deployment::deployment;
use crate::objects::ingress::ingress;
use crate::objects::network_policy::network_policy;
use crate::objects::secret::is_untouched;
use crate::objects::service::service;
use crate::objects::volume::{claim, keep};
use crate::objects::{Name, Settings, Tenant, meta};
use crate::worker::Worker;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whose object.
    pub instance_id: String,
    /// Kind and name.
    pub object: String,
    /// missing, changed, orphan.
    pub kind: &'static str,
    /// Paths that differ; never a value.
    pub detail: String,
    /// Namespace.
    pub namespace: String,
}

/// Objects of the cluster by kind and name.
type Found = BTreeMap<(String, String), (ObjectMeta, Value)>;

/// Compares one instance, or all, with the cluster.
pub async fn compare(worker: &Worker, only: Option<Uuid>) -> anyhow::Result<Vec<Difference>> {
    let found = read(worker, only).await?;
    let mut connection = worker.database.acquire().await?;
    let ids = match only {
        Some(id) => vec![id],
        None => observe::known_instances(&mut connection).await?,
    };
    let mut differences = Vec::new();
    for id in &ids {
        if let Some(row) = instances::find(&mut connection, *id, Scope::All).await?
            && row.current.is_none()
        {
            of_instance(&row.instance, &worker.settings, &found, &mut differences)?;
        }
    }
    let known: HashSet<Uuid> = observe::known_instances(&mut connection).await?.into_iter().collect();
    let objects = found.iter().map(|((kind, name), (metadata, _))| (kind.as_str(), name.as_str(), metadata));
    differences.extend(nobodys(objects, &known, &worker.settings.tenants));
    Ok(differences)
}

async fn read(worker: &Worker, only: Option<Uuid>) -> Result<Found, Error> {
    let mut found = Found::new();
    add::<Deployment>(worker, only, &mut found).await?;
    add::<Service>(worker, only, &mut found).await?;
    add::<Ingress>(worker, only, &mut found).await?;
    add::<PersistentVolumeClaim>(worker, only, &mut found).await?;
    add::<NetworkPolicy>(worker, only, &mut found).await?;
    for secret in worker.cluster.list::<Secret>(&worker.settings.tenants, &selector(only)).await? {
        let name = secret.metadata.name.clone().unwrap_or_default();
        // Only whether it is as it was written: its content stays out of everything that is told.
        let untouched = meta::instance_of(&secret.metadata).is_some_and(|id| is_untouched(id, &secret));
        found.insert(("Secret".to_owned(), name), (secret.metadata, Value::Bool(untouched)));
    }
    Ok(found)
}

fn selector(only: Option<Uuid>) -> String {
    only.map_or_else(|| meta::INSTANCE_ID.to_owned(), |id| format!("{}={id}", meta::INSTANCE_ID))
}

async fn add<K>(worker: &Worker, only: Option<Uuid>, found: &mut Found) -> Result<(), Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + DeserializeOwned
        + serde::Serialize
        + Clone
        + fmt::Debug,
{
    for object in worker.cluster.list::<K>(&worker.settings.tenants, &selector(only)).await? {
        let name = object.meta().name.clone().unwrap_or_default();
        let metadata = object.meta().clone();
        let value = serde_json::to_value(&object).map_err(|error| Error::Invalid(error.to_string()))?;
        found.insert((K::kind(&()).into_owned(), name), (metadata, value));
    }
    Ok(())
}

fn of_instance(
    instance: &Instance,
    settings: &Settings,
    found: &Found,
    differences: &mut Vec<Difference>,
) -> Result<(), Error> {
    let name = Name::tenant(instance.id).to_string();
    let mut report = |kind: &str, name: &str, what, detail: String| {
        differences.push(Difference {
            instance_id: instance.id.to_string(),
            object: format!("{kind}/{name}"),
            kind: what,
            detail,
            namespace: settings.tenants.clone(),
        });
    };
    match wanted(instance) {
        None => Ok(()),
        Some(Wanted::NoWorkload(_)) => {
            if found.contains_key(&("Deployment".to_owned(), name.clone())) {
                report("Deployment", &name, "changed", "a terminated instance has a workload".to_owned());
            }
            Ok(())
        }
        Some(Wanted::Objects(tenant)) => {
            match found.get(&("Secret".to_owned(), name.clone())) {
                None => report("Secret", &name, "missing", String::new()),
                Some((_, untouched)) if *untouched != Value::Bool(true) => {
                    report("Secret", &name, "changed", "data".to_owned());
                }
                Some(_) => {}
            }
            for (kind, name, json) in wanted_objects(&tenant, settings, found)? {
                match found.get(&(kind.clone(), name.clone())) {
                    None => report(&kind, &name, "missing", String::new()),
                    Some((_, live)) => {
                        let paths = crate::cluster::differences(&kind, &json, live);
                        if !paths.is_empty() {
                            report(&kind, &name, "changed", paths.join(", "));
                        }
                    }
                }
            }
            Ok(())
        }
    }
}

fn wanted_objects(
    tenant: &Tenant,
    settings: &Settings,
    found: &Found,
) -> Result<Vec<(String, String, Value)>, Error> {
    let mut volume = claim(tenant, settings);
    let key = ("PersistentVolumeClaim".to_owned(), Name::volume(tenant.id).to_string());
    let stored = found.get(&key).and_then(|(_, live)| serde_json::from_value(live.get("spec")?.clone()).ok());
    if let Some(stored) = stored {
        keep(&mut volume, &stored);
    }
    Ok(vec![
        entry(&volume)?,
        entry(&service(tenant, settings))?,
        entry(&network_policy(tenant, settings))?,
        entry(&deployment(tenant, settings))?,
        entry(&ingress(tenant, settings))?,
    ])
}

fn entry<K: Kind>(object: &K) -> Result<(String, String, Value), Error> {
    let name = object.meta().name.clone().unwrap_or_default();
    Ok((K::kind(&()).into_owned(), name, wanted_json(object)?))
}

/// Objects of the watches that belong to no instance (K8S-31): reported, never removed by us.
pub(super) fn orphans(cache: &Cache, known: &HashSet<Uuid>) -> Vec<Difference> {
    let (deployments, services, ingresses) =
        (cache.deployments.all(), cache.services.all(), cache.ingresses.all());
    let (claims, policies, secrets) = (cache.claims.all(), cache.policies.all(), cache.secrets.all());
    let mut objects: Vec<(&str, &ObjectMeta)> = Vec::new();
    objects.extend(deployments.iter().map(|object| ("Deployment", &object.metadata)));
    objects.extend(services.iter().map(|object| ("Service", &object.metadata)));
    objects.extend(ingresses.iter().map(|object| ("Ingress", &object.metadata)));
    objects.extend(claims.iter().map(|object| ("PersistentVolumeClaim", &object.metadata)));
    objects.extend(policies.iter().map(|object| ("NetworkPolicy", &object.metadata)));
    objects.extend(secrets.iter().map(|metadata| ("Secret", &**metadata)));
    let named = objects
        .into_iter()
        .map(|(kind, metadata)| (kind, metadata.name.as_deref().unwrap_or_default(), metadata));
    nobodys(named, known, "")
}

fn nobodys<'a>(
    objects: impl Iterator<Item = (&'a str, &'a str, &'a ObjectMeta)>,
    known: &HashSet<Uuid>,
    namespace: &str,
) -> Vec<Difference> {
    objects
        .filter_map(|(kind, name, metadata)| {
            let id = meta::instance_of(metadata)?;
            let ours = metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(meta::MANAGED));
            (ours && !known.contains(&id)).then(|| Difference {
                instance_id: id.to_string(),
                object: format!("{kind}/{name}"),
                kind: "orphan",
                detail: "no instance has this id".to_owned(),
                namespace: metadata.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
            })
        })
        .collect()
}
