//! A database for each test, made from a template that is migrated and projected once.

use std::time::Duration;

use mercuriale::access::{Authority, JwtSettings, Principal, Role, TokenSecret};
use mercuriale::domain::event::NewEvent;
use mercuriale::ledger::{self, Append, AppendError, Appended, Appender, Origin, Outcome};
use mercuriale::projections::Engine;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};
use tokio::sync::OnceCell;
use uuid::Uuid;

/// Tenant and subject of the requests of tests that do not say otherwise.
pub(crate) const TENANT: &str = "acme";
pub(crate) const SUBJECT: &str = "tester";
/// What tests sign tokens with.
pub(crate) const JWT_SECRET: &str = "a secret that only the tests know, and long enough";

/// An authority that takes tokens signed with the tests' secret, and nothing else.
pub(crate) async fn authority() -> Authority {
    let secret = TokenSecret::configured(JWT_SECRET).expect("long enough");
    Authority::open(&secret, JwtSettings::default()).await.expect("an authority")
}

/// A token of a member of a tenant.
pub(crate) fn token(authority: &Authority, tenant: &str, role: Role) -> String {
    let principal = Principal::new(tenant, SUBJECT, role).expect("a principal");
    authority.issue(&principal, Duration::from_hours(1)).0
}

const VARIABLE: &str = "MERCURIALE_TEST_DATABASE_URL";
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// URL of a database of the test server.
pub(crate) fn url_of(database: &str) -> String {
    let url = std::env::var(VARIABLE).unwrap_or_else(|_| {
        panic!("{VARIABLE} is not set: run `make test`, which starts the servers that tests need")
    });
    let (server, _) = url.rsplit_once('/').expect("the URL ends with a database");
    format!("{server}/{database}")
}

async fn administer(statement: String) {
    let mut connection =
        PgConnection::connect(&url_of("postgres")).await.expect("the test server is running");
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .expect("an administrative statement");
    connection.close().await.expect("closes");
}

async fn template() -> &'static str {
    TEMPLATE
        .get_or_init(|| async {
            let name = format!("template_{}", Uuid::new_v4().simple());
            administer(format!("create database {name}")).await;
            ledger::migrate(&url_of(&name)).await.expect("migrations run");
            let pool = ledger::connect(&url_of(&name), 4).await.expect("connects");
            Engine::new(pool.clone()).ensure().await.expect("projections are built");
            pool.close().await;
            name
        })
        .await
}

/// A fresh ledger.
pub(crate) struct Database {
    pub(crate) url: String,
    pub(crate) pool: PgPool,
    pub(crate) appender: Appender,
}

impl Database {
    pub(crate) async fn new() -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        administer(format!("create database {name} template {}", template().await)).await;
        let url = url_of(&name);
        // Gives the copy the rights that belong to a database, not to what is in it.
        ledger::migrate(&url).await.expect("migrates");
        let pool = ledger::connect(&url, 20).await.expect("connects");
        let appender = Appender::spawn(pool.clone());
        Self { url, pool, appender }
    }

    /// A connection of the owner, who may do more than the program.
    pub(crate) async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("connects")
    }

    pub(crate) async fn append(&self, events: Vec<NewEvent>) -> Result<Vec<Appended>, AppendError> {
        let append = Append { origin: Origin::shared("test", Uuid::now_v7()), events, idempotency: None };
        match self.appender.append(append).await? {
            Outcome::Appended(appended, _) => Ok(appended),
            Outcome::Replayed(_) => panic!("there was no idempotency key"),
        }
    }

    /// Fails unless the log is whole and every read model equals its rebuild.
    pub(crate) async fn assert_sound(&self) {
        ledger::verify::verify(&self.pool).await.expect("the ledger is sound");
        self.assert_projected().await;
    }

    /// Fails unless every read model equals its rebuild.
    pub(crate) async fn assert_projected(&self) {
        let engine = Engine::new(self.pool.clone());
        for definition in mercuriale::projections::definitions() {
            let difference = engine.check(definition.name).await.expect("a check runs");
            assert_eq!(difference, None, "{}", definition.name);
        }
    }
}

/// A `price.listed` event of a made-up price.
pub(crate) fn listed(price_id: i64, amount: &str) -> NewEvent {
    NewEvent::new(
        format!("price/{price_id}"),
        "price.listed",
        &serde_json::json!({
            "v": 1, "price_id": price_id, "key": format!("test/{price_id}"), "provider": "test", "service": "compute",
            "region": format!("region-{}", price_id % 3), "sku_id": format!("sku-{price_id}"),
            "sku_price_id": format!("rate-{price_id}"), "unit": "Hrs", "currency": "USD", "tier_from": "0",
            "tier_to": null, "amount": amount, "attributes": {"instanceType": format!("type-{}", price_id % 10)},
        }),
    )
    .expecting(0)
}

/// A price event of another type.
pub(crate) fn moved(price_id: i64, event_type: &'static str, amount: Option<&str>) -> NewEvent {
    let mut data = serde_json::json!({
        "v": 1, "price_id": price_id, "provider": "test", "service": "compute",
        "region": format!("region-{}", price_id % 3), "previous": "1", "cause": "refresh",
    });
    if let Some(amount) = amount {
        data["amount"] = amount.into();
    }
    NewEvent::new(format!("price/{price_id}"), event_type, &data)
}
