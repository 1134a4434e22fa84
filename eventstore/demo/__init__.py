"""A trading loop that is killed again and again, and loses nothing: ``eventstore demo``.

``tape`` reads trade prints, ``strategy`` decides what to trade, ``journal`` says which events that
makes, ``worker`` is the process that records them and is killed, ``run`` is the one that kills it,
``ledger`` and ``verify`` are the independent accounts, and ``report`` is what is shown.
"""
