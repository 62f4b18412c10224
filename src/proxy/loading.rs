//! Policies that are loaded while the daemon runs, and what is said of them: names in budgets, limits and scopes that no
//! server has, each of which is a rule for nothing. `policy check` and `doctor` ask the same function.
//!
//! Invariant: what is said of a name keeps no policy from being loaded.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{POLICY_POLL, policy_settings};
use crate::call::ServerFacts;
use crate::catalog::Catalog;
use crate::config::Config;
use crate::control::server::Control;
use crate::pins;
use crate::policy::author::{misnamed, misnamed_scopes};
use crate::policy::{Problem, Settings, Severity};

/// Names that operators are shown; the rest is counted.
const SHOWN: usize = 20;

/// Where names may stand, and what there is to name.
pub(crate) struct Names {
    pub settings: Settings,
    pub servers: Vec<(Arc<ServerFacts>, Arc<Catalog>)>,
    /// With a configuration: its file, the scopes in it, and the file with what servers have listed.
    pub config: Option<(PathBuf, BTreeSet<String>, PathBuf)>,
    /// Loading, and saying what came of it.
    pub turn: tokio::sync::Mutex<()>,
}

impl Names {
    pub fn of(config: &Config, servers: Vec<(Arc<ServerFacts>, Arc<Catalog>)>) -> Names {
        let principals = config.principals.iter().map(|entry| &entry.principal);
        let scopes = principals.flat_map(|principal| {
            let conditional = principal.conditional_scopes.iter().map(|entry| &entry.scope);
            principal.scopes.iter().chain(conditional).cloned()
        });
        let file = config.path.clone().unwrap_or_default();
        let config_of = Some((file, scopes.collect(), config.state_dir.join("pins.db")));
        Names { settings: policy_settings(config), servers, config: config_of, turn: tokio::sync::Mutex::default() }
    }

    /// Names in data and scopes that nothing has. What a server has listed counts as well as its catalog.
    pub fn misspelt(&self) -> Vec<Problem> {
        let listed = self.config.as_ref().and_then(|(_, _, pins)| pins::names(pins).ok()).unwrap_or_default();
        let of = |(facts, catalog): &(Arc<ServerFacts>, Arc<Catalog>)| {
            let listed = listed.iter().filter(|(server, _)| *server == facts.name).map(|(_, tool)| tool.clone());
            let known = catalog.known(facts.vendor.as_deref()).into_iter();
            let names: BTreeSet<String> = known.flat_map(|known| [known.name, known.tool]).chain(listed).collect();
            (facts.name.clone(), names)
        };
        let names: Vec<(String, BTreeSet<String>)> = self.servers.iter().map(of).collect();
        let known = |server: Option<&str>| {
            let wanted = names.iter().filter(|(name, _)| server.is_none_or(|server| name == server));
            let wanted: Vec<&BTreeSet<String>> = wanted.map(|(_, names)| names).collect();
            // Of a server without a catalog anything may come.
            let open = wanted.is_empty() || wanted.iter().any(|names| names.is_empty());
            (!open).then(|| wanted.into_iter().flatten().cloned().collect())
        };
        let mut found = misnamed(&self.settings, known).unwrap_or_else(|errors| errors.problems().to_vec());
        if let Some((file, scopes, _)) = &self.config {
            // Only for the places: without the text they are those of the file as a whole.
            let text = std::fs::read_to_string(file).unwrap_or_default();
            found.extend(misnamed_scopes(&file.display().to_string(), &text, scopes, known));
        }
        found
    }
}

/// Loads the policies again, and says what came of it: of one load after the other, so that the last word is of the last.
pub(super) async fn reload(control: &Control, names: &Arc<Names>) -> Result<String, String> {
    let _turn = names.turn.lock().await;
    let loaded = control.gate.reload().await;
    match &loaded {
        Ok(version) => {
            tracing::info!(version, "policy loaded");
            warn_of(control, names).await;
        }
        Err(error) => {
            tracing::error!("the new policy is refused, the old one stays in force");
            // A line of the log is a line.
            error.lines().for_each(|line| tracing::error!("{line}"));
        }
    }
    control.status.changed.send_replace(());
    loaded
}

/// Says in the log, and to operators until the next load, which names in what was loaded nothing has. What a server lists
/// later is not asked again.
pub(super) async fn warn_of(control: &Control, names: &Arc<Names>) {
    let names = Arc::clone(names);
    let found = tokio::task::spawn_blocking(move || names.misspelt()).await.unwrap_or_default();
    let mut lines = Vec::new();
    for problem in &found {
        let line = said(problem);
        match problem.severity {
            Severity::Error => tracing::error!("{line}"),
            Severity::Warning => tracing::warn!("{line}"),
        }
        lines.push(line);
    }
    if let Some(more) = lines.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        lines.truncate(SHOWN);
        lines.push(format!("and {more} more: `countersign policy check` says which"));
    }
    control.status.warn(lines);
}

fn said(problem: &Problem) -> String {
    let Problem { file, line, column, message, help, .. } = problem;
    let place = if *line > 0 { format!("{file}:{line}:{column}") } else { file.clone() };
    format!("{place}: {message}; {help}")
}

/// Loads the policies again when their files change.
pub(super) async fn watch(control: Arc<Control>, names: Arc<Names>, stop: CancellationToken) {
    let look = || {
        let control = Arc::clone(&control);
        tokio::task::spawn_blocking(move || control.gate.policy().fingerprint())
    };
    let mut seen = look().await.unwrap_or_default();
    loop {
        tokio::select! {
            () = tokio::time::sleep(POLICY_POLL) => {}
            () = stop.cancelled() => return,
        }
        let Ok(now) = look().await else { continue };
        if now != seen {
            seen = now;
            // The result is logged, recorded and shown; the watcher goes on either way.
            let _ = reload(&control, &names).await;
        }
    }
}
