//! Sign-ins without a person, against an authorization server of one function: what it is asked, and what it may not do.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use http::{Method, Request, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::credential::scrub::Scrubber;
use crate::credential::secret::Secret;

const SERVER: &str = "https://mcp.example/mcp";
const ISSUER: &str = "https://auth.example";

/// What stands at an address, and what a token is answered with.
struct Fake {
    documents: Vec<(String, Value)>,
    challenge: &'static str,
    token: Value,
    asked: Mutex<Vec<(Method, String, String)>>,
}

fn metadata() -> Value {
    json!({
        "issuer": ISSUER, "authorization_endpoint": format!("{ISSUER}/authorize"),
        "token_endpoint": format!("{ISSUER}/token"), "code_challenge_methods_supported": ["S256"],
    })
}

impl Fake {
    /// A server that names these, with metadata at these addresses.
    fn new(named: &[&str], metadata: &[(&str, Value)]) -> Fake {
        let server = json!({"resource": SERVER, "authorization_servers": named, "scopes_supported": ["all"]});
        let mut documents = vec![("https://mcp.example/.well-known/oauth-protected-resource/mcp".to_owned(), server)];
        documents.extend(metadata.iter().map(|(at, document)| ((*at).to_owned(), document.clone())));
        let token = json!({"access_token": "at_7Hq2mVx9Rt4Kd8Wz1Lp6", "token_type": "Bearer", "expires_in": 3600});
        Fake { documents, challenge: "Bearer", token, asked: Mutex::default() }
    }

    fn honest(metadata: Value) -> Fake {
        Fake::new(&[ISSUER], &[("https://auth.example/.well-known/oauth-authorization-server", metadata)])
    }

    fn http(self: &Arc<Fake>) -> Http {
        let me = Arc::clone(self);
        Arc::new(move |request: Request<Vec<u8>>| {
            let answer = me.answer(&request);
            Box::pin(async move { Ok(answer) })
        })
    }

    fn answer(&self, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
        let (method, address) = (request.method().clone(), request.uri().to_string());
        let body = String::from_utf8(request.body().clone()).unwrap();
        self.asked.lock().unwrap().push((method.clone(), address.clone(), body));
        let say = |status: u16, body: Vec<u8>| Response::builder().status(status).body(body).unwrap();
        let document = self.documents.iter().find(|(at, _)| *at == address && method == Method::GET);
        match (document, address.as_str()) {
            (Some((_, document)), _) => say(200, document.to_string().into_bytes()),
            (None, SERVER) => {
                let mut answer = say(401, Vec::new());
                answer.headers_mut().insert("www-authenticate", self.challenge.parse().unwrap());
                answer
            }
            (None, address) if address.ends_with("/token") => say(200, self.token.to_string().into_bytes()),
            _ => say(404, Vec::new()),
        }
    }

    /// The forms that were posted: where to, and what they say.
    fn forms(&self) -> Vec<(String, Vec<(String, String)>)> {
        let asked = self.asked.lock().unwrap();
        let forms = asked.iter().filter(|(method, address, _)| *method == Method::POST && address != SERVER);
        let pairs = |body: &str| url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        forms.map(|(_, address, body)| (address.clone(), pairs(body))).collect()
    }
}

fn settings(scopes: &[&str]) -> Settings {
    let secret = SecretCell::new("client", Secret::new("cs_registered_7Hq2mVx9Rt4Kd8Wz1Lp6".to_owned()));
    Settings {
        server: "fixture".to_owned(),
        url: Url::parse(SERVER).unwrap(),
        client: Client::Alone(Alone::Client(Known { id: "me".to_owned(), proof: Proof::Secret(secret) })),
        scopes: scopes.iter().map(ToString::to_string).collect(),
        issuer: Some(ISSUER.to_owned()),
        dpop: Dpop::Auto,
    }
}

/// Asks for a token once: what came of it.
async fn ask(settings: &Settings, fake: &Arc<Fake>) -> Result<alone::Given, Fault> {
    let alone = settings.client.alone().unwrap();
    let (http, scrubber, key) = (&fake.http(), &Scrubber::default(), &OnceLock::new());
    alone::ask(alone::Asker { settings, alone, http, scrubber, key, dpop: settings.dpop }).await
}

struct Used {
    bearer: Arc<Bearer>,
    tracker: TaskTracker,
    stop: CancellationToken,
    _state: tempfile::TempDir,
}

fn bearer(http: Http) -> Used {
    let state = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open(&state.path().join("state"), None).unwrap());
    let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
    let bearer = Bearer::new(settings(&[]), store, http, Arc::default(), tracker.clone(), stop.clone());
    Used { bearer, tracker, stop, _state: state }
}

/// Metadata that call themselves those of the issuer and stand where somebody else may write, for whoever discovers:
/// somebody who signs in, and a renewal or revocation, which know the resource.
#[tokio::test]
async fn metadata_count_where_their_issuer_publishes_them_alone() {
    let mut forged = metadata();
    forged["token_endpoint"] = json!("https://evil.example/token");
    let place = "https://auth.example/.well-known/openid-configuration";
    for named in [
        "https://evil.example/.well-known/x",
        "https://evil.example/.well-known/x/oauth-authorization-server",
        "https://auth.example/~evil/.well-known/x",
        "/.well-known/x",
    ] {
        let at = Url::parse(SERVER).unwrap().join(named).unwrap();
        let fake = Arc::new(Fake::new(&[named], &[(at.as_str(), forged.clone())]));
        let why = ask(&settings(&[]), &fake).await.err().unwrap();
        assert!(matches!(why, Fault::Elsewhere { .. }), "{named}: {why}");
        for issuer in [Some(ISSUER.to_owned()), None] {
            for resource in [None, Some(SERVER)] {
                let person = Settings { client: Client::Dynamic, issuer: issuer.clone(), ..settings(&[]) };
                let why = discovery::discover(&person, &fake.http(), resource).await.err().unwrap();
                assert!(matches!(why, Fault::Elsewhere { .. }), "{named}: {why}");
            }
        }
        assert_eq!(fake.forms(), [], "{named}");
    }
    // An address of a form that rmcp knows, and of one that it does not, where the issuer publishes.
    for named in [ISSUER, "https://auth.example/.well-known/oauth-authorization-server", place] {
        let well_known = if named == ISSUER { place } else { named };
        assert!(ask(&settings(&[]), &Arc::new(Fake::new(&[named], &[(well_known, metadata())]))).await.is_ok());
    }
}

#[tokio::test]
async fn a_page_that_names_a_resource_of_its_own_is_refused() {
    let mut forged = metadata();
    forged["authorization_endpoint"] = json!(format!("{ISSUER}/authorize?resource=https://other.example/mcp"));
    let fake = Arc::new(Fake::honest(forged));
    let why = ask(&settings(&[]), &fake).await.err().unwrap().to_string();
    assert!(why.contains("a `resource` of its own"), "{why}");
    let person = Settings { client: Client::Dynamic, issuer: None, ..settings(&[]) };
    let why = discovery::discover(&person, &fake.http(), None).await.err().unwrap().to_string();
    assert!(why.contains("a `resource` of its own"), "{why}");
    assert_eq!(fake.forms(), []);
}

#[tokio::test]
async fn a_client_of_its_own_asks_for_the_configured_scopes_and_no_others() {
    for (scopes, expected) in [(&[][..], None), (&["read", "list"], Some("read list"))] {
        let mut fake = Fake::honest(metadata());
        fake.challenge = "Bearer scope=\"read admin\"";
        let fake = Arc::new(fake);
        assert!(ask(&settings(scopes), &fake).await.is_ok());
        let forms = fake.forms();
        let [(at, form)] = &forms[..] else { panic!("{forms:?}") };
        let said = |name: &str| form.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!((at.as_str(), said("resource")), ("https://auth.example/token", Some(SERVER)));
        assert_eq!(said("scope"), expected, "{form:?}");
    }
}

#[tokio::test]
async fn an_authorization_server_without_pages_serves_clients_of_their_own() {
    for page in [None, Some(Value::Null)] {
        let mut without = metadata();
        without.as_object_mut().unwrap().remove("authorization_endpoint");
        page.into_iter().for_each(|page| without["authorization_endpoint"] = page);
        let fake = Arc::new(Fake::honest(without));
        assert!(ask(&settings(&[]), &fake).await.is_ok());
        assert_eq!(fake.forms().len(), 1);
        let person = Settings { client: Client::Dynamic, ..settings(&[]) };
        assert!(discovery::discover(&person, &fake.http(), None).await.is_err(), "a person needs one");
    }
}

#[tokio::test]
async fn a_thousand_authorization_servers_are_not_all_asked() {
    let named: Vec<String> = (0..1000).map(|n| format!("https://auth{n}.example/a")).collect();
    let fake = Arc::new(Fake::new(&named.iter().map(String::as_str).collect::<Vec<_>>(), &[]));
    let why = ask(&settings(&[]), &fake).await.err().unwrap().to_string();
    assert!(why.contains("no authorization server was found in 16 documents"), "{why}");
    let count = fake.asked.lock().unwrap().iter().filter(|(method, _, _)| *method == Method::GET).count();
    assert_eq!(count, 16);
}

/// Nobody answers.
fn silent() -> Http {
    Arc::new(|_| Box::pin(std::future::pending()))
}

#[tokio::test(start_paused = true)]
async fn a_token_is_not_waited_for_without_end() {
    let settings = settings(&[]);
    let begun = tokio::time::Instant::now();
    let (http, scrubber) = (silent(), Scrubber::default());
    let key = OnceLock::new();
    let alone = settings.client.alone().unwrap();
    let (settings, http, scrubber, key) = (&settings, &http, &scrubber, &key);
    let asked = alone::ask(alone::Asker { settings, alone, http, scrubber, key, dpop: settings.dpop });
    let why = asked.await.err().unwrap();
    assert!(matches!(&why, Fault::Failed(why) if why.contains("within 60 s")), "{why}");
    assert_eq!(begun.elapsed(), Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn a_token_is_let_go_when_the_daemon_stops() {
    let used = bearer(silent());
    used.bearer.announce();
    tokio::task::yield_now().await;
    used.stop.cancel();
    used.tracker.close();
    tokio::time::timeout(Duration::from_secs(1), used.tracker.wait()).await.expect("it is still waited for");
    let token = used.bearer.token();
    let token = tokio::time::timeout(Duration::from_secs(1), token).await.expect("it is waited for");
    assert!(matches!(token, Err(NoToken::Later(_))), "{token:?}");
}

/// Neither makes a request for a token of every call.
#[tokio::test]
async fn a_token_that_ends_at_once_or_soon_is_not_had_again_for_every_call() {
    let mut zero = Fake::honest(metadata());
    zero.token["expires_in"] = json!(0);
    let zero = Arc::new(zero);
    let used = bearer(zero.http());
    for _ in 0..3 {
        let Err(NoToken::Refused(why)) = used.bearer.token().await else { panic!("it was taken") };
        assert!(why.contains("ends at once"), "{why}");
    }
    assert_eq!(zero.forms().len(), 1);

    let mut brief = Fake::honest(metadata());
    brief.token["expires_in"] = json!(1);
    let brief = Arc::new(brief);
    let used = bearer(brief.http());
    assert!(used.bearer.token().await.is_ok());
    // The times of tokens are those of the clock, in whole seconds.
    let ended = now() + 1;
    while now() <= ended {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        let Err(NoToken::Later(why)) = used.bearer.token().await else { panic!("it was taken") };
        assert!(why.contains("gives tokens for 1 s"), "{why}");
    }
    assert_eq!(brief.forms().len(), 1);
}

#[tokio::test]
async fn tokens_are_bound_to_a_key_as_the_configuration_and_the_metadata_say() {
    let says = |algorithms: Value| {
        let mut metadata = metadata();
        metadata["dpop_signing_alg_values_supported"] = algorithms;
        metadata
    };
    let cases = [
        (Dpop::Auto, says(json!(["RS256", "ES256"])), "DPoP", Some(true)),
        (Dpop::Auto, says(json!(["ES256"])), "Bearer", Some(false)),
        (Dpop::Auto, says(json!(["RS256"])), "Bearer", Some(false)),
        (Dpop::Auto, metadata(), "DPoP", None),
        (Dpop::Off, says(json!(["ES256"])), "Bearer", Some(false)),
        (Dpop::Off, says(json!(["ES256"])), "DPoP", None),
        (Dpop::Required, says(json!(["ES256"])), "dpop", Some(true)),
        (Dpop::Required, says(json!(["ES256"])), "Bearer", None),
    ];
    for (dpop, metadata, kind, bound) in cases {
        let mut fake = Fake::honest(metadata);
        fake.token["token_type"] = json!(kind);
        let given = ask(&Settings { dpop, ..settings(&[]) }, &Arc::new(fake)).await;
        assert_eq!(given.ok().map(|given| given.token.is_proved()), bound, "{dpop:?} {kind}");
    }
    let silent = Arc::new(Fake::honest(metadata()));
    let why = ask(&Settings { dpop: Dpop::Required, ..settings(&[]) }, &silent).await.err().unwrap();
    assert!(matches!(why, Fault::NoDpop) && silent.forms().is_empty(), "{why}");
}

/// A server points at another of the issuer's documents, which says nothing of DPoP.
#[tokio::test]
async fn a_server_does_not_choose_among_the_metadata_of_a_configured_issuer() {
    let (oauth, openid) = (
        "https://auth.example/.well-known/oauth-authorization-server",
        "https://auth.example/.well-known/openid-configuration",
    );
    let mut whole = metadata();
    whole["dpop_signing_alg_values_supported"] = json!(["ES256"]);
    let offers = async |fake: Fake, issuer: Option<&str>| {
        let settings = Settings { issuer: issuer.map(str::to_owned), ..settings(&[]) };
        let found = discovery::discover(&settings, &Arc::new(fake).http(), None).await;
        found.map(|found| settings.dpop.shows(&found.metadata).unwrap())
    };
    let both = [(oauth, whole), (openid, metadata())];
    assert!(offers(Fake::new(&[openid], &both), Some(ISSUER)).await.unwrap());
    assert!(!offers(Fake::new(&[openid], &both), None).await.unwrap());
    // Where there is but one, it counts; and one of somebody else in its place ends it.
    assert!(!offers(Fake::new(&[openid], &both[1..]), Some(ISSUER)).await.unwrap());
    let mut strange = metadata();
    strange["issuer"] = json!("https://other.example");
    let fake = Fake::new(&[openid], &[(oauth, strange), (openid, metadata())]);
    assert!(matches!(offers(fake, Some(ISSUER)).await, Err(Fault::Pinned { .. })));
}
