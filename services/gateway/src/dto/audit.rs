//! Sessions, audit and the end of an account.

use contracts::user::v1 as pb;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::scalars::{Time, text, time};

#[derive(Debug, Serialize, ToSchema)]
pub struct SessionList {
    pub sessions: Vec<Session>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    #[schema(format = Uuid)]
    pub id: String,
    pub created_at: Option<Time>,
    pub last_used_at: Option<Time>,
    #[schema(example = "203.0.113.9")]
    pub ip: Option<String>,
    #[schema(example = "Mozilla/5.0")]
    pub user_agent: Option<String>,
    /// This request's own session.
    pub current: bool,
}

impl From<pb::Session> for Session {
    fn from(session: pb::Session) -> Self {
        Self {
            created_at: time(session.created_at.as_ref()),
            last_used_at: time(session.last_used_at.as_ref()),
            id: session.id,
            ip: text(session.ip),
            user_agent: text(session.user_agent),
            current: session.current,
        }
    }
}

/// A row of the caller's own audit log.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnAuditEntry {
    pub at: Option<Time>,
    #[schema(example = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11")]
    pub actor: String,
    #[schema(example = "login")]
    pub action: String,
    #[schema(example = "session")]
    pub target: String,
    #[schema(example = "203.0.113.9")]
    pub ip: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OwnAudit {
    pub entries: Vec<OwnAuditEntry>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

impl From<pb::AuditEntry> for OwnAuditEntry {
    fn from(entry: pb::AuditEntry) -> Self {
        Self {
            at: time(entry.at.as_ref()),
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            ip: text(entry.ip),
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditEntry {
    pub at: Option<Time>,
    #[schema(example = "0196f0c0-5a1e-7c3a-9f58-2b1f6f1f0a11")]
    pub actor: String,
    #[schema(example = "customer.deactivate")]
    pub action: String,
    #[schema(example = "customer")]
    pub target: String,
    #[schema(format = Uuid)]
    pub customer_id: Option<String>,
    #[schema(format = Uuid)]
    pub request_id: Option<String>,
    #[schema(example = "203.0.113.9")]
    pub ip: Option<String>,
    #[schema(example = "asked for in ticket 4711")]
    pub reason: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct AuditList {
    pub entries: Vec<AuditEntry>,
    pub total: u64,
    pub page: u32,
    pub page_size: u32,
}

impl From<pb::AuditEntry> for AuditEntry {
    fn from(entry: pb::AuditEntry) -> Self {
        Self {
            at: time(entry.at.as_ref()),
            actor: entry.actor,
            action: entry.action,
            target: entry.target,
            customer_id: text(entry.customer_id),
            request_id: text(entry.request_id),
            ip: text(entry.ip),
            reason: text(entry.reason),
        }
    }
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseAccount {
    #[schema(max_length = 128, example = "Correct-Horse-7")]
    pub password: String,
    /// The word DELETE.
    #[schema(example = "DELETE")]
    pub confirmation: String,
    /// Terminate live instances, too.
    #[serde(default)]
    pub force_terminate: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Closed {
    pub success: bool,
    /// Personal data is erased after this time.
    pub erase_after: Option<Time>,
}
