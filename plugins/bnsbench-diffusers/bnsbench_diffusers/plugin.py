"""What the package offers to bnsbench; importing this imports neither torch nor diffusers."""
