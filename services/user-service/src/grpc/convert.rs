//! Messages ⇄ domain.

use contracts::scalars::timestamp;
use contracts::user::v1::{AuditEntry, Customer, NotificationSwitches, Preferences, Profile, Tokens};
use uuid::Uuid;

use crate::app::login::SessionTokens;
use crate::domain::audit::Stored;
use crate::domain::users::User;
use crate::error::Error;

/// An id of a path; a text that is none names nothing.
pub(super) fn id(text: &str, thing: &'static str) -> Result<Uuid, Error> {
    Uuid::parse_str(text).map_err(|_| Error::NotFound(thing))
}

pub(super) fn customer(user: &User) -> Customer {
    Customer {
        id: user.id.to_string(),
        email: user.email.clone(),
        first_name: user.first_name.clone(),
        last_name: user.last_name.clone(),
        is_verified: user.verified_at.is_some(),
        is_active: user.is_active,
        role: user.role.to_string(),
        language: user.language.clone(),
        timezone: user.timezone.clone(),
        max_instances: user.max_instances.and_then(|max| u32::try_from(max).ok()),
        preferences: Some(preferences(user)),
        created_at: Some(timestamp(user.created_at)),
        country: user.country.clone(),
    }
}

pub(super) fn preferences(user: &User) -> Preferences {
    Preferences {
        language: user.language.clone(),
        theme: user.theme.clone(),
        notifications: Some(NotificationSwitches {
            instance: user.switches.instance,
            backup: user.switches.backup,
            product: user.switches.product,
        }),
    }
}

pub(super) fn profile(profile: crate::app::profile::Profile) -> Profile {
    let user = profile.user;
    Profile {
        id: user.id.to_string(),
        email: user.email,
        first_name: user.first_name,
        last_name: user.last_name,
        phone: user.phone,
        company: user.company,
        country: user.country,
        timezone: user.timezone,
        language: user.language,
        avatar_url: user.avatar_url,
        role: user.role.to_string(),
        is_active: user.is_active,
        is_verified: user.verified_at.is_some(),
        created_at: Some(timestamp(user.created_at)),
        last_login_at: user.last_login_at.map(timestamp),
        instance_count: profile.instance_count,
        subscription_plan: profile.plan,
        subscription_status: profile.standing,
        version: user.version,
    }
}

pub(super) fn tokens(tokens: SessionTokens) -> Tokens {
    Tokens {
        refresh_token: tokens.refresh.expose().to_owned(),
        access_token: tokens.access,
        expires_at: Some(timestamp(tokens.access_expires_at)),
        refresh_expires_at: Some(timestamp(tokens.refresh_expires_at)),
    }
}

pub(super) fn audit_entry(entry: Stored) -> AuditEntry {
    AuditEntry {
        at: Some(timestamp(entry.at)),
        actor: entry.actor,
        action: entry.action,
        target: entry.target,
        customer_id: entry.customer_id.map(|id| id.to_string()).unwrap_or_default(),
        request_id: entry.request_id,
        ip: entry.ip,
        reason: entry.reason,
    }
}
