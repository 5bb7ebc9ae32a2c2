//! Where everything of one stack lies.

use std::path::{Path, PathBuf};

/// Folders of a stack.
#[derive(Debug, Clone)]
pub struct Layout {
    /// Root of the repository.
    pub workspace: PathBuf,
    /// Folder of this stack's state.
    pub dir: PathBuf,
    /// Folder of the built programs.
    pub programs: PathBuf,
    /// Per-user folder for what all checkouts share.
    pub cache: PathBuf,
}

impl Layout {
    /// Whether this is the stack of `cargo xtask up` without another name.
    pub fn is_of_the_developer(&self) -> bool {
        self.dir.file_name().is_some_and(|name| name == "dev")
    }

    /// Log files.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// The description of the running stack.
    pub fn stack_file(&self) -> PathBuf {
        self.dir.join("stack.json")
    }

    /// Held by the process that runs the stack; contains its process id.
    pub fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// The control plane's folder.
    pub fn kubernetes(&self) -> PathBuf {
        self.dir.join("kube")
    }

    /// The manifests.
    pub fn manifests(&self) -> PathBuf {
        self.workspace.join("infrastructure/orchestration/kubernetes")
    }

    /// The Go module of the control plane.
    pub fn devcluster(&self) -> PathBuf {
        self.workspace.join("infrastructure/devcluster")
    }

    /// One of our programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The log of one process: ours, or one of the control plane's.
    pub fn log_of(&self, name: &str) -> Option<PathBuf> {
        let name = match name {
            "apiserver" => "kube-apiserver",
            "controller-manager" => "kube-controller-manager",
            "scheduler" => "kube-scheduler",
            other => other,
        };
        let file = Path::new(name).file_name()?;
        [self.logs(), self.kubernetes().join("log")]
            .into_iter()
            .map(|folder| folder.join(file).with_extension("log"))
            .find(|path| path.exists())
    }
}
