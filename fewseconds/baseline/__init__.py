"""A run beside its baseline: what has changed, how surely, and whether a build should stop for it.

``runs`` reads runs of our own, ``jmeter`` and ``locust_csv`` what other tools left behind;
``effect`` holds the statistics, ``comparison`` applies them to every measure and step, and ``page``
shows it.
"""
