//! Logging: one line per event on stderr, as text for people or JSON for machines; stdout belongs to results.

use std::io::IsTerminal;
use std::sync::LazyLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

static METRICS: LazyLock<PrometheusHandle> = LazyLock::new(|| {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    // Somebody else's recorder, in a process that is not ours, keeps what it was given.
    let _ = metrics::set_global_recorder(recorder);
    handle
});

/// Metrics of this process so far, in Prometheus's text format. The first call starts the collection.
pub fn metrics() -> String {
    METRICS.render()
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is not one.
    #[error(
        "`{filter}` is not a log filter ({source}): write a level, such as info, or targets, such as info,sqlx=warn"
    )]
    Filter {
        /// What was given.
        filter: String,
        /// Where it is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// It has been set up before.
    #[error("logging is set up already: {0}")]
    AlreadySet(#[from] TryInitError),
}

/// Sets up logging for the whole process; once. `filter` is what `MERCURIALE_LOG` holds, in the syntax of
/// [`EnvFilter`]; `json` whether `MERCURIALE_LOG_FORMAT` is `json`.
pub fn init(filter: &str, json: bool) -> Result<(), TelemetryError> {
    let colours = std::io::stderr().is_terminal();
    Ok(subscriber(filter, json, colours, std::io::stderr)?.try_init()?)
}

fn subscriber<W>(
    filter: &str,
    json: bool,
    colours: bool,
    writer: W,
) -> Result<Box<dyn Subscriber + Send + Sync>, TelemetryError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let parsed = EnvFilter::builder()
        .parse(filter)
        .map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let builder = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(writer).with_ansi(colours);
    Ok(if json { Box::new(builder.json().flatten_event(true).finish()) } else { Box::new(builder.finish()) })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What is logged under a filter by one event of each of three levels.
    fn logged(filter: &str, json: bool) -> String {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let subscriber = subscriber(filter, json, false, Shared(Arc::clone(&buffer))).expect("a subscriber");
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(position = 7, "first");
            tracing::info!("second");
            tracing::debug!("third");
        });
        let bytes = buffer.lock().expect("the buffer").clone();
        String::from_utf8(bytes).expect("text")
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("the buffer").write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Shared {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            Self(Arc::clone(&self.0))
        }
    }

    #[test]
    fn json_is_one_object_a_line_with_the_fields_beside_the_message() {
        let text = logged("info", true);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!((&lines[0]["level"], &lines[0]["message"]), (&"WARN".into(), &"first".into()));
        assert_eq!(lines[0]["position"], 7);
    }

    #[test]
    fn the_filter_decides_what_is_written() {
        let text = logged("warn", false);
        assert!(text.contains("first") && text.contains("position=7") && !text.contains("second"), "{text}");
        assert!(logged("info,mercuriale=debug", false).contains("third"));
        assert_eq!(logged("off", false), "");
    }

    #[test]
    fn a_filter_that_is_none_is_refused_with_an_example() {
        let error = init("info,=loud=er", false).expect_err("refused");
        let text = error.to_string();
        assert!(text.contains("info,=loud=er") && text.contains("sqlx=warn"), "{text}");
    }
}
