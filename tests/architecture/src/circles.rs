//! No circles of files: whoever reads a file can read what it rests on without coming back to it.
//!
//! A file rests on another one of its crate when it names the module that the other one is, or something
//! in it: in an import, re-exports among them, or in a path that begins with `crate`, `self` or `super`. The
//! mere declaration of a child (`mod child;`) is no such name, and a path that begins with a child's name
//! counts in imports only. So a folder's `mod.rs` may hold what its children share as long as it does not
//! import from them what needs it. What the root of a crate hands on (`pub use`) counts as named where it
//! stands. What is compiled for tests only does not count.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::{self, Module};

type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// The graph of a package: who names whom.
fn graph(modules: &BTreeMap<Module, sources::Source>) -> Graph {
    let all = sources::Crate::of(modules);
    modules
        .iter()
        .map(|(module, source)| (module.clone(), sources::named(module, &source.file, &all)))
        .collect()
}

/// Everything that can be reached from a module.
fn reached(graph: &Graph, from: &Module) -> BTreeSet<Module> {
    let mut found = BTreeSet::new();
    let mut next: Vec<&Module> = graph[from].iter().collect();
    while let Some(module) = next.pop() {
        if found.insert(module.clone()) {
            next.extend(&graph[module]);
        }
    }
    found
}

/// The circles: sets of modules of which each can be reached from each other one.
fn circles(graph: &Graph) -> BTreeSet<BTreeSet<Module>> {
    let reach: BTreeMap<&Module, BTreeSet<Module>> =
        graph.keys().map(|module| (module, reached(graph, module))).collect();
    let mut found = BTreeSet::new();
    for (module, reached) in &reach {
        if reached.contains(*module) {
            found.insert(reached.iter().filter(|other| reach[other].contains(*module)).cloned().collect());
        }
    }
    found
}

/// A circle as a person reads it: `services/gateway: access api app`.
fn told(package: &str, circle: &BTreeSet<Module>) -> String {
    let names = circle.iter().map(|module| match module.as_slice() {
        [] => "lib".to_owned(),
        parts => parts.join("/"),
    });
    format!("{package}: {}", names.collect::<Vec<_>>().join(" "))
}

/// Circles that are still there. The list only gets shorter: when one has shrunk, its line names the files
/// that are left.
const KNOWN: &[&str] = &[
    "libs/instance: domain domain/decide domain/instance domain/operation domain/reactivate \
     domain/status domain/words",
    "libs/runtime: database database/probe",
    "libs/runtime: grpc grpc/client grpc/metrics grpc/policy grpc/server",
    "libs/runtime: identity identity/service_token identity/user_token",
    "libs/test-kit: killbill killbill/books",
    "libs/test-kit: killbill/routes killbill/routes/corrections killbill/routes/invoices",
    "libs/test-kit: paynow paynow/books",
    "tools/bench: billing billing/hooks",
    "tools/devnode: ingress ingress/table",
];

#[test]
fn files_form_no_circles() {
    let mut found = BTreeSet::new();
    for package in sources::packages(&["services", "libs", "tools"]) {
        let name = sources::name(&package);
        let circles = circles(&graph(&sources::modules(&package)));
        found.extend(circles.iter().map(|circle| told(&name, circle)));
    }
    let known: BTreeSet<String> = KNOWN.iter().map(|line| (*line).to_owned()).collect();

    let new: Vec<_> = found.difference(&known).cloned().collect();
    let gone: Vec<_> = known.difference(&found).cloned().collect();

    assert!(
        new.is_empty() && gone.is_empty(),
        "new circles:\n{}\nno circles any more, or smaller ones:\n{}",
        new.join("\n"),
        gone.join("\n")
    );
}

/// The graph of a crate of three files, with its circles.
fn circles_of(files: &[(&str, &str)]) -> Vec<String> {
    let modules = files
        .iter()
        .map(|(module, text)| {
            let module = module.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
            (module, sources::Source { name: String::new(), file: syn::parse_file(text).unwrap() })
        })
        .collect();
    circles(&graph(&modules)).iter().map(|circle| told("x", circle)).collect()
}

#[test]
fn a_circle_is_found_through_lists_paths_and_macros() {
    let found = circles_of(&[
        ("", "mod a; mod b; mod c;"),
        ("a", "use crate::{b::{self, B}, d};"),
        ("b", "fn f() { debug!(\"{}\", super::c::NUMBER) }"),
        ("c", "fn f(x: &crate::a::A) {}"),
    ]);
    assert_eq!(found, ["x: a b c"]);
}

#[test]
fn what_the_root_hands_on_counts_where_it_stands() {
    let users = ("b", "use crate::A;");
    assert!(circles_of(&[("", "mod a; mod b; pub use self::a::A;"), ("a", ""), users]).is_empty());
    assert_eq!(circles_of(&[("", "pub use a::A;"), ("a", "use crate::b;"), users]), ["x: a b"]);
}

#[test]
fn a_parent_that_only_declares_its_child_is_in_no_circle() {
    let child = ("a/child", "use super::Shared;");
    assert!(circles_of(&[("a", "mod child; pub struct Shared;"), child]).is_empty());
    assert_eq!(
        circles_of(&[("a", "mod child; pub use child::F; pub struct Shared;"), child]),
        ["x: a a/child"]
    );
    let tests = "mod child; pub struct Shared; #[cfg(test)] mod tests { use super::child::F; }";
    assert!(circles_of(&[("a", tests), child]).is_empty());
    let visible = ("a/child", "pub(super) fn f() {}");
    assert!(circles_of(&[("a", "mod child; use self::child::f;"), visible]).is_empty());
}
