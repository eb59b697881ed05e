#!/usr/bin/env python3
"""One peer as a child that runs the seed's programs: seed_peer.py ENGINE DATA THREADS ITERATIONS.

As tpch_peer.py, but `query` names a program: jacobi, cg, pcg or black-scholes. Its inputs are DATA/NAME.npy; they are read at the
first question and not timed. The clock runs from arrays in memory to x, or call and put, in memory. The answer is one row of
numbers: x; or the sums of call and put, and 1000 prices of each.

numpy   the originals, with as many BLAS threads as it is told.
dask    the same over arrays of chunks, a row block a thread, or 500,000 options; BLAS has one thread, since chunks have the others.
numba   parallel loops: a product by rows with all that can be fused to it, one loop for Black-Scholes.
"""

import importlib.metadata
import json
import os
import sys
import time

ENGINE, DATA, THREADS, ITERATIONS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
BLAS_THREADS = 1 if ENGINE == "dask" else THREADS
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = str(BLAS_THREADS)
os.environ["NUMBA_NUM_THREADS"] = str(THREADS)

INPUTS = {"jacobi": "rdb", "cg": "ab", "pcg": "amb", "black-scholes": "skt"}
RATE, VOLATILITY = 0.02, 0.30


def read(name):
    import numpy

    return numpy.load(f"{DATA}/{name}.npy")


def jacobi(np, r, d, b, zeros):
    x = zeros()
    for _ in range(ITERATIONS):
        x = (b - np.dot(r, x)) / d
    return x


def cg(a, m, b, zeros):
    """With a preconditioner m, or with none."""
    x = zeros()
    r = b - a.dot(x)
    z = r if m is None else m.dot(r)
    p = z
    rz = r.dot(z)
    for _ in range(ITERATIONS):
        ap = a.dot(p)
        alpha = rz / p.dot(ap)
        x = x + alpha * p
        r = r - alpha * ap
        z = r if m is None else m.dot(r)
        rz_new = r.dot(z)
        p = z + (rz_new / rz) * p
        rz = rz_new
    return x


def black_scholes(np, s, k, t):
    def cnd(d):
        a1, a2, a3, a4, a5 = 0.31938153, -0.356563782, 1.781477937, -1.821255978, 1.330274429
        k = 1.0 / (1.0 + 0.2316419 * abs(d))
        c = 0.3989422804014327 * np.exp(-0.5 * d * d) * (k * (a1 + k * (a2 + k * (a3 + k * (a4 + k * a5)))))
        return np.where(d > 0, 1.0 - c, c)

    root = np.sqrt(t)
    d1 = (np.log(s / k) + (RATE + 0.5 * VOLATILITY * VOLATILITY) * t) / (VOLATILITY * root)
    d2 = d1 - VOLATILITY * root
    c1, c2 = cnd(d1), cnd(d2)
    e = np.exp(-RATE * t)
    call = s * c1 - k * e * c2
    put = k * e * (1 - c2) - s * (1 - c1)
    return call, put


def over_arrays(np, program, inputs, zeros, finish):
    """What runs a program: `finish` makes its lazy results real."""
    if program == "jacobi":
        r, d, b = inputs
        return lambda: finish(jacobi(np, r, d, b, zeros))
    if program == "black-scholes":
        return lambda: finish(*black_scholes(np, *inputs))
    a, *m, b = inputs
    return lambda: finish(cg(a, m[0] if m else None, b, zeros))


def numpy():
    import numpy as np

    def load(program):
        inputs = [read(name) for name in INPUTS[program]]
        return over_arrays(np, program, inputs, lambda: np.zeros(len(inputs[-1])), lambda *results: results)

    return load


def dask():
    import dask
    import dask.array as da

    dask.config.set(scheduler="threads", num_workers=THREADS)

    def chunked(array, rows):
        chunks = (rows,) if array.ndim == 1 else (rows, array.shape[1])
        return da.from_array(array, chunks=chunks).persist()

    def load(program):
        arrays = [read(name) for name in INPUTS[program]]
        length = len(arrays[-1])
        rows = 500_000 if program == "black-scholes" else -(-length // THREADS)
        inputs = [chunked(array, rows) for array in arrays]
        return over_arrays(da, program, inputs, lambda: da.zeros(length, chunks=rows), dask.persist)

    return load


def numba():
    import math

    import numba as nb
    import numpy as np

    @nb.njit(parallel=True, fastmath=True)
    def product(a, x, y):
        for i in nb.prange(y.size):
            row, total = a[i], 0.0
            for j in range(x.size):
                total += row[j] * x[j]
            y[i] = total

    @nb.njit(parallel=True, fastmath=True)
    def product_and_dot(a, x, w, y):
        """y = a·x, and w·y."""
        dot = 0.0
        for i in nb.prange(y.size):
            row, total = a[i], 0.0
            for j in range(x.size):
                total += row[j] * x[j]
            y[i] = total
            dot += w[i] * total
        return dot

    @nb.njit(parallel=True, fastmath=True)
    def jacobi_step(r, d, b, x, y):
        for i in nb.prange(y.size):
            row, total = r[i], 0.0
            for j in range(x.size):
                total += row[j] * x[j]
            y[i] = (b[i] - total) / d[i]

    @nb.njit(fastmath=True)
    def jacobi(r, d, b):
        x, y = np.zeros(b.size), np.empty(b.size)
        for _ in range(ITERATIONS):
            jacobi_step(r, d, b, x, y)
            x, y = y, x
        return x

    @nb.njit(fastmath=True)
    def step(alpha, p, ap, x, r):
        """x += alpha·p, r -= alpha·ap, and the new r·r."""
        dot = 0.0
        for i in range(x.size):
            x[i] += alpha * p[i]
            r[i] -= alpha * ap[i]
            dot += r[i] * r[i]
        return dot

    @nb.njit(fastmath=True)
    def follow(beta, z, p):
        for i in range(p.size):
            p[i] = z[i] + beta * p[i]

    @nb.njit(fastmath=True)
    def cg(a, b):
        x, ap = np.zeros(b.size), np.empty(b.size)
        product(a, x, ap)
        r = b - ap
        p = r.copy()
        rs = np.sum(r * r)
        for _ in range(ITERATIONS):
            alpha = rs / product_and_dot(a, p, p, ap)
            rs_new = step(alpha, p, ap, x, r)
            follow(rs_new / rs, r, p)
            rs = rs_new
        return x

    @nb.njit(fastmath=True)
    def pcg(a, m, b):
        x, ap, z = np.zeros(b.size), np.empty(b.size), np.empty(b.size)
        product(a, x, ap)
        r = b - ap
        rz = product_and_dot(m, r, r, z)
        p = z.copy()
        for _ in range(ITERATIONS):
            alpha = rz / product_and_dot(a, p, p, ap)
            step(alpha, p, ap, x, r)
            rz_new = product_and_dot(m, r, r, z)
            follow(rz_new / rz, z, p)
            rz = rz_new
        return x

    @nb.njit(fastmath=True)
    def cnd(d):
        k = 1.0 / (1.0 + 0.2316419 * abs(d))
        c = 0.3989422804014327 * math.exp(-0.5 * d * d) * (k * (0.31938153 + k * (-0.356563782 + k * (1.781477937 + k * (-1.821255978 + k * 1.330274429)))))
        return 1.0 - c if d > 0 else c

    @nb.njit(parallel=True, fastmath=True)
    def black_scholes(s, k, t, call, put):
        for i in nb.prange(s.size):
            root = math.sqrt(t[i])
            d1 = (math.log(s[i] / k[i]) + (RATE + 0.5 * VOLATILITY * VOLATILITY) * t[i]) / (VOLATILITY * root)
            d2 = d1 - VOLATILITY * root
            c1, c2, e = cnd(d1), cnd(d2), math.exp(-RATE * t[i])
            call[i] = s[i] * c1 - k[i] * e * c2
            put[i] = k[i] * e * (1 - c2) - s[i] * (1 - c1)

    def load(program):
        inputs = [read(name) for name in INPUTS[program]]
        if program != "black-scholes":
            solver = {"jacobi": jacobi, "cg": cg, "pcg": pcg}[program]
            return lambda: (solver(*inputs),)
        call, put = np.empty(len(inputs[0])), np.empty(len(inputs[0]))

        def run():
            black_scholes(*inputs, call, put)
            return call, put

        return run

    return load


def numbers(results):
    """What of the results is compared."""
    import numpy as np

    results = [np.asarray(result) for result in results]
    if len(results) == 1:
        return results[0].tolist()
    step = max(len(results[0]) // 1000, 1)
    samples = [result[::step][:1000].tolist() for result in results]
    return [float(result.sum()) for result in results] + samples[0] + samples[1]


def main():
    say = lambda reply: print(json.dumps(reply), flush=True)
    try:
        load = {"numpy": numpy, "dask": dask, "numba": numba}[ENGINE]()
    except ImportError as error:
        return say({"missing": str(error)})
    say({"engine": ENGINE, "version": importlib.metadata.version(ENGINE), "note": None})
    loaded, run, results = None, None, None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["query"] != loaded:
                loaded, run, results = None, None, None
                run, loaded = load(request["query"]), request["query"]
            results = None
            started = time.perf_counter()
            results = run()
            ms = (time.perf_counter() - started) * 1e3
            answer = {"columns": [], "rows": [numbers(results)]} if request["answer"] else None
            say({"ms": ms, "rows": 0, "answer": answer})
        except Exception as error:  # whatever an engine raises is its answer
            say({"error": f"{type(error).__name__}: {error}"})


main()
