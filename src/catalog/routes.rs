//! Which operation a request to the vendor's API is: from its method and path, by the templates of the catalog.
//!
//! Invariant: the most exact template names the operation. Where a server that does not tell upper from lower case would
//! take the request for another one too, that can only make it worse. What fits no template is of class unknown.

use std::collections::HashMap;

use serde_json::json;

use crate::call::{Class, Operation, ToolCall};
use crate::json::{Json, JsonText, Kind, Rules};

use super::Catalog;
use super::facts::{Facts, both, word};
use super::file::Body;
use super::pointer::Arguments;

/// What a request is named that the catalog does not know: never an operation's name.
const UNKNOWN: &str = "api/request";
/// As much of a client's text stands in a sentence of ours.
const MAX_QUOTED: usize = 120;

/// The templates of a catalog.
#[derive(Clone, Default, Debug)]
pub struct Routes(HashMap<String, Vec<Route>>);

#[derive(Clone, Debug)]
struct Route {
    parts: Vec<Part>,
    operation: String,
}

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Parameter(String),
}

/// A request that fits templates: the operation of the most exact one, what stands for its parameters, and operations
/// that a careless reader could take it for.
struct Found<'a> {
    operation: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    others: Vec<&'a str>,
}

impl Routes {
    /// `route` is `METHOD /path/{parameter}`.
    pub fn add(&mut self, route: &str, operation: &str) {
        let Some((method, path)) = route.split_once(' ') else { return };
        let part = |part: &str| match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(name) => Part::Parameter(name.to_owned()),
            None => Part::Literal(part.to_owned()),
        };
        let parts = path.trim_start_matches('/').split('/').map(part).collect();
        self.0.entry(method.to_owned()).or_default().push(Route { parts, operation: operation.to_owned() });
    }

    /// The method, the template of the path and the operation of each.
    pub fn all(&self) -> impl Iterator<Item = (&str, String, &str)> {
        let all = self.0.iter().flat_map(|(method, routes)| routes.iter().map(move |route| (method, route)));
        all.map(|(method, route)| {
            let parts = route.parts.iter().map(|part| match part {
                Part::Literal(literal) => format!("/{literal}"),
                Part::Parameter(name) => format!("/{{{name}}}"),
            });
            (method.as_str(), parts.collect(), route.operation.as_str())
        })
    }

    /// The operation whose template differs from this one in the names of parameters alone; nothing where several do.
    pub fn alike(&self, method: &str, template: &str) -> Option<&str> {
        let mut other = Routes::default();
        other.add(&format!("{method} {template}"), "");
        let wanted = other.0.values().flatten().next()?;
        let mut same = self.0.get(method)?.iter().filter(|route| route.is_alike(wanted));
        same.next().filter(|_| same.next().is_none()).map(|route| route.operation.as_str())
    }

    fn find<'a>(&'a self, method: &str, path: &'a [String]) -> Option<Found<'a>> {
        let candidates = self.0.get(method)?.iter().filter(|route| route.fits(path, str::eq_ignore_ascii_case));
        let (exact, others): (Vec<_>, Vec<_>) = candidates.partition(|route| route.fits(path, str::eq));
        // A literal counts before a parameter, from the left.
        let best = exact.iter().min_by_key(|route| (route.shape(), &route.operation))?;
        let parameters = best.parts.iter().zip(path).filter_map(|(part, value)| match part {
            Part::Parameter(name) => Some((name.as_str(), value.as_str())),
            Part::Literal(_) => None,
        });
        // Two templates of one form are one route to their server, whatever their parameters are called.
        let same = |route: &&Route| route.shape() == best.shape() && !std::ptr::eq(*route, *best);
        let same = exact.iter().copied().filter(same);
        let others = others.into_iter().chain(same).map(|route| route.operation.as_str()).collect();
        Some(Found { operation: &best.operation, parameters: parameters.collect(), others })
    }
}

impl Route {
    fn fits(&self, path: &[String], same: fn(&str, &str) -> bool) -> bool {
        let fits = |(part, said): (&Part, &String)| match part {
            Part::Literal(literal) => same(literal, said),
            Part::Parameter(_) => true,
        };
        self.parts.len() == path.len() && self.parts.iter().zip(path).all(fits)
    }

    fn is_alike(&self, other: &Route) -> bool {
        let alike = |pair: (&Part, &Part)| match pair {
            (Part::Literal(one), Part::Literal(other)) => one == other,
            (Part::Parameter(_), Part::Parameter(_)) => true,
            (Part::Literal(_), Part::Parameter(_)) | (Part::Parameter(_), Part::Literal(_)) => false,
        };
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(alike)
    }

    fn shape(&self) -> Vec<bool> {
        self.parts.iter().map(|part| matches!(part, Part::Parameter(_))).collect()
    }
}

impl Catalog {
    /// What a request to the vendor's API does. Parameters of its path, its query and its body count together.
    pub(super) fn requested(&self, call: &ToolCall) -> Operation {
        let request = call.arguments().view();
        let text = |name: &str| request.get(name).and_then(Json::as_str).unwrap_or_default();
        let (method, path) = (text("method"), text("path"));
        let path: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let unknown = |why: String| Operation {
            targets: vec![call.tool().to_owned()],
            effect: Some(why),
            ..Operation::bare(UNKNOWN, Class::Unknown)
        };
        let Some(found) = self.routes_by_path.find(&method, &path) else {
            return unknown("a request that the catalog does not know".to_owned());
        };
        let Some(facts) = self.operations.get(found.operation) else {
            return unknown(format!("a request of {}, of which nothing is known", found.operation));
        };
        let members: serde_json::Map<_, _> =
            found.parameters.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        let Ok(parameters) = JsonText::of(&members) else {
            return unknown("a request whose path cannot be read".to_owned());
        };
        // Elsewhere the body may be all that counts: there nothing in a query is a number within some limit.
        let counts = matches!(&*method, "GET" | "HEAD" | "DELETE");
        let query = request.get("query").map(|query| if counts { plain(query) } else { JsonText::owned(query) });
        // Only a form says so.
        let form = request.get("headers").and_then(|headers| headers.get("content-type")).is_some();
        let kind = if form { Body::Form } else { Body::Json };
        let fits = kind == self.body;
        // What the API does not read as we do says nothing.
        let body = request.get("body").filter(|_| fits);
        let body = body.map(|body| if form { plain(body) } else { JsonText::owned(body) });
        let said = [Some(parameters.view()), query.as_ref().map(JsonText::view), body.as_ref().map(JsonText::view)];
        let arguments = Arguments::all(said.into_iter().flatten());
        let mut operation = facts.describe_inside(found.operation, &[], &arguments);
        operation.environment = both(self.environment.read(&arguments), operation.environment);
        let worst = found.others.iter().filter_map(|name| self.operations.get(*name)).map(Facts::worst).max();
        if let Some(worst) = worst.filter(|worst| *worst > operation.class) {
            operation.class = worst;
            operation.unmeasured = true;
        }
        if !fits && request.get("body").is_some() {
            let (said, read) = (kind.as_str(), self.body.as_str());
            operation.make_unknown(format!("the body is {said}, and what this API reads is {read}"));
        } else if arguments.odd().is_some() {
            operation.make_unknown("the body is no object");
        } else if let Some(stray) = self.stray(found.operation, request) {
            operation.make_unknown(format!("the request carries {stray}, which it is not known to take"));
        }
        operation
    }

    /// Something in the query or the body that is no argument of the operation, where its arguments are known.
    fn stray(&self, operation: &str, request: Json<'_>) -> Option<String> {
        let takes = self.arguments.get(operation)?;
        // `body` stands for whatever a body may hold.
        let any_body = takes.iter().any(|name| name == "body");
        let places = [request.get("query"), request.get("body").filter(|_| !any_body)];
        let mut names = places.into_iter().flatten().flat_map(Json::members).map(|(name, _)| word(name));
        names.find(|name| !takes.contains(name)).map(|name| name.chars().take(MAX_QUOTED).collect())
    }
}

/// What a query or a form says: its texts that are plain numbers or booleans are these, whatever else is a text. Else
/// no amount in a form would be one; and one that is spelled oddly stays a text, which no rule takes for a number.
fn plain(value: Json<'_>) -> JsonText {
    let mut out = String::with_capacity(value.text().len());
    spell(value, &mut out);
    // It is the same value with some quotes less.
    JsonText::parse(out, Rules::CLIENT).unwrap_or_else(|_| JsonText::owned(value))
}

fn spell(value: Json<'_>, out: &mut String) {
    match value.kind() {
        Kind::Object => {
            let mut separator = '{';
            for (name, value) in value.members() {
                out.push(separator);
                out.push_str(name.text());
                out.push(':');
                spell(value, out);
                separator = ',';
            }
            out.push_str(if separator == '{' { "{}" } else { "}" });
        }
        Kind::Array => {
            let mut separator = '[';
            for item in value.items() {
                out.push(separator);
                spell(item, out);
                separator = ',';
            }
            out.push_str(if separator == '[' { "[]" } else { "]" });
        }
        Kind::String => match value.as_str().filter(|text| is_plain(text)) {
            Some(text) => out.push_str(&text),
            None => out.push_str(value.text()),
        },
        Kind::Number | Kind::Bool | Kind::Null => out.push_str(value.text()),
    }
}

/// Only what every reader takes for the same number: digits, perhaps with a sign and a point.
fn is_plain(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let digits = unsigned.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    matches!(text, "true" | "false") || (digits && JsonText::parse(text, Rules::CLIENT).is_ok())
}

/// A part of a path that was read strictly before: every encoding in it is whole, and the text is UTF-8.
fn decoded(part: &str) -> String {
    let mut plain = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match digits.filter(|_| *byte == b'%') {
            Some(encoded) => {
                plain.push(encoded);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{CallId, Decided};

    fn of(vendor: &str, method: &str, path: &str, rest: &str) -> Operation {
        let text = format!(r#"{{"method":"{method}","path":"{path}"{rest}}}"#);
        let arguments = JsonText::parse(text, Rules::CLIENT).unwrap();
        let (params, message, id) = (arguments.clone(), arguments.clone(), CallId::random().unwrap());
        let call = ToolCall::new(id, Decided::ApiRequest, format!("{method} {path}"), arguments, params, message);
        Catalog::builtin(Some(vendor)).unwrap().operation(&call)
    }

    #[test]
    fn a_request_is_the_operation_of_its_route() {
        for (method, path, name, class, targets) in [
            ("GET", "/api/v1/customers/cus_1", "v1.customers.retrieve", Class::Read, ""),
            ("POST", "/api/v1/subscriptions/s%40x/cancel", "v1.subscriptions.cancel", Class::Destructive, "s@x"),
            ("POST", "/api/v1/customers/import", "v1.customers.import", Class::Destructive, ""),
            ("DELETE", "/api/v1/plans/p/entitlements/e", "v1.plans.entitlements.delete", Class::Destructive, "p e"),
        ] {
            let operation = of("stigg", method, path, "");
            assert_eq!((operation.name.as_str(), operation.class), (name, class), "{method} {path}");
            assert_eq!(operation.targets.join(" "), targets);
        }
        let gate = of("statsig", "DELETE", "/console/v1/gates/g1", "");
        assert_eq!((gate.name.as_str(), gate.class), ("DELETE /console/v1/gates/{id}", Class::Destructive));
    }

    #[test]
    fn what_the_catalog_does_not_know_is_unknown() {
        for (method, path) in [
            ("POST", "/graphql"),
            ("PUT", "/api/v1/customers/cus_1"),
            ("GET", "/api/v1/customers/cus_1/"),
            ("GET", "/API/v1/customers"),
            ("GET", "/v1/customers"),
            ("HEAD", "/api/v1/customers"),
        ] {
            let operation = of("stigg", method, path, "");
            assert_eq!((operation.name.as_str(), operation.class), ("api/request", Class::Unknown), "{method} {path}");
        }
        assert_eq!(of("stripe", "POST", "/v2/core/accounts", "").class, Class::Unknown);
    }

    #[test]
    fn everything_that_a_request_says_counts_together() {
        let twice = of("stigg", "PATCH", "/api/v1/customers/one", r#","body":{"id":"two"}"#);
        assert_eq!((twice.targets.join(" ").as_str(), twice.class), ("one two", Class::Write));
        let more = of("stigg", "PATCH", "/api/v1/subscriptions/s", r#","body":{"addons":[{"id":"a","quantity":2}]}"#);
        assert_eq!(
            (more.class, more.effect.as_deref()),
            (Class::Financial, Some("changes what a customer pays regularly"))
        );
        let ends = of("stigg", "PATCH", "/api/v1/subscriptions/s", r#","body":{"cancellationDate":"2026-01-01"}"#);
        assert_eq!(ends.class, Class::Destructive);
        let hidden = of("stigg", "PATCH", "/api/v1/subscriptions/s", r#","query":{"cancellationDate":"2026-01-01"}"#);
        assert_eq!(hidden.class, Class::Destructive);
        let grant =
            r#","body":{"customerId":"c","currencyId":"u","amount":5,"cost":{"amount":10.50,"currency":"usd"}}"#;
        let grant = of("stigg", "POST", "/api/v1/credits/grants", grant);
        assert_eq!(grant.money.unwrap().amount.as_deref(), Some("10.50"));
        let elsewhere = of("stigg", "GET", "/api/v1/customers", r#","query":{"X-ENVIRONMENT-ID":"env-1"}"#);
        assert_eq!(elsewhere.environment.unwrap().environments, ["env-1"]);
    }

    const FORM: &str = r#","headers":{"content-type":"application/x-www-form-urlencoded"},"body":"#;

    #[test]
    fn a_number_in_a_form_is_one_where_nobody_reads_it_otherwise() {
        let form = |path: &str, body: &str| of("stripe", "POST", path, &format!("{FORM}{body}"));
        for (said, read) in [
            ("500", "500"),
            ("0", "0"),
            ("-5", "-5"),
            ("5.00", "5.00"),
            ("9007199254740993", "9007199254740993"),
            ("1e3", "\"1e3\""),
            ("05", "\"05\""),
            (" 5", "\" 5\""),
            ("+5", "\"+5\""),
            ("5.", "\"5.\""),
            ("0x10", "\"0x10\""),
            ("1,000", "\"1,000\""),
            ("NaN", "\"NaN\""),
            ("--5", "\"--5\""),
            ("-", "\"-\""),
            ("", "\"\""),
            ("٥", "\"٥\""),
            ("99999999999999999999999", "\"99999999999999999999999\""),
        ] {
            let refund = form("/v1/refunds", &format!(r#"{{"amount":"{said}","charge":"ch_1"}}"#));
            let money = refund.money.unwrap();
            assert_eq!((refund.name.as_str(), money.amount.as_deref()), ("PostRefunds", Some(read)), "{said}");
            assert_eq!(refund.targets, ["ch_1"]);
        }
        // Two amounts are none.
        let twice = of("stripe", "POST", "/v1/refunds", &format!(r#","query":{{"amount":"9"}}{FORM}{{"amount":"1"}}"#));
        assert_eq!(twice.money.unwrap().amount.as_deref(), Some(r#"["9",1]"#));
        let list = form("/v1/refunds", r#"{"amount":["1","900"]}"#);
        assert_eq!(list.money.unwrap().amount.as_deref(), Some(r"[1,900]"));
        let cost = r#","body":{"amount":5,"cost":{"amount":"500","currency":"usd"}}"#;
        let text = of("stigg", "POST", "/api/v1/credits/grants", cost);
        assert_eq!(text.money.unwrap().amount.as_deref(), Some("\"500\""), "in JSON a text is no number");
    }

    /// A vendor may leave a query aside where there should be a body, and reads one kind of body alone.
    #[test]
    fn what_the_api_may_not_read_makes_nothing_harmless() {
        let alone = of("stripe", "POST", "/v1/refunds", r#","query":{"charge":"ch_1","amount":"1"}"#);
        assert_eq!(alone.money.unwrap().amount.as_deref(), Some("\"1\""), "no number");
        for body in [r#"{"charge":"ch_1","amount":1}"#, r#"{"charge":"ch_1","amount":"1"}"#, "{}", "null", "[]"] {
            let json = of("stripe", "POST", "/v1/refunds", &format!(r#","body":{body}"#));
            assert_eq!((json.class, json.name.as_str()), (Class::Unknown, "PostRefunds"), "{body}");
            assert!(json.effect.as_deref().unwrap().contains("the body is JSON"), "{json:?}");
            assert!(json.money.is_none_or(|money| money.amount.is_none()), "{body}");
        }
        let form = of("stigg", "PATCH", "/api/v1/customers/c", &format!(r#"{FORM}{{"name":"x"}}"#));
        assert_eq!(form.class, Class::Unknown);
        assert!(form.effect.as_deref().unwrap().contains("reads is JSON"), "{form:?}");

        let dispute = |rest: &str| of("stripe", "POST", "/v1/disputes/dp_1", rest);
        let harmless = dispute(&format!(r#"{FORM}{{"submit":"false"}}"#));
        let worse = dispute("");
        assert!(worse.class > harmless.class, "{worse:?}");
        for rest in [
            r#","query":{"submit":"false"}"#.to_owned(),
            format!(r#","query":{{"submit":"false"}}{FORM}{{"evidence":{{"x":"y"}}}}"#),
            format!(r#","query":{{"submit":"false"}}{FORM}{{"submit":"true"}}"#),
        ] {
            assert_eq!(dispute(&rest).class, worse.class, "{rest}");
        }
        let more = dispute(r#","body":{"submit":false}"#);
        assert_eq!(more.class, Class::Unknown);
    }

    #[test]
    fn conditions_hold_for_forms_as_for_json() {
        let class = |body: &str| of("stripe", "POST", "/v1/subscriptions/sub_1", &format!("{FORM}{body}")).class;
        assert_eq!(class(r#"{"cancel_at_period_end":"false","items":[{"quantity":"2"}]}"#), Class::Financial);
        for ends in ["true", "1", "False", "", "yes"] {
            assert_eq!(class(&format!(r#"{{"cancel_at_period_end":"{ends}"}}"#)), Class::Destructive, "{ends:?}");
        }
        assert_eq!(class(r#"{"items":[{"deleted":"true"}]}"#), Class::Destructive);
        let update = r#"{"items":[{"quantity":"3"},{"quantity":"40"}]}"#;
        let update = of("stripe", "POST", "/v1/subscriptions/sub_1", &format!("{FORM}{update}"));
        assert_eq!(update.magnitude.unwrap().value.as_deref(), Some("40"));
        let hidden = of("stripe", "POST", "/v1/subscriptions/s", r#","query":{"items":{"7":{"quantity":"40"}}}"#);
        assert_eq!(hidden.magnitude.unwrap().value.as_deref(), Some(r#"[{"7":{"quantity":"40"}}]"#));
        let elsewhere = of("stripe", "POST", "/v1/payment_intents", &format!(r#"{FORM}{{"on_behalf_of":"acct_2"}}"#));
        assert_eq!(elsewhere.environment.unwrap().accounts, ["acct_2"]);
    }

    #[test]
    fn what_an_operation_does_not_take_makes_it_unknown() {
        for rest in [r#","query":{"cascade":"true"}"#, r#","body":{"newField":1}"#, r#","body":[1]"#, r#","body":"x""#]
        {
            let operation = of("stigg", "PATCH", "/api/v1/customers/c", rest);
            assert_eq!(operation.class, Class::Unknown, "{rest}");
            assert!(operation.effect.is_some());
        }
        let any = of("stigg", "PATCH", "/api/v1/plans/p/entitlements/e", r#","body":{"type":"FEATURE"}"#);
        assert_eq!(any.class, Class::Write);
    }

    #[test]
    fn a_reader_without_case_can_only_make_it_worse() {
        let mut routes = Routes::default();
        routes.add("POST /v1/{id}", "update");
        routes.add("POST /v1/erase", "erase");
        let path = |last: &str| vec!["v1".to_owned(), last.to_owned()];
        let found = |last: &str| {
            let path = path(last);
            let found = routes.find("POST", &path).unwrap();
            (found.operation.to_owned(), found.others.join(" "))
        };
        assert_eq!(found("x"), ("update".to_owned(), String::new()));
        assert_eq!(found("erase"), ("erase".to_owned(), String::new()));
        assert_eq!(found("ERASE"), ("update".to_owned(), "erase".to_owned()));
        routes.add("POST /v1/{name}", "other");
        let path = path("x");
        let one = routes.find("POST", &path).unwrap();
        assert_eq!((one.operation, one.others.join(" ").as_str()), ("other", "update"), "one route by two names");
    }
}
