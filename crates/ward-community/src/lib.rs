//! The trust community's operator.
