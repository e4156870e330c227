"""Run by tests as a process of its own: `delta_writer.py TABLE NAME APPENDS`; appends by delta-rs.

Storage options come as JSON on stdin, and the first append waits for them.
"""

import json
import random
import sys
import time

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake


def main() -> None:
    table, name, appends = sys.argv[1:]
    options = json.load(sys.stdin)
    pause = random.Random(name)
    for number in range(int(appends)):
        time.sleep(1.5 * pause.random())  # so that it writes for as long as the drivers do
        rows = pa.table({"writer": [name], "number": pa.array([number], pa.int64())})
        write_deltalake(
            table,
            rows,
            mode="append",
            storage_options=options,
            commit_properties=CommitProperties(max_commit_retries=1000),
        )


if __name__ == "__main__":
    main()
