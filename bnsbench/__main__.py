"""``python -m bnsbench``: the command line of the interpreter's own installation."""

from bnsbench.cli import main

if __name__ == "__main__":
    main()
