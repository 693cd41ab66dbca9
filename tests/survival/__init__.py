"""What bnsbench survives, tried at length: ``python -m tests.survival PART``; short versions are tests beside the parts."""
