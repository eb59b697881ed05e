#!/usr/bin/env python3
"""Prices of work that explain the times of records of `bireme-bench model` best.

    bench/model/fit.py record.json …

A record holds, of each case, how much of each kind of work its busiest ranks do and how long it took. The prices (nanoseconds of a
core of the reference machine) are those that make the relative errors least: least absolute deviations by iterated reweighting,
with a weak pull towards the prices that are there, for not every kind occurs often enough. They belong into
planner/src/place/work.rs. Needs numpy and scipy.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import lsq_linear

START_MS = 0.15
PULL = 0.03


def present_prices():
    source = Path(__file__).parents[2] / "planner/src/place/work.rs"
    kinds = re.findall(r'^    \w+ "(\w+)" ([\d.]+) "', source.read_text(), re.M)
    return {name: float(price) for name, price in kinds}


def main():
    prices = present_prices()
    names = list(prices)
    rows, links, times = [], [], []
    for path in sys.argv[1:]:
        for job in json.load(open(path))["jobs"]:
            machine = job["machine"]
            cores = machine["threads"]
            if machine["cores_per_node"]:
                cores = min(cores, machine["cores_per_node"] / machine["ranks_per_node"])
            scale = 1e-6 / (machine["rates"]["core"] * cores)
            for case in job["cases"]:
                rows.append([case["work"].get(name, 0.0) * scale for name in names])
                links.append(case["transfer_ms"] + START_MS)
                times.append(case["taken_ms"])
    work, links, times = np.array(rows), np.array(links), np.array(times)
    start = np.array([prices[name] for name in names])
    pull = np.diag(PULL * np.sqrt(len(times)) / start)
    found, weights = start, np.ones(len(times))
    for _ in range(50):
        scaled = work / times[:, None] * weights[:, None]
        wanted = (times - links) / times * weights
        system, target = np.vstack([scaled, pull]), np.concatenate([wanted, pull @ start])
        found = lsq_linear(system, target, bounds=(start / 4, start * 4)).x
        errors = np.abs((work @ found + links - times) / times)
        weights = 1 / np.sqrt(np.maximum(errors, 0.05))
    before = np.abs((work @ start + links - times) / times)
    print(f"median error {np.median(before):.3f} -> {np.median(errors):.3f}, mean {before.mean():.3f} -> {errors.mean():.3f}")
    for name, old, new in zip(names, start, found):
        share = (work[:, names.index(name)] * new / times).mean()
        print(f"{name:<8} {old:>10.2f} -> {new:>10.2f} ns   {share:6.1%} of a case")


main()
