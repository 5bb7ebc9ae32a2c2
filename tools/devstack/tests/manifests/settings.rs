//! The settings of each program, read from its source, compared with what its container gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Rendered;

/// Taken by glibc and not by a program of ours.
const ALLOCATOR: [&str; 3] = ["MALLOC_ARENA_MAX", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"];

/// Optional for clap, and asked for by the programs themselves in production: the program, or all, and the
/// variable.
const ASKED_FOR: [(&str, &str); 4] = [
    ("*", "JWT_PUBLIC_KEY"),
    ("user-service", "JWT_PRIVATE_KEY"),
    ("gateway", "TRUSTED_PROXIES"),
    ("notification-service", "SMTP_USE_TLS"),
];

/// Groups of `libs/runtime` that a program takes as a whole.
const GROUPS: [&str; 6] = ["Common", "Postgres", "Rabbit", "Redis", "UserTokens", "ServiceIdentity"];

/// What one program reads.
#[derive(Debug, Default)]
pub struct Settings {
    /// Every variable.
    pub known: BTreeSet<String>,
    /// Those without a default.
    pub required: BTreeSet<String>,
    /// Default of `HTTP_PORT`.
    pub http_port: u64,
}

/// Settings by the program's name.
pub type Services = BTreeMap<String, Settings>;

/// A variable of a clap struct.
struct Variable {
    group: String,
    name: String,
    required: bool,
    default: Option<u64>,
}

/// Every `env = "NAME"` with the field that follows it.
fn variables(source: &str) -> Vec<Variable> {
    let mut found = Vec::new();
    let (mut group, mut attribute) = (String::new(), String::new());
    for line in source.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            rest.split([' ', '(', ';']).next().unwrap_or_default().clone_into(&mut group);
        } else if line.starts_with("#[arg(") {
            line.clone_into(&mut attribute);
        } else if let Some(field) = line.strip_prefix("pub ").filter(|_| !attribute.is_empty()) {
            let kind = field.split_once(": ").map_or("", |(_, kind)| kind);
            if let Some(name) = between(&attribute, "env = \"", "\"") {
                let optional = kind.starts_with("Option<") || kind.starts_with("Vec<");
                found.push(Variable {
                    group: group.clone(),
                    name: name.to_owned(),
                    required: !optional && !attribute.contains("default_value"),
                    default: between(&attribute, "default_value_t = ", ")")
                        .and_then(|text| text.split(',').next()?.trim().parse().ok()),
                });
            }
            attribute.clear();
        } else if !attribute.is_empty() && !line.starts_with("///") {
            attribute.push_str(line);
        }
    }
    found
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

/// Reads `config.rs` of every program, and of `libs/runtime` the groups that it names.
pub fn read_all(workspace: &Path) -> Services {
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
    let shared = variables(&read(&workspace.join("libs/runtime/src/config.rs")));
    let mut services = Services::new();
    for service in devstack::services::ALL {
        let folder = workspace.join("services").join(service.name).join("src");
        let mut source = read(&folder.join("config.rs"));
        for entry in fs::read_dir(folder.join("config")).into_iter().flatten().flatten() {
            source.push_str(&read(&entry.path()));
        }
        let uses = |group: &str| source.contains(&format!(": {group},"));
        let mut settings = Settings::default();
        let groups: Vec<&str> = GROUPS.into_iter().filter(|group| uses(group)).chain(["GrpcTls"]).collect();
        let of_groups = shared.iter().filter(|variable| groups.contains(&variable.group.as_str()));
        let own = variables(&source);
        for variable in own.iter().filter(|variable| variable.group != "ServiceToken").chain(of_groups) {
            settings.known.insert(variable.name.clone());
            if variable.required {
                settings.required.insert(variable.name.clone());
            }
            if variable.name == "HTTP_PORT" {
                settings.http_port = variable.default.expect("HTTP_PORT has a default");
            }
        }
        assert!(settings.required.contains("SERVICE_TOKEN_PRIVATE_KEY"), "{}: {settings:?}", service.name);
        services.insert(service.name.to_owned(), settings);
    }
    services
}

/// What a container gets: names, and for each the source that has to exist.
struct Environment<'a> {
    own: BTreeSet<&'a str>,
    all: BTreeSet<&'a str>,
    faults: Vec<String>,
}

fn environment<'a>(container: &'a Value, rendered: &'a Rendered) -> Environment<'a> {
    let (secrets, maps) = (rendered.keys("Secret"), rendered.keys("ConfigMap"));
    let (mut own, mut faults) = (BTreeSet::new(), Vec::new());
    for variable in container["env"].as_array().into_iter().flatten() {
        own.insert(variable["name"].as_str().unwrap_or_default());
        for (field, sources) in [("secretKeyRef", &secrets), ("configMapKeyRef", &maps)] {
            let reference = &variable["valueFrom"][field];
            let (Some(name), Some(key)) = (reference["name"].as_str(), reference["key"].as_str()) else {
                continue;
            };
            let there = sources.get(name).is_some_and(|keys| keys.contains(key));
            if !there && reference["optional"] != true {
                faults.push(format!("no {key} in {name}"));
            }
        }
    }
    let mut all = own.clone();
    for source in container["envFrom"].as_array().into_iter().flatten() {
        for (field, sources) in [("secretRef", &secrets), ("configMapRef", &maps)] {
            let Some(name) = source[field]["name"].as_str() else { continue };
            match sources.get(name) {
                Some(keys) => all.extend(keys),
                None => faults.push(format!("no {name}")),
            }
        }
    }
    Environment { own, all, faults }
}

/// Settings that no program reads, and those that a program lacks.
pub fn faults(rendered: &Rendered, services: &Services) -> Vec<String> {
    let mut faults = Vec::new();
    let known: BTreeSet<&str> =
        services.values().flat_map(|settings| &settings.known).map(String::as_str).chain(ALLOCATOR).collect();
    let maps = rendered.keys("ConfigMap");
    for map in ["saasodoo-config", "saasodoo-public-keys"] {
        let keys = maps.get(map).cloned().unwrap_or_default();
        faults.extend(keys.difference(&known).map(|key| format!("{map}: no program reads {key}")));
    }
    let mut seen = 0;
    for (name, deployment) in rendered.of("Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let all =
            ["initContainers", "containers"].into_iter().filter_map(|list| pod[list].as_array()).flatten();
        for container in all {
            let environment = environment(container, rendered);
            faults.extend(environment.faults.iter().map(|fault| format!("{name}: {fault}")));
            let Some(settings) = services.get(name).filter(|_| container["args"][0] == "serve") else {
                continue;
            };
            seen += 1;
            for variable in &environment.own {
                if !settings.known.contains(*variable) {
                    faults.push(format!("{name}: the program does not read {variable}"));
                }
            }
            let asked_for = ASKED_FOR.into_iter().filter(|(program, _)| ["*", name].contains(program));
            let asked_for = asked_for.map(|(_, variable)| variable);
            for variable in settings.required.iter().map(String::as_str).chain(asked_for) {
                if !environment.all.contains(variable) {
                    faults.push(format!("{name}: {variable} has no default and is not set"));
                }
            }
            let port = &container["ports"][0];
            if port["name"] != "http" || port["containerPort"] != settings.http_port {
                faults.push(format!("{name}: HTTP_PORT is {} and not {port}", settings.http_port));
            }
        }
    }
    if seen != services.len() {
        faults.push(format!("{seen} of {} programs", services.len()));
    }
    faults
}
