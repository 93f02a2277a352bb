//! Registered claims.
/// One refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    /// Id of the rule that refused, for log and audit only.
    pub rule: &'static str,
    /// A short fixed phrase, fit for `error_description`.
    pub text: &'static str,
}
