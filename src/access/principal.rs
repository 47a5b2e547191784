//! Principals, roles, permissions.

use std::str::FromStr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::event::SHARED_TENANT;
use crate::ledger::Origin;

/// The longest name of a tenant, in bytes.
const MAX_TENANT_BYTES: usize = 100;
/// The longest name of a subject, in bytes.
const MAX_SUBJECT_BYTES: usize = 200;

/// What a route needs, beside a valid token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Reads shared prices and what belongs to the tenant, and calculates without saving.
    Read,
    /// Writes what belongs to the tenant: sessions, overrides, proposals, estimates.
    Work,
    /// Reads what is about the service or the ledger as a whole: proofs and metrics.
    Audit,
    /// Changes what belongs to everybody (refreshes, policy, proposals decided), and manages keys and users.
    Administer,
}

impl Permission {
    /// As the API's description writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Work => "work",
            Self::Audit => "audit",
            Self::Administer => "administer",
        }
    }
}

/// What a principal is to its tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads and calculates.
    Viewer,
    /// Also saves and proposes.
    Analyst,
    /// May do everything.
    Admin,
    /// Reads everything, also proofs, and writes nothing.
    Auditor,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Analyst, Self::Admin, Self::Auditor];

    /// As claims and the command line write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Analyst => "analyst",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }

    /// Whether the role has a permission.
    pub fn may(self, permission: Permission) -> bool {
        match permission {
            Permission::Read => true,
            Permission::Work => matches!(self, Self::Analyst | Self::Admin),
            Permission::Audit => matches!(self, Self::Auditor | Self::Admin),
            Permission::Administer => self == Self::Admin,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = InvalidPrincipal;

    fn from_str(text: &str) -> Result<Self, InvalidPrincipal> {
        Self::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| {
            let text: String = text.chars().take(MAX_TENANT_BYTES).collect();
            InvalidPrincipal(format!("{text:?} is not a role: viewer, analyst, admin or auditor"))
        })
    }
}

/// Why there can be no such principal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidPrincipal(String);

/// What a principal is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// The bearer of a token, mostly a person.
    User,
    /// A program with an API key.
    Key {
        /// The actor of the person whom it acts for.
        owner: Arc<str>,
        /// What it is narrowed to; `None`: all that its role may.
        scopes: Option<Arc<[String]>>,
    },
}

/// Who asks, for which tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose sessions, overrides, proposals and estimates it sees. Never the tenant of what belongs to everybody.
    pub tenant: Arc<str>,
    /// Its name within the tenant.
    pub subject: Arc<str>,
    /// What it may do.
    pub role: Role,
    /// When its token ends; streams end with it.
    pub expires_at: Option<DateTime<Utc>>,
    kind: Kind,
}

impl Principal {
    /// A principal with well-formed names.
    ///
    /// # Errors
    /// The tenant or the subject is empty, too long, holds characters that it may not, or is reserved.
    pub fn new(tenant: &str, subject: &str, role: Role) -> Result<Self, InvalidPrincipal> {
        Ok(Self {
            tenant: tenant_checked(tenant)?.into(),
            subject: subject_checked(subject)?.into(),
            role,
            expires_at: None,
            kind: Kind::User,
        })
    }

    /// The same, whose token ends at a time.
    pub(super) fn until(self, expires_at: Option<DateTime<Utc>>) -> Self {
        Self { expires_at, ..self }
    }

    /// The holder of an API key that acts for a person; its subject is the key's id.
    pub(super) fn of_key(
        tenant: &str,
        key_id: Uuid,
        role: Role,
        owner: &str,
        scopes: Option<Vec<String>>,
    ) -> Self {
        let kind = Kind::Key { owner: owner.into(), scopes: scopes.map(Into::into) };
        Self { tenant: tenant.into(), subject: key_id.to_string().into(), role, expires_at: None, kind }
    }

    fn kind(&self) -> &'static str {
        match self.kind {
            Kind::User => "user",
            Kind::Key { .. } => "key",
        }
    }

    /// The actor of the person who is behind it: its own, or that of the owner of its key.
    pub fn person(&self) -> String {
        match &self.kind {
            Kind::User => self.actor(),
            Kind::Key { owner, .. } => owner.to_string(),
        }
    }

    /// What it is narrowed to within its role; `None`: nothing.
    pub fn scopes(&self) -> Option<&[String]> {
        match &self.kind {
            Kind::User => None,
            Kind::Key { scopes, .. } => scopes.as_deref(),
        }
    }

    /// The actor of events about what belongs to its tenant.
    pub fn actor(&self) -> String {
        format!("{}:{}", self.kind(), self.subject)
    }

    /// The origin of events about what belongs to its tenant.
    pub fn origin(&self, correlation_id: Uuid) -> Origin {
        Origin {
            actor: self.actor().into(),
            tenant: Arc::clone(&self.tenant),
            correlation_id,
            causation_id: None,
        }
    }

    /// The origin of events about what belongs to everybody; subjects of two tenants may have one name, so the actor
    /// names the tenant too.
    pub fn shared_origin(&self, correlation_id: Uuid) -> Origin {
        Origin::shared(&self.shared_actor(), correlation_id)
    }

    /// The actor of [`Self::shared_origin`].
    pub fn shared_actor(&self) -> String {
        format!("{}:{}/{}", self.kind(), self.tenant, self.subject)
    }

    /// What an actor of [`Self::shared_origin`] is within the tenant of this one; `None`: not of this tenant.
    pub fn of_shared_actor(&self, actor: &str) -> Option<String> {
        let (kind, named) = actor.split_once(':')?;
        let subject = named.strip_prefix(&*self.tenant)?.strip_prefix('/')?;
        Some(format!("{kind}:{subject}"))
    }
}

/// A well-formed name of a tenant.
///
/// # Errors
/// It is empty, too long, holds other characters than letters, digits and `._:-`, or means everybody.
pub(super) fn tenant_checked(tenant: &str) -> Result<&str, InvalidPrincipal> {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    if tenant.is_empty() || tenant.len() > MAX_TENANT_BYTES || !tenant.bytes().all(is_of_name) {
        return Err(InvalidPrincipal(format!(
            "the tenant needs 1 to {MAX_TENANT_BYTES} letters, digits or any of . _ : -"
        )));
    }
    if tenant == SHARED_TENANT {
        let text =
            format!("the tenant {SHARED_TENANT:?} means everybody and has no members; choose another name");
        return Err(InvalidPrincipal(text));
    }
    Ok(tenant)
}

/// A well-formed name of a subject.
///
/// # Errors
/// It is empty, too long, or holds control characters.
pub(super) fn subject_checked(subject: &str) -> Result<&str, InvalidPrincipal> {
    if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || subject.chars().any(char::is_control) {
        return Err(InvalidPrincipal(format!(
            "the subject needs 1 to {MAX_SUBJECT_BYTES} bytes without control characters"
        )));
    }
    Ok(subject)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_may_what_the_readme_says() {
        use Permission::{Administer, Audit, Read, Work};
        for (role, permissions) in [
            (Role::Viewer, &[Read][..]),
            (Role::Analyst, &[Read, Work]),
            (Role::Admin, &[Read, Work, Audit, Administer]),
            (Role::Auditor, &[Read, Audit]),
        ] {
            for permission in [Read, Work, Audit, Administer] {
                assert_eq!(role.may(permission), permissions.contains(&permission), "{role} {permission:?}");
            }
            assert_eq!(role.name().parse(), Ok(role));
        }
        assert!("Admin".parse::<Role>().is_err());
    }

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        assert!(Principal::new("acme.eu:1_a-b", "ada@example.org", Role::Viewer).is_ok());
        for tenant in ["", "shared", "a/b", "a b", "é", &"a".repeat(101)] {
            assert!(Principal::new(tenant, "ada", Role::Viewer).is_err(), "{tenant:?}");
        }
        for subject in ["", "a\u{0}b", "a\nb", &"a".repeat(201)] {
            assert!(Principal::new("acme", subject, Role::Viewer).is_err(), "{subject:?}");
        }
    }

    #[test]
    fn the_actor_of_a_shared_event_names_the_tenant() {
        let ada = Principal::new("acme", "ada", Role::Admin).expect("a principal");
        let id = Uuid::nil();
        assert_eq!((&*ada.origin(id).actor, &*ada.origin(id).tenant), ("user:ada", "acme"));
        assert_eq!(
            (&*ada.shared_origin(id).actor, &*ada.shared_origin(id).tenant),
            ("user:acme/ada", "shared")
        );
        for (actor, within) in [
            ("user:acme/ada", Some("user:ada")),
            ("user:acme/a/b", Some("user:a/b")),
            ("user:acme2/ada", None),
            ("user:other/ada", None),
            ("scheduler", None),
        ] {
            assert_eq!(ada.of_shared_actor(actor).as_deref(), within, "{actor}");
        }
    }
}
