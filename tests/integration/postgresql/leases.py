"""A worker's process that leases until nothing waits; its standard input says of which catalog.

Prints the ids that it got, as JSON. It says `ready`, and begins when it is told to.
"""

from __future__ import annotations

import json
import sys

from connectors.stores.catalog.database import connect, reading
from connectors.stores.catalog.recordings import lease

LEASE_NS = 300 * 10**9


def main(worker: str) -> None:
    engine = connect(sys.stdin.readline().strip())
    with reading(engine):
        print("ready", flush=True)
    sys.stdin.readline()
    got: list[str] = []
    while rows := lease(engine, worker, 3, 1_000, LEASE_NS):
        got += [row["id"] for row in rows]
    print(json.dumps(got), flush=True)
    engine.dispose()


if __name__ == "__main__":
    main(sys.argv[1])
