//! Is what is wanted already there (K8S-15)? A wanted object is compared with the stored one: every field that is wanted must be equal; fields that
//! the server or others add are left out of it, but a list must have exactly the wanted entries.

use serde_json::Value;

/// Paths at which `live` differs from `wanted`. Empty: a write would change nothing.
pub fn differences(wanted: &Value, live: &Value) -> Vec<String> {
    let mut found = Vec::new();
    walk(wanted, live, &mut String::new(), &mut found);
    found
}

fn walk(wanted: &Value, live: &Value, path: &mut String, found: &mut Vec<String>) {
    match (wanted, live) {
        (Value::Object(wanted), Value::Object(live)) => {
            for (key, value) in wanted {
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                match live.get(key) {
                    Some(other) => walk(value, other, path, found),
                    // The server drops empty maps and lists.
                    None if is_empty(value) => {}
                    None => found.push(path.clone()),
                }
                path.truncate(length);
            }
        }
        (Value::Array(wanted), Value::Array(live)) => {
            if wanted.len() != live.len() {
                found.push(path.clone());
                return;
            }
            for (index, (value, other)) in wanted.iter().zip(live).enumerate() {
                let length = path.len();
                path.extend(["[", &index.to_string(), "]"]);
                walk(value, other, path, found);
                path.truncate(length);
            }
        }
        (wanted, live) if wanted == live => {}
        _ => found.push(path.clone()),
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
            "[a-z]{0,5}".prop_map(Value::from)
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
        fn an_object_never_differs_from_itself_also_with_additions_of_the_server(mut value in any_json()) {
            let wanted = value.clone();
            prop_assert!(differences(&wanted, &value).is_empty());
            if let Value::Object(map) = &mut value {
                map.insert("added-by-the-server".into(), json!(1));
            }
            prop_assert!(differences(&wanted, &value).is_empty());
        }
    }

    /// K8S-31
    #[test]
    fn an_edit_and_an_added_list_entry_show() {
        let wanted = json!({"spec": {"replicas": 1, "ingress": [{"port": 8069}]}});
        let edited = json!({"spec": {"replicas": 0, "ingress": [{"port": 8069, "protocol": "TCP"}]}});
        assert_eq!(differences(&wanted, &edited), ["spec.replicas"]);
        let opened = json!({"spec": {"replicas": 1, "ingress": [{"port": 8069}, {}]}});
        assert_eq!(differences(&wanted, &opened), ["spec.ingress"]);
    }
}
