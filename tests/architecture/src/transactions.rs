//! Nothing remote while a connection to the database is held: no call of another service, of Kubernetes, of
//! an HTTP server or of a mail server is awaited in a function that has a transaction open or a connection of
//! the pool in its hands. Whoever waits there for somebody else keeps rows locked and connections away from
//! all others, and an outage over there becomes one here.
//!
//! *Remote* is each asynchronous function in a file that imports a client of another program
//! (see [`remote`]), and each one that awaits a remote function. *Held* is what a variable was bound to by
//! `begin`, `begin_with` or `acquire`, until it is committed, rolled back, closed, dropped, moved away or out
//! of scope; a parameter whose type is a connection or transaction, in the whole function; and a
//! temporary in the head of a `match`, `if let` or `for`, which lives to the end of that block.
//!
//! What the rule cannot see: methods of other values than `self` are told apart by their name alone, and
//! count as remote only where all methods of that name in the crate do (those of one trait together); calls
//! through closures and values of functions; what a macro's arguments await; functions of other crates; a
//! connection inside of a struct of ours, such as the lock of a tenant that database-service holds on
//! connections which are there for these locks alone; and the broker and Redis. A connection that was
//! detached from the pool counts as nobody's.

mod remote;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use self::remote::Remote;
use self::walk::Walk;
use crate::sources::{self, Module, Source};

/// Places where something remote is awaited with a connection in hand, as the test tells them. The list only
/// gets shorter.
const KNOWN: &[&str] = &[];

/// Each place of a crate where something remote is awaited with a connection in hand.
fn faults(modules: &BTreeMap<Module, Source>) -> Vec<String> {
    let remote = Remote::of(modules);
    let mut found = BTreeSet::new();
    for function in &remote.functions {
        let called = |call: &_| remote.called(call, function);
        for (called, held) in Walk::faults(function.signature, function.body, &called) {
            let (file, name) = (function.file, &function.signature.ident);
            found.insert(format!("{file}: {name} awaits {called} while {held} is held"));
        }
    }
    found.into_iter().collect()
}

#[test]
fn nothing_remote_is_awaited_with_a_connection_in_hand() {
    let found: Vec<String> = sources::packages(&["services"])
        .iter()
        .flat_map(|package| faults(&sources::modules(package)))
        .collect();

    let new: Vec<_> = found.iter().filter(|place| !KNOWN.contains(&place.as_str())).collect();
    let gone: Vec<_> = KNOWN.iter().filter(|place| !found.contains(&(**place).to_owned())).collect();

    assert!(new.is_empty(), "{new:#?}");
    assert!(gone.is_empty(), "these are in order by now, take them from the list: {gone:#?}");
}

/// A rule that recognised no call any more would be broken by nobody.
#[test]
fn calls_of_other_programs_are_recognised_in_use_cases() {
    for service in
        ["billing-service", "instance-service", "instance-worker", "notification-service", "user-service"]
    {
        let modules = sources::modules(&sources::root().join("services").join(service));
        let remote = Remote::of(&modules);
        let found = remote.functions.iter().zip(&remote.is).filter(|(function, is)| **is && !function.client);
        assert!(found.count() > 0, "{service} calls nobody");
    }
}

/// The faults of a crate of these files.
fn faults_of(files: &[(&str, &str)]) -> Vec<String> {
    let modules = files
        .iter()
        .map(|(module, text)| {
            let source = Source { name: (*module).to_owned(), file: syn::parse_file(text).unwrap() };
            (module.split('/').map(str::to_owned).collect(), source)
        })
        .collect();
    faults(&modules)
}

/// A client, and a use case with this body that calls it through another function.
fn use_case(body: &str) -> Vec<String> {
    let client = "use contracts::user::v1::user_service_client::UserServiceClient;
        impl Peers { pub async fn customer(&self, id: Uuid) -> Customer { self.client.get(id).await } }";
    let helper = "use crate::peers::Peers;
        pub async fn known(peers: &Peers, id: Uuid) -> bool { peers.customer(id).await.is_known() }
        pub async fn local(id: Uuid) -> bool { true }";
    let text = format!("use crate::helper::{{self, known}};\nasync fn f(app: &App, id: Uuid) {{ {body} }}");
    faults_of(&[("peers", client), ("helper", helper), ("app", &text)])
}

#[test]
fn a_remote_call_in_a_transaction_is_found() {
    let told = ["app: f awaits customer while tx is held"];
    assert_eq!(
        use_case("let mut tx = app.pool.begin().await?; app.peers.customer(id).await?; tx.commit().await"),
        told
    );

    let through = ["app: f awaits known while connection is held"];
    let begin = "let mut connection = app.pool.acquire().await?;";
    assert_eq!(use_case(&format!("{begin} let known = known(&app.peers, id).await;")), through);
    let named = ["app: f awaits helper::known while connection is held"];
    assert_eq!(use_case(&format!("{begin} if x {{ helper::known(&app.peers, id).await; }}")), named);

    let parameter = "async fn f(peers: &Peers, tx: &mut PgConnection) { peers.customer(id).await }";
    let client = "use reqwest::Client; impl Peers { async fn customer(&self) {} }";
    assert_eq!(faults_of(&[("peers", client), ("app", parameter)]), told);
}

#[test]
fn a_temporary_in_the_head_of_a_match_is_held_in_its_arms() {
    let told = ["app: f awaits customer while a temporary is held"];
    let body = "match store::find(&mut *app.pool.acquire().await?).await? { Some(x) => \
        app.peers.customer(x).await, None => () }";
    assert_eq!(use_case(body), told);
    let body =
        "let found = store::find(&mut *app.pool.acquire().await?).await?; app.peers.customer(id).await";
    assert!(use_case(body).is_empty());
}

#[test]
fn a_remote_call_after_the_transaction_is_none_of_its() {
    for body in [
        "let mut tx = app.pool.begin().await?; tx.commit().await?; known(&app.peers, id).await",
        "let mut tx = app.pool.begin().await?; save(tx).await?; known(&app.peers, id).await",
        "let mut tx = app.pool.begin().await?; drop(tx); known(&app.peers, id).await",
        "let n = { let mut tx = app.pool.begin().await?; 1 }; known(&app.peers, id).await",
        "let mut tx = app.pool.begin().await?; if x { tx.commit().await?; known(&app.peers, id).await; \
         return; } tx.commit().await",
        "let mut tx = app.pool.begin().await?; helper::local(id).await; tx.commit().await",
        "let mut session = app.pool.acquire().await?.detach(); known(&app.peers, id).await",
    ] {
        assert_eq!(use_case(body), Vec::<String>::new(), "{body}");
    }
    let branch =
        "let mut tx = app.pool.begin().await?; if x { tx.commit().await?; } known(&app.peers, id).await";
    assert_eq!(use_case(branch), ["app: f awaits known while tx is held"]);
}
