//! Datasets, recognised by content.
