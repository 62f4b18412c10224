"""An upstream on stdio without a mind of its own: every byte that it reads goes to the test, and the test says what it
writes. The socket is named by SPY_SOCKET.

To the test: one JSON line about this process, then the bytes of stdin as they are; the end of stdin ends that side.
From the test, one JSON object a line, done in order: {"out": TEXT} {"err": TEXT} (each also with "times": N, and
"for_ever": true), {"exit": CODE}.
"""

import json
import os
import socket
import sys
import threading


def write(file, order, text):
    data = text.encode("utf-8", "surrogateescape")
    try:
        for _ in range(order.get("times", 1)):
            file.write(data)
            file.flush()
        while order.get("for_ever"):
            file.write(data)
            file.flush()
    except OSError:
        os._exit(0)


def obey(link):
    for line in link.makefile("rb"):
        order = json.loads(line)
        if "out" in order:
            write(sys.stdout.buffer, order, order["out"])
        if "err" in order:
            write(sys.stderr.buffer, order, order["err"])
        if "exit" in order:
            os._exit(order["exit"])


def main():
    link = socket.socket(socket.AF_UNIX)
    link.connect(os.environ["SPY_SOCKET"])
    me = {"pid": os.getpid(), "argv": sys.orig_argv, "environ": dict(os.environ), "cwd": os.getcwd()}
    me["fds"] = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))
    link.sendall(json.dumps(me).encode() + b"\n")
    threading.Thread(target=obey, args=(link,), daemon=True).start()
    while data := os.read(0, 1 << 16):
        link.sendall(data)
    link.shutdown(socket.SHUT_WR)
    os._exit(0)


try:
    main()
except (BrokenPipeError, ConnectionError):
    os._exit(0)
