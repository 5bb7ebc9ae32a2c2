//! Is what is wanted already there (K8S-15)? What we own is compared as a whole: every field that is wanted
//! must be equal, a list must have exactly the wanted entries, and what else stands there must be what the
//! cluster fills in (`filled`).

use serde_json::Value;

use super::filled::{is_whole, may_stand};

/// Paths at which `live` differs from `wanted`. Empty: a write would change nothing.
pub fn differences(kind: &str, wanted: &Value, live: &Value) -> Vec<String> {
    let mut walk = Walk { kind, whole: is_whole(kind), found: Vec::new() };
    walk.compare(wanted, live, &mut Place::default());
    walk.found
}

/// What an object becomes when it is replaced: `wanted`, with what the cluster has filled into `live`, and
/// with its bookkeeping.
pub(super) fn mended(kind: &str, wanted: &Value, live: &Value) -> Value {
    let mut whole = wanted.clone();
    fill(kind, &mut whole, live, &mut Place::default());
    if let Some(metadata) = whole.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    whole
}

fn fill(kind: &str, wanted: &mut Value, live: &Value, place: &mut Place) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in live {
                place.within(key, |place| match wanted.get_mut(key) {
                    Some(own) => fill(kind, own, value, place),
                    None if may_stand(kind, &place.pattern, value) => {
                        wanted.insert(key.clone(), value.clone());
                    }
                    None => {}
                });
            }
        }
        (Value::Array(wanted), Value::Array(live)) if wanted.len() == live.len() => {
            for (index, (own, value)) in wanted.iter_mut().zip(live).enumerate() {
                place.at(index, |place| fill(kind, own, value, place));
            }
        }
        _ => {}
    }
}

/// Where in an object: for people, and with `[]` for every entry of a list.
#[derive(Default)]
struct Place {
    path: String,
    pattern: String,
}

impl Place {
    fn within(&mut self, key: &str, work: impl FnOnce(&mut Self)) {
        let (path, pattern) = (self.path.len(), self.pattern.len());
        if path > 0 {
            self.path.push('.');
            self.pattern.push('.');
        }
        self.path.push_str(key);
        self.pattern.push_str(key);
        work(self);
        self.path.truncate(path);
        self.pattern.truncate(pattern);
    }

    fn at(&mut self, index: usize, work: impl FnOnce(&mut Self)) {
        let (path, pattern) = (self.path.len(), self.pattern.len());
        self.path.extend(["[", &index.to_string(), "]"]);
        self.pattern.push_str("[]");
        work(self);
        self.path.truncate(path);
        self.pattern.truncate(pattern);
    }
}

struct Walk<'a> {
    kind: &'a str,
    whole: bool,
    found: Vec<String>,
}

impl Walk<'_> {
    fn compare(&mut self, wanted: &Value, live: &Value, place: &mut Place) {
        match (wanted, live) {
            (Value::Object(wanted), Value::Object(live)) => {
                for (key, value) in wanted {
                    place.within(key, |place| match live.get(key) {
                        Some(other) => self.compare(value, other, place),
                        // The server drops empty maps and lists.
                        None if is_empty(value) => {}
                        None => self.found.push(place.path.clone()),
                    });
                }
                for (key, value) in live.iter().filter(|(key, _)| self.whole && !wanted.contains_key(*key)) {
                    place.within(key, |place| {
                        if !is_empty(value) && !may_stand(self.kind, &place.pattern, value) {
                            self.found.push(place.path.clone());
                        }
                    });
                }
            }
            (Value::Array(wanted), Value::Array(live)) => {
                if wanted.len() != live.len() {
                    self.found.push(place.path.clone());
                    return;
                }
                for (index, (value, other)) in wanted.iter().zip(live).enumerate() {
                    place.at(index, |place| self.compare(value, other, place));
                }
            }
            (wanted, live) if wanted == live => {}
            (wanted, live) if is_empty(wanted) && is_empty(live) => {}
            _ => self.found.push(place.path.clone()),
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-z]{1,5}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{1,3}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// K8S-15
        #[test]
        fn an_object_never_differs_from_itself_and_an_addition_always_shows(mut value in any_json()) {
            let wanted = value.clone();
            prop_assert!(differences("Service", &wanted, &value).is_empty());
            if let Value::Object(map) = &mut value {
                map.insert("added-by-hand".into(), json!(1));
                prop_assert_eq!(differences("Service", &wanted, &value), ["added-by-hand"]);
                prop_assert!(differences("Job", &wanted, &value).is_empty());
                prop_assert_eq!(mended("Service", &wanted, &value), wanted);
            }
        }
    }

    /// K8S-31
    #[test]
    fn an_edit_and_an_added_list_entry_show() {
        let wanted = json!({"spec": {"replicas": 1, "ingress": [{"port": 8069}]}});
        let edited = json!({"spec": {"replicas": 0, "ingress": [{"port": 8069}]}});
        assert_eq!(differences("NetworkPolicy", &wanted, &edited), ["spec.replicas"]);
        let opened = json!({"spec": {"replicas": 1, "ingress": [{"port": 8069}, {}]}});
        assert_eq!(differences("NetworkPolicy", &wanted, &opened), ["spec.ingress"]);
    }

    /// K8S-31: defaults of the server are no edits, other values in the same places are.
    #[test]
    fn what_the_cluster_fills_in_is_no_difference() {
        let wanted = json!({"metadata": {"labels": {"app": "odoo"}}, "spec": {"selector": {"app": "odoo"}}});
        let mut live = wanted.clone();
        live["metadata"]["uid"] = json!("u");
        live["spec"]["clusterIP"] = json!("10.96.0.7");
        live["spec"]["sessionAffinity"] = json!("None");
        live["status"] = json!({"loadBalancer": {"ingress": []}});
        assert!(differences("Service", &wanted, &live).is_empty());

        live["spec"]["sessionAffinity"] = json!("ClientIP");
        live["spec"]["selector"]["evil"] = json!("1");
        live["metadata"]["labels"]["evil"] = json!("1");
        assert_eq!(
            differences("Service", &wanted, &live),
            ["metadata.labels.evil", "spec.selector.evil", "spec.sessionAffinity"]
        );
        let mended = mended("Service", &wanted, &live);
        assert_eq!(mended["spec"], json!({"selector": {"app": "odoo"}, "clusterIP": "10.96.0.7"}));
        assert_eq!(mended["metadata"], json!({"labels": {"app": "odoo"}, "uid": "u"}));
    }

    #[test]
    fn the_defaults_of_any_probe_are_known() {
        let probe = "spec.template.spec.containers[].livenessProbe.successThreshold";
        assert!(may_stand("Deployment", probe, &json!(1)) && !may_stand("Deployment", probe, &json!(2)));
        let pods = "spec.template.spec.nodeSelector";
        assert!(!may_stand("Deployment", pods, &json!({"a": "b"})));
    }

    /// Controllers and kubectl leave notes that come back at once when they are taken away; what somebody else
    /// adds is an edit.
    #[test]
    fn notes_of_the_cluster_s_tools_are_tolerated_and_others_are_not() {
        let kinds = ["Deployment", "Service", "Ingress", "NetworkPolicy", "PersistentVolumeClaim", "Secret"];
        for kind in kinds {
            let with = |note: &str| {
                let live = json!({"metadata": {"annotations": {"ours": "1", note: "x"}}});
                differences(kind, &json!({"metadata": {"annotations": {"ours": "1"}}}), &live)
            };
            for note in [
                "kubectl.kubernetes.io/last-applied-configuration",
                "field.cattle.io/publicEndpoints",
                "pv.kubernetes.io/migrated-to",
            ] {
                assert_eq!(with(note), [""; 0], "{kind}");
            }
            for note in ["field.cattle.io/other", "traefik.ingress.kubernetes.io/router.middlewares"] {
                assert_eq!(with(note), [format!("metadata.annotations.{note}")], "{kind}");
            }
        }
        let labels = json!({"app": "odoo"});
        let wanted = json!({"spec": {"template": {"metadata": {"labels": labels}}}});
        let restarted = |note: &str| {
            let annotations = json!({note: "2026-01-01T00:00:00Z"});
            let metadata = json!({"labels": labels, "annotations": annotations});
            let live = json!({"spec": {"template": {"metadata": metadata}}});
            differences("Deployment", &wanted, &live)
        };
        assert_eq!(restarted("kubectl.kubernetes.io/restartedAt"), [""; 0]);
        assert_eq!(restarted("sidecar.istio.io/inject").len(), 1);
    }
}
