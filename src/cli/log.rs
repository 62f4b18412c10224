//! How the log is written. What peers send ends up in it: ids, names, the words of errors.
//!
//! Invariant: no key that the daemon keeps and nothing that looks like one is in it, and an event is one line of visible characters, whatever is in its fields, so that nobody can forge another
//! line or move a terminal's cursor.

use std::sync::Arc;

use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::debug_fn;

use crate::console::visible;
use crate::credential::scrub::Scrubber;
use crate::credential::shape;

/// Fields as the usual log has them, without keys and with every character visible.
pub(super) fn fields(scrubber: Arc<Scrubber>) -> impl for<'writer> FormatFields<'writer> + Send + Sync + 'static {
    let fields = debug_fn(move |writer, field, value| {
        let value = format!("{value:?}");
        let value = scrubber.line(&value);
        let value = visible::line(&shape::mask(&value));
        match field.name() {
            "message" => write!(writer, "{value}"),
            name => write!(writer, "{name}={value}"),
        }
    });
    fields.delimited(" ")
}

/// Has a panic go the way of every other line: what it says may hold a piece of a message.
pub(super) fn panics() {
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::mcp::message::Id;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_of_visible_characters() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).fmt_fields(fields(Arc::default()));
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        let id = Id::String("\u{9b}2J\u{202e}\u{7f}".to_owned());
        tracing::subscriber::with_default(subscriber, || {
            let _span = tracing::info_span!("session", peer = %"x\nERROR in a span").entered();
            tracing::warn!(%id, fault = %"x\nERROR forged", plain = "a \"b\"", count = 7, "no answer\u{1b}[0m");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let line = text.strip_suffix('\n').unwrap();
        let shown = |c: char| visible::is_visible(c) || "⟨⟩".contains(c);
        assert!(line.chars().all(shown), "{line:?}");
        assert!(line.contains("no answer") && line.contains(r#"plain="a \"b\"" count=7"#), "{line:?}");
    }
}
