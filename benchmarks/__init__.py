"""Benchmarks: the cost of this store, side by side with the alternatives that people would pick.

`python -m benchmarks --quick` runs everything in small sizes, `python -m benchmarks` in full.

Theory of operation
-------------------
*Contenders* (`benchmarks.contenders`) are ways of keeping the same events: this store, its peers,
and the bare limit of the disk. Each is an adapter of its own in `benchmarks.peers`. The adapter's
docstring says how the library is used and why the comparison is fair.

*Cases* (`benchmarks.cases`) are the questions. A case gives a list of *cells*, one for each
contender and variant in question, and knows how to run one.

*Workers* (`benchmarks.worker`) run cells. Each contender has a process of its own. The process
lives for the whole run and imports nothing but the contender. So no heap, no thread and no garbage
of one contender disturbs another. While one works the others wait for their next line.

*Rounds* (`benchmarks.measuring`): every round runs every cell once, in an order shuffled anew, on
one disk. So a slow minute of the machine slows all contenders alike, and the results are ratios:
the median of the ratios within rounds, not the ratio of two medians.

*Histories* for reading are made before the rounds, once for each contender. For the cases about
crashes, the writing process ends without closing anything.

`benchmarks.report` writes a table, JSON and plots. `benchmarks.targets` says which of the
project's targets were met.
"""
