"""What a process has and how it behaves: cores, threads, devices, the cache folder, global random states."""
