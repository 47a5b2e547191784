//! What keys may be narrowed to: reading or writing what begins with one path, as the table of routes has it.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::{Needs, routes};
use crate::access::{Permission, Role};

/// Every scope, with the permissions that its routes need.
static SCOPES: LazyLock<BTreeMap<String, Vec<Permission>>> = LazyLock::new(|| {
    let mut scopes: BTreeMap<String, Vec<Permission>> = BTreeMap::new();
    for (needs, (_, paths, _)) in routes() {
        let Needs::A(permission) = needs else { continue };
        for path in paths.paths.keys() {
            scopes.entry(scope_of(path, permission)).or_default().push(permission);
        }
    }
    scopes
});

/// What a path is about: its first part, or the service as a whole.
pub(super) fn tag_of(path: &str) -> &str {
    path.strip_prefix("/v1/").map_or("service", |rest| rest.split('/').next().unwrap_or_default())
}

/// The scope of a route. To write does not include to read.
pub(super) fn scope_of(path: &str, permission: Permission) -> String {
    let verb = match permission {
        Permission::Read | Permission::Audit => "read",
        Permission::Work | Permission::Administer => "write",
    };
    format!("{}:{verb}", tag_of(path))
}

/// The scopes of a new key, each once.
///
/// # Errors
/// There are none in it, or one that there is not or that is of no use to the role; a sentence that says which there are.
pub(super) fn scopes_checked(mut scopes: Vec<String>, role: Role) -> Result<Vec<String>, String> {
    let is_of_use = |permissions: &[Permission]| permissions.iter().any(|permission| role.may(*permission));
    let useful = || {
        let useful: Vec<&str> = SCOPES
            .iter()
            .filter(|(_, permissions)| is_of_use(permissions))
            .map(|(scope, _)| scope.as_str())
            .collect();
        useful.join(", ")
    };
    if scopes.is_empty() {
        return Err(format!("scopes: give at least one, or null for all that the role may: {}", useful()));
    }
    for scope in &scopes {
        let shown: String = scope.chars().take(100).collect();
        match SCOPES.get(scope) {
            None => return Err(format!("scopes: {shown:?} is none of {}", useful())),
            Some(permissions) if !is_of_use(permissions) => {
                let detail =
                    format!("scopes: {shown:?} is of no use to the role {role}, which may {}", useful());
                return Err(detail);
            }
            Some(_) => {}
        }
    }
    scopes.sort_unstable();
    scopes.dedup();
    Ok(scopes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_those_of_the_routes() {
        for (path, permission, scope) in [
            ("/v1/estimates/calculate", Permission::Read, "estimates:read"),
            ("/v1/estimates", Permission::Work, "estimates:write"),
            ("/v1/api-keys/{key_id}", Permission::Administer, "api-keys:write"),
            ("/metrics", Permission::Audit, "service:read"),
        ] {
            assert_eq!(scope_of(path, permission), scope);
            assert!(SCOPES.contains_key(scope), "{scope}");
        }
        for open in ["token:read", "token:write", "password:write", "service:write"] {
            assert!(!SCOPES.contains_key(open), "{open}");
        }
    }

    #[test]
    fn a_key_gets_only_scopes_that_its_role_can_use() {
        let check = |scopes: &[&str], role| {
            scopes_checked(scopes.iter().map(|scope| (*scope).to_owned()).collect(), role)
        };
        let sorted = check(&["prices:read", "estimates:write", "prices:read"], Role::Analyst);
        assert_eq!(sorted, Ok(vec!["estimates:write".to_owned(), "prices:read".to_owned()]));
        // Submitting, not deciding.
        assert!(check(&["proposals:write"], Role::Analyst).is_ok());
        for (scopes, role) in [
            (&[][..], Role::Admin),
            (&["prices"], Role::Admin),
            (&["prices:write"], Role::Admin),
            (&["prices:read", "Prices:Read"], Role::Admin),
            (&["estimates:write"], Role::Viewer),
            (&["proposals:write"], Role::Auditor),
            (&["service:read"], Role::Analyst),
            (&["api-keys:write"], Role::Analyst),
        ] {
            let error = check(scopes, role).expect_err("refused");
            assert!(error.contains("prices:read"), "{error}");
        }
    }
}
