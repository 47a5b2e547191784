//! The chat completions protocol: one question, one answer that fits a schema, within a budget.
//!
//! <https://platform.openai.com/docs/api-reference/chat>, as many
//! endpoints speak it. Bodies of refused requests are not repeated in messages: some endpoints quote the key there.

use bytes::Bytes;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap};
use rust_decimal::Decimal;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};
use tokio::time::{Instant, timeout_at};

use super::config::{Assignment, Phase};
use crate::domain::event::Research;
use crate::domain::money::parse_price;
use crate::sources::live::http::{Client, FetchError};
use crate::sources::refresh::ResearchLog;
use crate::sources::text::shown;

/// The largest answer that is read.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// The most tokens that are asked for in one answer, those of reasoning included.
const MAX_ANSWER_TOKENS: u64 = 16_000;
/// How often a question is put that gets an answer nobody can use.
const ATTEMPTS: u32 = 2;

/// A typed question.
pub(super) struct Question<'a> {
    /// Name of the schema.
    pub(super) name: &'static str,
    pub(super) schema: serde_json::Value,
    pub(super) system: &'static str,
    pub(super) user: &'a str,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    /// This one is of no use; the next question may get a better one.
    #[error("{0}")]
    Unusable(String),
    /// No more is asked in this run.
    #[error("{0}")]
    Stop(String),
    /// The endpoint does not answer, after retries.
    #[error("{0}")]
    Endpoint(#[from] FetchError),
}

/// Asks the models of a run, one question at a time.
pub(super) struct Chat<'a> {
    client: &'a Client,
    url: Url,
    assignment: &'a Assignment,
    log: &'a ResearchLog,
    deadline: Instant,
    /// Whether the cost of every answer so far is known.
    cost_known: bool,
    answers: Sha256,
}

#[derive(Deserialize)]
struct Completion<'a> {
    choices: Vec<Choice>,
    #[serde(borrow)]
    usage: Option<Usage<'a>>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
    refusal: Option<String>,
}

#[derive(Deserialize)]
struct Usage<'a> {
    prompt_tokens: u64,
    completion_tokens: u64,
    /// A number as it is written, so that it never is a float.
    #[serde(borrow)]
    cost: Option<&'a RawValue>,
}

impl<'a> Chat<'a> {
    pub(super) fn new(
        client: &'a Client,
        base_url: &Url,
        assignment: &'a Assignment,
        log: &'a ResearchLog,
    ) -> Self {
        let deadline = client.deadline();
        Self {
            client,
            url: url_of(base_url),
            assignment,
            log,
            deadline,
            cost_known: true,
            answers: Sha256::new(),
        }
    }

    /// Digest of all answers.
    pub(super) fn sha256(self) -> [u8; 32] {
        self.answers.finalize().into()
    }

    /// Asks until there is an answer that fits, within limits.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        phase: &Phase,
        question: &Question<'_>,
    ) -> Result<T, NoAnswer> {
        let mut attempt = 1;
        loop {
            match self.ask_once(phase, question).await {
                Err(NoAnswer::Unusable(_)) if attempt < ATTEMPTS => attempt += 1,
                outcome => return outcome,
            }
        }
    }

    async fn ask_once<T: DeserializeOwned>(
        &mut self,
        phase: &Phase,
        question: &Question<'_>,
    ) -> Result<T, NoAnswer> {
        let left = self.tokens_left()?;
        let body = Bytes::from(body(phase, question, left.min(MAX_ANSWER_TOKENS)));
        let mut headers = HeaderMap::new();
        if let Some(key) = &self.assignment.authorization {
            headers.insert(AUTHORIZATION, key.clone());
        }
        let mut retries = self.client.retries();
        let answer = loop {
            let post = self.client.post(&self.url, &headers, body.clone(), MAX_ANSWER_BYTES);
            let outcome = timeout_at(self.deadline, post).await.map_err(|_| self.late())?;
            match outcome {
                Ok(answer) => break answer,
                Err(error) => {
                    if matches!(error, FetchError::Network(_) | FetchError::TooLarge(_)) {
                        // What became of it is not known: it may have been answered, and has to be paid then.
                        self.charge(phase, body.len() as u64, 0, None);
                    }
                    let wait = retries.wait(&self.url, error);
                    timeout_at(self.deadline, wait).await.map_err(|_| self.late())??;
                    self.tokens_left()?;
                }
            }
        };
        self.answers.update((answer.len() as u64).to_be_bytes());
        self.answers.update(&answer);
        self.log.note(|research| research.answers += 1);
        self.take(phase, body.len(), &answer)
    }

    /// Counts an answer and reads it.
    fn take<T: DeserializeOwned>(
        &mut self,
        phase: &Phase,
        sent: usize,
        answer: &[u8],
    ) -> Result<T, NoAnswer> {
        let unusable = |message: String| NoAnswer::Unusable(message);
        let completion: Completion<'_> = match serde_json::from_slice(answer) {
            Ok(completion) => completion,
            Err(error) => {
                self.charge(phase, sent as u64, answer.len() as u64, None);
                return Err(unusable(format!(
                    "the answer is no chat completion: {}",
                    shown(&error.to_string())
                )));
            }
        };
        match &completion.usage {
            Some(usage) => {
                let cost = usage.cost.and_then(|cost| parse_price(cost.get()).ok());
                self.charge(phase, usage.prompt_tokens, usage.completion_tokens, cost);
            }
            // A token is a byte or more.
            None => self.charge(phase, sent as u64, answer.len() as u64, None),
        }
        let choice = completion.choices.into_iter().next();
        let Some(Choice { message, finish_reason }) = choice else {
            return Err(unusable("the answer is empty".to_owned()));
        };
        if let Some(refusal) = message.refusal.filter(|text| !text.is_empty()) {
            return Err(unusable(format!("the model refused: {}", shown(&refusal))));
        }
        match finish_reason.as_deref() {
            Some("length") => return Err(unusable("the answer was cut off".to_owned())),
            Some("content_filter") => return Err(unusable("the answer was filtered out".to_owned())),
            _ => {}
        }
        let content = message.content.unwrap_or_default();
        serde_json::from_str(&content).map_err(|error| {
            unusable(format!("the answer is not as its schema says: {}", shown(&error.to_string())))
        })
    }

    fn late(&self) -> NoAnswer {
        let seconds = self.client.limits.list_timeout.as_secs();
        NoAnswer::Stop(format!("not finished after {seconds} s"))
    }

    /// Tokens that the budget has left; none is the end.
    fn tokens_left(&self) -> Result<u64, NoAnswer> {
        let research = self.log.read();
        let used = research.input_tokens.saturating_add(research.output_tokens);
        let left = self.assignment.max_tokens.saturating_sub(used);
        if left == 0 {
            return Err(NoAnswer::Stop(format!(
                "the budget of {} tokens is used up; raise max_tokens if that is too few",
                self.assignment.max_tokens
            )));
        }
        match self.assignment.max_cost {
            Some(_) if !self.cost_known => Err(NoAnswer::Stop(
                "there is a max_cost, but the endpoint does not say what an answer costs; give input_cost and \
                 output_cost of each phase"
                    .to_owned(),
            )),
            Some(max_cost) if research.cost.unwrap_or_default() >= max_cost => Err(NoAnswer::Stop(format!(
                "the budget of {max_cost} is used up; raise max_cost if that is too little"
            ))),
            _ => Ok(left),
        }
    }

    fn charge(&mut self, phase: &Phase, input_tokens: u64, output_tokens: u64, told: Option<Decimal>) {
        let cost = told.or_else(|| cost_of(phase, input_tokens, output_tokens));
        self.cost_known &= cost.is_some();
        let known = self.cost_known;
        self.log.note(|research| {
            charge(research, input_tokens, output_tokens, cost.filter(|_| known));
        });
    }
}

fn charge(research: &mut Research, input_tokens: u64, output_tokens: u64, cost: Option<Decimal>) {
    research.input_tokens = research.input_tokens.saturating_add(input_tokens);
    research.output_tokens = research.output_tokens.saturating_add(output_tokens);
    research.cost = cost.map(|cost| {
        let before = research.cost.unwrap_or_default();
        before.checked_add(cost).unwrap_or(Decimal::MAX).normalize()
    });
}

/// By the configured rates; `None` without them.
fn cost_of(phase: &Phase, input_tokens: u64, output_tokens: u64) -> Option<Decimal> {
    let (input, output) = phase.rates?;
    let input = Decimal::from(input_tokens).checked_mul(input)?;
    let output = Decimal::from(output_tokens).checked_mul(output)?;
    input.checked_add(output)?.checked_div(Decimal::from(1_000_000))
}

fn url_of(base_url: &Url) -> Url {
    let mut url = base_url.clone();
    url.set_path(&format!("{}/chat/completions", base_url.path().trim_end_matches('/')));
    url
}

fn body(phase: &Phase, question: &Question<'_>, max_tokens: u64) -> String {
    serde_json::json!({
        "model": phase.model,
        "messages": [
            {"role": "system", "content": question.system},
            {"role": "user", "content": question.user},
        ],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": question.name, "strict": true, "schema": question.schema},
        },
        "max_completion_tokens": max_tokens,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_exact_and_absent_where_one_is_not_known() {
        let decimal = |text: &str| text.parse::<Decimal>().expect("a decimal");
        let mut phase = Phase { model: "m".to_owned(), rates: Some((decimal("0.15"), decimal("0.60"))) };
        assert_eq!(cost_of(&phase, 1_000, 500), Some(decimal("0.00045")));
        phase.rates = None;
        assert_eq!(cost_of(&phase, 1_000, 500), None);
        let mut research = Research::default();
        charge(&mut research, 10, 5, Some(decimal("0.1")));
        charge(&mut research, 10, 5, Some(decimal("0.2")));
        assert_eq!((research.input_tokens, research.output_tokens), (20, 10));
        assert_eq!(research.cost, Some(decimal("0.3")));
        charge(&mut research, u64::MAX, 5, None);
        assert_eq!((research.input_tokens, research.cost), (u64::MAX, None));
    }

    #[test]
    fn a_path_of_the_base_url_is_kept() {
        let url = |base: &str| url_of(&base.parse().expect("a URL")).to_string();
        assert_eq!(url("https://openrouter.ai/api/v1"), "https://openrouter.ai/api/v1/chat/completions");
        assert_eq!(url("http://localhost:8000"), "http://localhost:8000/chat/completions");
    }
}
