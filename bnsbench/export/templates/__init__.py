"""The generated files with numbers of Euler's method in one step; `bnsbench.export.files` puts a solver's in their place."""
