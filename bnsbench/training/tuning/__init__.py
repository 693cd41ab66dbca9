"""Classic solvers on their best time grids, searched on training noise."""
