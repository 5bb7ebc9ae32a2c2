//! How the containers of an image run on this machine: the choice by the image's name, and the command that
//! follows.

pub mod postgres;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Container;
use nix::sys::signal::Signal;

use crate::config::Config;
use crate::environment::expand;
use crate::mounts::Mounts;
use crate::process::Launch;

/// How to run a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// No process.
    Simulated,
    /// A PostgreSQL server from the programs of this machine.
    Postgres,
    /// Odoo's stand-in, or a real Odoo.
    Odoo(PathBuf),
    /// A program of this machine, with the container's arguments.
    Program(PathBuf),
    /// The container's own command, with the programs of this machine.
    Command,
}

/// What an image is, by its name alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Image<'a> {
    Postgres,
    Odoo,
    Ours(&'a str),
    Other,
}

/// Name of an image without registry port confusion, tag and digest: `a/b:1@sha256:…` is `a/b`.
pub fn image_name(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

fn classify(image: &str) -> Image<'_> {
    let name = image_name(image);
    let mut parts = name.rsplit('/');
    let last = parts.next().unwrap_or(name);
    if parts.next() == Some("saasodoo") {
        return Image::Ours(last);
    }
    if last == "postgres" || last == "postgresql" {
        Image::Postgres
    } else if last == "odoo" || last.ends_with("-odoo") {
        Image::Odoo
    } else {
        Image::Other
    }
}

/// The recipe of a container.
pub fn choose(container: &Container, config: &Config) -> Recipe {
    if config.simulate {
        return Recipe::Simulated;
    }
    let image = container.image.as_deref().unwrap_or_default();
    let named = config.binaries.iter().find(|(name, _)| name == image_name(image) || name == image);
    if let Some((_, path)) = named {
        return Recipe::Program(path.into());
    }
    let command = container.command.as_deref().unwrap_or_default();
    let entry_point = command.first().map(|first| base_name(first));
    match classify(image) {
        Image::Postgres => match entry_point {
            None | Some("postgres" | "docker-entrypoint.sh") => Recipe::Postgres,
            Some(_) => Recipe::Command,
        },
        Image::Odoo => match entry_point {
            None | Some("odoo" | "entrypoint.sh" | "run.sh") => Recipe::Odoo(config.odoo_program()),
            Some(_) => Recipe::Command,
        },
        Image::Ours(name) => {
            let wanted = config.program_dir().join(entry_point.unwrap_or(name));
            if entry_point.is_some() && !wanted.exists() { Recipe::Command } else { Recipe::Program(wanted) }
        }
        Image::Other => Recipe::Simulated,
    }
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// What the recipes need of a container.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The container.
    pub container: &'a Container,
    /// Its variables, ready for this machine.
    pub env: Vec<(String, String)>,
    /// Its mounts.
    pub mounts: &'a Mounts,
    /// The pod's address.
    pub ip: Ipv4Addr,
    /// Folders where programs are looked for first.
    pub path: Vec<PathBuf>,
}

impl Plan<'_> {
    /// A variable by name.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Command and arguments of the container, with variables and paths replaced.
    pub fn words(&self, words: Option<&[String]>) -> Vec<String> {
        let known: BTreeMap<String, String> = self.env.iter().cloned().collect();
        words.unwrap_or_default().iter().map(|word| self.mounts.text(&expand(word, &known))).collect()
    }

    /// The working directory: the container's own where a mount covers it, else its first volume, else its
    /// scratch folder.
    pub fn dir(&self) -> PathBuf {
        let own = self.container.working_dir.as_deref().and_then(|dir| self.mounts.covered(dir));
        own.or_else(|| self.first_volume()).unwrap_or_else(|| self.mounts.scratch().to_owned())
    }

    /// The folder of the first mount that is one and can be written.
    fn first_volume(&self) -> Option<PathBuf> {
        let mut mounts = self.container.volume_mounts.iter().flatten();
        mounts
            .find(|mount| mount.read_only != Some(true))
            .and_then(|mount| self.mounts.covered(&mount.mount_path))
            .filter(|folder| folder.is_dir())
    }

    /// The environment of the process: the container's own on top of a minimal one.
    pub fn environment(&self) -> Vec<(String, String)> {
        let folders: Vec<String> = self
            .path
            .iter()
            .map(|folder| folder.display().to_string())
            .chain(["/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()])
            .collect();
        let scratch = self.mounts.scratch().display().to_string();
        let mut all = BTreeMap::from([
            ("HOME".to_owned(), scratch),
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            ("POD_IP".to_owned(), self.ip.to_string()),
        ]);
        all.extend(self.env.iter().cloned());
        all.insert("PATH".to_owned(), folders.join(":"));
        all.into_iter().collect()
    }

    /// The launch of a program with the container's arguments.
    pub fn program(&self, program: &Path) -> Launch {
        self.launch(program.to_owned(), self.words(self.container.args.as_deref()))
    }

    /// The launch of the container's own command.
    ///
    /// # Errors
    /// Says what is missing when there is no command.
    pub fn command(&self) -> Result<Launch, String> {
        let mut words = self.words(self.container.command.as_deref());
        words.extend(self.words(self.container.args.as_deref()));
        if words.is_empty() {
            return Err("the container has no command".to_owned());
        }
        let first = words.remove(0);
        let program = self
            .find(&first)
            .ok_or_else(|| format!("exec: {first:?}: executable file not found in $PATH"))?;
        Ok(self.launch(program, words))
    }

    /// Odoo: the container's environment with the data folder and the address of this machine.
    pub fn odoo(&self, program: &Path) -> Launch {
        let data = ["/bitnami/odoo", "/var/lib/odoo"]
            .into_iter()
            .find_map(|path| self.mounts.covered(path))
            .unwrap_or_else(|| self.mounts.place("/var/lib/odoo"));
        let mut launch = self.program(program);
        launch.env.push(("ODOO_DATA_DIR".to_owned(), data.display().to_string()));
        launch.env.push(("ODOO_BIND".to_owned(), self.ip.to_string()));
        launch
    }

    /// A program by name, on the machine: an absolute path outside of all mounts stands for its last part.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let path = Path::new(name);
        if path.is_absolute() && path.exists() {
            return Some(path.to_owned());
        }
        let base = base_name(name);
        let usual = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
        self.path.iter().chain(&usual).map(|folder| folder.join(base)).find(|candidate| candidate.is_file())
    }

    fn launch(&self, program: PathBuf, args: Vec<String>) -> Launch {
        Launch {
            program,
            args: args.into_iter().map(OsString::from).collect(),
            env: self.environment(),
            dir: self.dir(),
            user: None,
            stop_signal: Signal::SIGTERM,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn config(extra: &[&str]) -> Config {
        let mut words = vec!["devnode", "--kubeconfig=k", "--data-dir=d", "--bin-dir=/programs"];
        words.extend(extra);
        Config::parse_from(words)
    }

    fn container(image: &str, command: &[&str]) -> Container {
        Container {
            image: Some(image.into()),
            command: (!command.is_empty()).then(|| command.iter().map(|word| (*word).to_owned()).collect()),
            ..Container::default()
        }
    }

    fn chosen(image: &str, command: &[&str]) -> Recipe {
        choose(&container(image, command), &config(&[]))
    }

    #[test]
    fn names_lose_registry_tag_and_digest() {
        for image in ["r:5000/a/b", "r:5000/a/b:1", "r:5000/a/b:1@sha256:00", "r:5000/a/b@sha256:00"] {
            assert_eq!(image_name(image), "r:5000/a/b");
        }
    }

    #[test]
    fn images_choose_their_recipe() {
        let odoo = Recipe::Odoo("/programs/odoo-standin".into());
        assert_eq!(chosen("postgres:18.0", &[]), Recipe::Postgres);
        assert_eq!(
            chosen("docker.io/library/postgres:17-alpine", &["docker-entrypoint.sh"]),
            Recipe::Postgres
        );
        assert_eq!(chosen("postgres:18.0", &["pg_dump"]), Recipe::Command);
        assert_eq!(chosen("bitnamilegacy/odoo:17.0", &[]), odoo);
        assert_eq!(chosen("odoo:18.0", &[]), odoo);
        assert_eq!(chosen("registry/saasodoo/gateway:1", &[]), Recipe::Program("/programs/gateway".into()));
        assert_eq!(chosen("saasodoo/tools:1", &["sh", "-c", "true"]), Recipe::Command);
        assert_eq!(chosen("nginx:1", &[]), Recipe::Simulated);
    }

    #[test]
    fn a_given_program_is_stronger_and_simulation_is_strongest() {
        let given = config(&["--binary=nginx=/my/nginx"]);
        let simulated = config(&["--binary=nginx=/my/nginx", "--simulate"]);

        assert_eq!(choose(&container("nginx:1", &[]), &given), Recipe::Program("/my/nginx".into()));
        assert_eq!(choose(&container("nginx:1", &[]), &simulated), Recipe::Simulated);
    }

    #[test]
    fn arguments_know_variables_and_mounts() {
        let mounts = Mounts::new(vec![("/data".into(), "/h/data".into())], "/h/scratch".into());
        let container = Container {
            args: Some(vec!["--dir=/data/x".into(), "$(NAME)".into()]),
            ..container("postgres", &["/bin/sh"])
        };
        let plan = Plan {
            container: &container,
            env: vec![("NAME".into(), "value".into())],
            mounts: &mounts,
            ip: Ipv4Addr::new(127, 64, 0, 1),
            path: Vec::new(),
        };

        let launch = plan.command().unwrap();

        assert_eq!(launch.program, Path::new("/bin/sh"));
        assert_eq!(launch.args, ["--dir=/h/data/x", "value"]);
        assert!(launch.env.contains(&("POD_IP".into(), "127.64.0.1".into())));
    }
}
