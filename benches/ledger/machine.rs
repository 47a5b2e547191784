//! The machine that the figures belong to.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::server::Server;

/// Processor, memory, kernel, PostgreSQL, and how often a second the disk confirms a write.
pub(crate) async fn describe(server: &Server, folder: &Path) -> anyhow::Result<String> {
    let of = |path: &str, name: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .lines()
            .find_map(|line| Some(line.strip_prefix(name)?.trim_start_matches([' ', '\t', ':']).to_owned()))
            .unwrap_or_else(|| "unknown".to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let version: String =
        sqlx::query_scalar("select version()").fetch_one(&mut server.administrator().await?).await?;
    Ok(format!(
        "- processor: {} x {}\n- memory: {}\n- kernel: {}\n- load before: {}\n- {version}\n- fdatasync of 8 kB: {:.0} a second",
        cores,
        of("/proc/cpuinfo", "model name"),
        of("/proc/meminfo", "MemTotal"),
        std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim(),
        std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim(),
        fdatasync_rate(folder)?,
    ))
}

fn fdatasync_rate(folder: &Path) -> anyhow::Result<f64> {
    use std::io::Seek as _;
    let mut file = tempfile::tempfile_in(folder)?;
    let page = [1_u8; 8192];
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        file.rewind()?;
        file.write_all(&page)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / began.elapsed().as_secs_f64())
}
