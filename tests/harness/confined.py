"""Starts a program under the system calls that a systemd unit allows: confined.py UNIT PROGRAM [ARGUMENT...].

Reads SystemCallFilter= as systemd does, resolves the groups by systemd-analyze, and installs the filter with
NoNewPrivileges. Every other call fails with EPERM, as the unit says, and openat2 with ENOSYS where the unit keeps files
from getting a set-user-ID bit, as systemd does it. Started by root it also drops the capabilities that
the unit leaves out.
"""

import ctypes
import os
import re
import struct
import subprocess
import sys

HEADER = "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"


def groups():
    said = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True)
    found, name = {}, None
    for line in said.stdout.splitlines():
        if line.startswith("@"):
            name = line.split()[0]
            found[name] = set()
        elif name and line.strip() and not line.strip().startswith("#"):
            found[name].add(line.strip())
    return found


def resolve(words, known):
    out, pending = set(), list(words)
    while pending:
        word = pending.pop()
        if word.startswith("@"):
            pending += known.get(word, set())
        else:
            out.add(word)
    return out


def allowed(unit):
    known, names = groups(), set()
    names |= resolve(["@default"], known)
    for line in open(unit):
        if line.startswith("SystemCallFilter="):
            value = line.split("=", 1)[1].strip()
            calls = resolve(value.lstrip("~").split(), known)
            names = names - calls if value.startswith("~") else names | calls
    return names


def drop(unit):
    """The unit's own bound on capabilities, where that is none at all; root's come back with no program then."""
    if "CapabilityBoundingSet=\n" not in open(unit).read():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in range(64):
        if libc.prctl(24, capability, 0, 0, 0) != 0 and ctypes.get_errno() != 22:
            raise OSError(ctypes.get_errno(), "prctl")


def confine(names):
    numbers = dict(re.findall(r"#define __NR_(\w+) (\d+)", open(HEADER).read()))
    program = [(0x20, 0, 0, 0)]
    if "RestrictSUIDSGID=yes\n" in open(sys.argv[1]).read():
        program += [(0x15, 0, 1, int(numbers["openat2"])), (0x06, 0, 0, 0x00050026)]
    for name in sorted(names):
        if name in numbers:
            program += [(0x15, 0, 1, int(numbers[name])), (0x06, 0, 0, 0x7FFF0000)]
    program.append((0x06, 0, 0, 0x00050001))
    code = b"".join(struct.pack("HBBI", *one) for one in program)
    buffer = ctypes.create_string_buffer(code)
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in [(38, 1, 0, 0, 0), (22, 2, ctypes.c_char_p(header), 0, 0)]:
        if libc.prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), "prctl")


names = allowed(sys.argv[1])
if os.geteuid() == 0:
    drop(sys.argv[1])
confine(names)
os.execvp(sys.argv[2], sys.argv[2:])
