//! Goes through the body of a function and knows at each place which connections are held.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::sources;

/// Types that are a held connection.
const HELD: [&str; 4] = ["PgConnection", "PoolConnection", "Transaction", "PgTransaction"];

/// The names of the parameters that are held connections.
pub(super) fn parameters(signature: &syn::Signature) -> Vec<String> {
    let typed = signature.inputs.iter().filter_map(|input| match input {
        syn::FnArg::Typed(typed) => Some(typed),
        syn::FnArg::Receiver(_) => None,
    });
    typed.filter(|typed| names_held(&typed.ty)).flat_map(|typed| bound(&typed.pat)).collect()
}

/// Whether a type names a connection.
fn names_held(ty: &syn::Type) -> bool {
    struct Search(bool);
    impl<'ast> Visit<'ast> for Search {
        fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
            self.0 |= HELD.iter().any(|name| segment.ident == name);
            visit::visit_path_segment(self, segment);
        }
    }
    let mut search = Search(false);
    search.visit_type(ty);
    search.0
}

/// The names that a pattern binds.
fn bound(pattern: &syn::Pat) -> Vec<String> {
    struct Search(Vec<String>);
    impl<'ast> Visit<'ast> for Search {
        fn visit_pat_ident(&mut self, pattern: &'ast syn::PatIdent) {
            self.0.push(pattern.ident.to_string());
            visit::visit_pat_ident(self, pattern);
        }
    }
    let mut search = Search(Vec::new());
    search.visit_pat(pattern);
    search.0
}

/// Goes through a function in the order in which it runs, and knows at each place what is held.
pub(super) struct Walk<'a> {
    /// The name of the remote function that an expression calls, if it does.
    called: &'a dyn Fn(&syn::Expr) -> Option<String>,
    held: BTreeSet<String>,
    /// Every remote call is wanted, whatever is held.
    anywhere: bool,
    /// The remote functions that are awaited, and what is held meanwhile.
    found: BTreeSet<(String, String)>,
}

/// Stands in `held` for a temporary without a name.
const TEMPORARY: &str = "a temporary";

impl<'a> Walk<'a> {
    /// Each remote function that a function awaits, with what is held meanwhile.
    pub(super) fn faults(
        signature: &syn::Signature,
        body: &syn::Block,
        called: &'a dyn Fn(&syn::Expr) -> Option<String>,
    ) -> BTreeSet<(String, String)> {
        let held = parameters(signature).into_iter().collect();
        let mut walk = Self { called, held, anywhere: false, found: BTreeSet::new() };
        walk.visit_block(body);
        walk.found
    }

    /// Whether something remote is awaited anywhere.
    pub(super) fn waits(body: &syn::Block, called: &'a dyn Fn(&syn::Expr) -> Option<String>) -> bool {
        let mut walk = Self { called, held: BTreeSet::new(), anywhere: true, found: BTreeSet::new() };
        walk.visit_block(body);
        !walk.found.is_empty()
    }

    /// Walks a branch; what it holds in the end is held after it, unless it leaves the function or loop.
    fn branch(
        &mut self,
        before: &BTreeSet<String>,
        after: &mut BTreeSet<String>,
        walk: impl FnOnce(&mut Self) -> bool,
    ) {
        self.held.clone_from(before);
        if !walk(self) {
            after.extend(self.held.iter().filter(|name| before.contains(*name)).cloned());
        }
    }

    /// Notes that something is awaited.
    fn awaited(&mut self, awaited: &syn::Expr) {
        let Some(called) = (self.called)(awaited) else { return };
        if self.anywhere {
            self.found.insert((called, String::new()));
            return;
        }
        self.found.extend(self.held.iter().map(|held| (called.clone(), held.clone())));
    }

    /// Walks the head of a block whose temporaries live as long as the block.
    fn head(&mut self, head: &syn::Expr) {
        self.visit_expr(head);
        if acquires(head) {
            self.held.insert(TEMPORARY.to_owned());
        }
    }
}

/// Whether an expression takes a connection or begins a transaction and keeps it.
fn acquires(expression: &syn::Expr) -> bool {
    struct Search(bool);
    impl<'ast> Visit<'ast> for Search {
        fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
            if call.method == "detach" {
                return;
            }
            self.0 |= takes(call);
            visit::visit_expr_method_call(self, call);
        }
        fn visit_block(&mut self, _: &'ast syn::Block) {}
        fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
    }
    let mut search = Search(false);
    search.visit_expr(expression);
    search.0
}

/// Whether a call is one of sqlx that gives a connection or transaction. Others of these names, such as that
/// of a lease or a semaphore, have other arguments or another place.
fn takes(call: &syn::ExprMethodCall) -> bool {
    let arguments = usize::from(call.method == "begin_with");
    let names = ["begin", "begin_with", "acquire", "try_begin", "try_acquire"];
    names.iter().any(|name| call.method == name) && call.args.len() == arguments
}

/// Whether the value of an expression is the connection itself, and not what a query gave.
fn gives_connection(mut expression: &syn::Expr) -> bool {
    loop {
        expression = match expression {
            syn::Expr::Await(inner) => &inner.base,
            syn::Expr::Try(inner) => &inner.expr,
            syn::Expr::MethodCall(call) if takes(call) => return true,
            syn::Expr::MethodCall(call)
                if ["map_err", "context", "with_context"].iter().any(|name| call.method == name) =>
            {
                &call.receiver
            }
            _ => return false,
        }
    }
}

/// Whether a block ends by leaving the function or the loop.
fn leaves(block: &syn::Block) -> bool {
    match block.stmts.last() {
        Some(syn::Stmt::Expr(expression, _)) => leaving(expression),
        Some(syn::Stmt::Macro(call)) => {
            let name = sources::segments(&call.mac.path);
            matches!(name.last().map(String::as_str), Some("bail" | "panic" | "unreachable"))
        }
        _ => false,
    }
}

fn leaving(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Return(_) | syn::Expr::Break(_) | syn::Expr::Continue(_) => true,
        syn::Expr::Block(block) => leaves(&block.block),
        syn::Expr::If(branch) => {
            leaves(&branch.then_branch)
                && branch.else_branch.as_ref().is_some_and(|(_, other)| leaving(other))
        }
        syn::Expr::Match(choice) => choice.arms.iter().all(|arm| leaving(&arm.body)),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Walk<'_> {
    /// What a block binds goes at its end.
    fn visit_block(&mut self, block: &'ast syn::Block) {
        let before = self.held.clone();
        visit::visit_block(self, block);
        self.held.retain(|name| before.contains(name));
    }

    fn visit_item(&mut self, _: &'ast syn::Item) {}

    fn visit_local(&mut self, local: &'ast syn::Local) {
        visit::visit_local(self, local);
        let Some(init) = &local.init else { return };
        // A new value under an old name: the old one is out of reach, though it still lives.
        if gives_connection(&init.expr) {
            self.held.extend(bound(&local.pat));
        }
    }

    fn visit_expr_assign(&mut self, assign: &'ast syn::ExprAssign) {
        visit::visit_expr_assign(self, assign);
        if let syn::Expr::Path(path) = &*assign.left
            && let Some(name) = path.path.get_ident()
            && gives_connection(&assign.right)
        {
            self.held.insert(name.to_string());
        }
    }

    fn visit_expr_await(&mut self, awaited: &'ast syn::ExprAwait) {
        self.visit_expr(&awaited.base);
        self.awaited(&awaited.base);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        visit::visit_expr_call(self, call);
        for argument in &call.args {
            self.moved(argument);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        visit::visit_expr_method_call(self, call);
        for argument in &call.args {
            self.moved(argument);
        }
        if matches!(call.method.to_string().as_str(), "commit" | "rollback" | "close" | "detach") {
            self.moved(&call.receiver);
        }
    }

    fn visit_expr_if(&mut self, branch: &'ast syn::ExprIf) {
        let outer = self.held.clone();
        self.head(&branch.cond);
        let inside = self.held.clone();
        let mut after = BTreeSet::new();
        self.branch(&inside, &mut after, |walk| {
            walk.visit_block(&branch.then_branch);
            leaves(&branch.then_branch)
        });
        // The temporaries of the head are gone in the other branch.
        let mut other = inside.clone();
        other.retain(|name| name != TEMPORARY || outer.contains(name));
        self.branch(&other, &mut after, |walk| {
            branch.else_branch.as_ref().is_some_and(|(_, other)| {
                walk.visit_expr(other);
                leaving(other)
            })
        });
        after.retain(|name| name != TEMPORARY || outer.contains(name));
        self.held = after;
    }

    fn visit_expr_match(&mut self, choice: &'ast syn::ExprMatch) {
        let outer = self.held.clone();
        self.head(&choice.expr);
        let inside = self.held.clone();
        let mut after = BTreeSet::new();
        for arm in &choice.arms {
            self.branch(&inside, &mut after, |walk| {
                walk.visit_arm(arm);
                leaving(&arm.body)
            });
        }
        after.retain(|name| name != TEMPORARY || outer.contains(name));
        self.held = after;
    }

    fn visit_expr_for_loop(&mut self, each: &'ast syn::ExprForLoop) {
        let outer = self.held.clone();
        self.head(&each.expr);
        self.visit_block(&each.body);
        self.held.extend(outer.iter().cloned());
        self.held.retain(|name| outer.contains(name));
    }

    fn visit_expr_while(&mut self, repeat: &'ast syn::ExprWhile) {
        let outer = self.held.clone();
        self.head(&repeat.cond);
        self.visit_block(&repeat.body);
        self.held = outer;
    }

    /// What a closure does, it does at another time.
    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        let outer = std::mem::take(&mut self.held);
        visit::visit_expr_closure(self, closure);
        self.held = outer;
    }
}

impl Walk<'_> {
    /// A value that is named without a borrow is given away.
    fn moved(&mut self, expression: &syn::Expr) {
        if let syn::Expr::Path(path) = expression
            && let Some(name) = path.path.get_ident()
        {
            self.held.remove(&name.to_string());
        }
    }
}
