"""Holds what a server answers against a table: `tests/golden/{azure,s3}/operations.toml`.

A table has an entry for each operation, and in it what each case is answered with: `"status code"`, or what came. Where
the real store, or its emulator, answers otherwise than Larder, an entry says both, and why:

    bad_range = { larder = "416 InvalidRange", azurite = "206 b''", why = "range" }

    [reasons]
    range = "…"

A case that an operation can't have is `"none"`.
"""

import os
import tomllib

# Of each operation. Others come on top.
CASES = (
    "happy",
    "absent",
    "denied",
    "expired",
    "elsewhere",
    "bad_precondition",
    "bad_range",
    "bad_signature",
    "bad_body",
    "bad_clock",
)
NONE = "none"


def hold(path, server, operations, observe):
    """Plays every case of `operations` at `server`; returns what is otherwise than the table at `path` says."""
    with open(path, "rb") as file:
        table = tomllib.load(file)
    wrong, reasons, used = [], table.pop("reasons", {}), set()
    for name in sorted(operations.keys() | table.keys()):
        cases, row = operations.get(name, {}), table.get(name, {})
        for case in CASES:
            if case not in row:
                wrong.append(f"{name}.{case}: the table does not have it")
        for case in sorted(cases.keys() | row.keys()):
            if case not in cases:
                if row[case] != NONE:
                    wrong.append(f"{name}.{case}: the table has it, and nobody plays it")
                continue
            seen = observe(cases[case])
            if os.environ.get("LARDER_RECORD"):
                print(f"{server}\t{name}\t{case}\t{seen}")
            said = row.get(case, "nothing")
            if isinstance(said, dict):
                used.add(said.get("why"))
                if said.get("why") not in reasons:
                    wrong.append(f"{name}.{case}: a difference has its reason")
                said = said.get(server, "nothing")
            if seen != said:
                wrong.append(f"{name}.{case}: {server} answers {seen!r}, the table says {said!r}")
    wrong.extend(f"reasons.{name}: nothing differs for it" for name in sorted(reasons.keys() - used))
    return wrong
