"""One name and one unit for every number: the catalogue, the records and the pure derivations."""
