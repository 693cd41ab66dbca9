"""Suite files, the plan of cells, the runner with its executors, and the records that it keeps."""
