#!/usr/bin/env python3
"""Verifies an export of Countersign's audit without any code of Countersign: see docs/audit.md.

usage: verify_export.py EXPORT.jsonl [SEQ:HASH]

Prints the last record that is proved and exits 0, or says what is wrong and exits 6.
"""

import hashlib
import json
import sys


def field(data: bytes) -> bytes:
    return len(data).to_bytes(8, "big") + data


def record_hash(record: dict) -> str:
    fields = [
        b"countersign.record/v1",
        record["seq"].to_bytes(8, "big"),
        record["at"].encode(),
        record["up_ms"].to_bytes(8, "big"),
        (record["call"] or "").encode(),
        record["kind"].encode(),
        record["body"].encode(),
        bytes.fromhex(record["prev"]),
    ]
    return hashlib.sha256(b"".join(map(field, fields))).hexdigest()


def no_duplicates(pairs: list) -> dict:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a duplicate key")
    return members


def fail(text: str) -> None:
    print(f"NOT INTACT: {text}")
    sys.exit(6)


def main() -> None:
    path = sys.argv[1]
    checkpoint = sys.argv[2].split(":") if len(sys.argv) > 2 else None
    last, proved = None, False
    with open(path, "rb") as export:
        for number, line in enumerate(export, 1):
            try:
                record = json.loads(line.decode("utf-8"), object_pairs_hook=no_duplicates)
                computed = record_hash(record)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                fail(f"line {number} is not a record: {error}")
            if record["call"] == "":
                fail(f"record {record['seq']}: an empty call id")
            if last and record["seq"] != last["seq"] + 1:
                fail(f"record {record['seq']} follows record {last['seq']}")
            if last and record["prev"] != last["hash"]:
                fail(f"record {record['seq']} does not follow record {last['seq']}")
            if record["hash"] != computed:
                fail(f"record {record['seq']} was edited")
            if checkpoint and str(record["seq"]) == checkpoint[0]:
                if record["hash"] != checkpoint[1]:
                    fail(f"record {record['seq']} has another hash than the checkpoint")
                proved = True
            last = record
    if last is None:
        fail("no records")
    if checkpoint and not proved:
        fail(f"the export does not hold record {checkpoint[0]} of the checkpoint")
    print(f"{last['seq']}:{last['hash']}")


if __name__ == "__main__":
    main()
