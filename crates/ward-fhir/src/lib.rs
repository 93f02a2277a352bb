//! What FHIR says. No I/O.
