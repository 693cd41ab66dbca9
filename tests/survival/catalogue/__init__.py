"""The catalogue of forgeries: each edits a results folder, and whatever hash, checksum or table follows is made to fit."""

from tests.survival.catalogue import cells, files, origins, solvers, values
from tests.survival.catalogue.forgery import CATALOGUE, Forgery

__all__ = ["CATALOGUE", "Forgery", "cells", "files", "origins", "solvers", "values"]
