//! Who asks, for whom, and what they may do.
//!
//! An [`Authority`] turns the bearer token of a request into a [`Principal`]; the table of routes in `src/http` says
//! which [`Permission`] each of them needs, and [`Role::may`] who has it.

mod authority;
mod crypto;
mod jwks;
mod principal;
mod secret;

pub use authority::{AccessError, Authority, JwtSettings, MAX_LIFETIME};
pub use principal::{InvalidPrincipal, Permission, Principal, Role};
pub use secret::{SecretError, TokenSecret};
