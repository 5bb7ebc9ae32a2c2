//! Reads the sources of the workspace: which file is which module, and which paths of its own crate a file
//! names.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// A path of modules, from the root of the crate; empty for the root itself.
pub(crate) type Module = Vec<String>;

/// One source file.
pub(crate) struct Source {
    /// Where it lies, from the root of the workspace.
    pub(crate) name: String,
    /// Its syntax tree.
    pub(crate) file: syn::File,
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folders of the packages in these folders of the workspace, such as `services/gateway`.
pub(crate) fn packages(folders: &[&str]) -> Vec<PathBuf> {
    let mut found: Vec<_> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").is_file())
        .collect();
    found.sort();
    found
}

/// The path of a file from the root of the workspace.
pub(crate) fn name(path: &Path) -> String {
    let own = path.strip_prefix(root()).unwrap();
    own.display().to_string()
}

/// All source files of a package, by the module that each is. `mod.rs` and `<name>.rs` beside a folder are
/// the same to it; a program's `main.rs` and its library's `lib.rs` are both the root, and the library wins.
pub(crate) fn modules(package: &Path) -> BTreeMap<Module, Source> {
    let source = package.join("src");
    let mut files = Vec::new();
    list(&source, &mut files);
    files.sort();
    let mut found = BTreeMap::new();
    for path in files {
        let relative = path.strip_prefix(&source).unwrap().with_extension("");
        let mut module: Module = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let last = module.last().map(String::as_str);
        if last == Some("mod") || (module.len() == 1 && matches!(last, Some("lib" | "main"))) {
            module.pop();
        }
        let text = fs::read_to_string(&path).unwrap();
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        found.entry(module).or_insert(Source { name: name(&path), file });
    }
    found
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            list(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// Whether an item is compiled for tests only.
pub(crate) fn for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let test = attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"));
        attribute.path().is_ident("test") || (attribute.path().is_ident("cfg") && test)
    })
}

/// The segments of a path.
pub(crate) fn segments(path: &syn::Path) -> Vec<String> {
    path.segments.iter().map(|segment| segment.ident.to_string()).collect()
}

/// All paths that an import names, written out.
pub(crate) fn imports(tree: &syn::UseTree) -> Vec<Vec<String>> {
    match tree {
        syn::UseTree::Path(path) => imports(&path.tree)
            .into_iter()
            .map(|rest| std::iter::once(path.ident.to_string()).chain(rest).collect())
            .collect(),
        syn::UseTree::Name(name) => vec![vec![name.ident.to_string()]],
        syn::UseTree::Rename(renamed) => vec![vec![renamed.ident.to_string()]],
        syn::UseTree::Glob(_) => vec![Vec::new()],
        syn::UseTree::Group(group) => group.items.iter().flat_map(imports).collect(),
    }
}

/// The modules of one crate, and where the names lead that its root hands on from them.
pub(crate) struct Crate {
    all: BTreeSet<Module>,
    handed_on: BTreeMap<String, Vec<String>>,
}

impl Crate {
    /// Reads the root's list.
    pub(crate) fn of(modules: &BTreeMap<Module, Source>) -> Self {
        let mut handed_on = BTreeMap::new();
        for item in modules.get(&Module::new()).iter().flat_map(|root| &root.file.items) {
            if let syn::Item::Use(item) = item
                && !matches!(item.vis, syn::Visibility::Inherited)
            {
                for path in imports(&item.tree) {
                    let path: Vec<_> =
                        path.into_iter().skip_while(|word| word == "self" || word == "crate").collect();
                    handed_on.extend(path.last().cloned().map(|name| (name, path)));
                }
            }
        }
        Self { all: modules.keys().cloned().collect(), handed_on }
    }

    /// The module to which a path from the root leads.
    fn module(&self, path: &[String]) -> Option<Module> {
        let handed_on = path.first().and_then(|name| self.handed_on.get(name));
        let path = match handed_on {
            Some(full) if !self.all.contains(&path[..1]) => full,
            _ => path,
        };
        (0..=path.len()).rev().map(|length| path[..length].to_vec()).find(|module| self.all.contains(module))
    }
}

/// The modules of its own crate that a file names, without itself and without what is for tests only.
pub(crate) fn named(own: &Module, file: &syn::File, all: &Crate) -> BTreeSet<Module> {
    let mut names = Names { at: own.clone(), all, found: BTreeSet::new() };
    names.visit_file(file);
    names.found.remove(own);
    names.found
}

/// Walks a file and notes each module of the crate that it names.
struct Names<'a> {
    /// The module around the present place.
    at: Module,
    all: &'a Crate,
    found: BTreeSet<Module>,
}

impl Names<'_> {
    /// Notes the module to which a path leads. Paths begin with `crate`, `self` or `super`; those of imports
    /// may begin with the name of a child as well.
    fn note(&mut self, path: &[String], import: bool) {
        let mut from = self.at.clone();
        let mut rest = path;
        match rest.first().map(String::as_str) {
            Some("crate") => {
                from.clear();
                rest = &rest[1..];
            }
            Some("self" | "super") => {
                while let Some(word) = rest.first().filter(|word| *word == "self" || *word == "super") {
                    if word == "super" {
                        from.pop();
                    }
                    rest = &rest[1..];
                }
            }
            Some(child) if import && self.all.all.contains(&joined(&from, &[child.to_owned()])) => {}
            _ => return,
        }
        self.found.extend(self.all.module(&joined(&from, rest)));
    }
}

fn joined(from: &[String], rest: &[String]) -> Module {
    from.iter().chain(rest).cloned().collect()
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let attributes: &[syn::Attribute] = match item {
            syn::Item::Mod(item) => &item.attrs,
            syn::Item::Fn(item) => &item.attrs,
            syn::Item::Use(item) => &item.attrs,
            syn::Item::Impl(item) => &item.attrs,
            _ => &[],
        };
        if !for_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.at.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if self.at.is_empty() && !matches!(item.vis, syn::Visibility::Inherited) {
            return;
        }
        for path in imports(&item.tree) {
            self.note(&path, true);
        }
    }

    /// `pub(super)` names nothing of the module above.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.note(&segments(path), false);
        visit::visit_path(self, path);
    }

    /// What stands in a macro call is no syntax tree; its words are read one after the other.
    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let text = call.tokens.to_string();
        let words: Vec<&str> = text.split_whitespace().collect();
        for (at, word) in words.iter().enumerate() {
            if !matches!(*word, "crate" | "super" | "self") {
                continue;
            }
            let mut path = vec![(*word).to_owned()];
            let mut rest = words[at + 1..].chunks_exact(2);
            while let Some(["::", next]) = rest.next() {
                path.push((*next).to_owned());
            }
            if path.len() > 1 {
                self.note(&path, false);
            }
        }
        visit::visit_macro(self, call);
    }
}
