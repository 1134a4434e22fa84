"""One HTML page about a store, for a reader without the store: `write_report`.

Theory of operation
-------------------
- `gather.py` makes one pass over the history, and asks the files for the rest.
- `books.py` watches the states of a trading engine, `state_curves.py` values of any other state.
- `thinned_series.py` keeps few points of each series, so that memory and page do not grow with
  events.
- `commits.py` reads the records of the log, and the counters of a running store.
- `storage.py` tells sizes, snapshots, timelines and repairs.
- `report_contents.py` and `trading.py` choose charts, tables and words.
- `chart_data.py` has the result: charts and tables, without any HTML.
- `page.py` puts the result into the page in `page/`, as data that no browser takes for HTML.
- `entrance.py` is the entrance.

The page draws with uPlot, which is in `page/uplot/` and goes into each page. A page loads nothing.
"""
