"""How the numbers of a table are found: differentiable sampling, derivatives, Gauss-Newton, Adam, regression of rows."""
