//! Who asks, for whom, and what they may do.
//!
//! An [`Authority`] turns the bearer token or API key of a request into a [`Principal`]; the table of routes in `src/http` says
//! which [`Permission`] each of them needs, and [`Role::may`] who has it.

mod authority;
mod crypto;
mod jwks;
mod keys;
mod logins;
mod opaque;
mod passwords;
mod principal;
mod secret;
mod tenant;
mod users;

pub use authority::{AccessError, Authority, JwtSettings, MAX_LIFETIME};
pub use keys::{ApiKey, KeysError, NewApiKey, key_create, key_list, key_revoke, person_behind};
pub use logins::{
    ACCESS_LIFETIME, Account, Login, LoginError, login, login_end, login_renew, password_change,
    password_setup,
};
pub use principal::{InvalidPrincipal, Permission, Principal, Role};
pub use secret::{SecretError, TokenSecret};
pub use tenant::tenant_transaction;
pub use users::{User, UsersError, user_change, user_create, user_list, user_reset};
