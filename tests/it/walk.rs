//! A walk through every route that the service describes: who is let in, and whose things are found.

use mercuriale::access::Role;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::people::{self, PLACE};
use crate::service::{Service, line, refused};
use crate::support::TENANT;

/// What needs no token. Whoever adds to it means it.
const OPEN: [&str; 8] = [
    "/docs",
    "/docs/{file}",
    "/healthz",
    "/openapi.json",
    "/readyz",
    "/v1/password",
    "/v1/token",
    "/v1/token/revoke",
];
/// Parameters of paths that name what belongs to everybody, each with a value that names nothing.
const SHARED: [(&str, &str); 4] = [
    ("file", "nothing.js"),
    ("version", "1"),
    ("price_id", "999999999"),
    ("refresh_id", "01890000-0000-7000-8000-000000000000"),
];

/// One method of one path.
struct Operation {
    method: Method,
    path: String,
    described: Value,
}

impl Operation {
    /// All that the service describes.
    async fn all(service: &Service) -> Vec<Self> {
        let response =
            Client::new().get(format!("{}/openapi.json", service.url)).send().await.expect("answers");
        assert_eq!(response.headers()["content-type"], "application/json");
        let document: Value = response.json().await.expect("JSON");
        assert!(
            document["openapi"].as_str().expect("a version").starts_with("3.1"),
            "{}",
            document["openapi"]
        );
        let mut all = Vec::new();
        for (path, item) in document["paths"].as_object().expect("paths") {
            for (method, described) in item.as_object().expect("operations") {
                let method = method.to_uppercase().parse().expect("a method");
                all.push(Self { method, path: path.clone(), described: described.clone() });
            }
        }
        assert!(all.len() > 25, "{} operations", all.len());
        all
    }

    fn is_open(&self) -> bool {
        self.described["security"] == json!([])
    }

    fn parameters(&self) -> impl Iterator<Item = &str> {
        self.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
    }

    /// A request for the path with its parameters replaced.
    fn request(&self, service: &Service, client: &Client, value: impl Fn(&str) -> String) -> RequestBuilder {
        let mut path = self.path.clone();
        for name in self.parameters() {
            path = path.replace(&format!("{{{name}}}"), &value(name));
        }
        client.request(self.method.clone(), format!("{}{path}", service.url))
    }

    /// The same with the body of the description, what it needs in its query, and `If-Match`.
    fn whole_request(
        &self,
        service: &Service,
        client: &Client,
        value: impl Fn(&str) -> String,
    ) -> RequestBuilder {
        let parameters = self.described["parameters"].as_array().into_iter().flatten();
        let needed: Vec<(&str, &str)> = parameters
            .filter(|parameter| parameter["in"] == "query" && parameter["required"] == true)
            .map(|parameter| (parameter["name"].as_str().expect("a name"), "1"))
            .collect();
        let request = self.request(service, client, value).query(&needed);
        match self.described.pointer("/requestBody/content/application~1json/example") {
            Some(example) => request.header("if-match", "\"1\"").json(example),
            None => request,
        }
    }

    /// Whether an answer's status is in the description.
    fn describes(&self, status: u16) -> bool {
        self.described["responses"].get(status.to_string()).is_some()
    }
}

impl std::fmt::Display for Operation {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.method, self.path)
    }
}

/// A value that names nothing.
fn nothing(name: &str) -> String {
    let shared = SHARED.iter().find(|(shared, _)| *shared == name);
    shared.map_or_else(|| Uuid::nil().to_string(), |(_, value)| (*value).to_owned())
}

/// Makes one of each thing that belongs to a tenant: the parameter that names it, and its id.
async fn owned(service: &Service) -> Vec<(&'static str, String)> {
    let make = async |path: &str, body: Value, id: &str| {
        let request = service.client.post(format!("{}{path}", service.url)).json(&body);
        let response = request.send().await.expect("answers");
        assert_eq!(response.status(), 201, "{path}");
        let made: Value = response.json().await.expect("JSON");
        made[id].as_str().expect("an id").to_owned()
    };
    let estimate = json!({"name": "walk", "lines": [line(PLACE, "machine", json!({}))]});
    let proposal = json!({"price_id": 1, "amount": "77", "justification": "walk", "evidence": []});
    vec![
        ("estimate_id", make("/v1/estimates", estimate, "estimate_id").await),
        ("session_id", make("/v1/sessions", json!({}), "session_id").await),
        ("proposal_id", make("/v1/proposals", proposal, "proposal_id").await),
        ("key_id", make("/v1/api-keys", json!({"name": "walk", "role": "viewer"}), "key_id").await),
        ("user_id", make("/v1/users", json!({"name": "walk", "role": "viewer"}), "user_id").await),
        ("webhook_id", make("/v1/webhooks", json!({"url": "http://127.0.0.1:9/"}), "webhook_id").await),
    ]
}

#[tokio::test]
async fn every_route_lets_in_whom_it_says_and_nobody_else() {
    let service = Service::new().await;
    let clients: Vec<(Role, Client)> =
        Role::ALL.into_iter().map(|role| (role, service.client_of(TENANT, role))).collect();
    let anonymous = Client::new();
    let mut open = Vec::new();
    for operation in Operation::all(&service).await {
        let request = |client: &Client| operation.request(&service, client, nothing);
        if operation.is_open() {
            open.push(operation.path.clone());
            let status = request(&anonymous).send().await.expect("answers").status().as_u16();
            assert!(![401, 403].contains(&status) && status < 500, "{operation}: {status}");
            assert!(operation.describes(status), "{operation}: {status}");
            continue;
        }
        let response = request(&anonymous).send().await.expect("answers");
        assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"mercuriale\"", "{operation}");
        assert_eq!(refused(response).await.status, 401, "{operation}");
        let response = request(&anonymous).bearer_auth("broken").send().await.expect("answers");
        assert_eq!(refused(response).await.status, 401, "{operation}");
        let roles = operation.described["x-roles"].as_array().expect("roles").clone();
        assert!(roles.contains(&json!("admin")), "{operation}: {roles:?}");
        for (role, client) in &clients {
            let status = request(client).send().await.expect("answers").status().as_u16();
            if roles.contains(&json!(role.name())) {
                assert!(![401, 403].contains(&status) && status < 500, "{operation} as {role}: {status}");
            } else {
                assert_eq!(status, 403, "{operation} as {role}");
            }
            assert!(operation.describes(status), "{operation} as {role}: {status} is not described");
        }
    }
    open.sort();
    assert_eq!(open, OPEN);
}

#[tokio::test]
async fn what_only_reads_is_for_every_role_and_what_writes_is_not() {
    let service = Service::new().await;
    for operation in Operation::all(&service).await.iter().filter(|operation| !operation.is_open()) {
        let roles = &operation.described["x-roles"];
        let expected = match operation.described["x-permission"].as_str().expect("a permission") {
            "read" => json!(["viewer", "analyst", "admin", "auditor"]),
            "work" => json!(["analyst", "admin"]),
            "audit" => json!(["admin", "auditor"]),
            "administer" => json!(["admin"]),
            other => panic!("{operation}: {other}"),
        };
        assert_eq!(roles, &expected, "{operation}");
        let calculates = ["/calculate", "/consolidate", "/what-if"];
        let writes = operation.method != Method::GET
            && !calculates.iter().any(|calculates| operation.path.ends_with(calculates));
        let is_for_viewers = expected.as_array().expect("roles").contains(&json!("viewer"));
        assert!(!(writes && is_for_viewers), "{operation} is for viewers");
    }
}

#[tokio::test]
async fn what_belongs_to_a_tenant_is_not_there_for_another() {
    let service = people::service().await;
    let owned = owned(&service).await;
    let id_of = |name: &str| owned.iter().find(|(owned, _)| *owned == name).map(|(_, id)| id.clone());
    let foreigner = service.client_of("other", Role::Admin);
    let mut walked = 0;
    for operation in Operation::all(&service).await {
        for name in operation.parameters() {
            let known = SHARED.iter().any(|(shared, _)| *shared == name) || id_of(name).is_some();
            assert!(known, "{operation}: say in this test whose {name} is, and make one if it is a tenant's");
        }
        if !operation.parameters().any(|name| id_of(name).is_some()) {
            continue;
        }
        walked += 1;
        // As if there were none, to the letter.
        let theirs = |name: &str| id_of(name).unwrap_or_else(|| nothing(name));
        let theirs = operation.whole_request(&service, &foreigner, theirs).send().await.expect("answers");
        let theirs = refused(theirs).await;
        let none = operation.whole_request(&service, &foreigner, nothing).send().await.expect("answers");
        let none = refused(none).await;
        assert_eq!(theirs.status, 404, "{operation}: {theirs:?}");
        let mut text = theirs.problem.to_string();
        for (name, id) in &owned {
            text = text.replace(id.as_str(), &nothing(name));
        }
        assert_eq!(text, none.problem.to_string(), "{operation}");
    }
    assert!(walked >= 22, "{walked}");
    // Nothing happened to it, and its owner finds it.
    let id = id_of("estimate_id").expect("made");
    assert_eq!(service.get(&format!("/v1/estimates/{id}")).await["version"], 1);
    let id = id_of("proposal_id").expect("made");
    assert_eq!(service.get(&format!("/v1/proposals/{id}")).await["state"], "pending");
    let keys = service.get("/v1/api-keys").await;
    assert_eq!(keys["items"][0]["revoked_at"], Value::Null, "{keys}");
    let users = service.get("/v1/users").await;
    assert_eq!(
        [&users["items"][0]["disabled_at"], &users["items"][0]["role"]],
        [&Value::Null, &json!("viewer")]
    );
    let webhook = service.get(&format!("/v1/webhooks/{}", id_of("webhook_id").expect("made"))).await;
    assert_eq!(webhook["disabled_why"], Value::Null, "{webhook}");
}

#[tokio::test]
async fn the_page_of_the_description_loads_nothing_from_elsewhere() {
    let service = Service::new().await;
    let client = Client::new();
    let get = async |path: &str| {
        let response = client.get(format!("{}{path}", service.url)).send().await.expect("answers");
        assert_eq!(response.status(), 200, "{path}");
        response
    };
    let response = get("/docs").await;
    let policy = response.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("http"), "{policy}");
    let page = response.text().await.expect("text");
    assert!(!page.contains("://"), "{page}");
    let mut named = 0;
    for attribute in ["href=\"", "src=\""] {
        for after in page.split(attribute).skip(1) {
            let file = after.split('"').next().expect("an end");
            let response = get(&format!("/{file}")).await;
            assert_eq!(response.headers()["x-content-type-options"], "nosniff", "{file}");
            assert!(!response.bytes().await.expect("bytes").is_empty(), "{file}");
            named += 1;
        }
    }
    assert_eq!(named, 3, "{page}");
    assert_eq!(
        client.get(format!("{}/docs/nothing.js", service.url)).send().await.expect("answers").status(),
        404
    );
}
