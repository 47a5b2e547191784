//! A server that speaks the chat completions protocol, answers as a careful model would, and misbehaves when told to.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use axum::response::Response;
use mercuriale::sources::live::{Target, load};
use serde_json::{Value, json};

use crate::provider::json as json_response;

/// A question as the server sees it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `plan`, `research`, `validate`.
    pub(crate) phase: String,
    /// Key of the price it is about; empty for a plan.
    pub(crate) key: String,
    /// Text of the user's message.
    pub(crate) text: String,
    pub(crate) body: Value,
    pub(crate) headers: HeaderMap,
    /// Questions of the phase before this one.
    pub(crate) before: usize,
}

type Script = Box<dyn FnMut(&Asked) -> Option<Response> + Send>;

#[derive(Default)]
struct State {
    amounts: BTreeMap<String, String>,
    asked: Vec<Asked>,
    script: Option<Script>,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Llm {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

/// Key of the price with this number.
pub(crate) fn key(number: u32) -> String {
    format!("acme/Compute/paris/S{number}-hour/0/EUR")
}

/// A completion with this text, which cost 120 tokens and 0.001.
pub(crate) fn completion(content: &str) -> Value {
    json!({
        "id": "1", "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "cost": 0.001},
    })
}

pub(crate) fn answer(content: &Value) -> Response {
    json_response(&completion(&content.to_string()).to_string())
}

/// What research says of a price.
pub(crate) fn found(key: &str, amount: &str) -> Value {
    json!({
        "price": key, "found": true, "region": "paris", "unit": "Hrs", "currency": "EUR", "amount": amount,
        "quote": format!("An hour costs {amount} EUR."), "url": "https://www.acme.example/prices", "confidence": 95,
    })
}

/// What validation says of a price.
pub(crate) fn checked(key: &str, amount: &str) -> Value {
    json!({
        "price": key, "supported": true, "region": "paris", "unit": "Hrs", "currency": "EUR", "amount": amount,
        "reason": "The quotation says so.",
    })
}

/// The quotation of a question to the validation.
pub(crate) fn quotation(text: &str) -> &str {
    let mut parts = text.splitn(2, "\n--- quotation ");
    let (_, rest) = (parts.next(), parts.next().expect("a quotation"));
    let (mark, rest) = rest.split_once('\n').expect("a mark");
    rest.split_once(&format!("\n--- quotation {mark}")).expect("its end").0
}

impl Llm {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/api/v1", listener.local_addr().expect("an address"));
        let llm = Self { url, state: Arc::default() };
        let own = llm.clone();
        let complete = move |headers: HeaderMap, body: String| {
            let response = own.answer(headers, &body);
            async move { response }
        };
        let app = axum::Router::new().route("/api/v1/chat/completions", axum::routing::post(complete));
        tokio::spawn(async move { axum::serve(listener, app).await });
        llm
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the pages show.
    pub(crate) fn show(&self, amounts: &[(u32, &str)]) {
        let amounts = amounts.iter().map(|(number, amount)| (key(*number), (*amount).to_owned()));
        self.lock().amounts = amounts.collect();
    }

    /// Answers otherwise where the script says so.
    pub(crate) fn on(&self, script: impl FnMut(&Asked) -> Option<Response> + Send + 'static) {
        self.lock().script = Some(Box::new(script));
    }

    /// The questions so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Forgets questions and script.
    pub(crate) fn reset(&self) {
        let mut state = self.lock();
        state.asked.clear();
        state.script = None;
    }

    fn answer(&self, headers: HeaderMap, body: &str) -> Response {
        let body: Value = serde_json::from_str(body).expect("JSON");
        let format = &body["response_format"]["json_schema"];
        assert_eq!(
            (&format["strict"], &body["response_format"]["type"]),
            (&json!(true), &json!("json_schema"))
        );
        assert_eq!(format["schema"]["additionalProperties"], false);
        let phase = format["name"].as_str().expect("a name").to_owned();
        assert_eq!(body["model"], format!("model-{phase}"));
        let text = body["messages"][1]["content"].as_str().expect("a message").to_owned();
        let document: Value = serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        let key = document["wanted"]["price"].as_str().unwrap_or_default().to_owned();
        let mut state = self.lock();
        let before = state.asked.iter().filter(|asked| asked.phase == phase).count();
        let asked = Asked { phase, key, text, body, headers, before };
        state.asked.push(asked.clone());
        if let Some(response) = state.script.as_mut().and_then(|script| script(&asked)) {
            return response;
        }
        match asked.phase.as_str() {
            "plan" => {
                let prices = document["prices"].as_array().expect("prices");
                let lookups: Vec<Value> = prices
                    .iter()
                    .map(|price| json!({"price": price["price"], "pages": ["https://acme.example/prices"]}))
                    .collect();
                answer(&json!({"lookups": lookups}))
            }
            "research" => {
                let nothing = json!({
                    "price": asked.key, "found": false, "region": null, "unit": null, "currency": null,
                    "amount": null, "quote": null, "url": null, "confidence": 0,
                });
                answer(&state.amounts.get(&asked.key).map_or(nothing, |amount| found(&asked.key, amount)))
            }
            _ => {
                let amount =
                    quotation(&asked.text).split(' ').find(|word| word.starts_with(char::is_numeric));
                answer(&checked(&asked.key, amount.expect("a number")))
            }
        }
    }

    /// A file with a source `acme` of prices `1..=prices`, each with the reference 0.25 unless `without` says so; `more`
    /// are lines of `[source.llm]`.
    pub(crate) fn file(&self, prices: u32, without: &[u32], more: &str) -> tempfile::NamedTempFile {
        let mut text = format!(
            "[[source]]\nname = \"acme\"\nkind = \"llm\"\nbase_url = \"{}\"\nscope = \"acme/paris\"\n[source.llm]\n\
             sites = [\"acme.example\"]\n{more}\n",
            self.url
        );
        for phase in ["plan", "research", "validate"] {
            let _ = writeln!(text, "{phase} = {{ model = \"model-{phase}\" }}");
        }
        for number in 1..=prices {
            let _ = writeln!(
                text,
                "[[source.llm.price]]\ndescription = \"an hour of S{number}\"\nprovider = \"acme\"\n\
                 service = \"Compute\"\nregion = \"paris\"\nsku_id = \"S{number}\"\nsku_price_id = \"S{number}-hour\"\n\
                 unit = \"Hrs\"\ncurrency = \"EUR\"\nattributes = {{ instanceType = \"S{number}\" }}"
            );
            if !without.contains(&number) {
                text.push_str("reference = \"0.25\"\n");
            }
        }
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        file
    }

    /// The same, loaded, with a budget that is large enough.
    pub(crate) fn target(&self, prices: u32) -> Target {
        self.target_with(prices, &[], "max_tokens = 1000000")
    }

    pub(crate) fn target_with(&self, prices: u32, without: &[u32], more: &str) -> Target {
        load(self.file(prices, without, more).path()).expect("sources").remove(0)
    }
}
