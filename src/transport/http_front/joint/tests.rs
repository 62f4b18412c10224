//! When a joint session begins, whose it is, and when it ends.

use super::*;
use crate::call::PrincipalKind;

fn principal(name: &str) -> Arc<Principal> {
    Arc::new(Principal::plain(name, PrincipalKind::Token, Vec::new()))
}

fn request() -> Message {
    Message::from_client(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#).unwrap()
}

#[tokio::test]
async fn there_is_one_for_a_principal_and_a_server() {
    let (joints, limits) = (Joints::default(), Limits::default());
    let get = |name: &str, server: &str| joints.get(&principal(name), server, &limits);
    let (one, first) = get("a", "stripe");
    let _link = first.unwrap();
    let (same, none) = get("a", "stripe");
    assert!(Arc::ptr_eq(&one, &same) && none.is_none());
    let (others, links): (Vec<_>, Vec<_>) = [get("b", "stripe"), get("a", "stigg")].into_iter().unzip();
    assert!(others.iter().all(|other| !Arc::ptr_eq(&one, other)) && links.iter().all(Option::is_some));
    // The same name with other scopes is not the same principal.
    let scoped = Principal { scopes: vec!["*/read".into()], ..principal("a").as_ref().clone() };
    assert!(joints.get(&Arc::new(scoped), "stripe", &limits).1.is_some());
    one.end();
    assert!(get("a", "stripe").1.is_some(), "one that has ended is replaced");
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_has_asked_for_long_and_not_before() {
    let joints = Arc::new(Joints::default());
    let (joint, link) = joints.get(&principal("a"), "stripe", &Limits::default());
    let (mut link, outbound) = link.unwrap();
    let idle = Duration::from_secs(60);
    let placed = joint.open(&request()).unwrap();
    let begun = Instant::now();
    let pump = tokio::spawn(Arc::clone(&joint).pump(Arc::clone(&joints), outbound, idle));
    tokio::time::sleep(idle * 3).await;
    assert!(joint.close(placed.number), "an open request keeps it");
    pump.await.unwrap();
    assert_eq!(begun.elapsed(), idle * 4);
    assert!(link.inbound.recv().await.is_none(), "its other end learns of it");
    assert!(lock(&joints.0).is_empty());
    assert_eq!(joint.open(&request()).unwrap_err(), NoPlace::Ended);
}

#[tokio::test]
async fn numbers_are_not_used_again() {
    let (joint, _link) = Joints::default().get(&principal("a"), "stripe", &Limits::default());
    let first = joint.open(&request()).unwrap().number;
    joint.close(first);
    assert!(joint.open(&request()).unwrap().number > first);
}
