"""Class-conditional 28x28 pictures of clothes: the data, the networks, the models and how they are trained."""
