//! The checks of a create: every field at once, against the rules, the plan and the account.

use std::collections::BTreeMap;

use instance::domain::{Limits, Subdomain, names};
use runtime::grpc::FieldViolation;
use uuid::Uuid;

use super::request::CreateInput;
use crate::clients::billing::Plan;
use crate::clients::users::Account;
use crate::error::{Error, violation};
use crate::rules::Rules;

/// An order whose fields are all good.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) customer: Uuid,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) odoo_version: String,
    pub(super) instance_type: String,
    pub(super) admin_email: String,
    pub(super) demo_data: bool,
    pub(super) limits: Limits,
    pub(super) subdomain: HostName,
    pub(super) plan: Plan,
    pub(super) trial: Option<bool>,
    pub(super) database_label: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) quota: u32,
}

/// Where the host name comes from.
#[derive(Debug, Clone)]
pub(super) enum HostName {
    /// The customer chose it: that one or none.
    Chosen(Subdomain),
    /// From the display name, with a suffix when it is taken.
    Made,
}

/// Collects what is wrong.
struct Faults(Vec<FieldViolation>);

impl Faults {
    fn take<T: Default, E: std::fmt::Display>(&mut self, field: &str, outcome: Result<T, E>) -> T {
        outcome.unwrap_or_else(|error| {
            self.0.push(violation(field, error.to_string()));
            T::default()
        })
    }
}

pub(super) fn check(
    rules: &Rules,
    customer: Uuid,
    account: &Account,
    plan: &Plan,
    input: CreateInput,
) -> Result<Draft, Error> {
    if !account.is_active {
        return Err(Error::Forbidden);
    }
    if !plan.available {
        return Err(Error::PlanUnavailable(plan.name.clone()));
    }
    let asked = input.limits();
    let mut faults = Faults(Vec::new());
    let name = faults.take("name", names::display_name(&input.name));
    let description = faults.take("description", names::description(&input.description));
    let email = input.admin_email.as_deref().unwrap_or(&account.email);
    let admin_email = faults.take("admin_email", names::email(email));
    let labels = faults.take("labels", names::labels(input.labels));
    let label = input.database_name.as_deref().map_or(Ok(String::new()), names::database_label);
    let database_label = faults.take("database_name", label);
    let odoo_version = faults.take("odoo_version", version(rules, input.odoo_version));
    let instance_type = faults.take("instance_type", instance_type(input.instance_type));
    if !faults.0.is_empty() {
        // Limits that are wrong in themselves are told in the same answer.
        if let Err(limits) = plan.limits.or(rules.fallback).grant(asked) {
            faults.0.extend(limits.into_iter().map(|fault| violation(fault.field, fault.message)));
        }
        return Err(Error::Invalid(faults.0));
    }
    let limits = plan.limits.or(rules.fallback).grant(asked)?;
    let subdomain = match input.subdomain.as_deref() {
        Some(text) => HostName::Chosen(rules.subdomains.check(text)?),
        None => HostName::Made,
    };
    Ok(Draft {
        customer,
        name,
        description,
        odoo_version,
        instance_type,
        admin_email,
        demo_data: input.demo_data,
        limits,
        subdomain,
        plan: plan.clone(),
        trial: input.trial,
        database_label,
        labels,
        quota: account.max_instances.unwrap_or(rules.max_instances),
    })
}

/// INS-04: one spelling everywhere.
fn version(rules: &Rules, asked: Option<String>) -> Result<String, String> {
    let version = asked.unwrap_or_else(|| rules.default_odoo_version.clone());
    if rules.odoo_versions.contains(&version) {
        Ok(version)
    } else {
        Err(format!("must be one of {}", rules.odoo_versions.join(", ")))
    }
}

fn instance_type(asked: Option<String>) -> Result<String, &'static str> {
    let word = asked.unwrap_or_else(|| "production".to_owned());
    if ["development", "staging", "production"].contains(&word.as_str()) {
        Ok(word)
    } else {
        Err("must be development, staging or production")
    }
}
