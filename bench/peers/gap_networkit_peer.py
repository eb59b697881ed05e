"""GAP's kernels by networkit, on a graph that the benchmark has written.

    python gap_networkit_peer.py FOLDER THREADS

FOLDER has from.u32, to.u32 (each undirected edge once) and weights.i32, native, and vertices.txt. Each line that comes in on
standard input, after `ready` went out, is a kernel and the source of each trial, `bfs 17 4`; one line goes out for each: the seconds of a trial on average,
and what the answers add up to.
"""

import sys
import time

import networkit as nk
import numpy as np
import scipy.sparse as sp


def read(folder):
    vertices = int(open(f"{folder}/vertices.txt").read())
    ends = [np.fromfile(f"{folder}/{name}.u32", dtype=np.uint32).astype(np.int64) for name in ("from", "to")]
    weights = np.fromfile(f"{folder}/weights.i32", dtype=np.int32).astype(np.float64)
    graphs = []
    for weighted in (False, True):
        values = weights if weighted else np.ones(len(weights))
        coo = sp.coo_matrix((values, ends), shape=(vertices, vertices))
        graphs.append(nk.GraphFromCoo(coo, n=vertices, weighted=weighted, directed=False))
    return graphs


def reached(distances):
    values = np.asarray(distances)
    return float(values[values < 1e100].sum())


def trial(kernel, plain, weighted, source):
    """The algorithm, ready to run, and what its answer adds up to."""
    if kernel == "bfs":
        search = nk.distance.BFS(plain, source, storePaths=True)
        return search, lambda: reached(search.getDistances())
    if kernel == "sssp":
        search = nk.distance.Dijkstra(weighted, source, storePaths=False)
        return search, lambda: reached(search.getDistances())
    if kernel == "pr":
        ranks = nk.centrality.PageRank(plain, damp=0.85, tol=1e-4, normalized=False)
        ranks.maxIterations = 20
        ranks.norm = nk.centrality.Norm.L1_NORM
        return ranks, lambda: 0.0
    if kernel == "cc":
        components = nk.components.ParallelConnectedComponents(plain, coarsening=False)
        return components, lambda: float(components.numberOfComponents())
    if kernel == "bc":
        return nk.centrality.EstimateBetweenness(plain, 4, parallel=True), lambda: 0.0
    if kernel == "tc":
        clustering = nk.centrality.LocalClusteringCoefficient(plain, turbo=True)
        degrees = np.array([plain.degree(vertex) for vertex in plain.iterNodes()], dtype=np.float64)
        wedges = degrees * (degrees - 1) / 2
        return clustering, lambda: round(float((np.asarray(clustering.scores()) * wedges).sum()) / 3)
    raise ValueError(kernel)


def main():
    folder, threads = sys.argv[1], int(sys.argv[2])
    nk.setNumberOfThreads(threads)
    plain, weighted = read(folder)
    print("ready", flush=True)
    for line in sys.stdin:
        kernel, *sources = line.split()
        seconds, total = 0.0, 0.0
        for source in map(int, sources):
            algorithm, answer = trial(kernel, plain, weighted, source)
            started = time.perf_counter()
            algorithm.run()
            seconds += time.perf_counter() - started
            total += answer()
        print(seconds / len(sources), total, flush=True)


main()
