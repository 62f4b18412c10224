"""Judges arguments by the reference implementation of JSON Schema.

Reads a list of schemas from stdin. For each of them, and for schemas that it makes up, it makes up values and writes
one line: {"schema": ..., "value": ..., "valid": ...}. The same every time: the seed is fixed.
"""

import json
import random
import sys

from jsonschema import Draft7Validator, Draft202012Validator

rng = random.Random(20261121)
WORDS = ["", "a", "ab", "abc", "A", "1", "a-b", "a.b", "x" * 20, "é", "😀", "a\nb", "null"]
NUMBERS = [0, 1, -1, 2, 3, 10, 100, 1.0, 1.5, -0.5, 0.1, 0.3, 1e3, 9007199254740993, 2**63 - 1, -(2**63)]
KEYS = ["a", "b", "c", "xa", "A", "long_name"]
PATTERNS = ["^[a-z]+$", "^a", "b$", r"^\d+$", r"^[\w.-]+$", "[0-9]{2,}", "^(?:a|b)$", "^$", ".", r"^(?!a)", r"\bab\b"]
KINDS = ["null", "boolean", "string", "array", "object", "number", "integer"]


def value(depth=0):
    kind = rng.choice(KINDS if depth < 3 else KINDS[:3] + KINDS[5:])
    if kind == "null":
        return None
    if kind == "boolean":
        return rng.random() < 0.5
    if kind == "string":
        return rng.choice(WORDS)
    if kind == "array":
        return [value(depth + 1) for _ in range(rng.randrange(4))]
    if kind == "object":
        return {rng.choice(KEYS): value(depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(NUMBERS)


def schema(depth=0):
    if depth > 3 or rng.random() < 0.05:
        return rng.choice([True, True, False, {}, {"type": rng.choice(KINDS)}])
    sub = lambda: schema(depth + 1)
    subs = lambda: [sub() for _ in range(rng.randrange(1, 4))]
    some = lambda: {rng.choice(KEYS): sub() for _ in range(rng.randrange(1, 4))}
    small = lambda: rng.randrange(4)
    keywords = {
        "type": lambda: rng.choice(KINDS + [rng.sample(KINDS, 2)]),
        "enum": lambda: [value(2) for _ in range(rng.randrange(1, 4))],
        "const": lambda: value(2),
        "minimum": lambda: rng.choice(NUMBERS),
        "maximum": lambda: rng.choice(NUMBERS),
        "exclusiveMinimum": lambda: rng.choice(NUMBERS),
        "exclusiveMaximum": lambda: rng.choice(NUMBERS),
        "multipleOf": lambda: rng.choice([1, 2, 3, 0.5, 0.1, 1.5]),
        "minLength": small,
        "maxLength": small,
        "pattern": lambda: rng.choice(PATTERNS),
        "items": sub,
        "prefixItems": subs,
        "minItems": small,
        "maxItems": small,
        "uniqueItems": lambda: True,
        "contains": sub,
        "minContains": small,
        "maxContains": small,
        "properties": some,
        "patternProperties": lambda: {rng.choice(PATTERNS): sub() for _ in range(rng.randrange(1, 3))},
        "additionalProperties": sub,
        "unevaluatedProperties": sub,
        "propertyNames": sub,
        "required": lambda: rng.sample(KEYS, rng.randrange(1, 3)),
        "minProperties": small,
        "maxProperties": small,
        "dependentRequired": lambda: {rng.choice(KEYS): rng.sample(KEYS, 1)},
        "dependentSchemas": some,
        "allOf": subs,
        "anyOf": subs,
        "oneOf": subs,
        "not": sub,
        "if": sub,
        "then": sub,
        "else": sub,
        "$ref": lambda: rng.choice(["#/$defs/one", "#/$defs/two", "#named"]),
        "format": lambda: rng.choice(["email", "uri", "date"]),
    }
    chosen = rng.sample(sorted(keywords), rng.randrange(1, 4))
    if depth == 0 and rng.random() < 0.5:
        chosen = sorted({"type", "properties", "additionalProperties"} | set(chosen))
    return {name: keywords[name]() for name in chosen}


def definitions(depth=0):
    # Nothing in them refers to anything, so that no reference goes round in a circle.
    def plain(each):
        if isinstance(each, dict):
            return {name: plain(part) for name, part in each.items() if name != "$ref"}
        return [plain(part) for part in each] if isinstance(each, list) else each

    return {"one": plain(schema(2)), "two": plain(schema(2)), "three": {"$anchor": "named", "type": "string"}}


def fitting(part, root, depth=0):
    """Something that may fit: from what the schema says, where it says much."""
    if not isinstance(part, dict) or depth > 5 or rng.random() < 0.1:
        return value(2)
    if "$ref" in part:
        found = root
        for step in part["$ref"].lstrip("#").strip("/").split("/"):
            found = found.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
        return fitting(found, root, depth + 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if part.get(name):
            return fitting(rng.choice(part[name]), root, depth + 1)
    if part.get("enum"):
        return rng.choice(part["enum"])
    if "const" in part:
        return part["const"]
    kind = part.get("type")
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "object" or "properties" in part:
        names = part.get("properties", {})
        members = {n: fitting(s, root, depth + 1) for n, s in names.items() if n in part.get("required", []) or rng.random() < 0.6}
        if rng.random() < 0.1:
            members[rng.choice(KEYS)] = value(2)
        return members
    if kind == "array":
        return [fitting(part.get("items", {}), root, depth + 1) for _ in range(rng.randrange(3))]
    if kind in ("number", "integer"):
        return rng.choice([part.get("minimum", 1), part.get("maximum", 5), rng.choice(NUMBERS)])
    return {"string": rng.choice(WORDS), "boolean": True, "null": None}.get(kind, value(2))


def judge(each, values):
    old = "draft-07" in str(each.get("$schema", "")) if isinstance(each, dict) else False
    validator = (Draft7Validator if old else Draft202012Validator)(each)
    for one in values:
        line = {"schema": each, "value": one, "valid": validator.is_valid(one)}
        # What cannot be written as JSON that every reader takes the same is of no use here.
        print(json.dumps(line, allow_nan=False))


for each in json.load(sys.stdin):
    judge(each, [fitting(each, each) for _ in range(60)])
for _ in range(1500):
    each = schema()
    if isinstance(each, dict):
        each["$defs"] = definitions()
    judge(each, [value() for _ in range(3)] + [fitting(each, each) for _ in range(3)])
