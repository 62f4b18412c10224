//! The order of lines. Rego has none: OPA moves a line below those that give its variables a value. So does the
//! interpreter, except for questions whose answer depends on what has a value already: a negated line, a comprehension,
//! an `every`. Asked too early, `not allowed[customer]` looks for any customer, and the rule never holds.
//!
//! Invariant: whatever such a question reads has its value when the interpreter asks. It takes the lines as they are
//! written, but puts off those that only hand a value on (`x = y` and `x := [y, 1]` with variables of one body, a call
//! with its result as the last argument), and those that need what these give; and there are questions that it does not put off.

use std::collections::{HashMap, HashSet};

use crate::policy::problem::Problem;
use crate::policy::syntax::{Equation, Kind, Line, Module, Name, Part, Query, Rule};

/// What is wrong with the order of a rule's lines.
pub fn problems(module: &Module, rule: &Rule, found: &mut Vec<Problem>) {
    let rules = module.rules.iter().filter_map(|rule| rule.path.first()).map(String::as_str);
    let mut globals: HashSet<&str> = rules.chain(module.aliases().map(|(alias, _)| alias)).collect();
    let arguments: HashSet<&str> = rule.arguments.names.iter().map(|name| module.text(*name)).collect();
    globals.retain(|name| !arguments.contains(name));
    let known = Known { globals, settled: arguments.clone(), given: arguments, ..Known::default() };
    let mut judge = Judge { module, found };
    judge.objects(&rule.arguments.objects, |_| false);
    rule.queries.iter().for_each(|query| judge.query(query, &known, Asker::Rule));
}

/// What is known of names in a place.
#[derive(Clone, Default)]
struct Known<'a> {
    /// Of rules and imports.
    globals: HashSet<&'a str>,
    /// Variables that a line above gives a value.
    given: HashSet<&'a str>,
    /// Those of them that the interpreter gives it before it comes here, whatever it puts off.
    settled: HashSet<&'a str>,
    /// Variables of the bodies around that are given none above.
    late: HashSet<&'a str>,
    /// Those that are given one, and that the interpreter does not wait for.
    shaky: HashSet<&'a str>,
    /// Those with a value outside of an `every` that this place is in.
    outside: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    fn give(&mut self, name: &'a str) {
        self.late.remove(name);
        self.given.insert(name);
    }

    /// The name is declared here, whatever it is outside.
    fn shadow(&mut self, name: &str) {
        let Known { globals, given, settled, late, shaky, outside } = self;
        for names in [globals, given, settled, late, shaky, outside] {
            names.remove(name);
        }
    }

    fn has(&self, name: &str) -> bool {
        self.globals.contains(name) || self.given.contains(name)
    }

    fn names(&self, name: &str) -> bool {
        self.has(name) || self.late.contains(name) || self.shaky.contains(name)
    }
}

/// To whom a body belongs.
#[derive(Clone, Copy)]
enum Asker {
    Rule,
    Not,
    Comprehension,
    Every,
}

/// A body while it is gone through.
struct Body<'a> {
    lines: &'a [Line],
    /// Its variables, without those of the bodies around.
    own: HashSet<&'a str>,
    /// Where it declares them, by line of the file.
    declared: HashMap<&'a str, usize>,
    /// What gets a value by any of its lines.
    ever: HashSet<&'a str>,
    asker: Asker,
}

struct Judge<'a, 'b> {
    module: &'a Module,
    found: &'b mut Vec<Problem>,
}

impl<'a> Judge<'a, '_> {
    /// A body where so much is known of the names around it.
    fn query(&mut self, query: &'a Query, around: &Known<'a>, asker: Asker) {
        let mut known = around.clone();
        let declared = self.declared(&query.lines);
        declared.keys().for_each(|name| known.shadow(name));
        let texts = query.lines.iter().flat_map(Line::parts).flat_map(|part| &part.names);
        let own: HashSet<&str> = texts.map(|name| self.module.text(*name)).filter(|name| !known.names(name)).collect();
        let own = own.into_iter().chain(declared.keys().copied()).collect();
        let mut body = Body { lines: &query.lines, own, declared, ever: HashSet::new(), asker };
        known.late.extend(&body.own);
        let mut end = known.clone();
        self.give_all(body.lines, &mut end);
        body.ever = end.given;
        for (n, line) in query.lines.iter().enumerate() {
            self.line(line, &known, &body);
            let settles = self.settles(line, &known, &body);
            let given = self.gives(line, &known);
            if settles {
                known.settled.extend(given.iter().flatten());
            }
            given.into_iter().flatten().for_each(|name| known.give(name));
            // It may be what a line above has waited for.
            self.give_all(query.lines.get(..n).unwrap_or_default(), &mut known);
        }
        for name in &query.output.names {
            self.read(*name, &known, &body);
        }
        // What is made is made when all lines hold.
        for name in &body.own {
            known.give(name);
            known.settled.insert(name);
        }
        for comprehension in &query.output.comprehensions {
            self.query(comprehension, &known, Asker::Comprehension);
        }
    }

    fn declared(&self, lines: &'a [Line]) -> HashMap<&'a str, usize> {
        let mut declared = HashMap::new();
        for line in lines {
            let names: Vec<&Name> = match &line.kind {
                Kind::Some(names) => names.iter().collect(),
                Kind::SomeIn { each, .. } => each.pattern.iter().collect(),
                Kind::Holds(equations) => {
                    equations.iter().filter(|equation| equation.declares).flat_map(|it| &it.left.pattern).collect()
                }
                Kind::Every { .. } | Kind::Not(_) => Vec::new(),
            };
            for name in names {
                declared.entry(self.module.text(*name)).or_insert_with(|| self.module.line(name.start));
            }
        }
        declared
    }

    fn line(&mut self, line: &'a Line, known: &Known<'a>, body: &Body<'a>) {
        let is_value =
            |name: &str, worth: &HashSet<&str>| name != "_" && (!body.own.contains(name) || worth.contains(name));
        if let Kind::Holds(equations) | Kind::Not(equations) = &line.kind {
            for equation in equations {
                let right = equation.right.iter().filter(|_| !equation.declares);
                let sides = right.chain(equation.right.as_ref().map(|_| &equation.left));
                for name in sides.clone().flat_map(|side| &side.pattern) {
                    self.compares(*name, known, body);
                }
                sides.for_each(|side| self.objects(&side.objects, |name| is_value(name, &known.settled)));
                if let Some((_, _, last)) = &equation.output {
                    self.objects(&last.objects, |name| is_value(name, &known.given));
                }
            }
        }
        for part in line.parts() {
            part.names.iter().for_each(|name| self.read(*name, known, body));
            self.objects(&part.index_objects, |name| is_value(name, &known.settled));
            let mut inside = known.clone();
            // A name that is declared below is another one.
            let end = self.module.line(line.span.end);
            body.declared.iter().filter(|(_, at)| **at > end).for_each(|(name, _)| {
                inside.late.remove(name);
            });
            for comprehension in &part.comprehensions {
                self.query(comprehension, &inside, Asker::Comprehension);
            }
        }
        match &line.kind {
            Kind::Some(_) => {}
            Kind::SomeIn { each, .. } => {
                for (offset, _) in &each.objects {
                    // Not even where nothing in it is unpacked.
                    let message = "this object matches whatever else an item has, and not so in OPA";
                    let help = "write `some x in ...`, and take its members one by one: `x.member`";
                    self.found.push(self.module.problem(*offset, "pattern", message, help));
                }
            }
            Kind::Holds(equations) => equations.iter().for_each(|equation| self.reads_itself(equation, known, body)),
            Kind::Not(equations) => {
                let parts = || equations.iter().flat_map(Equation::parts);
                let whole = equations.iter().filter(|equation| equation.right.is_some()).flat_map(Equation::parts);
                let unpacked = whole.flat_map(|part| part.pattern.iter().chain(&part.keys));
                let tried = parts().flat_map(|part| &part.indexes).map(|(name, _)| name);
                let asked: Vec<&Name> = unpacked.chain(tried).collect();
                self.asks(parts().flat_map(|part| &part.names), &asked, known, body, Asker::Not);
            }
            Kind::Every { each, among, query } => {
                let tried: Vec<&Name> = among.indexes.iter().map(|(name, _)| name).collect();
                self.asks(among.names.iter(), &tried, known, body, Asker::Every);
                let mut inside = known.clone();
                inside.shaky.extend(known.given.difference(&known.settled));
                inside.outside.extend(&known.given);
                for name in each.iter().map(|name| self.module.text(*name)) {
                    inside.shadow(name);
                    inside.give(name);
                    inside.settled.insert(name);
                }
                self.query(query, &inside, Asker::Every);
            }
        }
    }

    /// An object that something is unpacked into matches any that has its members, whatever else that has; in OPA it has
    /// to be the whole of it. `is_value`: the variable has its value before, so that nothing is unpacked.
    fn objects(&mut self, objects: &[(usize, Vec<Name>)], is_value: impl Fn(&str) -> bool) {
        for (offset, members) in objects {
            if let Some(name) = members.iter().map(|name| self.module.text(*name)).find(|name| !is_value(name)) {
                let message =
                    format!("this object matches whatever else a value has beside `{name}`, and not so in OPA");
                let help = "take the members one by one: `x := value.member`";
                self.found.push(self.module.problem(*offset, "pattern", message, help));
            }
        }
    }

    /// In an `every`, `x = ...` gives a value of its own to what has one outside.
    fn compares(&mut self, name: Name, known: &Known<'a>, body: &Body<'a>) {
        let text = self.module.text(name);
        if known.outside.contains(text) && !body.own.contains(text) {
            let message = format!("`=` in this `every` does not compare with the `{text}` outside of it");
            let help = "write `==` to compare, and `:=` to give a value";
            self.found.push(self.module.problem(name.start, "order", message, help));
        }
    }

    /// A name of a body around, in a body that is a question.
    fn read(&mut self, name: Name, known: &Known<'a>, body: &Body<'a>) {
        let text = self.module.text(name);
        if body.own.contains(text) {
            return;
        }
        if known.late.contains(text) {
            self.early(name, body.asker, true);
        } else if known.shaky.contains(text) {
            self.put_off(name, body.asker);
        }
    }

    /// The body's own names in a question. `tried`: those that the interpreter takes for something to find.
    fn asks(
        &mut self,
        names: impl Iterator<Item = &'a Name>,
        tried: &[&Name],
        known: &Known<'a>,
        body: &Body<'a>,
        asker: Asker,
    ) {
        let mut said = HashSet::new();
        for name in names {
            let text = self.module.text(*name);
            if !body.own.contains(text) || said.contains(text) {
                continue;
            }
            if !known.given.contains(text) {
                self.early(*name, asker, body.ever.contains(text));
            } else if !known.settled.contains(text) && tried.iter().any(|tried| self.module.text(**tried) == text) {
                self.put_off(*name, asker);
            } else {
                continue;
            }
            said.insert(text);
        }
    }

    /// `x = x + 1`: the interpreter takes it for a line that gives a value.
    fn reads_itself(&mut self, equation: &'a Equation, known: &Known<'a>, body: &Body<'a>) {
        let Some(right) = &equation.right else { return };
        for (pattern, other) in [(&equation.left, right), (right, &equation.left)] {
            for name in &pattern.pattern {
                let text = self.module.text(*name);
                let both = other.names.iter().any(|name| self.module.text(*name) == text);
                if both && body.own.contains(text) && !known.given.contains(text) {
                    let message = format!("`{text}` is read by the line that gives it its value");
                    let help = "give it another name, or give it its value in a line above";
                    return self.found.push(self.module.problem(name.start, "order", message, help));
                }
            }
        }
    }

    /// Gives what the lines give, in whichever order.
    fn give_all(&self, lines: &'a [Line], known: &mut Known<'a>) {
        let mut before = None;
        while before != Some(known.given.len()) {
            before = Some(known.given.len());
            for line in lines {
                self.gives(line, known).into_iter().flatten().for_each(|name| known.give(name));
            }
        }
    }

    /// The variables of a line that have a value when it holds; `None` where it cannot be asked with what is known.
    fn gives(&self, line: &'a Line, known: &Known<'a>) -> Option<HashSet<&'a str>> {
        let mut with = known.clone();
        let text = |name: &Name| self.module.text(*name);
        match &line.kind {
            Kind::Some(_) | Kind::Every { .. } | Kind::Not(_) => return None,
            Kind::SomeIn { each, among } => {
                self.found_indexes(among, &mut with);
                if self.all(&among.names, &with) {
                    each.pattern.iter().for_each(|name| with.give(text(name)));
                }
            }
            Kind::Holds(equations) => {
                let mut before = None;
                while before != Some(with.given.len()) {
                    before = Some(with.given.len());
                    equations.iter().for_each(|equation| self.solve(equation, &mut with));
                }
            }
        }
        let names = || line.parts().flat_map(|part| &part.names);
        self.all(names(), &with).then(|| names().map(text).filter(|name| with.given.contains(name)).collect())
    }

    fn solve(&self, equation: &'a Equation, with: &mut Known<'a>) {
        equation.parts().for_each(|part| self.found_indexes(part, with));
        let unpack = |part: &'a Part, with: &mut Known<'a>| {
            if self.all(&part.keys, with) {
                part.pattern.iter().for_each(|name| with.give(self.module.text(*name)));
            }
        };
        if let Some(right) = &equation.right {
            if self.all(&right.names, with) {
                unpack(&equation.left, with);
            }
            if !equation.declares && self.all(&equation.left.names, with) {
                unpack(right, with);
            }
        } else if let Some((function, arguments, last)) = &equation.output
            && arity(function).is_some_and(|arity| arity + 1 == *arguments)
        {
            let mut others = equation.left.names.iter().filter(|name| !last.names.contains(name));
            if others.all(|name| with.has(self.module.text(*name))) {
                unpack(last, with);
            }
        }
    }

    fn found_indexes(&self, part: &'a Part, with: &mut Known<'a>) {
        for (name, looked_into) in &part.indexes {
            if self.all(looked_into, with) {
                with.give(self.module.text(*name));
            }
        }
    }

    fn all<'c>(&self, names: impl IntoIterator<Item = &'c Name>, known: &Known<'a>) -> bool {
        names.into_iter().all(|name| known.has(self.module.text(*name)))
    }

    /// The interpreter does not put the line off.
    fn settles(&self, line: &Line, known: &Known<'a>, body: &Body<'a>) -> bool {
        let own = |part: &Part| {
            let mut unpacked = part.pattern.iter().chain(&part.keys).map(|name| self.module.text(*name));
            unpacked.any(|name| body.own.contains(name))
        };
        let is_asked = match &line.kind {
            Kind::SomeIn { .. } => true,
            Kind::Holds(equations) => equations.iter().any(|equation| match (&equation.right, &equation.output) {
                (Some(right), _) => !own(&equation.left) || !own(right),
                (None, Some((function, arguments, last))) => {
                    !own(last) || arity(function).is_some_and(|arity| arity == *arguments)
                }
                (None, None) => true,
            }),
            Kind::Some(_) | Kind::Every { .. } | Kind::Not(_) => false,
        };
        let mut names = line.parts().flat_map(|part| &part.names).map(|name| self.module.text(*name));
        is_asked
            && names.all(|name| !body.own.contains(name) || known.settled.contains(name) || !known.given.contains(name))
    }

    fn early(&mut self, name: Name, asker: Asker, ever: bool) {
        let text = self.module.text(name);
        let place = match asker {
            Asker::Rule | Asker::Not => "where this line is negated",
            Asker::Comprehension => "where this comprehension reads it",
            Asker::Every => "where this `every` reads it",
        };
        let help = if ever {
            format!("put the line that gives `{text}` its value above this one")
        } else {
            format!("give `{text}` its value in a line above this one")
        };
        let message = format!("`{text}` has no value yet {place}");
        self.found.push(self.module.problem(name.start, "order", message, help));
    }

    fn put_off(&mut self, name: Name, asker: Asker) {
        let text = self.module.text(name);
        let asker = match asker {
            Asker::Rule | Asker::Not => "this negated line",
            Asker::Comprehension => "this comprehension",
            Asker::Every => "this `every`",
        };
        let message = format!("{asker} may be asked before the line that hands `{text}` on");
        let help =
            format!("read what `{text}` is taken from, or put the question into a function that is given `{text}`");
        self.found.push(self.module.problem(name.start, "order", message, help));
    }
}

/// Of a built-in function. One that is declared gives no value by its last argument here.
fn arity(function: &str) -> Option<usize> {
    regorus::unstable::BUILTINS.get(function).map(|(_, arity)| usize::from(*arity))
}

impl Line {
    /// Every expression, without what stands inside of an `every`.
    fn parts(&self) -> impl Iterator<Item = &Part> {
        let (equations, parts) = match &self.kind {
            Kind::Some(_) => (None, [None, None]),
            Kind::SomeIn { each, among } => (None, [Some(each), Some(among)]),
            Kind::Every { among, .. } => (None, [Some(among), None]),
            Kind::Not(equations) | Kind::Holds(equations) => (Some(equations), [None, None]),
        };
        let parts = parts.into_iter().flatten().chain([&self.with]);
        equations.into_iter().flatten().flat_map(Equation::parts).chain(parts)
    }
}

impl Equation {
    fn parts(&self) -> impl Iterator<Item = &Part> {
        [&self.left].into_iter().chain(&self.right)
    }
}

#[cfg(test)]
mod tests;
