//! The environment of a container: which Secrets and ConfigMaps it names, and its variables once these are
//! known. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{ConfigMap, Container, Pod, ResourceFieldSelector, Secret};
use kube::ResourceExt as _;

use crate::status::HOST_IP;

/// Names of Secrets and ConfigMaps, with whether the pod can do without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct References {
    /// Secrets.
    pub secrets: BTreeMap<String, bool>,
    /// ConfigMaps.
    pub config_maps: BTreeMap<String, bool>,
}

impl References {
    /// Adds a Secret.
    pub fn secret(&mut self, name: &str, optional: bool) {
        *self.secrets.entry(name.to_owned()).or_insert(true) &= optional;
    }

    /// Adds a ConfigMap.
    pub fn config_map(&mut self, name: &str, optional: bool) {
        *self.config_maps.entry(name.to_owned()).or_insert(true) &= optional;
    }
}

/// Contents of Secrets and ConfigMaps by name.
#[derive(Debug, Default)]
pub struct Sources {
    /// Secrets.
    pub secrets: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// ConfigMaps.
    pub config_maps: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
}

impl Sources {
    /// Adds the content of a Secret.
    pub fn add_secret(&mut self, secret: Secret) {
        let name = secret.name_any();
        let data = secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect();
        self.secrets.insert(name, data);
    }

    /// Adds the content of a ConfigMap.
    pub fn add_config_map(&mut self, map: ConfigMap) {
        let name = map.name_any();
        let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
        self.config_maps.insert(name, text.chain(binary).collect());
    }
}

/// What the environment of a container names.
pub fn references(container: &Container) -> References {
    let mut found = References::default();
    for from in container.env_from.iter().flatten() {
        if let Some(secret) = &from.secret_ref {
            found.secret(&secret.name, secret.optional.unwrap_or(false));
        }
        if let Some(map) = &from.config_map_ref {
            found.config_map(&map.name, map.optional.unwrap_or(false));
        }
    }
    for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(key) = &source.secret_key_ref {
            found.secret(&key.name, key.optional.unwrap_or(false));
        }
        if let Some(key) = &source.config_map_key_ref {
            found.config_map(&key.name, key.optional.unwrap_or(false));
        }
    }
    found
}

/// One variable; `literal` when its value stands in the pod's spec, so that paths in it may be rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
    /// The value stands in the spec.
    pub literal: bool,
}

/// The variables of a container, in order, with `$(NAME)` replaced.
///
/// # Errors
/// The name of what is missing, in the words of the kubelet.
pub fn variables(
    pod: &Pod,
    container: &Container,
    ip: Ipv4Addr,
    sources: &Sources,
) -> Result<Vec<Variable>, String> {
    let mut all: Vec<Variable> = Vec::new();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.clone().unwrap_or_default();
        let content = match (&from.secret_ref, &from.config_map_ref) {
            (Some(secret), _) => sources.secrets.get(&secret.name),
            (_, Some(map)) => sources.config_maps.get(&map.name),
            _ => None,
        };
        for (key, value) in content.into_iter().flatten() {
            let value = String::from_utf8_lossy(value).into_owned();
            set(&mut all, Variable { name: format!("{prefix}{key}"), value, literal: false });
        }
    }
    let mut known: BTreeMap<String, String> =
        all.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect();
    for variable in container.env.iter().flatten() {
        let name = variable.name.clone();
        let (value, literal) = match &variable.value_from {
            Some(source) => (from_source(pod, container, ip, sources, source)?, false),
            None => (Some(expand(variable.value.as_deref().unwrap_or_default(), &known)), true),
        };
        if let Some(value) = value {
            known.insert(name.clone(), value.clone());
            set(&mut all, Variable { name, value, literal });
        }
    }
    Ok(all)
}

fn set(all: &mut Vec<Variable>, variable: Variable) {
    all.retain(|other| other.name != variable.name);
    all.push(variable);
}

fn from_source(
    pod: &Pod,
    container: &Container,
    ip: Ipv4Addr,
    sources: &Sources,
    source: &k8s_openapi::api::core::v1::EnvVarSource,
) -> Result<Option<String>, String> {
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    if let Some(key) = &source.secret_key_ref {
        let value = sources.secrets.get(&key.name).and_then(|content| content.get(&key.key));
        return match value {
            Some(value) => Ok(Some(text(value))),
            None if key.optional == Some(true) => Ok(None),
            None => Err(format!("couldn't find key {} in Secret {}", key.key, key.name)),
        };
    }
    if let Some(key) = &source.config_map_key_ref {
        let value = sources.config_maps.get(&key.name).and_then(|content| content.get(&key.key));
        return match value {
            Some(value) => Ok(Some(text(value))),
            None if key.optional == Some(true) => Ok(None),
            None => Err(format!("couldn't find key {} in ConfigMap {}", key.key, key.name)),
        };
    }
    if let Some(field) = &source.field_ref {
        return Ok(Some(field_value(pod, ip, &field.field_path)));
    }
    Ok(source.resource_field_ref.as_ref().and_then(|field| resource_value(container, field)))
}

/// A field of the pod by its path in the downward API; empty for a path that this node does not know.
pub fn field_value(pod: &Pod, ip: Ipv4Addr, path: &str) -> String {
    let spec = pod.spec.as_ref();
    if let Some((field, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        let map = if field == "metadata.labels" { pod.labels() } else { pod.annotations() };
        return map.get(key).cloned().unwrap_or_default();
    }
    let lines = |map: &BTreeMap<String, String>| {
        map.iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
    };
    match path {
        "metadata.name" => pod.name_any(),
        "metadata.namespace" => pod.namespace().unwrap_or_default(),
        "metadata.uid" => pod.uid().unwrap_or_default(),
        "metadata.labels" => lines(pod.labels()),
        "metadata.annotations" => lines(pod.annotations()),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => {
            spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default()
        }
        "status.podIP" | "status.podIPs" => ip.to_string(),
        "status.hostIP" | "status.hostIPs" => HOST_IP.to_owned(),
        _ => String::new(),
    }
}

fn resource_value(container: &Container, field: &ResourceFieldSelector) -> Option<String> {
    let (list, name) = field.resource.split_once('.')?;
    let resources = container.resources.as_ref()?;
    let list = if list == "limits" { &resources.limits } else { &resources.requests };
    list.as_ref()?.get(name).map(|quantity| quantity.0.clone())
}

/// Replaces `$(NAME)` by a known variable; `$$` is a dollar sign; unknown names stay as they are.
pub fn expand(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|open| open.split_once(')'))
            && let Some(value) = known.get(name)
        {
            result.push_str(value);
            rest = after;
        } else {
            result.push('$');
        }
    }
    result.push_str(rest);
    result
}

/// Host names of the cluster in a text: those that end in `.svc` or `.svc.<zone>`.
pub fn cluster_names(text: &str) -> BTreeSet<String> {
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-' || character == '.'))
        .map(|word| word.trim_matches('.'))
        .filter(|word| {
            let mut labels = word.split('.').skip(2);
            labels.next() == Some("svc") || labels.next() == Some("svc")
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, SecretKeySelector};

    const IP: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 7);

    fn literal(name: &str, value: &str) -> EnvVar {
        EnvVar { name: name.into(), value: Some(value.into()), ..EnvVar::default() }
    }

    fn from_secret(name: &str, secret: &str, key: &str, optional: bool) -> EnvVar {
        let selector = SecretKeySelector { name: secret.into(), key: key.into(), optional: Some(optional) };
        let source = EnvVarSource { secret_key_ref: Some(selector), ..EnvVarSource::default() };
        EnvVar { name: name.into(), value_from: Some(source), ..EnvVar::default() }
    }

    fn container(env: Vec<EnvVar>) -> Container {
        Container { env: Some(env), ..Container::default() }
    }

    fn sources() -> Sources {
        let content = BTreeMap::from([("password".to_owned(), b"s3cret".to_vec())]);
        Sources { secrets: BTreeMap::from([("db".to_owned(), content)]), ..Sources::default() }
    }

    #[test]
    fn values_come_from_secrets_fields_and_other_variables() {
        let field = EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                field_path: "status.podIP".into(),
                ..ObjectFieldSelector::default()
            }),
            ..EnvVarSource::default()
        };
        let container = container(vec![
            from_secret("PASSWORD", "db", "password", false),
            EnvVar { name: "IP".into(), value_from: Some(field), ..EnvVar::default() },
            literal("URL", "x://user:$(PASSWORD)@$(IP)/$$(IP)/$(UNKNOWN)"),
        ]);

        let all = variables(&Pod::default(), &container, IP, &sources()).unwrap();

        assert_eq!(all[2].value, "x://user:s3cret@127.64.0.7/$(IP)/$(UNKNOWN)");
        assert!(all[2].literal && !all[0].literal);
    }

    #[test]
    fn a_missing_key_is_an_error_unless_it_is_optional() {
        let needed = container(vec![from_secret("A", "db", "absent", false)]);
        let optional = container(vec![from_secret("A", "db", "absent", true)]);

        let error = variables(&Pod::default(), &needed, IP, &sources()).unwrap_err();

        assert!(error.contains("absent") && error.contains("db"), "{error}");
        assert!(variables(&Pod::default(), &optional, IP, &sources()).unwrap().is_empty());
    }

    #[test]
    fn a_name_needed_once_is_needed() {
        let container =
            container(vec![from_secret("A", "db", "a", true), from_secret("B", "db", "b", false)]);

        assert_eq!(references(&container).secrets.get("db"), Some(&false));
    }

    #[test]
    fn names_of_the_cluster_are_found_in_texts() {
        let found = cluster_names(
            "postgres://u@pool-0.pool.saasodoo.svc.cluster.local:5432/db http://web.ns.svc/ a.b.c",
        );

        let expected = ["pool-0.pool.saasodoo.svc.cluster.local", "web.ns.svc"].map(str::to_owned);
        assert_eq!(found, BTreeSet::from(expected));
    }
}
