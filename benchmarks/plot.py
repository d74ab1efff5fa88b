"""Draws docs/latency.png: how long log calls of datacat and its peers take."""

from __future__ import absolute_import, division

import os
import sys

from . import subjects
from .log_calls import FLOOR, idle, while_draining
from .measuring import FULL, pooled

PICTURE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "latency.png"
)


def main(path):
    """Measure, and draw which share of the calls takes longer than a time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    ours, floor = idle(FULL)
    curves = {"datacat": pooled(ours), "floor: " + FLOOR: pooled(floor)}
    for name in subjects.installed_peers():
        curves[name] = pooled(idle(FULL, name)[1])
    curves["datacat, while it sends"] = pooled(while_draining(FULL, 1, None)[0])
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for name, samples in sorted(curves.items()):
        ordered = sorted(sample * 1e6 for sample in samples)
        left = [1 - place / len(ordered) for place in range(len(ordered))]
        axes.plot(ordered, left, label=name, linewidth=2.5 if "datacat" in name else 1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 1.1)
    axes.set_xlim(5, 2e4)
    axes.set_xlabel("microseconds of one call (150 bytes)")
    axes.set_ylabel("share of calls that take longer")
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else PICTURE)
