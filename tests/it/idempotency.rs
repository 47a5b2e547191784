//! A request whose answer was lost, because the service died after it had carried the request out.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mercuriale::ledger;
use serde_json::json;
use sqlx::PgPool;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::program::{Started, serve};
use crate::saved::{create, path_of, web};
use crate::service::Service;
use crate::support::Database;

/// A way to the database on which, once it is shut, nothing comes back that the server says after the ledger has grown: the
/// commit is made, and the service does not hear of it.
struct Gate {
    url: String,
    state: Arc<State>,
}

struct State {
    watch: PgPool,
    /// Where the ledger stood when the gate was shut; it is open where there is no such position.
    shut_at: AtomicI64,
    withheld: Notify,
}

const OPEN: i64 = i64::MAX;

impl Gate {
    async fn before(database: &Database) -> Self {
        let (server, name) = database.url.rsplit_once('/').expect("the URL ends with a database");
        let (before_port, port) = server.rsplit_once(':').expect("it names a port");
        let port: u16 = port.parse().expect("a port");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("{before_port}:{}/{name}", listener.local_addr().expect("an address").port());
        let state = Arc::new(State {
            watch: database.pool.clone(),
            shut_at: AtomicI64::new(OPEN),
            withheld: Notify::new(),
        });
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(("127.0.0.1", port)).await.expect("connects");
                let ((from_client, to_client), (from_server, to_server)) =
                    (client.into_split(), server.into_split());
                tokio::spawn(copy(from_client, to_server, None));
                tokio::spawn(copy(from_server, to_client, Some(Arc::clone(&shared))));
            }
        });
        Self { url, state }
    }

    async fn shut(&self) {
        let head = ledger::head(&self.state.watch).await.expect("reads");
        self.state.shut_at.store(head, Ordering::SeqCst);
    }

    /// Waits until something was withheld.
    async fn withheld(&self) {
        tokio::time::timeout(Duration::from_mins(2), self.state.withheld.notified()).await.expect("in time");
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, gate: Option<Arc<State>>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if let Some(gate) = &gate {
            let shut_at = gate.shut_at.load(Ordering::SeqCst);
            if shut_at != OPEN && ledger::head(&gate.watch).await.expect("reads") > shut_at {
                gate.withheld.notify_one();
                // The connection stays, and is silent.
                std::future::pending::<()>().await;
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_dies_between_commit_and_answer_has_carried_out_the_request_once() {
    let service = Service::with_starter_lists().await;
    let saved = create(&service, &web(json!({}))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let proposal = json!({"price_id": 1, "amount": "0.5", "justification": "the list is wrong"});
    for (path, body) in [
        ("/v1/estimates".to_owned(), web(json!({}))),
        (format!("{}/versions", path_of(&saved)), web(json!({"note": "again"}))),
        ("/v1/proposals".to_owned(), proposal),
    ] {
        let send = |url: &str| {
            let request = service.client.post(format!("{url}{path}"));
            let request = request.header("content-type", "application/json").header("if-match", "\"1\"");
            request.header("idempotency-key", &*path).body(body.to_string()).send()
        };
        let before = ledger::head(&service.database.pool).await.expect("reads");
        let gate = Gate::before(&service.database).await;
        let mut first = Started::new(serve(&gate.url, folder.path()));
        let url = first.url().await;
        gate.shut().await;
        let lost = tokio::spawn(send(&url));
        gate.withheld().await;
        assert!(!lost.is_finished(), "{path}: answered before it was told that it has committed");
        first.kill().await;
        lost.await.expect("ends").expect_err("no answer");
        assert_eq!(ledger::head(&service.database.pool).await.expect("reads"), before + 1, "{path}");

        let mut second = Started::new(serve(&service.database.url, folder.path()));
        let url = second.url().await;
        let mut answers = Vec::new();
        for _ in 0..2 {
            let response = send(&url).await.expect("an answer");
            assert_eq!(response.status(), 201, "{path}");
            answers.push(response.text().await.expect("text"));
        }
        assert_eq!(answers[0], answers[1]);
        second.stopped().await;
        assert_eq!(ledger::head(&service.database.pool).await.expect("reads"), before + 1, "{path}");
        let event = ledger::read(&service.database.pool, before, &ledger::EventFilter::default(), 1).await;
        let event = &event.expect("reads")[0];
        let (_, id) = event.stream.split_once('/').expect("a stream of one thing");
        assert!(answers[0].contains(id), "{path}: the answer is about the event that was recorded");
    }
    service.database.assert_sound().await;
}
