"""Timing in interleaved batches, and the table.

Belongs here: samples, medians, ratios, rows.  Does not: what is measured.
"""

from __future__ import absolute_import, division, print_function

import argparse
import collections
import gc
import operator
import sys
from timeit import default_timer

# How far over its target something counted may be, by its unit. No other program on the machine
# can change these figures; Pythons differ in bytecodes and in memory.
MARGINS = {"calls": 1.0, "moves": 1.0, "bytes": 1.0, "bytecodes": 1.25, "MB": 1.25, "times": 1.25}

Scale = collections.namedtuple("Scale", "is_small")
SMALL, FULL = Scale(True), Scale(False)

_Row = collections.namedtuple("Row", "what measured unit beside other ratio at_most at_least")
# Few rows have a target that is a least one.
_Row.__new__.__defaults__ = (None,)


class Row(_Row):
    """One line of the table.

    measured: a number in `unit`.  other: the number that it is compared with, or None.  ratio: of
    the two.  at_most or at_least: the target for the ratio, or for `measured` without an `other`;
    None for none.
    """

    __slots__ = ()

    def is_reached(self, margin=1.0):
        """Return whether the target is reached, or None if there is none."""
        figure = self.measured if self.ratio is None else self.ratio
        if self.at_least is not None:
            return figure * margin >= self.at_least
        return None if self.at_most is None else figure <= self.at_most * margin


def plain(what, measured, unit, at_most=None, at_least=None):
    """Return the row of a single figure."""
    return Row(what, measured, unit, "", None, None, at_most, at_least)


def compared(what, measured, unit, beside, other, at_most=None, at_least=None):
    """Return the row of two figures and their ratio."""
    return Row(what, measured, unit, beside, other, measured / other, at_most, at_least)


def interleaved(functions, batches, calls):
    """Time each call; return for each function a list of batches, lists of seconds.

    The functions take turns, batch by batch, so that other load on the machine affects all.
    """
    gathered = [[] for _ in functions]
    for _ in range(batches):
        for function, batch in zip(functions, gathered):
            batch.append(timed(function, calls))
    return gathered


def timed(function, calls):
    """Return the seconds of each of `calls` calls."""
    clock = default_timer
    samples = []
    gc.collect()
    for _ in range(calls):
        start = clock()
        function()
        samples.append(clock() - start)
    return samples


def rate(function, calls):
    """Return the average seconds per call, for calls too short to be timed one by one."""
    repeated = range(calls)
    start = default_timer()
    for _ in repeated:
        function()
    return (default_timer() - start) / calls


def median(values):
    """Return the median."""
    return percentile(values, 50)


def percentile(values, percent):
    """Return the value below which `percent` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def pooled(batches):
    """Return all samples of all batches."""
    return [sample for batch in batches for sample in batch]


def ratio_of(ours, others, percent=50):
    """Return the median of the ratios of pairs of batches."""
    return median(
        [
            percentile(mine, percent) / percentile(other, percent)
            for mine, other in zip(ours, others)
        ]
    )


def paired(what, ours, beside, others, at_most=None, percent=50):
    """Return the row of two lists of batches, in microseconds, with the ratio of their pairs."""
    return Row(
        what,
        percentile(pooled(ours), percent) * 1e6,
        "us",
        beside,
        percentile(pooled(others), percent) * 1e6,
        ratio_of(ours, others, percent),
        at_most,
    )


HEADINGS = ("what", "measured", "beside", "its", "ratio", "to reach", "")


def cells(row):
    """Return a row as texts, in the order of HEADINGS."""
    reached = {None: "", True: "yes", False: "NO"}[row.is_reached()]
    return (
        row.what,
        "%s %s" % (_short(row.measured), row.unit),
        row.beside,
        "" if row.other is None else "%s %s" % (_short(row.other), row.unit),
        "" if row.ratio is None else "%.2f" % row.ratio,
        _target(row),
        reached,
    )


def _target(row):
    unit = row.unit if row.ratio is None else "x"
    for sign, target in (("<=", row.at_most), (">=", row.at_least)):
        if target is not None:
            return "%s %g %s" % (sign, target, unit)
    return ""


def _short(number):
    return "%d" % number if abs(number) >= 1000 else "%.3g" % number


def print_table(rows):
    """Print rows as a table in Markdown."""
    lines = [HEADINGS] + [cells(row) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    lines.insert(1, tuple("-" * width for width in widths))
    for line in lines:
        print("| %s |" % " | ".join(cell.ljust(width) for cell, width in zip(line, widths)))
    sys.stdout.flush()


def grown(rows):
    """Return the rows of something counted, not timed, that is over its target."""
    counted = [row for row in rows if row.unit in MARGINS]
    return [row for row in counted if row.is_reached(MARGINS[row.unit]) is False]


def main(measures):
    """Run measures with the arguments of the command line; see `run`."""
    run(measures, parser().parse_args())


def parser():
    """Return the parser of what all benchmarks understand."""
    understood = argparse.ArgumentParser(description="Measure datacat and print a table.")
    understood.add_argument(
        "--small",
        action="store_true",
        help="take seconds instead of minutes; fail if a count, not a time, is over its target",
    )
    return understood


def run(measures, arguments):
    """Run measures, callables (Scale) -> rows, and print their rows.

    With --small they take seconds, and the exit status is 1 if something counted (calls, bytes,
    wakeups) is over its target. Times are only printed: a busy machine can change any of them.
    """
    scale = SMALL if arguments.small else FULL
    rows = [row for measure in measures for row in measure(scale)]
    print_table(rows)
    failed = grown(rows) if scale.is_small else []
    for row in failed:
        print(
            "FAILED: %s: %s, to reach: %s" % operator.itemgetter(0, 1, 5)(cells(row)),
            file=sys.stderr,
        )
    sys.exit(1 if failed else 0)
