//! Is this normal.
