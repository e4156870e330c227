"""Run by tests as a process of its own: `s3_writer.py TABLE JARS NAME APPENDS`; appends rows."""

import sys

from connectors.settings import Settings
from pipelines.spark.session import session_of, stop


def main() -> None:
    table, jars, name, appends = sys.argv[1:]
    session = session_of(Settings(spark_master="local[1]", spark_jars=jars))
    for number in range(int(appends)):
        rows = session.createDataFrame([(name, number)], "writer string, number long")
        rows.coalesce(1).write.format("delta").mode("append").save(table)
    stop()


if __name__ == "__main__":
    main()
