//! How servers are signed in to.

use super::*;

#[test]
fn a_server_that_countersign_signs_in_to_by_itself() {
    let oauth = |members: &str| {
        let http = format!("{{ http: {{ url: \"https://a/mcp\", auth: {{ oauth: {{ {members} }} }} }} }}");
        let config = good(&upstream(&http).replace("secrets:", "secrets:\n  person: { file: /run/person }"));
        let names: Vec<String> = config.servers["billing"].upstream.secrets().map(str::to_owned).collect();
        let oauth = config.sign_ins().next().unwrap().2.clone();
        (oauth, names)
    };
    let members = "grant: client_credentials, client_id: a, issuer: \"https://b/\"";
    let (by_key, names) = oauth(&format!("{members}, private_key: {{ secret: key }}, key_id: k1, scopes: [read]"));
    assert_eq!((by_key.grant, by_key.private_key.as_deref()), (Grant::Client, Some("key")));
    assert_eq!((by_key.key_id.as_deref(), names), (Some("k1"), vec!["key".to_owned()]));
    let (by_secret, _) = oauth(&format!("{members}, client_secret: {{ secret: key }}"));
    assert_eq!(by_secret.client_secret.as_deref(), Some("key"));
    assert_eq!(oauth("grant: authorization_code").0, OAuth::default());
    let (jag, names) = oauth(
        "grant: id_jag, client_id: a, issuer: \"https://b/\", private_key: { secret: key }, \
         idp: { issuer: \"https://c/\", client_id: d, private_key: { secret: key }, key_id: k, \
         refresh_token: { secret: person } }",
    );
    let idp = jag.idp.as_ref().unwrap();
    assert_eq!((jag.grant, idp.issuer.as_str(), idp.client_id.as_str()), (Grant::IdJag, "https://c/", "d"));
    assert_eq!((idp.key_id.as_deref(), &idp.subject), (Some("k"), &Subject::RefreshToken("person".to_owned())));
    assert_eq!(jag.private_keys().collect::<Vec<_>>(), ["key", "key"]);
    assert_eq!(names, ["key", "key", "person"]);
    assert_eq!(jag.short_lived(), None);
}

/// What is shown to one party of a sign-in is not shown to another.
#[test]
fn a_secret_is_shown_to_one_party_of_a_sign_in() {
    let found = |own: &str, idp: &str| {
        let oauth =
            format!("grant: id_jag, client_id: a, issuer: \"https://b/\", {own}, idp: {{ client_id: d, {idp} }}");
        let http = format!("{{ http: {{ url: \"https://a/mcp\", auth: {{ oauth: {{ {oauth} }} }} }} }}");
        let text = upstream(&http).replace("secrets:", "secrets:\n  person: { file: /p }\n  other: { file: /o }");
        check(&text).map_or_else(|_| places(&text).iter().map(|(code, ..)| *code).collect(), |_| Vec::new())
    };
    let (issuer, person) = ("issuer: \"https://c/\"", "id_token: { secret: person }");
    for (own, idp) in [
        ("client_secret: { secret: key }", format!("{issuer}, client_secret: {{ secret: other }}, {person}")),
        ("private_key: { secret: key }", format!("{issuer}, private_key: {{ secret: key }}, {person}")),
    ] {
        assert_eq!(found(own, &idp), Vec::<&str>::new(), "{own} {idp}");
    }
    for (own, idp) in [
        ("client_secret: { secret: key }", format!("{issuer}, client_secret: {{ secret: key }}, {person}")),
        ("client_secret: { secret: key }", format!("{issuer}, private_key: {{ secret: key }}, {person}")),
        ("private_key: { secret: key }", format!("{issuer}, client_secret: {{ secret: key }}, {person}")),
        ("client_secret: { secret: person }", format!("{issuer}, {person}")),
        ("private_key: { secret: key }", format!("{issuer}, refresh_token: {{ secret: key }}")),
        ("private_key: { secret: key }", format!("{issuer}, private_key: {{ secret: person }}, {person}")),
        // The authorization server itself.
        ("client_secret: { secret: key }", format!("issuer: \"https://b/\", {person}")),
    ] {
        assert_eq!(found(own, &idp), ["C0110"], "{own} {idp}");
    }
}
