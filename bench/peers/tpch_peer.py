#!/usr/bin/env python3
"""One peer engine as a long-lived child: tpch_peer.py ENGINE DATA THREADS MEMORY_LIMIT_BYTES (0: none).

Reads requests from standard input and writes replies to standard output, one JSON object a line:

    -> {"engine": "duckdb", "version": "1.4.1", "note": null}          once, when tables are registered
    <- {"query": "q1", "sql": "select ...", "answer": true}
    -> {"ms": 12.5, "rows": 4, "answer": {"columns": [...], "rows": [[...], ...]}}   or {"error": "..."}

An engine that is not installed says {"missing": "..."} and ends. DATA has one Parquet file a table. The clock runs from
handing in the text until all rows are in memory, in the form in which the engine's own users get them; turning them
into JSON is outside.

Cells: null, numbers, text, and {"d": "1.50"} for decimals, whose digits say how exact they are. Dates are ISO text.
"""

import datetime
import decimal
import importlib.metadata
import json
import math
import os
import re
import sys
import time

TABLES = "customer lineitem nation orders part partsupp region supplier".split()


class DuckDB:
    """Views over the files; rows come as Python tuples."""

    def __init__(self, data, threads, limit):
        import duckdb

        self.connection = duckdb.connect()
        self.connection.execute(f"set threads={threads}")
        self.connection.execute("set enable_progress_bar=false")
        if limit:
            self.connection.execute(f"set memory_limit='{limit}B'")
        for table in TABLES:
            path = f"{data}/{table}.parquet".replace("'", "''")
            self.connection.execute(f"create view {table} as select * from '{path}'")
        self.note = None

    def run(self, text):
        cursor = self.connection.execute(text)
        names = [column[0] for column in cursor.description]
        return names, cursor.fetchall()

    @staticmethod
    def rows(result):
        return result


class DataFusion:
    """Registered files; rows come as Arrow batches."""

    def __init__(self, data, threads, limit):
        os.environ["TOKIO_WORKER_THREADS"] = str(threads)
        import datafusion

        config = datafusion.SessionConfig().with_target_partitions(threads)
        runtime = datafusion.RuntimeEnvBuilder()
        if limit:
            runtime = runtime.with_disk_manager_os().with_fair_spill_pool(limit)
        self.context = datafusion.SessionContext(config, runtime)
        for table in TABLES:
            self.context.register_parquet(table, f"{data}/{table}.parquet")
        self.note = None

    def run(self, text):
        batches = self.context.sql(text).collect()
        return (batches[0].schema.names if batches else []), batches

    @staticmethod
    def rows(result):
        columns = lambda batch: [column.to_pylist() for column in batch.columns]
        return [row for batch in result for row in zip(*columns(batch))]


class Polars:
    """Lazy scans under SQL, on the streaming engine; rows come as one frame."""

    def __init__(self, data, threads, limit):
        os.environ["POLARS_MAX_THREADS"] = str(threads)
        import polars

        self.context = polars.SQLContext({table: polars.scan_parquet(f"{data}/{table}.parquet") for table in TABLES})
        self.note = "without the memory limit, which it does not know" if limit else None

    def run(self, text):
        frame = self.context.execute(text).collect(engine="streaming")
        return frame.columns, frame

    @staticmethod
    def rows(result):
        return result.rows()


ENGINES = {"duckdb": DuckDB, "datafusion": DataFusion, "polars": Polars}


def single_query(text):
    """A view that is created, asked and dropped becomes a WITH of the question: not every peer has views."""
    statements = [part.strip() for part in re.sub(r"--[^\n]*", "", text).split(";") if part.strip()]
    view, question = "", None
    for statement in statements:
        made = re.match(r"create view (\w+)\s*\(([^)]*)\)\s*as(.*)", statement, re.S | re.I)
        if made:
            view = f"with {made[1]}({made[2]}) as ({made[3]}) "
        elif not statement.lower().startswith("drop view"):
            question = statement
    return view + question


def cell(value):
    """A value as JSON has it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"d": repr(value)}
    if isinstance(value, decimal.Decimal):
        return {"d": f"{value:f}"}
    if isinstance(value, datetime.datetime):
        midnight = value.time() == datetime.time()
        return (value.date() if midnight else value).isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    return str(value)


def answer(engine, request):
    text = request["sql"]
    started = time.perf_counter()
    names, result = engine.run(single_query(text))
    elapsed = (time.perf_counter() - started) * 1e3
    rows = engine.rows(result)
    reply = {"ms": elapsed, "rows": len(rows)}
    if request.get("answer"):
        reply["answer"] = {"columns": names, "rows": [[cell(value) for value in row] for row in rows]}
    return reply


def main():
    name, data, threads, limit = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    # What a library prints must not be taken for a reply.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(what):
        replies.write(json.dumps(what) + "\n")
        replies.flush()

    try:
        engine = ENGINES[name](data, threads, limit)
        say({"engine": name, "version": importlib.metadata.version(name), "note": engine.note})
    except ImportError as error:
        return say({"missing": str(error)})
    except Exception as error:
        return say({"missing": f"it does not start: {type(error).__name__}: {error}"})
    for line in sys.stdin:
        try:
            say(answer(engine, json.loads(line)))
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
    # Some engines' threads outlive the interpreter's own end.
    replies.flush()
    os._exit(0)


if __name__ == "__main__":
    # An interrupt ends the whole group; its story is told by the parent.
    try:
        main()
    except KeyboardInterrupt:
        os._exit(130)
