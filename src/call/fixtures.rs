//! What a call stands in, for the tests of every room: plain values, of which a test changes those that it is about.

use std::sync::Arc;

use super::*;

/// A client of one principal without scopes, on stdio, that calls a tool which nobody has listed, in production.
pub fn context(tool: &str, class: Class) -> CallContext {
    CallContext {
        session: "s-1".to_owned(),
        principal: principal("agent", &[]),
        client: Arc::new(ClientInfo::silent(Transport::Stdio)),
        server: server("billing"),
        environment: environment("production"),
        tool: ToolFacts {
            name: tool.to_owned(),
            annotations: None,
            definition: None,
            pin: Pin::Unknown,
            schema: SchemaCheck::None,
        },
        operation: Operation::bare(tool, class),
        bound: Bound::default(),
        confirmations: Vec::new(),
        continues: None,
        history: None,
    }
}

pub fn principal(name: &str, scopes: &[&str]) -> Arc<Principal> {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    Arc::new(Principal::plain(name, PrincipalKind::Uid, scopes))
}

pub fn server(name: &str) -> Arc<ServerFacts> {
    Arc::new(ServerFacts { name: name.to_owned(), vendor: None, catalog: None })
}

pub fn environment(name: &str) -> Arc<Environment> {
    Arc::new(Environment::declared(name))
}

/// A rule that said something.
pub fn hit(rule: &str) -> RuleHit {
    let (reason, policy, file) = ("r".to_owned(), "p".to_owned(), "f".to_owned());
    RuleHit { rule: rule.to_owned(), reason, policy, file, line: 1, details: None, would: None }
}
