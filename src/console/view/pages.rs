//! Screens 2 to 4: a table, and what its selected row says in full.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::Span;

use super::detail::row_spans;
use super::{Areas, fill, put, rule};
use crate::console::app::App;
use crate::console::doc::Doc;
use crate::console::keys::Page;
use crate::console::pages::Item;
use crate::console::risk::plural;
use crate::console::tabs::{day_and_clock, describe_session};
use crate::console::theme::Theme;
use crate::console::{describe, spark, visible};
use crate::control::wire::{GrantView, RecordView, RuleView, SessionView};

/// A table that is about to be drawn: names and widths of the columns, where 0 is whatever is left.
struct Table {
    title: String,
    right: Vec<String>,
    columns: Vec<(&'static str, usize)>,
    rows: Vec<Vec<String>>,
    /// What is said where there are no rows.
    empty: String,
}

pub fn draw(app: &App, areas: &Areas, buf: &mut Buffer, theme: Theme) {
    let first = app.pages.top;
    let shown = first..first + usize::from(areas.list.height);
    let (table, mut doc) = match app.page {
        Page::Queue => return,
        Page::History => (history(app, &shown), record_document(app)),
        Page::Sessions => (sessions(app), session_document(app)),
        Page::Policy => (policy(app), rule_document(app)),
    };
    if let Some(error) = &app.pages.error {
        let mut whole = Doc::for_terminal(app.ascii);
        // An error of ours has lines: what, where, and what helps.
        for (n, line) in error.lines().filter(|line| !line.trim().is_empty()).enumerate() {
            let words = if n == 0 { format!("the daemon did not answer all of it: {line}") } else { line.to_owned() };
            whole.warning(&visible::line(&words));
        }
        doc = if table.rows.is_empty() { whole } else { doc };
    }
    let right = table.right.into_iter().map(|text| Span::styled(format!("{text} "), theme.strong())).collect();
    rule(buf, areas.list_title, theme, vec![Span::styled(table.title, theme.strong())], right);
    let names = Rect { y: areas.list.y.saturating_sub(1), height: 1, ..areas.list };
    let cells: Vec<_> = table.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    line(buf, names, &format!("   {}", cut_to(&table.columns, &cells, names.width)), theme.dim());
    if table.rows.is_empty() {
        line(buf, areas.list, &format!("   {}", table.empty), theme.dim());
    }
    let cursor = app.pages.row(app.page);
    let offset = if app.page == Page::History { first } else { 0 };
    let rows = table.rows.iter().enumerate().map(|(n, row)| (n + offset, row)).skip_while(|(n, _)| *n < first);
    for ((n, cells), y) in rows.zip(areas.list.top()..areas.list.bottom()) {
        let style = if n == cursor { theme.strong() } else { Style::new() };
        let sign = if n == cursor { '>' } else { ' ' };
        let text = format!(" {sign} {}", cut_to(&table.columns, cells, areas.list.width));
        line(buf, Rect { y, height: 1, ..areas.list }, &text, style);
    }
    detail(app, areas, buf, theme, &doc);
}

fn detail(app: &App, areas: &Areas, buf: &mut Buffer, theme: Theme, doc: &Doc) {
    let layout = doc.layout(areas.doc.width);
    let height = usize::from(areas.doc.height);
    let top = app.pages.scroll.min(layout.len().saturating_sub(height));
    let error = app.pages.error.as_ref().and_then(|error| error.lines().next());
    let error = error.map(|error| visible::capped(&format!("not answered: {error}"), 60));
    let right = error.into_iter().map(|error| Span::styled(error, theme.warning())).collect();
    rule(buf, areas.title, theme, Vec::new(), right);
    for (row, y) in (top..).zip(areas.doc.top()..areas.doc.bottom()) {
        let Some(row) = doc.row(&layout, row) else { break };
        put(buf, areas.doc.x, y, areas.doc.width, row_spans(&row, theme));
    }
    let below = layout.len().saturating_sub(top + height);
    let more = if below > 0 { format!("{below} more below") } else { "end".to_owned() };
    rule(buf, areas.rule, theme, Vec::new(), vec![Span::styled(more, theme.dim())]);
}

fn line(buf: &mut Buffer, area: Rect, text: &str, style: Style) {
    put(buf, area.x, area.y, area.width, visible::spans(&fill(text, area.width), style));
}

/// The cells of a row, each as wide as its column; they have not passed the escape function.
fn cut_to(columns: &[(&str, usize)], cells: &[String], width: u16) -> String {
    let fixed: usize = columns.iter().map(|(_, columns)| columns + 2).sum();
    let rest = usize::from(width).saturating_sub(fixed + 3);
    let mut out = String::new();
    for ((_, columns), cell) in columns.iter().zip(cells) {
        let columns = if *columns == 0 { rest } else { *columns };
        let text = visible::capped(cell, columns);
        out.push_str(&fill(&text, u16::try_from(columns).unwrap_or(u16::MAX)));
        out.push_str("  ");
    }
    out
}

fn history(app: &App, shown: &std::ops::Range<usize>) -> Table {
    let pages = &app.pages;
    let wide = app.size.0 >= 100;
    let mut columns = vec![("TIME", 8), ("RECORD", 16), ("WHAT", 0)];
    if wide {
        columns.splice(2..2, [("SERVER", 10), ("CLIENT", 14)]);
    }
    let cells = |record: &RecordView| {
        let mut cells = vec![describe::clock(&record.at, &app.zone), record.kind.clone(), record.words.clone()];
        if wide {
            let known = [&record.server, &record.principal].map(|text| text.clone().unwrap_or_default());
            cells.splice(2..2, known);
        }
        cells
    };
    let count = pages.records().count();
    let mut right = Vec::new();
    if !pages.filter.is_empty() {
        let hidden = plural(pages.records.len() - count, "record").to_uppercase();
        right.push(format!("{hidden} HIDDEN by {}", visible::capped(&pages.filter.text, 24)));
    }
    if let Some(chain) = &pages.chain {
        let state = if chain.intact { "chain ok" } else { "CHAIN BROKEN" };
        right.push(format!("{state} · {} records", chain.records));
    }
    let more = if pages.complete { "" } else { "+" };
    Table {
        title: format!("History {count}{more}"),
        right,
        columns,
        rows: pages.records().skip(shown.start).take(shown.len()).map(cells).collect(),
        empty: if pages.chain.is_some() { "No record is like that." } else { "Asking the daemon…" }.to_owned(),
    }
}

fn record_document(app: &App) -> Doc {
    let mut doc = Doc::for_terminal(app.ascii);
    let Some(record) = app.pages.records().nth(app.pages.row(Page::History)) else { return doc };
    doc.fact("Record", &format!("{} · {} · {}", record.seq, record.kind, day_and_clock(&record.at, &app.zone)));
    doc.fact("What", &record.words);
    let of = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    if let Some(call) = &record.call {
        doc.fact("Call", &format!("{call}  {}", of(&record.operation)));
    }
    doc.fact("Where", &format!("{} ({})", of(&record.server), of(&record.environment)));
    doc.fact("Who", &format!("{}, session {}", of(&record.principal), of(&record.session)));
    for (label, text) in [("Rule", &record.rule), ("Operator", &record.operator)] {
        if let Some(text) = text {
            doc.fact(label, text);
        }
    }
    if let Some(chain) = &app.pages.chain {
        let state = if chain.intact {
            "the records shown follow one another and are what their hashes say"
        } else {
            "BROKEN: run `countersign audit verify`"
        };
        let head = chain.head.map(|head| head.to_string()).unwrap_or_default();
        doc.fact("Chain", &format!("{state}; {} records, head {}", chain.records, head.get(..16).unwrap_or(&head)));
    }
    doc
}

fn sessions(app: &App) -> Table {
    let pages = &app.pages;
    let wide = app.size.0 >= 100;
    let mut columns = vec![("", 7), ("ENV", 6), ("SERVER", 10), ("CLIENT", if wide { 20 } else { 14 }), ("WHAT", 0)];
    if wide {
        columns.insert(4, ("LAST 10 MIN", spark::MINUTES + 1));
    }
    let cells = |item: Item<'_>| {
        let (mut cells, bars) = match item {
            Item::Session(session) => {
                let bars = spark::bars(&spark::minutes(session, app.now.wall), app.ascii);
                (session_cells(app, session), bars)
            }
            Item::Grant(grant) => (grant_cells(app, grant), String::new()),
        };
        if wide {
            cells.insert(4, bars);
        }
        cells
    };
    let grants = pages.grants.len();
    let count = pages.sessions.as_ref().map_or(0, Vec::len);
    Table {
        title: format!("Sessions {count} · grants in force {grants}"),
        right: Vec::new(),
        columns,
        rows: pages.items().map(cells).collect(),
        empty: if pages.sessions.is_some() { "No client is connected." } else { "Asking the daemon…" }.to_owned(),
    }
}

fn badge(name: &str) -> &'static str {
    match name {
        "production" => "[LIVE]",
        "sandbox" | "test" => "[TEST]",
        _ => "[????]",
    }
}

fn session_cells(app: &App, session: &SessionView) -> Vec<String> {
    let SessionView { calls, held, denied, in_flight, .. } = session;
    let state = if session.paused.is_some() { "PAUSED" } else { "open" };
    let last =
        session.last.first().map(|call| format!("  last {} {}", describe::clock(&call.at, &app.zone), call.operation));
    let last = last.unwrap_or_default();
    let words = format!("{calls} calls, {held} held, {denied} denied, {in_flight} in flight{last}");
    let env = badge(&session.environment.name).to_owned();
    vec![state.to_owned(), env, session.server.clone(), session.principal.clone(), words]
}

fn grant_cells(app: &App, grant: &GrantView) -> Vec<String> {
    let until = describe::clock(&grant.until, &app.zone);
    let words = format!("{}  {} of {} used, until {until}, by {}", grant.operation, grant.used, grant.uses, grant.by);
    let env = badge(&grant.environment.name).to_owned();
    vec!["grant".to_owned(), env, grant.server.clone(), grant.principal.clone(), words]
}

fn session_document(app: &App) -> Doc {
    let mut doc = Doc::for_terminal(app.ascii);
    match app.pages.item() {
        Some(Item::Session(session)) => describe_session(&mut doc, session, &app.zone, app.now.wall),
        Some(Item::Grant(grant)) => {
            doc.fact(
                "Grant",
                &format!(
                    "{}, made from {} by {} at {}",
                    grant.id,
                    grant.hold,
                    grant.by,
                    day_and_clock(&grant.at, &app.zone)
                ),
            );
            doc.fact(
                "For",
                &format!("{} · {} · {} ({})", grant.principal, grant.server, grant.operation, grant.environment.name),
            );
            let until = day_and_clock(&grant.until, &app.zone);
            doc.fact(
                "Left",
                &format!("{} of {} calls, until {until}", grant.uses.saturating_sub(grant.used), grant.uses),
            );
            doc.heading("What a call has to be");
            grant.text.lines().for_each(|line| doc.quoted(line, false));
        }
        None => {}
    }
    doc
}

fn policy(app: &App) -> Table {
    let pages = &app.pages;
    let daemon = app.daemon.as_ref();
    let error = daemon.and_then(|daemon| daemon.policy_error.as_ref()).map(|_| "LOAD ERROR, see above".to_owned());
    let warnings = daemon.map_or(0, |daemon| daemon.policy_warnings.len());
    let warned = (warnings > 0).then(|| format!("{}, see below", plural(warnings, "warning")));
    let count = pages.rules.as_ref().map_or(0, Vec::len);
    let watched = pages.rules.iter().flatten().filter(|rule| rule.watched > 0).count();
    let mut columns = vec![("RULE", 0), ("HITS", 6), ("HOLDS", 6), ("APPROVED", 9), ("MEDIAN", 7), ("LAST", 8)];
    // Where there is no room for both, the time stands in the detail alone.
    if watched > 0 && app.size.0 < 100 {
        columns.pop();
    }
    let (last, would) = (watched == 0 || app.size.0 >= 100, watched > 0);
    if would {
        columns.push(("WOULD", 15));
    }
    let cells = |rule: &RuleView| {
        let (hits, holds) = ((rule.hits + rule.watched).to_string(), rule.holds.to_string());
        let mut cells = vec![rule.rule.clone(), hits, holds, rate(rule), describe::median(rule.median_ms)];
        if last {
            cells.push(rule.last.as_ref().map_or_else(|| "-".to_owned(), |at| describe::clock(at, &app.zone)));
        }
        if would {
            cells.push(would_cell(rule));
        }
        cells
    };
    let only = if would { format!(", {watched} only watched") } else { String::new() };
    Table {
        title: format!("Policy, last day: {}{only}", plural(count, "rule")),
        right: error.into_iter().chain(warned).collect(),
        columns,
        rows: pages.rules.iter().flatten().map(cells).collect(),
        empty: if pages.rules.is_some() { "No rule has decided anything." } else { "Asking the daemon…" }.to_owned(),
    }
}

/// What a rule that was only watched would have changed.
fn would_cell(rule: &RuleView) -> String {
    let RuleView { watched, would_hold, would_deny, may_allow, unknown, .. } = rule;
    match (watched, would_hold, would_deny, may_allow) {
        (0, ..) => "-".to_owned(),
        // What loosens comes first: the rest stands in the detail.
        (_, _, _, allow @ 1..) => format!("may allow {allow}"),
        (_, 0, 0, 0) if *unknown > 0 => "not known".to_owned(),
        (_, 0, 0, 0) => "change nothing".to_owned(),
        (_, hold, 0, 0) => format!("hold {hold}"),
        (_, 0, deny, 0) => format!("deny {deny}"),
        (_, hold, deny, 0) => format!("hold {hold} deny {deny}"),
    }
}

/// How many of the rulings were approvals: of few, how many they were is said and no share.
fn rate(rule: &RuleView) -> String {
    match (rule.approved, rule.approved + rule.rejected) {
        (_, 0) => "-".to_owned(),
        (approved, ruled @ 1..10) => format!("{approved} of {ruled}"),
        (approved, ruled) => format!("{} %", approved * 100 / ruled),
    }
}

fn rule_document(app: &App) -> Doc {
    let mut doc = Doc::for_terminal(app.ascii);
    if let Some(error) = app.daemon.as_ref().and_then(|daemon| daemon.policy_error.as_ref()) {
        doc.warning(&visible::line(&format!("the last reload was refused: {error}")));
    }
    for warning in app.daemon.iter().flat_map(|daemon| &daemon.policy_warnings) {
        doc.warning(&visible::line(warning));
    }
    let Some(rule) = app.pages.rules.iter().flatten().nth(app.pages.row(Page::Policy)) else { return doc };
    let place = match (&rule.file, rule.line) {
        (Some(file), Some(line)) => format!("  {file}:{line}"),
        (Some(file), None) => format!("  {file}"),
        (None, _) => String::new(),
    };
    doc.fact("Rule", &format!("{}{place}", rule.rule));
    doc.fact("Policy", &rule.policy);
    let RuleView { hits, holds, approved, rejected, lapsed, .. } = rule;
    if *hits > 0 || rule.watched == 0 {
        doc.fact(
            "Did",
            &format!(
                "{} with it, {holds} held: {approved} approved, {rejected} rejected, {lapsed} ended without a ruling",
                plural(usize::try_from(*hits).unwrap_or(usize::MAX), "decision")
            ),
        );
    }
    if rule.median_ms.is_some() {
        doc.fact("Median", &format!("{} from the hold to the ruling", describe::median(rule.median_ms)));
    }
    if let Some(words) = describe::watched(rule) {
        doc.fact("Would", &words);
    }
    if let Some(last) = &rule.last {
        doc.fact("Last", &day_and_clock(last, &app.zone));
    }
    if let Some(hint) = &rule.hint {
        doc.fact("Hint", hint);
    }
    doc
}
