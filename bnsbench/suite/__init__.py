"""Suites: what is compared, how it is run, and the records that are kept of it.

A cell's way, one module a station: a `suitefile` says what is compared; the `plan` lists its cells; `run` looks which of
them are `finished` and hands the others to an executor (`executors`, `processes`), which calls the one function of `cells`;
what that finds out becomes a `record`, which `run` keeps in the `store`, a results folder. `bnsbench.report` reads the
records from there.
"""
