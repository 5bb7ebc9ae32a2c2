//! Who asks for a change, for the audit log and the history of tasks.

/// Actor of the schedule.
pub const SCHEDULE: &str = "schedule";

/// Who, with which rank, in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// User id or service name.
    pub actor: String,
    /// Role word, or `service`.
    pub role: String,
    /// `X-Request-Id`.
    pub request_id: String,
    /// Address of the user.
    pub client_ip: String,
}
