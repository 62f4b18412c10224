//! The names of all keys, and what a misplaced one was meant for.

use crate::call::meant;

/// All keys of fixed names. The documentation has each; a key that stands in the wrong mapping is found here.
pub const KEYS: &[&str] = &[
    "version",
    "state_dir",
    "runtime_dir",
    "listen",
    "listen.http",
    "listen.http.address",
    "listen.http.allowed_hosts",
    "listen.http.allowed_origins",
    "listen.http.behind_proxy",
    "listen.http.public_url",
    "secrets",
    "secrets.<name>.env",
    "secrets.<name>.file",
    "secrets.<name>.command",
    "servers",
    "servers.<name>.vendor",
    "servers.<name>.environment",
    "servers.<name>.catalog",
    "servers.<name>.upstream",
    "servers.<name>.upstream.stdio",
    "servers.<name>.upstream.stdio.command",
    "servers.<name>.upstream.stdio.args",
    "servers.<name>.upstream.stdio.env",
    "servers.<name>.upstream.stdio.inherit_env",
    "servers.<name>.upstream.stdio.cwd",
    "servers.<name>.upstream.stdio.sandbox",
    "servers.<name>.upstream.stdio.sandbox.read",
    "servers.<name>.upstream.stdio.sandbox.write",
    "servers.<name>.upstream.stdio.sandbox.network",
    "servers.<name>.upstream.stdio.sandbox.unix_sockets",
    "servers.<name>.upstream.stdio.sandbox.strict",
    "servers.<name>.upstream.stdio.sandbox.limits",
    "servers.<name>.upstream.stdio.sandbox.limits.open_files",
    "servers.<name>.upstream.stdio.sandbox.limits.processes",
    "servers.<name>.upstream.stdio.sandbox.limits.memory",
    "servers.<name>.upstream.stdio.sandbox.limits.file_size",
    "servers.<name>.upstream.stdio.gate",
    "servers.<name>.upstream.stdio.gate.url",
    "servers.<name>.upstream.stdio.gate.headers",
    "servers.<name>.upstream.stdio.gate.url_env",
    "servers.<name>.upstream.stdio.gate.key_env",
    "servers.<name>.upstream.stdio.gate.trust_code",
    "servers.<name>.upstream.stdio.gate.allow_plain_http",
    "servers.<name>.upstream.http",
    "servers.<name>.upstream.http.url",
    "servers.<name>.upstream.http.headers",
    "servers.<name>.upstream.http.allow_plain_http",
    "servers.<name>.upstream.http.auth",
    "servers.<name>.upstream.http.auth.oauth",
    "servers.<name>.upstream.http.auth.oauth.client_id",
    "servers.<name>.upstream.http.auth.oauth.client_secret",
    "servers.<name>.upstream.http.auth.oauth.client_metadata_url",
    "servers.<name>.upstream.http.auth.oauth.scopes",
    "servers.<name>.upstream.http.auth.oauth.issuer",
    "servers.<name>.upstream.http.auth.oauth.callback_port",
    "issuers",
    "issuers.<name>.issuer",
    "issuers.<name>.audience",
    "issuers.<name>.jwks",
    "issuers.<name>.jwks.url",
    "issuers.<name>.jwks.file",
    "issuers.<name>.algorithms",
    "issuers.<name>.leeway",
    "issuers.<name>.claims",
    "issuers.<name>.scopes_from",
    "issuers.<name>.scopes_from.claim",
    "issuers.<name>.scopes_from.prefix",
    "issuers.<name>.scopes_from.map",
    "principals",
    "principals[].name",
    "principals[].match",
    "principals[].match.token",
    "principals[].match.token.sha256",
    "principals[].match.jwt",
    "principals[].match.jwt.issuer",
    "principals[].match.jwt.claims",
    "principals[].match.uid",
    "principals[].scopes",
    "principals[].scopes[].scope",
    "principals[].scopes[].where",
    "principals[].scopes[].amount",
    "principals[].scopes[].environments",
    "principals[].scopes[].hours",
    "principals[].scopes[].until",
    "principals[].claims",
    "policy",
    "policy.builtin",
    "policy.paths",
    "policy.modes",
    "policy.time_limit_ms",
    "holds",
    "holds.ttl",
    "holds.no_console",
    "holds.no_console.grace",
    "holds.take_back",
    "holds.max_pending",
    "holds.max_per_principal",
    "holds.prompts_per_minute",
    "holds.batches",
    "holds.progress_every",
    "holds.tasks",
    "holds.tasks_after",
    "holds.budgets",
    "holds.budgets.default",
    "holds.budgets.with_progress",
    "holds.budgets.clients",
    "operators",
    "operators.allowed_signers",
    "operators.unsigned_rulings",
    "audit",
    "audit.store",
    "audit.sync",
    "limits",
    "limits.message_bytes",
    "limits.answer_bytes",
    "limits.held_bytes",
    "limits.header_bytes",
    "limits.header_timeout",
    "limits.body_timeout",
    "limits.connect_timeout",
    "limits.answer_timeout",
    "limits.session_idle",
    "limits.resume_window",
    "limits.drain",
    "limits.sessions",
    "limits.connections",
    "limits.in_flight",
    "limits.queue",
    "notify",
    "notify[].command",
    "notify[].inherit_env",
    "notify[].desktop",
    "notify[].webhook",
    "notify[].webhook.url",
    "notify[].webhook.secret",
    "notify[].webhook.include",
    "notify[].after",
    "notify[].quiet_hours",
    "notify[].quiet_hours.hours",
    "notify[].quiet_hours.zone",
    "notify[].quiet_hours.high",
    "oauth",
    "oauth.key",
];

/// The full name of a key that was written in another mapping than its own, or with its mapping's name before it.
pub fn elsewhere(path: &str, word: &str) -> Option<&'static str> {
    let joined = |key: &str| key.replace(['.', '-'], "_");
    let last = |key: &'static str| key.rsplit('.').next().unwrap_or(key);
    let others = || KEYS.iter().copied().filter(|key| *key != path);
    if let Some(exact) = others().find(|key| last(key) == word) {
        return Some(exact);
    }
    let whole: Vec<(String, &'static str)> = others().map(|key| (joined(key), key)).collect();
    let whole_meant = meant(word, whole.iter().map(|(joined, _)| joined.as_str()))
        .and_then(|meant| whole.iter().find(|(joined, _)| joined == meant).map(|(_, key)| *key));
    whole_meant.or_else(|| {
        let close = meant(word, others().map(last).filter(|last| last.len() > 4))?;
        others().find(|key| last(key) == close)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_in_the_wrong_place_is_found_in_its_own() {
        for (path, word, meant) in [
            ("", "hold_tll", Some("holds.ttl")),
            ("", "ttl", Some("holds.ttl")),
            ("listen", "behind_proxy", Some("listen.http.behind_proxy")),
            ("", "max_pendng", Some("holds.max_pending")),
            ("", "defualt_decision", None),
        ] {
            assert_eq!(elsewhere(path, word), meant, "{word}");
        }
    }
}
