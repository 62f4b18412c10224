//! What the configuration says, as the parts of the proxy take it.

use crate::config::{self, Config};
use crate::credential::trust;
use crate::policy;

/// What the configuration says about policy, as the engine takes it.
pub(crate) fn policy_settings(config: &Config) -> policy::Settings {
    let mode = |mode: &config::Mode| match mode {
        config::Mode::Enforce => policy::Mode::Enforce,
        config::Mode::Warn => policy::Mode::Warn,
        config::Mode::Shadow => policy::Mode::Shadow,
    };
    policy::Settings {
        builtin: config.policy.builtin.clone(),
        paths: config.policy.paths.clone(),
        environments: config.servers.values().map(|server| server.environment.clone()).collect(),
        modes: config.policy.modes.iter().map(|(name, how)| (name.clone(), mode(how))).collect(),
        time_limit: config.policy.time_limit,
        unsafe_default_allow: config.policy.unsafe_default_allow,
        trusted: |path| trust::check_tree(path).map_err(|error| (error.to_string(), error.help())),
        worker: None,
        servers: Some(config.servers.keys().cloned().collect()),
    }
}
