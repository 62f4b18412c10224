"""OPA itself, for the tests that hold the policy engine against it.

usage: opa.py FOLDER   (the unpacked wheel of requirements-opa.txt)

Reads one request a line: {"modules": [Rego], "data": JSON text, "asks": [[query, JSON text of the input or ""]]}.
Answers with one line: {"error": ...} where OPA does not take the modules or the data, else {"answers": [...]}, each of
them what OPA wrote: {"result": ...} or {"error": {"code", "message"}}, numbers as it spells them. An error of a
built-in function is an error, as it is one for the daemon."""

import ctypes
import json
import pathlib
import sys

library = ctypes.CDLL(str(pathlib.Path(sys.argv[1]) / "opa_bindings" / "libopabridge.so"))
handle, text, number = ctypes.c_uint64, ctypes.c_char_p, ctypes.c_int
for name, gives, takes in [
    ("OpaNew", handle, []),
    ("OpaDestroy", None, [handle]),
    ("OpaFreeString", None, [ctypes.c_void_p]),
    ("OpaAddPolicy", ctypes.c_void_p, [handle, text, text]),
    ("OpaAddData", ctypes.c_void_p, [handle, text, text]),
    ("OpaEvalQuery", ctypes.c_void_p, [handle, text, text, number, number]),
]:
    function = getattr(library, name)
    function.restype, function.argtypes = gives, takes


def call(function, *arguments):
    """What the library says, as it is written."""
    arguments = [each.encode() if isinstance(each, str) else each for each in arguments]
    if any(isinstance(each, bytes) and b"\0" in each for each in arguments):
        raise ValueError("the library takes no text with a NUL")
    written = function(*arguments)
    try:
        return ctypes.string_at(written).decode()
    finally:
        library.OpaFreeString(written)


def judge(engine, request):
    for n, module in enumerate(request["modules"]):
        added = json.loads(call(library.OpaAddPolicy, engine, f"{n}.rego", module))
        if added.get("error"):
            return json.dumps({"error": added["error"]})
    added = json.loads(call(library.OpaAddData, engine, "", request["data"]))
    if added.get("error"):
        return json.dumps({"error": added["error"]})
    answers = [call(library.OpaEvalQuery, engine, query, given, 0, 0) for query, given in request["asks"]]
    return '{"answers": [' + ", ".join(answers) + "]}"


for line in sys.stdin:
    engine = library.OpaNew()
    try:
        answer = judge(engine, json.loads(line))
    finally:
        library.OpaDestroy(engine)
    print(answer, flush=True)
