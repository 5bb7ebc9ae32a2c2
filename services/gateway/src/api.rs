//! The one way to add a route: with its access, its limit and its place in the OpenAPI document. What is not
//! added here cannot be reached (GTW-04, GTW-05).

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};
use serde_json::{Value, json};
use utoipa::openapi::path::Paths;
use utoipa::openapi::{RefOr, Schema};

use crate::access::{Access, Guard, Limit, enforce};
use crate::inputs::{self, Inputs};
use crate::openapi;
use crate::problem::Problem;
use crate::state::App;

/// Short and long spelling of the instance routes (INS-02): the same handlers.
const SHORT: &str = "/instance/instances";
const LONG: &str = "/instance/api/v1/instances";

/// What `routes!` makes of a handler.
type Documented = (Vec<(String, RefOr<Schema>)>, Paths, MethodRouter<App>);

/// One line of the route table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    /// Upper-case method.
    pub method: String,
    /// Template, such as `/instance/instances/{id}`.
    pub path: String,
    /// public, customer, operator, admin, `super_admin`; with `/service` behind it where services may too.
    pub access: &'static str,
}

/// Routes with their access, while they are collected.
pub struct Api {
    app: App,
    router: Router<App>,
    document: Value,
    table: Vec<RouteInfo>,
}

impl Api {
    /// No routes yet.
    pub fn new(app: &App) -> Self {
        Self {
            app: app.clone(),
            router: Router::new(),
            document: openapi::empty(&app.public_url),
            table: Vec::new(),
        }
    }

    /// Adds a handler with `#[utoipa::path]`, as `routes!` gives it.
    pub fn add(self, access: Access, documented: Documented) -> Self {
        self.limited(access, Limit::Usual, documented)
    }

    /// The same for a route of `/user/auth` that takes a secret.
    pub fn auth(self, access: Access, documented: Documented) -> Self {
        self.limited(access, Limit::Auth, documented)
    }

    /// The same for a route that payment providers call: whoever knows its secret, with a limit of its own.
    pub fn webhook(self, documented: Documented) -> Self {
        self.limited(Access::Public, Limit::Webhook, documented)
    }

    fn limited(mut self, access: Access, limit: Limit, (schemas, paths, handlers): Documented) -> Self {
        for (name, schema) in schemas {
            self.document["components"]["schemas"][name] = json!(schema);
        }
        for (path, item) in paths.paths {
            let mut item = json!(item);
            for operation in item.as_object_mut().into_iter().flat_map(|item| item.values_mut()) {
                inputs::document(operation, &path);
            }
            // Payment providers add parameters of their own to the addresses that they call or send people to.
            let lenient = limit == Limit::Webhook || path == "/billing/payment-status";
            let inputs = item.as_object().filter(|_| !lenient).map(Inputs::of).unwrap_or_default();
            self = self.insert((access, limit), &path, &item, &handlers, inputs);
        }
        self
    }

    /// A route of the API whose work comes later: known, documented, behind its access, 501.
    pub fn later(self, access: Access, method: &str, path: &str, summary: &str) -> Self {
        let limit = if path.contains("/webhooks/") && access == Access::Public {
            Limit::Webhook
        } else {
            Limit::Usual
        };
        let operation = json!({
            "summary": summary,
            "description": "Not yet: this version answers 501 `not_implemented`.",
            "operationId": openapi::operation_id(method, path),
            "responses": {"501": {"description": "not_implemented"}},
        });
        let filter = match method {
            "post" => MethodFilter::POST,
            "put" => MethodFilter::PUT,
            "patch" => MethodFilter::PATCH,
            "delete" => MethodFilter::DELETE,
            _ => MethodFilter::GET,
        };
        let handlers = on(filter, || async { Problem::not_implemented() });
        self.insert((access, limit), path, &json!({ method: operation }), &handlers, Inputs::default())
    }

    /// A public GET route that documents itself: health, documents, pages.
    pub fn page(self, limit: Limit, path: &str, operation: &Value, handlers: &MethodRouter<App>) -> Self {
        let access = (Access::Public, limit);
        self.insert(access, path, &json!({ "get": operation }), handlers, Inputs::default())
    }

    fn insert(
        mut self,
        (access, limit): (Access, Limit),
        path: &str,
        item: &Value,
        handlers: &MethodRouter<App>,
        inputs: Inputs,
    ) -> Self {
        let guard = Guard { app: self.app.clone(), access, limit, inputs: Arc::new(inputs) };
        let guarded = handlers.clone().route_layer(from_fn_with_state(guard, enforce));
        for (spelling, is_alias) in spellings(path) {
            for (method, operation) in item.as_object().into_iter().flatten() {
                let operation = openapi::complete(operation, method, &spelling, access, limit, is_alias);
                self.document["paths"][&spelling][method] = operation;
                let method = method.to_uppercase();
                self.table.push(RouteInfo { method, path: spelling.clone(), access: access.word() });
            }
            self.router = self.router.route(&spelling, guarded.clone());
        }
        self
    }

    /// Ends the collection.
    pub fn finish(mut self) -> Finished {
        openapi::finish(&mut self.document);
        Finished { router: self.router, document: self.document, table: self.table }
    }
}

/// All routes.
pub struct Finished {
    /// The routes.
    pub router: Router<App>,
    /// The OpenAPI document of all routes.
    pub document: Value,
    /// The route table.
    pub table: Vec<RouteInfo>,
}

fn spellings(path: &str) -> Vec<(String, bool)> {
    let mut all = vec![(path.to_owned(), false)];
    if let Some(rest) = path.strip_prefix(SHORT) {
        all.push((format!("{LONG}{rest}"), true));
    }
    all
}
