"""Mathematics of probability-flow ODEs: paths, predictions, velocity fields, guidance and the model."""
