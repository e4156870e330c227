"""Run by tests as a process of its own: `delta_writer.py TABLE NAME APPENDS`; appends by delta-rs.

Storage options come as JSON on stdin, and the first append waits for them.
"""

import json
import sys

import pyarrow as pa
from deltalake import CommitProperties, write_deltalake


def main() -> None:
    table, name, appends = sys.argv[1:]
    options = json.load(sys.stdin)
    for number in range(int(appends)):
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
