//! Who asks for a change, for the audit log and the history of tasks.

use runtime::identity::Caller;

/// Actor of the schedule.
pub const SCHEDULE: &str = "schedule";

/// Who, with which rank, in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// User id or service name.
    pub actor: String,
    /// Role word, or `service`.
    pub role: String,
    /// `X-Request-Id`.
    pub request_id: String,
    /// Address of the user.
    pub client_ip: String,
}

impl From<&Caller> for By {
    fn from(caller: &Caller) -> Self {
        Self {
            actor: caller.actor(),
            role: caller.user.as_ref().map_or_else(|| "service".to_owned(), |user| user.role.to_string()),
            request_id: caller.request_id.clone(),
            client_ip: caller.client_ip.map(|ip| ip.to_string()).unwrap_or_default(),
        }
    }
}
