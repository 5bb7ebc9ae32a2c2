//! Who changes something by hand, and why: every such change leaves an audit row.

use uuid::Uuid;

use crate::store::audit::Audit;

/// Who does it, and why.
#[derive(Debug, Clone)]
pub struct Caller {
    /// User id.
    pub actor: String,
    /// Role.
    pub role: &'static str,
    /// Why.
    pub reason: String,
    /// Of which request.
    pub request_id: String,
}

impl Caller {
    /// The audit row of a change about a customer.
    pub fn audit<'a>(
        &'a self,
        action: &'a str,
        customer: Uuid,
        subject: Uuid,
        details: serde_json::Value,
    ) -> Audit<'a> {
        Audit {
            actor: &self.actor,
            role: self.role,
            action,
            customer_id: Some(customer),
            subject_id: Some(subject),
            reason: &self.reason,
            request_id: &self.request_id,
            details,
        }
    }

    /// The same about a rule that is everybody's and has no id.
    pub fn audit_of_rule<'a>(&'a self, action: &'a str, details: serde_json::Value) -> Audit<'a> {
        Audit { subject_id: None, ..self.audit_of_hook(action, None, Uuid::nil(), details) }
    }

    /// The same about something that may have no customer.
    pub fn audit_of_hook<'a>(
        &'a self,
        action: &'a str,
        customer: Option<Uuid>,
        subject: Uuid,
        details: serde_json::Value,
    ) -> Audit<'a> {
        Audit { customer_id: customer, ..self.audit(action, Uuid::nil(), subject, details) }
    }
}
