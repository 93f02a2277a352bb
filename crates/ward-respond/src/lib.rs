//! What now.
