//! The bodies of a rule as an order of lines: which variables each line reads, and how it could give them a value. For
//! the check of that order. No judgement.

use serde_json::Value;

use super::{Span, chain};

/// A variable, or the name of a rule or an import, where it stands.
pub type Name = Span;

/// A body of a rule, of an `else`, of a comprehension or of an `every`, with what is made of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Query {
    pub lines: Vec<Line>,
    pub output: Part,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    pub span: Span,
    pub kind: Kind,
    /// Of its `with`.
    pub with: Part,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `some x, y`
    Some(Vec<Name>),
    /// `some k, v in among`
    SomeIn {
        each: Part,
        among: Part,
    },
    /// `every k, v in among { ... }`
    Every {
        each: Vec<Name>,
        among: Part,
        query: Query,
    },
    Not(Vec<Equation>),
    Holds(Vec<Equation>),
}

/// What has to be the same. Lists of one length are taken apart; an expression alone has nothing on the right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Equation {
    pub left: Part,
    pub right: Option<Part>,
    /// `:=`
    pub declares: bool,
    /// The last argument of a call that stands alone: the name of the function, and how many arguments there are.
    pub output: Option<(String, usize, Part)>,
}

/// An expression.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Part {
    /// All but those inside of comprehensions.
    pub names: Vec<Name>,
    /// Those that a value would be unpacked into, as in `x`, `[x, _]` and `{"k": x}`.
    pub pattern: Vec<Name>,
    /// Those that stand for a key of such an object.
    pub keys: Vec<Name>,
    /// The objects of a pattern: where each stands, and what stands for its members, `_` among it.
    pub objects: Vec<(usize, Vec<Name>)>,
    /// The same of indexes.
    pub index_objects: Vec<(usize, Vec<Name>)>,
    /// Those that may stand for every index: in `a.b[x]`, with the names of what is looked into.
    pub indexes: Vec<(Name, Vec<Name>)>,
    pub comprehensions: Vec<Query>,
}

/// The arguments of a function, and each body with what the head makes of it. `None` where the tree has another form than
/// it should.
pub(super) fn read(node: &Value) -> Option<(Part, Vec<Query>)> {
    let mut arguments = Part::default();
    if let Some(default) = node.get("Default") {
        arguments.expressions(default.get("args")?)?;
        return Some((arguments, vec![Query { lines: Vec::new(), output: part(default.get("value")?)? }]));
    }
    let spec = node.get("Spec")?;
    let head = spec.get("head")?;
    let mut made = Part::default();
    if let Some(set) = head.get("Set") {
        made.add(set.get("refr")?, false)?;
        if let Some(key) = set.get("key").filter(|key| !key.is_null()) {
            made.add(key, false)?;
        }
    } else {
        let head = match head.get("Func") {
            Some(function) => {
                arguments.expressions(function.get("args")?)?;
                function
            }
            None => head.get("Compr")?,
        };
        made.add(head.get("refr")?, false)?;
        assigned(head, &mut made)?;
    }
    let bodies = spec.get("bodies")?.as_array()?;
    if bodies.is_empty() {
        return Some((arguments, vec![Query { lines: Vec::new(), output: made }]));
    }
    let mut queries = Vec::new();
    for body in bodies {
        let mut output = Part::default();
        assigned(body, &mut output)?;
        if !body.get("is_else")?.as_bool()? {
            output.names.extend(made.names.iter().copied());
            output.comprehensions.extend(made.comprehensions.iter().cloned());
        }
        queries.push(Query { lines: lines(body.get("query")?)?, output });
    }
    Some((arguments, queries))
}

/// What stands behind `:=` of a head or an `else`.
fn assigned(node: &Value, into: &mut Part) -> Option<()> {
    match node.get("assign").filter(|assign| !assign.is_null()) {
        Some(assign) => into.add(assign.get("value")?, false),
        None => Some(()),
    }
}

fn lines(query: &Value) -> Option<Vec<Line>> {
    query.get("stmts")?.as_array()?.iter().map(line).collect()
}

fn line(statement: &Value) -> Option<Line> {
    let (form, node) = statement.get("literal")?.as_object()?.iter().next()?;
    let kind = match form.as_str() {
        "SomeVars" => Kind::Some(node.get("vars")?.as_array()?.iter().map(Span::of).collect::<Option<_>>()?),
        "SomeIn" => {
            let mut each = part(node.get("value")?)?;
            if let Some(key) = node.get("key").filter(|key| !key.is_null()) {
                each.add(key, true)?;
            }
            Kind::SomeIn { each, among: part(node.get("collection")?)? }
        }
        "Every" => {
            let key = node.get("key").filter(|key| !key.is_null());
            let each = key.into_iter().chain(node.get("value")).map(Span::of).collect::<Option<_>>()?;
            let query = Query { lines: lines(node.get("query")?)?, output: Part::default() };
            Kind::Every { each, among: part(node.get("domain")?)?, query }
        }
        "Expr" => Kind::Holds(equations(node.get("expr")?)?),
        "NotExpr" => Kind::Not(equations(node.get("expr")?)?),
        _ => return None,
    };
    let mut with = Part::default();
    for each in statement.get("with_mods").and_then(Value::as_array).into_iter().flatten() {
        with.add(each.get("as")?, false)?;
    }
    Some(Line { span: Span::read(statement)?, kind, with })
}

fn equations(expression: &Value) -> Option<Vec<Equation>> {
    let Some(assign) = expression.get("AssignExpr") else {
        let mut equation = Equation { left: part(expression)?, right: None, declares: false, output: None };
        if let Some(call) = expression.get("Call") {
            let params = call.get("params")?.as_array()?;
            let path = chain(call.get("fcn")?)?.path.join(".");
            equation.output = params.last().and_then(|last| Some((path, params.len(), part(last)?)));
        }
        return Some(vec![equation]);
    };
    let mut found = Vec::new();
    let declares = assign.get("op")?.as_str()? == "ColEq";
    apart(assign.get("lhs")?, assign.get("rhs")?, declares, &mut found)?;
    Some(found)
}

fn apart(left: &Value, right: &Value, declares: bool, found: &mut Vec<Equation>) -> Option<()> {
    let items = |node: &Value| node.get("Array").and_then(|array| array.get("items")?.as_array().cloned());
    if let Some((lefts, rights)) = items(left).zip(items(right)).filter(|(left, right)| left.len() == right.len()) {
        return lefts.iter().zip(&rights).try_for_each(|(left, right)| apart(left, right, declares, found));
    }
    found.push(Equation { left: part(left)?, right: Some(part(right)?), declares, output: None });
    Some(())
}

fn part(expression: &Value) -> Option<Part> {
    let mut part = Part::default();
    part.add(expression, true)?;
    Some(part)
}

/// An object with all variables that stand for a member of it or of what is in it.
fn members(object: &Value) -> Option<(usize, Vec<Name>)> {
    fn collect(node: &Value, names: &mut Vec<Name>) {
        if let Some(name) = node.get("Var") {
            names.extend(Span::read(name));
        }
        let items = node.pointer("/Array/items").or_else(|| node.pointer("/Object/fields"));
        for item in items.and_then(Value::as_array).into_iter().flatten() {
            // The field of an object has its place, its name and its value.
            collect(item.get(2).unwrap_or(item), names);
        }
    }
    let mut names = Vec::new();
    for field in object.get("fields")?.as_array()? {
        collect(field.get(2)?, &mut names);
    }
    Some((Span::read(object)?.start, names))
}

impl Part {
    fn expressions(&mut self, nodes: &Value) -> Option<()> {
        nodes.as_array()?.iter().try_for_each(|node| self.add(node, true))
    }

    /// `unpacks`: a value of this expression's place would be unpacked into it.
    fn add(&mut self, expression: &Value, unpacks: bool) -> Option<()> {
        let (form, node) = expression.as_object()?.iter().next()?;
        match form.as_str() {
            "String" | "RawString" | "Number" | "Bool" | "Null" => {}
            "Var" => {
                let name = Span::read(node)?;
                if !["_", "input", "data"].contains(&node.get("value")?.as_str()?) {
                    self.names.push(name);
                    self.pattern.extend(Some(name).filter(|_| unpacks));
                }
            }
            "Array" => {
                for item in node.get("items")?.as_array()? {
                    self.add(item, unpacks)?;
                }
            }
            "Set" => {
                for item in node.get("items")?.as_array()? {
                    self.add(item, false)?;
                }
            }
            "Object" => {
                for field in node.get("fields")?.as_array()? {
                    let key = part(field.get(1)?)?;
                    self.keys.extend(key.pattern.iter().filter(|_| unpacks));
                    self.reads(key);
                    self.add(field.get(2)?, unpacks)?;
                }
                self.objects.extend(unpacks.then(|| members(node)).flatten());
            }
            "ArrayCompr" | "SetCompr" => self.comprehension(node, &["term"])?,
            "ObjectCompr" => self.comprehension(node, &["key", "value"])?,
            "Call" => {
                for param in node.get("params")?.as_array()? {
                    self.add(param, false)?;
                }
            }
            "UnaryExpr" => self.add(node.get("expr")?, false)?,
            "RefDot" => self.add(node.get("refr")?, false)?,
            "RefBrack" => {
                // Each is read once: they nest.
                let (refr, index) = (part(node.get("refr")?)?, part(node.get("index")?)?);
                let free = index.pattern.iter().chain(&index.keys);
                self.indexes.extend(free.map(|name| (*name, refr.names.clone())));
                self.index_objects.extend_from_slice(&index.objects);
                self.reads(refr);
                self.reads(index);
            }
            "BinExpr" | "BoolExpr" | "ArithExpr" | "AssignExpr" => {
                self.add(node.get("lhs")?, false)?;
                self.add(node.get("rhs")?, false)?;
            }
            "Membership" => {
                if let Some(key) = node.get("key").filter(|key| !key.is_null()) {
                    self.add(key, false)?;
                }
                self.add(node.get("value")?, false)?;
                self.add(node.get("collection")?, false)?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Takes over what another part has, nothing of it unpacked.
    fn reads(&mut self, part: Part) {
        let Part { names, pattern: _, keys: _, objects: _, index_objects, indexes, comprehensions } = part;
        self.names.extend(names);
        self.index_objects.extend(index_objects);
        self.indexes.extend(indexes);
        self.comprehensions.extend(comprehensions);
    }

    fn comprehension(&mut self, node: &Value, made: &[&str]) -> Option<()> {
        let mut output = Part::default();
        for made in made {
            output.add(node.get(*made)?, false)?;
        }
        self.comprehensions.push(Query { lines: lines(node.get("query")?)?, output });
        Some(())
    }
}
