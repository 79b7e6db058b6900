//! Classifiers and pools on small models built here.
