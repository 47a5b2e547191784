//! Who asks, for whom, and what they may do.
//!
//! An [`Authority`] turns the bearer token or API key of a request into a [`Principal`]; the table of routes in `src/http` says
//! which [`Permission`] each of them needs, and [`Role::may`] who has it.

mod authority;
mod crypto;
mod jwks;
mod keys;
mod principal;
mod secret;
mod tenant;

pub use authority::{AccessError, Authority, JwtSettings, MAX_LIFETIME};
pub use keys::{ApiKey, KeysError, NewApiKey, key_create, key_list, key_revoke, person_behind};
pub use principal::{InvalidPrincipal, Permission, Principal, Role};
pub use secret::{SecretError, TokenSecret};
pub use tenant::tenant_transaction;
