"""A trading loop that is killed again and again, and loses nothing: `eventstore demo`.

* `tape` reads trade prints.
* `strategy` decides the trades.
* `events_to_record` makes the events of the trades.
* `worker` is the process that records the events and is killed.
* `run` starts and kills the worker.
* `ledger` and `verify` are the independent accounts.
* `report` prints the result.
"""
