//! Passwords: argon2id, a few at a time.

use argon2::password_hash::{Error, PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

/// What one hash costs: 19 MiB, gone over twice, by one thread (OWASP Password Storage Cheat Sheet).
const PARAMS: Params = match Params::new(19_456, 2, 1, None) {
    Ok(params) => params,
    Err(_) => panic!("argon2 takes these"),
};
/// Random bytes of a salt (RFC 9106, 3.1).
const SALT_BYTES: usize = 16;
/// How many are computed at once in a process: what memory and cores can be had by trying passwords.
static TURNS: Semaphore = Semaphore::const_new(2);

/// The shortest password, in characters; no rule says of which (NIST SP 800-63B, 3.1.1.2).
const MIN_CHARACTERS: usize = 12;
/// The longest, so that no hash takes longer than others.
const MAX_CHARACTERS: usize = 128;

/// Why a password was neither hashed nor verified.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is too short or too long.
    #[error(
        "the password has {0} characters; it needs {MIN_CHARACTERS} to {MAX_CHARACTERS}, whichever you like"
    )]
    Length(usize),
    /// The computation failed, or what is kept is no hash.
    #[error("a password cannot be hashed: {0}")]
    Failed(String),
}

/// The hash of a new password, as a PHC string.
///
/// # Errors
/// See [`PasswordError`].
pub(super) async fn password_hash(password: SecretString) -> Result<String, PasswordError> {
    in_turn(move || {
        let salt = rand::random::<[u8; SALT_BYTES]>();
        let hashed = argon2().hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
        hashed.map(|hashed| hashed.to_string())
    })
    .await
}

/// Whether a password is the one with this hash. Where there is none it is not, which takes as long to find.
///
/// # Errors
/// See [`PasswordError`].
pub(super) async fn password_verify(
    password: SecretString,
    hash: Option<String>,
) -> Result<bool, PasswordError> {
    in_turn(move || {
        let password = password.expose_secret().as_bytes();
        let Some(hash) = hash else {
            return argon2().hash_password_with_salt(password, &[0; SALT_BYTES]).map(|_| false);
        };
        match argon2().verify_password(password, hash.as_str()) {
            Ok(()) => Ok(true),
            Err(Error::PasswordInvalid) => Ok(false),
            Err(error) => Err(error),
        }
    })
    .await
}

/// Whether it may be somebody's password.
///
/// # Errors
/// See [`PasswordError`].
pub(super) fn password_checked(password: &SecretString) -> Result<(), PasswordError> {
    let characters = password.expose_secret().chars().count();
    if !(MIN_CHARACTERS..=MAX_CHARACTERS).contains(&characters) {
        return Err(PasswordError::Length(characters));
    }
    Ok(())
}

fn argon2() -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, PARAMS)
}

async fn in_turn<T: Send + 'static>(
    compute: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, PasswordError> {
    // The turn ends with the computation, not with the request, which may be given up meanwhile.
    let turn = TURNS.acquire().await.map_err(|error| PasswordError::Failed(error.to_string()))?;
    let computed = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        compute()
    });
    match computed.await {
        Ok(done) => done.map_err(|error| PasswordError::Failed(error.to_string())),
        Err(error) => Err(PasswordError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_has_a_hash_of_its_own_and_only_it_fits() {
        let password = SecretString::from("correct horse");
        let one = password_hash(password.clone()).await.expect("hashes");
        let two = password_hash(password.clone()).await.expect("hashes");
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, two, "the salt is random");
        let verify = async |text: &str, hash: Option<&str>| {
            password_verify(SecretString::from(text), hash.map(str::to_owned)).await
        };
        assert!(verify("correct horse", Some(&one)).await.expect("verifies"));
        assert!(!verify("correct house", Some(&one)).await.expect("verifies"));
        assert!(!verify("", Some(&one)).await.expect("verifies"));
        assert!(!verify("correct horse", None).await.expect("verifies"));
        assert!(matches!(verify("correct horse", Some("$1$abc")).await, Err(PasswordError::Failed(_))));
        assert!(!format!("{password:?}").contains("horse"));
    }

    #[test]
    fn only_the_length_of_a_password_matters() {
        let check = |text: &str| password_checked(&SecretString::from(text));
        for good in ["aaaaaaaaaaaa", "éééééééééééé", &"a".repeat(128), "            "] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in ["", "aaaaaaaaaaa", &"a".repeat(129)] {
            let error = check(bad).expect_err("refused").to_string();
            assert!(!error.contains("aaa"), "{error}");
        }
    }
}
