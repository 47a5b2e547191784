//! Where the cluster, its password and its locks lie.
//!
//! `home` holds everything and is the data folder itself, unless root runs the program in a place that the server's
//! user cannot enter (below /root, say): then it is a folder in /var/lib/mercuriale, and `postgres` in the data
//! folder is a link.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError, set_permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use super::account::Account;
use super::error::{AtPath, EmbeddedError};

const FALLBACK: &str = "/var/lib/mercuriale";
/// Longer than a start may take, crash recovery included.
const LOCK_WAIT: Duration = Duration::from_mins(15);
const LOCK_POLL: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) data_dir: PathBuf,
    pub(super) home: PathBuf,
    pub(super) cluster: PathBuf,
    pub(super) account: Account,
}

impl Place {
    /// Creates the data folder if need be and looks where the cluster is or should be.
    pub(super) fn find(data_dir: &Path) -> Result<Self, EmbeddedError> {
        std::fs::create_dir_all(data_dir).at(data_dir)?;
        let data_dir = data_dir.canonicalize().at(data_dir)?;
        let entry = data_dir.join("postgres");
        let (home, account) = match entry.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                let target = entry.read_link().at(&entry)?;
                let real = target
                    .canonicalize()
                    .map_err(|_| EmbeddedError::DanglingLink { link: entry.clone(), target })?;
                let home = real.parent().unwrap_or(&real).to_owned();
                (home, Account::owner_of(&real)?)
            }
            Ok(_) => (data_dir.clone(), Account::owner_of(&entry)?),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let account = Account::choose()?;
                let home = if account.reaches(&data_dir) { data_dir.clone() } else { fallback(&data_dir)? };
                (home, account)
            }
            Err(error) => return Err(error).at(&entry),
        };
        let cluster = home.join("postgres");
        // `pg_ctl` puts the path between double quotes in a shell command.
        if cluster.as_os_str().as_bytes().iter().any(|byte| b"\"$`\\\n".contains(byte)) {
            return Err(EmbeddedError::UnsuitablePath { path: cluster });
        }
        Ok(Self { data_dir, home, cluster, account })
    }

    /// Makes `postgres` in the data folder lead to the cluster where that lies elsewhere.
    pub(super) fn link(&self) -> Result<(), EmbeddedError> {
        let link = self.data_dir.join("postgres");
        if self.home == self.data_dir || link.is_symlink() {
            return Ok(());
        }
        symlink(&self.cluster, &link).at(&link)
    }

    /// The superuser's password, `None` if none has been chosen yet.
    pub(super) fn password(&self) -> Result<Option<String>, EmbeddedError> {
        let path = self.password_path();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_owned()).filter(|password| {
                password.len() == 2 * PASSWORD_BYTES && password.bytes().all(|byte| byte.is_ascii_hexdigit())
            })),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).at(&path),
        }
    }

    /// Chooses a password and keeps it; written beside and renamed, so that it is there whole or not at all.
    pub(super) fn new_password(&self) -> Result<String, EmbeddedError> {
        let path = self.password_path();
        let beside = path.with_extension("password.new");
        let password = hex::encode(rand::random::<[u8; PASSWORD_BYTES]>());
        write_private(&beside, &password)?;
        std::fs::rename(&beside, &path).at(&path)?;
        sync_folder(&self.data_dir)?;
        Ok(password)
    }

    pub(super) fn password_path(&self) -> PathBuf {
        self.data_dir.join("postgres.password")
    }

    /// Held exclusively by the one command that initialises, starts or stops the server.
    pub(super) async fn lock_control(&self) -> Result<File, EmbeddedError> {
        let path = self.home.join("postgres.lock");
        let file = open_lock(&path)?;
        let since = Instant::now();
        // Not the blocking `lock`: a thread that waits for ever could not be ended.
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(error).at(&path),
                Err(TryLockError::WouldBlock) if since.elapsed() > LOCK_WAIT => {
                    return Err(EmbeddedError::Busy { lock: path, seconds: LOCK_WAIT.as_secs() });
                }
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_POLL).await,
            }
        }
    }

    /// Held shared by every program that uses the server. Only taken under the control lock, so it never waits.
    pub(super) fn lock_use(&self) -> Result<File, EmbeddedError> {
        let path = self.home.join("postgres.users");
        let file = open_lock(&path)?;
        file.lock_shared().at(&path)?;
        Ok(file)
    }
}

/// 256 bits.
const PASSWORD_BYTES: usize = 32;

fn open_lock(path: &Path) -> Result<File, EmbeddedError> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).at(path)
}

/// A new file that only its owner can read, on disk when this returns.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), EmbeddedError> {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error).at(path);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).at(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).at(path)
}

/// A new folder that only its owner can enter.
pub(super) fn create_private_folder(path: &Path) -> Result<(), EmbeddedError> {
    DirBuilder::new().mode(0o700).create(path).at(path)
}

/// Puts a rename on disk.
pub(super) fn sync_folder(path: &Path) -> Result<(), EmbeddedError> {
    File::open(path).and_then(|folder| folder.sync_all()).at(path)
}

/// The same for the same data folder, whoever asks first.
fn fallback(data_dir: &Path) -> Result<PathBuf, EmbeddedError> {
    let digest = hex::encode(Sha256::digest(data_dir.as_os_str().as_bytes()));
    let home = Path::new(FALLBACK).join(&digest[..32]);
    for folder in [Path::new(FALLBACK), &home] {
        std::fs::create_dir_all(folder).at(folder)?;
        // Whatever our umask: the server's user must get through.
        set_permissions(folder, Permissions::from_mode(0o755)).at(folder)?;
    }
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_for_its_owner_only_and_a_damaged_one_is_not_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().to_owned();
        let place =
            Place { data_dir: home.clone(), cluster: home.join("postgres"), home, account: Account::Own };
        assert_eq!(place.password().expect("read"), None);
        let password = place.new_password().expect("written");
        assert_eq!(place.password().expect("read"), Some(password));
        let mode = place.password_path().metadata().expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(place.password_path(), "half a passw").expect("damaged");
        assert_eq!(place.password().expect("read"), None);
    }

    #[test]
    fn a_path_that_a_shell_would_read_otherwise_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("permissions");
        let error = Place::find(&folder.path().join("a$(b)")).expect_err("refused");
        assert!(matches!(error, EmbeddedError::UnsuitablePath { .. }), "{error}");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_an_error_and_not_a_new_ledger() {
        let folder = tempfile::tempdir().expect("a folder");
        symlink("/nowhere/at/all", folder.path().join("postgres")).expect("a link");
        let error = Place::find(folder.path()).expect_err("refused");
        assert!(matches!(error, EmbeddedError::DanglingLink { .. }), "{error}");
    }
}
