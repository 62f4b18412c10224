//! Bodies that are refused for their order, and bodies that are not. Each was tried under OPA and in the interpreter.

use crate::policy::misread;

const HELPERS: &str = "
s := {1}

l := [2, 1]

q := {\"k\": 2}

f(x) := x

has(x) if x in s
";

/// What is said of a body of `p`.
fn said_of(body: &str) -> Vec<String> {
    said(&format!("p if {{\n\t{}\n}}\n", body.replace("; ", "\n\t")))
}

fn said(rules: &str) -> Vec<String> {
    let text = format!("package t\n\n{rules}{HELPERS}");
    let problems = misread([("t.rego".to_owned(), text)]).err();
    problems.iter().flat_map(|errors| errors.problems()).map(ToString::to_string).collect()
}

#[test]
fn a_question_before_its_variables_have_a_value_is_refused() {
    for body in [
        "not s[a]; a = 2",
        "not [a] = [1]; a = 2",
        "not {\"k\": a} = {\"k\": 1}; a = 2",
        "not walk(l, [a, 1]); a = [0]",
        "not input.l[a]; a = \"k\"",
        "not input.a = b; b = 3",
        "not a = f(1); a = f(2)",
        "not a = 1; a = 2",
        "not f(a); a = 2",
        "not a == 1; a = 2",
        "not a in {1}; a = 2",
        "not l[i]; i = 1",
        "not startswith(a, \"x\"); a = \"y\"",
        "not s[a]",
        "some a; not s[a]; a = 2",
        "not s[b]; b = a; a = 2",
        "startswith(a, \"x\"); not s[a]; a = \"xy\"",
        "x := [1 | a = 1]; a = 2; x == []",
        "count([1 | l[a] = 1]) == 0; a = 0",
        "count([1 | not s[a]]) == 1; a = 5",
        "not count([1 | l[a] = 1]) == 1; a = 0",
        "[1 | every v in l { v != a }] == [1]; a = 5",
        "every v in l { v != a }; a = 5",
        "every v in [a] { v == 7 }; a = 7",
        "every v in l { not s[b]; b = v }",
        "not input.x == a with input as {\"x\": 1}; a = 2",
    ] {
        let said = said_of(body);
        assert!(
            said.iter().any(|problem| problem.contains("error[order]: `") && problem.contains("has no value yet")),
            "{body}: {said:?}"
        );
    }
    for rules in [
        "p if { false } else if {\n\tnot s[a]\n\ta = 5\n}\n",
        "p contains [1 | not s[a]; a = 5]\n",
        "g(x) if {\n\tnot q[y] = x\n\ty = \"k\"\n}\n",
    ] {
        assert!(!said(rules).is_empty(), "{rules}");
    }
}

/// The line stands above, and the interpreter comes to it later all the same.
#[test]
fn a_question_that_the_interpreter_asks_too_early_is_refused() {
    for body in [
        "y := input.c; x = y; not s[x]",
        "y := input.c; x := y; not s[x]",
        "y := [5, 6]; [x, z] = y; not s[x]",
        "y := 5; x = y; not x = 4",
        "y := 1; x = y; every v in [2] { v != x }",
        "y := 1; x = y; [1 | every v in [2] { v != x }] == [1]",
        "walk(input, [_, v]); not s[v]",
        "walk(input, [_, v]); every k in l { k != v }",
        "split(input.c, \",\", x); not s[x[0]]; not q[x]",
        "[x | y = 5; x = y; not s[x]] == [5]",
        "y := input.l; {\"j\": _, \"k\": b} = y; not s[b]",
        "b = 2; a = b; c := a + 1; not s[c]",
    ] {
        let said = said_of(body);
        assert!(said.iter().any(|problem| problem.contains("may be asked before")), "{body}: {said:?}");
    }
    assert!(said_of("x = x + 0; x = 5").iter().any(|problem| problem.contains("is read by the line that gives it")));
    let said = said_of("b = 5; every e in [1, 2] { b = e; not has(b) }");
    assert!(said.iter().any(|problem| problem.contains("`=` in this `every`")), "{said:?}");
}

#[test]
fn a_question_below_what_gives_it_its_variables_is_asked() {
    for body in [
        "a = 2; not s[a]",
        "a := input.customer; not data.t.q[a]",
        "some a in l; not s[a]",
        "some i; l[i] == 2; not s[i]",
        "l[i] == 2; not s[i]",
        "[a, b] := [1, 2]; not s[b]",
        "[_, _, day] := time.date(input.now); not s[day]",
        "b := 2; a := b + 1; not s[a]",
        "walk(input, [path, v]); not startswith(v, \"x\"); not \"secret\" in path",
        "walk(input, [_, v]); not has(v)",
        "y := 4; x = y; not x in s; not has(x); not x == 5",
        "y := 4; x = y; count([1 | some v in [4]; v == x]) == 1",
        "every k, v in q { not s[v]; k != \"x\" }",
        "every v in l { x := v + 5; not s[x] }",
        "a := 5; every v in l { v != a; not s[a] }",
        "x := {k: v | some k, v in q; not s[v]}; not x == {}",
        "count([b | b = 1; not b == 2]) == 1",
        "names := {n | some n in l}; n := count(names); n == 2",
        "a := 1; x := {\"k\": a}; x = {\"k\": 1}",
        "not l[_] == 7",
        "not s",
        "not input.operation.class == \"read\"",
        "startswith(a, \"x\"); a = \"xy\"",
    ] {
        assert_eq!(said_of(body), Vec::<String>::new(), "{body}");
    }
    for rules in [
        "p if { false } else if {\n\ta = 5\n\tnot s[a]\n}\n",
        "g(x) if not s[x]\n",
        "g([x, y]) if {\n\tnot s[x]\n\ty > 1\n}\n",
        "p contains x if {\n\tx = y\n\ty = 3\n}\n",
        "p contains {\"is\": [y | some y in l; y != x]} if some x in l\n",
        "p[k] := v if {\n\tsome k, v in q\n\tnot s[v]\n}\n",
        "import data.t.q as named\n\np if not named.k == 3\n",
    ] {
        assert_eq!(said(rules), Vec::<String>::new(), "{rules}");
    }
}

/// `{"j": x} = value` would hold here whatever else the value has.
#[test]
fn an_object_that_something_is_unpacked_into_is_refused() {
    for body in [
        "{\"j\": a} = input.l; a == 1",
        "{\"j\": a} := input.l; a == 1",
        "{\"j\": _} = input.l",
        "[{\"j\": a}] = [input.l]; a == 1",
        "some {\"j\": a} in [input.l]; a == 1",
        "some {\"j\": 1} in [input.l]",
        "walk([input.l], [[0], {\"j\": a}]); a == 1",
        "x = {\"j\": a}; x = input.l",
    ] {
        assert!(said_of(body).iter().any(|problem| problem.contains("error[pattern]")), "{body}");
    }
    assert!(said("g({\"j\": a}) if a == 1\n").iter().any(|problem| problem.contains("error[pattern]")));
    for body in ["{\"j\": 1} = input.l", "a := 1; {\"j\": a} = input.l", "x := {\"j\": input.l}; x.j", "f({\"j\": l})"]
    {
        assert_eq!(said_of(body), Vec::<String>::new(), "{body}");
    }
}

#[test]
fn an_import_that_the_engine_does_not_know_is_refused() {
    assert!(!said("import future\n\np if true\n").is_empty());
    for import in ["rego.v2", "rego.v1.x", "future.keywords.not", "future.keywords.or", "foo.bar"] {
        let said = said(&format!("import {import}\n\np if true\n"));
        // Some of them the parser refuses.
        assert!(
            ["error[import]", "error[rego]: import path"].iter().any(|code| said.concat().contains(code)),
            "{said:?}"
        );
    }
    for import in ["rego.v1", "future.keywords", "future.keywords.in", "future.keywords.every", "data.x", "input.l"] {
        assert_eq!(said(&format!("import {import}\n\np if true\n")), Vec::<String>::new(), "{import}");
    }
}

#[test]
fn what_nests_deeply_is_read_once() {
    let brackets = "[\"a\"]".repeat(40);
    assert_eq!(said_of(&format!("not input.arguments{brackets} == 1")), Vec::<String>::new());
    let nested = (0..40).fold("q.k".to_owned(), |index, _| format!("q[{index}]"));
    assert_eq!(said_of(&format!("not {nested} == 1")), Vec::<String>::new());
}
