//! The file of `MERCURIALE_SOURCES`: which lists are fetched from where.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use reqwest::Url;
use serde::Deserialize;
use toml::Spanned;

use super::super::llm::{Assignment, Section};
use super::super::text::{check_currency, check_text, shown};

/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The most lists of all sources together.
const MAX_TARGETS: usize = 10_000;
/// The longest name of a source.
const MAX_NAME_BYTES: usize = 100;
/// Sources of lists that are read from files.
const TAKEN_NAMES: [&str; 4] = ["aws-bulk", "azure-retail", "csv", "starter"];
const AWS_URL: &str = "https://pricing.us-east-1.amazonaws.com";
const AZURE_URL: &str = "https://prices.azure.com";

/// One list that is fetched: its runs are those of `source` and `scope`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Name of the configured source.
    pub source: Arc<str>,
    /// What the list covers.
    pub scope: String,
    /// Where the provider's own paths begin; without a slash at the end.
    pub(super) base_url: Url,
    pub(super) list: List,
}

/// Which list of a provider.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum List {
    Aws { offer: String, region: String },
    Azure { filter: Option<String>, currency: String },
    Llm(Arc<Assignment>),
}

/// What is wrong, and at which byte.
pub(in crate::sources) type Wrong = (usize, String);

/// Why the sources are not usable.
#[derive(Debug, thiserror::Error)]
pub enum SourcesError {
    /// The file cannot be read.
    #[error("MERCURIALE_SOURCES: {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not right.
    #[error("{path}:{line}: {message}")]
    Malformed {
        /// The file.
        path: String,
        /// From 1.
        line: usize,
        /// What is wrong and what to do.
        message: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    source: Vec<Spanned<Source>>,
}

#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Aws,
    Azure,
    Llm,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    name: Spanned<String>,
    kind: Kind,
    base_url: Option<Spanned<String>>,
    offers: Option<Spanned<Vec<Spanned<String>>>>,
    regions: Option<Spanned<Vec<Spanned<String>>>>,
    filters: Option<Spanned<Vec<Spanned<String>>>>,
    currency: Option<Spanned<String>>,
    scope: Option<Spanned<String>>,
    llm: Option<Spanned<Section>>,
}

/// Reads and checks the file.
///
/// # Errors
/// It cannot be read, or the first thing that is wrong with it.
pub fn load(path: &Path) -> Result<Vec<Target>, SourcesError> {
    let name = path.display().to_string();
    let failed = |source| SourcesError::Read { path: name.clone(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_FILE_BYTES {
        return Err(SourcesError::Malformed {
            path: name,
            line: 1,
            message: format!("larger than {MAX_FILE_BYTES} bytes"),
        });
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    parse(&text).map_err(|(at, message)| {
        let line = text.as_bytes()[..at.min(text.len())].split(|byte| *byte == b'\n').count();
        SourcesError::Malformed { path: name, line, message }
    })
}

fn parse(text: &str) -> Result<Vec<Target>, Wrong> {
    let file: File = toml::from_str(text).map_err(|error| {
        (error.span().map_or(0, |span| span.start), error.message().lines().collect::<Vec<_>>().join("; "))
    })?;
    if file.source.is_empty() {
        return Err((0, "no [[source]]: name at least one, or unset MERCURIALE_SOURCES".to_owned()));
    }
    let mut targets = Vec::new();
    let mut names = BTreeSet::new();
    for source in &file.source {
        let at = source.span().start;
        let source = source.get_ref();
        let name = checked_name(&source.name)?;
        if !names.insert(name) {
            return Err((source.name.span().start, format!("two sources are named {name}")));
        }
        let base_url = base_url(source, at)?;
        let lists = match source.kind {
            Kind::Aws => aws(source, at)?,
            Kind::Azure => azure(source)?,
            Kind::Llm => vec![llm(source, at)?],
        };
        let shared: Arc<str> = name.into();
        targets.extend(lists.into_iter().map(|(scope, list)| Target {
            source: Arc::clone(&shared),
            scope,
            base_url: base_url.clone(),
            list,
        }));
        if targets.len() > MAX_TARGETS {
            return Err((at, format!("more than {MAX_TARGETS} lists")));
        }
    }
    Ok(targets)
}

fn checked_name(name: &Spanned<String>) -> Result<&str, Wrong> {
    let text = name.get_ref().as_str();
    let wrong = |message| Err((name.span().start, message));
    if TAKEN_NAMES.contains(&text) {
        wrong(format!("{text} is the source of lists read from files; take another name"))
    } else if is_code(text, MAX_NAME_BYTES) {
        Ok(text)
    } else {
        wrong(format!(
            "the name {} is not 1 to {MAX_NAME_BYTES} letters, digits, dots, dashes and underscores",
            shown(text)
        ))
    }
}

/// What may stand in a path as it is.
fn is_code(text: &str, max_bytes: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && text.len() <= max_bytes && !text.starts_with('.') && text.bytes().all(allowed)
}

fn base_url(source: &Source, at: usize) -> Result<Url, Wrong> {
    let default = match source.kind {
        Kind::Aws => AWS_URL,
        Kind::Azure => AZURE_URL,
        Kind::Llm if source.base_url.is_none() => {
            let message = "an llm source needs base_url, such as https://openrouter.ai/api/v1";
            return Err((at, message.to_owned()));
        }
        Kind::Llm => "",
    };
    let (at, text) =
        source.base_url.as_ref().map_or((at, default), |url| (url.span().start, url.get_ref().as_str()));
    // The text is not repeated: it may hold a password.
    let wrong = |message: &str| Err((at, format!("base_url {message}")));
    let Ok(url) = Url::parse(text.trim_end_matches('/')) else {
        return wrong("is not a URL such as https://prices.example.org");
    };
    if !matches!(url.scheme(), "https" | "http") || !url.has_host() {
        return wrong("does not begin with https:// or http://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("holds a user name or password; price lists are fetched without");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return wrong("has a query or fragment");
    }
    Ok(url)
}

fn refuse<T>(key: &str, value: Option<&Spanned<T>>, kind: &str) -> Result<(), Wrong> {
    match value {
        Some(value) => Err((value.span().start, format!("{key} is a key of {kind} sources"))),
        None => Ok(()),
    }
}

fn aws(source: &Source, at: usize) -> Result<Vec<(String, List)>, Wrong> {
    refuse("filters", source.filters.as_ref(), "azure")?;
    refuse("currency", source.currency.as_ref(), "azure")?;
    refuse_llm(source)?;
    let offers = codes("offers", source.offers.as_ref(), at, r#"["AmazonEC2"]"#)?;
    let regions = codes("regions", source.regions.as_ref(), at, r#"["eu-west-3"]"#)?;
    let mut lists = Vec::new();
    for offer in &offers {
        for region in &regions {
            let list = List::Aws { offer: (*offer).to_owned(), region: (*region).to_owned() };
            lists.push((format!("{offer}/{region}"), list));
        }
    }
    Ok(lists)
}

fn refuse_llm(source: &Source) -> Result<(), Wrong> {
    refuse("scope", source.scope.as_ref(), "llm")?;
    refuse("llm", source.llm.as_ref(), "llm")
}

fn llm(source: &Source, at: usize) -> Result<(String, List), Wrong> {
    refuse("offers", source.offers.as_ref(), "aws")?;
    refuse("regions", source.regions.as_ref(), "aws")?;
    refuse("filters", source.filters.as_ref(), "azure")?;
    refuse("currency", source.currency.as_ref(), "azure")?;
    let scope = match &source.scope {
        None => "all",
        Some(scope) => {
            let text = scope.get_ref();
            let wrong = |message| (scope.span().start, format!("scope: {message}"));
            check_text(text).map_err(wrong)?;
            if text.trim().is_empty() || text.chars().any(char::is_control) {
                return Err(wrong("is empty or has control characters".to_owned()));
            }
            text
        }
    };
    let section = source
        .llm
        .as_ref()
        .ok_or_else(|| (at, "an llm source needs a table [source.llm]; the README shows one".to_owned()))?;
    let assignment = section.get_ref().assignment(section.span().start)?;
    Ok((scope.to_owned(), List::Llm(Arc::new(assignment))))
}

fn codes<'a>(
    key: &str,
    values: Option<&'a Spanned<Vec<Spanned<String>>>>,
    at: usize,
    example: &str,
) -> Result<Vec<&'a str>, Wrong> {
    let values = values.ok_or_else(|| (at, format!("an aws source needs {key}, such as {example}")))?;
    if values.get_ref().is_empty() {
        return Err((values.span().start, format!("{key} is empty; name at least one, such as {example}")));
    }
    distinct(key, values.get_ref(), |text| {
        is_code(text, MAX_NAME_BYTES).then_some(()).ok_or_else(|| "is not a code of AWS".to_owned())
    })
}

pub(in crate::sources) fn distinct<'a>(
    key: &str,
    values: &'a [Spanned<String>],
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Vec<&'a str>, Wrong> {
    let mut seen = BTreeSet::new();
    values
        .iter()
        .map(|value| {
            let text = value.get_ref().as_str();
            let wrong = |message| (value.span().start, format!("{key}: {} {message}", shown(text)));
            check(text).map_err(wrong)?;
            if seen.insert(text) { Ok(text) } else { Err(wrong("stands twice".to_owned())) }
        })
        .collect()
}

fn azure(source: &Source) -> Result<Vec<(String, List)>, Wrong> {
    refuse("offers", source.offers.as_ref(), "aws")?;
    refuse("regions", source.regions.as_ref(), "aws")?;
    refuse_llm(source)?;
    let currency = match &source.currency {
        Some(currency) => {
            check_currency(currency.get_ref())
                .map_err(|message| (currency.span().start, format!("currency: {message}")))?;
            currency.get_ref().as_str()
        }
        None => "USD",
    };
    let list = |filter: Option<&str>| List::Azure {
        filter: filter.map(str::to_owned),
        currency: currency.to_owned(),
    };
    let Some(filters) = &source.filters else {
        return Ok(vec![("all".to_owned(), list(None))]);
    };
    if filters.get_ref().is_empty() {
        return Err((filters.span().start, "filters is empty; leave it out to fetch everything".to_owned()));
    }
    let check = |text: &str| {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err("is not a filter such as armRegionName eq 'francecentral'".to_owned());
        }
        check_text(text)
    };
    let filters = distinct("filters", filters.get_ref(), check)?;
    Ok(filters.into_iter().map(|filter| (filter.to_owned(), list(Some(filter)))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, String) {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        match load(file.path()).expect_err("refused") {
            SourcesError::Malformed { line, message, .. } => (line, message),
            other @ SourcesError::Read { .. } => panic!("{other}"),
        }
    }

    #[test]
    fn a_source_is_a_list_for_each_offer_and_region_or_each_filter() {
        let text = r#"
            [[source]]
            name = "aws-paris"
            kind = "aws"
            offers = ["AmazonEC2", "AWSLambda"]
            regions = ["eu-west-3"]

            [[source]]
            name = "azure-france"
            kind = "azure"
            base_url = "http://mirror:8081/azure/"
            filters = ["armRegionName eq 'francecentral'", "serviceName eq 'Storage'"]
            currency = "EUR"

            [[source]]
            name = "azure-everything"
            kind = "azure"
        "#;
        let targets = parse(text).expect("right");
        let shown: Vec<_> = targets
            .iter()
            .map(|target| (&*target.source, target.scope.as_str(), target.base_url.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("aws-paris", "AmazonEC2/eu-west-3", "https://pricing.us-east-1.amazonaws.com/"),
                ("aws-paris", "AWSLambda/eu-west-3", "https://pricing.us-east-1.amazonaws.com/"),
                ("azure-france", "armRegionName eq 'francecentral'", "http://mirror:8081/azure"),
                ("azure-france", "serviceName eq 'Storage'", "http://mirror:8081/azure"),
                ("azure-everything", "all", "https://prices.azure.com/"),
            ]
        );
        assert_eq!(targets[4].list, List::Azure { filter: None, currency: "USD".to_owned() });
    }

    const LLM: &str = "[[source]]\nname = \"l\"\nkind = \"llm\"\nbase_url = \"https://x/v1\"\n[source.llm]\n\
        sites = [\"acme.example\"]\nmax_tokens = 1000\nplan = { model = \"p\" }\nresearch = { model = \"r\" }\n\
        validate = { model = \"v\" }\n[[source.llm.price]]\ndescription = \"d\"\nprovider = \"acme\"\nservice = \"S\"\n\
        sku_id = \"K\"\nsku_price_id = \"R\"\nunit = \"Hrs\"\ncurrency = \"EUR\"\n";

    #[test]
    fn an_llm_source_is_one_list_of_the_prices_it_names() {
        let targets = parse(LLM).expect("right");
        let [Target { scope, list: List::Llm(assignment), .. }] = &targets[..] else { panic!("one list") };
        assert_eq!(scope, "all");
        assert_eq!(assignment.prices[0].listing.key, "acme/S/global/R/0/EUR");
        assert_eq!(assignment.max_move.to_string(), "0.20");
        let secret = LLM.replace("max_tokens", "api_key_env = \"CARGO_PKG_NAME\"\nmax_tokens");
        let shown = format!("{:?}", parse(&secret).expect("right"));
        assert!(shown.contains("Sensitive") && !shown.contains("Bearer"), "{shown}");
    }

    #[test]
    fn what_is_wrong_with_an_llm_source_is_told_with_its_line() {
        let table = LLM.find("[source.llm]").expect("a table");
        let price = LLM.find("[[source.llm.price]]").expect("a table");
        for (text, line, message) in [
            (LLM[..table].to_owned(), 1, "needs a table [source.llm]"),
            (LLM.replace("base_url = \"https://x/v1\"\n", ""), 1, "needs base_url"),
            (LLM[..price].to_owned(), 5, "1 to 200 are possible"),
            (format!("{LLM}{}", &LLM[price..]), 19, "stands twice"),
            (LLM.replace("max_tokens", "max_token"), 7, "unknown field `max_token`"),
            (LLM.replace("= 1000", "= 0"), 7, "max_tokens is not between 1"),
            (LLM.replace("acme.example", "https://acme.example"), 6, "is not a host"),
            (LLM.replace("[\"acme.example\"]", "[]"), 6, "name 1 to 50 hosts"),
            (LLM.replace("\"p\"", "\"\""), 8, "model: is empty"),
            (LLM.replace("\"p\"", "\"p\", input_cost = \"1\""), 8, "or neither"),
            (LLM.replace("max_tokens", "max_move = \"1\"\nmax_tokens"), 7, "not between 0 and 1"),
            (LLM.replace("max_tokens", "max_cost = \"a\"\nmax_tokens"), 7, "max_cost: "),
            (LLM.replace("max_tokens", "min_confidence = 101\nmax_tokens"), 7, "is a percentage"),
            (
                LLM.replace("max_tokens", "api_key_env = \"sk-secret\"\nmax_tokens"),
                7,
                "is not the name of an",
            ),
            (
                LLM.replace("max_tokens", "api_key_env = \"MERCURIALE_KEY\"\nmax_tokens"),
                7,
                "take another name",
            ),
            (
                LLM.replace("max_tokens", "api_key_env = \"NOT_SET_ANYWHERE\"\nmax_tokens"),
                7,
                "no such environment",
            ),
            (LLM.replace("\"EUR\"", "\"euro\""), 11, "currency: "),
            (LLM.replace("\"acme\"", "\"aws\""), 11, "sku_price_id: is not a rate code"),
            (format!("{LLM}reference = \"0\"\n"), 19, "is not more than zero"),
            (LLM.replace("[source.llm]", "offers = [\"A\"]\n[source.llm]"), 5, "offers is a key of aws"),
            (LLM.replace("\"llm\"", "\"azure\""), 5, "llm is a key of llm"),
        ] {
            let (found, why) = refused(&text);
            assert!(found == line && why.contains(message), "{text}{found}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let aws =
            "[[source]]\nname = \"a\"\nkind = \"aws\"\noffers = [\"AmazonEC2\"]\nregions = [\"eu-west-3\"]\n";
        let azure = "[[source]]\nname = \"z\"\nkind = \"azure\"\n";
        for (text, line, message) in [
            (String::new(), 1, "no [[source]]"),
            (format!("{aws}timeout = 3\n"), 6, "unknown field `timeout`"),
            (format!("{aws}\n[server]\n"), 7, "unknown field `server`"),
            (aws.replace("aws", "gcp"), 3, "unknown variant `gcp`"),
            (aws.replace("\"a\"", "\"a b\""), 2, "is not 1 to 100 letters"),
            (aws.replace("\"a\"", "\"csv\""), 2, "read from files"),
            (format!("{aws}{aws}"), 7, "two sources are named a"),
            (aws.replace("regions", "filters"), 5, "filters is a key of azure"),
            (aws.replace("offers = [\"AmazonEC2\"]\n", ""), 1, "needs offers"),
            (aws.replace("\"AmazonEC2\"", ""), 4, "offers is empty"),
            (aws.replace("AmazonEC2", "../../x"), 4, "is not a code of AWS"),
            (aws.replace("\"AmazonEC2\"", "\"AmazonEC2\",\n\"AmazonEC2\""), 5, "stands twice"),
            (format!("{azure}currency = \"euro\"\n"), 4, "not a currency"),
            (format!("{azure}filters = [\" \"]\n"), 4, "is not a filter"),
            (format!("{azure}offers = [\"AmazonEC2\"]\n"), 4, "offers is a key of aws"),
            (format!("{azure}base_url = \"ftp://x\"\n"), 4, "does not begin with"),
            (format!("{azure}base_url = \"prices\"\n"), 4, "is not a URL"),
            (format!("{azure}base_url = \"https://x/?a=1\"\n"), 4, "has a query"),
            (format!("{azure}base_url = \"https://u:secret@x\"\n"), 4, "holds a user name"),
            ("[[source]\n".to_owned(), 1, ""),
        ] {
            let (found, why) = refused(&text);
            assert!(found == line && why.contains(message), "{text}{found}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
