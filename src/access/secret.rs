//! The secret that this service signs its own tokens with.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret as _, SecretSlice};

/// Where the secret is kept, in the data directory.
const FILE: &str = "token.secret";
/// Bytes of a secret that is made here. HS256 needs as many as its hash has (RFC 7518, 3.2).
const BYTES: usize = 32;
/// The longest secret that is read.
const MAX_BYTES: usize = 4_096;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It is too short or too long.
    #[error("MERCURIALE_JWT_SECRET has {0} bytes; it needs {BYTES} to {MAX_BYTES}: openssl rand -hex 32")]
    Length(usize),
    /// The file is open to others.
    #[error("{0} can be read by others: chmod 600 it, or remove it for a new one, which ends all tokens")]
    Open(PathBuf),
    /// The file holds something else.
    #[error("{0} does not hold {BYTES} bytes in hexadecimal; remove it for a new one, which ends all tokens")]
    Content(PathBuf),
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
}

/// The secret; never shown.
#[derive(Debug, Clone)]
pub struct TokenSecret {
    bytes: SecretSlice<u8>,
    /// Whether it was made just now, and nobody can have a token yet.
    pub is_new: bool,
}

impl TokenSecret {
    /// A configured secret.
    ///
    /// # Errors
    /// It is too short to sign with, or unreasonably long.
    pub fn configured(text: &str) -> Result<Self, SecretError> {
        if !(BYTES..=MAX_BYTES).contains(&text.len()) {
            return Err(SecretError::Length(text.len()));
        }
        Ok(Self { bytes: text.as_bytes().to_vec().into(), is_new: false })
    }

    /// The secret of a data directory; made at random where there is none yet.
    ///
    /// # Errors
    /// The file cannot be read or written, holds something else, or is open to others.
    pub fn of_data_dir(data_dir: &Path) -> Result<Self, SecretError> {
        let path = data_dir.join(FILE);
        if let Some(secret) = read(&path)? {
            return Ok(secret);
        }
        let at = |path: &Path, source| SecretError::File { path: path.to_owned(), source };
        if !data_dir.is_dir() {
            // Not 0700: the private PostgreSQL, which runs as another user, may move in later.
            let made = DirBuilder::new().recursive(true).mode(0o755).create(data_dir);
            made.map_err(|source| at(data_dir, source))?;
        }
        // Written beside and linked, so that it is there whole or not at all, and the first of two makers wins.
        let beside = data_dir.join(format!("{FILE}.{}", uuid::Uuid::new_v4().simple()));
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&beside)
            .and_then(|mut file| {
                file.write_all(hex::encode(rand::random::<[u8; BYTES]>()).as_bytes())?;
                file.sync_all()
            })
            .and_then(|()| std::fs::hard_link(&beside, &path));
        let _ = std::fs::remove_file(&beside);
        let is_new = match written {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => false,
            Err(source) => return Err(at(&path, source)),
        };
        let secret = read(&path)?.ok_or(SecretError::Content(path))?;
        Ok(Self { is_new, ..secret })
    }

    pub(super) fn expose(&self) -> &[u8] {
        self.bytes.expose_secret()
    }
}

/// The secret of a file; `None` where there is no file.
fn read(path: &Path) -> Result<Option<TokenSecret>, SecretError> {
    let at = |source| SecretError::File { path: path.to_owned(), source };
    let file = match OpenOptions::new().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at(error)),
    };
    if file.metadata().map_err(at)?.mode() & 0o077 != 0 {
        return Err(SecretError::Open(path.to_owned()));
    }
    let mut text = String::new();
    file.take(MAX_BYTES as u64).read_to_string(&mut text).map_err(at)?;
    let bytes = hex::decode(text.trim()).ok().filter(|bytes| bytes.len() == BYTES);
    let bytes = bytes.ok_or_else(|| SecretError::Content(path.to_owned()))?;
    Ok(Some(TokenSecret { bytes: bytes.into(), is_new: false }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("data");
        let first = TokenSecret::of_data_dir(&data_dir).expect("a secret");
        let again = TokenSecret::of_data_dir(&data_dir).expect("a secret");
        assert_eq!((first.is_new, again.is_new), (true, false));
        assert_eq!(first.expose(), again.expose());
        assert_eq!(first.expose().len(), BYTES);
        let path = data_dir.join(FILE);
        assert_eq!(path.metadata().expect("metadata").mode() & 0o777, 0o600);
        assert!(!format!("{first:?}").contains(&hex::encode(first.expose())));
        assert_eq!(std::fs::read_dir(&data_dir).expect("a folder").count(), 1, "nothing is left beside it");

        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        assert!(matches!(TokenSecret::of_data_dir(&data_dir), Err(SecretError::Open(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("set");
        std::fs::write(&path, "short").expect("written");
        assert!(matches!(TokenSecret::of_data_dir(&data_dir), Err(SecretError::Content(_))));
    }

    #[test]
    fn a_configured_secret_is_long_enough() {
        assert!(TokenSecret::configured(&"x".repeat(32)).is_ok());
        for length in [0, 31, 4_097] {
            let error = TokenSecret::configured(&"x".repeat(length)).expect_err("refused");
            assert!(!error.to_string().contains("xx"), "{error}");
        }
    }
}
