"""Many files as one upload: each is checked by itself, what they hold in common counts once, and the data set moves on
by one version. The same rows give the same version, statistics and counts, however they lie in files."""
