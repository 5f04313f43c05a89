"""Small tables: the shipped learners against linear models, neighbours and a Gaussian process."""
