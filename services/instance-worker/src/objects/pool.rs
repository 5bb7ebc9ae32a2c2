//! Objects of a database pool (DBS-27): StatefulSet, headless Service, Secret, ConfigMap, all named as the
//! pool.

mod pod;

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, PersistentVolumeClaim, PersistentVolumeClaimSpec, PodTemplateSpec, Secret, Service,
    ServicePort, ServiceSpec, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::names::Name;
use super::settings::Settings;
use super::{meta, quantity};

/// Port of PostgreSQL.
pub const PORT: i32 = 5432;
/// Key of the password in the Secret.
pub const PASSWORD_KEY: &str = "password";
/// Keys of certificate, private key and authorities in the Secret.
const TLS_KEYS: [&str; 3] = ["tls.crt", "tls.key", "ca.crt"];
const RULES_FILE: &str = "pg_hba.conf";
/// Who gets in (DBS-35): by the socket of the pod, and by TLS with a password. The image's own rules would
/// trust loopback and let passwords through in the clear.
const RULES: &str = "local all all trust\nhostssl all all all scram-sha-256\n";
const DATA: &str = "data";
const CONFIG_FILE: &str = "postgresql.conf";

/// A pool as database-service wants it.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Id of the server.
    pub id: Uuid,
    /// Name of all its objects.
    pub name: Name,
    /// Image of PostgreSQL.
    pub image: String,
    /// Size of the volume.
    pub storage: String,
    /// Requested CPU.
    pub cpu_request: String,
    /// CPU limit.
    pub cpu_limit: String,
    /// Requested memory.
    pub memory_request: String,
    /// Memory limit.
    pub memory_limit: String,
    /// Lines of `postgresql.conf` (DBS-29).
    pub config: String,
    /// Role that administers it.
    pub admin_user: String,
    /// Changes with the password.
    pub secret_hash: String,
    /// Owner of a dedicated server.
    pub instance_id: Option<Uuid>,
}

impl Pool {
    /// What selects its pod.
    pub fn selector(&self) -> BTreeMap<String, String> {
        meta::pairs([(meta::APP, self.name.to_string()), (meta::POOL, self.name.to_string())])
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        labels.extend(meta::pairs([
            (meta::POOL_ID, self.id.to_string()),
            (meta::MANAGED, "true".to_owned()),
            ("app.kubernetes.io/name", "postgres-pool".to_owned()),
            ("app.kubernetes.io/instance", self.name.to_string()),
            ("app.kubernetes.io/component", "database".to_owned()),
            ("app.kubernetes.io/part-of", "saasodoo".to_owned()),
            ("app.kubernetes.io/managed-by", "saasodoo".to_owned()),
        ]));
        if let Some(instance) = self.instance_id {
            labels.insert(meta::INSTANCE_ID.to_owned(), instance.to_string());
        }
        labels
    }

    fn metadata(&self, namespace: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name.to_string()),
            namespace: Some(namespace.to_owned()),
            labels: Some(self.labels()),
            ..ObjectMeta::default()
        }
    }

    /// The only pod of the pool.
    pub fn pod_name(&self) -> String {
        format!("{}-0", self.name)
    }

    /// Host of the pool inside the cluster, as tenants see it.
    pub fn host(&self, settings: &Settings) -> String {
        format!("{}.{}.svc.cluster.local", self.name, settings.platform)
    }

    /// Name of the volume claim that the StatefulSet makes; it goes some days after the pool, when
    /// database-service says so.
    pub fn claim_name(&self) -> String {
        format!("{DATA}-{}-0", self.name)
    }

    /// User and group of the image: Alpine and Debian differ.
    fn uid(&self) -> i64 {
        if self.image.contains("alpine") { 70 } else { 999 }
    }
}

/// What only its Secret holds.
#[derive(Debug, Clone)]
pub struct Content {
    /// The administrator's password.
    pub password: SecretString,
    /// The server's certificate in PEM.
    pub certificate: String,
    /// Its private key.
    pub key: SecretString,
    /// Authorities that clients check it against, in PEM.
    pub authorities: String,
}

/// Password and certificate, by reference for the pod.
pub fn secret(pool: &Pool, content: &Content, settings: &Settings) -> Secret {
    let mut metadata = pool.metadata(&settings.platform);
    metadata.annotations = Some(meta::pairs([(meta::SECRET_HASH, pool.secret_hash.clone())]));
    let text = |value: &str| ByteString(value.as_bytes().to_vec());
    let [certificate, key, authorities] = TLS_KEYS.map(str::to_owned);
    Secret {
        metadata,
        type_: Some("Opaque".into()),
        data: Some(BTreeMap::from([
            ("username".to_owned(), text(&pool.admin_user)),
            (PASSWORD_KEY.to_owned(), text(content.password.expose_secret())),
            (certificate, text(&content.certificate)),
            (key, text(content.key.expose_secret())),
            (authorities, text(&content.authorities)),
        ])),
        ..Secret::default()
    }
}

/// The tuning, and who gets in.
pub fn config_map(pool: &Pool, settings: &Settings) -> ConfigMap {
    ConfigMap {
        metadata: pool.metadata(&settings.platform),
        data: Some(BTreeMap::from([
            (CONFIG_FILE.to_owned(), pool.config.clone()),
            (RULES_FILE.to_owned(), RULES.to_owned()),
        ])),
        ..ConfigMap::default()
    }
}

/// The headless Service that gives the pod its host name.
pub fn service(pool: &Pool, settings: &Settings) -> Service {
    Service {
        metadata: pool.metadata(&settings.platform),
        spec: Some(ServiceSpec {
            cluster_ip: Some("None".into()),
            selector: Some(pool.selector()),
            ports: Some(vec![ServicePort {
                name: Some("postgres".into()),
                port: PORT,
                target_port: Some(IntOrString::Int(PORT)),
                protocol: Some("TCP".into()),
                ..ServicePort::default()
            }]),
            ..ServiceSpec::default()
        }),
        ..Service::default()
    }
}

/// The server itself.
pub fn stateful_set(pool: &Pool, settings: &Settings) -> StatefulSet {
    let mut metadata = pool.metadata(&settings.platform);
    // The worker may not read Secrets of this namespace: the hash tells it whether the stored one is current
    // (K8S-26).
    metadata.annotations = Some(meta::pairs([(meta::SECRET_HASH, pool.secret_hash.clone())]));
    let template = ObjectMeta {
        labels: Some(pool.labels()),
        annotations: Some(meta::pairs([(meta::CONFIG_HASH, config_hash(&pool.config))])),
        ..ObjectMeta::default()
    };
    StatefulSet {
        metadata,
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(pool.name.to_string()),
            selector: LabelSelector { match_labels: Some(pool.selector()), ..LabelSelector::default() },
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod::pod(pool)) },
            volume_claim_templates: Some(vec![claim(pool, settings)]),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn config_hash(config: &str) -> String {
    hex::encode(&Sha256::digest(config.as_bytes())[..16])
}

fn claim(pool: &Pool, settings: &Settings) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA.into()),
            labels: Some(pool.selector()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: Some(settings.pool_storage_class.clone()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), quantity::canonical(&pool.storage))])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::objects::settings::tests::settings;

    fn content() -> Content {
        Content {
            password: SecretString::from("a-password"),
            certificate: "a certificate".into(),
            key: SecretString::from("a key"),
            authorities: "authorities".into(),
        }
    }

    pub(crate) fn pool() -> Pool {
        Pool {
            id: Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_00d1),
            name: Name::try_pool("postgres-pool-1").unwrap(),
            image: "postgres:15-alpine".into(),
            storage: "50Gi".into(),
            cpu_request: "500m".into(),
            cpu_limit: "2".into(),
            memory_request: "1Gi".into(),
            memory_limit: "4Gi".into(),
            config: "max_connections = 1100\n".into(),
            admin_user: "pool_admin".into(),
            secret_hash: "hash-1".into(),
            instance_id: None,
        }
    }

    /// DBS-27, DBS-28
    #[test]
    fn a_pool_has_its_four_objects_as_agreed() {
        let (pool, settings) = (pool(), settings());
        insta::assert_yaml_snapshot!("stateful_set", stateful_set(&pool, &settings));
        insta::assert_yaml_snapshot!("service", service(&pool, &settings));
        insta::assert_yaml_snapshot!("config_map", config_map(&pool, &settings));
        insta::assert_yaml_snapshot!("secret", secret(&pool, &content(), &settings));
    }

    /// DBS-26
    #[test]
    fn a_dedicated_server_names_its_instance() {
        let instance = Uuid::from_u128(7);
        let pool = Pool { instance_id: Some(instance), ..pool() };
        let labels = stateful_set(&pool, &settings()).metadata.labels.unwrap();
        assert_eq!(labels[meta::INSTANCE_ID], instance.to_string());
    }
}
