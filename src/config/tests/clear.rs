//! Keys that stand in the file in the clear: no report repeats them, whatever it is about.

use super::*;

#[track_caller]
fn unseen(text: &str, key: &str) {
    let report = report(text);
    for shown in [report.render(false), report.render(true), format!("{report:?}")] {
        assert!(!shown.contains(key), "{text}\n{shown}");
    }
    assert!(text.contains(key) && report.render(false).contains("-->"), "{text}");
}

#[test]
fn a_key_that_is_refused_is_not_shown() {
    let k = "kAb9-Zq";
    for text in [
        // Keys in the clear.
        upstream(&format!("{{ stdio: {{ command: npx, env: {{ K: sk_live_{k} }} }} }}")),
        upstream(&format!("{{ stdio: {{ command: npx, env: {{ K: whsec_{k} }} }} }}")),
        upstream(&format!("{{ stdio: {{ command: npx, env: {{ MY_API_KEY: {k} }} }} }}")),
        upstream(&format!("{{ stdio: {{ command: npx, env: {{ PGPASSWORD: \"{k}\" }} }} }}")),
        upstream(&format!("{{ stdio: {{ command: npx, args: [--api-key={k}] }} }}")),
        upstream(&format!("{{ stdio: {{ command: npx, args: [--api-key, {k}] }} }}")),
        upstream(&format!(
            "{{ http: {{ url: \"https://a\", headers: {{ X-Team: console-0123456789{k}abcdefghij }} }} }}"
        )),
        upstream(&format!("{{ http: {{ url: \"https://a\", headers: {{ Authorization: {k} }} }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://a\", headers: {{ Authorization: |\n        {k} }} }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://a/?key=sk_live_{k}\" }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://a/?api_key={k}\" }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://a\", query: {{ k: {k} }} }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://u:{k}@a/\" }} }}")),
        oauth_secret(k),
        and(&format!("oauth: {{ key: {k} }}")),
        and(&format!("notify: [ {{ webhook: {{ url: \"https://u:{k}@example.com/\", secret: key }} }} ]")),
        with("match: { token: { secret: token } }", &format!("match: {{ token: {k} }}")),
        with("{ env: KEY }", k),
        // What is wrong with it is something else, or stands beside it.
        upstream(&format!("{{ http: {{ url: \"https://u:{k} @a/\" }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://u:{k}@a:x/\" }} }}")),
        upstream(&format!("{{ http: {{ url: \"http://a.example/?api_key={k}\" }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://a\", headers: {{ Authorization: \"{k}é\" }} }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://a\", headers: {{ Cookie: a, cookie: {k} }} }} }}")),
        upstream(&format!(
            "{{ stdio: {{ command: npx, env: {{ API_TOKEN: {k} }} }}, http: {{ url: \"https://a\" }} }}"
        )),
        upstream(&format!("{{ stdoi: {{ command: npx, env: {{ API_TOKEN: {k} }} }} }}")),
        // What cannot be read.
        upstream(&format!("{{ http: {{ url: \"https://a\", headers: {{ Authorization: {k}: b: c }} }} }}")),
        upstream(&format!("{{ http: {{ url: \"https://a\", headers: {{ \"Proxy-Authorization\": {k} }}")),
        upstream(&format!("{{ http: {{ url: https://u:{k}@a: b }} }}")),
        and(&format!("\tapi_key: {k}")),
    ] {
        unseen(&text, k);
    }
}

fn oauth_secret(key: &str) -> String {
    upstream(&format!(
        "{{ http: {{ url: \"https://a/mcp\", auth: {{ oauth: {{ client_id: a, client_secret: {key} }} }} }} }}"
    ))
}

#[test]
fn what_only_names_a_key_is_shown() {
    let text = upstream("{ stdio: { command: npx, env: { API_KEY: { secret: nokey } } } }");
    assert!(report(&text).render(false).contains("API_KEY: { secret: nokey }"), "{}", report(&text));
    let text = with("  token: { env: TOKEN }", "  token: stored\n  key: { env: K }");
    assert!(report(&text).render(false).contains("key: { env: K }"), "{}", report(&text));
}
