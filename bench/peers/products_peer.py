#!/usr/bin/env python3
"""NumPy as a child that multiplies arrays: products_peer.py THREADS.

As tpch_peer.py, but `query` is a product, such as `f64 ijk,kl->ijl 400x400x400 400x32`, and `sql` says how many runs a turn has, of
which the best counts. Operands are made at the first question and not timed: number `at` of operand o is u - 1/2, where u in 0..1 is
the at-th number of SplitMix64 under the seed o + 1. The answer is one row: the sum and the norm of the result, divided by the root
of its size, and 1000 of its elements. Two matrices are multiplied by `@`, all else by `einsum(optimize=True)`.
"""

import importlib.metadata
import json
import os
import sys
import time

THREADS = sys.argv[1]
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = THREADS

CHUNK = 1 << 20


def numbers(np, seed, shape, dtype):
    cells = np.empty(shape, dtype)
    flat = cells.reshape(-1)
    for first in range(0, flat.size, CHUNK):
        at = np.arange(first + 1, min(first + CHUNK, flat.size) + 1, dtype=np.uint64)
        bits = at * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed << 56)
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
        flat[first : first + CHUNK] = (bits >> np.uint64(11)).astype(np.float64) / 2.0**53 - 0.5
    return cells


def load(np, query):
    element, einsum, *shapes = query.split(" ")
    dtype = {"f32": np.float32, "f64": np.float64}[element]
    shapes = [tuple(int(extent) for extent in shape.split("x")) for shape in shapes]
    operands = [numbers(np, at + 1, shape, dtype) for at, shape in enumerate(shapes)]
    if einsum == "ik,kj->ij":
        return lambda: operands[0] @ operands[1]
    return lambda: np.einsum(einsum, *operands, optimize=True)


def digest(np, result):
    flat = np.asarray(result).reshape(-1).astype(np.float64)
    root, step = flat.size**0.5, max(flat.size // 1000, 1)
    return [float(flat.sum()) / root, float(np.dot(flat, flat)) ** 0.5 / root] + flat[::step][:1000].tolist()


def blas(np):
    try:
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{found['name']} {found['version']}"
    except Exception:  # older versions only print it
        return None


def main():
    say = lambda reply: print(json.dumps(reply), flush=True)
    try:
        import numpy as np
    except ImportError as error:
        return say({"missing": str(error)})
    say({"engine": "numpy", "version": importlib.metadata.version("numpy"), "note": blas(np)})
    loaded, run, result = None, None, None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["query"] != loaded:
                loaded, run, result = None, None, None
                run, loaded = load(np, request["query"]), request["query"]
            best = float("inf")
            for _ in range(int(request["sql"])):
                result = None
                started = time.perf_counter()
                result = run()
                best = min(best, (time.perf_counter() - started) * 1e3)
            answer = {"columns": [], "rows": [digest(np, result)]} if request["answer"] else None
            say({"ms": best, "rows": 0, "answer": answer})
        except Exception as error:  # whatever an engine raises is its answer
            say({"error": f"{type(error).__name__}: {error}"})


main()
