#!/usr/bin/env python3
"""One peer as a child that multiplies tensors in SQL: sql_tensor_peer.py ENGINE DATA THREADS.

As tpch_peer.py, over two tables in memory: DATA/a.parquet (i, k, v) and DATA/b.parquet (k, j, v). The clock runs from the
text to rows in memory, as Arrow where the engine has it. The answer is one row: how many rows there are, and the sum of v.
The engine numpy knows no SQL; it multiplies the same numbers as matrices.
"""

import importlib.metadata
import json
import os
import sys
import time

ENGINE, DATA, THREADS = sys.argv[1], sys.argv[2], int(sys.argv[3])
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "TOKIO_WORKER_THREADS"):
    os.environ[name] = str(THREADS)


def tables():
    import pyarrow.parquet as pq

    return pq.read_table(f"{DATA}/a.parquet"), pq.read_table(f"{DATA}/b.parquet")


def duckdb():
    import duckdb

    connection = duckdb.connect()
    connection.execute(f"set threads={THREADS}")
    connection.execute("set enable_progress_bar=false")
    for name in "ab":
        connection.execute(f"create table {name} as select * from '{DATA}/{name}.parquet'")
    def run(text):
        result = connection.execute(text)
        return result.to_arrow_table() if hasattr(result, "to_arrow_table") else result.fetch_arrow_table()

    return run


def datafusion():
    import datafusion
    import pyarrow

    context = datafusion.SessionContext(datafusion.SessionConfig().with_target_partitions(THREADS))
    for name, table in zip("ab", tables()):
        batches = table.combine_chunks().to_batches(max_chunksize=8192)
        context.register_record_batches(name, [batches[part::THREADS] for part in range(THREADS)])
    return lambda text: pyarrow.Table.from_batches(context.sql(text).collect())


def polars():
    import polars

    frames = {name: polars.read_parquet(f"{DATA}/{name}.parquet").lazy() for name in "ab"}
    context = polars.SQLContext(frames)
    return lambda text: context.execute(text).collect(engine="streaming").to_arrow()


def numpy():
    import numpy
    import pyarrow

    a, b = tables()
    size = 1 + max(a["i"].to_numpy().max(), a["k"].to_numpy().max())
    if size > 4000:
        raise ModuleNotFoundError("a dense product of this size says nothing")
    boxes = []
    for table, row, column in ((a, "i", "k"), (b, "k", "j")):
        box = numpy.zeros((size, size))
        box[table[row].to_numpy(), table[column].to_numpy()] = table["v"].to_numpy()
        boxes.append(box)

    class Product:
        def __init__(self, values):
            self.num_rows, self.values = values.size, values

        def column(self, _):
            return self.values

    return lambda _: Product(boxes[0] @ boxes[1])


def total(result):
    import numpy

    column = result.column("v")
    return float(numpy.sum(column if isinstance(column, numpy.ndarray) else column.to_numpy()))


def main():
    say = lambda reply: print(json.dumps(reply), flush=True)
    try:
        run = {"duckdb": duckdb, "datafusion": datafusion, "polars": polars, "numpy": numpy}[ENGINE]()
    except ImportError as error:
        return say({"missing": str(error)})
    say({"engine": ENGINE, "version": importlib.metadata.version(ENGINE), "note": None})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            started = time.perf_counter()
            result = run(request["sql"])
            ms = (time.perf_counter() - started) * 1e3
            answer = {"columns": ["rows", "sum"], "rows": [[result.num_rows, total(result)]]} if request["answer"] else None
            say({"ms": ms, "rows": result.num_rows, "answer": answer})
        except Exception as error:  # whatever an engine raises is its answer
            say({"error": f"{type(error).__name__}: {error}"})


main()
