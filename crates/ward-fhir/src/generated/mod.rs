//! Tables that `xtask` makes of HL7's definitions; one module a FHIR version.

#[rustfmt::skip]
pub(crate) mod r4;
