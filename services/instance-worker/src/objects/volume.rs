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

/// Keeps of an existing claim what never changes: its class, and a size above the wanted one.
pub fn keep(wanted: &mut PersistentVolumeClaim, existing: &PersistentVolumeClaimSpec) {
    let Some(spec) = wanted.spec.as_mut() else { return };
    if let Some(class) = &existing.storage_class_name {
        spec.storage_class_name = Some(class.clone());
    }
    let size = |spec: &PersistentVolumeClaimSpec| {
        spec.resources.as_ref()?.requests.as_ref()?.get("storage").cloned()
    };
    let larger = size(existing)
        .zip(size(spec))
        .and_then(|(stored, asked)| (quantity::bytes(&stored)? > quantity::bytes(&asked)?).then_some(stored));
    if let (Some(larger), Some(resources)) = (larger, spec.resources.as_mut()) {
        resources.requests.get_or_insert_default().insert("storage".to_owned(), larger);
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

    /// K8S-05
    #[test]
    fn a_larger_claim_of_another_class_is_kept() {
        let mut existing = claim(&Tenant { storage_mib: 20480, ..tenant() }, &settings()).spec.unwrap();
        existing.storage_class_name = Some("former".into());
        let mut wanted = claim(&tenant(), &settings());
        keep(&mut wanted, &existing);
        assert_eq!(wanted.spec.unwrap(), existing);
        let mut grown = claim(&Tenant { storage_mib: 40960, ..tenant() }, &settings());
        keep(&mut grown, &existing);
        let requests = grown.spec.unwrap().resources.unwrap().requests.unwrap();
        assert_eq!(requests["storage"].0, "40Gi");
    }
}
