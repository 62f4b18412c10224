//! An issuer that answers as the test says, on a clock that the test moves.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A key set with one Ed25519 key of this kid.
fn jwks(kid: &str) -> Vec<u8> {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"{kid}","x":"{x}"}}]}}"#).into_bytes()
}

struct Source {
    keys: Keys,
    asked: Arc<AtomicUsize>,
    answer: Arc<Mutex<Result<Vec<u8>, String>>>,
}

fn source(max_age: Option<Duration>) -> Source {
    let asked = Arc::new(AtomicUsize::new(0));
    let answer = Arc::new(Mutex::new(Ok(jwks("a"))));
    let (count, now) = (Arc::clone(&asked), Arc::clone(&answer));
    let fetch: Fetch = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let body = lock(&now).clone();
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            Ok(Fetched { body: body?, max_age })
        })
    });
    Source { keys: Keys::of_issuer("acme", fetch), asked, answer }
}

impl Source {
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether keys are at hand that have one of this kid.
    async fn has(&self, kid: &str) -> bool {
        let text = format!("{:?}", Some(kid.to_owned()));
        let wanted = |keys: &KeySet| format!("{keys:?}").contains(&text);
        self.keys.with(wanted).await.is_some_and(|keys| wanted(&keys))
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_does_not_flood_the_issuer() {
    let source = source(None);
    assert!(source.has("a").await);
    for second in 0..61 {
        for kid in 0..50 {
            assert!(!source.has(&format!("{second}-{kid}")).await);
        }
        assert!(source.has("a").await, "whoever has a known key is not kept waiting");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    assert!(source.asked() <= 4, "{}", source.asked());
    // A new key is found with the next question.
    *lock(&source.answer) = Ok(jwks("b"));
    tokio::time::advance(PAUSE).await;
    assert!(source.has("b").await && !source.has("a").await);
}

#[tokio::test(start_paused = true)]
async fn many_at_once_ask_once() {
    let source = Arc::new(source(None));
    let all = (0..100).map(|_| async { source.has("a").await });
    assert!(futures_util::future::join_all(all).await.into_iter().all(|has| has));
    assert_eq!(source.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_when_they_are_old_and_end_when_they_cannot_be() {
    let source = source(Some(Duration::from_secs(600)));
    assert!(source.has("a").await);
    tokio::time::advance(Duration::from_secs(599)).await;
    assert!(source.has("a").await);
    assert_eq!(source.asked(), 1);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(source.has("a").await);
    assert_eq!(source.asked(), 2);
    // The issuer is down, or says nonsense: its keys are good for a while.
    *lock(&source.answer) = Err("down".to_owned());
    tokio::time::advance(Duration::from_secs(600) + KEPT - Duration::from_secs(40)).await;
    assert!(source.has("a").await);
    *lock(&source.answer) = Ok(b"<html>".to_vec());
    tokio::time::advance(PAUSE).await;
    assert!(source.has("a").await);
    *lock(&source.answer) = Ok(br#"{"keys":[]}"#.to_vec());
    tokio::time::advance(PAUSE).await;
    assert!(!source.has("a").await);
    *lock(&source.answer) = Ok(jwks("c"));
    tokio::time::advance(PAUSE).await;
    assert!(source.has("c").await);
}

/// An issuer that takes its keys back has done so at once, whatever they were good for before.
#[tokio::test(start_paused = true)]
async fn a_set_without_keys_takes_the_place_of_one_with_keys() {
    let source = source(Some(SHORTEST));
    for none in [r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","kid":"a","k":"AA"}]}"#] {
        *lock(&source.answer) = Ok(jwks("a"));
        tokio::time::advance(2 * SHORTEST).await;
        assert!(source.has("a").await);
        *lock(&source.answer) = Ok(none.as_bytes().to_vec());
        tokio::time::advance(2 * SHORTEST).await;
        assert!(!source.has("a").await, "{none}");
        assert!(source.keys.load().await.unwrap_err().contains("no key that can be used"));
    }
}

/// Whatever an issuer says about how long.
#[tokio::test(start_paused = true)]
async fn the_time_that_keys_are_kept_has_bounds() {
    for (said, kept) in [(Duration::ZERO, SHORTEST), (Duration::MAX, LONGEST)] {
        let source = source(Some(said));
        assert!(source.has("a").await);
        tokio::time::advance(kept - Duration::from_secs(1)).await;
        assert!(source.has("a").await);
        assert_eq!(source.asked(), 1, "{said:?}");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(source.has("a").await);
        assert_eq!(source.asked(), 2, "{said:?}");
    }
}

#[tokio::test]
async fn a_file_is_read_again_when_it_changes_and_not_when_others_can_write_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::write(&path, jwks("first")).unwrap();
    mode(0o644);
    let source = Source { keys: Keys::in_file("acme", path.clone()), ..source(None) };
    source.keys.load().await.unwrap();
    assert!(source.has("first").await);
    let later = || async {
        let mut state = lock(&source.keys.state);
        state.asked = None;
        state.current = state.current.map(|_| Instant::now());
    };
    std::fs::write(&path, jwks("the second")).unwrap();
    later().await;
    assert!(source.has("the second").await && !source.has("first").await);
    // Nonsense does not take the place of keys.
    std::fs::write(&path, "{").unwrap();
    later().await;
    assert!(source.has("the second").await);
    assert!(source.keys.load().await.is_err());
    std::fs::write(&path, jwks("others")).unwrap();
    mode(0o666);
    assert!(source.keys.load().await.unwrap_err().contains("chmod"));
    later().await;
    assert!(!source.has("others").await && !source.has("the second").await);
    mode(0o644);
    later().await;
    assert!(source.has("others").await);
    // A file that is not there has no keys, and neither has one that says so.
    for none in [None, Some(r#"{"keys":[]}"#)] {
        std::fs::write(&path, jwks("back")).unwrap();
        later().await;
        assert!(source.has("back").await);
        match none {
            None => std::fs::remove_file(&path).unwrap(),
            Some(text) => std::fs::write(&path, text).unwrap(),
        }
        later().await;
        assert!(!source.has("back").await, "{none:?}");
    }
}
