//! Which manifests a local stack applies, and in which order: namespaces first, then what guards them, then
//! the rights of the worker. Workloads of the platform are not applied: locally the services are processes.
//! The page of instances that are off is the exception, for the Ingresses of instances lead to its pods.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;

/// Kinds that a local stack applies. A file with any other kind is left out as a whole.
const KINDS: [&str; 13] = [
    "Namespace",
    "ResourceQuota",
    "LimitRange",
    "NetworkPolicy",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "PriorityClass",
    "Service",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Folder of the workload that runs in the cluster locally too.
const OFF_PAGE: &str = "services/instance-off";

/// The files to apply, in order: those of the folder itself, then those below it, each sorted by name.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort_by_key(|path| (path.components().count(), path.clone()));
    let mut applied = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        if is_local(&text) || file.parent().is_some_and(|folder| folder.ends_with(OFF_PAGE)) {
            applied.push(file);
        }
    }
    Ok(applied)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "overlays") {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    Ok(())
}

fn is_local(text: &str) -> bool {
    let mut kinds = text.lines().filter_map(|line| line.strip_prefix("kind:")).map(str::trim).peekable();
    kinds.peek().is_some() && kinds.all(|kind| KINDS.contains(&kind))
}

/// Applies the manifests as the administrator.
pub fn apply(kubectl: &Path, kubeconfig: &Path, folder: &Path) -> Result<usize> {
    let files = list(folder)?;
    if files.is_empty() {
        return Ok(0);
    }
    let mut command = Command::new(kubectl);
    command.args([
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=saasodoo-deploy",
        "--kubeconfig",
    ]);
    command.arg(kubeconfig);
    for file in &files {
        command.arg("-f").arg(file);
    }
    process::run(&mut command, None).context("apply the manifests")?;
    Ok(files.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namespaces_come_first_and_workloads_never() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("services/instance-worker/rbac.yaml", "kind: Role\n---\nkind: RoleBinding\n");
        put("services/instance-worker/deployment.yaml", "kind: ServiceAccount\n---\nkind: Deployment\n");
        put("services/instance-off/page.yaml", "kind: Service\n---\nkind: Deployment\n");
        put("10-quota.yaml", "kind: ResourceQuota\n");
        put("00-namespace.yaml", "apiVersion: v1\nkind: Namespace\n");
        put("kustomization.yaml", "kind: Kustomization\n");
        put("overlays/local/x.yaml", "kind: Namespace\n");
        let names: Vec<String> = list(folder.path())
            .unwrap()
            .iter()
            .map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string())
            .collect();
        let off = "services/instance-off/page.yaml";
        assert_eq!(names, ["00-namespace.yaml", "10-quota.yaml", off, "services/instance-worker/rbac.yaml"]);
    }
}
