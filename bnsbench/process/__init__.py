"""The process: cores, threads, devices, the cache folder, global random states."""
