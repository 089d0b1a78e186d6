"""Plays one scenario against a server of the Remote Execution API.

    python reapi HOST:PORT[/INSTANCE] | unix:/PATH  SCENARIO
    python reapi --list

Exits with 0 when the server did all that the scenario expects; else with 1, and says what it did instead.
"""

import json
import sys

import batches
import early
import habits
import hostile
import names
import reads
import results
import server
import shared
import streams
import trees
import writes
from expect import Wrong

MODULES = [batches, early, habits, hostile, names, reads, results, server, shared, streams, trees, writes]
SCENARIOS = {function.__name__: function for module in MODULES for function in module.SCENARIOS}


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(SCENARIOS))
        return 0
    if len(arguments) != 2 or arguments[1] not in SCENARIOS:
        print(__doc__, file=sys.stderr)
        return 2
    address, name = arguments
    target, _, instance = (address, "", "") if address.startswith("unix:") else address.partition("/")
    client = server.Client(target, instance)
    try:
        SCENARIOS[name](client)
    except Wrong as wrong:
        print(f"{name}: {wrong}", file=sys.stderr)
        return 1
    finally:
        client.close()
    print(json.dumps({"scenario": name, "calls": client.calls}))
    return 0


sys.exit(main(sys.argv[1:]))
