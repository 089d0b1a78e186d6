"""Clients of the doors: Amazon's and Azure's own for Python.

    python doors golden azure TABLE SERVER CONNECTION_STRING
    python doors golden s3 TABLE SERVER ENDPOINT KEYS READER STRANGER     (each ID:SECRET)
    python doors boto ENDPOINT KEYS
    python doors blob CONNECTION_STRING CONNECTION_STRING_OF_A_READER

Exits with 0 when the server did all that they expect; else with 1, and says what it did instead.
"""

import sys

import golden
from expect import Wrong


def play(module, *arguments):
    """All scenarios of a module; how many went wrong."""
    client, wrong = module.Client(*arguments), 0
    for scenario in module.SCENARIOS:
        try:
            scenario(client)
            print(scenario.__name__)
        except Wrong as words:
            wrong += 1
            print(f"{scenario.__name__}: {words}", file=sys.stderr)
    return 1 if wrong else 0


def main(arguments):
    match arguments:
        case ["boto", *rest]:
            import boto

            return play(boto, *rest)
        case ["blob", *rest]:
            import blob

            return play(blob, *rest)
        case ["golden", "azure", table, server, string]:
            import operations_azure as operations

            world = operations.World(string)
            if server == "azurite":
                operations.make_containers(world)
        case ["golden", "s3", table, server, endpoint, *keys]:
            import operations_s3 as operations

            world = operations.World(endpoint, *keys)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    wrong = golden.hold(table, server, operations.OPERATIONS, operations.observe(world))
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


sys.exit(main(sys.argv[1:]))
