//! Which functions of a crate wait for another program.

use std::collections::BTreeMap;

use syn::visit::{self, Visit};

use super::walk::{Walk, parameters};
use crate::sources::{self, Module, Source};

/// Crates whose import makes a file a client of another program; the clients of gRPC are modules named
/// `<service>_client` of `contracts`.
const CLIENTS: [&str; 3] = ["kube", "lettre", "reqwest"];

/// What the rule must know of a function.
pub(super) struct Function<'ast> {
    pub(super) file: &'ast str,
    module: &'ast Module,
    /// The type that it is defined for.
    owner: Option<String>,
    /// The trait that it is a part of.
    of_trait: Option<String>,
    pub(super) signature: &'ast syn::Signature,
    pub(super) body: &'ast syn::Block,
    /// It stands in a file with a client of another program.
    pub(super) client: bool,
}

impl Function<'_> {
    fn is_named(&self, name: &str) -> bool {
        self.signature.ident == name
    }
}

/// All functions of a crate that are no tests.
fn functions(modules: &BTreeMap<Module, Source>) -> Vec<Function<'_>> {
    let mut found = Vec::new();
    for (module, source) in modules {
        let client = is_client(&source.file);
        let mut collector =
            Collector { module, owner: None, of_trait: None, file: &source.name, client, found: &mut found };
        collector.visit_file(&source.file);
    }
    found
}

/// Whether a file imports a client of another program.
fn is_client(file: &syn::File) -> bool {
    let paths = file.items.iter().filter_map(|item| match item {
        syn::Item::Use(item) => Some(sources::imports(&item.tree)),
        _ => None,
    });
    paths.flatten().any(|path| {
        let first = path.first().map(String::as_str).unwrap_or_default();
        CLIENTS.contains(&first)
            || (first == "contracts" && path.iter().any(|word| word.ends_with("_client")))
    })
}

struct Collector<'ast, 'found> {
    module: &'ast Module,
    owner: Option<String>,
    of_trait: Option<String>,
    file: &'ast str,
    client: bool,
    found: &'found mut Vec<Function<'ast>>,
}

impl<'ast> Collector<'ast, '_> {
    fn add(&mut self, signature: &'ast syn::Signature, body: &'ast syn::Block) {
        self.found.push(Function {
            file: self.file,
            module: self.module,
            owner: self.owner.clone(),
            of_trait: self.of_trait.clone(),
            signature,
            body,
            client: self.client,
        });
    }
}

impl<'ast> Visit<'ast> for Collector<'ast, '_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !sources::for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !sources::for_tests(&item.attrs) {
            self.add(&item.sig, &item.block);
        }
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let syn::Type::Path(path) = &*item.self_ty {
            self.owner = path.path.segments.last().map(|last| last.ident.to_string());
        }
        self.of_trait = item.trait_.as_ref().and_then(|(path, _)| sources::segments(path).pop());
        visit::visit_item_impl(self, item);
        (self.owner, self.of_trait) = (None, None);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.add(&item.sig, &item.block);
    }
}

/// A crate, and which of its functions wait for something remote.
pub(super) struct Remote<'ast> {
    pub(super) functions: Vec<Function<'ast>>,
    pub(super) is: Vec<bool>,
    /// By module: what its imports call by which name.
    imports: BTreeMap<&'ast Module, BTreeMap<String, Vec<String>>>,
}

impl<'ast> Remote<'ast> {
    pub(super) fn of(modules: &'ast BTreeMap<Module, Source>) -> Self {
        let functions = functions(modules);
        let begins = |function: &Function<'_>| {
            function.client
                && function.signature.asyncness.is_some()
                && parameters(function.signature).is_empty()
        };
        let is = functions.iter().map(begins).collect();
        let imports = modules.iter().map(|(module, source)| (module, renamed(module, &source.file)));
        let mut remote = Self { functions, is, imports: imports.collect() };
        while remote.spread() {}
        remote
    }

    /// Marks the functions that await a marked one; tells whether there was one.
    fn spread(&mut self) -> bool {
        let new: Vec<_> = (0..self.functions.len())
            .filter(|at| !self.is[*at] && self.functions[*at].signature.asyncness.is_some())
            .filter(|at| {
                let function = &self.functions[*at];
                Walk::waits(function.body, &|call| self.called(call, function))
            })
            .collect();
        for at in &new {
            self.is[*at] = true;
        }
        !new.is_empty()
    }

    /// The name of the remote function that this expression calls, if it does.
    pub(super) fn called(&self, call: &syn::Expr, from: &Function<'_>) -> Option<String> {
        match call {
            syn::Expr::Call(call) => {
                let syn::Expr::Path(function) = &*call.func else { return None };
                let path = sources::segments(&function.path);
                self.any(&self.function(&path, from)).then(|| path.join("::"))
            }
            syn::Expr::MethodCall(call) => {
                let name = call.method.to_string();
                self.method(&name, is_self(&call.receiver), from).then_some(name)
            }
            _ => None,
        }
    }

    fn any(&self, found: &[usize]) -> bool {
        found.iter().any(|at| self.is[*at])
    }

    fn all(&self, which: impl Fn(&Function<'_>) -> bool) -> Vec<usize> {
        (0..self.functions.len()).filter(|at| which(&self.functions[*at])).collect()
    }

    /// The functions that a path may mean.
    fn function(&self, path: &[String], from: &Function<'_>) -> Vec<usize> {
        let Some((name, before)) = path.split_last() else { return Vec::new() };
        if let [word] = before
            && word == "Self"
        {
            return self.all(|function| function.owner == from.owner && function.is_named(name));
        }
        let full = self.full(path, from);
        let (_, before) = full.split_last().unwrap_or((name, &[]));
        let exact = self
            .all(|function| function.owner.is_none() && function.is_named(name) && function.module == before);
        if !exact.is_empty() {
            return exact;
        }
        let of_type = self.all(|function| {
            function.owner.is_some() && function.owner.as_ref() == before.last() && function.is_named(name)
        });
        if !of_type.is_empty() || before.is_empty() {
            return of_type;
        }
        // A module hands on what one of its children defines.
        self.all(|function| {
            function.owner.is_none() && function.is_named(name) && function.module.starts_with(before)
        })
    }

    /// A path from the root of the crate.
    fn full(&self, path: &[String], from: &Function<'_>) -> Vec<String> {
        let imported = self.imports.get(from.module).and_then(|imports| imports.get(&path[0]));
        if let Some(imported) = imported {
            return imported.iter().chain(&path[1..]).cloned().collect();
        }
        if let Some(full) = from_root(from.module, path) {
            return full;
        }
        from.module.iter().chain(path).cloned().collect()
    }

    /// Whether a method is remote: one of `self` when one of its type is, any other one when all methods of
    /// its name are, where those of one trait are remote together.
    fn method(&self, name: &str, on_self: bool, from: &Function<'_>) -> bool {
        if on_self {
            let own = self.all(|function| function.owner == from.owner && function.is_named(name));
            return self.any(&own);
        }
        let methods = self.all(|function| function.signature.receiver().is_some() && function.is_named(name));
        let together = |at: &usize| {
            let of_trait = self.functions[*at].of_trait.as_ref();
            let same = methods.iter().filter(|other| self.functions[**other].of_trait.as_ref() == of_trait);
            self.is[*at] || (of_trait.is_some() && same.into_iter().any(|other| self.is[*other]))
        };
        !methods.is_empty() && methods.iter().all(together)
    }
}

/// What a file's imports from its own crate call by which name, from the root of the crate.
fn renamed(module: &Module, file: &syn::File) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for item in &file.items {
        let syn::Item::Use(item) = item else { continue };
        for path in sources::imports(&item.tree) {
            let Some(full) = from_root(module, &path) else { continue };
            let name = full.iter().rev().find(|word| *word != "self").cloned();
            let full = full.into_iter().filter(|word| word != "self").collect();
            found.extend(name.map(|name| (name, full)));
        }
    }
    found
}

/// A path that begins with `crate`, `self` or `super`, from the root of the crate.
fn from_root(module: &Module, path: &[String]) -> Option<Vec<String>> {
    let mut from = module.clone();
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
        _ => return None,
    }
    Some(from.into_iter().chain(rest.iter().cloned()).collect())
}

fn is_self(expression: &syn::Expr) -> bool {
    matches!(expression, syn::Expr::Path(path) if path.path.is_ident("self"))
}
