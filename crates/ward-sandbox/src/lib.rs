//! A sample hospital.
