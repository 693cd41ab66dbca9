"""What Python users call and commands are made of: run, train, tune, sample, compare, wrap."""
