//! Of signing in: as an operator, by itself, and by tokens of issuers.

use super::*;

/// An issuer, from 13:12 on, that no principal is for.
fn issuers(members: &str) -> String {
    and(&format!("issuers: {{ a: {{ {members} }} }}"))
}

/// The same, complete, with more.
fn issued(more: &str) -> String {
    issuers(&format!("issuer: \"https://a/\", jwks: {{ url: \"https://a/\" }}, {more}"))
}

/// With an issuer, and the one principal in another way.
fn jwt(how: &str) -> String {
    let more =
        "issuers: { acme: { issuer: \"https://a/\", jwks: { url: \"https://a/\" } } }\nlisten: { http: 127.0.0.1:1 }\n";
    with("match: { token: { secret: token } }", how) + more
}

/// With a sign-in.
fn oauth(members: &str) -> String {
    upstream(&format!("{{ http: {{ url: \"https://a/mcp\", auth: {{ oauth: {{ {members} }} }} }} }}"))
}

const ALONE: &str = "grant: client_credentials, client_id: a";

const GOOD_ALONE: &str =
    "grant: client_credentials, client_id: a, issuer: \"https://b/\", client_secret: { secret: key }";

#[test]
fn mistakes_of_signing_in_are_found_where_they_are() {
    let cases: Vec<Case> = vec![
        // Signing in.
        (upstream("{ http: { url: \"https://a/mcp?api_key=abc\" } }"), ("C0112", 10, 30)),
        (upstream("{ http: { url: \"https://a/mcp\", query: { k: abc } } }"), ("C0112", 10, 59)),
        (upstream("{ http: { url: \"https://a/mcp?k=1\", query: { k: { secret: key } } } }"), ("C0109", 10, 60)),
        (upstream("{ http: { url: \"https://a/mcp\", query: { \"a&b\": { secret: key } } } }"), ("C0105", 10, 56)),
        (upstream("{ http: { url: \"https://a/mcp\", auth: bearer } }"), ("C0106", 10, 53)),
        (upstream("{ http: { url: \"https://a/mcp\", auth: {} } }"), ("C0102", 10, 53)),
        (upstream("{ http: { url: \"https://a/mcp\", auth: { jwt: x } } }"), ("C0101", 10, 55)),
        (upstream("{ http: { url: \"https://a/mcp\", auth: { oauth: { scope: x } } } }"), ("C0101", 10, 64)),
        (upstream("{ http: { url: \"https://a/mcp\", auth: { oauth: { scopes: [a b] } } } }"), ("C0105", 10, 73)),
        (upstream("{ http: { url: \"https://a/mcp\", auth: { oauth: { scopes: [a, a] } } } }"), ("C0109", 10, 76)),
        (
            upstream("{ http: { url: \"https://a/mcp\", auth: { oauth: { client_secret: { secret: key } } } } }"),
            ("C0110", 10, 79),
        ),
        (
            upstream("{ http: { url: \"https://a/mcp\", auth: { oauth: { client_id: a, client_secret: b } } } }"),
            ("C0112", 10, 93),
        ),
        (
            upstream(
                "{ http: { url: \"https://a/mcp\", auth: { oauth: { client_id: a, client_metadata_url: \"https://a/b\" } } } }",
            ),
            ("C0110", 10, 99),
        ),
        (
            upstream("{ http: { url: \"https://a/mcp\", auth: { oauth: { client_metadata_url: \"https://a/\" } } } }"),
            ("C0105", 10, 85),
        ),
        (
            upstream("{ http: { url: \"https://a/mcp\", auth: { oauth: { issuer: \"http://a.example/\" } } } }"),
            ("C0113", 10, 72),
        ),
        (upstream("{ http: { url: \"https://a/mcp\", auth: { oauth: { callback_port: 80 } } } }"), ("C0104", 10, 79)),
        // By itself.
        (oauth("grant: password"), ("C0106", 10, 71)),
        (oauth("private_key: { secret: key }"), ("C0110", 10, 77)),
        (oauth("dpop: always"), ("C0106", 10, 70)),
        (oauth("key_id: k"), ("C0110", 10, 72)),
        (oauth("assertion: { secret: key }"), ("C0110", 10, 75)),
        (oauth("grant: jwt_bearer, issuer: \"https://b/\""), ("C0102", 10, 62)),
        (oauth("grant: jwt_bearer, assertion: { secret: key }"), ("C0102", 10, 62)),
        (oauth("grant: jwt_bearer, issuer: \"https://b/\", assertion: { secret: key }"), ("C0110", 5, 3)),
        (oauth("grant: jwt_bearer, issuer: \"https://b/\", assertion: { secret: key }, key_id: a"), ("C0110", 10, 141)),
        (
            oauth("grant: id_jag, issuer: \"https://b/\", client_id: a, client_secret: { secret: key }"),
            ("C0102", 10, 62),
        ),
        (
            oauth(
                "grant: id_jag, issuer: \"https://b/\", client_id: a, client_secret: { secret: key }, idp: { issuer: \"https://c/\", client_id: b, id_token: { secret: person } }",
            )
            .replace("  token:", "  person: { env: PERSON }\n  token:"),
            ("C0110", 6, 3),
        ),
        (
            oauth(
                "grant: id_jag, issuer: \"https://b/\", client_id: a, client_secret: { secret: key }, idp: { issuer: \"https://c/\", client_id: b }",
            ),
            ("C0102", 10, 152),
        ),
        (
            oauth(
                "grant: id_jag, issuer: \"https://b/\", client_id: a, client_secret: { secret: key }, idp: { issuer: \"https://c/\", client_id: b, refresh_token: { secret: key }, key_id: k }",
            ),
            ("C0110", 10, 230),
        ),
        (
            oauth(
                "grant: id_jag, issuer: \"https://b/\", client_id: a, client_secret: { secret: key }, idp: { issuer: \"https://c/\", client_id: b, refresh_token: { secret: key }, id_token: { secret: token } }",
            ),
            ("C0110", 10, 222),
        ),
        (
            oauth(
                "grant: id_jag, issuer: \"https://b/\", client_id: a, client_secret: { secret: key }, idp: { client_id: b, refresh_token: { secret: key } }",
            ),
            ("C0102", 10, 152),
        ),
        (
            oauth(
                "grant: id_jag, issuer: \"https://b/\", client_id: a, client_secret: { secret: key }, idp: { issuer: \"http://c.example/\", client_id: b, refresh_token: { secret: key } }",
            ),
            ("C0113", 10, 162),
        ),
        (
            oauth(
                "grant: id_jag, issuer: \"https://b/\", client_id: a, client_secret: { secret: key }, assertion: { secret: key }, idp: { issuer: \"https://c/\", client_id: b, refresh_token: { secret: key } }",
            ),
            ("C0110", 10, 158),
        ),
        (oauth("idp: { issuer: \"https://c/\", client_id: b, refresh_token: { secret: key } }"), ("C0110", 10, 69)),
        (oauth(&format!("{ALONE}, issuer: \"https://b/\"")), ("C0102", 10, 62)),
        (oauth(&format!("{ALONE}, client_secret: {{ secret: key }}")), ("C0102", 10, 62)),
        (oauth("grant: client_credentials, issuer: \"https://b/\", client_secret: { secret: key }"), ("C0102", 10, 62)),
        (oauth(&format!("{GOOD_ALONE}, private_key: {{ secret: key }}")), ("C0110", 10, 159)),
        (oauth(&format!("{GOOD_ALONE}, key_id: k")), ("C0110", 10, 167)),
        (oauth(&format!("{GOOD_ALONE}, callback_port: 4000")), ("C0110", 10, 174)),
        (oauth(&format!("{GOOD_ALONE}, client_metadata_url: \"https://a/b\"")), ("C0110", 10, 180)),
        (oauth(&format!("{ALONE}, issuer: \"https://b/\", private_key: {{ secret: none }}")), ("C0107", 10, 150)),
        (
            upstream("{ http: { url: \"https://a/mcp\", headers: { Authorization: { secret: key } }, auth: oauth } }"),
            ("C0110", 10, 98),
        ),
        (and("oauth: {}"), ("C0102", 13, 8)),
        (and("oauth: { key: abc }"), ("C0112", 13, 15)),
        // Tokens of issuers, and tokens by their hash.
        (issuers("issuer: nowhere, jwks: { url: \"https://a/\" }"), ("C0105", 13, 25)),
        (issuers("issuer: \"http://auth.example/\", jwks: { url: \"https://a/\" }"), ("C0113", 13, 25)),
        (issuers("jwks: { url: \"https://a/\" }"), ("C0102", 13, 15)),
        (issuers("issuer: \"https://a/\""), ("C0102", 13, 15)),
        (issuers("issuer: \"https://a/\", jwks: { url: \"http://example.com/\" }"), ("C0113", 13, 52)),
        (issuers("issuer: \"https://a/\", jwks: { url: \"https://a/\", file: a }"), ("C0110", 13, 66)),
        (issuers("issuer: \"https://a/\", jwks: {}"), ("C0102", 13, 45)),
        (issued("secret: key"), ("C0111", 13, 68)),
        (issued("algorithms: [HS256]"), ("C0106", 13, 81)),
        (issued("algorithms: [none]"), ("C0106", 13, 81)),
        (issued("algorithms: []"), ("C0102", 13, 80)),
        (issued("algorithms: [RS256, RS256]"), ("C0109", 13, 88)),
        (issued("leeway: 1h"), ("C0104", 13, 76)),
        (issued("audience: []"), ("C0105", 13, 78)),
        (issued("audience: 7"), ("C0103", 13, 78)),
        (issued("claims: [email, email]"), ("C0109", 13, 84)),
        (issued("claims: [\"a b\"]"), ("C0105", 13, 77)),
        (issued("scopes_from: scope"), ("C0103", 13, 81)),
        (issued("scopes_from: {}"), ("C0102", 13, 81)),
        (issued("scopes_from: { claim: scope, prefix: a, map: { b: [] } }"), ("C0110", 13, 113)),
        (issued("scopes_from: { claim: scope, prefix: \"a b\" }"), ("C0105", 13, 105)),
        (issued("scopes_from: { claim: scope, map: {} }"), ("C0105", 13, 102)),
        (issued("scopes_from: { claim: scope, map: { b: [nothing/read] } }"), ("C0107", 13, 108)),
        (issued("scopes_from: { claim: scope, map: { b: [openid] } }"), ("C0105", 13, 108)),
        (
            and(
                "issuers: { acme: { issuer: \"https://a/\", jwks: { url: \"https://a/\" } } }\nlisten: { http: 127.0.0.1:1 }",
            ),
            ("C0102", 13, 12),
        ),
        (jwt("match: { jwt: { issuer: acme } }").replace("listen:", "#"), ("C0102", 13, 10)),
        (jwt("match: { jwt: { issuer: acm } }"), ("C0107", 12, 44)),
        (
            jwt(
                "match: { jwt: { issuer: acme } }, scopes: [] }\n  - { name: b, match: { jwt: { issuer: acme, claims: { sub: b } } }",
            ),
            ("C0110", 13, 23),
        ),
        (jwt("match: { jwt: {} }"), ("C0102", 12, 34)),
        (jwt("match: { jwt: { issuer: acme, claims: {} } }"), ("C0105", 12, 58)),
        (jwt("match: { jwt: { issuer: acme, claims: { sub: [] } } }"), ("C0104", 12, 65)),
        (jwt("match: { jwt: { issuer: acme, claims: { sub: 7 } } }"), ("C0103", 12, 65)),
        (jwt("match: { jwt: { issuer: acme }, uid: 1 }"), ("C0110", 12, 52)),
        (with("match: { token: { secret: token } }", "match: { token: { sha256: abc } }"), ("C0105", 12, 46)),
        (with("match: { token: { secret: token } }", "match: { token: {} }"), ("C0102", 12, 36)),
        (
            with("match: { token: { secret: token } }", "match: { token: { secret: token, sha256: abc } }"),
            ("C0110", 12, 53),
        ),
        (and("listen: { http: { address: 127.0.0.1:1, public_url: \"https://a/b\" } }"), ("C0105", 13, 53)),
        (and("listen: { http: { address: 127.0.0.1:1, public_url: \"http://a\" } }"), ("C0113", 13, 53)),
        (and("listen: { http: { address: 127.0.0.1:1, public_url: \"https://A\" } }"), ("C0105", 13, 53)),
    ];
    found(&cases);
}
