"""Benchmarks: what this store costs, side by side with what people would pick instead.

``python -m benchmarks --quick`` runs everything in small sizes, ``python -m benchmarks`` in full.

Theory of operation
-------------------
*Contenders* (:mod:`benchmarks.contenders`) are ways of keeping the same events: this store, its
peers, and the bare limit of the disk. Each is an adapter of its own in :mod:`benchmarks.peers`,
whose docstring says how its library is used and why that is fair.

*Cases* (:mod:`benchmarks.cases`) are the questions. A case gives a list of *cells*, one for each
contender and variant that it is asked of, and knows how to run one.

*Workers* (:mod:`benchmarks.worker`) run cells. Each contender has a process of its own, which lives
for the whole run and imports nothing but that contender: no heap, no thread and no garbage of one
is in the way of another. While one works the others wait for their next line.

*Rounds* (:mod:`benchmarks.measuring`): every round runs every cell once, in an order shuffled anew,
on one disk. So a slow minute of the machine slows all alike, and what counts are ratios: the median
of the ratios within rounds, not the ratio of two medians.

*Histories* that a cell reads are made before the rounds, once for each contender, by a process that
ends without closing anything where the case is about crashes.

:mod:`benchmarks.report` writes a table, JSON and plots; :mod:`benchmarks.targets` says which of the
project's targets were met.
"""
