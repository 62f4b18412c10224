//! How servers are signed in to.

use super::*;

#[test]
fn a_server_that_countersign_signs_in_to_by_itself() {
    let oauth = |members: &str| {
        let http = format!("{{ http: {{ url: \"https://a/mcp\", auth: {{ oauth: {{ {members} }} }} }} }}");
        let config = good(&upstream(&http));
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
         refresh_token: { secret: key } }",
    );
    let idp = jag.idp.as_ref().unwrap();
    assert_eq!((jag.grant, idp.issuer.as_str(), idp.client_id.as_str()), (Grant::IdJag, "https://c/", "d"));
    assert_eq!((idp.key_id.as_deref(), &idp.subject), (Some("k"), &Subject::RefreshToken("key".to_owned())));
    assert_eq!(jag.private_keys().collect::<Vec<_>>(), ["key", "key"]);
    assert_eq!(names, ["key", "key", "key"]);
    assert_eq!(jag.short_lived(), None);
}
