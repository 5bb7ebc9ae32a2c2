//! On whose behalf a use case runs, and which rows that shows (SEC-01).

use contracts::services::{BILLING, USER};
use instance::domain::ActorKind;
use instance::store::events::Cause;
use instance::store::{Scope, audit};
use runtime::identity::{self, Role};
use uuid::Uuid;

/// On whose behalf a use case runs.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The signed-in user.
    pub user: Option<Uuid>,
    /// Its rank, for the rules.
    pub kind: ActorKind,
    /// Its rank, for audit rows.
    pub role: &'static str,
    /// User id or service name.
    pub actor: String,
    /// `X-Request-Id`.
    pub request_id: String,
    /// Address of the user.
    pub client_ip: String,
}

impl Caller {
    /// The caller of a method that takes a user.
    fn of_user(caller: &identity::Caller) -> Result<Self, tonic::Status> {
        let user = caller.require_user()?;
        let kind = match user.role {
            Role::Customer => ActorKind::Customer,
            Role::Operator => ActorKind::Operator,
            Role::Admin | Role::SuperAdmin => ActorKind::Admin,
        };
        Ok(Self {
            user: Some(user.id),
            kind,
            role: user.role.as_str(),
            actor: caller.actor(),
            request_id: caller.request_id.clone(),
            client_ip: caller.client_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        })
    }

    /// The caller of a method that takes a user, or a service that asked through the gateway.
    pub fn of(caller: &identity::Caller) -> Result<Self, tonic::Status> {
        if !caller.relayed {
            return Self::of_user(caller);
        }
        let kind = match caller.service.as_str() {
            BILLING => ActorKind::Billing,
            USER => ActorKind::Accounts,
            _ => ActorKind::Admin,
        };
        Ok(Self {
            client_ip: caller.client_ip.map(|ip| ip.to_string()).unwrap_or_default(),
            ..Self::service(&caller.service, kind, &caller.request_id)
        })
    }

    /// A service that acts for itself.
    pub fn service(name: &str, kind: ActorKind, request_id: &str) -> Self {
        Self {
            user: None,
            kind,
            role: "service",
            actor: name.to_owned(),
            request_id: request_id.to_owned(),
            client_ip: String::new(),
        }
    }

    /// A drain that goes on for the one who began it.
    pub fn drain(requested_by: &str, request_id: &str) -> Self {
        Self::service(requested_by, ActorKind::Platform, request_id)
    }

    /// Our own sweeps.
    pub fn platform() -> Self {
        Self::service(contracts::services::INSTANCE, ActorKind::Platform, "")
    }

    /// Which rows it may read and change: a customer its own, everybody else all.
    pub fn scope(&self) -> Scope {
        match (self.kind, self.user) {
            (ActorKind::Customer, Some(user)) => Scope::Owner(user),
            (ActorKind::Customer, None) => Scope::Owner(Uuid::nil()),
            _ => Scope::All,
        }
    }

    /// Which rows are its own, whatever its rank. Nobody's without a user.
    pub fn own(&self) -> Scope {
        Scope::Owner(self.user.unwrap_or_default())
    }

    /// Sees names of nodes, servers and objects.
    pub fn is_privileged(&self) -> bool {
        self.kind != ActorKind::Customer
    }

    /// Its rank towards one instance: to its own, an operator is a customer, who may do more with it.
    pub fn kind_towards(&self, owner: Uuid) -> ActorKind {
        if self.kind == ActorKind::Operator && self.user == Some(owner) {
            ActorKind::Customer
        } else {
            self.kind
        }
    }

    /// What the timeline of an instance shows: to their own, an operator is a customer.
    pub fn cause(&self, owner: Uuid) -> Cause {
        match self.kind {
            _ if self.user == Some(owner) => Cause::Customer,
            // A script of ours.
            ActorKind::Operator | ActorKind::Admin if self.user.is_none() => Cause::Platform,
            // Who closes the account is its owner.
            ActorKind::Customer | ActorKind::Accounts => Cause::Customer,
            ActorKind::Billing => Cause::Billing,
            ActorKind::Operator | ActorKind::Admin => Cause::Operator,
            ActorKind::Platform => Cause::Platform,
        }
    }

    /// A row of the audit log.
    pub fn entry<'a>(&'a self, action: &'a str, instance: Option<Uuid>, reason: &'a str) -> audit::Entry<'a> {
        audit::Entry {
            actor: &self.actor,
            role: self.role,
            action,
            instance,
            reason,
            request_id: &self.request_id,
            client_ip: &self.client_ip,
        }
    }

    /// Whether its actions on `owner`'s instance are written to the audit log (SEC-17).
    pub fn is_audited_for(&self, owner: Uuid) -> bool {
        self.kind != ActorKind::Platform && self.user != Some(owner)
    }
}
