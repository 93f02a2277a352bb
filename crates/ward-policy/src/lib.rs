//! May they. Pure.
