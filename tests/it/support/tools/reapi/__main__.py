"""Plays scenarios against a server of the Remote Execution API: one, or all of a module.

    python reapi HOST:PORT[/INSTANCE] | unix:/PATH  MODULE | SCENARIO
    python reapi --list

Exits with 0 when the server did all that they expect; else with 1, and says what it did instead.
"""

import sys

import batches
import habits
import names
import reads
import results
import server
import writes
from expect import Wrong

MODULES = {module.__name__: module.SCENARIOS for module in [batches, habits, names, reads, results, server, writes]}
SCENARIOS = {function.__name__: [function] for module in MODULES.values() for function in module}


def main(arguments):
    known = {**SCENARIOS, **MODULES}
    if arguments == ["--list"]:
        print("\n".join(known))
        return 0
    if len(arguments) != 2 or arguments[1] not in known:
        print(__doc__, file=sys.stderr)
        return 2
    address, name = arguments
    target, _, instance = (address, "", "") if address.startswith("unix:") else address.partition("/")
    wrong = 0
    for scenario in known[name]:
        client = server.Client(target, instance)
        try:
            scenario(client)
            print(f"{scenario.__name__}: {client.calls} calls")
        except Wrong as words:
            wrong += 1
            print(f"{scenario.__name__}: {words}", file=sys.stderr)
        finally:
            client.close()
    return 1 if wrong else 0


sys.exit(main(sys.argv[1:]))
