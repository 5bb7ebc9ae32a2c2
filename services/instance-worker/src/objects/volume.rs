//! Volume claim `odoo-data-<uuid>` (K8S-05). It only grows; deletion is the purge's alone.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements,
};

use super::names::Name;
use super::settings::Settings;
use super::tenant::Tenant;
use super::{meta, quantity};

/// The wanted claim.
pub fn claim(tenant: &Tenant, settings: &Settings) -> PersistentVolumeClaim {
    PersistentVolumeClaim {
        metadata: meta::of_tenant(tenant, &Name::volume(tenant.id), &settings.tenants),
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".into()]),
            storage_class_name: Some(settings.storage_class.clone()),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([(
                    "storage".to_owned(),
                    quantity::mebibytes(tenant.storage_mib),
                )])),
                ..VolumeResourceRequirements::default()
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::{settings::tests::settings, tenant::tests::tenant};

    /// K8S-05
    #[test]
    fn the_claim_has_the_size_of_the_instance() {
        insta::assert_yaml_snapshot!(claim(&tenant(), &settings()));
    }
}
