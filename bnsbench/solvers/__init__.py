"""Classic solvers, written as their papers write them and traced into tables; `specs.SOLVERS` lists them."""
