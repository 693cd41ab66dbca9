"""Class-conditional 8x8 digits: the data, the networks, the models and how they are trained."""
