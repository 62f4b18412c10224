//! The inside of a rule: its bodies, their statements and the names that a body asks for. For the author's tools; the
//! loader needs none of it. No judgement.

use serde_json::Value;

use super::{Rule, chain};

/// Bytes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    /// Of a node that has one.
    pub(super) fn read(node: &Value) -> Option<Span> {
        Span::of(node.get("span").unwrap_or(node))
    }

    /// The node is one.
    pub(super) fn of(span: &Value) -> Option<Span> {
        let at = |name: &str| usize::try_from(span.get(name)?.as_u64()?).ok();
        Some(Span { start: at("start")?, end: at("end")? })
    }

    /// The tree leaves the quotes out of a string, and so out of whatever begins or ends with one.
    fn with_quotes(self, text: &str) -> Span {
        let quote = |at: usize| matches!(text.as_bytes().get(at), Some(b'"' | b'`'));
        let start = self.start.checked_sub(1).filter(|at| quote(*at)).unwrap_or(self.start);
        Span { start, end: self.end + usize::from(quote(self.end)) }
    }

    /// Without the first word and what separates it.
    fn after(self, text: &str, word: &str) -> Option<Span> {
        let all = text.get(self.start..self.end)?;
        let rest = all.get(all.find(word)? + word.len()..)?;
        Some(Span { start: self.end - rest.trim_start().len(), end: self.end })
    }
}

/// One `if { ... }` of a rule, or an `else`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Body {
    pub is_else: bool,
    /// Of an `else` with a value of its own.
    pub value: Option<Span>,
    pub statements: Vec<Statement>,
    /// It has an `=`, which may give a name its value for the lines before it: these cannot be looked at alone.
    pub unifies: bool,
}

/// One line of a body, mostly. All of them have to hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Statement {
    pub span: Span,
    /// The names that it reads, each with its whole path.
    pub reads: Vec<Span>,
    /// Where it asks that a reference is one of some constant strings.
    pub asks: Option<Asks>,
}

/// `REFERENCE == "a"` or `REFERENCE in {"a", "b"}`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asks {
    /// As it is written: imports are not followed.
    pub path: Vec<String>,
    /// Each string and its place.
    pub values: Vec<(String, usize)>,
}

/// Fills in what head and bodies of a rule say. `None` where the tree has another form than it should.
pub(super) fn read(node: &Value, text: &str, rule: &mut Rule) -> Option<()> {
    lines(node, rule);
    made(node).into_iter().for_each(|value| collect(value, text, &mut rule.value_reads));
    if let Some(default) = node.get("Default") {
        rule.span = Span::read(default)?.with_quotes(text);
        rule.value = rule.span.after(text, "=");
        rule.is_default = true;
        return Some(());
    }
    let spec = node.get("Spec")?;
    rule.span = Span::read(spec)?.with_quotes(text);
    let head = spec.get("head")?;
    rule.value = match head.get("Set") {
        Some(set) => Span::read(set)?.with_quotes(text).after(text, " contains"),
        None => assigned(head.get("Compr").or_else(|| head.get("Func"))?, text),
    };
    for body in spec.get("bodies")?.as_array()? {
        let statements = body.get("query")?.get("stmts")?.as_array()?;
        rule.bodies.push(Body {
            is_else: body.get("is_else")?.as_bool()?,
            value: assigned(body, text),
            statements: statements.iter().map(|node| statement(node, text)).collect::<Option<_>>()?,
            unifies: statements.iter().any(unifies),
        });
    }
    Some(())
}

fn unifies(node: &Value) -> bool {
    let assign = node.pointer("/literal/Expr/expr/AssignExpr");
    assign.and_then(|assign| assign.get("op")).is_some_and(|op| op != "ColEq")
}

/// What stands behind `:=` or `=`.
fn assigned(node: &Value, text: &str) -> Option<Span> {
    let assign = node.get("assign").filter(|assign| !assign.is_null())?;
    Span::read(assign)?.with_quotes(text).after(text, "=")
}

fn statement(node: &Value, text: &str) -> Option<Statement> {
    let mut reads = Vec::new();
    let literal = node.get("literal")?;
    collect(literal, text, &mut reads);
    reads.dedup();
    let asks = literal.get("Expr").and_then(|expression| asks(expression.get("expr")?));
    Some(Statement { span: Span::read(node)?.with_quotes(text), reads, asks })
}

fn asks(expression: &Value) -> Option<Asks> {
    let string = |node: &Value| {
        let node = node.get("String").or_else(|| node.get("RawString"))?;
        Some((node.get("value")?.as_str()?.to_owned(), Span::read(node)?.start))
    };
    let path =
        |node: &Value| chain(node).filter(|chain| chain.constant && chain.root.is_none()).map(|chain| chain.path);
    if let Some(equal) = expression.get("BoolExpr").filter(|node| node.get("op").is_some_and(|op| op == "Eq")) {
        let (left, right) = (equal.get("lhs")?, equal.get("rhs")?);
        let (reference, value) = if string(right).is_some() { (left, right) } else { (right, left) };
        return Some(Asks { path: path(reference)?, values: vec![string(value)?] });
    }
    let member = expression.get("Membership").filter(|node| node.get("key").is_none_or(Value::is_null))?;
    let among = member.get("collection")?;
    let items = among.get("Set").or_else(|| among.get("Array"))?.get("items")?.as_array()?;
    Some(Asks { path: path(member.get("value")?)?, values: items.iter().map(string).collect::<Option<_>>()? })
}

/// Outermost references. What a comprehension or an `every` binds has no value outside of it.
fn collect(node: &Value, text: &str, reads: &mut Vec<Span>) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| collect(item, text, reads)),
        Value::Object(members) => {
            for (kind, inner) in members {
                match kind.as_str() {
                    "Var" | "RefDot" | "RefBrack" if inner.get("span").is_some() => {
                        reads.extend(Span::read(inner).map(|span| span.with_quotes(text)));
                    }
                    "ArrayCompr" | "SetCompr" | "ObjectCompr" => {}
                    "Every" => inner.get("domain").into_iter().for_each(|domain| collect(domain, text, reads)),
                    "Call" => inner.get("params").into_iter().for_each(|params| collect(params, text, reads)),
                    "SomeVars" => {}
                    "SomeIn" => inner.get("collection").into_iter().for_each(|among| collect(among, text, reads)),
                    "AssignExpr" if inner.get("op").is_some_and(|op| op == "ColEq") => {
                        inner.get("rhs").into_iter().for_each(|value| collect(value, text, reads));
                    }
                    _ => collect(inner, text, reads),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The lines of a rule that the interpreter counts: those with an expression in a body or in what the head makes, and
/// not the value of an `else`.
fn lines(node: &Value, rule: &mut Rule) {
    made(node).into_iter().for_each(|value| expressions(value, rule));
    for body in node.pointer("/Spec/bodies").and_then(Value::as_array).into_iter().flatten() {
        for statement in body.pointer("/query/stmts").and_then(Value::as_array).into_iter().flatten() {
            statement.get("literal").into_iter().for_each(|literal| expressions(literal, rule));
        }
    }
}

/// What the head of a rule makes.
fn made(node: &Value) -> Option<&Value> {
    if let Some(default) = node.get("Default") {
        return default.get("value");
    }
    let head = node.get("Spec")?.get("head")?;
    match head.get("Set") {
        Some(set) => set.get("key"),
        None => head.get("Compr").or_else(|| head.get("Func"))?.get("assign")?.get("value"),
    }
}

fn expressions(node: &Value, rule: &mut Rule) {
    match node {
        Value::Array(items) => items.iter().for_each(|item| expressions(item, rule)),
        Value::Object(members) => {
            for inner in members.values() {
                let line = inner.get("eidx").and_then(|_| inner.get("span")?.get("line")?.as_u64());
                rule.lines.extend(line.and_then(|line| usize::try_from(line).ok()));
                expressions(inner, rule);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
