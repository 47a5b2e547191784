//! Servers of a test's own, to be killed.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A port that stays the server's while it is down: below the range that the system gives to outgoing connections.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(20_000..32_000);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

async fn listening(port: u16) {
    tokio::time::timeout(Duration::from_mins(1), async {
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the server listens in time");
}

/// A Redis.
pub(crate) struct Redis {
    process: Child,
    pub(crate) port: u16,
}

impl Redis {
    pub(crate) async fn start(port: Option<u16>) -> Self {
        let port = port.unwrap_or_else(free_port);
        let process = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed: run `make test`, which installs what tests need");
        let redis = Self { process, port };
        listening(port).await;
        redis
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("kills");
        self.process.wait().expect("ends");
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A NATS with JetStream.
pub(crate) struct Nats {
    process: Child,
    pub(crate) port: u16,
    store: tempfile::TempDir,
}

impl Nats {
    pub(crate) async fn start() -> Self {
        let port = free_port();
        let store = tempfile::tempdir().expect("a folder");
        let nats = Self { process: Self::spawn(port, &store), port, store };
        listening(port).await;
        nats
    }

    fn spawn(port: u16, store: &tempfile::TempDir) -> Child {
        Command::new("nats-server")
            .args(["-a", "127.0.0.1", "-p", &port.to_string(), "-js", "-sd"])
            .arg(store.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server is installed: run `make test`, which installs what tests need")
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().expect("kills");
        self.process.wait().expect("ends");
    }

    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = Self::spawn(self.port, &self.store);
        listening(self.port).await;
    }

    pub(crate) async fn client(&self) -> async_nats::Client {
        let options = async_nats::ConnectOptions::new().retry_on_initial_connect();
        options.connect(format!("nats://127.0.0.1:{}", self.port)).await.expect("connects")
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
