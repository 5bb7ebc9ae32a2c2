//! Holds the tree against its rules (ADR 1): who may depend on whom, inside of services too. The manifests are the
//! architecture, and the sources show what they do not say; this crate only reads both.

#[cfg(test)]
mod circles;
#[cfg(test)]
mod documents;
#[cfg(test)]
mod errors;
#[cfg(test)]
mod migrations;
#[cfg(test)]
mod skeleton;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod transactions;

#[cfg(test)]
mod tests {
    use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

    /// Libraries from the bottom up: one may depend on those of a lower layer only.
    const LAYERS: [&[&str]; 5] =
        [&["contracts", "telemetry"], &["runtime"], &["messaging"], &["instance"], &["test-kit"]];
    /// The client of Kubernetes and what leads to it.
    const KUBERNETES: [&str; 4] = ["kube", "k8s-openapi", "kube-runtime", "kube-client"];
    /// Container engines are none of our business.
    const ENGINES: [&str; 2] = ["bollard", "shiplift"];

    fn metadata() -> Metadata {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml");
        MetadataCommand::new()
            .manifest_path(manifest)
            .no_deps()
            .other_options(vec!["--offline".into()])
            .exec()
            .unwrap()
    }

    fn folder(package: &Package) -> String {
        package
            .manifest_path
            .parent()
            .and_then(|own| own.parent())
            .and_then(|parent| parent.file_name())
            .unwrap_or_default()
            .to_owned()
    }

    fn layer(name: &str) -> Option<usize> {
        LAYERS.iter().position(|names| names.contains(&name))
    }

    /// Every edge between packages of the workspace: (from, to, is it for tests only).
    fn edges(metadata: &Metadata) -> Vec<(&Package, &Package, bool)> {
        let packages = metadata.workspace_packages();
        let mut edges = Vec::new();
        for from in &packages {
            for dependency in &from.dependencies {
                if let Some(to) = packages.iter().find(|package| package.name.as_str() == dependency.name) {
                    edges.push((*from, *to, dependency.kind == DependencyKind::Development));
                }
            }
        }
        edges
    }

    #[test]
    fn nobody_depends_on_a_service() {
        let metadata = metadata();
        for (from, to, _) in edges(&metadata) {
            assert_ne!(folder(to), "services", "{} depends on the service {}", from.name, to.name);
        }
    }

    #[test]
    fn services_and_libraries_never_depend_on_tools() {
        let metadata = metadata();
        for (from, to, _) in edges(&metadata) {
            let from_product = matches!(folder(from).as_str(), "services" | "libs");
            assert!(
                !(from_product && folder(to) == "tools"),
                "{} depends on the tool {}",
                from.name,
                to.name
            );
        }
    }

    #[test]
    fn libraries_depend_downwards_and_all_have_a_layer() {
        let metadata = metadata();
        for package in metadata.workspace_packages() {
            assert!(
                folder(package) != "libs" || layer(&package.name).is_some(),
                "{} has no layer",
                package.name
            );
        }
        for (from, to, test_only) in edges(&metadata) {
            if folder(from) == "libs" && !test_only {
                assert!(layer(&to.name) < layer(&from.name), "{} depends upwards on {}", from.name, to.name);
            }
        }
    }

    #[test]
    fn the_test_kit_is_for_tests_only() {
        let metadata = metadata();
        for (from, to, test_only) in edges(&metadata) {
            let product = matches!(folder(from).as_str(), "services" | "libs");
            assert!(
                to.name.as_str() != "test-kit" || !product || test_only,
                "{} ships the test kit",
                from.name
            );
        }
    }

    /// K8S-01: the worker alone holds the Kubernetes client; no part talks to a container engine.
    #[test]
    fn only_the_worker_and_the_tools_know_kubernetes() {
        let metadata = metadata();
        for package in metadata.workspace_packages() {
            let may = package.name.as_str() == "instance-worker" || folder(package) == "tools";
            for dependency in &package.dependencies {
                assert!(
                    may || !KUBERNETES.contains(&dependency.name.as_str()),
                    "{} depends on {}",
                    package.name,
                    dependency.name
                );
                assert!(
                    !ENGINES.contains(&dependency.name.as_str()),
                    "{} depends on {}",
                    package.name,
                    dependency.name
                );
            }
        }
    }

    /// Dependencies come from the one table of the workspace. `workspace-hack` alone names some that nobody
    /// uses by name.
    #[test]
    fn versions_stand_in_the_workspace_table_only() {
        let metadata = metadata();
        for package in metadata.workspace_packages() {
            if package.name.as_str() == "workspace-hack" {
                continue;
            }
            let manifest = std::fs::read_to_string(&package.manifest_path).unwrap();
            let own = manifest.lines().filter(|line| line.contains("version = \"")).count();
            assert_eq!(own, 0, "{} names a version of its own", package.manifest_path);
        }
    }

    /// Programs whose test executable is switched off, since linking it takes time and it would be empty,
    /// have no tests that nobody runs.
    #[test]
    fn targets_without_a_test_executable_have_no_tests() {
        let metadata = metadata();
        for package in metadata.workspace_packages() {
            for target in package.targets.iter().filter(|target| !target.test && !target.is_custom_build()) {
                let source = std::fs::read_to_string(&target.src_path).unwrap();
                assert!(
                    !source.contains("test]"),
                    "{} has tests, and its manifest says `test = false`",
                    target.src_path
                );
            }
        }
    }

    /// Layers inside a service: who must not import whom, and the files that do so still. The list only gets shorter.
    const FORBIDDEN: [(&str, &[&str], &[&str]); 4] = [
        ("domain", &["app", "store", "grpc", "consumer", "clients", "peers", "config", "error"], &[]),
        ("store", &["app", "grpc", "consumer"], &[]),
        ("grpc", &["store"], &[]),
        ("consumer", &["store"], &[]),
    ];

    /// All sources beneath a folder or in the file of the same name.
    fn sources(module: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        let file = module.with_extension("rs");
        if file.is_file() {
            found.push(file);
        }
        for entry in std::fs::read_dir(module).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !found.contains(&path) {
                found.push(path);
            }
        }
    }

    /// The modules of its own crate that a source names, without what is for tests.
    fn named_modules(source: &str) -> Vec<String> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        let mut names = Vec::new();
        for line in lines {
            for (at, _) in line.match_indices("crate::") {
                let rest = &line[at + "crate::".len()..];
                let list = rest.strip_prefix('{').map(|rest| rest.split('}').next().unwrap_or_default());
                let paths: Vec<&str> = list.map_or_else(|| vec![rest], |list| list.split(',').collect());
                names.extend(paths.into_iter().map(|path| {
                    path.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
                }));
            }
        }
        names
    }

    #[test]
    fn layers_inside_services_point_downwards() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../services");
        let (mut wrong, mut seen) = (Vec::new(), Vec::new());
        for service in std::fs::read_dir(&root).unwrap().flatten() {
            for (layer, forbidden, known) in FORBIDDEN {
                let mut files = Vec::new();
                sources(&service.path().join("src").join(layer), &mut files);
                for file in files {
                    let name = file.strip_prefix(&root).unwrap().display().to_string();
                    let modules = named_modules(&std::fs::read_to_string(&file).unwrap());
                    let Some(module) = modules.iter().find(|name| forbidden.contains(&name.as_str())) else {
                        continue;
                    };
                    if known.contains(&name.as_str()) {
                        seen.push(name);
                    } else {
                        wrong.push(format!("{name} imports {module}"));
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let gone: Vec<_> = FORBIDDEN
            .iter()
            .flat_map(|(_, _, known)| *known)
            .filter(|name| !seen.contains(&(**name).to_owned()))
            .collect();
        assert!(gone.is_empty(), "these are in order by now, take them from the list: {gone:?}");
    }

    #[test]
    fn modules_are_found_in_imports_and_paths() {
        let source = "use crate::{app::App, store};\n// use crate::grpc;\nfn f() { crate::domain::x() \
            }\n#[cfg(test)]\nuse crate::config;";
        assert_eq!(named_modules(source), ["app", "store", "domain"]);
    }
}
