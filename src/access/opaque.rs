//! Setup tokens and refresh tokens: random, kept as a hash, and good once.
//!
//! Such a token names its tenant and a row: so it is looked for behind the wall between tenants, and a family of them takes one
//! row, however often it was renewed. Who changes what it names has another hash, and so no good token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::principal::tenant_checked;

/// Random bytes of a token, beside the id of its row.
const SECRET_BYTES: usize = 32;
/// Bytes before the name of the tenant.
const FIXED_BYTES: usize = 16 + SECRET_BYTES;

/// What kind of token it is; each begins in its own way, so that scanners for leaked secrets and people know it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Sets a first password.
    Setup,
    /// Renews an access token.
    Refresh,
}

impl Kind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Setup => "mrs_",
            Self::Refresh => "mrr_",
        }
    }
}

/// What a token names, and what it is compared by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) tenant: String,
    pub(super) id: Uuid,
    pub(super) sha256: Vec<u8>,
}

/// A new token for a row of a tenant, and its hash. It has as many random bits as the hash: a slow hash or a salt would add
/// nothing.
pub(super) fn opaque_make(kind: Kind, tenant: &str, id: Uuid) -> (String, Vec<u8>) {
    let secret = rand::random::<[u8; SECRET_BYTES]>();
    let bytes = [id.as_bytes().as_slice(), &secret, tenant.as_bytes()].concat();
    let token = format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(bytes));
    let sha256 = Sha256::digest(&token).to_vec();
    (token, sha256)
}

/// What a token names; `None`: it was not made here.
pub(super) fn opaque_read(kind: Kind, token: &str) -> Option<Named> {
    let bytes = URL_SAFE_NO_PAD.decode(token.strip_prefix(kind.prefix())?).ok()?;
    let (fixed, tenant) = bytes.split_at_checked(FIXED_BYTES)?;
    let tenant = tenant_checked(std::str::from_utf8(tenant).ok()?).ok()?.to_owned();
    let id = Uuid::from_slice(fixed.get(..16)?).ok()?;
    Some(Named { tenant, id, sha256: Sha256::digest(token).to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_what_it_was_made_for_and_nothing_else_is_one() {
        let id = Uuid::now_v7();
        let (token, sha256) = opaque_make(Kind::Refresh, "acme.eu:1_a-b", id);
        let named = Named { tenant: "acme.eu:1_a-b".to_owned(), id, sha256 };
        assert_eq!(opaque_read(Kind::Refresh, &token), Some(named));
        assert_ne!(opaque_make(Kind::Refresh, "acme", id).0, opaque_make(Kind::Refresh, "acme", id).0);
        let longest = opaque_make(Kind::Setup, &"a".repeat(100), id).0;
        assert!(longest.starts_with("mrs_") && longest.len() <= 202, "{longest}");
        let odd = |tenant: &[u8]| {
            let bytes = [&[0; FIXED_BYTES], tenant].concat();
            format!("mrr_{}", URL_SAFE_NO_PAD.encode(bytes))
        };
        for other in [
            String::new(),
            "mrr_".to_owned(),
            longest,
            token.replacen("mrr_", "mrs_", 1),
            format!("{token}="),
            token[..60].to_owned(),
            odd(b""),
            odd(b"a\0b"),
            odd(b"shared"),
            odd(b"\xff"),
        ] {
            assert_eq!(opaque_read(Kind::Refresh, &other), None, "{other}");
        }
    }
}
